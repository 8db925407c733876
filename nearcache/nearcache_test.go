package nearcache_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gated is a real store whose reads can be held back and whose feed can be cut.
type gated struct {
	*memory.Store
	mu    sync.Mutex
	hold  chan struct{} // reads wait for it, when set
	begun chan struct{} // told of each read that waits
	cut   chan struct{} // ends Follow, when closed
	fail  error         // what reads answer, when set
	reads int
}

func (g *gated) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	g.mu.Lock()
	g.reads++
	hold, begun, fail := g.hold, g.begun, g.fail
	g.mu.Unlock()
	if fail != nil {
		return nil, fail
	}
	rec, err := g.Store.Get(ctx, id)
	if hold != nil {
		begun <- struct{}{}
		<-hold
	}
	return rec, err
}

var errCut = errors.New("feed cut")

func (g *gated) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.mu.Lock()
	cut := g.cut
	g.mu.Unlock()
	select {
	case <-cut:
		return errCut
	default:
	}
	stop := context.AfterFunc(ctx, func() {})
	defer stop()
	go func() {
		select {
		case <-cut:
			cancel(errCut)
		case <-ctx.Done():
		}
	}()
	return g.Store.Follow(ctx, interval, deliver)
}

type fixture struct {
	m     *latchkey.Manager
	store *gated
	cache *nearcache.Cache
	clock *latchkeytest.Clock
	ring  *keyring.Ring
}

func setup(t *testing.T, change func(*latchkey.Config)) *fixture {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	inner, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	store := &gated{Store: inner, cut: make(chan struct{})}
	cache, err := nearcache.New(nearcache.Config{Store: store, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Generate(clock.Time().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cfg := latchkey.Config{Store: store, Keys: ring, Clock: clock, Cache: cache}
	if change != nil {
		change(&cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cache.Start()
	t.Cleanup(func() {
		_ = m.Close(context.Background())
		cache.Stop()
		_ = inner.Close()
	})
	f := &fixture{m, store, cache, clock, ring}
	f.lease(t)
	return f
}

// lease waits for a proof sent at the clock's present reading.
func (f *fixture) lease(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for f.cache.Stats().LeaseAge != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no lease: %+v", f.cache.Stats())
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *fixture) signIn(t *testing.T) (string, latchkey.ID) {
	t.Helper()
	issued, err := f.m.Issue(context.Background(), latchkey.SignIn{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Token, issued.Record.ID
}

func (f *fixture) lookup(token string) error {
	_, err := f.m.Lookup(context.Background(), latchkey.Lookup{Token: token})
	return err
}

func (f *fixture) reads() int {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return f.store.reads
}

func (f *fixture) set(change func(*gated)) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	change(f.store)
}

// hits asserts that a lookup is granted with so many trips.
func (f *fixture) grants(t *testing.T, token string, trips int) {
	t.Helper()
	before := f.reads()
	if err := f.lookup(token); err != nil {
		t.Fatal(err)
	}
	if n := f.reads() - before; n != trips {
		t.Errorf("%d trips, want %d", n, trips)
	}
}

func TestHitCostsNoTrip(t *testing.T) {
	f := setup(t, nil)
	token, _ := f.signIn(t)
	f.grants(t, token, 1)
	f.grants(t, token, 0)
	if _, err := f.m.Lookup(context.Background(), latchkey.Lookup{Token: token, AskStore: true}); err != nil {
		t.Fatal(err)
	}
	if n := f.m.Stats(); n.Hits != 1 || n.Loads != 2 {
		t.Errorf("%+v", n)
	}
}

func TestRevokedIsForgottenAtOnce(t *testing.T) {
	f := setup(t, nil)
	token, id := f.signIn(t)
	f.grants(t, token, 1)
	// Not through the Manager: as another node's revocation arrives.
	if _, err := f.store.Revoke(context.Background(), latchkey.Revocation{ID: id, By: "admin:x"}); err != nil {
		t.Fatal(err)
	}
	if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("ended session granted: %v", err)
	}
}

// A lease holds only while both clocks say so.
func TestLeaseLapses(t *testing.T) {
	for name, lapse := range map[string]func(*latchkeytest.Clock){
		"time":         func(c *latchkeytest.Clock) { c.Advance(1100 * time.Millisecond) },
		"suspended":    func(c *latchkeytest.Clock) { c.Suspend(1100 * time.Millisecond) },
		"stepped-back": func(c *latchkeytest.Clock) { c.StepWall(-time.Hour) },
		// The wall clock is set to where it was: as it has it, no time passed.
		"time-taken-back": func(c *latchkeytest.Clock) {
			c.Advance(1100 * time.Millisecond)
			c.StepWall(-1100 * time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, nil)
			token, _ := f.signIn(t)
			f.grants(t, token, 1)
			f.set(func(g *gated) { close(g.cut) })
			for f.cache.Stats().FeedBreaks == 0 {
				time.Sleep(time.Millisecond)
			}
			f.grants(t, token, 0) // still within the staleness
			lapse(f.clock)
			f.grants(t, token, 1)
			f.set(func(g *gated) { g.fail = latchkey.ErrUnavailable })
			if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("without lease and store: %v", err)
			}
			f.set(func(g *gated) { g.fail, g.cut = nil, make(chan struct{}) })
			f.lease(t)
			f.grants(t, token, 1) // what was held before is forgotten
			f.grants(t, token, 0)
		})
	}
}

func TestServeStale(t *testing.T) {
	f := setup(t, func(cfg *latchkey.Config) { cfg.ServeStale = 10 * time.Second })
	token, _ := f.signIn(t)
	f.grants(t, token, 1)
	f.set(func(g *gated) { close(g.cut); g.fail = latchkey.ErrUnavailable })
	for f.cache.Stats().FeedBreaks == 0 {
		time.Sleep(time.Millisecond)
	}
	f.clock.Advance(5 * time.Second)
	if err := f.lookup(token); err != nil {
		t.Errorf("not served stale: %v", err)
	}
	f.clock.Advance(6 * time.Second)
	if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("served beyond the limit: %v", err)
	}
	if f.m.Stats().ServedStale != 1 {
		t.Errorf("%+v", f.m.Stats())
	}
}

// A read that was under way when its session ended must not be filed after it.
func TestLateFillIsDropped(t *testing.T) {
	f := setup(t, nil)
	token, id := f.signIn(t)
	hold, begun := make(chan struct{}), make(chan struct{}, 1)
	f.set(func(g *gated) { g.hold, g.begun = hold, begun })
	done := make(chan error)
	go func() { done <- f.lookup(token) }()
	<-begun
	if _, err := f.store.Revoke(context.Background(), latchkey.Revocation{ID: id, By: "admin:x"}); err != nil {
		t.Fatal(err)
	}
	f.set(func(g *gated) { g.hold = nil })
	close(hold)
	if err := <-done; err != nil { // it began before the revocation
		t.Fatal(err)
	}
	if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("filled after its invalidation: %v", err)
	}
	if f.cache.Stats().LateFills != 1 {
		t.Errorf("%+v", f.cache.Stats())
	}
}

// Misses at one time share a trip; a caller that accepts nothing old joins the
// next one instead.
func TestSharedTrips(t *testing.T) {
	f := setup(t, nil)
	token, _ := f.signIn(t)
	hold, begun := make(chan struct{}), make(chan struct{}, 8)
	f.set(func(g *gated) { g.hold, g.begun = hold, begun })
	before := f.reads()
	var wg sync.WaitGroup
	look := func(l latchkey.Lookup) {
		wg.Go(func() {
			if _, err := f.m.Lookup(context.Background(), l); err != nil {
				t.Error(err)
			}
		})
	}
	look(latchkey.Lookup{Token: token})
	<-begun
	for range 20 {
		look(latchkey.Lookup{Token: token})
		look(latchkey.Lookup{Token: token, AskStore: true})
	}
	for f.cache.Stats().Joined+f.cache.Stats().Trips < 40 { // all but the next trip's sender are counted
		time.Sleep(time.Millisecond)
	}
	f.set(func(g *gated) { g.hold = nil })
	close(hold)
	wg.Wait()
	if n := f.reads() - before; n != 2 {
		t.Errorf("%d trips for 41 callers, want 2", n)
	}
}

func TestKeyringChangeEmpties(t *testing.T) {
	f := setup(t, nil)
	token, _ := f.signIn(t)
	f.grants(t, token, 1)
	other, err := keyring.GenerateKey(2, f.clock.Time().Add(-time.Minute), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ring.Set(other); err != nil {
		t.Fatal(err)
	}
	if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("token under a key that is gone: %v", err)
	}
}

// The idle limit is extended by what this node saw, and an idle verdict is always
// the store's.
func TestIdleIsAMiss(t *testing.T) {
	f := setup(t, nil)
	token, id := f.signIn(t)
	for range 5 {
		f.clock.Advance(50 * time.Minute)
		f.lease(t)
		if err := f.lookup(token); err != nil {
			t.Fatal("idled out although seen every 50 minutes:", err)
		}
		if err := f.m.FlushTouches(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	f.clock.Advance(59 * time.Minute)
	f.lease(t)
	// Another node saw it meanwhile.
	if err := f.store.Touch(context.Background(), []latchkey.Touch{{ID: id, At: f.clock.Time()}}); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(30 * time.Minute)
	f.lease(t)
	if err := f.lookup(token); err != nil {
		t.Error("an idle verdict was not the store's:", err)
	}
	f.clock.Advance(61 * time.Minute)
	f.lease(t)
	if err := f.lookup(token); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("idle session granted: %v", err)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	f := setup(t, nil)
	token, _ := f.signIn(t)
	f.grants(t, token, 1)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", "__Host-session="+token)
	w := httptest.NewRecorder()
	if n := testing.AllocsPerRun(100, func() {
		if s, err := f.m.Read(w, r); err != nil || s.Subject() != "alice" {
			t.Error("no session", err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
