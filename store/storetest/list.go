package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func testList(t *testing.T, h Harness) {
	group(t, h, map[string]func(*env){
		"NewestFirst":    listNewestFirst,
		"ByIdentity":     listByIdentity,
		"ByState":        listByState,
		"PageSize":       listPageSize,
		"EqualTimes":     listEqualTimes,
		"AcrossProvider": listAcrossProviders,
		"WhileAdding":    listWhileAdding,
		"WhileEnding":    listWhileEnding,
		"Empty":          listEmpty,
	})
}

// wantDescending checks the order by creation time.
func (e *env) wantDescending(records []*latchkey.Record) {
	e.t.Helper()
	for i := 1; i < len(records); i++ {
		if records[i].CreatedAt.After(records[i-1].CreatedAt) {
			e.t.Errorf("record %d was created after the one before it in the list", i)
		}
	}
	if n := len(setOf(idsOf(records))); n != len(records) {
		e.t.Errorf("%d of %d records are listed twice", len(records)-n, len(records))
	}
}

func listNewestFirst(e *env) {
	var ids []latchkey.ID
	for i := range 10 {
		who := ann
		if i%2 == 0 {
			who = latchkey.Identity{}
		}
		ids = append(ids, e.add(who).ID)
		e.clock.Advance(time.Microsecond)
	}
	// One that was made before the others, although it comes last.
	c := e.draft(bob)
	c.Record.CreatedAt = e.now().Add(-time.Hour / 2)
	old := e.create(c).ID
	slices.Reverse(ids)
	want := append(ids, old)
	for _, size := range []int{0, 1, 3, 11, 12} {
		if got := idsOf(e.all(latchkey.ListQuery{Limit: size})); !slices.Equal(got, want) {
			e.t.Errorf("limit %d: listed %v, want %v", size, got, want)
		}
	}
}

func listByIdentity(e *env) {
	mine := []latchkey.ID{e.add(ann).ID, e.add(ann).ID}
	theirs := e.add(twin).ID
	e.add(bob)
	e.add(latchkey.Identity{})
	e.add(latchkey.Identity{Provider: ann.Provider, Subject: "Ann"})
	e.add(latchkey.Identity{Provider: ann.Provider, Subject: "ann "})
	e.add(latchkey.Identity{Provider: "IDP", Subject: "ann"})
	sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})), mine)
	sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{Provider: twin.Provider, Subject: twin.Subject})), []latchkey.ID{theirs})
	if n := len(e.all(latchkey.ListQuery{})); n != 8 {
		e.t.Errorf("%d sessions of everybody, want 8", n)
	}
	if n := len(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: "nobody"})); n != 0 {
		e.t.Errorf("%d sessions of nobody", n)
	}
}

func listAcrossProviders(e *env) {
	var want []latchkey.ID
	for i := range 9 {
		who := latchkey.Identity{Provider: string(rune('a' + i%3)), Subject: "ann"}
		want = append(want, e.add(who).ID)
		e.clock.Advance(time.Second)
	}
	e.add(bob)
	slices.Reverse(want)
	for _, size := range []int{1, 2, 4, 50} {
		q := latchkey.ListQuery{Subject: "ann", AnyProvider: true, Limit: size}
		if got := idsOf(e.all(q)); !slices.Equal(got, want) {
			e.t.Errorf("limit %d: listed %v, want %v", size, got, want)
		}
	}
}

func listByState(e *env) {
	revoked := e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: revoked})
	short := e.draft(ann)
	short.Record.ExpiresAt = e.now().Add(time.Minute)
	expired := e.create(short).ID
	unseen := e.add(ann).ID
	endless := e.draft(ann)
	endless.Record.Idle = 0 // no idle limit
	unwatched := e.create(endless).ID
	e.clock.Advance(idle)
	live := e.add(ann).ID
	for _, who := range []latchkey.ListQuery{{}, {Provider: ann.Provider, Subject: ann.Subject}, {Subject: ann.Subject, AnyProvider: true}} {
		check := func(state latchkey.StateFilter, want ...latchkey.ID) {
			q := who
			for _, q.Limit = range []int{0, 1, 2} {
				q.State = state
				records := e.all(q)
				e.wantDescending(records)
				sameIDs(e.t, idsOf(records), want)
			}
		}
		check(latchkey.OnlyLive, live, unwatched)
		check(latchkey.OnlyEnded, revoked, expired, unseen)
		check(latchkey.AnyState, revoked, expired, unseen, unwatched, live)
	}
	// At its limit itself a session has ended; a microsecond before it has not.
	e.clock.Advance(idle - time.Microsecond)
	sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{})), []latchkey.ID{live, unwatched})
	e.clock.Advance(time.Microsecond)
	sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{})), []latchkey.ID{unwatched})
}

func listPageSize(e *env) {
	e.addMany(ann, latchkey.MaxListLimit+20)
	for limit, want := range map[int]int{0: latchkey.DefaultListLimit, -1: latchkey.DefaultListLimit, 7: 7,
		latchkey.MaxListLimit: latchkey.MaxListLimit, latchkey.MaxListLimit + 1: latchkey.MaxListLimit} {
		page, err := e.store.List(e.t.Context(), latchkey.ListQuery{Limit: limit})
		if err != nil || len(page.Records) != want {
			e.t.Errorf("limit %d: a page of %d, %v; want %d", limit, len(page.Records), err, want)
		}
		if page.Next.IsZero() {
			e.t.Errorf("limit %d: no next page", limit)
		}
	}
}

// Sessions made at one instant are each listed once, however small the pages.
func listEqualTimes(e *env) {
	want := e.addMany(ann, 23)
	more := e.addMany(bob, 5)
	for _, size := range []int{1, 5, 22, 23, 24} {
		got := idsOf(e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject, Limit: size}))
		sameIDs(e.t, got, want)
		sameIDs(e.t, idsOf(e.all(latchkey.ListQuery{Limit: size})), slices.Concat(want, more))
	}
}

// What is added meanwhile neither hides nor repeats what was there.
func listWhileAdding(e *env) {
	var want []latchkey.ID
	for range 10 {
		want = append(want, e.add(ann).ID)
		e.clock.Advance(time.Second)
	}
	q := latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject, Limit: 3}
	var got []latchkey.ID
	for {
		page, err := e.store.List(e.t.Context(), q)
		if err != nil {
			e.t.Fatal(err)
		}
		got = append(got, idsOf(page.Records)...)
		if page.Next.IsZero() {
			break
		}
		q.After = page.Next
		e.add(ann) // newer than everything that is still to come
	}
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		e.t.Errorf("listed %v, want %v", got, want)
	}
}

// A page goes on behind its cursor even when the session there has ended, or gone.
func listWhileEnding(e *env) {
	for range 9 {
		e.add(ann)
		e.clock.Advance(time.Second)
	}
	q := latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject, Limit: 3}
	seen := 0
	for {
		page, err := e.store.List(e.t.Context(), q)
		if err != nil {
			e.t.Fatal(err)
		}
		seen += len(page.Records)
		if page.Next.IsZero() {
			break
		}
		q.After = page.Next
		for _, rec := range page.Records {
			e.revoke(latchkey.Revocation{ID: rec.ID})
		}
	}
	if seen != 9 {
		e.t.Errorf("listed %d sessions, want 9", seen)
	}
}

func listEmpty(e *env) {
	page, err := e.store.List(e.t.Context(), latchkey.ListQuery{})
	if err != nil || len(page.Records) != 0 || !page.Next.IsZero() {
		e.t.Errorf("empty store: %+v, %v", page, err)
	}
	e.add(ann)
	last := e.all(latchkey.ListQuery{})[0]
	page, err = e.store.List(e.t.Context(), latchkey.ListQuery{After: latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}})
	if err != nil || len(page.Records) != 0 || !page.Next.IsZero() {
		e.t.Errorf("behind the last: %+v, %v", page, err)
	}
}
