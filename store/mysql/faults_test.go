package mysql

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// root is the server's administrator.
func root(t *testing.T, s *servers.Server, statements string) {
	t.Helper()
	once(t, "mysql://root@"+s.Addr+"/", statements)
}

// What was acknowledged before the server was killed is there when it is back, and
// the store goes on by itself.
func TestServerKilled(t *testing.T) {
	server := servers.StartMariaDB(t)
	s := mustOpen(t, Config{URL: newURL(t, server), Timeout: 5 * time.Second})
	w := fixture.Follow(t, s, 50*time.Millisecond)
	var mu sync.Mutex
	live, ended := make(map[latchkey.ID]bool), make(map[latchkey.ID]bool)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				c := signIn(s, "ann")
				id := c.Record.ID
				if _, err := s.Create(context.Background(), c); err != nil {
					if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
						t.Error(fixture.Chain(err))
					}
					continue
				}
				mu.Lock()
				live[id] = true
				mu.Unlock()
				if id[15]%2 == 0 {
					if _, err := s.Revoke(context.Background(), fixture.Revocation(id)); err == nil {
						mu.Lock()
						ended[id] = true
						mu.Unlock()
					}
				}
			}
		})
	}
	fixture.Eventually(t, "some sessions", func() bool { mu.Lock(); defer mu.Unlock(); return len(ended) > 20 })
	server.Kill(t)
	_, err := s.Get(t.Context(), latchkey.ID{1})
	fixture.Unavailable(t, err, "cannot be reached")
	proof := w.Proof()
	stop.Store(true)
	wg.Wait()
	server.Restart(t)
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Count(t.Context()); return err == nil })
	for id := range live {
		if rec := fixture.Get(t, s, id); ended[id] && rec.RevokedAt.IsZero() {
			t.Error("an acknowledged revocation is lost")
		}
	}
	w.ProvenSince(t, proof)
	fixture.Revoke(t, s, add(t, s, "bob"))
	intact(t, s)
}

// intact checks that there is no session without its event, and no gap in the log.
func intact(t *testing.T, s *Store) {
	t.Helper()
	for what, text := range map[string]string{
		"sessions without an event":   `SELECT count(*) FROM latchkey_session WHERE id NOT IN (SELECT session FROM latchkey_audit WHERE session IS NOT NULL)`,
		"events without a session":    `SELECT count(*) FROM latchkey_audit WHERE session NOT IN (SELECT id FROM latchkey_session)`,
		"gaps in the log":             `SELECT max(seq)-min(seq)+1-count(*) FROM latchkey_change`,
		"gaps in the trail":           `SELECT max(seq)-count(*) FROM latchkey_audit`,
		"positions beyond the log":    `SELECT change_seq-(SELECT max(seq) FROM latchkey_change) FROM latchkey_counter`,
		"revocations that are halves": `SELECT count(*) FROM latchkey_session WHERE (revoked_at IS NULL)=ended`,
	} {
		var n int
		if err := s.scans.QueryRow(text).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s (%v)", n, what, err)
		}
	}
}

// through opens a store whose connections lead through a proxy.
func through(t *testing.T, cfg Config) (*Store, *servers.Proxy) {
	t.Helper()
	proxy := servers.StartProxy(t, shared.Addr)
	u, err := url.Parse(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = proxy.Addr
	cfg.URL = u.String()
	return mustOpen(t, cfg), proxy
}

// While the connection is cut nothing is known, and nothing is proven; when it is
// mended the store goes on, and followers learn of what they missed.
func TestConnectionCut(t *testing.T) {
	url := newURL(t, shared)
	s, proxy := through(t, Config{URL: url, Timeout: 2 * time.Second})
	there := mustOpen(t, Config{URL: url})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	proxy.Cut()
	for name, call := range map[string]func() error{
		"get":    func() error { _, err := s.Get(t.Context(), id); return err },
		"create": func() error { _, err := s.Create(t.Context(), signIn(s, "bob")); return err },
		"revoke": func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(id)); return err },
		"list":   func() error { _, err := s.List(t.Context(), latchkey.ListQuery{}); return err },
		"audit":  func() error { _, err := s.Audit(t.Context(), audit.Query{}); return err },
		"spend":  func() error { return s.Spend(t.Context(), [32]byte{1}, s.now().Add(time.Minute)) },
	} {
		if err := call(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
	}
	fixture.Revoke(t, there, id) // by another node meanwhile
	if w.Saw(id) {
		t.Fatal("told through a connection that is cut")
	}
	before := w.Proof()
	proxy.Resume()
	if fixture.Get(t, s, id).RevokedAt.IsZero() {
		t.Error("the revocation is not seen at once")
	}
	fixture.Eventually(t, "what was missed", func() bool { return w.Saw(id) })
	w.ProvenSince(t, before)
}

// A network that swallows packets keeps a caller no longer than the timeout, and a
// follower gets no proof from before.
func TestConnectionStalled(t *testing.T) {
	s, proxy := through(t, Config{URL: newURL(t, shared), Timeout: 400 * time.Millisecond})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	proxy.Stall()
	stalled := latchkey.SystemClock().Now()
	for name, call := range map[string]func() error{
		"get":    func() error { _, err := s.Get(t.Context(), id); return err },
		"revoke": func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(id)); return err },
	} {
		start := time.Now()
		if err := call(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
	if w.Proof().Mono > stalled.Mono {
		t.Error("a proof came through a stalled connection")
	}
	proxy.Resume()
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
	w.Proven(t)
}

// A change whose answer is lost is unavailable, followers are told in any case, and
// row, event and log entry are all there or none.
func TestCommitAnswerLost(t *testing.T) {
	url := newURL(t, shared)
	s, proxy := through(t, Config{URL: url, Timeout: 10 * time.Second})
	there := mustOpen(t, Config{URL: url})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)

	// The counters are held, so that the last trip of the change waits at the server.
	c, err := there.work.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var q script
	q.add("START TRANSACTION")
	q.add("SELECT id FROM latchkey_counter FOR UPDATE")
	if err := ask(t.Context(), c, &q, func(*sql.Rows) error { return nil }); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := s.Revoke(context.Background(), fixture.Revocation(id)); done <- err }()
	admin := connect(t, "mysql://root@"+shared.Addr+"/")
	fixture.Eventually(t, "the change to wait", func() bool {
		var n int
		err := admin.QueryRow("SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE latchkey_counter%'").Scan(&n)
		return err == nil && n > 0
	})
	proxy.Cut()
	fixture.Unavailable(t, <-done, "not confirmed")
	fixture.Eventually(t, "the follower to be told", func() bool { return w.Saw(id) })
	if _, err := c.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	proxy.Resume()
	// The server ends what the lost connection left, one way or the other.
	fixture.Revoke(t, there, id)
	if fixture.Get(t, s, id).RevokedAt.IsZero() {
		t.Error("still live")
	}
	events, err := there.Audit(t.Context(), audit.Query{Session: id.String()})
	if err != nil || len(events.Events) != 2 {
		t.Errorf("%d events, %v; want the creation and one revocation", len(events.Events), err)
	}
	intact(t, there)
}

// Transactions that wait for each other in a circle are begun anew, unseen.
func TestDeadlock(t *testing.T) {
	url := newURL(t, shared)
	a, b := mustOpen(t, Config{URL: url}), mustOpen(t, Config{URL: url})
	ids := []latchkey.ID{add(t, a, "ann"), add(t, a, "ann")}
	var attempts atomic.Int32
	var wg sync.WaitGroup
	first := make(chan struct{}, 2)
	for n, s := range []*Store{a, b} {
		order := slices.Clone(ids)
		if n == 1 {
			slices.Reverse(order)
		}
		wg.Go(func() {
			_, err := change(context.Background(), s, func(tx *tx) (struct{}, error) {
				once := attempts.Add(1) <= 2
				if _, err := tx.one(order[0]); err != nil {
					return struct{}{}, err
				}
				if once { // until the other has its first lock, too
					first <- struct{}{}
					for len(first) < 2 && tx.ctx.Err() == nil {
						time.Sleep(time.Millisecond)
					}
				}
				tx.out.add("UPDATE latchkey_session SET version=version+1 WHERE id=?", rawID(order[1]))
				tx.tell(order[1])
				return struct{}{}, nil
			})
			if err != nil {
				t.Error(fixture.Chain(err))
			}
		})
	}
	wg.Wait()
	if n := attempts.Load(); n != 3 {
		t.Errorf("%d attempts, want 3: the deadlock and one more", n)
	}
	for _, id := range ids {
		if v := fixture.Get(t, a, id).Version; v != 2 {
			t.Errorf("version %d, want 2: each change once", v)
		}
	}
	intact(t, a)
}

// A client that vanished in mid-change keeps others waiting for a bounded time.
func TestLockHeld(t *testing.T) {
	dsn := newURL(t, shared)
	s := mustOpen(t, Config{URL: dsn, Timeout: 300 * time.Millisecond})
	id := add(t, s, "ann")
	other, err := connect(t, dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN; UPDATE latchkey_session SET version=version"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	fixture.Unavailable(t, err, "deadline")
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	fixture.Revoke(t, s, id)
}

// A primary that becomes a replica proves nothing any more, and is not read.
func TestBecomesReadOnly(t *testing.T) {
	server := servers.StartMariaDB(t)
	dsn := newURL(t, server)
	s := mustOpen(t, Config{URL: dsn})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	w.Proven(t)
	root(t, server, "SET GLOBAL read_only=1")
	_, err := s.Get(t.Context(), id)
	fixture.Unavailable(t, err, "read-only")
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	fixture.Unavailable(t, err, "read-only")
	if batch, err := s.poll(t.Context(), &logPlace{seq: 1}); err == nil {
		t.Errorf("a read-only server proved %+v", batch)
	}
	if again, err := Open(t.Context(), Config{URL: dsn}); err == nil {
		_ = again.Close()
		t.Error("opened on a read-only server")
	} else {
		fixture.Unavailable(t, err, "primary")
	}
	root(t, server, "SET GLOBAL read_only=0")
	fixture.Revoke(t, s, id)
	w.Proven(t)
	fixture.Eventually(t, "the revocation", func() bool { return w.Saw(id) })
}

// Nor is a replica written to, or asked what has changed, by a user whom the server
// would let; and no connection to it is kept, so that the next one leads to where
// the primary is by then.
func TestDemoted(t *testing.T) {
	server := servers.StartMariaDB(t)
	u, err := url.Parse(newURL(t, server))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("root")
	s := mustOpen(t, Config{URL: u.String()})
	id := add(t, s, "ann")
	pools := map[string]*sql.DB{"work": s.work, "scans": s.scans, "polls": s.polls, "reads": s.reads.db}
	for name, call := range map[string]func() error{
		"Get":     func() error { _, err := s.Get(t.Context(), id); return err },
		"Poll":    func() error { _, err := s.poll(t.Context(), &logPlace{}); return err },
		"Revoke":  func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(id)); return err },
		"Create":  func() error { _, err := s.Create(t.Context(), signIn(s, "bob")); return err },
		"Touch":   func() error { return s.Touch(t.Context(), []latchkey.Touch{{ID: id, At: s.now().Add(time.Second)}}) },
		"Spend":   func() error { return s.Spend(t.Context(), [32]byte{1}, s.now().Add(time.Minute)) },
		"Changed": func() error { _, err := s.Changed(t.Context(), latchkey.ID{}, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			for pool, db := range pools { // a connection from before in each
				if err := db.PingContext(t.Context()); err != nil || db.Stats().OpenConnections == 0 {
					t.Fatalf("%s: %v", pool, err)
				}
			}
			root(t, server, "SET GLOBAL read_only=1")
			err := call()
			for pool, db := range pools {
				if n := db.Stats().OpenConnections; n != 0 {
					t.Errorf("%d connections to the replica are kept for %s", n, pool)
				}
			}
			root(t, server, "SET GLOBAL read_only=0") // as behind another address
			if !errors.Is(err, errReplica) {
				t.Errorf("answered %v, want that the server is read-only", err)
			}
			if !fixture.Get(t, s, id).RevokedAt.IsZero() {
				t.Error("a replica was written to")
			}
		})
	}
	fixture.Revoke(t, s, id)
}

// A server that does not keep what it acknowledges is refused unless that is meant.
func TestWeakServer(t *testing.T) {
	server := servers.StartMariaDB(t, "--innodb-flush-log-at-trx-commit=2", "--log-bin", "--server-id=1", "--binlog-format=STATEMENT")
	dsn := newURL(t, server)
	_, err := Open(t.Context(), Config{URL: dsn})
	fixture.Unavailable(t, err, "allow-weak-flush=1")
	_, err = Open(t.Context(), Config{URL: dsn + "?allow-weak-flush=1"})
	fixture.Unavailable(t, err, "binlog_format")
	root(t, server, "SET GLOBAL binlog_format='MIXED'")
	s := mustOpen(t, Config{URL: dsn + "?allow-weak-flush=1"})
	if got := strings.Join(s.Warnings(), "; "); !strings.Contains(got, "innodb_flush_log") || !strings.Contains(got, "sync_binlog") {
		t.Errorf("warnings: %q", got)
	}
	fixture.Revoke(t, s, add(t, s, "ann")) // with a binary log
	root(t, server, "SET GLOBAL innodb_flush_log_at_trx_commit=1; SET GLOBAL sync_binlog=1")
	strict := mustOpen(t, Config{URL: dsn})
	if got := strict.Warnings(); len(got) != 0 {
		t.Errorf("warnings: %q", got)
	}
}

// A server without room answers unavailable, and the store goes on when there is some.
func TestTooManyConnections(t *testing.T) {
	server := servers.StartMariaDB(t, "--max-connections=10")
	s := mustOpen(t, Config{URL: newURL(t, server), Timeout: 2 * time.Second})
	var held []*sql.Conn
	db := connect(t, server.URL)
	for range 12 {
		c, err := db.Conn(t.Context())
		if err != nil {
			break
		}
		held = append(held, c)
	}
	_, err := s.Create(t.Context(), signIn(s, "ann"))
	fixture.Unavailable(t, err, "too many connections")
	for _, c := range held {
		_ = c.Close()
	}
	db.Close()
	fixture.Eventually(t, "a connection", func() bool { _, err := s.Create(t.Context(), signIn(s, "ann")); return err == nil })
}

// By a clock that is ahead for a while the limits of live sessions have passed.
func TestChangedByAClockThatWasAhead(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared), handClock: true})
	right := s.clock.offset.Load()
	fixture.ChangedByAClockThatWasAhead(t, s, func() latchkey.Create { return signIn(s, "ann") }, func(by time.Duration) {
		s.clock.offset.Store(right + int64(by))
	})
}

// InnoDB shows a change before it is on the disk. Whoever finds what another one has
// just done, and says so, waits for the disk all the same; so does who reads what came
// of a change whose answer was lost.
func TestFoundIsHardened(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t, shared)})
	id, other := add(t, s, "ann"), add(t, s, "bob")
	commits := int64(0)
	hardened := func(what string, is bool) {
		t.Helper()
		var n int64
		if err := s.work.QueryRowContext(t.Context(), "SELECT count(*) FROM latchkey_spent WHERE until=0").Scan(&n); err != nil {
			t.Fatal(err)
		}
		if (n > commits) != is {
			t.Errorf("%s: %d commits wait for the disk alone, %d before", what, n, commits)
		}
		commits = n
	}
	fixture.Revoke(t, s, id)
	hardened("a revocation", false)
	fixture.Revoke(t, s, id)
	hardened("the same again", true)
	erase := latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: "nobody"}}
	if _, err := s.Purge(t.Context(), erase); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	commits = 0 // Purge forgets what counts no more
	hardened("an erasure of nobody", true)
	fixture.Get(t, s, id)
	hardened("a read", false)
	s.unsure.Add(id)
	fixture.Get(t, s, other)
	hardened("a read of another one", false)
	fixture.Get(t, s, id)
	hardened("a read of what is not sure", true)
}
