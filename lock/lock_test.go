package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/lock"
)

func TestLife(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		a, b := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, addr, options{})
		first := mustAcquire(t, a, t.Name(), lock.Options{})
		if first.Name() != t.Name() || first.Token() == 0 {
			t.Errorf("name %q, token %d", first.Name(), first.Token())
		}
		isNil(t, first.Err())
		isNil(t, first.Context().Err())

		_, err := b.Acquire(t.Context(), t.Name(), lock.Options{})
		wantErr(t, err, lock.ErrTimeout)
		if latchkey.CodeOf(err) != latchkey.CodeConflict || !strings.Contains(err.Error(), t.Name()) {
			t.Errorf("code %s of %v", latchkey.CodeOf(err), err)
		}
		_, err = a.Acquire(t.Context(), t.Name(), lock.Options{}) // not re-entrant
		wantErr(t, err, lock.ErrTimeout)
		other := mustAcquire(t, b, t.Name()+"2", lock.Options{}) // names do not meet
		isNil(t, other.Release(t.Context()))

		isNil(t, first.Release(t.Context()))
		wantErr(t, first.Err(), lock.ErrNotHeld)
		wantErr(t, context.Cause(first.Context()), lock.ErrNotHeld)
		wantErr(t, first.Release(t.Context()), lock.ErrNotHeld)
		select {
		case <-first.Lost():
			t.Error("released, and told to be lost")
		default:
		}

		second := mustAcquire(t, b, t.Name(), lock.Options{})
		if second.Token() <= first.Token() {
			t.Errorf("token %d after %d", second.Token(), first.Token())
		}
		wantErr(t, first.Release(t.Context()), lock.ErrNotHeld) // and does not free the second
		_, err = a.Acquire(t.Context(), t.Name(), lock.Options{})
		wantErr(t, err, lock.ErrTimeout)
		isNil(t, second.Release(t.Context()))
	})
}

func TestContextOfHolder(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		k := mustOpen(t, kind, addr, options{})
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		l, err := k.Acquire(ctx, t.Name(), lock.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Context().Value(key{}) != "value" {
			t.Error("the values of the caller's context are not there")
		}
		cancel()
		<-l.Context().Done()
		isNil(t, l.Err()) // still held, for work that winds down
		_, err = k.Acquire(t.Context(), t.Name(), lock.Options{})
		wantErr(t, err, lock.ErrTimeout)
		isNil(t, l.Release(context.WithoutCancel(ctx)))
	})
}

func TestRenewal(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		a, b := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, addr, options{})
		l := mustAcquire(t, a, t.Name(), lock.Options{TTL: 2 * time.Second, Wait: time.Minute})
		_, err := b.Acquire(t.Context(), t.Name(), lock.Options{Wait: 4 * time.Second})
		wantErr(t, err, lock.ErrTimeout)
		isNil(t, l.Err())
		isNil(t, l.Release(t.Context()))
	})
}

func TestMaxHold(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		a, b := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, addr, options{})
		for _, c := range []struct {
			name                string
			ttl, maxHold, least time.Duration
		}{
			{"unrenewed", 400 * time.Millisecond, 400 * time.Millisecond, 380 * time.Millisecond},
			{"renewed", 2 * time.Second, 5 * time.Second, 3 * time.Second},
		} {
			t.Run(c.name, func(t *testing.T) {
				begin := time.Now()
				l := mustAcquire(t, a, t.Name(), lock.Options{TTL: c.ttl, MaxHold: c.maxHold, Wait: time.Minute})
				next := mustAcquire(t, b, t.Name(), lock.Options{Wait: time.Minute})
				if held := time.Since(begin); held < c.least {
					t.Errorf("held for %v only", held)
				}
				lostSoon(t, l)
				if next.Token() <= l.Token() {
					t.Errorf("token %d after %d", next.Token(), l.Token())
				}
				isNil(t, next.Release(t.Context()))
			})
		}
	})
}

func TestWaitBounds(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		a, b := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, addr, options{})
		l := mustAcquire(t, a, t.Name(), lock.Options{})

		begin := time.Now()
		_, err := b.Acquire(t.Context(), t.Name(), lock.Options{Wait: 300 * time.Millisecond})
		wantErr(t, err, lock.ErrTimeout)
		if d := time.Since(begin); d < 300*time.Millisecond || d > 5*time.Second {
			t.Errorf("waited %v", d)
		}

		ended, end := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, end)
		begin = time.Now()
		_, err = b.Acquire(ended, t.Name(), lock.Options{Wait: time.Hour})
		wantErr(t, err, lock.ErrTimeout)
		if !errors.Is(err, context.Canceled) || time.Since(begin) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		dated, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = b.Acquire(dated, t.Name(), lock.Options{Wait: time.Hour})
		wantErr(t, err, lock.ErrTimeout)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}

		isNil(t, l.Release(t.Context()))
		_, err = b.Acquire(ended, t.Name(), lock.Options{})
		wantErr(t, err, lock.ErrTimeout) // free, but the caller does not want it any more
		isNil(t, mustAcquire(t, a, t.Name(), lock.Options{}).Release(t.Context()))
	})
}

// A release must reach the waiter, whose own tries are half a minute apart.
func TestNotify(t *testing.T) {
	o := options{notify: true, retryMin: time.Minute, most: time.Minute}
	a, b := mustOpen(t, "redis", redis.Addr, o), mustOpen(t, "redis", redis.Addr, o)
	l := mustAcquire(t, a, t.Name(), lock.Options{})
	got := make(chan error, 1)
	begin := time.Now()
	go func() {
		next, err := b.Acquire(t.Context(), t.Name(), lock.Options{Wait: time.Hour})
		if err == nil {
			err = next.Release(t.Context())
		}
		got <- err
	}()
	client := rawRedis(t, redis.Addr)
	for n := int64(0); n == 0; {
		answer, err := client.Do(t.Context(), client.B().PubsubNumsub().Channel("latchkey:lock:freed").Build()).AsIntMap()
		if err != nil {
			t.Fatal(err)
		}
		n = answer["latchkey:lock:freed"]
	}
	isNil(t, l.Release(t.Context()))
	isNil(t, <-got)
	if d := time.Since(begin); d > 25*time.Second {
		t.Errorf("told after %v", d)
	}
}

func rawRedis(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	client, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Either clock ends the lease at once, before any timer fires: the wall clock alone
// goes on while a machine sleeps, and the monotonic one while the wall clock is set back.
func TestClockOfHolder(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		for _, c := range []struct {
			name string
			turn func(*latchkeytest.Clock)
			lost bool
		}{
			{"suspended", func(c *latchkeytest.Clock) { c.Suspend(29 * time.Second) }, true},
			{"wall-set-back", func(c *latchkeytest.Clock) { c.StepWall(-time.Hour); c.Advance(29 * time.Second) }, true},
			{"almost", func(c *latchkeytest.Clock) { c.Advance(28 * time.Second) }, false},
		} {
			t.Run(c.name, func(t *testing.T) {
				clock := latchkeytest.NewClock(time.Time{})
				k := mustOpen(t, kind, addr, options{clock: clock})
				l := mustAcquire(t, k, t.Name(), lock.Options{TTL: 30 * time.Second})
				isNil(t, l.Err())
				c.turn(clock)
				if !c.lost {
					isNil(t, l.Err())
					isNil(t, l.Release(t.Context()))
					return
				}
				wantErr(t, l.Err(), lock.ErrLost)
				lostSoon(t, l)
				_, err := k.Acquire(t.Context(), t.Name(), lock.Options{}) // others still wait out the TTL
				wantErr(t, err, lock.ErrTimeout)
			})
		}
	})
}

// A release right after the connection broke tries again on another.
func TestReleaseAfterCut(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		p := servers.StartProxy(t, addr)
		k := mustOpen(t, kind, p.Addr, options{})
		for range 5 {
			l := mustAcquire(t, k, t.Name(), lock.Options{Wait: time.Minute})
			p.Cut()
			p.Resume()
			isNil(t, l.Release(t.Context()))
		}
	})
}

// What a try took without telling is freed when the caller gives up. Over several
// connections the order is not certain, so here is one.
func TestGivingUpFrees(t *testing.T) {
	p := servers.StartProxy(t, redis.Addr)
	near := mustOpen(t, "redis", redis.Addr, options{})
	single, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{p.Addr}, DisableCache: true, ForceSingleClient: true, PipelineMultiplex: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(single.Close)
	far, err := lock.NewRedis(lock.RedisConfig{Client: single})
	isNil(t, err)
	first := mustAcquire(t, far, t.Name(), lock.Options{}) // connected
	isNil(t, first.Release(t.Context()))
	p.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = far.Acquire(ctx, t.Name(), lock.Options{TTL: time.Hour})
	wantErr(t, err, lock.ErrTimeout)
	p.Resume()
	client := rawRedis(t, redis.Addr)
	deadline := time.Now().Add(time.Minute)
	for last := first.Token(); last == first.Token(); { // until the late question has its answer
		if time.Now().After(deadline) {
			t.Fatal("the late question did not arrive")
		}
		last, err = command(t, client, "GET", "{latchkey:lock:"+t.Name()+"}:fence").AsUint64()
		isNil(t, err)
	}
	isNil(t, mustAcquire(t, near, t.Name(), lock.Options{Wait: 10 * time.Second}).Release(t.Context()))
}

func TestInvalid(t *testing.T) {
	k := mustOpen(t, "redis", redis.Addr, options{})
	for _, c := range []struct {
		test, name string
		o          lock.Options
		fields     []string
	}{
		{"empty-name", "", lock.Options{}, []string{"name"}},
		{"long-name", strings.Repeat("n", 201), lock.Options{}, []string{"name"}},
		{"control", "a\nb", lock.Options{}, []string{"name"}},
		{"latin1", "caf\xe9", lock.Options{}, []string{"name"}},
		{"braces", "a}b", lock.Options{}, []string{"name"}},
		{"all", "", lock.Options{TTL: time.Millisecond, Wait: -1, MaxHold: time.Microsecond}, []string{"name", "TTL", "Wait", "MaxHold"}},
		{"long", "n", lock.Options{TTL: 25 * time.Hour, Wait: 25 * time.Hour}, []string{"TTL", "Wait"}},
	} {
		t.Run(c.test, func(t *testing.T) {
			_, err := k.Acquire(t.Context(), c.name, c.o)
			wantFields(t, err, c.fields...)
		})
	}
	if l, err := k.Acquire(t.Context(), "café 錠", lock.Options{}); err != nil {
		t.Error(err)
	} else {
		isNil(t, l.Release(t.Context()))
	}
}

func wantFields(t *testing.T, err error, fields ...string) {
	t.Helper()
	wantErr(t, err, lock.ErrInvalid)
	var e *latchkey.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T", err)
	}
	var got []string
	for _, f := range e.Fields {
		got = append(got, f.Field)
	}
	if strings.Join(got, " ") != strings.Join(fields, " ") {
		t.Errorf("fields %v, want %v (%v)", got, fields, err)
	}
}

func TestConfig(t *testing.T) {
	client := rawRedis(t, redis.Addr)
	_, err := lock.NewRedis(lock.RedisConfig{Mode: 7, Prefix: "a b", RetryMin: -1, RetryMax: time.Hour})
	wantFields(t, err, "Client", "Mode", "RetryMin", "RetryMax")
	_, err = lock.NewRedis(lock.RedisConfig{Client: client, Prefix: "a{b"})
	wantFields(t, err, "Prefix")
	_, err = lock.NewRedis(lock.RedisConfig{Client: client, Mode: lock.ModeMutex, Prefix: "a"})
	wantFields(t, err, "Prefix")
	_, err = lock.NewPostgres(lock.PostgresConfig{Table: `x"; DROP TABLE users; --`, RetryMin: time.Second, RetryMax: time.Millisecond})
	wantFields(t, err, "Pool", "Table", "RetryMax")
	wantFields(t, lock.PostgresConfig{Table: "A"}.CreateTable(t.Context()), "Pool", "Table")
	k, err := lock.NewRedis(lock.RedisConfig{Client: client})
	isNil(t, err)
	_, err = k.Purge(t.Context(), time.Minute)
	wantFields(t, err, "age")
	n, err := k.Purge(t.Context(), time.Hour)
	isNil(t, err)
	if n != 0 {
		t.Errorf("purged %d", n)
	}
}
