package storetest

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
)

// env is one test's store with the clock that it goes by.
type env struct {
	t     *testing.T
	h     Harness
	clock *latchkeytest.Clock
	store latchkey.Store
}

// began is when the suite's clocks start. It has nanoseconds, which records do not keep.
var began = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

func open(t *testing.T, h Harness) *env {
	t.Helper()
	clock := latchkeytest.NewClock(began)
	e := &env{t: t, h: h, clock: clock, store: h.Open(t, Options{Clock: clock})}
	t.Cleanup(func() {
		if err := e.store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return e
}

func (e *env) feed() latchkey.Feed              { f, _ := e.store.(latchkey.Feed); return f }
func (e *env) reader() audit.Reader             { r, _ := e.store.(audit.Reader); return r }
func (e *env) counter() latchkey.Counter        { c, _ := e.store.(latchkey.Counter); return c }
func (e *env) placer() latchkey.PlacementKeeper { p, _ := e.store.(latchkey.PlacementKeeper); return p }
func (e *env) lister() latchkey.ChangeLister    { l, _ := e.store.(latchkey.ChangeLister); return l }
func (e *env) spender() latchkey.Spender        { s, _ := e.store.(latchkey.Spender); return s }

// reopen closes the store and opens what it keeps once more.
func (e *env) reopen() {
	e.t.Helper()
	if err := e.store.Close(); err != nil {
		e.t.Fatalf("Close: %v", err)
	}
	e.store = e.h.Reopen(e.t, e.store, Options{Clock: e.clock})
}

// now is the store's time.
func (e *env) now() time.Time { return storeTime(e.store, e.clock) }

func storeTime(s latchkey.Store, clock latchkey.Clock) time.Time {
	if k, ok := s.(latchkey.Timekeeper); ok {
		return time.UnixMicro(k.StoreTime(clock.Now())).UTC()
	}
	return clock.Now().Time().Truncate(time.Microsecond)
}

// newID draws an ID. Those of one identity share their placement, as a Manager's do.
func newID(who latchkey.Identity) latchkey.ID {
	var id latchkey.ID
	_, _ = rand.Read(id[:]) // never fails
	if !who.IsZero() {
		sum := uint16(0)
		for _, c := range who.Provider + "\x00" + who.Subject {
			sum = sum*31 + uint16(c)
		}
		binary.BigEndian.PutUint16(id[6:], sum)
	}
	id[6], id[8] = 0x70|id[6]&0x0f, 0x80|id[8]&0x3f
	return id
}

// ann and others are identities that tests use.
var (
	ann = latchkey.Identity{Provider: "idp", Subject: "ann"}
	bob = latchkey.Identity{Provider: "idp", Subject: "bob"}
	// twin has ann's name with another provider and is somebody else.
	twin = latchkey.Identity{Provider: "other", Subject: "ann"}
)

// The limits of the suite's sessions.
const (
	idle     = time.Hour
	lifetime = 24 * time.Hour
)

// draft is a Create of a session of who that begins now.
func (e *env) draft(who latchkey.Identity) latchkey.Create {
	now := e.now()
	rec := latchkey.Record{ID: newID(who), Provider: who.Provider, Subject: who.Subject, Name: "Somebody", CreatedAt: now,
		LastSeenAt: now, RotatedAt: now, AuthTime: now, Idle: idle, Lifetime: lifetime, ExpiresAt: now.Add(lifetime)}
	_, _ = rand.Read(rec.SecretHash[:])
	return latchkey.Create{Record: rec, Event: audit.Event{Time: now, Action: audit.Create, Actor: "user", Session: rec.ID.String(),
		Provider: who.Provider, Subject: who.Subject, IP: "192.0.2.0", Outcome: audit.Done, Reason: "sign-in"}}
}

// add creates a session of who and returns it as the store has it.
func (e *env) add(who latchkey.Identity) *latchkey.Record {
	e.t.Helper()
	return e.create(e.draft(who))
}

func (e *env) create(c latchkey.Create) *latchkey.Record {
	e.t.Helper()
	if _, err := e.store.Create(e.t.Context(), c); err != nil {
		e.t.Fatalf("Create: %v", err)
	}
	return e.get(c.Record.ID)
}

// addShort creates a session of who that expires within a minute.
func (e *env) addShort(who latchkey.Identity, sid string) *latchkey.Record {
	e.t.Helper()
	c := e.draft(who)
	c.Record.SID, c.Record.ExpiresAt = sid, e.now().Add(time.Minute)
	return e.create(c)
}

// addMany creates n sessions of who at once, quicker than one by one.
func (e *env) addMany(who latchkey.Identity, n int) []latchkey.ID {
	e.t.Helper()
	return e.addEach(n, func() latchkey.Create { return e.draft(who) })
}

func (e *env) addEach(n int, draft func() latchkey.Create) []latchkey.ID {
	e.t.Helper()
	ids := make([]latchkey.ID, n)
	var failed error
	var mu sync.Mutex
	parallel(64, func(worker int) {
		for i := worker; i < n; i += 64 {
			c := draft()
			ids[i] = c.Record.ID
			if _, err := e.store.Create(e.t.Context(), c); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		}
	})
	if failed != nil {
		e.t.Fatalf("Create: %v", failed)
	}
	return ids
}

func (e *env) get(id latchkey.ID) *latchkey.Record {
	e.t.Helper()
	rec, err := e.store.Get(e.t.Context(), id)
	if err != nil {
		e.t.Fatalf("Get: %v", err)
	}
	return rec
}

// state is how the session stands now.
func (e *env) state(id latchkey.ID) latchkey.State {
	e.t.Helper()
	return e.get(id).StateAt(e.now())
}

func (e *env) wantState(id latchkey.ID, want latchkey.State) {
	e.t.Helper()
	if got := e.state(id); got != want {
		e.t.Errorf("session is %s, want %s", got, want)
	}
}

// revocation completes r with an actor, a reason and an event of the right kind.
func (e *env) revocation(r latchkey.Revocation) latchkey.Revocation {
	if r.By == "" {
		r.By, r.Reason = "admin:ada", "test"
	}
	r.Event = audit.Event{Actor: r.By, Provider: r.Provider, Subject: r.Subject, Outcome: audit.Done, Reason: r.Reason}
	switch {
	case !r.ID.IsZero():
		r.Event.Action, r.Event.Session = audit.Revoke, r.ID.String()
	case r.SID != "":
		r.Event.Action = audit.RevokeSID
	case r.All:
		r.Event.Action = audit.RevokeAll
	default:
		r.Event.Action = audit.RevokeIdentity
	}
	return r
}

func (e *env) revoke(r latchkey.Revocation) latchkey.RevokeResult {
	e.t.Helper()
	result, err := e.store.Revoke(e.t.Context(), e.revocation(r))
	if err != nil {
		e.t.Fatalf("Revoke: %v", err)
	}
	return result
}

// identity selects the sessions of who.
func identity(who latchkey.Identity) latchkey.Revocation {
	return latchkey.Revocation{Provider: who.Provider, Subject: who.Subject}
}

// patch applies edit to the session as it stands.
func (e *env) patch(id latchkey.ID, edit func(*latchkey.Record)) error {
	e.t.Helper()
	next := *e.get(id)
	_, _ = rand.Read(next.PatchID[:])
	if edit != nil {
		edit(&next)
	}
	return e.store.Patch(e.t.Context(), latchkey.Patch{Record: next})
}

func (e *env) touch(touches ...latchkey.Touch) {
	e.t.Helper()
	if err := e.store.Touch(e.t.Context(), touches); err != nil {
		e.t.Fatalf("Touch: %v", err)
	}
}

// all lists everything that q selects, page by page.
func (e *env) all(q latchkey.ListQuery) []*latchkey.Record {
	e.t.Helper()
	var records []*latchkey.Record
	for range 10_000 {
		page, err := e.store.List(e.t.Context(), q)
		if err != nil {
			e.t.Fatalf("List: %v", err)
		}
		if len(page.Records) > q.PageSize() {
			e.t.Fatalf("List: a page of %d records, at most %d are allowed", len(page.Records), q.PageSize())
		}
		records = append(records, page.Records...)
		if page.Next.IsZero() {
			return records
		}
		q.After = page.Next
	}
	e.t.Fatal("List: paging does not end")
	return nil
}

// events reads all of the trail that q selects.
func (e *env) events(q audit.Query) []audit.Event {
	e.t.Helper()
	return eventsOf(e.t, e.store, q)
}

func eventsOf(t *testing.T, s latchkey.Store, q audit.Query) []audit.Event {
	t.Helper()
	r, ok := s.(audit.Reader)
	if !ok {
		return nil
	}
	var events []audit.Event
	for range 10_000 {
		page, err := r.Audit(t.Context(), q)
		if err != nil {
			t.Fatalf("Audit: %v", err)
		}
		if len(page.Events) > q.PageSize() {
			t.Fatalf("Audit: a page of %d events, at most %d are allowed", len(page.Events), q.PageSize())
		}
		events = append(events, page.Events...)
		if page.Next == 0 {
			return events
		}
		q.After = page.Next
	}
	t.Fatal("Audit: paging does not end")
	return nil
}

// countEvents counts the trail's events of an action.
func (e *env) countEvents(action audit.Action) int {
	e.t.Helper()
	n := 0
	for _, ev := range e.events(audit.Query{}) {
		if ev.Action == action {
			n++
		}
	}
	return n
}

// wantCode checks an error's code, and that it is an *Error; "" wants none.
func wantCode(t testing.TB, err error, want latchkey.Code) {
	t.Helper()
	if got := latchkey.CodeOf(err); got != want {
		t.Errorf("error code is %q (%v), want %q", got, err, want)
	}
}

// parallel runs f in n goroutines that start together, and waits for them.
func parallel(n int, f func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// sameRecord reports every field in which two records differ.
func sameRecord(t testing.TB, got, want *latchkey.Record) {
	t.Helper()
	for _, line := range differences(got, want) {
		t.Error(line)
	}
}

// differences compares field by field. An empty list is as good as none, and
// times are compared as instants that must be in UTC.
func differences(got, want *latchkey.Record) (lines []string) {
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		name, a, b := g.Type().Field(i).Name, g.Field(i).Interface(), w.Field(i).Interface()
		if at, ok := a.(time.Time); ok {
			if !at.Equal(b.(time.Time)) || at.IsZero() != b.(time.Time).IsZero() {
				lines = append(lines, fmt.Sprintf("%s is %v, want %v", name, a, b))
			}
			if _, offset := at.Zone(); offset != 0 {
				lines = append(lines, fmt.Sprintf("%s is not in UTC", name))
			}
			continue
		}
		if g.Field(i).Kind() == reflect.Slice && g.Field(i).Len() == 0 && w.Field(i).Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(a, b) {
			lines = append(lines, fmt.Sprintf("%s is %v, want %v", name, a, b))
		}
	}
	return lines
}

// idsOf returns the IDs of records, in their order.
func idsOf(records []*latchkey.Record) []latchkey.ID {
	ids := make([]latchkey.ID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	return ids
}

// setOf is ids as a set.
func setOf(ids []latchkey.ID) map[latchkey.ID]bool {
	set := make(map[latchkey.ID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}

// sameIDs checks that got is want in any order, each once.
func sameIDs(t testing.TB, got, want []latchkey.ID) {
	t.Helper()
	if len(got) != len(want) || !reflect.DeepEqual(setOf(got), setOf(want)) {
		t.Errorf("sessions are %v, want %v", got, want)
	}
}
