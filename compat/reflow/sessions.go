package reflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// SessionsConfig describes [Sessions]. Codec is required.
type SessionsConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Codec reads and writes the cookies.
	Codec *Codec
	// Origins are the site's own, such as https://app.example.com. When empty it is the
	// scheme and host of each request: give them behind a proxy, which changes both.
	Origins []string
	// Revoked reports that an identity is no longer to be believed, nil when nobody ever
	// is. It is asked for each request with a valid cookie; an error is answered with 503.
	// The cookie itself cannot be called back: without this, logout clears the browser
	// alone, as in the original.
	Revoked func(ctx context.Context, id Identity) (bool, error)
	// OnEvent hears of sign-ins and logouts, on the request's goroutine: the original's
	// log lines of the category auth_event. See [ClientIP] for the address in them.
	OnEvent func(r *http.Request, e Event)
}

// Sessions is the original's part of a request: its SessionAuth middleware, the
// checks of its unsafe endpoints, and the endpoints me and logout. It is safe for
// concurrent use.
type Sessions struct {
	config  SessionsConfig
	origins map[string]bool
}

// NewSessions checks c. The error lists every problem.
func NewSessions(c SessionsConfig) (*Sessions, error) {
	var problems []error
	if c.Codec == nil {
		problems = append(problems, errors.New("reflow: Codec is missing; make one with New"))
	}
	s := &Sessions{config: c, origins: make(map[string]bool)}
	for i, text := range c.Origins {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != text {
			problems = append(problems, fmt.Errorf("reflow: Origins[%d] is no origin; use scheme://host, with a port if it is not the scheme's own", i))
		}
		s.origins[strings.ToLower(text)] = true
	}
	return s, errors.Join(problems...)
}

type contextKey struct{}

// FromContext returns who is signed in, below [Sessions.Handler].
func FromContext(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(contextKey{}).(Identity)
	return id, ok
}

// Handler is the original's SessionAuth: it reads the cookie and hands the identity on
// in the request's context, or none. It refuses nobody.
//
// Past half of its lifetime an identity gets a new cookie pair with the answer, if
// that is no error (the original renews on errors as well), if it has not set or
// cleared the pair itself and is not for shared caches, and if the Codec's MaxLifetime
// is not over.
func (s *Sessions) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, ok := s.cookie(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		id, err := s.config.Codec.Decode(cookie)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		if s.config.Revoked != nil {
			switch revoked, err := s.config.Revoked(r.Context(), id); {
			case err != nil:
				WriteError(w, ErrUnavailable)
				return
			case revoked:
				next.ServeHTTP(w, r)
				return
			}
		}
		rw := &renewer{ResponseWriter: w, s: s, id: id}
		next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), contextKey{}, id)))
		rw.renew(http.StatusOK) // a handler that wrote nothing answers 200
	})
}

// cookie returns the value of the session cookie when there is exactly one: which of
// two a browser would be asked to trust, nobody can tell.
func (s *Sessions) cookie(r *http.Request) (string, bool) {
	found := r.CookiesNamed(s.config.Codec.config.CookieName)
	if len(found) != 1 {
		return "", false
	}
	return found[0].Value, true
}

// renewer sets the new cookies before the first byte of the answer.
type renewer struct {
	http.ResponseWriter
	s    *Sessions
	id   Identity
	done bool
}

func (w *renewer) renew(status int) {
	if w.done {
		return
	}
	w.done = true
	c := w.s.config.Codec
	if status >= http.StatusBadRequest || w.Header().Get(SentinelHeader) != "" || shared(w.Header()) || !ShouldReissue(&w.id, c.config.Now()) {
		return
	}
	if id, ok := c.Renew(w.id); ok {
		_ = w.s.SignIn(w.ResponseWriter, id) // the cookie that is there goes on
	}
}

// shared reports whether an answer asks caches to keep it for everybody: its cookies
// would be handed to others.
func shared(h http.Header) bool {
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if name == "public" || name == "s-maxage" {
			return true
		}
	}
	return false
}

// WriteHeader implements http.ResponseWriter.
func (w *renewer) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.renew(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *renewer) Write(b []byte) (int, error) {
	w.renew(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController flushes by.
func (w *renewer) FlushError() error {
	w.renew(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *renewer) Flush() { _ = w.FlushError() }

// Unwrap is for http.ResponseController.
func (w *renewer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SignIn sets the cookie pair of an identity and the sentinel header. Call it before
// the first byte of the answer.
func (s *Sessions) SignIn(w http.ResponseWriter, id Identity) error {
	cookie, err := s.config.Codec.Encode(&id)
	if err != nil {
		return err
	}
	s.set(w, s.config.Codec.SessionCookies(cookie))
	return nil
}

// SignOut clears the cookie pair and sets the sentinel header. A copy of the cookie
// goes on until its age runs out, unless SessionsConfig.Revoked says otherwise.
func (s *Sessions) SignOut(w http.ResponseWriter) { s.set(w, s.config.Codec.ClearSessionCookies()) }

func (s *Sessions) set(w http.ResponseWriter, pair [2]string) {
	for _, line := range pair {
		w.Header().Add("Set-Cookie", line)
	}
	w.Header().Set(SentinelHeader, "1")
}

// RequireIdentity is the original's dependency of that name: without an identity the
// request is answered with 401.
func (s *Sessions) RequireIdentity(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := FromContext(r.Context()); !ok {
			WriteError(w, ErrNoIdentity)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// CheckOrigin is the check of the original's unsafe endpoints: Origin must be the
// site's own, ErrCrossOrigin otherwise; without it Sec-Fetch-Site must be same-origin,
// ErrUnmarkedRequest otherwise. A request with Origin twice is refused.
func (s *Sessions) CheckOrigin(r *http.Request) error {
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		if len(origins) != 1 || !s.own(r, strings.ToLower(origins[0])) {
			return ErrCrossOrigin
		}
		return nil
	}
	if sites := r.Header.Values("Sec-Fetch-Site"); len(sites) != 1 || sites[0] != "same-origin" {
		return ErrUnmarkedRequest
	}
	return nil
}

func (s *Sessions) own(r *http.Request, origin string) bool {
	if len(s.origins) > 0 {
		return s.origins[origin]
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return r.Host != "" && origin == scheme+"://"+strings.ToLower(r.Host)
}

// CheckCSRF is ErrCSRF unless CSRFHeader goes with the request's session cookie.
func (s *Sessions) CheckCSRF(r *http.Request) error {
	cookie, ok := s.cookie(r)
	values := r.Header.Values(CSRFHeader)
	if !ok || len(values) != 1 || !s.config.Codec.CheckCSRF(cookie, values[0]) {
		return ErrCSRF
	}
	return nil
}

// Me is the endpoint me, below [Sessions.Handler]: the identity, or 401.
func (s *Sessions) Me() http.Handler {
	return s.RequireIdentity(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := FromContext(r.Context())
		writeJSON(w, http.StatusOK, id.projection())
	}))
}

// projection is what the endpoints show of an identity. The date is Python's isoformat
// here, with an offset where the cookie has Z.
func (id *Identity) projection() pyjson.Object {
	return append(id.object()[:4], pyjson.Member{Name: "expires_at", Value: py.FormatISO(id.ExpiresAt.Time)})
}

// Logout is the endpoint logout, below [Sessions.Handler]: POST with an identity, the
// site's own Origin and the CSRF value clears the pair.
func (s *Sessions) Logout() http.Handler {
	return s.RequireIdentity(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			WriteError(w, &HTTPError{Status: http.StatusMethodNotAllowed, Detail: "Method Not Allowed"})
			return
		}
		if err := s.CheckOrigin(r); err != nil {
			WriteError(w, err)
			return
		}
		if err := s.CheckCSRF(r); err != nil {
			s.tell(r, Event{Action: LoginFailure, Reason: CSRFMismatch})
			WriteError(w, err)
			return
		}
		s.SignOut(w)
		s.tell(r, Event{Action: LoggedOut})
		writeJSON(w, http.StatusOK, pyjson.Object{{Name: "logout_url", Value: nil}})
	}))
}
