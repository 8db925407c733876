package edge

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

// answer tells a decision in a proxy's dialect.
func (e *Edge) answer(w http.ResponseWriter, r *http.Request, d dialect, q *Question, dec Decision, s latchkey.Session) {
	h := w.Header()
	h["Cache-Control"] = e.fixed.noStore
	if dec.Verdict != Grant || Passive(r) {
		delete(h, "Set-Cookie") // a refusal or an outage neither signs anybody in nor out
	}
	status := http.StatusForbidden
	switch dec.Verdict {
	case Grant:
		status = e.grant(h, r, d, q, dec, s)
	case SignIn:
		status = e.signIn(h, d, q, dec)
	case Unavailable:
		status = http.StatusServiceUnavailable
		h.Set("Retry-After", strconv.Itoa(latchkey.RetryAfter))
	}
	e.counts[d][dec.Verdict].Add(1)
	w.WriteHeader(status)
	if e.cfg.Logger.Enabled(r.Context(), slog.LevelDebug) {
		e.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "edge decision", slog.String("dialect", d.String()), slog.String("verdict", dec.Verdict.String()),
			slog.String("reason", string(dec.Reason)), slog.Int("rule", dec.Rule))
	}
}

// grant sets the headers of a grant and returns its status.
func (e *Edge) grant(h http.Header, r *http.Request, d dialect, q *Question, dec Decision, s latchkey.Session) int {
	e.setIdentity(h, s, e.assertion(q, dec, s), r.Header["Cookie"])
	if d == dialectNginx || d == dialectForward {
		return http.StatusNoContent
	}
	h["X-Envoy-Auth-Headers-To-Remove"] = e.fixed.aliases
	if more := aliasesIn(r.Header); more != "" {
		h["X-Envoy-Auth-Headers-To-Remove"] = []string{e.fixed.aliases[0] + "," + more}
	}
	h["Content-Length"] = e.fixed.zero
	return http.StatusOK
}

// headerNavigation is on a 401 for nginx when the request was a navigation, which is
// to be redirected.
const headerNavigation = "X-Auth-Navigation"

// signIn sets the headers for a visitor who is to sign in and returns the status.
// nginx takes a redirect for a fault of ours, so it is told where to send people, and
// whether this request was made by a person.
func (e *Edge) signIn(h http.Header, d dialect, q *Question, dec Decision) int {
	if challenge := e.cfg.Policy.challenge(dec); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	switch {
	case d == dialectNginx:
		h.Set("X-Auth-Location", e.cfg.Policy.location(q, dec))
		if q.Kind == KindNavigation {
			h.Set(headerNavigation, "1")
		}
		return http.StatusUnauthorized
	case q.Kind != KindNavigation:
		return http.StatusUnauthorized
	}
	h.Set("Location", e.cfg.Policy.location(q, dec))
	return http.StatusFound
}

// assertion signs who a granted request is from, for the service. Without one the
// service sees an empty header, and refuses if it trusts nothing else.
func (e *Edge) assertion(q *Question, dec Decision, s latchkey.Session) string {
	if e.cfg.Assertions == nil || !s.SignedIn() {
		return ""
	}
	token, err := e.cfg.Assertions.Assertion(s, e.cfg.Policy.audience(q, dec.Rule), dec.at)
	if err != nil {
		e.cfg.Logger.Error("an assertion could not be signed", "error", err)
		return ""
	}
	return token
}

// audience is the service that an assertion is for.
func (p *Policy) audience(q *Question, rule int) string {
	if rule != NoRule && p.rules[rule].Audience != "" {
		return p.rules[rule].Audience
	}
	for _, origin := range p.returns { // most are here, ready made
		if len(origin) == len(q.Scheme)+len("://")+len(q.Host) && strings.HasPrefix(origin, q.Scheme) && strings.HasSuffix(origin, q.Host) {
			return origin
		}
	}
	return q.Scheme + "://" + q.Host
}

// refuse answers what is no question that is believed.
func (e *Edge) refuse(w http.ResponseWriter, r *http.Request, d dialect, why Reason) {
	e.counts[d][refused].Add(1)
	w.Header()["Cache-Control"] = e.fixed.noStore
	w.WriteHeader(http.StatusForbidden)
	e.warn(r, d, why)
}

// warn logs a refused question, at most once a second: most often a proxy is not
// configured as it should be, but anybody may provoke it. The address is that of the
// connection, which is a proxy's or a stranger's.
func (e *Edge) warn(r *http.Request, d dialect, why Reason) {
	now, last := time.Now().Unix(), e.warned.Load()
	if now == last || !e.warned.CompareAndSwap(last, now) {
		return
	}
	text := "a proxy's question lacks a header, or has one twice; see docs/edge"
	if why == ReasonUntrusted {
		text = "a question for the edge came from an address that is not in --trusted-proxies"
	}
	e.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, text, slog.String("dialect", d.String()), slog.String("peer", r.RemoteAddr))
}
