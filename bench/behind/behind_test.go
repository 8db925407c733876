// Package behind measures a hit of the near cache over every store: what is behind
// it should make no difference, and reading should write nothing to it.
package behind

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
)

const hotSet = 4096

var errNoSession = errors.New("no session")

// writer is a ResponseWriter that costs nothing.
type writer struct{ h http.Header }

func (w writer) Header() http.Header         { return w.h }
func (w writer) Write(p []byte) (int, error) { return len(p), nil }
func (w writer) WriteHeader(int)             {}

// BenchmarkBehind reads the subject of each request's session, over each store in turn.
func BenchmarkBehind(b *testing.B) {
	var subjects []paired.Subject
	for _, kind := range fleet.Kinds() {
		n := kind.Start(b).Node(fleet.Setting{Cache: true})
		requests := hot(b, n, hotSet)
		w := writer{http.Header{}}
		subjects = append(subjects, paired.Compute(kind.Name, func(i int) error {
			s, err := n.Read(w, requests[i%hotSet])
			if err != nil || s.Subject() == "" {
				return errors.Join(errNoSession, err)
			}
			return nil
		}))
	}
	paired.Compare(b, paired.Plan{}, subjects...)
}

// hot makes sessions and requests of them, and has the cache file each.
func hot(b *testing.B, n *fleet.Node, count int) []*http.Request {
	b.Helper()
	people := make([]int, count)
	for i := range people {
		people[i] = i
	}
	requests := make([]*http.Request, count)
	for i, issued := range n.Fill(b, 64, people) {
		if _, err := n.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token}); err != nil {
			b.Fatal(err)
		}
		requests[i] = httptest.NewRequest(http.MethodGet, "/", nil)
		requests[i].Header.Set("Cookie", "__Host-session="+issued.Token)
	}
	return requests
}

// watched counts the writes that a store is asked for on the path of a request, and
// the activity that it is told of in all.
type watched struct {
	latchkey.Store
	latchkey.Feed
	latchkey.PlacementKeeper
	writes, touches *atomic.Int64
}

// timed is for stores that have a clock of their own.
type timed struct {
	*watched
	latchkey.Timekeeper
}

func watch(s latchkey.Store, writes, touches *atomic.Int64) latchkey.Store {
	w := &watched{Store: s, writes: writes, touches: touches}
	w.Feed, _ = s.(latchkey.Feed)
	w.PlacementKeeper, _ = s.(latchkey.PlacementKeeper)
	if k, ok := s.(latchkey.Timekeeper); ok {
		return timed{w, k}
	}
	return w
}

// onPath notes a write that serve is waiting for.
func (w *watched) onPath() {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".serve") && strings.Contains(f.Function, "/behind.") {
			w.writes.Add(1)
			return
		}
		if !more {
			return
		}
	}
}

func (w *watched) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	w.onPath()
	return w.Store.Create(ctx, c)
}

func (w *watched) Patch(ctx context.Context, p latchkey.Patch) error {
	w.onPath()
	return w.Store.Patch(ctx, p)
}

func (w *watched) Touch(ctx context.Context, t []latchkey.Touch) error {
	w.onPath()
	w.touches.Add(int64(len(t)))
	return w.Store.Touch(ctx, t)
}

func (w *watched) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	w.onPath()
	return w.Store.Revoke(ctx, r)
}

func (w *watched) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	w.onPath()
	return w.Store.Purge(ctx, p)
}

// serve hands a request to a handler, as net/http would.
//
//go:noinline
func serve(h http.Handler, r *http.Request) { h.ServeHTTP(writer{http.Header{}}, r) }

// BenchmarkReadsWrite counts the writes that a thousand requests wait for, each of
// which reads a live session whose activity is due to be noted.
func BenchmarkReadsWrite(b *testing.B) {
	const reads, idle = 1000, 20 * time.Second
	for _, kind := range fleet.Kinds() {
		var writes, touches atomic.Int64
		n := kind.Start(b).Node(fleet.Setting{Cache: true, Idle: idle, Wrap: func(s latchkey.Store) latchkey.Store { return watch(s, &writes, &touches) }})
		requests := hot(b, n, reads)
		time.Sleep(idle/20 + 100*time.Millisecond) // activity is noted once in a twentieth of the idle limit
		h := n.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if s, err := latchkey.FromContext(r.Context()); err != nil || s.Subject() == "" {
				b.Error(errors.Join(errNoSession, err))
			}
		}))
		for _, r := range requests {
			serve(h, r)
		}
		if err := n.FlushTouches(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.Run(kind.Name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(writes.Load()), "writes/1000-reads")
			if touches.Load() < reads {
				b.Errorf("the activity of %d sessions was noted: nothing was due", touches.Load())
			}
		})
	}
}
