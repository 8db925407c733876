package nearcache_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/sqlite"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func TestUnchanged(t *testing.T) {
	n, _, _, clock := paged(t, nil)
	revoked, patched, erased, live := n.add(), n.add(), n.add(), n.add()
	before := n.add()
	n.revoke(before)
	if n.begin(); n.cache.Stats().Changed != 1 || n.cache.Stats().ChangedLoads == 0 {
		t.Errorf("%+v", n.cache.Stats())
	}
	n.want(true, revoked, patched, erased, live)
	n.want(false, before)
	n.revoke(revoked)
	n.want(false, revoked) // told before Revoke returned
	rec, err := n.store.Get(t.Context(), patched)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.store.Patch(t.Context(), latchkey.Patch{Record: *rec}); err != nil {
		t.Fatal(err)
	}
	n.want(false, patched)
	n.want(true, erased, live)
	if _, err := n.store.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "p", Subject: "ann"}}); err != nil {
		t.Fatal(err)
	}
	n.want(false, erased, live)
	later := n.add()
	n.want(true, later)
	if now := n.generationOf(later); n.under(later, now-1) || n.under(later, now+1) {
		t.Error("a session of another generation is vouched for")
	}
	if now := clock.Now(); n.cache.Unchanged(later, 1, now, 0) || n.cache.Unchanged(later, 1, now, -time.Second) {
		t.Error("vouched for although the store is to be asked")
	}
	n.cache.Stop()
	n.want(false, later)
}

// Nothing is known before the list was read, and nothing without Track.
func TestTrack(t *testing.T) {
	n, p, f, _ := paged(t, nil)
	id := n.add()
	n.cache.Start()
	n.until("a lease", func() bool { return n.cache.Stats().LeaseAge >= 0 })
	n.want(false, id)
	if p.count() != 0 {
		t.Error("the list was read although nobody asked")
	}
	f.Fail(storetest.Only(storetest.MethodChanged, storetest.NotPersisted))
	for range 3 {
		if err := n.cache.Track(); err != nil {
			t.Fatal(err)
		}
	}
	n.want(false, id)
	f.Fail(nil)
	n.loaded()
	n.want(true, id)

	for name, order := range map[string]func(*node) error{
		"before-start": func(n *node) error { err := n.cache.Track(); n.cache.Start(); return err },
		"after-stop": func(n *node) error {
			n.cache.Start()
			n.cache.Stop()
			return n.cache.Track()
		},
		"never-started": func(n *node) error { return n.cache.Track() },
	} {
		t.Run(name, func(t *testing.T) {
			n, _, _, _ := paged(t, nil)
			id := n.add()
			if err := order(n); err != nil {
				t.Fatal(err)
			}
			if name == "before-start" {
				n.loaded()
			}
			n.want(name == "before-start", id)
		})
	}
}

// feedOnly is a store that keeps no list of changes.
type feedOnly struct {
	latchkey.Store
	latchkey.Feed
}

func TestTrackNeedsAList(t *testing.T) {
	inner, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	n := newNode(t, nearcache.Config{Store: feedOnly{inner, inner}})
	if err := n.cache.Track(); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Errorf("got %v", err)
	}
	if _, err := nearcache.New(nearcache.Config{Store: inner, MaxChanged: -1}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Errorf("a negative bound: %v", err)
	}
}

// What changes while the list is read is in it, behind the page that is read next
// and before it.
func TestRevokedDuringLoad(t *testing.T) {
	n, p, _, _ := paged(t, nil)
	ids := n.addMany(12)
	n.revoke(ids[1], ids[3], ids[5], ids[7], ids[9], ids[11]) // two pages
	p.onSecondPage(func() { n.revoke(ids[0], ids[10]) })
	n.begin()
	n.want(false, ids[0], ids[1], ids[10], ids[11])
	n.want(true, ids[2], ids[8])
	n.revoke(ids[2])
	n.want(false, ids[2])
}

// A list that was being read when invalidations were missed is worth nothing.
func TestResetDuringLoad(t *testing.T) {
	n, p, f, clock := paged(t, nil)
	ids := n.addMany(12)
	n.revoke(ids[6:]...)
	pages := 0
	p.onSecondPage(func() {
		f.CutFeed(true)
		clock.Advance(150 * time.Millisecond)
		n.revoke(ids[0]) // its page has been read, and nobody is told
		f.CutFeed(false)
		for n.cache.Stats().LeaseAge > 0 {
			time.Sleep(time.Millisecond) // until the first batch of a new stream
		}
		pages = p.count()
	})
	n.begin()
	n.want(false, ids[0])
	if again := p.count() - pages; again < 3 || n.cache.Stats().ChangedLoads != 1 {
		t.Errorf("%d pages were read after the feed had broken; want all three again", again)
	}
	n.want(true, ids[1:6]...)
	n.want(false, ids[6:]...)
}

// The same once the list had been read: whatever was missed is not vouched for.
func TestResetUnloads(t *testing.T) {
	n, p, f, _ := paged(t, nil)
	ids := n.addMany(4)
	n.begin()
	n.want(true, ids...)
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.onPage(func(latchkey.ID) {
		once.Do(func() { close(held) })
		<-hold
	})
	f.CutFeed(true)
	n.revoke(ids[0])
	f.CutFeed(false)
	<-held
	n.want(false, ids...)
	if s := n.cache.Stats(); s.ChangedLoaded || s.Changed != 0 {
		t.Errorf("%+v", s)
	}
	close(hold)
	n.loaded()
	n.want(false, ids[0])
	n.want(true, ids[1:]...)
}

// The raised generation ends what was made under a lower one, whenever it is raised.
func TestRaisedDuringLoad(t *testing.T) {
	n, p, _, _ := paged(t, nil)
	ids := n.addMany(12)
	n.revoke(ids[6:]...)
	p.onSecondPage(n.raise)
	n.begin()
	n.want(false, ids...)
	later := n.add()
	n.until("the list of the new generation", func() bool { return n.under(later, n.generationOf(later)) })
	n.want(false, later)
	n.revoke(later)
	if n.under(later, n.generationOf(later)) {
		t.Error("an ended session of the new generation is vouched for")
	}
	n.raise()
	if n.want(false, ids...); n.under(later, n.generationOf(later)) {
		t.Error("an ended session is vouched for")
	}
	last := n.add()
	n.until("the list of the last generation", func() bool { return n.under(last, n.generationOf(last)) })
}

// The lease counts by both clocks, exactly as for entries.
func TestUnchangedNeedsALease(t *testing.T) {
	n, _, f, clock := paged(t, nil)
	id := n.add()
	n.begin()
	f.CutFeed(true)
	for name, step := range map[string]struct{ pass, back func() }{
		"forth": {func() { clock.StepWall(201 * time.Millisecond) }, func() { clock.StepWall(-201 * time.Millisecond) }},
		"back":  {func() { clock.StepWall(-401 * time.Millisecond) }, func() { clock.StepWall(401 * time.Millisecond) }},
	} {
		n.want(true, id)
		step.pass()
		if n.unchanged(id) {
			t.Errorf("%s: vouched for without a lease", name)
		}
		step.back()
	}
	if now := clock.Now(); !n.cache.Unchanged(id, 1, now, n.cache.Staleness()) {
		t.Error("not vouched for under the lease")
	}
	clock.Advance(150 * time.Millisecond)
	now := clock.Now()
	if !n.cache.Unchanged(id, 1, now, 200*time.Millisecond) || n.cache.Unchanged(id, 1, now, 100*time.Millisecond) {
		t.Error("the caller's own bound is not kept")
	}
	clock.Advance(51 * time.Millisecond)
	n.want(false, id)
	f.CutFeed(false)
	n.until("a lease and the list", func() bool { return n.unchanged(id) })
}

// A load that fails is tried again, and told of.
func TestLoadFails(t *testing.T) {
	errs := make(chan error, 1000)
	n, _, f, _ := paged(t, func(cfg *nearcache.Config) { cfg.OnError = func(err error) { errs <- err } })
	id := n.add()
	f.Fail(storetest.Only(storetest.MethodChanged, storetest.NotPersisted))
	n.cache.Start()
	if err := n.cache.Track(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-errs; latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("told of %v", err)
		}
	}
	n.want(false, id)
	f.Fail(nil)
	n.loaded()
	n.want(true, id)
}

// What the Manager drops is changed as far as this node knows, and no change of the
// keyring makes it forget that.
func TestDropLists(t *testing.T) {
	n, _, f, _ := paged(t, nil)
	ids := n.addMany(3)
	n.begin()
	f.CutFeed(true)
	n.revoke(ids[0]) // nobody is told
	n.want(true, ids[0])
	n.cache.Drop(ids[0], ids[1])
	n.want(false, ids[0], ids[1])
	n.want(true, ids[2])
	n.cache.Clear()
	n.want(false, ids[0], ids[1])
	n.want(true, ids[2])
}

// Above its bound the list tells nothing; it is tried again.
func TestTooManyChanged(t *testing.T) {
	var mu sync.Mutex
	var told []error
	n, p, _, clock := paged(t, func(cfg *nearcache.Config) {
		cfg.MaxChanged = 10
		cfg.OnError = func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() }
	})
	ids := n.addMany(12)
	n.revoke(ids[:11]...)
	n.cache.Start()
	if err := n.cache.Track(); err != nil {
		t.Fatal(err)
	}
	long := func() bool { s := n.cache.Stats(); return s.ChangedOverflow && !s.ChangedLoaded }
	n.until("the list to be too long", long)
	n.want(false, ids...)
	mu.Lock()
	if len(told) == 0 {
		t.Error("nobody was told")
	}
	mu.Unlock()
	pages := p.count()
	clock.Advance(time.Minute + time.Second)
	n.until("another try", func() bool { return p.count() > pages })
	n.until("the list to be too long again", long)
	n.want(false, ids...)
	clock.Advance(time.Hour) // their limits pass
	n.loaded()
	if s := n.cache.Stats(); s.ChangedOverflow || s.Changed != 0 {
		t.Errorf("%+v", s)
	}
	later := n.addMany(12)
	n.want(true, later...)
	n.revoke(later[:11]...) // while it is in force, too
	n.until("the list to be too long once more", long)
	n.want(false, later...)
}

// The list is read anew after a while, and once it has doubled: what is not, or not
// any more, a changed session goes. The old one serves until then.
func TestListIsReadAnew(t *testing.T) {
	n, p, _, clock := paged(t, nil)
	p.size = 1000
	kept, ended := n.add(), n.add()
	n.revoke(ended)
	n.begin()
	loads := func() uint64 { return n.cache.Stats().ChangedLoads }
	for name, due := range map[string]func(){
		"while":   func() { n.noise(100); clock.Advance(15 * time.Minute) },
		"doubled": func() { n.noise(20_000) },
	} {
		before := loads()
		var served, meanwhile bool
		late := n.add()
		p.onPage(func(latchkey.ID) {
			served = n.cache.Stats().ChangedLoaded
			n.revoke(late)
			meanwhile = true
			p.onPage(nil)
		})
		due()
		n.until(name+": the list to be read anew", func() bool { return loads() > before && n.unchanged(kept) })
		if !served || !meanwhile {
			t.Errorf("%s: the list was known meanwhile: %v", name, served)
		}
		n.want(false, ended, late)
		if s := n.cache.Stats(); s.Changed > 4 {
			t.Errorf("%s: %d entries are left", name, s.Changed)
		}
	}
}

// Two nodes on one file: what one ends the other does not vouch for once its list
// is read, or beyond the staleness.
func TestTwoNodesOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	var nodes [2]*node
	for i := range nodes {
		s, err := sqlite.Open(sqlite.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		nodes[i] = newNode(t, nearcache.Config{Store: s, Staleness: 100 * time.Millisecond})
	}
	a, b := nodes[0], nodes[1]
	ids := a.addMany(30)
	a.begin()
	a.revoke(ids[:5]...)
	b.begin()
	b.want(false, ids[:5]...)
	for _, id := range ids[5:15] {
		a.until("the other node to vouch for it", func() bool { return b.unchanged(id) })
		a.revoke(id)
		done := time.Now()
		a.want(false, id)
		for b.unchanged(id) {
			if late := time.Since(done); late > 2*b.cache.Staleness() {
				t.Fatalf("vouched for %v after it was ended", late)
			}
			time.Sleep(time.Millisecond)
		}
	}
	b.revoke(ids[15])
	a.until("the first node to be told", func() bool { return a.cache.Stats().Changed >= 16 })
	a.want(false, ids[15])
	b.raise()
	id := a.add()
	a.until("the new generation", func() bool { return a.under(id, a.generationOf(id)) && b.under(id, a.generationOf(id)) })
	a.want(false, ids...)
	b.want(false, ids...)
}

// Whatever breaks and is read anew meanwhile: once a node has ended a session, it
// never vouches for it again.
func TestNeverAgain(t *testing.T) {
	n, p, f, _ := paged(t, func(cfg *nearcache.Config) { cfg.Staleness = 20 * time.Millisecond })
	p.size = 50
	n.begin()
	all := n.addMany(1500)
	ctx, stop := context.WithCancel(t.Context())
	var others, workers sync.WaitGroup
	others.Go(func() { // the feed breaks again and again, and the list doubles
		for i := 0; ctx.Err() == nil; i++ {
			if i%4 == 0 {
				f.CutFeed(true)
				time.Sleep(2 * time.Millisecond)
				f.CutFeed(false)
			}
			n.noise(20_000)
			time.Sleep(15 * time.Millisecond)
		}
	})
	vouched := make([]int, 4)
	for w := range 4 {
		mine := all[w*len(all)/4 : (w+1)*len(all)/4]
		workers.Go(func() {
			for i, id := range mine {
				if n.unchanged(id) {
					vouched[w]++
				}
				n.revoke(id)
				n.cache.Drop(id)
				for _, ended := range mine[max(0, i-40) : i+1] {
					if n.unchanged(ended) {
						t.Errorf("session %d is vouched for after it was ended", slices.Index(mine, ended))
						return
					}
				}
				time.Sleep(200 * time.Microsecond)
			}
		})
	}
	workers.Wait()
	stop()
	others.Wait()
	n.loaded()
	n.want(false, all...)
	if slices.Max(vouched) == 0 || n.cache.Stats().ChangedLoads < 5 {
		t.Errorf("vouched for %v, %+v: the test has not done what it is for", vouched, n.cache.Stats())
	}
}
