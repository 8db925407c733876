package crossauth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// AdapterConfig describes an [Adapter]. Sessions and CSRF are required.
type AdapterConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Sessions and CSRF have secrets of their own.
	Sessions *SessionCookie
	CSRF     *CSRF
	// Validate refuses a session for a request by an error, nil none. The request is
	// then anonymous if Refused says so of the error.
	Validate func(r *http.Request, key Key, user *User) error
	// MaxBody is the most of a body that is searched for a token, 1 MiB when 0.
	MaxBody int64

	// DangerouslyUnboundCSRF accepts CSRF tokens that are not bound to the session. The
	// original's are not: set it where visitors sign in there and send forms here.
	// Whoever can plant a cookie, from a sibling subdomain say, can then forge requests.
	DangerouslyUnboundCSRF bool
}

// Adapter is the original's web adapter: per request it checks the CSRF pair and finds
// the session. It is safe for concurrent use.
type Adapter struct{ config AdapterConfig }

// NewAdapter checks c. The error is of code Configuration and lists every problem.
func NewAdapter(c AdapterConfig) (*Adapter, error) {
	var problems []string
	if c.Sessions == nil {
		problems = append(problems, "Sessions is missing; make it with NewSessionCookie")
	}
	if c.CSRF == nil {
		problems = append(problems, "CSRF is missing; make it with NewCSRF")
	}
	if c.Sessions != nil && c.CSRF != nil {
		if c.Sessions.config.Secret == c.CSRF.config.Secret && !c.Sessions.config.DangerouslySharedSecret {
			problems = append(problems, "Sessions and CSRF have one secret; give each its own")
		}
		if c.Sessions.config.CookieName == c.CSRF.config.CookieName {
			problems = append(problems, "Sessions and CSRF have one cookie; give each its own")
		}
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxBody < 0 {
		problems = append(problems, "MaxBody is negative")
	}
	if len(problems) > 0 {
		return nil, newError(Configuration, strings.Join(problems, "; "))
	}
	return &Adapter{c}, nil
}

// State is what the adapter knows of a request.
type State struct {
	// SessionID is the session's identifier, "" without one. Do not show it.
	SessionID string
	Key       Key
	User      *User // nil for an anonymous session, or without a Users hook
	// CSRFToken is for the forms of the answer, masked afresh for each request. It is
	// "" where no cookie goes with it.
	CSRFToken string
}

type stateKey struct{}

// FromContext returns the state of a request, below [Adapter.Handler].
func FromContext(ctx context.Context) State {
	s, _ := ctx.Value(stateKey{}).(State)
	return s
}

// Handler finds session and CSRF token of each request and hands them on as its
// [State]. GET, HEAD and OPTIONS get a CSRF cookie where they bring none, and the
// header with the masked token. Any other request must bring the pair, the token in
// the header or in the form or JSON member csrfToken or csrf_token, and is answered
// with 401 otherwise, where the original leaves that to each handler. A request with
// Authorization and neither cookie is exempt: no browser makes such by itself.
//
// A session cookie without a session is deleted, a storage that does not answer is the
// status of its error.
func (a *Adapter) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Cookie")
		s, err := a.session(w, r)
		if err == nil {
			err = a.protect(w, r, &s)
		}
		if err != nil {
			WriteError(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), stateKey{}, s)))
	})
}

// only returns the value of a cookie that is there once. Of two, one may be planted.
func only(r *http.Request, name string) (value string, ok bool) {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return "", false
	}
	return found[0].Value, true
}

// session finds the session of a request. The error is a failure, no refusal.
func (a *Adapter) session(w http.ResponseWriter, r *http.Request) (State, error) {
	c := a.config.Sessions
	value, ok := only(r, c.config.CookieName)
	if !ok {
		return State{}, nil
	}
	s, err := a.lookup(r, value)
	var e *Error
	switch {
	case err == nil:
		return s, nil
	case !Refused(err):
		return State{}, err
	case errors.As(err, &e) && e.Code != DataFormat: // a row that cannot be read may be mended
		if cookie, err := c.ClearCookie(); err == nil {
			setCookie(w, cookie)
		}
	}
	return State{}, nil
}

func (a *Adapter) lookup(r *http.Request, value string) (State, error) {
	c := a.config.Sessions
	id, err := c.UnsignCookie(value)
	if err != nil {
		return State{}, err
	}
	user, key, err := c.GetUserForSessionID(r.Context(), id)
	if err != nil {
		return State{}, err
	}
	if a.config.Validate != nil {
		if err := a.config.Validate(r, key, user); err != nil {
			return State{}, err
		}
	}
	// Activity is written once in a while: a session idles out a little early, never late.
	if idle := c.config.IdleTimeout; idle > 0 && !key.UserID.Anonymous() && c.now().Sub(key.LastActive) >= min(idle/20, time.Minute) {
		if err := c.UpdateActivity(r.Context(), id); err != nil {
			return State{}, err
		}
	}
	return State{SessionID: id, Key: key, User: user}, nil
}

// protect checks the CSRF pair of an unsafe request, and sees to it that the others
// have a cookie.
func (a *Adapter) protect(w http.ResponseWriter, r *http.Request, s *State) error {
	c := a.config.CSRF
	value, has := only(r, c.config.CookieName)
	token := ""
	if has {
		if t, err := c.CheckCookie(value); err == nil && a.bound(t, s.SessionID) {
			token = t
		}
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		if token == "" {
			var err error
			if token, err = a.setCSRF(w, s.SessionID); err != nil {
				return err
			}
		}
		return a.hand(w, s, token)
	}
	_, hasSession := only(r, a.config.Sessions.config.CookieName)
	if !has && !hasSession && r.Header.Get("Authorization") != "" {
		return nil
	}
	if submitted, err := c.Unmask(a.submitted(r)); token == "" || err != nil || !hmac.Equal([]byte(submitted), []byte(token)) {
		return newError(InvalidCsrf, "")
	}
	return a.hand(w, s, token)
}

// hand gives a fresh mask of the token to the handler and the client.
func (a *Adapter) hand(w http.ResponseWriter, s *State, token string) (err error) {
	if s.CSRFToken, err = a.config.CSRF.Mask(token); err == nil {
		w.Header().Set(a.config.CSRF.config.HeaderName, s.CSRFToken)
	}
	return err
}

// bound reports whether a token is the one of a session. Without a session any is good
// that is not empty.
func (a *Adapter) bound(token, session string) bool {
	if token == "" || session == "" || a.config.DangerouslyUnboundCSRF {
		return token != ""
	}
	return hmac.Equal([]byte(token), []byte(a.config.CSRF.tokenOf(session)))
}

// tokenOf is the token bound to a session: of the form of a random one, so that the
// original takes it, and known to nobody without the secret.
func (c *CSRF) tokenOf(session string) string {
	mac := hmac.New(sha256.New, []byte(c.config.Secret))
	mac.Write([]byte("latchkey/crossauth-csrf/v1\x00" + session))
	return rawURL(mac.Sum(nil)[:CSRFLength])
}

// setCSRF sets a new CSRF cookie, bound to a session unless that is "".
func (a *Adapter) setCSRF(w http.ResponseWriter, session string) (token string, err error) {
	c := a.config.CSRF
	if session != "" {
		token = c.tokenOf(session)
	} else if token, err = c.NewToken(); err != nil {
		return "", err
	}
	cookie, err := c.config.Cookie.cookie(c.config.CookieName, c.CookieValue(token))
	if err != nil {
		return "", err
	}
	setCookie(w, cookie)
	return token, nil
}

// setCookie sets a cookie in place of one of its name.
func setCookie(w http.ResponseWriter, c *http.Cookie) {
	h := w.Header()
	lines := slices.DeleteFunc(h["Set-Cookie"], func(line string) bool { return strings.HasPrefix(line, c.Name+"=") })
	h["Set-Cookie"] = append(lines, c.String())
}

// WriteError answers with the status and the JSON object of an error: ok false, its
// code and its message. Of an error that is not of this package nothing is told.
func WriteError(w http.ResponseWriter, err error) {
	e := &Error{Code: UnknownError, Message: UnknownError.Message()}
	_ = errors.As(err, &e)
	message := e.Message
	if e.Code == Configuration { // which speaks of the program
		message = e.Code.Message()
	}
	status := e.Code.Status()
	if e.Code == Connection { // the original says 500
		status = http.StatusServiceUnavailable
	}
	text, err := pyjson.Marshal(pyjson.Compact, pyjson.Object{{Name: "ok", Value: false}, {Name: "code", Value: string(e.Code)}, {Name: "error", Value: message}})
	if err != nil {
		text = []byte(`{"ok":false}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone is told nothing
}
