package lock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/lock"
)

// The servers of this package's tests. Tests that kill or stop a server start their own.
var redis, postgres *servers.Server

func TestMain(m *testing.M) {
	if job := os.Getenv(holderJob); job != "" {
		os.Exit(holder(job))
	}
	os.Exit(servers.Main(m, func(t servers.TB) {
		redis = servers.StartRedis(t)
		postgres = servers.StartPostgres(t)
		if err := createTable(postgres.URL); err != nil {
			t.Fatalf("%v", err)
		}
	}))
}

func createTable(url string) error {
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return err
	}
	defer pool.Close()
	return lock.PostgresConfig{Pool: pool}.CreateTable(context.Background())
}

// options of a locker that a test asks for, over either back end.
type options struct {
	mode           lock.Mode
	notify         bool
	retryMin, most time.Duration
	clock          latchkey.Clock
}

// open makes a locker with a client of its own. kind is "redis" or "postgres"; addr
// is host:port.
func open(kind, addr string, o options) (*lock.Locker, func(), error) {
	if kind == "redis" {
		client, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true, ConnWriteTimeout: time.Second})
		if err != nil {
			return nil, nil, err
		}
		k, err := lock.NewRedis(lock.RedisConfig{Client: client, Mode: o.mode, Notify: o.notify, RetryMin: o.retryMin, RetryMax: o.most, Clock: o.clock})
		return k, client.Close, err
	}
	pool, err := pgxpool.New(context.Background(), fmt.Sprintf("postgres://%s@%s/%[1]s?pool_max_conns=40&connect_timeout=2", servers.User, addr))
	if err != nil {
		return nil, nil, err
	}
	k, err := lock.NewPostgres(lock.PostgresConfig{Pool: pool, RetryMin: o.retryMin, RetryMax: o.most, Clock: o.clock})
	return k, pool.Close, err
}

func mustOpen(t testing.TB, kind, addr string, o options) *lock.Locker {
	t.Helper()
	k, closeClient, err := open(kind, addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeClient)
	return k
}

// eachBackend runs a test over both shared servers.
func eachBackend(t *testing.T, test func(t *testing.T, kind, addr string)) {
	t.Run("redis", func(t *testing.T) { t.Parallel(); test(t, "redis", redis.Addr) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, "postgres", postgres.Addr) })
}

// ownServer starts a server whose locks survive its being killed.
func ownServer(t *testing.T, kind string) *servers.Server {
	t.Helper()
	if kind == "redis" {
		return servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	}
	s := servers.StartPostgres(t)
	if err := createTable(s.URL); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustAcquire(t *testing.T, k *lock.Locker, name string, o lock.Options) *lock.Lock {
	t.Helper()
	l, err := k.Acquire(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release(context.Background()) }) // the goroutine's end, if the test did not release
	return l
}

// wantErr checks the kind of an error, and that it is of no other kind.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range []error{lock.ErrTimeout, lock.ErrLost, lock.ErrNotHeld, lock.ErrUnavailable, lock.ErrInvalid} {
		if got := errors.Is(err, kind); got != (kind == want) {
			t.Errorf("error %q is %q: %v", err, kind, got)
		}
	}
}

func isNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected: %v", err)
	}
}

// lostSoon waits until the lock is lost and checks that everything says so.
func lostSoon(t *testing.T, l *lock.Lock) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-time.After(time.Minute):
		t.Fatal("the lock is not lost")
	}
	wantErr(t, l.Err(), lock.ErrLost)
	if l.Context().Err() == nil {
		t.Error("lost, and its Context goes on")
	}
	wantErr(t, context.Cause(l.Context()), lock.ErrLost)
	wantErr(t, l.Release(t.Context()), lock.ErrLost)
}

// guard is what a lock protects in these tests: it sees two holders at once, and
// tokens that do not grow.
type guard struct {
	mu     sync.Mutex
	holder *lock.Lock
	last   uint64
	grants int
	faults []string
}

// enter reports whether the holder may go on. One whose lease is over is no holder.
func (g *guard) enter(l *lock.Lock) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.Err() != nil {
		return false
	}
	if g.holder != nil && g.holder.Err() == nil {
		g.faults = append(g.faults, fmt.Sprintf("token %d granted while %d is held", l.Token(), g.holder.Token()))
	}
	if l.Token() <= g.last {
		g.faults = append(g.faults, fmt.Sprintf("token %d after %d", l.Token(), g.last))
	}
	g.holder, g.last = l, l.Token()
	g.grants++
	return true
}

func (g *guard) leave(l *lock.Lock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holder == l {
		g.holder = nil
	}
}

func (g *guard) granted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.grants
}

func (g *guard) check(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.faults) > 0 {
		t.Errorf("%d faults in %d grants:\n%s", len(g.faults), g.grants, strings.Join(g.faults[:min(5, len(g.faults))], "\n"))
	}
}
