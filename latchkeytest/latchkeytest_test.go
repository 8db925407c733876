package latchkeytest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

func TestNewManagerTakesConfiguration(t *testing.T) {
	m, clock := latchkeytest.NewManager(t, func(c *latchkey.Config) { c.Idle, c.Limit = 5*time.Minute, 1 })
	first := latchkeytest.SignIn(t, m, latchkey.SignIn{Subject: "ann"})
	second := latchkeytest.SignIn(t, m, latchkey.SignIn{Subject: "ann"})
	if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: first.Value}); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("first of two sessions at limit 1: %v", err)
	}
	clock.Advance(5*time.Minute - time.Microsecond)
	if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: second.Value, Passive: true}); err != nil {
		t.Errorf("before the idle limit: %v", err)
	}
	clock.Advance(time.Microsecond)
	if _, err := m.Lookup(t.Context(), latchkey.Lookup{Token: second.Value}); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("at the idle limit: %v", err)
	}
}

func TestCookieOfResponse(t *testing.T) {
	m, _ := latchkeytest.NewManager(t, nil)
	signIn := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err == nil {
			err = s.SignIn(r.Context(), latchkey.SignIn{Subject: "ann"})
		}
		if err != nil {
			t.Error(err)
		}
	}))
	w := httptest.NewRecorder()
	signIn.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	c := latchkeytest.Cookie(t, w, "__Host-session")
	if c == nil || len(c.Value) != latchkey.TokenLength || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 24*60*60 {
		t.Errorf("cookie is %+v", c)
	}
	if other := latchkeytest.Cookie(t, w, "other"); other != nil {
		t.Errorf("found %+v", other)
	}
}

func TestClock(t *testing.T) {
	c := latchkeytest.NewClock(time.Time{})
	start := c.Now()
	c.Advance(time.Minute)
	c.StepWall(-time.Hour)
	now := c.Now()
	if got := time.Duration(now.Mono - start.Mono); got != time.Minute {
		t.Errorf("monotonic clock went %v, want 1m", got)
	}
	if got := time.Duration(now.Wall - start.Wall); got != time.Minute-time.Hour {
		t.Errorf("wall clock went %v, want -59m", got)
	}
	c.Suspend(time.Hour)
	if got := c.Now(); got.Mono != now.Mono || got.Wall != start.Wall+int64(time.Minute) {
		t.Errorf("after suspension %+v", got)
	}
}
