package edge

import (
	"errors"
	"time"

	"github.com/latchkey-go/latchkey"
)

var errQuestion = latchkey.NewError(latchkey.CodeInvalidRequest, "is not an address such as https://app.example.com/page", nil)

// NewQuestion is the question that a proxy would ask about an address.
func NewQuestion(method, address string, kind Kind) (q Question, err error) {
	q = Question{Method: method, Kind: kind}
	var ok bool
	if q.Scheme, q.Host, q.Target, ok = splitURL(address); !ok || q.Target[0] != '/' || !q.settle() {
		return Question{}, errQuestion
	}
	return q, nil
}

// Explanation is a decision with everything that led to it.
type Explanation struct {
	Decision
	// Question is what was decided about, in the form that rules know.
	Question Question
	// Path is what rules with paths are compared with; "" where none is for the host,
	// or the path is ambiguous.
	Path string
	// Rules tells of each rule, as far as they were looked at, why it does not match:
	// "hosts", "methods" or "paths"; the one that does has "".
	Rules []string
	// Location is where a person would be sent to sign in, and Audience whom an
	// assertion would be for; each is "" with another verdict.
	Location string
	Audience string
	// Passive says that the request would not count as activity.
	Passive bool
}

// Explain decides about a question as the edge would, given the session, and says
// why. now is the time that sessions are judged by.
func (p *Policy) Explain(q Question, s latchkey.Session, now time.Time) Explanation {
	x := Explanation{Decision: p.decide(&q, s, now), Question: q}
	name := hostName(q.Host)
	var path []byte
	if p.looksAtPaths(q.Host, name) {
		if plain, ok := normalise(nil, q.Target); ok {
			path, x.Path = plain, string(plain)
		}
	}
	if x.Reason != ReasonHost && x.Reason != ReasonUnlisted && x.Reason != ReasonMethod && x.Reason != ReasonPath {
		for i := range p.rules {
			why := p.rules[i].misses(&q, name, path)
			if x.Rules = append(x.Rules, why); why == "" {
				break
			}
		}
	}
	if x.Rule != NoRule {
		x.Passive = p.rules[x.Rule].Passive
	}
	switch {
	case x.Verdict == Grant:
		x.Audience = p.audience(&q, x.Rule)
	case x.Verdict == SignIn && q.Kind == KindNavigation:
		x.Location = p.location(&q, x.Decision)
	}
	return x
}

// misses is the first thing about a rule that does not match, or "".
func (r *Rule) misses(q *Question, name string, path []byte) string {
	switch {
	case !r.forHost(q.Host, name):
		return "hosts"
	case !r.forMethod(q.Method):
		return "methods"
	case !r.forPath(path):
		return "paths"
	}
	return ""
}

// ErrKind is what ParseKind answers for a text that names none.
var ErrKind = errors.New("is none of navigation, fetch, websocket")

// ParseKind is the inverse of [Kind.String].
func ParseKind(s string) (Kind, error) {
	for _, k := range []Kind{KindNavigation, KindFetch, KindWebSocket} {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, ErrKind
}
