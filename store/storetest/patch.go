package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

func testGet(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"Unknown": func(e *env) {
			e.add(ann)
			_, err := e.store.Get(e.t.Context(), newID(ann))
			wantCode(e.t, err, latchkey.CodeNoSuchSession)
			_, err = e.store.Get(e.t.Context(), latchkey.ID{})
			wantCode(e.t, err, latchkey.CodeNoSuchSession)
		},
		"EndedToo": func(e *env) {
			revoked, expired := e.add(ann), e.draft(ann)
			e.revoke(latchkey.Revocation{ID: revoked.ID})
			expired.Record.ExpiresAt = e.now().Add(time.Second)
			e.create(expired)
			unseen := e.add(ann)
			e.clock.Advance(idle)
			e.wantState(revoked.ID, latchkey.Revoked)
			e.wantState(expired.Record.ID, latchkey.Expired)
			e.wantState(unseen.ID, latchkey.Idle)
		},
		"SeesOwnWrites": func(e *env) {
			id := e.add(ann).ID
			parallel(16, func(i int) {
				for range 10 {
					c := e.draft(bob)
					if _, err := e.store.Create(e.t.Context(), c); err != nil {
						e.t.Errorf("Create: %v", err)
						return
					}
					if _, err := e.store.Get(e.t.Context(), c.Record.ID); err != nil {
						e.t.Errorf("Get of what was just made: %v", err)
					}
				}
			})
			e.revoke(latchkey.Revocation{ID: id})
			e.wantState(id, latchkey.Revoked)
		},
	})
}

func testPatch(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"WholeRow":        patchWholeRow,
		"Immutable":       patchImmutable,
		"Conflict":        patchConflict,
		"NeverCreates":    patchNeverCreates,
		"NeverRevives":    patchNeverRevives,
		"LastSeenForward": patchLastSeen,
		"Event":           patchEvent,
		"MovesSID":        patchMovesSID,
		"RaceOneWins":     patchRace,
		"RaceRevoke":      patchRaceRevoke,
	})
}

func patchWholeRow(e *env) {
	id := e.add(ann).ID
	e.clock.Advance(time.Minute)
	full := fullRecord(e).Record
	want := *e.get(id)
	full.ID, full.Provider, full.Subject, full.CreatedAt = want.ID, want.Provider, want.Subject, want.CreatedAt
	full.Version, full.Generation, full.ExpiresAt = want.Version, want.Generation, e.now().Add(time.Hour)
	if err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: full}); err != nil {
		e.t.Fatal(err)
	}
	full.Version++
	sameRecord(e.t, e.get(id), &full)

	// And back to a row without any of it.
	want.Version = full.Version
	want.LastSeenAt = full.LastSeenAt
	if err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: want}); err != nil {
		e.t.Fatal(err)
	}
	want.Version++
	sameRecord(e.t, e.get(id), &want)
}

func patchImmutable(e *env) {
	before := e.add(ann)
	e.clock.Advance(time.Second)
	err := e.patch(before.ID, func(r *latchkey.Record) {
		r.Provider, r.Subject, r.CreatedAt, r.Generation = bob.Provider, bob.Subject, e.now(), r.Generation+5
		r.RevokedAt, r.RevokedBy, r.RevokedReason = e.now(), "x", "y"
		r.PatchID, r.Name = [16]byte{1}, "new"
	})
	if err != nil {
		e.t.Fatal(err)
	}
	want := *before
	want.PatchID, want.Name, want.Version = [16]byte{1}, "new", 2
	sameRecord(e.t, e.get(before.ID), &want)
	if n := len(e.all(latchkey.ListQuery{Provider: bob.Provider, Subject: bob.Subject, State: latchkey.AnyState})); n != 0 {
		e.t.Errorf("the session is listed under another identity")
	}
}

func patchConflict(e *env) {
	id := e.add(ann).ID
	for _, version := range []uint64{0, 2, 1 << 40} {
		err := e.patch(id, func(r *latchkey.Record) { r.Version, r.Name = version, "stale" })
		wantCode(e.t, err, latchkey.CodeConflict)
	}
	if err := e.patch(id, nil); err != nil {
		e.t.Fatal(err)
	}
	wantCode(e.t, e.patch(id, func(r *latchkey.Record) { r.Version, r.Name = 1, "stale" }), latchkey.CodeConflict)
	if rec := e.get(id); rec.Version != 2 || rec.Name == "stale" {
		e.t.Errorf("version %d, name %q after refused patches", rec.Version, rec.Name)
	}
}

func patchNeverCreates(e *env) {
	rec := e.draft(ann).Record
	for _, version := range []uint64{0, 1} {
		rec.Version = version
		wantCode(e.t, e.store.Patch(e.t.Context(), latchkey.Patch{Record: rec}), latchkey.CodeNoSuchSession)
	}
	_, err := e.store.Get(e.t.Context(), rec.ID)
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
}

func patchNeverRevives(e *env) {
	longer := func(r *latchkey.Record) {
		r.ExpiresAt, r.LastSeenAt, r.Idle = e.now().Add(lifetime), e.now(), 2*idle
		r.RevokedAt = time.Time{}
	}
	revoked := e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: revoked})
	wantCode(e.t, e.patch(revoked, longer), latchkey.CodeInvalidSession)

	superseded := e.add(ann).ID
	e.revoke(latchkey.Revocation{All: true})
	wantCode(e.t, e.patch(superseded, longer), latchkey.CodeInvalidSession)
	wantCode(e.t, e.patch(superseded, func(r *latchkey.Record) { longer(r); r.Generation += 10 }), latchkey.CodeInvalidSession)

	short := e.draft(ann)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	expired := e.create(short).ID
	unseen := e.add(ann).ID
	e.clock.Advance(time.Minute)
	wantCode(e.t, e.patch(expired, longer), latchkey.CodeInvalidSession)
	e.clock.Advance(idle - time.Minute)
	wantCode(e.t, e.patch(unseen, longer), latchkey.CodeInvalidSession)

	e.wantState(revoked, latchkey.Revoked)
	e.wantState(superseded, latchkey.Revoked)
	e.wantState(expired, latchkey.Expired)
	e.wantState(unseen, latchkey.Idle)
	for _, id := range []latchkey.ID{revoked, superseded, expired, unseen} {
		if v := e.get(id).Version; v != 1 {
			e.t.Errorf("a refused patch raised the version to %d", v)
		}
	}
}

func patchLastSeen(e *env) {
	id := e.add(ann).ID
	e.clock.Advance(time.Minute)
	seen := e.now()
	stale := *e.get(id)
	e.touch(latchkey.Touch{ID: id, At: seen})
	if err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: stale}); err != nil {
		e.t.Fatalf("a touch must not raise the version: %v", err)
	}
	if got := e.get(id).LastSeenAt; !got.Equal(seen) {
		e.t.Errorf("last seen went back to %v, want %v", got, seen)
	}
	e.clock.Advance(time.Minute)
	if err := e.patch(id, func(r *latchkey.Record) { r.LastSeenAt = e.now() }); err != nil {
		e.t.Fatal(err)
	}
	if got := e.get(id).LastSeenAt; !got.Equal(e.now()) {
		e.t.Errorf("last seen is %v, want %v", got, e.now())
	}
}

func patchEvent(e *env) {
	if e.reader() == nil {
		e.t.Skip("the harness excepts the audit trail")
	}
	id := e.add(ann).ID
	before := e.events(audit.Query{})
	event := audit.Event{Time: e.now(), Action: audit.Renew, Actor: "user", Session: id.String(), Provider: ann.Provider,
		Subject: ann.Subject, IP: "192.0.2.0", Outcome: audit.Done, Reason: "renewal"}
	if err := e.patch(id, nil); err != nil {
		e.t.Fatal(err)
	}
	if after := e.events(audit.Query{}); len(after) != len(before) {
		e.t.Error("a patch without an event was recorded")
	}
	stale := *e.get(id)
	stale.Version = 1
	wantCode(e.t, e.store.Patch(e.t.Context(), latchkey.Patch{Record: stale, Event: &event}), latchkey.CodeConflict)
	if after := e.events(audit.Query{}); len(after) != len(before) {
		e.t.Error("a refused patch was recorded")
	}
	next := *e.get(id)
	if err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: next, Event: &event}); err != nil {
		e.t.Fatal(err)
	}
	got := e.events(audit.Query{})[0]
	got.Seq = 0
	if got != event {
		e.t.Errorf("event is %v, want %v", got, event)
	}
}

// A provider's own session is what the row says now.
func patchMovesSID(e *env) {
	c := e.draft(ann)
	c.Record.SID = "old"
	id := e.create(c).ID
	if err := e.patch(id, func(r *latchkey.Record) { r.SID = "new" }); err != nil {
		e.t.Fatal(err)
	}
	if n := e.revoke(latchkey.Revocation{Provider: ann.Provider, SID: "old"}).Count; n != 0 {
		e.t.Errorf("%d sessions ended by their former sid", n)
	}
	if n := e.revoke(latchkey.Revocation{Provider: ann.Provider, SID: "new"}).Count; n != 1 {
		e.t.Errorf("%d sessions ended by their sid, want 1", n)
	}
}

func patchRace(e *env) {
	id := e.add(ann).ID
	base := *e.get(id)
	for round := range 5 {
		var won atomic.Int32
		parallel(16, func(i int) {
			next := base
			next.PatchID[0] = byte(i + 1)
			err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: next})
			if err == nil {
				won.Add(1)
			} else {
				wantCode(e.t, err, latchkey.CodeConflict)
			}
		})
		if won.Load() != 1 {
			e.t.Errorf("round %d: %d of 16 patches of one version succeeded, want 1", round, won.Load())
		}
		base = *e.get(id)
		if base.Version != uint64(round)+2 {
			e.t.Errorf("round %d: version %d", round, base.Version)
		}
	}
}

// Whatever a patch and a revocation do to each other, the session is ended.
func patchRaceRevoke(e *env) {
	for range 20 {
		rec := e.add(ann)
		parallel(2, func(i int) {
			if i == 0 {
				err := e.store.Patch(e.t.Context(), latchkey.Patch{Record: *rec})
				if code := latchkey.CodeOf(err); err != nil && code != latchkey.CodeInvalidSession {
					e.t.Errorf("Patch: %v", err)
				}
				return
			}
			result, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: rec.ID}))
			if err != nil || result.Count != 1 {
				e.t.Errorf("Revoke ended %d sessions, %v; want 1", result.Count, err)
			}
		})
		e.wantState(rec.ID, latchkey.Revoked)
	}
}
