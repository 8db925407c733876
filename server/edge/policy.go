package edge

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/acr"
)

// Kind is how a request was made, as far as it decides between being sent to the
// sign-in page and being told 401.
type Kind uint8

// The kinds. The zero value is KindFetch.
const (
	KindFetch      Kind = iota // by a program: a redirect would be followed blindly
	KindNavigation             // by a person: the address bar, a link, a form
	KindWebSocket              // the opening of a WebSocket
)

// String implements fmt.Stringer.
func (k Kind) String() string {
	switch k {
	case KindNavigation:
		return "navigation"
	case KindWebSocket:
		return "websocket"
	}
	return "fetch"
}

// Question is what a proxy asks about: a request that it holds back.
type Question struct {
	Method string
	Scheme string // "http" or "https"
	// Host is in lower case, with its port unless that is the scheme's own.
	Host string
	// Target is path and query as they were sent.
	Target string
	Kind   Kind
}

// Verdict is one of four answers, and there is no fifth.
type Verdict uint8

// The verdicts. The zero value is Deny.
const (
	Deny Verdict = iota
	SignIn
	Unavailable
	Grant
)

// String implements fmt.Stringer.
func (v Verdict) String() string {
	switch v {
	case Grant:
		return "grant"
	case SignIn:
		return "sign_in"
	case Unavailable:
		return "unavailable"
	}
	return "deny"
}

// Reason says why a decision is as it is. The set is closed.
type Reason string

// The reasons.
const (
	ReasonPublic      Reason = "public"      // the rule asks for nothing
	ReasonSatisfied   Reason = "satisfied"   // the session is all that the rule asks for
	ReasonNoSession   Reason = "no_session"  // there is no session with an identity
	ReasonRole        Reason = "role"        // the session has none of the roles
	ReasonProvider    Reason = "provider"    // the session came from another provider
	ReasonNotFresh    Reason = "not_fresh"   // the authentication is too old
	ReasonAssurance   Reason = "assurance"   // the authentication was too weak
	ReasonRule        Reason = "rule"        // the rule denies everybody
	ReasonHost        Reason = "host"        // the host is not spelled as browsers do
	ReasonUnlisted    Reason = "unlisted"    // the host is not among the protected ones
	ReasonMethod      Reason = "method"      // the method is not spelled in capitals, or services may see another
	ReasonPath        Reason = "path"        // the path can be read in several ways
	ReasonUnavailable Reason = "unavailable" // the store gave no answer
	ReasonQuestion    Reason = "question"    // the question lacks something, or says something twice
	ReasonUntrusted   Reason = "untrusted"   // whoever asks is no trusted proxy
)

// NoRule is the rule's index where none matched: a session is required then.
const NoRule = -1

// Decision is what is to be done about a request, and why.
type Decision struct {
	Verdict Verdict
	Reason  Reason
	// Rule is the index of the rule that matched, or NoRule.
	Rule int

	at time.Time // when the session was judged
}

// PolicyConfig configures a Policy. Its zero value asks for a session everywhere
// and returns nobody anywhere after signing in. NewPolicy checks it once.
type PolicyConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Rules are tried in order. What no rule matches requires a session.
	Rules []Rule
	// ProtectedHosts are the hosts behind the proxies: "app.example.com", with the
	// port unless it is the scheme's own; "http://" may stand in front of one that
	// is served without TLS. Questions about other hosts are denied, and visitors
	// return to these only. Without any, every host is answered for, and visitors
	// return to that of PublicURL only. That one is always included.
	ProtectedHosts []string
	// PublicURL is where browsers find the sign-in page: scheme and host.
	PublicURL *url.URL
	// Prefix is the path that the sign-in page is mounted below.
	Prefix string
	// PerHost says that the sign-in page is mounted below Prefix on each protected
	// host, because the session cookie is not shared between them.
	PerHost bool
}

// Policy decides. It is safe for concurrent use and never changes.
type Policy struct {
	rules   []Rule
	hosts   []string // protected ones; empty: every host
	returns []string // origins to return to, for transaction.ReturnTo
	public  string   // scheme and host of the sign-in page
	prefix  string
	perHost bool
}

// NewPolicy checks cfg. The error is of code CodeInvalidRequest and lists every problem.
func NewPolicy(cfg PolicyConfig) (*Policy, error) {
	var p problems
	pol := &Policy{prefix: cfg.Prefix, perHost: cfg.PerHost}
	if len(cfg.Rules) > maxRules {
		p.add("Rules", "there are %d, and %d are allowed", len(cfg.Rules), maxRules)
	}
	for i, r := range cfg.Rules {
		r.check("Rules["+strconv.Itoa(i)+"]", &p)
		pol.rules = append(pol.rules, r.clone())
	}
	insecure := false
	if u := cfg.PublicURL; u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		p.add("PublicURL", "is required, with http or https and a host")
	} else {
		insecure = u.Scheme == "http"
		pol.public = u.Scheme + "://" + plainHost(u.Scheme, u.Host)
	}
	if len(cfg.ProtectedHosts) > maxHosts {
		p.add("ProtectedHosts", "there are %d, and %d are allowed", len(cfg.ProtectedHosts), maxHosts)
	}
	if len(cfg.ProtectedHosts) == 0 && slices.ContainsFunc(cfg.Rules, func(r Rule) bool { return len(r.Hosts) > 0 }) {
		p.add("ProtectedHosts", "is required with rules for hosts: a proxy may pass on a host that no rule names")
	}
	if cfg.PerHost && cfg.Prefix == "" {
		p.add("Prefix", "is required with PerHost")
	}
	for i, text := range cfg.ProtectedHosts {
		scheme, host, schemed := strings.Cut(text, "://")
		if !schemed {
			scheme, host = "https", text
		}
		if !validHost(host) || scheme != "http" && scheme != "https" {
			p.add("ProtectedHosts", "entry %d is not a host in lower case such as app.example.com or app.example.com:8443", i+1) // a URL may hold a password
			continue
		}
		host = plainHost(scheme, host)
		pol.hosts = append(pol.hosts, host)
		pol.returns = append(pol.returns, scheme+"://"+host)
		if insecure && !schemed {
			pol.returns = append(pol.returns, "http://"+host)
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(pol.hosts) > 0 {
		_, host, _ := strings.Cut(pol.public, "://")
		pol.hosts = append(pol.hosts, host)
	}
	pol.returns = append(pol.returns, pol.public)
	return pol, nil
}

// ReturnOrigins lists the origins (scheme://host) that visitors may be returned to:
// what the sign-in page gives to [transaction.ReturnTo].
func (p *Policy) ReturnOrigins() []string { return append([]string(nil), p.returns...) }

// plainHost is a host without the port that is the scheme's own.
func plainHost(scheme, host string) string {
	host = strings.ToLower(host)
	if scheme == "http" {
		return strings.TrimSuffix(host, ":80")
	}
	return strings.TrimSuffix(host, ":443")
}

// match finds the rule that a question falls under. It is not ok when the question
// is to be denied whoever asks, for the reason.
func (p *Policy) match(q *Question) (rule int, why Reason, ok bool) {
	switch {
	case !validHost(q.Host):
		return NoRule, ReasonHost, false
	case len(p.hosts) > 0 && !contains(p.hosts, q.Host):
		return NoRule, ReasonUnlisted, false
	case !validMethod(q.Method):
		return NoRule, ReasonMethod, false
	case q.Target == "" || q.Target[0] != '/':
		return NoRule, ReasonPath, false
	}
	name := hostName(q.Host)
	var buf [512]byte
	var path []byte
	if p.looksAtPaths(q.Host, name) {
		if path, ok = normalise(buf[:0], q.Target); !ok {
			return NoRule, ReasonPath, false
		}
	}
	rule = p.first(q, name, path)
	opened := *q
	if q.Method == http.MethodConnect {
		// A WebSocket over HTTP/2 or 3 begins so (RFC 8441 §4), and Caddy makes a GET of it.
		if opened.Method = http.MethodGet; p.first(&opened, name, path) != rule {
			return NoRule, ReasonMethod, false
		}
	}
	if bare, changed := withoutParameters(path); changed && (!clean(bare) || p.first(q, name, bare) != rule || p.first(&opened, name, bare) != rule) {
		return NoRule, ReasonPath, false // services that see parameters there would be under another rule
	}
	return rule, "", true
}

// looksAtPaths reports whether a rule for the host has paths.
func (p *Policy) looksAtPaths(host, name string) bool {
	for i := range p.rules {
		if r := &p.rules[i]; len(r.Paths) > 0 && r.forHost(host, name) {
			return true
		}
	}
	return false
}

// first is the index of the first rule that matches, or NoRule.
func (p *Policy) first(q *Question, name string, path []byte) int {
	for i := range p.rules {
		r := &p.rules[i]
		if r.forHost(q.Host, name) && r.forMethod(q.Method) && r.forPath(path) {
			return i
		}
	}
	return NoRule
}

func (r *Rule) forHost(host, name string) bool {
	for _, h := range r.Hosts {
		if suffix, wild := strings.CutPrefix(h, "*"); wild {
			if strings.HasSuffix(name, suffix) || strings.HasSuffix(host, suffix) {
				return true
			}
		} else if h == host || h == name {
			return true
		}
	}
	return len(r.Hosts) == 0
}

func (r *Rule) forMethod(method string) bool {
	return len(r.Methods) == 0 || contains(r.Methods, method) || method == "HEAD" && contains(r.Methods, "GET")
}

func (r *Rule) forPath(path []byte) bool {
	for _, pattern := range r.Paths {
		if matchPath(pattern, path) {
			return true
		}
	}
	return len(r.Paths) == 0
}

// judge decides about a question that falls under a rule, given the session. now is
// the time that sessions are judged by.
func (p *Policy) judge(rule int, s latchkey.Session, now time.Time) Decision {
	d := Decision{Verdict: SignIn, Reason: ReasonNoSession, Rule: rule, at: now}
	if rule == NoRule {
		if s.SignedIn() {
			d.Verdict, d.Reason = Grant, ReasonSatisfied
		}
		return d
	}
	r := &p.rules[rule]
	switch {
	case r.Require == RequirePublic:
		d.Verdict, d.Reason = Grant, ReasonPublic
	case r.Require == RequireDeny:
		d.Verdict, d.Reason = Deny, ReasonRule
	case !s.SignedIn():
	case len(r.Providers) > 0 && !contains(r.Providers, s.Provider()):
		d.Verdict, d.Reason = Deny, ReasonProvider
	case !r.hasRole(s):
		d.Verdict, d.Reason = Deny, ReasonRole
	case !acr.Meets(s.Assurance(), r.Assurance):
		d.Reason = ReasonAssurance
	case r.Fresh > 0 && (s.AuthTime().IsZero() || now.Sub(s.AuthTime()) > r.Fresh):
		d.Reason = ReasonNotFresh
	default:
		d.Verdict, d.Reason = Grant, ReasonSatisfied
	}
	return d
}

// decide is match and judge together, for questions whose session is known already.
func (p *Policy) decide(q *Question, s latchkey.Session, now time.Time) Decision {
	rule, why, ok := p.match(q)
	if !ok {
		return Decision{Verdict: Deny, Reason: why, Rule: rule}
	}
	return p.judge(rule, s, now)
}

func (r *Rule) hasRole(s latchkey.Session) bool {
	for _, role := range r.Roles {
		if s.HasRole(role) {
			return true
		}
	}
	return len(r.Roles) == 0
}

// contains is slices.Contains for short lists of strings. Unlike that it is inlined.
func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}
