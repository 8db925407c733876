// Package hotpath measures a session check by a handler called directly: Latchkey
// with its near cache beside the peers, in one run.
package hotpath

import (
	"context"
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

const hotSet = 4096

// Every session holds these six values, besides who it is for.
var (
	email = latchkey.NewKey[string]("email")
	theme = latchkey.NewKey[string]("theme")
	cart  = latchkey.NewKey[[]string]("cart")
	count = latchkey.NewKey[int]("count")
	admin = latchkey.NewKey[bool]("admin")
	until = latchkey.NewKey[time.Time]("until")
)

// manager returns a Manager over a near cache that holds n sessions, and requests of up to hotSet of them.
func manager(b testing.TB, n int, data bool, maxBytes int64) (*latchkey.Manager, *nearcache.Cache, []*http.Request) {
	b.Helper()
	store := newDetachable(b)
	cache, err := nearcache.New(nearcache.Config{Store: store, MaxBytes: maxBytes})
	if err != nil {
		b.Fatal(err)
	}
	cache.Start()
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Cache: cache})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = m.Close(context.Background())
		cache.Stop()
		_ = store.Close()
	})
	for cache.Stats().LeaseAge < 0 {
		runtime.Gosched()
	}
	requests := make([]*http.Request, 0, hotSet)
	for i := range n {
		in := latchkey.SignIn{Subject: fmt.Sprintf("user-%07d", i), Email: "someone@example.com", Name: "Some One"}
		issued, err := m.Issue(context.Background(), in)
		if err != nil {
			b.Fatal(err)
		}
		if data {
			s, err := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token})
			if err != nil {
				b.Fatal(err)
			}
			for _, err := range []error{email.Set(s, "someone@example.com"), theme.Set(s, "dark"), cart.Set(s, []string{"a", "b"}),
				count.Set(s, 7), admin.Set(s, true), until.Set(s, time.Now()), s.Commit(context.Background())} {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		if _, err := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token}); err != nil { // files it
			b.Fatal(err)
		}
		if len(requests) < hotSet {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Cookie", "__Host-session="+issued.Token)
			requests = append(requests, r)
		}
	}
	store.detach(b)
	return m, cache, requests
}

// detachable is a store in memory whose rows can be let go of once the cache is
// full, so that what is measured is the cache and not the store behind it.
type detachable struct {
	*memory.Store // the feed
	rows          atomic.Pointer[memory.Store]
}

func newDetachable(b testing.TB) *detachable {
	feed, err := memory.New(memory.Config{})
	if err != nil {
		b.Fatal(err)
	}
	d := &detachable{Store: feed}
	d.detach(b)
	return d
}

// detach puts an empty store in place of the rows.
func (d *detachable) detach(b testing.TB) {
	rows, err := memory.New(memory.Config{})
	if err != nil {
		b.Fatal(err)
	}
	d.rows.Store(rows)
}

func (d *detachable) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	return d.rows.Load().Create(ctx, c)
}

func (d *detachable) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	return d.rows.Load().Get(ctx, id)
}

func (d *detachable) Patch(ctx context.Context, p latchkey.Patch) error {
	return d.rows.Load().Patch(ctx, p)
}

func (d *detachable) Touch(ctx context.Context, t []latchkey.Touch) error {
	return d.rows.Load().Touch(ctx, t)
}

// writer is a ResponseWriter that costs nothing.
type writer struct{ h http.Header }

func (w writer) Header() http.Header         { return w.h }
func (w writer) Write(p []byte) (int, error) { return len(p), nil }
func (w writer) WriteHeader(int)             {}

var ok = []byte("ok")

// run calls the handler with the requests in turn.
func run(b *testing.B, h http.Handler, requests []*http.Request) {
	b.Helper()
	b.ReportAllocs()
	w := writer{http.Header{}}
	for i := 0; b.Loop(); i++ {
		h.ServeHTTP(w, requests[i%len(requests)])
	}
}

func readSubject(b testing.TB, m *latchkey.Manager) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Read(w, r)
		if err != nil || s.Subject() == "" {
			b.Error("no session", err)
		}
		_, _ = w.Write(ok)
	})
}

func BenchmarkHot(b *testing.B) {
	b.Run("latchkey_subject", func(b *testing.B) {
		m, _, requests := manager(b, hotSet, false, 0)
		run(b, readSubject(b, m), requests)
	})
	b.Run("latchkey_subject_context", func(b *testing.B) {
		m, _, requests := manager(b, hotSet, false, 0)
		run(b, m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := latchkey.FromContext(r.Context())
			if err != nil || s.Subject() == "" {
				b.Error("no session", err)
			}
			_, _ = w.Write(ok)
		})), requests)
	})
	b.Run("latchkey_value", func(b *testing.B) {
		m, _, requests := manager(b, hotSet, true, 0)
		run(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := m.Read(w, r)
			if v, verr := theme.Get(s); err != nil || verr != nil || v != "dark" {
				b.Error("no value", err, verr)
			}
			_, _ = w.Write(ok)
		}), requests)
	})
	b.Run("scs_memstore", func(b *testing.B) {
		h, requests := scsHandler(b)
		run(b, h, requests)
	})
	b.Run("gorilla_cookiestore", func(b *testing.B) {
		h, requests := gorillaHandler(b)
		run(b, h, requests)
	})
}

func scsHandler(b testing.TB) (http.Handler, []*http.Request) {
	gob.Register(time.Time{})
	gob.Register([]string{})
	sm := scs.New()
	var requests []*http.Request
	for i := range hotSet {
		ctx, err := sm.Load(context.Background(), "")
		if err != nil {
			b.Fatal(err)
		}
		sm.Put(ctx, "subject", fmt.Sprintf("user-%07d", i))
		sm.Put(ctx, "theme", "dark")
		sm.Put(ctx, "cart", []string{"a", "b"})
		sm.Put(ctx, "count", 7)
		sm.Put(ctx, "admin", true)
		sm.Put(ctx, "until", time.Now())
		token, _, err := sm.Commit(ctx)
		if err != nil {
			b.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", "session="+token)
		requests = append(requests, r)
	}
	return sm.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sm.GetString(r.Context(), "subject") == "" {
			b.Error("no session")
		}
		_, _ = w.Write(ok)
	})), requests
}

func gorillaHandler(b testing.TB) (http.Handler, []*http.Request) {
	store := sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"))
	var requests []*http.Request
	for i := range hotSet {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		w := httptest.NewRecorder()
		s, err := store.Get(r, "session")
		if err != nil {
			b.Fatal(err)
		}
		s.Values["subject"] = fmt.Sprintf("user-%07d", i)
		s.Values["theme"] = "dark"
		s.Values["cart"] = []string{"a", "b"}
		s.Values["count"] = 7
		s.Values["admin"] = true
		s.Values["until"] = time.Now()
		if err := s.Save(r, w); err != nil {
			b.Fatal(err)
		}
		again := httptest.NewRequest(http.MethodGet, "/", nil)
		again.AddCookie(w.Result().Cookies()[0])
		requests = append(requests, again)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Each request decodes its cookie anew: gorilla keeps what it decoded in the
		// request's context, so a fresh shallow copy stands for a new request.
		s, err := store.Get(r.WithContext(context.Background()), "session")
		if err != nil || s.Values["subject"] == nil {
			b.Error("no session", err)
		}
		_, _ = w.Write(ok)
	}), requests
}

// BenchmarkMillion reports what a million cached sessions cost: a full garbage
// collection, and the memory of each beyond its strings.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	before := heap()
	m, cache, requests := manager(b, n, false, 1<<30)
	stats := cache.Stats()
	if stats.Entries != n {
		b.Fatalf("%d of %d sessions are held", stats.Entries, n)
	}
	text := len("local") + len("user-0000000") + len("someone@example.com") + len("Some One")
	b.Run("collect", func(b *testing.B) {
		var times []float64
		for b.Loop() {
			began := time.Now()
			runtime.GC()
			times = append(times, float64(time.Since(began))/1e6)
		}
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2], "ms/GC") // the median: a collection shares the cores with whatever else runs
		b.ReportMetric(float64(stats.Bytes)/n, "B/session")
		b.ReportMetric(float64(stats.Bytes)/n-float64(text), "B/session-strings")
		b.ReportMetric(float64(heap()-before)/n, "heapB/session")
	})
	b.Run("subject_hot4096", func(b *testing.B) { run(b, readSubject(b, m), requests) })
}

func heap() uint64 {
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return ms.HeapAlloc
}
