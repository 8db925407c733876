package storetest

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func testMarks(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"Identity":      markIdentity,
		"AnyProvider":   markAnyProvider,
		"SID":           markSID,
		"Expires":       markExpires,
		"LeftByNothing": markLeftByNothing,
		"NotByOthers":   markNotByOthers,
		"EndsNothing":   markEndsNothing,
		"RaceSignIn":    markRace,
	})
}

// signIn creates a session whose sign-in began at a time, and returns the error.
func (e *env) signIn(who latchkey.Identity, sid string, began time.Time) error {
	c := e.draft(who)
	c.Record.SID, c.Began = sid, began
	_, err := e.store.Create(e.t.Context(), c)
	return err
}

func markIdentity(e *env) {
	e.add(ann)
	before := e.now()
	e.clock.Advance(time.Second)
	e.revoke(identity(ann))
	at := e.now()
	wantCode(e.t, e.signIn(ann, "", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(ann, "", at), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(ann, "", time.Time{}), "")
	wantCode(e.t, e.signIn(bob, "", before), "")
	wantCode(e.t, e.signIn(twin, "", before), "")
	wantCode(e.t, e.signIn(latchkey.Identity{}, "", before), "")
	e.clock.Advance(time.Second)
	wantCode(e.t, e.signIn(ann, "", at.Add(time.Microsecond)), "")
	// A later revocation moves the mark on.
	e.revoke(identity(ann))
	wantCode(e.t, e.signIn(ann, "", at.Add(time.Microsecond)), latchkey.CodeDenied)
}

func markAnyProvider(e *env) {
	before := e.now()
	e.clock.Advance(time.Second)
	e.revoke(latchkey.Revocation{Subject: ann.Subject, AnyProvider: true})
	wantCode(e.t, e.signIn(ann, "", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(twin, "", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(bob, "", before), "")
}

func markSID(e *env) {
	before := e.now()
	e.clock.Advance(time.Second)
	e.revoke(latchkey.Revocation{Provider: ann.Provider, SID: "s1"})
	wantCode(e.t, e.signIn(ann, "s1", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(bob, "s1", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(ann, "s2", before), "")
	wantCode(e.t, e.signIn(ann, "", before), "")
	wantCode(e.t, e.signIn(twin, "s1", before), "")
	wantCode(e.t, e.signIn(ann, "s1", time.Time{}), "")
}

func markExpires(e *env) {
	before := e.now()
	e.revoke(identity(ann))
	e.revoke(latchkey.Revocation{Provider: ann.Provider, SID: "s"})
	e.clock.Advance(latchkey.RevocationMark - time.Second)
	wantCode(e.t, e.signIn(ann, "", before), latchkey.CodeDenied)
	wantCode(e.t, e.signIn(bob, "s", before), latchkey.CodeDenied)
	e.clock.Advance(2 * time.Second)
	wantCode(e.t, e.signIn(ann, "", before), "")
	wantCode(e.t, e.signIn(bob, "s", before), "")
}

// A logout that overtakes its sign-in finds nothing to end; that is the point.
func markLeftByNothing(e *env) {
	before := e.now()
	e.clock.Advance(time.Second)
	if n := e.revoke(identity(ann)).Count; n != 0 {
		e.t.Fatalf("ended %d sessions of none", n)
	}
	wantCode(e.t, e.signIn(ann, "", before), latchkey.CodeDenied)
}

// Ending one session stands against no sign-in.
func markNotByOthers(e *env) {
	before := e.now()
	id := e.add(ann).ID
	e.clock.Advance(time.Second)
	e.revoke(latchkey.Revocation{ID: id})
	wantCode(e.t, e.signIn(ann, "", before), "")
}

// A sign-in that is denied ends neither its predecessor nor what is over the limit.
func markEndsNothing(e *env) {
	before := e.now()
	e.clock.Advance(time.Second)
	e.revoke(identity(ann))
	old, predecessor := e.add(ann).ID, e.add(bob).ID
	c := e.limited(ann, 1, latchkey.EvictOldest)
	c.Replaces, c.Began = predecessor, before
	_, err := e.store.Create(e.t.Context(), c)
	wantCode(e.t, err, latchkey.CodeDenied)
	_, err = e.store.Get(e.t.Context(), c.Record.ID)
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
	e.wantState(old, latchkey.Live)
	e.wantState(predecessor, latchkey.Live)
}

// Whichever comes first, a sign-in that began before a logout does not survive it.
func markRace(e *env) {
	for range 20 {
		began := e.now()
		e.clock.Advance(time.Millisecond)
		parallel(8, func(i int) {
			if i == 0 {
				if _, err := e.store.Revoke(e.t.Context(), e.revocation(identity(ann))); err != nil {
					e.t.Errorf("Revoke: %v", err)
				}
				return
			}
			if err := e.signIn(ann, "", began); err != nil {
				wantCode(e.t, err, latchkey.CodeDenied)
			}
		})
		if live := e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject}); len(live) != 0 {
			e.t.Fatalf("%d sessions survived a logout that came after they began", len(live))
		}
	}
}

func testGeneration(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"EndsEverything": generationEnds,
		"LaterLives":     generationLater,
		"FirstKept":      generationFirst,
		"RaceCreate":     generationRace,
	})
}

func generationEnds(e *env) {
	ids := []latchkey.ID{e.add(ann).ID, e.add(bob).ID, e.add(latchkey.Identity{}).ID}
	one := e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: one, By: "user", Reason: "logout"})
	first := e.now()
	e.clock.Advance(time.Minute)
	result := e.revoke(latchkey.Revocation{All: true, By: "admin:ada", Reason: "breach"})
	if result.Count != 3 || len(result.IDs) != 0 {
		e.t.Errorf("count %d with %d IDs, want 3 and none", result.Count, len(result.IDs))
	}
	for _, id := range ids {
		e.wantRevoked(id, "admin:ada", "breach", e.now())
	}
	e.wantRevoked(one, "user", "logout", first)
	if n := len(e.all(latchkey.ListQuery{})); n != 0 {
		e.t.Errorf("%d sessions are listed as live", n)
	}
	ended := e.all(latchkey.ListQuery{State: latchkey.OnlyEnded})
	sameIDs(e.t, idsOf(ended), append(ids, one))
	for _, rec := range ended {
		if rec.StateAt(e.now()) != latchkey.Revoked {
			e.t.Errorf("a session is listed as %s", rec.StateAt(e.now()))
		}
	}
	if n := len(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})); n != 0 {
		e.t.Errorf("%d sessions of an identity are listed as live", n)
	}
	if c := e.counter(); c != nil {
		if got, err := c.Count(e.t.Context()); err != nil || got.Live != 0 || got.Ended != 4 {
			e.t.Errorf("counted %+v, %v; want none live and 4 ended", got, err)
		}
	}
}

func generationLater(e *env) {
	before := e.add(ann)
	e.revoke(latchkey.Revocation{All: true})
	after := e.add(ann)
	if after.Generation <= before.Generation {
		e.t.Errorf("generation went from %d to %d", before.Generation, after.Generation)
	}
	e.wantState(after.ID, latchkey.Live)
	wantCode(e.t, e.patch(after.ID, nil), "")
	sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{})), []latchkey.ID{after.ID})
	if n := e.revoke(latchkey.Revocation{ID: before.ID}).Count; n != 0 {
		e.t.Errorf("a session of a lower generation was ended again")
	}
	if n := e.revoke(latchkey.Revocation{All: true}).Count; n != 1 {
		e.t.Errorf("count %d, want 1", n)
	}
	e.wantState(after.ID, latchkey.Revoked)
}

// Who ended a session first stays, however often everything is ended.
func generationFirst(e *env) {
	id := e.add(ann).ID
	e.revoke(latchkey.Revocation{All: true, By: "admin:ada", Reason: "first"})
	at := e.now()
	e.clock.Advance(time.Minute)
	e.revoke(latchkey.Revocation{All: true, By: "admin:bob", Reason: "second"})
	e.wantRevoked(id, "admin:ada", "first", at)
}

// A session that was made before everything was ended is ended, whatever the order.
func generationRace(e *env) {
	ids := make([]latchkey.ID, 32)
	parallel(33, func(i int) {
		if i == 32 {
			if _, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{All: true})); err != nil {
				e.t.Errorf("Revoke: %v", err)
			}
			return
		}
		c := e.draft(ann)
		ids[i] = c.Record.ID
		if _, err := e.store.Create(e.t.Context(), c); err != nil {
			e.t.Errorf("Create: %v", err)
		}
	})
	present := e.add(bob).Generation
	for _, id := range ids {
		rec := e.get(id)
		if ended := rec.StateAt(e.now()) == latchkey.Revoked; ended != (rec.Generation < present) {
			e.t.Errorf("a session of generation %d of %d: ended is %v", rec.Generation, present, ended)
		}
	}
	if n := e.revoke(latchkey.Revocation{All: true}).Count; n > 33 {
		e.t.Errorf("count %d of 33 sessions", n)
	}
	if n := len(e.all(latchkey.ListQuery{})); n != 0 {
		e.t.Errorf("%d sessions live on", n)
	}
}
