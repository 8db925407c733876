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
// A request with an Authorization header and no session cookie is exempt: no
// browser adds that header by itself on another site's behalf.
//
// There is no token in forms. A token bound to the session can come beside this
// later: whatever passes here would then have to carry it too.
package csrf

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// Config says what to protect. CookieName is required.
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
	// visitor's name.
	TrustedOrigins []string
	// OnError answers a refused request; err is of code CodeCSRFRefused. Unset, it
	// writes application/problem+json with status 403.
	OnError func(w http.ResponseWriter, r *http.Request, err error)
}

// Protection judges requests. Make one with New; it is safe for concurrent use.
type Protection struct {
	std     *http.CrossOriginProtection
	own     []string
	cookie  string // name and "="
	onError func(http.ResponseWriter, *http.Request, error)
}

// New checks cfg. The error is of code CodeInvalidRequest and lists every problem.
func New(cfg Config) (*Protection, error) {
	p := &Protection{std: http.NewCrossOriginProtection(), own: slices.Clone(cfg.OwnOrigins), cookie: cfg.CookieName + "=", onError: cfg.OnError}
	var problems []latchkey.FieldError
	if cfg.CookieName == "" || strings.ContainsAny(cfg.CookieName, "=; \t\r\n") {
		problems = append(problems, latchkey.FieldError{Field: "CookieName", Detail: "the session cookie's name is required"})
	}
	// Own origins are not trusted ones; one that is thrown away checks their form.
	form := http.NewCrossOriginProtection()
	for i, origin := range cfg.OwnOrigins {
		if err := form.AddTrustedOrigin(origin); err != nil {
			problems = append(problems, latchkey.FieldError{Field: fmt.Sprintf("OwnOrigins[%d]", i), Detail: err.Error()})
		}
	}
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
	return p, nil
}

// errRefused is the one answer: which rule stood against the request is not told.
var errRefused = latchkey.NewError(latchkey.CodeCSRFRefused, "the request may come from another site; send it from this site, or with Authorization instead of the cookie", nil)

// Check returns nil when r may go on, and an error of code CodeCSRFRefused
// otherwise. GET, HEAD and OPTIONS always pass: handlers must not change anything
// by them. It allocates nothing for requests that browsers of today send.
func (p *Protection) Check(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	cookie := p.hasCookie(r.Header)
	if !cookie && len(r.Header["Authorization"]) > 0 {
		return nil
	}
	if first(r.Header["Sec-Fetch-Site"]) == "" {
		origin := first(r.Header["Origin"])
		if origin == "" && cookie {
			return errRefused
		}
		if origin != "" && slices.Contains(p.own, origin) {
			return nil
		}
	}
	if p.std.Check(r) != nil {
		return errRefused
	}
	return nil
}

// Handler lets to next only what passes Check, and answers the rest by Config.OnError.
func (p *Protection) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.Check(r); err != nil {
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
