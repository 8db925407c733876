package latchkey_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

// filtered is a Manager whose filter refuses every session while the switch is on.
func filtered(t *testing.T, change func(*latchkey.Config)) (m *latchkey.Manager, refusing *atomic.Bool, advance func(time.Duration)) {
	t.Helper()
	refusing = new(atomic.Bool)
	m, _, clock := setup(t, func(c *latchkey.Config) {
		c.Filter = func(latchkey.Session) bool { return !refusing.Load() }
		change(c)
	})
	return m, refusing, clock.Advance
}

// The filter is asked before a token is drawn: a rotation that is due waits, or
// the browser would be handed a token by an answer that turns it away.
func TestFilterRefusalDrawsNoToken(t *testing.T) {
	m, refusing, advance := filtered(t, func(c *latchkey.Config) { c.RotateEvery = time.Minute })
	token := issue(t, m, "ann")
	advance(2 * time.Minute)
	refusing.Store(true)
	h := m.Middleware(m.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("passed") })))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(token))
	if w.Code != http.StatusUnauthorized || w.Header()["Set-Cookie"] != nil {
		t.Errorf("%d with cookies %.40q", w.Code, w.Header()["Set-Cookie"])
	}
	refusing.Store(false)
	if v := lookup(t, m, token).Version(); v != 1 {
		t.Errorf("the refused session was changed: version %d", v)
	}
}

// A refused session is still the visitor's own to end: a logout that only deleted
// the cookie would leave it to whoever copied the token.
func TestLogoutEndsSessionThatFilterRefuses(t *testing.T) {
	m, refusing, _ := filtered(t, func(*latchkey.Config) {})
	token := issue(t, m, "ann")
	refusing.Store(true)
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := mustSession(t, r).End(r.Context()); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, request(token))
	if cookieOf(t, w) != "" {
		t.Error("the cookie is not deleted")
	}
	refusing.Store(false)
	refused(t, m, token)
}

// Nor may it stand in the way of its own visitor's next sign-in.
func TestSignInReplacesSessionThatFilterRefuses(t *testing.T) {
	m, refusing, _ := filtered(t, func(c *latchkey.Config) { c.Limit, c.LimitPolicy = 1, latchkey.RefuseNew })
	token := issue(t, m, "ann")
	refusing.Store(true)
	w := httptest.NewRecorder()
	m.Middleware(signInThen(t, func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request(token))
	refusing.Store(false)
	refused(t, m, token)
	if s := lookup(t, m, cookieOf(t, w)); s.Subject() != "ann" {
		t.Errorf("signed in as %q", s.Subject())
	}
}
