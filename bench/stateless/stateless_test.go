// Package stateless measures the check of a session that the cookie itself tells of:
// cookie in, session out, the list of ended sessions consulted. Beside it gorilla's
// CookieStore, signing and encrypting, and Python's itsdangerous, in one run.
package stateless

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/bench/internal/python"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

const (
	people = 4096 // whose cookies come in turn
	ended  = 1000 // sessions on the list
)

func subject(i int) string { return fmt.Sprintf("user-%07d", i) }
func email(i int) string   { return fmt.Sprintf("someone.%d@example.com", i) }

// store counts what is read from it.
type store struct {
	*memory.Store
	reads atomic.Int64
}

func (s *store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	s.reads.Add(1)
	return s.Store.Get(ctx, id)
}

// requests returns a manager of stateless sessions, a request of each person, and
// what was read from the store.
func requests(b *testing.B) (*latchkey.Manager, []*http.Request, *atomic.Int64) {
	b.Helper()
	rows, err := memory.New(memory.Config{})
	if err != nil {
		b.Fatal(err)
	}
	st := &store{Store: rows}
	cache, err := nearcache.New(nearcache.Config{Store: st})
	if err != nil {
		b.Fatal(err)
	}
	cache.Start()
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	m, err := latchkey.New(latchkey.Config{Store: st, Keys: ring, Cache: cache, Stateless: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = m.Close(context.Background())
		cache.Stop()
		_ = rows.Close()
	})
	for cache.Stats().LeaseAge < 0 {
		runtime.Gosched()
	}
	var list []*http.Request
	for i := range people + ended {
		issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: subject(i), Email: email(i), Name: "Some One"})
		if err != nil {
			b.Fatal(err)
		}
		if i >= people {
			if _, err := m.Revoke(context.Background(), latchkey.Revocation{ID: issued.Record.ID, By: "bench", Reason: "ended"}); err != nil {
				b.Fatal(err)
			}
			continue
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", "__Host-session="+issued.Token)
		list = append(list, r)
	}
	return m, list, &st.reads
}

// writer is a ResponseWriter that costs nothing.
type writer struct{ h http.Header }

func (w writer) Header() http.Header         { return w.h }
func (w writer) Write(p []byte) (int, error) { return len(p), nil }
func (w writer) WriteHeader(int)             {}

var errNoSession = errors.New("no session")

// gorilla is CookieStore with a key to sign and one to encrypt, as its documentation
// advises, for the same texts.
func gorilla(b *testing.B) paired.Subject {
	store := sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"), []byte("fedcba9876543210fedcba9876543210"))
	var list []*http.Request
	for i := range people {
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		s, err := store.Get(r, "session")
		if err != nil {
			b.Fatal(err)
		}
		s.Values["subject"], s.Values["email"], s.Values["name"] = subject(i), email(i), "Some One"
		if err := s.Save(r, w); err != nil {
			b.Fatal(err)
		}
		again := httptest.NewRequest(http.MethodGet, "/", nil)
		again.AddCookie(w.Result().Cookies()[0])
		list = append(list, again)
	}
	return paired.Compute("gorilla_cookiestore", func(i int) error {
		// It keeps what it decoded in the request's context: a shallow copy is a new request.
		s, err := store.Get(list[i%people].WithContext(context.Background()), "session")
		if err != nil || s.Values["subject"] == "" {
			return errNoSession
		}
		return nil
	})
}

func BenchmarkStateless(b *testing.B) {
	m, list, reads := requests(b)
	py := python.Start(b)
	// The original of such sessions, reflow's cookie: the same person, provider and times.
	identities := make([]map[string]string, people)
	names := make([]string, people)
	const layout = "2006-01-02T15:04:05.000000Z"
	now := time.Now().UTC()
	for i := range identities {
		names[i] = subject(i)
		identities[i] = map[string]string{"sub": subject(i), "email": email(i), "name": "Some One", "provider_id": "local",
			"issued_at": now.Format(layout), "expires_at": now.Add(24 * time.Hour).Format(layout)}
	}
	py.Ask(nil, "tokens", "loads", "0123456789abcdef0123456789abcdef", "reflow-session-v1", identities)

	w := writer{http.Header{}}
	var wrong error
	inner := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if s, err := latchkey.FromContext(r.Context()); err != nil || s.Subject() == "" {
			wrong = errors.Join(errNoSession, err)
		}
	}))
	paired.Compare(b, paired.Plan{},
		paired.Compute("latchkey", func(i int) error {
			s, err := m.Read(w, list[i%people])
			if err != nil || s.Subject() != names[i%people] {
				return errors.Join(errNoSession, err)
			}
			return nil
		}),
		paired.Compute("latchkey_context", func(i int) error {
			inner.ServeHTTP(w, list[i%people])
			return wrong
		}),
		gorilla(b),
		py.Compute("python", "loads"))
	if n := reads.Load(); n > 0 {
		b.Errorf("the store was read %d times", n)
	}
}
