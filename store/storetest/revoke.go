package storetest

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

func testRevoke(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"ByID":          revokeByID,
		"Unknown":       revokeUnknown,
		"Only":          revokeOnly,
		"Idempotent":    revokeIdempotent,
		"ByIdentity":    revokeByIdentity,
		"Except":        revokeExcept,
		"AnyProvider":   revokeAnyProvider,
		"BySID":         revokeBySID,
		"NothingToEnd":  revokeNothing,
		"NoSelector":    revokeNoSelector,
		"EndedNotAgain": revokeEnded,
		"EndedMarked":   revokeEndedMarked,
		"EndedKept":     revokeEndedKept,
		"ClockBack":     revokeClockBack,
		"Many":          revokeMany,
		"RaceCountOnce": revokeRace,
	})
}

func (e *env) wantRevoked(id latchkey.ID, by, reason string, at time.Time) {
	e.t.Helper()
	rec := e.get(id)
	if !rec.RevokedAt.Equal(at) || rec.RevokedBy != by || rec.RevokedReason != reason {
		e.t.Errorf("revoked at %v by %q for %q, want %v, %q, %q", rec.RevokedAt, rec.RevokedBy, rec.RevokedReason, at, by, reason)
	}
}

func revokeByID(e *env) {
	rec, other := e.add(ann), e.add(ann)
	e.clock.Advance(time.Minute)
	result := e.revoke(latchkey.Revocation{ID: rec.ID, By: "admin:ada", Reason: "lost laptop"})
	if result.Count != 1 {
		e.t.Errorf("count %d, want 1", result.Count)
	}
	sameIDs(e.t, result.IDs, []latchkey.ID{rec.ID})
	e.wantRevoked(rec.ID, "admin:ada", "lost laptop", e.now())
	want := *rec
	want.RevokedAt, want.RevokedBy, want.RevokedReason = e.now(), "admin:ada", "lost laptop"
	sameRecord(e.t, e.get(rec.ID), &want)
	e.wantState(other.ID, latchkey.Live)
	if e.reader() == nil {
		return
	}
	ev := e.events(audit.Query{Session: rec.ID.String()})[0]
	if ev.Action != audit.Revoke || ev.Actor != "admin:ada" || ev.Reason != "lost laptop" || !ev.Time.Equal(e.now()) || ev.Count != 0 {
		e.t.Errorf("event is %v", ev)
	}
}

func revokeUnknown(e *env) {
	before := len(e.events(audit.Query{}))
	_, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: newID(ann)}))
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
	if after := len(e.events(audit.Query{})); after != before {
		e.t.Error("the revocation of an unknown session was recorded")
	}
}

func revokeOnly(e *env) {
	rec := e.add(ann)
	for _, who := range []latchkey.Identity{bob, twin} {
		_, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: rec.ID, Only: who}))
		wantCode(e.t, err, latchkey.CodeNoSuchSession)
		e.wantState(rec.ID, latchkey.Live)
	}
	anonymous := e.add(latchkey.Identity{})
	_, err := e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: anonymous.ID, Only: ann}))
	wantCode(e.t, err, latchkey.CodeNoSuchSession)
	e.wantState(anonymous.ID, latchkey.Live)
	e.revoke(latchkey.Revocation{ID: rec.ID, Only: ann})
	e.wantState(rec.ID, latchkey.Revoked)
}

// The first revocation's time, actor and reason stay.
func revokeIdempotent(e *env) {
	c := e.draft(ann)
	c.Record.SID = "s"
	id := e.create(c).ID
	e.revoke(latchkey.Revocation{ID: id, By: "user", Reason: "logout"})
	first := e.now()
	events := len(e.events(audit.Query{Session: id.String()}))
	for _, again := range []latchkey.Revocation{{ID: id}, identity(ann), {Provider: ann.Provider, SID: "s"}, {All: true}} {
		e.clock.Advance(time.Minute)
		again.By, again.Reason = "admin:ada", "again"
		if result := e.revoke(again); result.Count != 0 || len(result.IDs) != 0 {
			e.t.Errorf("%+v counted an ended session: %+v", again, result)
		}
		e.wantRevoked(id, "user", "logout", first)
	}
	if n := len(e.events(audit.Query{Session: id.String()})); n != events {
		e.t.Errorf("%d more events of the session", n-events)
	}
}

func revokeByIdentity(e *env) {
	var anns []latchkey.ID
	for range 3 {
		anns = append(anns, e.add(ann).ID)
	}
	others := []latchkey.ID{e.add(bob).ID, e.add(twin).ID, e.add(latchkey.Identity{}).ID,
		e.add(latchkey.Identity{Provider: ann.Provider, Subject: "ann2"}).ID, e.add(latchkey.Identity{Provider: ann.Provider, Subject: "ANN"}).ID}
	result := e.revoke(identity(ann))
	if result.Count != 3 {
		e.t.Errorf("count %d, want 3", result.Count)
	}
	sameIDs(e.t, result.IDs, anns)
	for _, id := range anns {
		e.wantRevoked(id, "admin:ada", "test", e.now())
	}
	for _, id := range others {
		e.wantState(id, latchkey.Live)
	}
	if e.reader() == nil {
		return
	}
	if ev := e.events(audit.Query{})[0]; ev.Action != audit.RevokeIdentity || ev.Count != 3 || ev.Subject != ann.Subject || !ev.Time.Equal(e.now()) {
		e.t.Errorf("event is %v, want a count of 3", ev)
	}
}

func revokeExcept(e *env) {
	kept, first, second := e.add(ann).ID, e.add(ann).ID, e.add(ann).ID
	r := identity(ann)
	r.Except = kept
	result := e.revoke(r)
	sameIDs(e.t, result.IDs, []latchkey.ID{first, second})
	e.wantState(kept, latchkey.Live)
	e.wantState(first, latchkey.Revoked)
}

func revokeAnyProvider(e *env) {
	mine, theirs, other := e.add(ann).ID, e.add(twin).ID, e.add(bob).ID
	result := e.revoke(latchkey.Revocation{Subject: ann.Subject, AnyProvider: true})
	sameIDs(e.t, result.IDs, []latchkey.ID{mine, theirs})
	e.wantState(mine, latchkey.Revoked)
	e.wantState(theirs, latchkey.Revoked)
	e.wantState(other, latchkey.Live)
}

func revokeBySID(e *env) {
	with := func(who latchkey.Identity, sid string) latchkey.ID {
		c := e.draft(who)
		c.Record.SID = sid
		return e.create(c).ID
	}
	first, second := with(ann, "s1"), with(bob, "s1")
	others := []latchkey.ID{with(ann, "s2"), with(twin, "s1"), with(ann, "")}
	result := e.revoke(latchkey.Revocation{Provider: ann.Provider, SID: "s1"})
	sameIDs(e.t, result.IDs, []latchkey.ID{first, second})
	for _, id := range others {
		e.wantState(id, latchkey.Live)
	}
	if e.reader() == nil {
		return
	}
	if ev := e.events(audit.Query{})[0]; ev.Action != audit.RevokeSID || ev.Count != 2 {
		e.t.Errorf("event is %v, want a count of 2", ev)
	}
}

// A revocation of several is recorded even if there was nothing to end.
func revokeNothing(e *env) {
	for _, r := range []latchkey.Revocation{identity(ann), {Subject: "nobody", AnyProvider: true}, {Provider: "p", SID: "s"}, {All: true}} {
		before := len(e.events(audit.Query{}))
		if result := e.revoke(r); result.Count != 0 || len(result.IDs) != 0 {
			e.t.Errorf("%+v ended %+v of nothing", r, result)
		}
		if e.reader() == nil {
			continue
		}
		after := e.events(audit.Query{})
		if len(after) != before+1 || after[0].Count != 0 || after[0].Actor != "admin:ada" {
			e.t.Errorf("%+v left %d events, want 1", r, len(after)-before)
		}
	}
}

// A revocation that selects nothing ends nothing, and least of all everything.
func revokeNoSelector(e *env) {
	signedIn, anonymous := e.add(ann).ID, e.add(latchkey.Identity{}).ID
	for _, r := range []latchkey.Revocation{{}, {Provider: ann.Provider}, {AnyProvider: true}, {Except: signedIn}} {
		result, err := e.store.Revoke(e.t.Context(), e.revocation(r))
		if err == nil && result.Count != 0 {
			e.t.Errorf("%+v ended %d sessions", r, result.Count)
		}
	}
	e.wantState(signedIn, latchkey.Live)
	e.wantState(anonymous, latchkey.Live)
}

// What is idle or expired has ended already and is not counted.
func revokeEnded(e *env) {
	short := e.draft(ann)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	expired, unseen := e.create(short).ID, e.add(ann).ID
	e.clock.Advance(idle)
	live := e.add(ann).ID
	for _, id := range []latchkey.ID{expired, unseen} {
		if result := e.revoke(latchkey.Revocation{ID: id}); result.Count != 0 || len(result.IDs) != 0 {
			e.t.Errorf("an ended session was counted: %+v", result)
		}
	}
	result := e.revoke(identity(ann))
	if result.Count != 1 {
		e.t.Errorf("count %d, want 1", result.Count)
	}
	sameIDs(e.t, result.IDs, []latchkey.ID{live})
}

// selectors are all ways to revoke a session of ann that has this SID, but for All.
func selectors(id latchkey.ID, sid string) map[string]latchkey.Revocation {
	return map[string]latchkey.Revocation{
		"id":          {ID: id},
		"only":        {ID: id, Only: ann},
		"identity":    identity(ann),
		"anyProvider": {Subject: ann.Subject, AnyProvider: true},
		"sid":         {Provider: ann.Provider, SID: sid},
	}
}

// What is idle or expired by the store's clock is marked and published like what
// is live: by another clock, or by this one when it has been put right, it would
// be live. It is not counted.
func revokeEndedMarked(e *env) {
	var f *follower
	if e.feed() != nil {
		f = e.follow()
	}
	for name := range selectors(latchkey.ID{}, "") {
		expired, unseen := e.addShort(ann, "s-"+name+"-expired").ID, e.draft(ann)
		unseen.Record.SID = "s-" + name + "-unseen"
		e.create(unseen)
		e.clock.Advance(idle)
		e.wantState(expired, latchkey.Expired)
		e.wantState(unseen.Record.ID, latchkey.Idle)
		for sid, id := range map[string]latchkey.ID{"s-" + name + "-expired": expired, unseen.Record.SID: unseen.Record.ID} {
			r := selectors(id, sid)[name]
			r.By, r.Reason = "admin:"+name, sid
			result := e.revoke(r)
			if result.Count != 0 || len(result.IDs) != 0 {
				e.t.Errorf("%s: an ended session was counted: %+v", sid, result)
			}
			e.wantState(id, latchkey.Revoked)
			if rec := e.get(id); rec.RevokedBy != r.By || !rec.RevokedAt.Equal(e.now()) {
				e.t.Errorf("%s: revoked at %v by %q, want now by %q", sid, rec.RevokedAt, rec.RevokedBy, r.By)
			}
			if f != nil && !f.told(id) {
				e.t.Errorf("%s: not published when Revoke returned", sid)
			}
			if events := e.events(audit.Query{Session: id.String()}); !r.ID.IsZero() && e.reader() != nil && (len(events) != 2 || events[0].Action != audit.Revoke) {
				e.t.Errorf("%s: events are %v, want the creation and the revocation", sid, events)
			}
		}
	}
}

// A tombstone of what was idle or expired is as good as any: the first one stays,
// and neither a touch nor a patch brings the session back.
func revokeEndedKept(e *env) {
	expired, unseen := e.addShort(ann, "s"), e.add(ann)
	e.clock.Advance(idle)
	e.revoke(latchkey.Revocation{Provider: ann.Provider, Subject: ann.Subject, By: "user", Reason: "logout"})
	first := e.now()
	e.clock.Advance(time.Minute)
	for _, rec := range []*latchkey.Record{expired, unseen} {
		for _, again := range selectors(rec.ID, "s") {
			if result := e.revoke(again); result.Count != 0 || len(result.IDs) != 0 {
				e.t.Errorf("an ended session was counted: %+v", result)
			}
		}
		e.touch(latchkey.Touch{ID: rec.ID, At: rec.CreatedAt.Add(30 * time.Second)})
		wantCode(e.t, e.patch(rec.ID, nil), latchkey.CodeInvalidSession)
		e.wantRevoked(rec.ID, "user", "logout", first)
		if seen := e.get(rec.ID).LastSeenAt; !seen.Equal(rec.LastSeenAt) {
			e.t.Errorf("a revoked session was touched at %v", seen)
		}
	}
}

// A durable store that ran for a while on a clock that was ahead, and is opened
// again on one that is right: what was revoked stays so, and what only looked
// expired is live again for lists, limits and revocations.
func revokeClockBack(e *env) {
	if !e.h.Durable {
		e.t.Skip("the store does not outlive its clock")
	}
	e.add(ann)
	revoked, kept := e.addShort(ann, "s1").ID, e.addShort(ann, "s2").ID
	e.clock.Advance(48 * time.Hour)
	e.revoke(latchkey.Revocation{ID: revoked})
	later := e.create(e.limited(ann, 5, latchkey.EvictOldest)).ID
	if err := e.store.Close(); err != nil {
		e.t.Fatalf("Close: %v", err)
	}
	e.clock = latchkeytest.NewClock(began.Add(time.Second))
	e.store = e.h.Reopen(e.t, e.store, Options{Clock: e.clock})
	e.wantState(revoked, latchkey.Revoked)
	live := idsOf(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject}))
	if len(live) != 3 || !setOf(live)[kept] || !setOf(live)[later] {
		e.t.Errorf("listed %v, want three of them live", live)
	}
	_, err := e.store.Create(e.t.Context(), e.limited(ann, 3, latchkey.RefuseNew))
	wantCode(e.t, err, latchkey.CodeLimitReached)
	result := e.revoke(identity(ann))
	sameIDs(e.t, result.IDs, live)
	for _, id := range live {
		e.wantState(id, latchkey.Revoked)
	}
}

func revokeMany(e *env) {
	ids := e.addMany(ann, e.h.Sessions)
	kept := e.add(bob).ID
	var f *follower
	if e.feed() != nil {
		f = e.follow()
	}
	result := e.revoke(identity(ann))
	if result.Count != len(ids) {
		e.t.Errorf("count %d, want %d", result.Count, len(ids))
	}
	sameIDs(e.t, result.IDs, ids)
	if f != nil {
		if missing := len(ids) - len(setOf(f.ids())); missing != 0 && !f.reset() {
			e.t.Errorf("%d of %d sessions were not published when Revoke returned", missing, len(ids))
		}
	}
	if live := e.all(latchkey.ListQuery{Limit: latchkey.MaxListLimit}); len(live) != 1 || live[0].ID != kept {
		e.t.Errorf("%d live sessions are left, want one", len(live))
	}
	ended := e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject, State: latchkey.OnlyEnded, Limit: latchkey.MaxListLimit})
	if len(ended) != len(ids) {
		e.t.Errorf("%d rows kept, want %d", len(ended), len(ids))
	}
}

// Of many revocations at once each session is counted by one.
func revokeRace(e *env) {
	for range 5 {
		id := e.add(ann).ID
		counts := make([]int, 16)
		parallel(16, func(i int) {
			r := latchkey.Revocation{ID: id}
			if i%2 == 0 {
				r = identity(ann)
			}
			result, err := e.store.Revoke(e.t.Context(), e.revocation(r))
			wantCode(e.t, err, "")
			counts[i] = result.Count
		})
		total := 0
		for _, n := range counts {
			total += n
		}
		if total != 1 {
			e.t.Errorf("one session was counted %d times", total)
		}
	}
}
