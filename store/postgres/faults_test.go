package postgres

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// What was acknowledged survives a kill of the server, and the store goes on by
// itself when it is back.
func TestServerKilled(t *testing.T) {
	server := servers.StartPostgres(t)
	s := mustOpen(t, Config{URL: server.URL, Timeout: 10 * time.Second})
	for round := range 3 {
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex
		made, ended := make(map[latchkey.ID]bool), make(map[latchkey.ID]bool)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					c := signIn(s, "ann")
					if _, err := s.Create(context.Background(), c); err != nil {
						fixture.Unavailable(t, err, "")
						continue
					}
					_, err := s.Revoke(context.Background(), fixture.Revocation(c.Record.ID))
					mu.Lock()
					made[c.Record.ID] = true
					ended[c.Record.ID] = err == nil
					mu.Unlock()
				}
			})
		}
		fixture.Eventually(t, "some sessions", func() bool { mu.Lock(); defer mu.Unlock(); return len(made) > 50 })
		server.Kill(t)
		stop()
		wg.Wait()
		_, err := s.Get(t.Context(), latchkey.ID{1})
		fixture.Unavailable(t, err, "")
		server.Restart(t)
		if err := retried(func() error { _, err := s.Count(t.Context()); return err }); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		for id := range made {
			var rec *latchkey.Record
			err := retried(func() (err error) { rec, err = s.Get(t.Context(), id); return err })
			if err != nil {
				t.Fatalf("round %d: an acknowledged session: %v", round, fixture.Chain(err))
			}
			if ended[id] && rec.RevokedAt.IsZero() {
				t.Fatalf("round %d: an acknowledged revocation is lost", round)
			}
		}
	}
}

// A server that is stopped, rather than gone, costs each call its timeout and no more.
func TestServerStopped(t *testing.T) {
	server := servers.StartPostgres(t)
	s := mustOpen(t, Config{URL: server.URL, Timeout: 300 * time.Millisecond})
	var id latchkey.ID
	if err := retried(func() error { c := signIn(s, "ann"); id = c.Record.ID; _, err := s.Create(t.Context(), c); return err }); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	server.Stop(t)
	began := time.Now()
	_, err := s.Get(t.Context(), id)
	fixture.Unavailable(t, err, "did not answer in time")
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	fixture.Unavailable(t, err, "did not answer in time")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	_, err = s.Get(ctx, id)
	cancel()
	fixture.Unavailable(t, err, "")
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("three calls took %v", took)
	}
	server.Continue(t)
	if err := retried(func() error { _, err := s.Get(t.Context(), id); return err }); err != nil {
		t.Errorf("after it went on: %v", fixture.Chain(err))
	}
}

// A statement that the server no longer has prepared is prepared again, and run once.
func TestStatementsDropped(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute, Connections: 1, Readers: 1})
	id := add(t, s, "ann")
	fixture.Get(t, s, id)
	c, err := s.work.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := script(t.Context(), c.Conn().PgConn(), "DEALLOCATE ALL"); err != nil {
		t.Fatal(err)
	}
	c.Release()
	add(t, s, "bob")
	page, err := s.List(t.Context(), latchkey.ListQuery{})
	if err != nil || len(page.Records) != 2 {
		t.Errorf("%d sessions, %v; want 2", len(page.Records), err)
	}
}

// Whatever the server's settings are, a change that was acknowledged is on the disk.
func TestDurableByItself(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t) + "&synchronous_commit=off", Timeout: time.Minute})
	id := add(t, s, "ann")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, call := range []string{"touch(NULL, ARRAY['" + id.String() + "']::uuid[], ARRAY[1]::bigint[])",
		"revoke_session(NULL, 1, 1, '" + id.String() + "', NULL, NULL, 'x', 'y', ARRAY['a','b','c','d','e','f','g','h','0'])"} {
		if err := script(ctx, conn.PgConn(), inSchema("BEGIN; SET LOCAL synchronous_commit = off; SELECT * FROM latchkey."+call, s.t.schema)); err != nil {
			t.Fatal(err)
		}
		var now string
		if err := conn.QueryRow(ctx, "SHOW synchronous_commit").Scan(&now); err != nil || now != "on" {
			t.Errorf("%s: synchronous_commit is %q, %v; want on", call, now, err)
		}
		if err := script(ctx, conn.PgConn(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	// And so in every function that keeps something for good.
	text, err := migrations.ReadFile("migrations/0001_sessions.sql")
	if err != nil {
		t.Fatal(err)
	}
	writes := regexp.MustCompile(`(INSERT INTO|UPDATE|DELETE FROM) latchkey\.(session|audit|store|raise|mark|spent)\b`)
	partOf := []string{"latchkey.record(", "latchkey.housekeep("} // of a change, or of what is forgotten anyway
	checked := 0
	for _, f := range strings.Split(string(text), "CREATE FUNCTION ")[1:] {
		name := f[:strings.IndexByte(f, '(')+1]
		if !writes.MatchString(f) || strings.Contains(strings.Join(partOf, " "), name) {
			continue
		}
		checked++
		if !strings.Contains(f, "PERFORM latchkey.durable()") {
			t.Errorf("%s does not see to being durable", name)
		}
	}
	if checked < 10 {
		t.Errorf("only %d functions were checked", checked)
	}
}

// Whatever isolation the role or the URL asks for, transactions are READ COMMITTED:
// who waited for a lock sees what was committed meanwhile. Where that cannot be set,
// because of a pooler, the store refuses to be opened, and to change anything.
func TestIsolation(t *testing.T) {
	server := servers.StartPostgres(t)
	pooler := servers.StartPgBouncer(t, server)
	early := mustOpen(t, Config{URL: strings.Replace(server.URL, server.Addr, pooler.Addr, 1), Timeout: time.Minute})
	victim := add(t, early, "ann")
	tamper(t, server.URL, `ALTER ROLE `+servers.User+` SET default_transaction_isolation = 'repeatable read'`)
	for name, options := range map[string]string{
		"Role":    "",
		"Setting": "?default_transaction_isolation=serializable",
		"Options": "?options=-c%20default_transaction_isolation%3Dserializable",
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Config{URL: server.URL + options, Timeout: time.Minute})
			for _, pool := range []*pgxpool.Pool{s.work, s.aside} {
				var is string
				if err := pool.QueryRow(t.Context(), "SHOW transaction_isolation").Scan(&is); err != nil || is != "read committed" {
					t.Errorf("the isolation is %q, %v", is, err)
				}
			}
			var wg sync.WaitGroup
			for range 30 { // in each other's way
				wg.Go(func() {
					c := signIn(s, name)
					c.Limit, c.Policy = 3, latchkey.EvictOldest
					if _, err := s.Create(t.Context(), c); err != nil {
						t.Error(fixture.Chain(err))
					}
				})
			}
			wg.Wait()
			live := query(t, server.URL, `SELECT count(*) FROM latchkey.session WHERE subject = '`+name+`' AND revoked_at IS NULL`)
			if live != 3 {
				t.Errorf("%d sessions with a limit of 3", live)
			}
		})
	}
	tamper(t, server.URL, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`)
	var err error
	fixture.Eventually(t, "a refusal", func() bool { // by a connection that the pooler made since
		_, err = Open(t.Context(), Config{URL: early.t.URL, Timeout: time.Minute})
		return sqlState(err) != "57P01"
	})
	fixture.Unavailable(t, err, "not READ COMMITTED")
	if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "default_transaction_isolation") {
		t.Errorf("%q is not one line that says what to do", err)
	}
	fixture.Eventually(t, "a refusal", func() bool {
		_, err = early.Revoke(t.Context(), fixture.Revocation(victim))
		return strings.Contains(fixture.Chain(err), "not READ COMMITTED")
	})
	fixture.Unavailable(t, err, "REPEATABLE READ")
}

// Names that a text of the server cannot hold are refused, not changed.
func TestNamesAsTheyAre(t *testing.T) {
	s := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute})
	for _, name := range []string{"a\x00b", "a\xffb"} {
		c := signIn(s, name)
		if _, err := s.Create(t.Context(), c); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("Create of %q: %v", name, err)
		}
		if _, err := s.Revoke(t.Context(), latchkey.Revocation{Provider: "idp", Subject: name}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("Revoke of %q: %v", name, err)
		}
		if page, err := s.List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: name}); err != nil || len(page.Records) != 0 {
			t.Errorf("List of %q: %v", name, err)
		}
		c = signIn(s, "ann")
		c.Event.Reason, c.Event.Actor = name, name
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Errorf("Create with a reason %q: %v", name, fixture.Chain(err))
		}
	}
}

// A migration of nobody's: the store's own functions are asked, whatever else is on the path.
func TestOwnSchemaOnly(t *testing.T) {
	one, two := mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute}), mustOpen(t, Config{URL: newURL(t), Timeout: time.Minute})
	id := add(t, one, "ann")
	if _, err := two.Get(t.Context(), id); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
		t.Errorf("another schema's session: %v", err)
	}
	fixture.Revoke(t, two, add(t, two, "ann"))
	if !fixture.Get(t, one, id).RevokedAt.IsZero() {
		t.Error("revoked by another store")
	}
}

// By a clock that is ahead for a while the limits of live sessions have passed.
func TestChangedByAClockThatWasAhead(t *testing.T) {
	var ahead atomic.Int64
	right := turned(latchkey.SystemClock())
	s := mustOpen(t, Config{URL: newURL(t), now: func() int64 { return right() + ahead.Load() }})
	fixture.ChangedByAClockThatWasAhead(t, s, func() latchkey.Create { return signIn(s, "ann") }, func(by time.Duration) { ahead.Store(by.Microseconds()) })
}
