package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Asserter signs who a session is for, for one service. Package assertion has one.
type Asserter interface {
	// Assertion returns a token for the session of a signed-in visitor, fit to be a
	// header's value. It is called for each request that is granted.
	Assertion(s latchkey.Session, audience string, now time.Time) (string, error)
}

// Config configures an Edge. Manager and Policy are required. It is checked once, by New.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Manager looks sessions up. Its Passive should include [Passive].
	Manager *latchkey.Manager
	// Policy decides.
	Policy *Policy
	// TrustedProxies are the networks that questions are taken from. Without any,
	// every question is refused.
	TrustedProxies []netip.Prefix
	// Assertions signs the assertion header; without it that is empty.
	Assertions Asserter
	// Timeout bounds the store's part in an answer: 5 seconds unless set.
	Timeout time.Duration
	// Logger hears of refused questions, at most once a second, and of decisions at
	// level debug. Unset, nothing is logged.
	Logger *slog.Logger
}

const (
	defaultTimeout = 5 * time.Second
	// publicTimeout bounds how long a public page waits to learn who visits it: it
	// needs no session, and Envoy's own patience is 200 ms.
	publicTimeout = 100 * time.Millisecond
)

// Edge answers proxies. It is safe for concurrent use, starts no goroutine and needs
// no closing.
type Edge struct {
	cfg    Config
	cookie string // the session cookie's name
	scheme string // the sign-in page's, which is taken for that of a question without one
	fixed  fixed
	counts [numDialects][numVerdicts]atomic.Uint64
	warned atomic.Int64 // when a refusal was last logged, Unix seconds
}

// fixed are values of headers that many requests share. They are never changed.
type fixed struct {
	passive, noStore, zero, aliases []string
}

// New checks cfg and reports all its problems at once.
func New(cfg Config) (*Edge, error) {
	var p problems
	if cfg.Manager == nil {
		p.add("Manager", "is required")
	}
	if cfg.Policy == nil {
		p.add("Policy", "is required")
	}
	for _, network := range cfg.TrustedProxies {
		if !network.IsValid() {
			p.add("TrustedProxies", "%v is not a network", network)
		}
	}
	if cfg.Timeout < 0 || cfg.Timeout > time.Minute {
		p.add("Timeout", "%v is not between 0 and a minute", cfg.Timeout)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	scheme, _, _ := strings.Cut(cfg.Policy.public, "://")
	return &Edge{cfg: cfg, cookie: cookieName(cfg.Manager), scheme: scheme, fixed: fixed{passive: []string{"1"}, noStore: []string{"no-store"}, zero: []string{"0"},
		aliases: []string{strings.Join(Aliases(), ",")}}}, nil
}

// HeaderPassive, with the value 1, makes a request passive: proxies add it to what
// is not the user's doing.
const HeaderPassive = "X-Latchkey-Passive"

// Passive tells the requests that a proxy or a rule has marked as passive: it fits
// latchkey.Config.Passive, alone or joined with others.
func Passive(r *http.Request) bool {
	v := r.Header[HeaderPassive]
	return len(v) > 0 && v[0] == "1"
}

// Owns reports whether a request is for one of the edge's routes: GET /auth/nginx,
// /auth/forward, and /auth/envoy/ with any path behind it. Ask it before a path is
// cleaned or matched in any way.
func (e *Edge) Owns(r *http.Request) bool {
	_, ok := dialectOf(r)
	return ok
}

// ServeHTTP answers a question. A request that [Edge.Owns] does not know is refused.
// No answer has a body, and none but a grant sets a cookie.
//
// A grant has a header Cookie: what the client sent, without the session cookie, so
// that proxies that replace the request's with it keep the session cookie from the
// service.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, ok := dialectOf(r)
	if !ok {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if !e.trusts(r.RemoteAddr) {
		e.refuse(w, r, d, ReasonUntrusted)
		return
	}
	q, ok := question(d, r, e.scheme)
	if !ok {
		e.refuse(w, r, d, ReasonQuestion)
		return
	}
	dec, s := e.consider(w, r, &q)
	e.answer(w, r, d, &q, dec, s)
}

// consider decides about a question; the session is that which was found, if any.
// The cookie that r carries is due on w then, when it has changed.
func (e *Edge) consider(w http.ResponseWriter, r *http.Request, q *Question) (Decision, latchkey.Session) {
	p := e.cfg.Policy
	rule, why, ok := p.match(q)
	if !ok {
		return Decision{Verdict: Deny, Reason: why, Rule: rule}, latchkey.Session{}
	}
	timeout, public := e.cfg.Timeout, false
	if rule != NoRule {
		matched := &p.rules[rule]
		if matched.Require == RequireDeny {
			return Decision{Verdict: Deny, Reason: ReasonRule, Rule: rule}, latchkey.Session{}
		}
		if matched.Passive {
			r.Header[HeaderPassive] = e.fixed.passive
		}
		if public = matched.Require == RequirePublic; public {
			timeout = min(timeout, publicTimeout)
		}
	}
	s, err := e.cfg.Manager.ReadWithin(w, r, timeout)
	if err != nil {
		if public {
			return Decision{Verdict: Grant, Reason: ReasonPublic, Rule: rule}, latchkey.Session{}
		}
		return Decision{Verdict: Unavailable, Reason: ReasonUnavailable, Rule: rule}, latchkey.Session{}
	}
	return p.judge(rule, s, e.cfg.Manager.Now()), s
}

// trusts reports whether a connection comes from a trusted network.
func (e *Edge) trusts(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap()
	for _, network := range e.cfg.TrustedProxies {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
