package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

func testCount(t *testing.T, h Harness) {
	if h.NoCount {
		t.Skip("the harness excepts the count")
	}
	e := open(t, h)
	check := func(want latchkey.Counts) {
		t.Helper()
		if got, err := e.counter().Count(t.Context()); err != nil || got != want {
			t.Errorf("counted %+v, %v; want %+v", got, err, want)
		}
	}
	check(latchkey.Counts{})
	first := e.add(ann).ID
	e.add(ann)
	e.add(twin)
	e.add(latchkey.Identity{})
	check(latchkey.Counts{Live: 4, Identities: 2, Anonymous: 1})
	e.revoke(latchkey.Revocation{ID: first})
	check(latchkey.Counts{Live: 3, Identities: 2, Anonymous: 1, Ended: 1})
	e.revoke(identity(twin))
	check(latchkey.Counts{Live: 2, Identities: 1, Anonymous: 1, Ended: 2})
	e.clock.Advance(idle)
	e.add(bob)
	check(latchkey.Counts{Live: 1, Identities: 1, Ended: 4})
	e.purge(latchkey.Purge{EndedBefore: e.now().Add(time.Second)})
	check(latchkey.Counts{Live: 1, Identities: 1})
}

// calls are all methods, as something to be refused. id is a live session.
func (e *env) calls(id latchkey.ID) map[string]func(context.Context) error {
	calls := map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error {
			c := e.limited(ann, 1, latchkey.EvictOldest)
			c.Replaces = id
			_, err := e.store.Create(ctx, c)
			return err
		},
		"Get": func(ctx context.Context) error { _, err := e.store.Get(ctx, id); return err },
		"Patch": func(ctx context.Context) error {
			return e.store.Patch(ctx, latchkey.Patch{Record: latchkey.Record{ID: id, Version: 1, Name: "patched"}})
		},
		"Touch": func(ctx context.Context) error {
			return e.store.Touch(ctx, []latchkey.Touch{{ID: id, At: e.now()}})
		},
		"Revoke": func(ctx context.Context) error {
			_, err := e.store.Revoke(ctx, e.revocation(identity(ann)))
			return err
		},
		"List": func(ctx context.Context) error { _, err := e.store.List(ctx, latchkey.ListQuery{}); return err },
		"Purge": func(ctx context.Context) error {
			_, err := e.store.Purge(ctx, latchkey.Purge{Erase: ann})
			return err
		},
	}
	if r := e.reader(); r != nil {
		calls["Audit"] = func(ctx context.Context) error { _, err := r.Audit(ctx, audit.Query{}); return err }
	}
	if c := e.counter(); c != nil {
		calls["Count"] = func(ctx context.Context) error { _, err := c.Count(ctx); return err }
	}
	if l := e.lister(); l != nil {
		calls["Changed"] = func(ctx context.Context) error { _, err := l.Changed(ctx, latchkey.ID{}, 0); return err }
	}
	if s := e.spender(); s != nil {
		// Read now: the store's time may end with the store.
		key, until := newKey(), e.now().Add(time.Hour)
		calls["Spend"] = func(ctx context.Context) error { return s.Spend(ctx, key, until) }
	}
	return calls
}

// A call whose context has ended answers that nothing is known, and has done
// nothing or all.
func testContext(t *testing.T, h Harness) {
	e := open(t, h)
	rec := e.add(ann)
	events := len(e.events(audit.Query{}))
	e.clock.Advance(time.Minute)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer stop()
	for name, call := range e.calls(rec.ID) {
		wantCode(t, call(cancelled), latchkey.CodeStoreUnavailable)
		if err := call(late); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s past its deadline: %v", name, err)
		}
	}
	sameRecord(t, e.get(rec.ID), rec)
	if n := len(e.all(latchkey.ListQuery{State: latchkey.AnyState})); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	if n := len(e.events(audit.Query{})); n != events {
		t.Errorf("cancelled calls left %d events", n-events)
	}
	// One that ends in mid-call: row and event are both there, or neither.
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		c := e.draft(bob)
		done := make(chan error, 1)
		go func() { _, err := e.store.Create(ctx, c); done <- err }()
		cancel()
		if err := <-done; err != nil {
			wantCode(t, err, latchkey.CodeStoreUnavailable)
		} else if e.gone(c.Record.ID) {
			t.Error("an acknowledged session is not there")
		}
		if e.reader() == nil {
			continue
		}
		// The change that was broken off may take effect between two of these reads.
		before := e.gone(c.Record.ID)
		told := len(e.events(audit.Query{Session: c.Record.ID.String()})) == 1
		if after := e.gone(c.Record.ID); before == after && told == after {
			t.Error("a session and its event parted")
		}
	}
}

func testClose(t *testing.T, h Harness) {
	e := open(t, h)
	id := e.add(ann).ID
	calls := e.calls(id)
	if err := e.store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for name, call := range calls {
		if err := call(t.Context()); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s after Close: %v, want store_unavailable", name, err)
		}
	}
	if f := e.feed(); f != nil {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := f.Follow(ctx, beat, func(latchkey.Batch) {}); err == nil || ctx.Err() != nil {
			t.Errorf("Follow after Close: %v", err)
		}
	}
}

// What was acknowledged is there after the store was closed and opened again.
func testReopen(t *testing.T, h Harness) {
	e := open(t, h)
	placement := e.placement()
	if again := e.placement(); again != placement {
		t.Error("the placement key changes")
	}
	if placement == ([32]byte{}) && e.placer() != nil {
		t.Error("the placement key is all zeros")
	}
	if !h.Durable {
		return
	}
	superseded := e.add(twin)
	e.revoke(latchkey.Revocation{All: true, By: "admin:ada", Reason: "breach"})
	raised := e.now()
	live, ended, touched := e.add(ann), e.add(ann), e.add(bob)
	e.clock.Advance(time.Minute)
	e.revoke(latchkey.Revocation{ID: ended.ID})
	e.revoke(latchkey.Revocation{Provider: "idp", SID: "s"})
	marked := e.now()
	if err := e.patch(live.ID, func(r *latchkey.Record) { r.Data = []byte{1, 2, 3} }); err != nil {
		t.Fatal(err)
	}
	e.touch(latchkey.Touch{ID: touched.ID, At: e.now()})
	want := []*latchkey.Record{e.get(live.ID), e.get(ended.ID), e.get(touched.ID)}
	trail := e.events(audit.Query{})
	e.reopen()
	for _, rec := range want {
		sameRecord(t, e.get(rec.ID), rec)
	}
	e.wantState(live.ID, latchkey.Live)
	e.wantState(ended.ID, latchkey.Revoked)
	e.wantRevoked(superseded.ID, "admin:ada", "breach", raised)
	if got := e.add(ann).Generation; got != live.Generation {
		t.Errorf("generation %d after reopening, want %d", got, live.Generation)
	}
	if e.placement() != placement {
		t.Error("the placement key is another one after reopening")
	}
	wantCode(t, e.signIn(bob, "s", marked.Add(-time.Second)), latchkey.CodeDenied)
	if after := e.events(audit.Query{}); len(after) < len(trail) {
		t.Errorf("%d events after reopening, want %d at least", len(after), len(trail))
	} else if got := after[len(after)-len(trail):]; got[0] != trail[0] || got[len(got)-1] != trail[len(trail)-1] {
		t.Error("events changed in reopening")
	}
}

// placement returns the placement key, zero where there is none.
func (e *env) placement() [32]byte {
	e.t.Helper()
	if e.placer() == nil {
		return [32]byte{}
	}
	key, err := e.placer().PlacementKey(e.t.Context())
	if err != nil {
		e.t.Fatalf("PlacementKey: %v", err)
	}
	return key
}
