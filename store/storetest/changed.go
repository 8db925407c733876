package storetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func testChanged(t *testing.T, h Harness) {
	if h.NoChanges {
		t.Skip("the harness excepts the list of changed stateless sessions")
	}
	group(t, h, map[string]func(*env){
		"Unchanged":      changedNot,
		"Patched":        changedPatched,
		"Revoked":        changedRevoked,
		"EndedUnseen":    changedUnseen,
		"Erased":         changedErased,
		"Purged":         changedPurged,
		"Limit":          changedLimit,
		"LimitMoves":     changedLimitMoves,
		"StatelessOnly":  changedStatelessOnly,
		"StaysStateless": changedStaysStateless,
		"Pages":          changedPages,
		"DefaultPage":    changedDefaultPage,
		"Generation":     changedGeneration,
		"Acknowledged":   changedAcknowledged,
		"Follows":        changedFollows,
		"Reopened":       changedReopened,
	})
}

// sealed is a Create of a stateless session of who.
func (e *env) sealed(who latchkey.Identity) latchkey.Create {
	c := e.draft(who)
	c.Record.Stateless = true
	return c
}

// addSealed creates a stateless session of who.
func (e *env) addSealed(who latchkey.Identity) latchkey.ID {
	e.t.Helper()
	return e.create(e.sealed(who)).ID
}

// addSealedMany creates n stateless sessions of who at once.
func (e *env) addSealedMany(who latchkey.Identity, n int) []latchkey.ID {
	e.t.Helper()
	return e.addEach(n, func() latchkey.Create { return e.sealed(who) })
}

// changed reads the whole list, and checks its pages on the way.
func (e *env) changed(limit int) []latchkey.ID {
	e.t.Helper()
	var ids []latchkey.ID
	var after latchkey.ID
	bound := limit
	if bound == 0 {
		bound = latchkey.DefaultChangedLimit
	}
	for range 100_000 {
		page, err := e.lister().Changed(e.t.Context(), after, limit)
		if err != nil {
			e.t.Fatalf("Changed: %v", err)
		}
		if len(page.IDs) > bound {
			e.t.Fatalf("Changed: a page of %d IDs, at most %d are allowed", len(page.IDs), bound)
		}
		if page.Generation == 0 {
			e.t.Fatal("Changed: a page without the generation")
		}
		for _, id := range page.IDs {
			if bytes.Compare(id[:], after[:]) <= 0 {
				e.t.Fatalf("Changed: %v comes behind %v; IDs ascend", id, after)
			}
			after = id
		}
		ids = append(ids, page.IDs...)
		if page.Next.IsZero() {
			return ids
		}
		if bytes.Compare(page.Next[:], after[:]) < 0 {
			e.t.Fatal("Changed: the next page would begin before the end of this one")
		}
		after = page.Next
	}
	e.t.Fatal("Changed: paging does not end")
	return nil
}

// wantChanged checks that the list holds these and no others.
func (e *env) wantChanged(want ...latchkey.ID) {
	e.t.Helper()
	if got := e.changed(0); len(got) != len(want) || !slices.Equal(got, ascending(want)) {
		e.t.Errorf("listed as changed are %v, want %v", got, ascending(want))
	}
}

// ascending is a sorted copy of ids.
func ascending(ids []latchkey.ID) []latchkey.ID {
	return slices.SortedFunc(slices.Values(ids), func(a, b latchkey.ID) int { return bytes.Compare(a[:], b[:]) })
}

// edited patches a session as a change of its data does.
func (e *env) edited(id latchkey.ID) {
	e.t.Helper()
	if err := e.patch(id, func(r *latchkey.Record) { r.Name = "Another" }); err != nil {
		e.t.Fatalf("Patch: %v", err)
	}
}

// A session that was made and touched is as it was created.
func changedNot(e *env) {
	e.wantChanged()
	id := e.addSealed(ann)
	other := e.addSealed(latchkey.Identity{})
	if !e.get(id).Stateless {
		e.t.Error("Stateless is lost")
	}
	e.clock.Advance(time.Minute)
	e.touch(latchkey.Touch{ID: id, At: e.now()}, latchkey.Touch{ID: other, At: e.now()})
	if r := e.get(id); !r.LastSeenAt.Equal(e.now()) || !r.Stateless {
		e.t.Errorf("after a touch the session is %+v", r)
	}
	for _, r := range e.all(latchkey.ListQuery{}) {
		if !r.Stateless {
			e.t.Error("a listed session is not stateless any more")
		}
	}
	e.wantChanged()
	// It may become idle and come to its limit without a change.
	e.clock.Advance(2 * idle)
	e.wantChanged()
}

func changedPatched(e *env) {
	id, other := e.addSealed(ann), e.addSealed(ann)
	e.edited(id)
	e.wantChanged(id)
	e.edited(id)
	e.wantChanged(id)
	if r := e.get(id); !r.Stateless || r.Version != 3 {
		e.t.Errorf("after two patches Stateless is %v, the version %d", r.Stateless, r.Version)
	}
	e.revoke(latchkey.Revocation{ID: id})
	e.wantChanged(id)
	e.wantState(other, latchkey.Live)
}

// Whatever way a session is ended, it is listed.
func changedRevoked(e *env) {
	var ended []latchkey.ID
	end := func(r latchkey.Revocation, ids ...latchkey.ID) {
		e.t.Helper()
		e.revoke(r)
		ended = append(ended, ids...)
		e.wantChanged(ended...)
	}
	one, kept, spared := e.addSealed(bob), e.addSealed(bob), e.addSealed(ann)
	end(latchkey.Revocation{ID: one}, one)
	end(latchkey.Revocation{ID: one})
	end(latchkey.Revocation{Provider: ann.Provider, Subject: ann.Subject, Except: spared})
	mine := e.addSealedMany(ann, 3)
	end(latchkey.Revocation{Provider: ann.Provider, Subject: ann.Subject, Except: spared}, mine...)
	end(identity(ann), spared)
	here, there := e.addSealed(ann), e.addSealed(twin)
	end(latchkey.Revocation{Subject: ann.Subject, AnyProvider: true}, here, there)
	c := e.sealed(ann)
	c.Record.SID = "s"
	end(latchkey.Revocation{Provider: ann.Provider, SID: "s"}, e.create(c).ID)

	// A sign-in ends what it replaces, and what is over the limit.
	before := e.addSealed(ann)
	c = e.sealed(ann)
	c.Replaces = before
	after := e.create(c).ID
	ended = append(ended, before)
	e.wantChanged(ended...)
	e.clock.Advance(time.Second)
	c = e.sealed(ann)
	c.Limit, c.Policy = 1, latchkey.EvictOldest
	e.create(c)
	e.wantChanged(append(ended, after)...)
	e.wantState(kept, latchkey.Live)
}

// One that is idle is marked by a revocation like others, since a late touch could
// revive it.
func changedUnseen(e *env) {
	id, other := e.addSealed(ann), e.addSealed(bob)
	e.clock.Advance(2 * idle)
	e.revoke(identity(ann))
	e.wantChanged(id)
	e.revoke(latchkey.Revocation{ID: other})
	e.wantChanged(id, other)
}

// An erased session leaves its bare ID, live as it was.
func changedErased(e *env) {
	live := e.addSealedMany(ann, 5)
	ended, other := e.addSealed(ann), e.addSealed(bob)
	e.revoke(latchkey.Revocation{ID: ended})
	e.purge(latchkey.Purge{Erase: ann, Batch: 2})
	e.wantGone(true, live...)
	e.wantChanged(append(live, ended)...)
	e.wantState(other, latchkey.Live)
	e.clock.Advance(lifetime - time.Minute)
	e.purge(latchkey.Purge{EndedBefore: e.now().Add(lifetime)}) // forgets none of them
	e.wantGone(true, other)
	e.wantChanged(append(live, ended, other)...)
	e.clock.Advance(2 * time.Minute)
	e.wantChanged()
}

// What retention removes before the absolute limit is listed until then.
func changedPurged(e *env) {
	revoked, patched, unseen, stays := e.addSealed(ann), e.addSealed(ann), e.addSealed(bob), e.addSealed(bob)
	e.revoke(latchkey.Revocation{ID: revoked})
	e.edited(patched)
	for range 3 {
		e.clock.Advance(idle / 2)
		e.touch(latchkey.Touch{ID: stays, At: e.now()})
	}
	if n := e.purge(latchkey.Purge{EndedBefore: e.now()}); n != 3 {
		e.t.Errorf("%d sessions went, want 3", n)
	}
	e.wantGone(true, revoked, patched, unseen)
	e.wantGone(false, stays)
	e.wantChanged(revoked, patched, unseen)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.wantChanged(revoked, patched, unseen)
	e.clock.Advance(lifetime - 2*idle)
	e.wantChanged(revoked, patched, unseen)
	e.clock.Advance(2 * idle)
	e.wantChanged()
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.wantChanged()
}

// An entry stands until the absolute limit of its session by the store's clock,
// whether the row is still there or not.
func changedLimit(e *env) {
	short := func(who latchkey.Identity) latchkey.ID {
		c := e.sealed(who)
		c.Record.ExpiresAt = e.now().Add(10 * time.Minute)
		return e.create(c).ID
	}
	revoked, patched, erased, long := short(twin), short(twin), short(bob), e.addSealed(ann)
	e.edited(patched)
	e.revoke(latchkey.Revocation{ID: revoked})
	e.revoke(latchkey.Revocation{ID: long})
	e.purge(latchkey.Purge{Erase: bob})
	e.clock.Advance(9 * time.Minute)
	e.clock.StepWall(-time.Hour) // nothing to the store
	e.wantChanged(revoked, patched, erased, long)
	e.clock.Advance(2 * time.Minute)
	e.wantChanged(long)
	// What has passed is passed for good.
	late := short(bob)
	e.clock.Advance(11 * time.Minute)
	e.revoke(latchkey.Revocation{ID: late})
	e.purge(latchkey.Purge{EndedBefore: e.now().Add(time.Hour)})
	e.wantChanged(long)
}

// Tokens of before and after a patch each end at the limit that they were made
// with: the entry stands until the latest one.
func changedLimitMoves(e *env) {
	earlier, later, again, patched := e.addSealed(ann), e.addSealed(ann), e.addSealed(ann), e.addSealed(ann)
	move := func(id latchkey.ID, by time.Duration) {
		e.t.Helper()
		if err := e.patch(id, func(r *latchkey.Record) { r.ExpiresAt, r.Idle = e.now().Add(by), 0 }); err != nil {
			e.t.Fatal(err)
		}
	}
	move(earlier, time.Hour)
	move(later, 2*lifetime)
	move(again, 2*lifetime)
	move(again, time.Hour)
	move(patched, 2*lifetime)
	e.clock.Advance(2 * time.Hour)
	e.wantChanged(earlier, later, again, patched)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.revoke(latchkey.Revocation{ID: later})
	e.purge(latchkey.Purge{EndedBefore: e.now().Add(time.Hour)})
	e.wantGone(true, earlier, later, again)
	e.wantGone(false, patched)
	e.wantChanged(earlier, later, again, patched)
	e.clock.Advance(lifetime - time.Hour)
	e.wantChanged(later, again, patched)
	e.clock.Advance(lifetime)
	e.wantChanged()
}

// Sessions whose tokens tell nothing are never listed.
func changedStatelessOnly(e *env) {
	patched, revoked := e.add(ann).ID, e.add(ann).ID
	e.edited(patched)
	e.revoke(latchkey.Revocation{ID: revoked})
	c := e.limited(ann, 1, latchkey.EvictOldest)
	e.create(c)
	e.add(bob)
	e.purge(latchkey.Purge{Erase: bob})
	e.clock.Advance(2 * idle)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	e.wantChanged()
}

// A patch changes nothing of whether the token tells of the session: the store
// keeps what the row has, or refuses.
func changedStaysStateless(e *env) {
	stateless, stored := e.addSealed(ann), e.add(ann).ID
	for _, id := range []latchkey.ID{stateless, stored} {
		err := e.patch(id, func(r *latchkey.Record) { r.Stateless = !r.Stateless })
		if err != nil {
			wantCode(e.t, err, latchkey.CodeInvalidRequest)
		}
		if got, want := e.get(id).Stateless, id == stateless; got != want {
			e.t.Errorf("after a patch Stateless is %v, want %v", got, want)
		}
	}
	e.revoke(identity(ann))
	e.wantChanged(stateless)
}

func changedPages(e *env) {
	ids := append(e.addSealedMany(ann, 13), e.addSealedMany(bob, 12)...)
	e.revoke(identity(ann))
	e.revoke(identity(bob))
	want := ascending(ids)
	for _, limit := range []int{1, 4, 5, 24, 25, 26, 0} {
		if got := e.changed(limit); !slices.Equal(got, want) {
			e.t.Errorf("pages of %d list %v, want %v", limit, got, want)
		}
	}
	// After is an ID that need not be listed, and may be any.
	for _, after := range []latchkey.ID{want[7], before(want[8])} {
		page, err := e.lister().Changed(e.t.Context(), after, 3)
		if err != nil || !slices.Equal(page.IDs, want[8:11]) || page.Next.IsZero() {
			e.t.Errorf("after %v comes %v, %v; want %v", after, page, err, want[8:11])
		}
	}
	page, err := e.lister().Changed(e.t.Context(), want[24], 3)
	if err != nil || len(page.IDs) != 0 || !page.Next.IsZero() || page.Generation == 0 {
		e.t.Errorf("behind the last one comes %v, %v", page, err)
	}
	// What goes between two pages takes nothing with it.
	page, err = e.lister().Changed(e.t.Context(), latchkey.ID{}, 10)
	if err != nil || !slices.Equal(page.IDs, want[:10]) {
		e.t.Fatalf("the first page is %v, %v", page, err)
	}
	e.purge(latchkey.Purge{Erase: ann})
	rest, err := e.lister().Changed(e.t.Context(), page.Next, 100)
	if err != nil || !slices.Equal(rest.IDs, want[10:]) || !rest.Next.IsZero() {
		e.t.Errorf("the second page is %v, %v; want %v", rest, err, want[10:])
	}
}

// before is the greatest ID below one.
func before(id latchkey.ID) latchkey.ID {
	for i := len(id) - 1; ; i-- {
		if id[i]--; id[i] != 0xff {
			return id
		}
	}
}

func changedDefaultPage(e *env) {
	n := latchkey.DefaultChangedLimit + 1
	if e.h.Sessions < latchkey.DefaultChangedLimit {
		n = e.h.Sessions // a quick run
	}
	ids := e.addSealedMany(ann, n)
	e.revoke(identity(ann))
	page, err := e.lister().Changed(e.t.Context(), latchkey.ID{}, 0)
	if want := min(n, latchkey.DefaultChangedLimit); err != nil || len(page.IDs) != want {
		e.t.Errorf("the first page has %d IDs, %v; want %d", len(page.IDs), err, want)
	}
	if got := e.changed(0); !slices.Equal(got, ascending(ids)) {
		e.t.Errorf("%d are listed, want the %d that ended", len(got), n)
	}
}

// Each page tells the present generation, one without IDs too.
func changedGeneration(e *env) {
	generation := func() uint64 {
		e.t.Helper()
		page, err := e.lister().Changed(e.t.Context(), latchkey.ID{}, 0)
		if err != nil {
			e.t.Fatalf("Changed: %v", err)
		}
		return page.Generation
	}
	first := e.get(e.addSealed(ann))
	if got := generation(); got != first.Generation {
		e.t.Errorf("generation %d, want %d", got, first.Generation)
	}
	e.revoke(latchkey.Revocation{All: true})
	raised := generation()
	// A number that it never had: with a backup it would begin again from an earlier
	// one, and tokens of sessions made since then tell of what came after that.
	if raised <= first.Generation || raised < uint64(e.clock.Time().UnixMicro()) {
		e.t.Errorf("generation %d after it was raised from %d at %d", raised, first.Generation, e.clock.Time().UnixMicro())
	}
	second := e.get(e.addSealed(ann))
	if second.Generation != raised {
		e.t.Errorf("generation %d, but sessions are made under %d", raised, second.Generation)
	}
	e.revoke(latchkey.Revocation{ID: second.ID})
	if got := e.changed(0); !slices.Contains(got, second.ID) {
		e.t.Error("a session of a later generation is not listed")
	}
	// No page tells a generation whose sessions it may lack.
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for last := raised; ; {
			select {
			case <-stop:
				return
			default:
			}
			page, err := e.lister().Changed(e.t.Context(), latchkey.ID{}, 0)
			if err != nil || page.Generation < last {
				e.t.Errorf("generation %d after %d, %v", page.Generation, last, err)
				return
			}
			last = page.Generation
		}
	})
	for range 20 {
		e.revoke(latchkey.Revocation{All: true})
	}
	close(stop)
	wg.Wait()
	if got := generation(); got < raised+20 {
		e.t.Errorf("generation %d after twenty times more than %d", got, raised)
	}
}

// What was acknowledged before the call is in the list, however much goes on.
func changedAcknowledged(e *env) {
	ids := e.addSealedMany(ann, 64)
	for i := range 8 {
		e.addSealedMany(bob, i)
	}
	parallel(len(ids), func(i int) {
		var err error
		switch i % 3 {
		case 0:
			_, err = e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: ids[i]}))
		case 1:
			err = e.patch(ids[i], nil)
		default:
			_, err = e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: ids[i], Only: ann}))
		}
		if err != nil {
			e.t.Errorf("the change answered %v", err)
			return
		}
		page, err := e.lister().Changed(e.t.Context(), before(ids[i]), 1)
		if err != nil || len(page.IDs) != 1 || page.IDs[0] != ids[i] {
			e.t.Errorf("a change that was acknowledged is not listed: %v, %v", page.IDs, err)
		}
	})
	e.wantChanged(ids...)
}

// The feed tells of whatever becomes listed: a node that has read the list needs
// no more than that to keep it.
func changedFollows(e *env) {
	if e.feed() == nil {
		e.t.Skip("the harness excepts the feed")
	}
	patched, revoked := e.addSealed(ann), e.addSealed(ann)
	erased, unseen := e.addSealed(bob), e.addSealed(twin)
	f := e.follow()
	e.edited(patched)
	e.revoke(latchkey.Revocation{ID: revoked})
	e.purge(latchkey.Purge{Erase: bob})
	e.clock.Advance(2 * idle)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	for _, id := range []latchkey.ID{patched, revoked, erased, unseen} {
		if !f.told(id) {
			e.t.Errorf("the follower was not told of %v", id)
		}
	}
	e.wantChanged(patched, revoked, erased, unseen)
}

func changedReopened(e *env) {
	if !e.h.Durable {
		e.t.Skip("the store is not durable")
	}
	patched, revoked, erased, kept := e.addSealed(ann), e.addSealed(ann), e.addSealed(bob), e.addSealed(ann)
	e.edited(patched)
	e.revoke(latchkey.Revocation{ID: revoked})
	e.purge(latchkey.Purge{Erase: bob})
	e.reopen()
	e.wantChanged(patched, revoked, erased)
	if !e.get(kept).Stateless {
		e.t.Error("Stateless is lost")
	}
	e.clock.Advance(lifetime + time.Minute)
	e.wantChanged()
}
