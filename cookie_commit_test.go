package latchkey_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// signInThen is a handler that signs ann in and goes on with next.
func signInThen(t *testing.T, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := mustSession(t, r).SignIn(r.Context(), latchkey.SignIn{Subject: "ann"}); err != nil {
			t.Error(err)
		}
		next(w, r)
	}
}

// A handler may do with the response's headers what it likes: the session cookie
// is added when the first byte leaves, after everything else.
func TestSessionCookieOutlivesHandlersHeaders(t *testing.T) {
	for name, wrap := range map[string]func(http.HandlerFunc) http.Handler{
		"assigned": func(h http.HandlerFunc) http.Handler { return h },
		// TimeoutHandler replaces the headers underneath by those of its own buffer.
		"timeout-handler": func(h http.HandlerFunc) http.Handler { return http.TimeoutHandler(h, time.Minute, "late") },
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, nil)
			h := m.Middleware(wrap(signInThen(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Set-Cookie", "theme=dark")
				_, _ = w.Write([]byte("ok"))
			})))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(""))
			lines := w.Result().Header["Set-Cookie"]
			if len(lines) != 2 || lines[0] != "theme=dark" || !strings.HasPrefix(lines[1], "__Host-session=lk_") {
				t.Fatalf("cookies %q", lines)
			}
			if s := lookup(t, m, w.Result().Cookies()[1].Value); s.Subject() != "ann" {
				t.Errorf("the cookie is %q's", s.Subject())
			}
		})
	}
}

// A shared cache that kept an answer with a token would hand it to everybody.
func TestTokenLeavesUncached(t *testing.T) {
	m, _, clock := setup(t, func(c *latchkey.Config) { c.RotateEvery = time.Minute })
	token := issue(t, m, "ann")
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte("logo"))
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request(token))
	if got := w.Header().Get("Cache-Control"); got != "public, max-age=3600" {
		t.Errorf("without a token: Cache-Control %q", got)
	}
	clock.Advance(2 * time.Minute)
	w = httptest.NewRecorder()
	h.ServeHTTP(w, request(token))
	if cookieOf(t, w) == token {
		t.Fatal("not rotated")
	}
	if got := w.Header()["Cache-Control"]; len(got) != 1 || got[0] != "no-store" {
		t.Errorf("with a token: Cache-Control %q", got)
	}
}

// What could not be saved is not handed out: the answer is the problem, without
// the cookie and without what the handler had prepared for another answer.
func TestFailedCommitSetsNoCookie(t *testing.T) {
	var store *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		store = storetest.NewFaulty(c.Store)
		c.Store = store
	})
	leave := func(w http.ResponseWriter, r *http.Request) {
		if err := motto.Set(mustSession(t, r), "x"); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/home")
		w.Header().Set("Content-Disposition", "attachment")
		w.WriteHeader(http.StatusSeeOther)
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		fails   storetest.Method
	}{
		"signed-in": {signInThen(t, leave), storetest.MethodPatch},
		"anonymous": {leave, storetest.MethodCreate},
	} {
		t.Run(name, func(t *testing.T) {
			store.Fail(storetest.Only(c.fails, storetest.NotPersisted))
			defer store.Fail(nil)
			w := httptest.NewRecorder()
			m.Middleware(c.handler).ServeHTTP(w, request(""))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %s", w.Code, w.Header().Get("Content-Type"))
			}
			for _, header := range []string{"Set-Cookie", "Location", "Content-Disposition"} {
				if v := w.Header()[header]; v != nil {
					t.Errorf("%s: %.30q", header, v)
				}
			}
		})
	}
}
