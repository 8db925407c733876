package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// follower gathers what a feed delivers.
type follower struct {
	mu      sync.Mutex
	batches []latchkey.Batch
	ended   chan error
}

// follow follows a store's feed and waits for its first batch.
func follow(t testing.TB, s *Store, interval time.Duration) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{ended: make(chan error, 1)}
	go func() {
		f.ended <- s.Follow(ctx, interval, func(b latchkey.Batch) {
			b.IDs = slices.Clone(b.IDs)
			f.mu.Lock()
			f.batches = append(f.batches, b)
			f.mu.Unlock()
		})
	}()
	t.Cleanup(cancel)
	eventually(t, "the first batch", func() bool { return len(f.all()) > 0 })
	if !f.all()[0].Reset {
		t.Error("the first batch does not reset")
	}
	return f
}

func (f *follower) all() []latchkey.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// times is how often a session was named.
func (f *follower) times(id latchkey.ID) (n int) {
	for _, b := range f.all() {
		for _, told := range b.IDs {
			if told == id {
				n++
			}
		}
	}
	return n
}

func (f *follower) resets() (n int) {
	for _, b := range f.all() {
		if b.Reset {
			n++
		}
	}
	return n
}

// lastSent is the latest proof.
func (f *follower) lastSent() (m latchkey.Moment) {
	for _, b := range f.all() {
		if b.Sent != (latchkey.Moment{}) {
			m = b.Sent
		}
	}
	return m
}

// proven waits for a proof that was sent after now.
func (f *follower) proven(t testing.TB) {
	t.Helper()
	now := latchkey.SystemClock().Now()
	eventually(t, "a proof", func() bool { return f.lastSent().Mono > now.Mono })
}

// seldom has followers poll so seldom that only notifications can bring anything.
const seldom = time.Hour

// often is an interval of which a test waits for several.
const often = 20 * time.Millisecond

// twoNodes opens two stores in one schema, of which the second is followed.
func twoNodes(t testing.TB, options string, interval time.Duration) (a, b *Store, f *follower) {
	t.Helper()
	url := newURL(t) + options
	a = mustOpen(t, Config{URL: url, Timeout: time.Minute})
	b = mustOpen(t, Config{URL: url, Timeout: time.Minute, MustExist: true})
	f = follow(t, b, interval)
	if b.schema.Listens {
		eventually(t, "the listener", b.hears.Load)
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
	revoke(t, a, one)
	eventually(t, "the revocation", func() bool { return f.times(one) == 1 })
	revoke(t, b, two)
	if f.times(two) != 1 {
		t.Error("an own change was not delivered before it was answered")
	}
	if _, err := a.Revoke(t.Context(), latchkey.Revocation{All: true, Event: audit.Event{Action: audit.RevokeAll}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of everything", func() bool { return slices.ContainsFunc(f.all(), func(b latchkey.Batch) bool { return b.All }) })
	if f.times(one) != 1 || f.times(two) != 1 || f.resets() != 1 {
		t.Errorf("told %d and %d times, with %d resets; want once each", f.times(one), f.times(two), f.resets())
	}
}

// A program that revokes and ends at once has woken the others.
func TestWokenByCommand(t *testing.T) {
	a, _, f := twoNodes(t, "", seldom)
	id := add(t, a, "ann")
	revoke(t, a, id)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revocation", func() bool { return f.times(id) == 1 })
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
			revoke(t, s, id)
			ids = append(ids, id)
		}
	}
	f.proven(t)
	f.proven(t)
	for _, id := range ids {
		if n := f.times(id); n != 1 {
			t.Errorf("told %d times of a session, want once", n)
		}
	}
	if f.resets() != 1 {
		t.Errorf("%d resets, want the first one only", f.resets())
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
	revoke(t, a, soon)
	eventually(t, "the change that was committed first", func() bool { return f.times(soon) == 1 })
	f.proven(t)
	if f.times(late) != 0 {
		t.Error("told of what is not committed")
	}
	if err := script(ctx, conn.PgConn(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	f.proven(t)
	if n := f.times(late); n != 1 {
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
			t.Fatal(chain(err))
		}
		return b.Reset
	}
	prune := func() {
		t.Helper()
		revoke(t, s, add(t, s, "ann"))
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
	f := follow(t, s, often)
	id := add(t, s, "ann")
	crash := map[string]func(){
		"Server":  func() { server.Restart(t) },
		"Process": func() { killBackend(t, server) },
	}
	for _, name := range []string{"Process", "Server"} {
		before := f.resets()
		crash[name]()
		eventually(t, "a reset after the crash: "+name, func() bool { return f.resets() > before })
		f.proven(t)
		eventually(t, "the listener", s.hears.Load)
		eventually(t, "an answer", func() bool { _, err := s.Get(context.Background(), id); return err == nil })
		told := f.times(id)
		if err := retried(func() error { return s.Touch(t.Context(), []latchkey.Touch{{ID: id, At: storeNow(s)}}) }); err != nil {
			t.Fatal(chain(err))
		}
		next := add(t, s, "bob")
		revoke(t, s, next)
		if f.times(next) != 1 || f.times(id) != told {
			t.Errorf("%s: told %d times of a new revocation", name, f.times(next))
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
			f := follow(t, b, often)
			kept, id := add(t, a, "ann"), add(t, a, "ann")
			f.proven(t)
			way()
			at := latchkey.SystemClock().Now()
			if _, err := b.Get(t.Context(), kept); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("Get while cut off: %v", err)
			}
			if _, err := b.Revoke(t.Context(), revocation(kept)); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
				t.Errorf("Revoke while cut off: %v", err)
			}
			revoke(t, a, id)
			if sent := f.lastSent(); sent.Mono > at.Mono {
				t.Errorf("a proof was sent %v after the cut", time.Duration(sent.Mono-at.Mono))
			}
			proxy.Resume()
			f.proven(t)
			if n := f.times(id); n < 1 || n > 2 {
				t.Errorf("told %d times of what happened meanwhile, want once by the first proof, and once by a notification at most", n)
			}
			if err := retried(func() error { _, err := b.Get(t.Context(), kept); return err }); err != nil {
				t.Errorf("Get after the cut: %v", chain(err))
			}
			select {
			case err := <-f.ended:
				t.Errorf("Follow returned %v", err)
			default:
			}
		})
	}
}

// The listener's connection may break without anything being missed.
func TestListenerBreaks(t *testing.T) {
	a, b, f := twoNodes(t, "", seldom)
	for range 3 {
		tamper(t, pg.URL, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN "latchkey_`+b.t.schema+`"'`)
		eventually(t, "the listener to fall", func() bool { return !b.hears.Load() })
		eventually(t, "the listener to rise", b.hears.Load)
		id := add(t, a, "ann")
		revoke(t, a, id)
		eventually(t, "the revocation", func() bool { return f.times(id) == 1 })
	}
}

// Close ends followers, and whatever the store runs.
func TestCloseEndsFollowers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := Open(t.Context(), Config{URL: newURL(t), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, seldom)
	eventually(t, "the listener", s.hears.Load)
	get(t, s, add(t, s, "ann"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-f.ended:
		if !errors.Is(err, latchkey.ErrUnavailable) && !errors.Is(err, context.Canceled) {
			t.Errorf("Follow returned %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Follow goes on")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
