package edge

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/transaction"
)

// signInPath is where the sign-in page is, below the prefix.
const signInPath = "/login"

// location is where a visitor is sent to sign in, and to come back from to what was
// asked for: rd, when that is surely an address of a protected host. Where none are
// listed it is told all the same: the sign-in page has the last word, and returns to
// listed hosts only. A visitor who is signed in already, and has to authenticate again
// or in a stronger way, is sent with prompt=login, without which the sign-in page would
// send them straight back, and with max_age or acr_values (OpenID Connect Core
// §3.1.2.1) for what the rule asks.
func (p *Policy) location(q *Question, d Decision) string {
	origin, rd := p.public, ""
	asked := q.Scheme + "://" + q.Host
	if p.perHost && contains(p.returns, asked) {
		origin, rd = asked, transaction.ReturnTo(q.Target, nil)
	} else {
		origins := p.returns
		if len(p.hosts) == 0 {
			origins = []string{asked}
		}
		rd = transaction.ReturnTo(asked+q.Target, origins)
	}
	var b strings.Builder
	b.WriteString(origin)
	b.WriteString(p.prefix)
	b.WriteString(signInPath)
	sep := byte('?')
	add := func(name, value string) {
		b.WriteByte(sep)
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(value))
		sep = '&'
	}
	if rd != "" {
		add("rd", rd)
	}
	if d.Reason == ReasonNotFresh || d.Reason == ReasonAssurance {
		add("prompt", "login")
		// Both, whichever was missing: the sign-in that follows must bring all that the
		// rule asks for, or it would be followed by another.
		if fresh := p.rules[d.Rule].Fresh; fresh > 0 {
			add("max_age", seconds(fresh))
		}
		if class := p.rules[d.Rule].Assurance; class != "" {
			add("acr_values", class)
		}
	}
	return b.String()
}

// challenge is the WWW-Authenticate of a visitor who is signed in and has to
// authenticate again (RFC 9470 §3), or "".
func (p *Policy) challenge(d Decision) string {
	if d.Reason != ReasonNotFresh && d.Reason != ReasonAssurance {
		return ""
	}
	text := `Bearer error="insufficient_user_authentication"`
	if fresh := p.rules[d.Rule].Fresh; fresh > 0 {
		text += `, max_age="` + seconds(fresh) + `"`
	}
	if class := p.rules[d.Rule].Assurance; class != "" {
		text += `, acr_values=` + quoted(class)
	}
	return text
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// quoted is a quoted-string (RFC 9110 §5.6.4), with what is not ASCII encoded.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(encode(s)) + `"`
}
