package crossauth

import (
	"context"
	"net/http"
)

// Login makes the session of a user who has just signed in, below [Adapter.Handler]:
// it ends the session that the browser had, keeping an anonymous one's data, ends the
// user's password reset tokens, and sets a new session cookie and CSRF pair. persist
// tells whether the cookie outlives the browser. Call it before the first byte of the
// answer.
//
// For the factors and states that a sign-in goes through before, use an anonymous
// session and its data, as the original does.
func (a *Adapter) Login(w http.ResponseWriter, r *http.Request, user UserID, persist bool, extra ...Field) (State, error) {
	c := a.config.Sessions
	key, err := c.SignIn(r.Context(), FromContext(r.Context()).SessionID, user, extra...)
	if err != nil {
		return State{}, err
	}
	if err := c.config.Storage.DeleteAllForUser(r.Context(), user, PrefixPasswordReset, ""); err != nil {
		return State{}, err
	}
	return a.start(w, key, persist)
}

// CreateAnonymous makes a session of nobody with data, a JSON object or "", whose
// cookie ends with the browser, and a CSRF pair for it.
func (a *Adapter) CreateAnonymous(w http.ResponseWriter, r *http.Request, data string, extra ...Field) (State, error) {
	key, err := a.config.Sessions.CreateSessionKey(r.Context(), UserID{}, data, extra...)
	if err != nil {
		return State{}, err
	}
	return a.start(w, key, false)
}

func (a *Adapter) start(w http.ResponseWriter, key Key, persist bool) (State, error) {
	cookie, err := a.config.Sessions.MakeCookieFor(key, persist && !a.config.Sessions.config.BrowserSession)
	if err != nil {
		return State{}, err
	}
	setCookie(w, cookie)
	token, err := a.setCSRF(w, key.Value)
	if err != nil {
		return State{}, err
	}
	s := State{SessionID: key.Value, Key: key}
	return s, a.hand(w, &s, token)
}

// Logout ends the request's session, if it has one, and deletes both cookies. Let it
// be asked for by POST, which [Adapter.Handler] protects; the original does it on any
// request.
func (a *Adapter) Logout(w http.ResponseWriter, r *http.Request) error {
	c := a.config.Sessions
	if id := FromContext(r.Context()).SessionID; id != "" {
		if err := c.DeleteSession(r.Context(), id); err != nil {
			return err
		}
	}
	session, err := c.ClearCookie()
	if err != nil {
		return err
	}
	csrf, err := a.config.CSRF.config.Cookie.cookie(a.config.CSRF.config.CookieName, "")
	if err != nil {
		return err
	}
	csrf.MaxAge = -1
	setCookie(w, session)
	setCookie(w, csrf)
	return nil
}

// LogoutFromAll ends every session of a user but the one of identifier except, unless
// that is "". Call it when the password changes.
func (a *Adapter) LogoutFromAll(ctx context.Context, user UserID, except string) error {
	return a.config.Sessions.DeleteAllForUser(ctx, user, except)
}
