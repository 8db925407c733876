package latchkeytest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/memory"
)

// TB is what the helpers need of a *testing.T, *testing.B or *testing.F. They
// fail the test instead of returning errors.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// NewManager returns a Manager over a store in memory with a key of its own, and
// the clock that both go by. edit, when not nil, changes the configuration before
// it is checked; setting Config.Store or Config.Clock there replaces the ones made
// here. The Manager is closed when the test ends.
func NewManager(t TB, edit func(*latchkey.Config)) (*latchkey.Manager, *Clock) {
	t.Helper()
	clock := NewClock(time.Time{})
	store, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatalf("latchkeytest: store: %v", err)
	}
	keys, err := keyring.Generate(clock.Time())
	if err != nil {
		t.Fatalf("latchkeytest: keyring: %v", err)
	}
	cfg := latchkey.Config{Store: store, Keys: keys, Clock: clock}
	if edit != nil {
		edit(&cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		t.Fatalf("latchkeytest: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Fatalf("latchkeytest: closing the manager: %v", err)
		}
		_ = store.Close() // cannot fail
	})
	return m, clock
}

// SignIn makes a session and returns the cookie that a browser would hold then.
func SignIn(t TB, m *latchkey.Manager, in latchkey.SignIn) *http.Cookie {
	t.Helper()
	issued, err := m.Issue(context.Background(), in)
	if err != nil {
		t.Fatalf("latchkeytest: sign-in: %v", err)
	}
	cookie, err := http.ParseSetCookie(issued.SetCookie)
	if err != nil {
		t.Fatalf("latchkeytest: cookie: %v", err)
	}
	return cookie
}

// Request returns a request for a handler, as by httptest.NewRequest, that
// carries the session cookie of somebody who has just signed in.
func Request(t TB, m *latchkey.Manager, in latchkey.SignIn, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, body)
	r.AddCookie(SignIn(t, m, in))
	return r
}

// Cookie returns the session cookie that a response sets, which may delete it, or
// nil when it sets none.
func Cookie(t TB, w *httptest.ResponseRecorder, name string) *http.Cookie {
	t.Helper()
	var found *http.Cookie
	for _, c := range w.Result().Cookies() {
		if c.Name != name {
			continue
		}
		if found != nil {
			t.Fatalf("latchkeytest: the response sets cookie %q twice", name)
		}
		found = c
	}
	return found
}
