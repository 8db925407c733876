package postgres

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// seldom has followers poll so seldom that only notifications can bring anything.
const seldom = time.Hour

// often is an interval of which a test waits for several.
const often = 20 * time.Millisecond

// twoNodes opens two stores in one schema, of which the second is followed.
func twoNodes(t testing.TB, options string, interval time.Duration) (a, b *Store, f *fixture.Follower) {
	t.Helper()
	url := newURL(t) + options
	a = mustOpen(t, Config{URL: url, Timeout: time.Minute})
	b = mustOpen(t, Config{URL: url, Timeout: time.Minute, MustExist: true})
	f = fixture.Follow(t, b, interval)
	if b.schema.Listens {
		fixture.Eventually(t, "the listener", b.hears.Load)
	}
	return a, b, f
}

// A change of another node is brought by a notification, long before the next poll.
func TestWoken(t *testing.T) {
	a, b, f := twoNodes(t, "", seldom)
	if !a.Schema().Listens || a.Schema().Pooler {
		t.Fatalf("schema is %+v, want one that listens", a.Schema())
	}
	one, two := add(t, a, "ann"), add(t, b, "ann")
	fixture.Revoke(t, a, one)
	fixture.Eventually(t, "the revocation", func() bool { return f.Times(one) == 1 })
	fixture.Revoke(t, b, two)
	if f.Times(two) != 1 {
		t.Error("an own change was not delivered before it was answered")
	}
	if _, err := a.Revoke(t.Context(), latchkey.Revocation{All: true, Event: audit.Event{Action: audit.RevokeAll}}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, "the end of everything", func() bool { return slices.ContainsFunc(f.All(), func(b latchkey.Batch) bool { return b.All }) })
	if f.Times(one) != 1 || f.Times(two) != 1 || f.Resets() != 1 {
		t.Errorf("told %d and %d times, with %d resets; want once each", f.Times(one), f.Times(two), f.Resets())
	}
}

// A program that revokes and ends at once has woken the others.
func TestWokenByCommand(t *testing.T) {
	a, _, f := twoNodes(t, "", seldom)
	id := add(t, a, "ann")
	fixture.Revoke(t, a, id)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, "the revocation", func() bool { return f.Times(id) == 1 })
}

// Without notifications each poll brings what happened since the last, once.
func TestPolled(t *testing.T) {
	a, b, f := twoNodes(t, "&feed=poll", often)
	if b.Schema().Listens {
		t.Fatal("it listens although feed=poll")
	}
	var ids []latchkey.ID
	for range 20 {
		for _, s := range []*Store{a, b} {
			id := add(t, s, "ann")
			fixture.Revoke(t, s, id)
			ids = append(ids, id)
		}
	}
	f.Proven(t)
	f.Proven(t)
	for _, id := range ids {
		if n := f.Times(id); n != 1 {
			t.Errorf("told %d times of a session, want once", n)
		}
	}
	if f.Resets() != 1 {
		t.Errorf("%d resets, want the first one only", f.Resets())
	}
}

// Transactions that end in another order than they began in are all seen.
func TestCommitsOutOfOrder(t *testing.T) {
	a, _, f := twoNodes(t, "&feed=poll", often)
	late, soon := add(t, a, "ann"), add(t, a, "bob")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := script(ctx, conn.PgConn(), inSchema("BEGIN; SELECT latchkey.tell(1, 1, ARRAY['"+late.String()+"'::uuid])", a.t.schema)); err != nil {
		t.Fatal(err)
	}
	fixture.Revoke(t, a, soon)
	fixture.Eventually(t, "the change that was committed first", func() bool { return f.Times(soon) == 1 })
	f.Proven(t)
	if f.Times(late) != 0 {
		t.Error("told of what is not committed")
	}
	if err := script(ctx, conn.PgConn(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	f.Proven(t)
	if n := f.Times(late); n != 1 {
		t.Errorf("told %d times of what was committed late, want once by the next proof", n)
	}
}

// A reader that was away while the log was pruned forgets everything; one that has
// seen what was pruned does not.
func TestPruned(t *testing.T) {
	now := time.Now().UnixMicro()
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute, now: func() int64 { return now }})
	ctx := t.Context()
	var here, away cursor
	look := func(at *cursor) bool {
		t.Helper()
		b, err := s.poll(ctx, at)
		if err != nil {
			t.Fatal(fixture.Chain(err))
		}
		return b.Reset
	}
	prune := func() {
		t.Helper()
		fixture.Revoke(t, s, add(t, s, "ann"))
		now += (2 * time.Minute).Microseconds()
		if err := s.housekeep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !look(&here) || !look(&away) {
		t.Error("the first look does not reset")
	}
	rows := inSchema("SELECT count(*) FROM latchkey.change", s.t.schema)
	for i := range 5 {
		prune()
		if look(&here) {
			t.Errorf("round %d: a reader that is up to date is reset", i)
		}
		if n := query(t, pg.URL, rows); n > 2 {
			t.Errorf("round %d: %d rows are left in the log", i, n)
		}
	}
	if !look(&away) {
		t.Error("a reader behind the pruned log is not reset")
	}
	if look(&away) {
		t.Error("it is reset twice")
	}
}

// After a crash of the server, the whole or one process of it, numbers of
// transactions may be given again: followers forget everything.
func TestCrashResets(t *testing.T) {
	server := servers.StartPostgres(t)
	s := mustOpen(t, Config{URL: server.URL, Timeout: 10 * time.Second})
	f := fixture.Follow(t, s, often)
	id := add(t, s, "ann")
	crash := map[string]func(){
		"Server":  func() { server.Restart(t) },
		"Process": func() { killBackend(t, server) },
	}
	for _, name := range []string{"Process", "Server"} {
		before := f.Resets()
		crash[name]()
		fixture.Eventually(t, "a reset after the crash: "+name, func() bool { return f.Resets() > before })
		f.Proven(t)
		fixture.Eventually(t, "the listener", s.hears.Load)
		fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(context.Background(), id); return err == nil })
		told := f.Times(id)
		if err := retried(func() error { return s.Touch(t.Context(), []latchkey.Touch{{ID: id, At: storeNow(s)}}) }); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		next := add(t, s, "bob")
		fixture.Revoke(t, s, next)
		if f.Times(next) != 1 || f.Times(id) != told {
			t.Errorf("%s: told %d times of a new revocation", name, f.Times(next))
		}
	}
	if n := query(t, server.URL, "SELECT count(*) FROM latchkey.session"); n != 3 {
		t.Errorf("%d sessions are left, want 3", n)
	}
}

// retried calls f until it succeeds, for a store that has just come back.
func retried(f func() error) (err error) {
	for range 100 {
		if err = f(); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// While the server cannot be reached no proof is sent; then all is made up for.
func TestCutOff(t *testing.T) {
	proxy := servers.StartProxy(t, pg.Addr)
	schema, url := newSchema(t)
	a := mustOpen(t, Config{URL: url, Timeout: time.Minute})
	through := "postgres://" + servers.User + "@" + proxy.Addr + "/" + servers.User + "?sslmode=disable&schema=" + schema
	for name, way := range map[string]func(){"Cut": proxy.Cut, "Stall": proxy.Stall} {
		t.Run(name, func(t *testing.T) {
			b := mustOpen(t, Config{URL: through, Timeout: 500 * time.Millisecond})
			f := fixture.Follow(t, b, often)
			kept, id := add(t, a, "ann"), add(t, a, "ann")
			f.Proven(t)
			way()
			at := latchkey.SystemClock().Now()
			if _, err := b.Get(t.Context(), kept); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("Get while cut off: %v", err)
			}
			if _, err := b.Revoke(t.Context(), fixture.Revocation(kept)); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("Revoke while cut off: %v", err)
			}
			fixture.Revoke(t, a, id)
			if sent := f.Proof(); sent.Mono > at.Mono {
				t.Errorf("a proof was sent %v after the cut", time.Duration(sent.Mono-at.Mono))
			}
			proxy.Resume()
			f.Proven(t)
			if n := f.Times(id); n < 1 || n > 2 {
				t.Errorf("told %d times of what happened meanwhile, want once by the first proof, and once by a notification at most", n)
			}
			if err := retried(func() error { _, err := b.Get(t.Context(), kept); return err }); err != nil {
				t.Errorf("Get after the cut: %v", fixture.Chain(err))
			}
			f.Follows(t)
		})
	}
}

// The listener's connection may break without anything being missed.
func TestListenerBreaks(t *testing.T) {
	a, b, f := twoNodes(t, "", seldom)
	for range 3 {
		tamper(t, pg.URL, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN "latchkey_`+b.t.schema+`"'`)
		fixture.Eventually(t, "the listener to fall", func() bool { return !b.hears.Load() })
		fixture.Eventually(t, "the listener to rise", b.hears.Load)
		id := add(t, a, "ann")
		fixture.Revoke(t, a, id)
		fixture.Eventually(t, "the revocation", func() bool { return f.Times(id) == 1 })
	}
}

// Close ends followers, and whatever the store runs.
func TestCloseEndsFollowers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Open(t.Context(), Config{URL: newURL(t), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture.Follow(t, s, seldom)
	fixture.Eventually(t, "the listener", s.hears.Load)
	fixture.Get(t, s, add(t, s, "ann"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Ended(); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow returned %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
