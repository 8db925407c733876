package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func testTouch(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"Forward":      touchForward,
		"StoreClock":   touchStoreClock,
		"Batch":        touchBatch,
		"NotIdleThen":  touchNotIdleThen,
		"EndedStaysSo": touchEnded,
		"Quiet":        touchQuiet,
		"Race":         touchRace,
		"None":         func(e *env) { e.touch() },
	})
}

func (e *env) wantSeen(id latchkey.ID, want time.Time) {
	e.t.Helper()
	if got := e.get(id).LastSeenAt; !got.Equal(want) {
		e.t.Errorf("last seen %v, want %v", got, want)
	}
}

func touchForward(e *env) {
	id := e.add(ann).ID
	e.clock.Advance(10 * time.Minute)
	seen := e.now().Add(-time.Minute)
	e.touch(latchkey.Touch{ID: id, At: seen})
	e.wantSeen(id, seen)
	e.touch(latchkey.Touch{ID: id, At: seen.Add(-time.Microsecond)}, latchkey.Touch{ID: id, At: time.Time{}})
	e.wantSeen(id, seen)
	if v := e.get(id).Version; v != 1 {
		e.t.Errorf("a touch raised the version to %d", v)
	}
}

// Activity is never later than the store's own clock.
func touchStoreClock(e *env) {
	id := e.add(ann).ID
	e.clock.Advance(time.Minute)
	e.touch(latchkey.Touch{ID: id, At: e.now().Add(time.Hour)})
	e.wantSeen(id, e.now())
}

func touchBatch(e *env) {
	ids := e.addMany(ann, 50)
	e.clock.Advance(time.Minute)
	touches := []latchkey.Touch{{ID: newID(ann), At: e.now()}}
	for i, id := range ids {
		touches = append(touches, latchkey.Touch{ID: id, At: e.now().Add(-time.Duration(i) * time.Second)})
	}
	touches = append(touches, latchkey.Touch{At: e.now()})
	e.touch(touches...)
	for i, id := range ids {
		e.wantSeen(id, e.now().Add(-time.Duration(i)*time.Second))
	}
}

// A touch that arrives late counts if the session was not idle when it was seen.
func touchNotIdleThen(e *env) {
	id := e.add(ann).ID
	start := e.get(id).LastSeenAt
	e.clock.Advance(idle + time.Second)
	e.wantState(id, latchkey.Idle)
	e.touch(latchkey.Touch{ID: id, At: start.Add(idle)})
	e.wantState(id, latchkey.Idle)
	e.wantSeen(id, start)
	late := start.Add(idle - time.Microsecond)
	e.touch(latchkey.Touch{ID: id, At: late})
	e.wantSeen(id, late)
	e.wantState(id, latchkey.Live)
}

// No touch brings an ended session back. That includes one that was idle by the
// store's clock when it was revoked while a touch was under way that shows it
// was not.
func touchEnded(e *env) {
	short := e.draft(ann)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	expired, revoked, superseded := e.create(short).ID, e.add(ann).ID, e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: revoked})
	before := e.get(revoked).LastSeenAt
	e.revoke(latchkey.Revocation{All: true})
	e.clock.Advance(time.Minute)
	at := e.now().Add(-time.Second)
	e.touch(latchkey.Touch{ID: expired, At: at}, latchkey.Touch{ID: revoked, At: at}, latchkey.Touch{ID: superseded, At: at})
	for _, id := range []latchkey.ID{expired, revoked, superseded} {
		e.wantSeen(id, before)
	}

	ways := map[string]func(latchkey.ID){
		"ByID":       func(id latchkey.ID) { e.revoke(latchkey.Revocation{ID: id}) },
		"ByIdentity": func(latchkey.ID) { e.revoke(identity(bob)) },
		"BySID":      func(latchkey.ID) { e.revoke(latchkey.Revocation{Provider: bob.Provider, SID: "s"}) },
		"ByAll":      func(latchkey.ID) { e.revoke(latchkey.Revocation{All: true}) },
		"Replaced": func(id latchkey.ID) {
			c := e.draft(ann)
			c.Replaces = id
			e.create(c)
		},
	}
	for name, end := range ways {
		c := e.draft(bob)
		c.Record.SID = "s"
		id := e.create(c).ID
		seen := e.now().Add(idle / 2)
		e.clock.Advance(idle)
		end(id)
		e.touch(latchkey.Touch{ID: id, At: seen})
		if st := e.state(id); st == latchkey.Live {
			e.t.Errorf("%s: a late touch brought an ended session back", name)
		}
	}
}

// A touch publishes nothing.
func touchQuiet(e *env) {
	if e.feed() == nil {
		e.t.Skip("the harness excepts the feed")
	}
	touched, ended := e.add(ann).ID, e.add(ann).ID
	f := e.follow()
	e.clock.Advance(time.Minute)
	e.touch(latchkey.Touch{ID: touched, At: e.now()})
	e.revoke(latchkey.Revocation{ID: ended})
	sameIDs(e.t, f.ids(), []latchkey.ID{ended})
}

func touchRace(e *env) {
	id := e.add(ann).ID
	start := e.now()
	e.clock.Advance(time.Minute)
	var mu sync.Mutex
	var latest time.Time
	parallel(16, func(i int) {
		for j := range 5 {
			at := start.Add(time.Duration(i*5+(j*7)%5) * time.Millisecond)
			if err := e.store.Touch(e.t.Context(), []latchkey.Touch{{ID: id, At: at}}); err != nil {
				e.t.Errorf("Touch: %v", err)
			}
			mu.Lock()
			if at.After(latest) {
				latest = at
			}
			mu.Unlock()
		}
	})
	e.wantSeen(id, latest)
}
