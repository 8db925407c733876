// Package api is Latchkey's JSON API over HTTP: the table of its routes, the one
// wrapper that they all run in, and the OpenAPI document made from the same table.
// Package server mounts it beside health checks, metrics and pages; docs/api.md
// describes it for callers.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/upstream"
)

// Config is what the routes need. All but Logger, Prefix and Upstream are required; package
// server checks it.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	Manager *latchkey.Manager
	Store   latchkey.Store
	Keys    *keyring.Ring
	// Admins judges admin keys. Without any key the admin routes answer 404.
	Admins *Admins
	// CSRF guards the unsafe routes that take the session cookie.
	CSRF *csrf.Protection
	// CookieName is the session cookie's name.
	CookieName string
	// Prefix is the path that the browser's routes are mounted below, such as
	// "/_latchkey", or "".
	Prefix string
	// LogoutTarget says where a navigation goes after a logout, "" for the sign-in page.
	// It is asked before the session ends.
	LogoutTarget func(r *http.Request, s latchkey.Session) string
	// Upstream answers for sessions that others keep. Without it its routes answer 404.
	Upstream *upstream.Cache
	// Timeout bounds each request's dealings with the store.
	Timeout time.Duration
	// Logger hears of what was answered with 500 or 503, and why.
	Logger *slog.Logger
}

// API serves the routes. Make one with New; it is safe for concurrent use.
type API struct {
	cfg    Config
	routes []Route
}

// New returns the API with its table of routes.
func New(cfg Config) *API {
	a := &API{cfg: cfg}
	a.routes = append(a.routes, a.adminRoutes()...)
	a.routes = append(a.routes, a.upstreamRoutes()...)
	a.routes = append(a.routes, a.ownRoutes()...)
	a.routes = append(a.routes, a.healthRoutes()...)
	return a
}

// Routes returns the table.
func (a *API) Routes() []Route { return a.routes }

// Who is admitted to a route.
type Who int

// The kinds of routes.
const (
	Open  Who = iota // anybody
	Admin            // an admin key as bearer
	Me               // a session token, as the cookie or as bearer
)

// Body is how a route's request body is written.
type Body int

// The kinds of bodies. A route without one ignores what is sent.
const (
	NoBody Body = iota
	JSON
	Form
)

// Param is a query parameter.
type Param struct {
	Name string
	Doc  string
	Enum []string
	Max  int // of a whole number that is 1 at least; 0 for text
}

// Route is one row of the table: what the router, the wrapper and the OpenAPI
// document know of a route.
type Route struct {
	Method string
	// Path is written as net/http.ServeMux and OpenAPI both read it.
	Path    string
	Who     Who
	Body    Body
	Query   []Param
	Summary string
	// Name is the operation's ID in the document.
	Name string
	// Status is that of a success; OtherStatus another one, or 0.
	Status, OtherStatus int
	// Codes are the failures besides those that every route of its kind has.
	Codes []latchkey.Code
	// NoSession routes of kind Me are served without a session too.
	NoSession bool

	in, out reflect.Type
	run     func(context.Context, *Call) ([]byte, error)
}

// Call is one request as a handler sees it: admitted, bounded and decoded.
type Call struct {
	HTTP *http.Request
	// Header is the response's.
	Header http.Header
	// Status is the answer's; a handler may change it.
	Status int
	// Actor is the audit actor of an admin.
	Actor string
	// Session is the visitor's, on a route of kind Me.
	Session latchkey.Session
	// Query holds the parameters that were given.
	Query map[string]string

	body []byte
}

// define completes a row with its handler. The types of request and answer go into
// the document.
func define[In, Out any](rt Route, run func(context.Context, *Call, *In) (*Out, error)) Route {
	rt.in, rt.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	rt.run = func(ctx context.Context, c *Call) ([]byte, error) {
		in := new(In)
		var err error
		switch rt.Body {
		case JSON:
			err = decodeJSON(c.body, in)
		case Form:
			err = decodeForm(c.body, in)
		}
		if err != nil {
			return nil, err
		}
		out, err := run(ctx, c, in)
		if err != nil || out == nil {
			return nil, err
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(out); err != nil {
			return nil, latchkey.NewError(latchkey.CodeInternal, "the answer could not be written as JSON", err)
		}
		return b.Bytes(), nil
	}
	return rt
}

// Handler is the wrapper that every route runs in. It owns identity, query, body
// and its limit, the deadline, and how answers and errors are written; the
// router owns the method.
func (a *API) Handler(rt Route) http.Handler {
	var serve func(http.ResponseWriter, *http.Request) error
	switch rt.Who {
	case Admin:
		serve = func(w http.ResponseWriter, r *http.Request) error {
			actor, err := a.cfg.Admins.Actor(r)
			if err != nil {
				return err
			}
			return a.run(w, r, rt, &Call{Actor: actor})
		}
	case Me:
		serve = a.own(rt)
	default:
		serve = func(w http.ResponseWriter, r *http.Request) error { return a.run(w, r, rt, &Call{}) }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		if err := serve(w, r.WithContext(ctx)); err != nil {
			a.fail(w, r, err)
		}
	})
}

// run reads what was sent, calls the handler and writes its answer.
func (a *API) run(w http.ResponseWriter, r *http.Request, rt Route, c *Call) error {
	c.HTTP, c.Header, c.Status = r, w.Header(), rt.Status
	var err error
	if c.Query, err = decodeQuery(r.URL.RawQuery, rt.Query); err != nil && !(rt.NoSession || rt.Who == Open) {
		return err
	}
	switch rt.Body {
	case JSON:
		c.body, err = readBody(r, "application/json")
	case Form:
		c.body, err = readBody(r, "application/x-www-form-urlencoded")
	default:
		err = nil
	}
	if err != nil {
		return err
	}
	body, err := rt.run(r.Context(), c)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(c.Status)
	_, _ = w.Write(body) // the client may be gone
	return nil
}

// fail answers with the problem that err is, and tells the log of what an
// operator should know.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := latchkey.CodeOf(err)
	if code == latchkey.CodeInternal && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer in time", err)
		code = latchkey.CodeStoreUnavailable
	}
	err = inFields(err)
	if code.Status() >= 500 {
		attrs := []slog.Attr{slog.String("code", string(code)), slog.String("method", r.Method), slog.String("route", r.Pattern), slog.String("error", err.Error())}
		if cause := errors.Unwrap(err); cause != nil {
			attrs = append(attrs, slog.String("cause", cause.Error()))
		}
		a.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", attrs...)
	}
	if code == latchkey.CodeInvalidSession {
		w.Header().Set("WWW-Authenticate", `Bearer realm="latchkey"`) // RFC 9110 §11.6.1
	}
	latchkey.WriteProblem(w, r, err)
}

// inFields rewords the library's refusal of fields: its own wording names its
// functions, and callers of the API know fields.
func inFields(err error) error {
	var e *latchkey.Error
	if !errors.As(err, &e) || !strings.HasPrefix(e.Message, "latchkey: ") || len(e.Fields) == 0 {
		return err
	}
	var p problems
	for _, f := range e.Fields {
		p.add(f.Field, f.Detail)
	}
	return p.error()
}

// own admits to a route of kind Me.
func (a *API) own(rt Route) func(http.ResponseWriter, *http.Request) error {
	// Inside the middleware errors are answered at once: it has the response.
	inside := a.cfg.Manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		switch {
		case err != nil:
		case !s.Live() && !rt.NoSession:
			err = errNoSession
		default:
			err = a.run(w, r, rt, &Call{Session: s})
		}
		if err != nil {
			a.fail(w, r, err)
		}
	}))
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := a.cfg.CSRF.Check(r); err != nil {
			return err
		}
		token, byBearer, err := credential(r.Header, a.cfg.CookieName)
		if err != nil {
			return err
		}
		if token == "" && !rt.NoSession {
			return errNoSession
		}
		// Who sends the token in Authorization takes no cookie, and one in answer would
		// be a second, different token in its next request.
		if passive := isPassive(rt, r); !rt.NoSession && (passive || byBearer) {
			s, err := a.cfg.Manager.Lookup(r.Context(), latchkey.Lookup{Token: token, Passive: passive})
			if err != nil {
				return err
			}
			return a.run(w, r, rt, &Call{Session: s})
		}
		// From here on the token is the request's only credential, so that the
		// manager judges the very one that was judged above.
		r = r.WithContext(r.Context())
		r.Header = r.Header.Clone()
		r.Header.Del("Authorization")
		r.Header.Del("Cookie")
		if token != "" {
			r.Header.Set("Cookie", a.cfg.CookieName+"="+token)
		}
		inside.ServeHTTP(w, r)
		return nil
	}
}

var errNoSession = latchkey.NewError(latchkey.CodeInvalidSession, "no valid session", nil)

// passiveHeader makes a request passive on every route of kind Me, as the query's
// passive does where a route has it.
const passiveHeader = "X-Latchkey-Passive"

// isPassive reports whether a request asks not to count as activity. The query is
// judged in full later; a wrong one asks for nothing.
func isPassive(rt Route, r *http.Request) bool {
	if r.Header.Get(passiveHeader) == "1" {
		return true
	}
	query, err := decodeQuery(r.URL.RawQuery, rt.Query)
	return err == nil && query[passiveParam.Name] == "1"
}

// credential finds the one token that a request carries, "" when there is none.
// Two cookies of the name are refused even when equal, because one of them may
// have been planted by a neighbouring host, and so are a cookie and a bearer
// token that differ.
func credential(h http.Header, cookieName string) (token string, byBearer bool, err error) {
	var values []string
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if name, value, ok := strings.Cut(strings.Trim(part, " \t"), "="); ok && name == cookieName {
				values = append(values, value)
			}
		}
	}
	bearer, count := bearerOf(h)
	switch {
	case len(values) > 1 || count > 1 || len(values) == 1 && count == 1 && values[0] != bearer:
		return "", false, errNoSession
	case len(values) == 1:
		return values[0], false, nil
	}
	return bearer, bearer != "", nil
}

// bearerOf returns the bearer token of a request (RFC 6750 §2.1), and how many
// Authorization headers there are; another scheme is not counted.
func bearerOf(h http.Header) (token string, count int) {
	lines := h["Authorization"]
	if len(lines) > 1 {
		return "", len(lines)
	}
	if len(lines) == 0 {
		return "", 0
	}
	const scheme = "bearer "
	if len(lines[0]) < len(scheme) || !strings.EqualFold(lines[0][:len(scheme)], scheme) {
		return "", 0
	}
	return strings.Trim(lines[0][len(scheme):], " "), 1
}
