package storetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

// follower gathers what a feed delivers.
type follower struct {
	mu      sync.Mutex
	batches []latchkey.Batch
	arrived chan struct{} // capacity 1: another batch has come
	stop    context.CancelFunc
	ended   chan error
}

// beat is how often the suite wants to hear that a feed is alive.
const beat = 20 * time.Millisecond

// follow follows the feed and waits for its first batch.
func (e *env) follow() *follower {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{arrived: make(chan struct{}, 1), stop: cancel, ended: make(chan error, 1)}
	go func() {
		f.ended <- e.feed().Follow(ctx, beat, func(b latchkey.Batch) {
			b.IDs = slices.Clone(b.IDs)
			f.mu.Lock()
			f.batches = append(f.batches, b)
			f.mu.Unlock()
			select {
			case f.arrived <- struct{}{}:
			default:
			}
		})
	}()
	e.t.Cleanup(cancel)
	f.await(e.t, func(all []latchkey.Batch) bool { return len(all) > 0 })
	return f
}

// patience bounds every wait of the suite for something that must happen.
const patience = 10 * time.Second

// await waits until the batches so far satisfy done.
func (f *follower) await(t *testing.T, done func([]latchkey.Batch) bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		f.mu.Lock()
		ok := done(f.batches)
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-f.arrived:
		case err := <-f.ended:
			t.Fatalf("Follow returned %v", err)
		case <-deadline.C:
			t.Fatal("the feed delivers nothing")
		}
	}
}

func (f *follower) all() []latchkey.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// ids lists what was invalidated since the first batch.
func (f *follower) ids() (ids []latchkey.ID) {
	for _, b := range f.all() {
		ids = append(ids, b.IDs...)
	}
	return ids
}

// reset reports whether everything was invalidated since the first batch.
func (f *follower) reset() bool {
	for _, b := range f.all()[1:] {
		if b.Reset || b.All {
			return true
		}
	}
	return false
}

// told reports whether a session was invalidated since the first batch.
func (f *follower) told(id latchkey.ID) bool {
	return f.reset() || slices.Contains(f.ids(), id)
}

func testFeed(t *testing.T, h Harness) {
	if h.NoFeed {
		t.Skip("the harness excepts the feed")
	}
	group(t, h, map[string]func(*env){
		"FirstIsReset":    feedFirst,
		"BeforeAnswer":    feedBeforeAnswer,
		"All":             feedAll,
		"NothingRefused":  feedRefused,
		"Beats":           feedBeats,
		"BeatIsPromise":   feedPromise,
		"SeveralFollow":   feedSeveral,
		"Cancel":          feedCancel,
		"CancelledBefore": feedCancelledBefore,
		"InOrder":         feedInOrder,
	})
}

func feedFirst(e *env) {
	f := e.follow()
	if first := f.all()[0]; !first.Reset {
		e.t.Errorf("first batch is %+v, want a reset", first)
	}
	if f.reset() {
		e.t.Error("a later batch is a reset although nothing broke")
	}
}

// When a change returns, followers of the same store value have been told.
func feedBeforeAnswer(e *env) {
	with := e.draft(bob)
	with.Record.SID = "s"
	patched, revoked, replaced, bySID := e.add(ann).ID, e.add(ann).ID, e.add(latchkey.Identity{}).ID, e.create(with).ID
	f := e.follow()
	known := 0 // what was published before the change in question
	check := func(what string, want ...latchkey.ID) {
		e.t.Helper()
		got := setOf(f.ids()[known:])
		for _, id := range want {
			if !got[id] && !f.reset() {
				e.t.Errorf("%s: %v was not published before the answer", what, id)
			}
		}
		known = len(f.ids())
	}
	if err := e.patch(patched, nil); err != nil {
		e.t.Fatal(err)
	}
	check("patch", patched)
	e.revoke(latchkey.Revocation{ID: revoked})
	check("revoke", revoked)
	c := e.limited(ann, 1, latchkey.EvictOldest)
	c.Replaces = replaced
	e.create(c)
	check("create", patched, replaced)
	e.revoke(latchkey.Revocation{Provider: bob.Provider, SID: "s"})
	check("revoke by sid", bySID)
	e.revoke(identity(ann))
	check("revoke by identity", c.Record.ID)
}

func feedAll(e *env) {
	e.add(ann)
	f := e.follow()
	e.revoke(latchkey.Revocation{All: true})
	if !f.reset() {
		e.t.Error("the end of everything was not published before the answer")
	}
}

// What changed nothing is not published.
func feedRefused(e *env) {
	rec := e.add(ann)
	f := e.follow()
	stale := *rec
	stale.Version = 9
	wantCode(e.t, e.store.Patch(e.t.Context(), latchkey.Patch{Record: stale}), latchkey.CodeConflict)
	_, err := e.store.Create(e.t.Context(), e.limited(ann, 1, latchkey.RefuseNew))
	wantCode(e.t, err, latchkey.CodeLimitReached)
	if got := f.ids(); len(got) != 0 {
		e.t.Errorf("refused changes published %v", got)
	}
}

// sent returns the proofs among batches.
func sent(batches []latchkey.Batch) (moments []latchkey.Moment) {
	for _, b := range batches {
		if b.Sent != (latchkey.Moment{}) {
			moments = append(moments, b.Sent)
		}
	}
	return moments
}

func feedBeats(e *env) {
	f := e.follow()
	f.await(e.t, func(all []latchkey.Batch) bool { return len(sent(all)) >= 3 })
	e.clock.Advance(time.Minute)
	now := e.clock.Now()
	f.await(e.t, func(all []latchkey.Batch) bool { return slices.Contains(sent(all), now) })
	moments := sent(f.all())
	for i, m := range moments {
		if m.Mono > now.Mono {
			e.t.Errorf("a proof of the future: %+v", m)
		}
		if i > 0 && m.Mono < moments[i-1].Mono {
			e.t.Errorf("proofs go back: %+v after %+v", m, moments[i-1])
		}
	}
}

// A proof promises that everything committed before it was sent has been
// delivered by then.
func feedPromise(e *env) {
	f := e.follow()
	committed := make(map[latchkey.ID]latchkey.Moment)
	for range 50 {
		id := e.add(ann).ID
		e.revoke(latchkey.Revocation{ID: id})
		committed[id] = e.clock.Now()
		e.clock.Advance(time.Millisecond)
	}
	last := e.clock.Now()
	f.await(e.t, func(all []latchkey.Batch) bool { return slices.Contains(sent(all), last) })
	delivered := make(map[latchkey.ID]bool)
	for _, b := range f.all() {
		for _, id := range b.IDs {
			delivered[id] = true
		}
		if b.Sent == (latchkey.Moment{}) {
			continue
		}
		for id, at := range committed {
			if at.Mono < b.Sent.Mono && !delivered[id] {
				e.t.Fatalf("a proof of %d is ahead of a change of %d", b.Sent.Mono, at.Mono)
			}
		}
	}
}

func feedSeveral(e *env) {
	id := e.add(ann).ID
	first, second := e.follow(), e.follow()
	first.stop()
	if err := <-first.ended; err == nil {
		e.t.Error("Follow returned without a reason")
	}
	third := e.follow()
	e.revoke(latchkey.Revocation{ID: id})
	for name, f := range map[string]*follower{"second": second, "third": third} {
		if !slices.Contains(f.ids(), id) {
			e.t.Errorf("the %s follower was not told", name)
		}
	}
	if slices.Contains(first.ids(), id) {
		e.t.Error("a follower that has stopped was told")
	}
}

func feedCancel(e *env) {
	f := e.follow()
	f.stop()
	select {
	case <-f.ended:
	case <-time.After(patience):
		e.t.Fatal("Follow goes on after its context ended")
	}
	before := len(f.all())
	e.revoke(latchkey.Revocation{ID: e.add(ann).ID})
	if after := len(f.all()); after != before {
		e.t.Error("something was delivered after Follow returned")
	}
}

func feedCancelledBefore(e *env) {
	ctx, cancel := context.WithCancel(e.t.Context())
	cancel()
	if err := e.feed().Follow(ctx, beat, func(latchkey.Batch) {}); err == nil {
		e.t.Error("Follow returned nil")
	}
}

// Deliveries come from one goroutine, and of one session in the order of its changes.
func feedInOrder(e *env) {
	var running sync.Mutex
	overlapped := false
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		ended <- e.feed().Follow(ctx, beat, func(latchkey.Batch) {
			if !running.TryLock() {
				overlapped = true
				return
			}
			defer running.Unlock()
			once.Do(func() { close(ready) })
		})
	}()
	<-ready
	ids := e.addMany(ann, 64)
	parallel(16, func(i int) {
		for _, id := range ids[i*4 : i*4+4] {
			if _, err := e.store.Revoke(context.Background(), e.revocation(latchkey.Revocation{ID: id})); err != nil {
				e.t.Errorf("Revoke: %v", err)
			}
		}
	})
	cancel()
	<-ended
	if overlapped {
		e.t.Error("deliver was called from two goroutines at once")
	}
}
