// Package csrf refuses requests that another site made a visitor's browser send.
//
// It is net/http's [http.CrossOriginProtection], which reads Sec-Fetch-Site (Fetch
// Metadata) and Origin (RFC 6454), with one rule more: an unsafe request that
// carries the session cookie and neither header is refused. Every browser of
// today sends at least one of them with an unsafe request, so such a request is
// from a program, and programs have the Authorization header.
//
// Where the site is reached by a name that the server does not see in Host, behind
// a proxy that rewrites it, Config.OwnOrigins tells that name. It stands in for
// Host, and so counts only where Host would: when there is no Sec-Fetch-Site.
//
// A request with an Authorization header (of a scheme that browsers do not send by
// themselves, as they do Basic) and no session cookie is exempt: no
// browser adds that header by itself on another site's behalf.
//
// # Beside the headers
//
// Two things can be asked for besides. Both only add to the rule above: nothing
// that a browser marked as coming from another site passes by either of them.
//
//   - Tokens (Config.Keys): a request with the cookie and neither header passes when
//     it carries a token bound to its session; see [Protection.Token]. That is for
//     browsers from before 2020. With Config.RequireToken every unsafe request
//     with the cookie must carry one.
//   - A header of one's own (Config.RequiredHeader), for APIs: every unsafe request
//     must carry it. Another site's page cannot add it without asking first, by a
//     CORS preflight.
package csrf

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// Bounds of Config.MaxFormBytes.
const (
	DefaultMaxFormBytes = 64 << 10
	LargestMaxFormBytes = 1 << 20
)

// Config says what to protect. CookieName is required; the zero value of everything
// else is safe.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// CookieName is the session cookie's name.
	CookieName string
	// OwnOrigins lists the site's own origins (scheme://host[:port]) as browsers see
	// them, for when a proxy rewrites Host. An Origin among them makes a request
	// same-origin unless Sec-Fetch-Site is there: a browser that sends that header
	// has judged by itself, without Host, and is believed.
	OwnOrigins []string
	// TrustedOrigins lists other sites' origins whose requests pass whatever
	// Sec-Fetch-Site says, as those of
	// [http.CrossOriginProtection.AddTrustedOrigin] do. Each of them can act in a
	// visitor's name. RequireToken and RequiredHeader hold for them too.
	TrustedOrigins []string
	// OnError answers a refused request; err is of code CodeCSRFRefused and wraps the
	// [Reason], which is for logs. Unset, it writes application/problem+json with
	// status 403.
	OnError func(w http.ResponseWriter, r *http.Request, err error)

	// Keys turns tokens on: they are made with the active key and taken under every
	// acceptable one. It may be the keyring of the sessions, since the keys for
	// tokens are derived for [Purpose].
	Keys *keyring.Ring
	// SessionID returns the ID of a request's session, "" when it has none. It must
	// come from a session that was verified, never from the request as it stands: an
	// ID that others can set binds nothing. Unset, it is the ID in
	// [latchkey.FromContext], for which the protection goes inside
	// [latchkey.Manager.Middleware].
	SessionID func(r *http.Request) string
	// RequireToken asks for a token with every unsafe request that carries the
	// session cookie, besides what the headers say. Otherwise a token is asked for
	// only where neither Sec-Fetch-Site nor Origin is there.
	RequireToken bool
	// MaxFormBytes is how much of a form is read in search of its token, in bytes; 0
	// is DefaultMaxFormBytes, at most LargestMaxFormBytes. The form itself may be
	// longer: put the token's field first.
	MaxFormBytes int64
	// Clock tells which key is active; unset, it is the system's.
	Clock latchkey.Clock

	// RequiredHeader names a header that every unsafe request must carry, once and
	// with RequiredValue, such as "X-CSRF". Names that browsers send by themselves, or
	// that CORS lets other sites send unasked (the safelist of the Fetch standard),
	// are refused. Never name it in Access-Control-Allow-Headers for sites that are
	// not to act in a visitor's name. A request that carries it passes without
	// Sec-Fetch-Site and Origin, unless Keys is set: then that takes a token.
	RequiredHeader string
	// RequiredValue is the header's only good value; unset, it is "1".
	RequiredValue string

	// DangerouslyReportOnly lets everything through: what would be refused is counted
	// and told to OnReport. It is for trying the rules on a site that has another
	// protection still.
	DangerouslyReportOnly bool
	// OnReport hears of each request that DangerouslyReportOnly let through, before the
	// handler does. It runs on the request's goroutine, several at once.
	OnReport func(r *http.Request, reason Reason)
}

// Protection judges requests. Make one with New; it is safe for concurrent use.
type Protection struct {
	std          *http.CrossOriginProtection
	own          []string
	cookie       string // name and "="
	onError      func(http.ResponseWriter, *http.Request, error)
	keys         *keyring.Ring
	sessionID    func(*http.Request) string // nil: latchkey.FromContext
	requireToken bool
	maxForm      int64
	clock        latchkey.Clock
	header       string // canonical, "" for none
	headerValue  string
	vary         string
	reportOnly   bool
	onReport     func(*http.Request, Reason)
	refused      [numReasons]atomic.Uint64
	byToken      atomic.Uint64
}

// New checks cfg. The error is of code CodeInvalidRequest and lists every problem.
func New(cfg Config) (*Protection, error) {
	p := &Protection{
		std: http.NewCrossOriginProtection(), own: slices.Clone(cfg.OwnOrigins), cookie: cfg.CookieName + "=", onError: cfg.OnError,
		keys: cfg.Keys, sessionID: cfg.SessionID, requireToken: cfg.RequireToken, maxForm: cfg.MaxFormBytes, clock: cfg.Clock,
		header: http.CanonicalHeaderKey(cfg.RequiredHeader), headerValue: cfg.RequiredValue,
		reportOnly: cfg.DangerouslyReportOnly, onReport: cfg.OnReport,
	}
	problems := cfg.problems()
	for i, origin := range cfg.TrustedOrigins {
		if err := p.std.AddTrustedOrigin(origin); err != nil {
			problems = append(problems, latchkey.FieldError{Field: fmt.Sprintf("TrustedOrigins[%d]", i), Detail: err.Error()})
		}
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "csrf: configuration", Fields: problems}
	}
	if p.onError == nil {
		p.onError = latchkey.WriteProblem
	}
	if p.maxForm == 0 {
		p.maxForm = DefaultMaxFormBytes
	}
	if p.clock == nil {
		p.clock = latchkey.SystemClock()
	}
	if p.headerValue == "" {
		p.headerValue = "1"
	}
	p.vary = "Sec-Fetch-Site, Origin"
	if p.header != "" {
		p.vary += ", " + cfg.RequiredHeader
	}
	if p.keys != nil {
		p.vary += ", " + HeaderName
	}
	return p, nil
}

// problems lists what is wrong with c, but for TrustedOrigins, which the standard
// library checks where they are put to use.
func (c *Config) problems() []latchkey.FieldError {
	var list []latchkey.FieldError
	add := func(field, detail string) {
		list = append(list, latchkey.FieldError{Field: field, Detail: detail})
	}
	if c.CookieName == "" || strings.ContainsAny(c.CookieName, "=; \t\r\n") {
		add("CookieName", "the session cookie's name is required")
	}
	// Own origins are not trusted ones; one that is thrown away checks their form.
	form := http.NewCrossOriginProtection()
	for i, origin := range c.OwnOrigins {
		if err := form.AddTrustedOrigin(origin); err != nil {
			add(fmt.Sprintf("OwnOrigins[%d]", i), err.Error())
		}
	}
	if c.RequireToken && c.Keys == nil {
		add("RequireToken", "tokens need Keys")
	}
	if c.MaxFormBytes < 0 || c.MaxFormBytes > LargestMaxFormBytes {
		add("MaxFormBytes", fmt.Sprintf("from 1 to %d bytes, or 0 for %d", LargestMaxFormBytes, DefaultMaxFormBytes))
	}
	if why := unfit(c.RequiredHeader); c.RequiredHeader != "" && why != "" {
		add("RequiredHeader", why)
	}
	if c.RequiredValue != "" && c.RequiredHeader == "" {
		add("RequiredValue", "RequiredHeader is not set")
	}
	if strings.TrimSpace(c.RequiredValue) != c.RequiredValue || strings.ContainsFunc(c.RequiredValue, func(r rune) bool { return r < ' ' || r > '~' }) {
		add("RequiredValue", "printable ASCII, without spaces around it")
	}
	return list
}

// Check returns nil when r may go on, and an error of code CodeCSRFRefused that wraps
// a [Reason] otherwise. GET, HEAD and OPTIONS always pass: handlers must not change
// anything by them. It allocates nothing for requests that browsers of today send.
//
// Where a token is looked for in a form, the part of the body that was read is put
// back in front of the rest, by replacing r.Body. No other part of r changes.
func (p *Protection) Check(r *http.Request) error {
	reason := p.judge(r)
	if reason == 0 {
		return nil
	}
	p.refused[reason].Add(1)
	if p.reportOnly {
		if p.onReport != nil {
			p.onReport(r, reason)
		}
		return nil
	}
	return refusals[reason]
}

// judge returns why r is to be refused, or 0.
func (p *Protection) judge(r *http.Request) Reason {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return 0
	}
	site, origin := first(r.Header["Sec-Fetch-Site"]), ""
	if site == "" {
		origin = first(r.Header["Origin"])
	}
	marked := site != "" || origin != ""
	sameOrigin := origin != "" && slices.Contains(p.own, origin) || p.std.Check(r) == nil
	if sameOrigin && marked && !p.requireToken && p.header == "" {
		return 0 // the common case: whether there is a cookie makes no difference
	}
	cookie := p.hasCookie(r.Header)
	switch {
	case !cookie && deliberate(r.Header["Authorization"]):
		return 0
	case !sameOrigin:
		return CrossOrigin
	case p.header != "" && !p.hasHeader(r.Header):
		return MissingHeader
	case !cookie || marked && !p.requireToken:
		return 0
	case p.keys != nil:
		if !p.ValidToken(p.session(r), p.carried(r)) {
			return BadToken
		}
		if !marked {
			p.byToken.Add(1)
		}
		return 0
	case p.header != "":
		return 0
	}
	return Unmarked
}

// Handler lets to next only what passes Check, and answers the rest by
// Config.OnError. Such an answer gets a Vary header that names what was judged by.
// What passes gets none: answers to unsafe methods are not reused for others of the
// kind (RFC 9111 §4), and those to safe methods do not depend on these headers.
func (p *Protection) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.Check(r); err != nil {
			w.Header().Add("Vary", p.vary)
			p.onError(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// first is a header's value as the standard library's check reads it: an empty
// line says as little as an absent one.
func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// hasCookie reports whether the session cookie is there, whatever its value. A
// malformed Cookie header must not hide it, so pairs are split at semicolons only.
func (p *Protection) hasCookie(h http.Header) bool {
	for _, line := range h["Cookie"] {
		for line != "" {
			for line != "" && (line[0] == ' ' || line[0] == '\t') {
				line = line[1:]
			}
			if strings.HasPrefix(line, p.cookie) {
				return true
			}
			i := strings.IndexByte(line, ';')
			if i < 0 {
				break
			}
			line = line[i+1:]
		}
	}
	return false
}

// hasHeader reports whether the required header is there, once and with its value.
func (p *Protection) hasHeader(h http.Header) bool {
	lines := h[p.header]
	return len(lines) == 1 && lines[0] == p.headerValue
}

// session returns the ID of the request's session, or "".
func (p *Protection) session(r *http.Request) string {
	id, err := p.lookSession(r)
	if err != nil {
		return ""
	}
	return id
}

func (p *Protection) lookSession(r *http.Request) (string, error) {
	if p.sessionID != nil {
		if id := p.sessionID(r); id != "" {
			return id, nil
		}
		return "", errNoSession
	}
	s, err := latchkey.FromContext(r.Context())
	if err != nil {
		return "", err
	}
	if id := s.ID(); !id.IsZero() {
		return id.String(), nil
	}
	return "", errNoSession
}

// ReasonOf returns why Check refused a request, or 0 when err is no such error.
func ReasonOf(err error) Reason {
	var reason Reason
	if errors.As(err, &reason) {
		return reason
	}
	return 0
}

// deliberate reports whether Authorization was set by a program. Browsers send some
// schemes by themselves, to whoever a page elsewhere makes them ask.
func deliberate(lines []string) bool {
	if len(lines) == 0 {
		return false
	}
	for _, line := range lines {
		scheme, _, _ := strings.Cut(line, " ")
		switch strings.ToLower(scheme) {
		case "basic", "digest", "negotiate", "ntlm", "":
			return false
		}
	}
	return true
}
