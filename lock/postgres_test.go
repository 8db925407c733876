package lock_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/lock"
)

func openPool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func mustExec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int64 {
	t.Helper()
	tag, err := pool.Exec(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}

func TestPostgresCreateTable(t *testing.T) {
	pool := openPool(t, postgres.URL)
	mustExec(t, pool, "DROP SCHEMA IF EXISTS elsewhere CASCADE; CREATE SCHEMA elsewhere", pgx.QueryExecModeSimpleProtocol)
	cfg := lock.PostgresConfig{Pool: pool, Table: "elsewhere.locks_2"}
	k, err := lock.NewPostgres(cfg)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = k.Acquire(t.Context(), t.Name(), lock.Options{Wait: time.Hour})
	wantErr(t, err, lock.ErrUnavailable)
	if !strings.Contains(rootCause(err).Error(), "locks_2") || time.Since(begin) > 10*time.Second {
		t.Errorf("without the table: %v after %v", rootCause(err), time.Since(begin))
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { isNil(t, cfg.CreateTable(t.Context())) })
	}
	all.Wait()
	l := mustAcquire(t, k, t.Name(), lock.Options{})
	isNil(t, cfg.CreateTable(t.Context())) // and leaves what is there
	_, err = k.Acquire(t.Context(), t.Name(), lock.Options{})
	wantErr(t, err, lock.ErrTimeout)
	isNil(t, l.Release(t.Context()))
}

func TestPostgresTokens(t *testing.T) {
	pool, k := openPool(t, postgres.URL), mustOpen(t, "postgres", postgres.Addr, options{})
	last := uint64(0)
	take := func() uint64 {
		l := mustAcquire(t, k, t.Name(), lock.Options{})
		isNil(t, l.Release(t.Context()))
		if l.Token() <= last {
			t.Errorf("token %d after %d", l.Token(), last)
		}
		last = l.Token()
		return last
	}
	mustExec(t, pool, "DELETE FROM latchkey_locks WHERE name = $1", t.Name()) // of an earlier run of this test
	take()
	mustExec(t, pool, "DELETE FROM latchkey_locks WHERE name = $1", t.Name())
	if now := uint64(time.Now().UnixMicro()); take() > now+1e6 {
		t.Errorf("token %d is ahead of the clock, %d", last, now)
	}
	mustExec(t, pool, "UPDATE latchkey_locks SET token = 9000000000000000 WHERE name = $1", t.Name())
	if got := take(); got != 9000000000000001 {
		t.Errorf("token %d", got)
	}
}

func TestPostgresRowGone(t *testing.T) {
	pool, k := openPool(t, postgres.URL), mustOpen(t, "postgres", postgres.Addr, options{})
	for _, c := range []struct{ name, sql string }{
		{"deleted", "DELETE FROM latchkey_locks WHERE name = $1"},
		{"taken", "UPDATE latchkey_locks SET owner = 'somebody else' WHERE name = $1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			l := mustAcquire(t, k, t.Name(), lock.Options{TTL: 3 * time.Second})
			mustExec(t, pool, c.sql, t.Name())
			lostSoon(t, l)
			if d := time.Since(begin); d > 2500*time.Millisecond {
				t.Errorf("found out after %v, with a renewal each second", d)
			}
			l = mustAcquire(t, k, t.Name()+"2", lock.Options{})
			mustExec(t, pool, c.sql, t.Name()+"2")
			wantErr(t, l.Release(t.Context()), lock.ErrLost)
		})
	}
}

// A lock must survive a crash where commits do not wait for the disk by default.
func TestPostgresDurable(t *testing.T) {
	t.Parallel()
	s := servers.StartPostgres(t, "synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=1GB")
	if err := createTable(s.URL); err != nil {
		t.Fatal(err)
	}
	// Made to last, so that only the rows are in question.
	if _, err := openPool(t, s.URL).Exec(t.Context(), "SET synchronous_commit = on; CREATE TABLE probe (n int)", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	k := mustOpen(t, "postgres", s.Addr, options{})
	l := mustAcquire(t, k, t.Name(), lock.Options{TTL: time.Minute})
	mustExec(t, openPool(t, s.URL), "INSERT INTO probe VALUES (1)")
	s.Kill(t)
	s.Restart(t)
	if n := mustExec(t, openPool(t, s.URL), "SELECT FROM probe"); n != 0 {
		t.Fatal("an unflushed commit survived: this test proves nothing")
	}
	_, err := mustOpen(t, "postgres", s.Addr, options{}).Acquire(t.Context(), t.Name(), lock.Options{})
	wantErr(t, err, lock.ErrTimeout)
	isNil(t, l.Err())
	isNil(t, l.Release(t.Context()))
}

// Behind a pooler each trip may meet another connection, and nothing is prepared.
func TestPostgresPooler(t *testing.T) {
	bouncer := servers.StartPgBouncer(t, postgres)
	o := options{retryMin: 2 * time.Millisecond, most: 20 * time.Millisecond}
	contend(t, []*lock.Locker{mustOpen(t, "postgres", bouncer.Addr, o), mustOpen(t, "postgres", bouncer.Addr, o)}, t.Name(), 10*time.Second, 2, nil)
	l := mustAcquire(t, mustOpen(t, "postgres", bouncer.Addr, o), t.Name(), lock.Options{TTL: 600 * time.Millisecond})
	_, err := mustOpen(t, "postgres", postgres.Addr, o).Acquire(t.Context(), t.Name(), lock.Options{Wait: time.Second})
	wantErr(t, err, lock.ErrTimeout)
	isNil(t, l.Release(t.Context()))
}

// Where transactions are serializable by default, losing a race is no fault.
func TestPostgresSerializable(t *testing.T) {
	var lockers []*lock.Locker
	for range 2 {
		pool := openPool(t, postgres.URL+"?pool_max_conns=20&default_transaction_isolation=serializable")
		k, err := lock.NewPostgres(lock.PostgresConfig{Pool: pool, RetryMin: 2 * time.Millisecond, RetryMax: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		lockers = append(lockers, k)
	}
	contend(t, lockers, t.Name(), 10*time.Second, 2, nil)
	for range 20 {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				l, err := lockers[i%2].Acquire(t.Context(), t.Name()+"-once", lock.Options{})
				if err != nil {
					wantErr(t, err, lock.ErrTimeout)
					return
				}
				isNil(t, l.Release(t.Context()))
			})
		}
		all.Wait()
	}
}

func TestPostgresPurge(t *testing.T) {
	pool, k := openPool(t, postgres.URL), mustOpen(t, "postgres", postgres.Addr, options{})
	held := mustAcquire(t, k, t.Name()+"-held", lock.Options{})
	isNil(t, mustAcquire(t, k, t.Name()+"-new", lock.Options{}).Release(t.Context()))
	isNil(t, mustAcquire(t, k, t.Name()+"-old", lock.Options{}).Release(t.Context()))
	mustExec(t, pool, "UPDATE latchkey_locks SET expires_at = now() - interval '2 hours' WHERE name = $1", t.Name()+"-old")
	n, err := k.Purge(t.Context(), time.Hour)
	isNil(t, err)
	if rows := mustExec(t, pool, "SELECT FROM latchkey_locks WHERE name LIKE $1", t.Name()+"%"); n != 1 || rows != 2 {
		t.Errorf("purged %d, left %d", n, rows)
	}
	isNil(t, held.Release(t.Context()))
}
