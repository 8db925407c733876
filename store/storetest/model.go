package storetest

import (
	"bytes"
	"flag"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

// model is what a store should be: a list of rows, and rules in plain words.
type model struct {
	rows  []*latchkey.Record
	marks []modelMark
	// generation is the present one; an ended one's rows are marked at once, which
	// is what makes the model simple and would make a store slow.
	generation uint64
	// changed are the stateless sessions that are listed as changed, until when.
	changed map[latchkey.ID]modelChange
}

// modelChange says until when a session is listed. One that only the raised
// generation had ended may be, and need not.
type modelChange struct {
	until time.Time
	may   bool
}

// note lists a stateless session as changed, until the latest limit that it had.
func (m *model) note(r *latchkey.Record, may bool) {
	if !r.Stateless {
		return
	}
	c, listed := m.changed[r.ID]
	if r.ExpiresAt.After(c.until) {
		c.until = r.ExpiresAt
	}
	c.may = may && (c.may || !listed)
	m.changed[r.ID] = c
}

// modelMark is a revocation as sign-ins see it.
type modelMark struct {
	match func(r *latchkey.Record) bool
	at    time.Time
}

func (m *model) find(id latchkey.ID) *latchkey.Record {
	for _, r := range m.rows {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// end revokes a row, unless it is revoked already, and reports whether it was live.
// One that is idle or expired is marked without being counted, so that neither a
// late touch nor another clock revives it.
func (m *model) end(r *latchkey.Record, now time.Time, by, reason string) bool {
	state := r.StateAt(now)
	if state != latchkey.Revoked {
		m.note(r, false)
		r.RevokedAt, r.RevokedBy, r.RevokedReason = now, by, reason
	}
	return state == latchkey.Live
}

func (m *model) create(c latchkey.Create, now time.Time) (code latchkey.Code, replaced bool, evicted []latchkey.ID) {
	for _, mark := range m.marks {
		if !c.Began.IsZero() && mark.match(&c.Record) && !mark.at.Before(c.Began) && now.Sub(mark.at) <= latchkey.RevocationMark {
			return latchkey.CodeDenied, false, nil
		}
	}
	old := m.find(c.Replaces)
	if old != nil && c.ReplacesVersion != 0 && c.ReplacesVersion != old.Version && old.StateAt(now) == latchkey.Live {
		return latchkey.CodeConflict, false, nil
	}
	var live []*latchkey.Record
	for _, r := range m.rows {
		if r.Identity() == c.Record.Identity() && r.ID != c.Replaces && r.StateAt(now) == latchkey.Live {
			live = append(live, r)
		}
	}
	over := len(live) + 1 - c.Limit
	if c.Limit == 0 || c.Record.Subject == "" {
		over = 0
	}
	if over > 0 && c.Policy == latchkey.RefuseNew {
		return latchkey.CodeLimitReached, false, nil
	}
	if old != nil {
		replaced = m.end(old, now, "user", "replaced")
	}
	slices.SortFunc(live, func(a, b *latchkey.Record) int {
		if d := a.CreatedAt.Compare(b.CreatedAt); d != 0 {
			return d
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	for _, r := range live[:max(over, 0)] {
		m.end(r, now, "user", "") // the reason is the store's own word
		evicted = append(evicted, r.ID)
	}
	rec := c.Record
	rec.Version, rec.Generation = 1, m.generation
	m.rows = append(m.rows, &rec)
	return "", replaced, evicted
}

func (m *model) patch(next latchkey.Record, now time.Time) latchkey.Code {
	r := m.find(next.ID)
	switch {
	case r == nil:
		return latchkey.CodeNoSuchSession
	case r.StateAt(now) != latchkey.Live:
		return latchkey.CodeInvalidSession
	case r.Version != next.Version:
		return latchkey.CodeConflict
	}
	if next.LastSeenAt.Before(r.LastSeenAt) {
		next.LastSeenAt = r.LastSeenAt
	}
	m.note(r, false)
	m.note(&next, false)
	next.Version++
	*r = next
	return ""
}

func (m *model) touch(t latchkey.Touch, now time.Time) {
	r := m.find(t.ID)
	if r == nil || !r.RevokedAt.IsZero() || !now.Before(r.ExpiresAt) {
		return
	}
	at := t.At
	if at.After(now) {
		at = now
	}
	if at.After(r.LastSeenAt) && (r.Idle == 0 || at.Before(r.LastSeenAt.Add(r.Idle))) {
		r.LastSeenAt = at
	}
}

// revoke ends what match selects, and returns what was live.
func (m *model) revoke(match func(*latchkey.Record) bool, now time.Time, by, reason string) (ids []latchkey.ID) {
	for _, r := range m.rows {
		if match(r) && m.end(r, now, by, reason) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func (m *model) purge(p latchkey.Purge, now time.Time) int {
	before := len(m.rows)
	var goes []*latchkey.Record
	m.rows = slices.DeleteFunc(m.rows, func(r *latchkey.Record) bool {
		ended := r.EndsAt()
		if !r.RevokedAt.IsZero() && r.RevokedAt.Before(ended) {
			ended = r.RevokedAt
		}
		gone := !p.Erase.IsZero() && r.Identity() == p.Erase ||
			!p.EndedBefore.IsZero() && r.StateAt(now) != latchkey.Live && ended.Before(p.EndedBefore)
		if gone {
			goes = append(goes, r)
		}
		return gone
	})
	for _, r := range goes {
		m.note(r, r.Generation != m.generation)
	}
	return before - len(m.rows)
}

// list is what a query should yield in all its pages.
func (m *model) list(q latchkey.ListQuery, now time.Time) (ids []latchkey.ID) {
	for _, r := range m.rows {
		if q.Subject != "" && (r.Subject != q.Subject || !q.AnyProvider && r.Provider != q.Provider) {
			continue
		}
		if live := r.StateAt(now) == latchkey.Live; q.State == latchkey.AnyState || live == (q.State == latchkey.OnlyLive) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// world is the store and the model of it, driven by the same steps.
type world struct {
	e     *env
	m     *model
	steps int
}

// setHistories has rapid make n of them, unless n is 0 or its flag was given. It
// returns what undoes that.
func setHistories(t *testing.T, n int) (undo func()) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks == nil || n == 0 || checks.Value.String() != checks.DefValue {
		return func() {}
	}
	set := func(text string) {
		if err := checks.Value.Set(text); err != nil {
			t.Fatal(err)
		}
	}
	set(strconv.Itoa(n))
	return func() { set(checks.DefValue) }
}

// testModel runs random histories against the store and the model.
func testModel(t *testing.T, h Harness) {
	defer setHistories(t, h.Histories)()
	rapid.Check(t, func(rt *rapid.T) {
		clock := latchkeytest.NewClock(began)
		e := &env{t: t, h: h, clock: clock, store: h.Open(t, Options{Clock: clock})}
		defer e.store.Close()
		w := &world{e: e, m: &model{changed: make(map[latchkey.ID]modelChange)}}
		probe := e.add(latchkey.Identity{}) // tells the generation a store begins with
		w.m.generation = probe.Generation
		w.m.rows = append(w.m.rows, probe)
		rt.Repeat(map[string]func(*rapid.T){
			"create":  w.create,
			"create2": w.create, // more often than the rest
			"patch":   w.patch,
			"touch":   w.touch,
			"revoke":  w.revoke,
			"all":     w.all,
			"advance": w.advance,
			"purge":   w.purge,
			"":        w.check,
		})
		w.checkLists(rt)
	})
}

var (
	people    = rapid.SampledFrom([]latchkey.Identity{ann, bob, twin, {}})
	providers = rapid.SampledFrom([]string{ann.Provider, twin.Provider})
	sidNames  = rapid.SampledFrom([]string{"", "s1", "s2"})
)

// some draws a session, seldom one that is unknown.
func (w *world) some(rt *rapid.T, label string) latchkey.ID {
	i := rapid.IntRange(-1, len(w.m.rows)-1).Draw(rt, label)
	if i < 0 {
		return newID(ann)
	}
	return w.m.rows[i].ID
}

func (w *world) create(rt *rapid.T) {
	w.e.clock.Advance(time.Microsecond) // so that none are of one age
	c := w.e.draft(people.Draw(rt, "who"))
	c.Record.SID = sidNames.Draw(rt, "sid")
	c.Record.Idle = rapid.SampledFrom([]time.Duration{0, time.Minute, idle}).Draw(rt, "idle")
	c.Record.ExpiresAt = w.e.now().Add(rapid.SampledFrom([]time.Duration{10 * time.Minute, lifetime}).Draw(rt, "lifetime"))
	c.Record.Stateless = rapid.Bool().Draw(rt, "stateless")
	c.Limit = rapid.IntRange(0, 3).Draw(rt, "limit")
	c.Policy = latchkey.LimitPolicy(rapid.IntRange(0, 1).Draw(rt, "policy"))
	if rapid.Bool().Draw(rt, "replaces") {
		c.Replaces = w.some(rt, "predecessor")
		c.ReplacesVersion = uint64(rapid.IntRange(0, 2).Draw(rt, "version"))
	}
	if ago := rapid.IntRange(0, 20).Draw(rt, "began"); ago > 0 {
		c.Began = w.e.now().Add(-time.Duration(ago) * time.Minute)
	}
	code, replaced, evicted := w.m.create(c, w.e.now())
	created, err := w.e.store.Create(w.e.t.Context(), c)
	if got := latchkey.CodeOf(err); got != code {
		rt.Fatalf("Create answered %q (%v), want %q", got, err, code)
	}
	if created.Replaced != replaced || !slices.Equal(created.Evicted, evicted) {
		rt.Fatalf("Create replaced %v and evicted %v, want %v and %v", created.Replaced, created.Evicted, replaced, evicted)
	}
	for _, id := range evicted {
		w.m.find(id).RevokedReason = w.e.get(id).RevokedReason
	}
}

func (w *world) patch(rt *rapid.T) {
	next := latchkey.Record{ID: newID(ann), Version: 1}
	if r := w.m.find(w.some(rt, "session")); r != nil {
		next = *r
	}
	if next.RevokedAt.IsZero() && rapid.IntRange(0, 4).Draw(rt, "stale") == 0 {
		next.Version += uint64(rapid.IntRange(1, 3).Draw(rt, "ahead"))
	}
	next.Name = rapid.StringMatching(`[a-zé]{0,5}`).Draw(rt, "name")
	next.SID = sidNames.Draw(rt, "sid")
	if rapid.IntRange(0, 3).Draw(rt, "limit") == 0 {
		next.ExpiresAt = w.e.now().Add(rapid.SampledFrom([]time.Duration{20 * time.Minute, 2 * lifetime}).Draw(rt, "expires"))
	}
	if rapid.Bool().Draw(rt, "seen") {
		next.LastSeenAt = w.e.now()
	} else {
		next.LastSeenAt = next.CreatedAt
	}
	code := w.m.patch(next, w.e.now())
	if err := w.e.store.Patch(w.e.t.Context(), latchkey.Patch{Record: next}); latchkey.CodeOf(err) != code {
		rt.Fatalf("Patch answered %q (%v), want %q", latchkey.CodeOf(err), err, code)
	}
}

func (w *world) touch(rt *rapid.T) {
	var touches []latchkey.Touch
	for range rapid.IntRange(0, 4).Draw(rt, "touches") {
		at := w.e.now().Add(time.Duration(rapid.IntRange(-90, 5).Draw(rt, "at")) * time.Minute)
		touches = append(touches, latchkey.Touch{ID: w.some(rt, "session"), At: at})
	}
	for _, t := range touches {
		w.m.touch(t, w.e.now())
	}
	if err := w.e.store.Touch(w.e.t.Context(), touches); err != nil {
		rt.Fatalf("Touch: %v", err)
	}
}

func (w *world) revoke(rt *rapid.T) {
	var r latchkey.Revocation
	var match func(*latchkey.Record) bool
	now, code := w.e.now(), latchkey.Code("")
	switch rapid.IntRange(0, 3).Draw(rt, "selector") {
	case 0:
		r.ID = w.some(rt, "session")
		if rapid.Bool().Draw(rt, "only") {
			r.Only = people.Draw(rt, "owner")
		}
		match = func(rec *latchkey.Record) bool { return rec.ID == r.ID }
		if row := w.m.find(r.ID); row == nil || r.Only.Subject != "" && row.Identity() != r.Only {
			code = latchkey.CodeNoSuchSession
			match = func(*latchkey.Record) bool { return false }
		}
	case 1:
		r.Provider, r.SID = providers.Draw(rt, "provider"), rapid.SampledFrom([]string{"s1", "s2"}).Draw(rt, "sid")
		match = func(rec *latchkey.Record) bool { return rec.Provider == r.Provider && rec.SID == r.SID }
		w.m.marks = append(w.m.marks, modelMark{match, now})
	default:
		r.Provider, r.Subject = providers.Draw(rt, "provider"), rapid.SampledFrom([]string{"ann", "bob"}).Draw(rt, "subject")
		r.AnyProvider = rapid.Bool().Draw(rt, "any")
		whose := func(rec *latchkey.Record) bool {
			return rec.Subject == r.Subject && (r.AnyProvider || rec.Provider == r.Provider)
		}
		if rapid.Bool().Draw(rt, "except") {
			r.Except = w.some(rt, "excepted")
		}
		match = func(rec *latchkey.Record) bool { return whose(rec) && rec.ID != r.Except }
		w.m.marks = append(w.m.marks, modelMark{whose, now})
	}
	want := w.m.revoke(match, now, "admin:ada", "test")
	result, err := w.e.store.Revoke(w.e.t.Context(), w.e.revocation(r))
	if latchkey.CodeOf(err) != code {
		rt.Fatalf("Revoke answered %q (%v), want %q", latchkey.CodeOf(err), err, code)
	}
	w.same(rt, "revoked", result.IDs, want)
	if result.Count != len(want) {
		rt.Fatalf("Revoke counted %d, want %d", result.Count, len(want))
	}
}

// all ends everything: even what is expired shows as revoked from then on.
func (w *world) all(rt *rapid.T) {
	if rapid.IntRange(0, 2).Draw(rt, "seldom") > 0 {
		return
	}
	now, live := w.e.now(), 0
	for _, r := range w.m.rows {
		if r.StateAt(now) == latchkey.Live {
			live++
		}
		if r.RevokedAt.IsZero() {
			r.RevokedAt, r.RevokedBy, r.RevokedReason = now, "admin:ada", "test"
		}
	}
	result, err := w.e.store.Revoke(w.e.t.Context(), w.e.revocation(latchkey.Revocation{All: true}))
	if err != nil || result.Count != live {
		rt.Fatalf("Revoke counted %d, %v; want %d", result.Count, err, live)
	}
	probe := w.e.add(latchkey.Identity{}) // tells the next generation, a number of the store's choice
	w.m.generation = probe.Generation
	w.m.rows = append(w.m.rows, probe)
}

func (w *world) advance(rt *rapid.T) {
	w.e.clock.Advance(rapid.SampledFrom([]time.Duration{time.Microsecond, 20 * time.Second, time.Minute, 7 * time.Minute, idle}).Draw(rt, "by"))
	// What happens to the wall clock is nothing to the store.
	w.e.clock.StepWall(time.Duration(rapid.IntRange(-3, 3).Draw(rt, "step")) * time.Hour)
}

func (w *world) purge(rt *rapid.T) {
	p := latchkey.Purge{Batch: rapid.IntRange(0, 3).Draw(rt, "batch"),
		Event: audit.Event{Action: audit.Purge, Actor: "system", Outcome: audit.Done}}
	if rapid.Bool().Draw(rt, "erase") {
		p.Erase = rapid.SampledFrom([]latchkey.Identity{ann, bob, twin}).Draw(rt, "who")
	} else {
		p.EndedBefore = w.e.now().Add(-time.Duration(rapid.IntRange(0, 60).Draw(rt, "age")) * time.Minute)
	}
	want := w.m.purge(p, w.e.now())
	if n, err := w.e.store.Purge(w.e.t.Context(), p); err != nil || n != want {
		rt.Fatalf("Purge removed %d, %v; want %d", n, err, want)
	}
}

func (w *world) same(rt *rapid.T, what string, got, want []latchkey.ID) {
	if len(got) != len(want) || len(setOf(got)) != len(got) {
		rt.Fatalf("%s: %v, want %v", what, got, want)
	}
	for id := range setOf(want) {
		if !slices.Contains(got, id) {
			rt.Fatalf("%s: %v, want %v", what, got, want)
		}
	}
}

// checkEvery is how many steps there are between two looks at lists and counts, which
// take far more time than a step does.
const checkEvery = 4

// check compares every row, and every few steps what lists and counts say of them.
func (w *world) check(rt *rapid.T) {
	for _, want := range w.m.rows {
		got, err := w.e.store.Get(w.e.t.Context(), want.ID)
		if err != nil {
			rt.Fatalf("Get: %v", err)
		}
		if lines := differences(got, want); len(lines) > 0 {
			rt.Fatalf("the row differs from the model's: %v", lines)
		}
	}
	if w.steps++; w.steps%checkEvery == 0 {
		w.checkLists(rt)
	}
}

// checkLists compares what lists and counts say with the model.
func (w *world) checkLists(rt *rapid.T) {
	now := w.e.now()
	for _, q := range []latchkey.ListQuery{{}, {State: latchkey.AnyState, Limit: 2}, {State: latchkey.OnlyEnded, Limit: 3},
		{Provider: ann.Provider, Subject: ann.Subject}, {Subject: ann.Subject, AnyProvider: true, State: latchkey.AnyState, Limit: 2}} {
		records := w.e.all(q)
		w.same(rt, "listed", idsOf(records), w.m.list(q, now))
		if !slices.IsSortedFunc(records, func(a, b *latchkey.Record) int { return b.CreatedAt.Compare(a.CreatedAt) }) {
			rt.Fatalf("the list is not in order")
		}
	}
	if c := w.e.counter(); c != nil {
		want := len(w.m.list(latchkey.ListQuery{}, now))
		if got, err := c.Count(w.e.t.Context()); err != nil || got.Live != want || got.Live+got.Ended != len(w.m.rows) {
			rt.Fatalf("counted %+v, %v; want %d live of %d", got, err, want, len(w.m.rows))
		}
	}
	if w.e.lister() != nil {
		w.checkChanged(rt, now)
	}
}

// checkChanged compares the list of changed stateless sessions.
func (w *world) checkChanged(rt *rapid.T, now time.Time) {
	got := setOf(w.e.changed(2))
	for id, c := range w.m.changed {
		if !got[id] && !c.may && now.Before(c.until) {
			rt.Fatalf("%v is not listed as changed", id)
		}
	}
	for id := range got {
		if c, ok := w.m.changed[id]; !ok || !now.Before(c.until) {
			rt.Fatalf("%v is listed as changed", id)
		}
	}
}
