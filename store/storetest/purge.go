package storetest

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

func testPurge(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"EndedBefore":   purgeEnded,
		"SparesLive":    purgeSparesLive,
		"Batches":       purgeBatches,
		"OldEvents":     purgeEvents,
		"Erase":         purgeErase,
		"EraseByItself": purgeEraseOnly,
		"Nothing":       purgeNothing,
		"GoneForGood":   purgeGone,
		"Publishes":     purgePublishes,
	})
}

// purge removes with an event as a Manager would give it.
func (e *env) purge(p latchkey.Purge) int {
	e.t.Helper()
	p.Event = audit.Event{Action: audit.Purge, Actor: "system", Outcome: audit.Done, Reason: "retention"}
	n, err := e.store.Purge(e.t.Context(), p)
	if err != nil {
		e.t.Fatalf("Purge: %v", err)
	}
	return n
}

func (e *env) gone(id latchkey.ID) bool {
	e.t.Helper()
	_, err := e.store.Get(e.t.Context(), id)
	if err != nil {
		wantCode(e.t, err, latchkey.CodeNoSuchSession)
	}
	return err != nil
}

func (e *env) wantGone(want bool, ids ...latchkey.ID) {
	e.t.Helper()
	for i, id := range ids {
		if e.gone(id) != want {
			e.t.Errorf("session %d of %d: gone is %v, want %v", i+1, len(ids), !want, want)
		}
	}
}

func purgeEnded(e *env) {
	revoked, unseen := e.add(ann).ID, e.add(ann).ID
	short := e.draft(bob)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	expired := e.create(short).ID
	e.revoke(latchkey.Revocation{ID: revoked})
	e.clock.Advance(idle) // unseen ends at this very instant
	at := e.now()
	late := e.add(ann).ID
	e.clock.Advance(time.Second)
	e.revoke(latchkey.Revocation{ID: late})
	live := e.add(ann).ID

	if n := e.purge(latchkey.Purge{EndedBefore: at}); n != 2 {
		e.t.Errorf("%d sessions went, want 2", n)
	}
	e.wantGone(true, revoked, expired)
	e.wantGone(false, unseen, late, live)
	if n := e.purge(latchkey.Purge{EndedBefore: at.Add(time.Microsecond)}); n != 1 {
		e.t.Errorf("%d sessions went, want the idle one", n)
	}
	e.wantGone(true, unseen)

	old := e.add(bob).ID
	e.revoke(latchkey.Revocation{All: true})
	e.clock.Advance(time.Second)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.wantGone(true, old, late, live)
}

// What is live stays, even if it were to end before a bound in the future.
func purgeSparesLive(e *env) {
	live := e.add(ann).ID
	ended := e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: ended})
	if n := e.purge(latchkey.Purge{EndedBefore: e.now().Add(10 * lifetime)}); n != 1 {
		e.t.Errorf("%d sessions went, want 1", n)
	}
	e.wantGone(false, live)
	e.wantGone(true, ended)
}

func purgeBatches(e *env) {
	ended := e.addMany(ann, 25)
	e.revoke(identity(ann))
	live := e.addMany(bob, 5)
	e.clock.Advance(time.Second)
	if n := e.purge(latchkey.Purge{EndedBefore: e.now(), Batch: 4}); n != 25 {
		e.t.Errorf("%d sessions went, want 25", n)
	}
	e.wantGone(true, ended...)
	e.wantGone(false, live...)
	if e.reader() == nil {
		return
	}
	total := 0
	for _, ev := range e.events(audit.Query{}) {
		if ev.Action == audit.Purge {
			total += ev.Count
			if !ev.Time.Equal(e.now()) || ev.Actor != "system" {
				e.t.Errorf("event is %v", ev)
			}
		}
	}
	if total != 25 {
		e.t.Errorf("the trail tells of %d sessions that went, want 25", total)
	}
}

func purgeEvents(e *env) {
	if e.reader() == nil {
		e.t.Skip("the harness excepts the audit trail")
	}
	id := e.add(ann).ID
	e.clock.Advance(time.Minute)
	bound := e.now()
	e.revoke(latchkey.Revocation{ID: id})
	e.purge(latchkey.Purge{EndedBefore: bound})
	events := e.events(audit.Query{Session: id.String()})
	if len(events) != 1 || events[0].Action != audit.Revoke {
		e.t.Errorf("events of the session after a purge: %v; want its end only", events)
	}
	e.wantGone(false, id)
	e.clock.Advance(time.Minute)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.wantGone(true, id)
	for _, ev := range e.events(audit.Query{}) {
		if ev.Time.Before(e.now()) {
			e.t.Errorf("an old event is left: %v", ev)
		}
	}
}

// Erasing an identity leaves neither its sessions nor its name.
func purgeErase(e *env) {
	who := latchkey.Identity{Provider: "idp", Subject: "erased-person"}
	ids := e.addMany(who, 7)
	e.revoke(latchkey.Revocation{ID: ids[0]})
	e.revoke(latchkey.Revocation{Provider: who.Provider, Subject: who.Subject, Except: ids[1]})
	namesake := latchkey.Identity{Provider: "other", Subject: who.Subject}
	other := e.add(bob)
	same := e.add(namesake)
	if n := e.purge(latchkey.Purge{Erase: who, Batch: 3}); n != 7 {
		e.t.Errorf("%d sessions went, want 7", n)
	}
	e.wantGone(true, ids...)
	e.wantGone(false, other.ID, same.ID)
	e.wantState(same.ID, latchkey.Live)
	if n := len(e.all(latchkey.ListQuery{Provider: who.Provider, Subject: who.Subject, State: latchkey.AnyState})); n != 0 {
		e.t.Errorf("%d sessions of the erased are listed", n)
	}
	if e.reader() == nil {
		return
	}
	if found := e.events(audit.Query{Provider: who.Provider, Subject: who.Subject}); len(found) != 0 {
		e.t.Errorf("the trail names the erased: %v", found)
	}
	kept := 0
	for _, ev := range e.events(audit.Query{}) {
		if ev.Subject == who.Subject && ev.Provider != namesake.Provider {
			e.t.Errorf("the trail names the erased: %v", ev)
		}
		if ev.Subject == bob.Subject || ev.Provider == namesake.Provider {
			kept++
		}
	}
	if kept != 2 {
		e.t.Errorf("%d events of others are left, want 2", kept)
	}
	if n := e.countEvents(audit.Purge); n == 0 {
		e.t.Error("the erasure was not recorded")
	}
	// A session under the name is possible again, and is another's.
	e.add(who)
}

// Erasing removes nothing of others, ended or old as it may be.
func purgeEraseOnly(e *env) {
	ended := e.add(bob).ID
	e.revoke(latchkey.Revocation{ID: ended})
	e.add(ann)
	e.clock.Advance(100 * lifetime)
	if n := e.purge(latchkey.Purge{Erase: ann}); n != 1 {
		e.t.Errorf("%d sessions went, want 1", n)
	}
	e.wantGone(false, ended)
	if e.reader() != nil && len(e.events(audit.Query{Session: ended.String()})) != 2 {
		e.t.Error("events of others went")
	}
}

func purgeNothing(e *env) {
	e.add(ann)
	if n := e.purge(latchkey.Purge{EndedBefore: e.now().Add(-time.Hour)}); n != 0 {
		e.t.Errorf("%d sessions went of none", n)
	}
	if n := e.purge(latchkey.Purge{Erase: bob}); n != 0 {
		e.t.Errorf("%d sessions of nobody went", n)
	}
	if n := e.countEvents(audit.Purge); n != 0 {
		e.t.Errorf("%d purges of nothing were recorded", n)
	}
}

// A session that was removed is unknown to everything.
func purgeGone(e *env) {
	c := e.draft(ann)
	c.Record.SID = "s"
	rec := e.create(c)
	if n := e.purge(latchkey.Purge{Erase: ann}); n != 1 {
		e.t.Fatalf("%d sessions went, want 1", n)
	}
	wantCode(e.t, e.store.Patch(e.t.Context(), latchkey.Patch{Record: *rec}), latchkey.CodeNoSuchSession)
	_, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: rec.ID}))
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
	e.touch(latchkey.Touch{ID: rec.ID, At: e.now()})
	for _, r := range []latchkey.Revocation{identity(ann), {Provider: ann.Provider, SID: "s"}, {All: true}} {
		if n := e.revoke(r).Count; n != 0 {
			e.t.Errorf("%+v ended %d sessions that are gone", r, n)
		}
	}
	e.wantGone(true, rec.ID)
}

// Whoever holds an erased session in a cache is told.
func purgePublishes(e *env) {
	if e.feed() == nil {
		e.t.Skip("the harness excepts the feed")
	}
	ids := e.addMany(ann, 5)
	f := e.follow()
	e.purge(latchkey.Purge{Erase: ann, Batch: 2})
	if got := setOf(f.ids()); len(got) != len(ids) && !f.reset() {
		e.t.Errorf("%d of 5 erased sessions were published", len(got))
	}
}
