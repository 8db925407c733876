package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

func testAudit(t *testing.T, h Harness) {
	if h.NoAudit {
		t.Skip("the harness excepts the audit trail")
	}
	group(t, h, map[string]func(*env){
		"CommittedTogether": auditTogether,
		"Fields":            auditFields,
		"Order":             auditOrder,
		"Paging":            auditPaging,
		"Filters":           auditFilters,
		"OutlivesRow":       auditOutlives,
		"WhileAdding":       auditWhileAdding,
		"RefusedNotThere":   auditRefused,
	})
}

// Each change has left its event when the call returns.
func auditTogether(e *env) {
	id := e.add(ann).ID
	want := []audit.Action{audit.Create}
	check := func(next ...audit.Action) {
		e.t.Helper()
		want = append(want, next...)
		var got []audit.Action
		for _, ev := range e.events(audit.Query{Ascending: true}) {
			got = append(got, ev.Action)
		}
		slices.Sort(got)
		sorted := slices.Clone(want)
		slices.Sort(sorted)
		if !slices.Equal(got, sorted) {
			e.t.Errorf("recorded %v, want %v", got, sorted)
		}
	}
	check()
	c := e.limited(ann, 1, latchkey.EvictOldest)
	e.create(c)
	check(audit.Create, audit.Evict)
	c = e.draft(bob)
	c.Replaces = e.all(latchkey.ListQuery{Provider: ann.Provider, Subject: ann.Subject})[0].ID
	e.create(c)
	check(audit.Create, audit.Revoke)
	e.revoke(latchkey.Revocation{ID: c.Record.ID})
	check(audit.Revoke)
	e.revoke(latchkey.Revocation{ID: id}) // ended already
	check()
	e.revoke(identity(ann))
	check(audit.RevokeIdentity)
	e.revoke(latchkey.Revocation{Provider: "idp", SID: "s"})
	check(audit.RevokeSID)
	e.revoke(latchkey.Revocation{All: true})
	check(audit.RevokeAll)
	e.touch(latchkey.Touch{ID: id, At: e.now()})
	check()
}

func auditFields(e *env) {
	c := e.draft(latchkey.Identity{Provider: "https://idp.example", Subject: "ünï 🗝 '--"})
	c.Event.IP, c.Event.Reason, c.Event.Actor, c.Event.Count = "2001:db8::", "tëst\u2028reason", "admin:ada", 3
	e.create(c)
	events := e.events(audit.Query{})
	if len(events) != 1 {
		e.t.Fatalf("%d events, want 1", len(events))
	}
	got := events[0]
	if got.Seq == 0 {
		e.t.Error("the event has no position")
	}
	if _, offset := got.Time.Zone(); offset != 0 || !got.Time.Equal(c.Event.Time) {
		e.t.Errorf("time is %v, want %v in UTC", got.Time, c.Event.Time)
	}
	got.Seq, got.Time = 0, c.Event.Time
	if got != c.Event {
		e.t.Errorf("event is %v, want %v", got, c.Event)
	}
}

func auditOrder(e *env) {
	for range 5 {
		e.add(ann)
		e.clock.Advance(time.Second)
	}
	up := e.events(audit.Query{Ascending: true})
	down := e.events(audit.Query{})
	for i := 1; i < len(up); i++ {
		if up[i].Seq <= up[i-1].Seq {
			e.t.Errorf("position %d follows %d", up[i].Seq, up[i-1].Seq)
		}
		if up[i].Time.Before(up[i-1].Time) {
			e.t.Errorf("event %d is older than the one before it", i)
		}
	}
	slices.Reverse(down)
	if !slices.Equal(up, down) || len(up) != 5 {
		e.t.Errorf("the two directions differ: %v and %v", up, down)
	}
}

func auditPaging(e *env) {
	for range 23 {
		e.add(ann)
	}
	e.addMany(bob, audit.MaxLimit)
	whole := e.events(audit.Query{Limit: audit.MaxLimit})
	if len(whole) != 23+audit.MaxLimit {
		e.t.Errorf("%d events, want %d", len(whole), 23+audit.MaxLimit)
	}
	for _, q := range []audit.Query{{}, {Limit: 7}, {Limit: audit.MaxLimit + 1}, {Limit: -1}} {
		if got := e.events(q); !slices.Equal(got, whole) {
			e.t.Errorf("%+v: %d events in pages differ from the %d of all", q, len(got), len(whole))
		}
	}
	slices.Reverse(whole)
	if got := e.events(audit.Query{Ascending: true, Limit: 9}); !slices.Equal(got, whole) {
		e.t.Errorf("%d events in ascending pages differ from the %d of all", len(got), len(whole))
	}
	for _, size := range []int{1, 7, 22, 23, 24} {
		got := e.events(audit.Query{Provider: ann.Provider, Subject: ann.Subject, Limit: size})
		if len(got) != 23 {
			e.t.Errorf("pages of %d: %d events of an identity, want 23", size, len(got))
		}
	}
	if page, err := e.reader().Audit(e.t.Context(), audit.Query{}); err != nil || len(page.Events) != audit.DefaultLimit {
		e.t.Errorf("a page of %d, %v; want %d", len(page.Events), err, audit.DefaultLimit)
	}
	last := whole[len(whole)-1].Seq
	if page, err := e.reader().Audit(e.t.Context(), audit.Query{Ascending: true, After: last}); err != nil || len(page.Events) != 0 || page.Next != 0 {
		e.t.Errorf("behind the last: %+v, %v", page, err)
	}
}

func auditFilters(e *env) {
	rec, other := e.add(ann), e.add(ann)
	e.add(twin)
	e.add(bob)
	e.add(latchkey.Identity{})
	e.revoke(latchkey.Revocation{ID: rec.ID})
	for name, test := range map[string]struct {
		q    audit.Query
		want int
	}{
		"Session":      {audit.Query{Session: rec.ID.String()}, 2},
		"OtherSession": {audit.Query{Session: other.ID.String()}, 1},
		"Unknown":      {audit.Query{Session: newID(ann).String()}, 0},
		"AnyProvider":  {audit.Query{Subject: twin.Subject, Session: rec.ID.String()}, -1},
		"Both":         {audit.Query{Session: rec.ID.String(), Provider: bob.Provider, Subject: bob.Subject}, 0},
		"Twin":         {audit.Query{Provider: twin.Provider, Subject: twin.Subject}, 1},
		"Bob":          {audit.Query{Provider: bob.Provider, Subject: bob.Subject}, 1},
	} {
		for _, test.q.Ascending = range []bool{false, true} {
			got := e.events(test.q)
			if test.want >= 0 && len(got) != test.want {
				e.t.Errorf("%s: %d events, want %d: %v", name, len(got), test.want, got)
			}
			for _, ev := range got {
				if test.q.Session != "" && ev.Session != test.q.Session || test.q.Subject != "" && ev.Subject != test.q.Subject {
					e.t.Errorf("%s: %v does not match", name, ev)
				}
			}
		}
	}
	spans := 0
	for _, ev := range e.events(audit.Query{Subject: ann.Subject}) {
		if ev.Action == audit.Create {
			spans++
		}
	}
	if spans != 3 {
		e.t.Errorf("%d creations of one subject under all providers, want 3", spans)
	}
}

func auditOutlives(e *env) {
	id := e.add(ann).ID
	e.revoke(latchkey.Revocation{ID: id})
	trail := e.events(audit.Query{Session: id.String()})
	e.clock.Advance(time.Second)
	// The row goes by an erasure of somebody else's trail: nothing of ann's is older.
	n, err := e.store.Purge(e.t.Context(), latchkey.Purge{Erase: ann, Event: audit.Event{Action: audit.Purge, Actor: "system", Outcome: audit.Done}})
	if err != nil || n != 1 {
		e.t.Fatalf("Purge removed %d, %v", n, err)
	}
	after := e.events(audit.Query{Session: id.String()})
	if len(after) != len(trail) {
		e.t.Errorf("%d events of a removed session, want %d", len(after), len(trail))
	}
}

// Following upwards with After sees each event once, whatever is added meanwhile.
func auditWhileAdding(e *env) {
	const total = 60
	done := make(chan struct{})
	go func() {
		defer close(done)
		parallel(6, func(int) {
			for range total / 6 {
				if _, err := e.store.Create(e.t.Context(), e.draft(ann)); err != nil {
					e.t.Errorf("Create: %v", err)
				}
			}
		})
	}()
	seen := make(map[uint64]bool)
	var after uint64
	for finished := false; ; {
		page, err := e.reader().Audit(e.t.Context(), audit.Query{Ascending: true, After: after, Limit: 7})
		if err != nil {
			e.t.Fatal(err)
		}
		for _, ev := range page.Events {
			if ev.Seq <= after || seen[ev.Seq] {
				e.t.Fatalf("position %d behind %d", ev.Seq, after)
			}
			seen[ev.Seq], after = true, ev.Seq
		}
		if len(page.Events) > 0 {
			continue
		}
		if finished {
			break
		}
		select {
		case <-done:
			finished = true // once more, for what came since
		default:
		}
	}
	if len(seen) != total {
		e.t.Errorf("followed %d events, want %d: a position was passed by before it was committed", len(seen), total)
	}
}

// What was refused has left nothing.
func auditRefused(e *env) {
	rec := e.add(ann)
	before := len(e.events(audit.Query{}))
	_, _ = e.store.Create(e.t.Context(), latchkey.Create{Record: *rec, Event: e.draft(ann).Event})
	_, _ = e.store.Create(e.t.Context(), e.limited(ann, 1, latchkey.RefuseNew))
	event := e.draft(ann).Event
	_ = e.store.Patch(e.t.Context(), latchkey.Patch{Record: e.draft(ann).Record, Event: &event})
	_, _ = e.store.Revoke(e.t.Context(), e.revocation(latchkey.Revocation{ID: rec.ID, Only: bob}))
	if after := len(e.events(audit.Query{})); after != before {
		e.t.Errorf("refused changes left %d events", after-before)
	}
}
