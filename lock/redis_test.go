package lock_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey/lock"
)

// command runs one command on a Redis server.
func command(t *testing.T, client rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	r := client.Do(t.Context(), client.B().Arbitrary(words...).Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", words, err)
	}
	return r
}

func TestRedisKeys(t *testing.T) {
	client, k := rawRedis(t, redis.Addr), mustOpen(t, "redis", redis.Addr, options{})
	key, fence := "latchkey:lock:"+t.Name(), "{latchkey:lock:"+t.Name()+"}:fence"
	l := mustAcquire(t, k, t.Name(), lock.Options{TTL: time.Minute})
	if ms, _ := command(t, client, "PTTL", key).AsInt64(); ms <= 0 || ms > 60_000 {
		t.Errorf("the lock's key has %d ms", ms)
	}
	if ms, _ := command(t, client, "PTTL", fence).AsInt64(); ms < 6*24*3600*1000 {
		t.Errorf("the last token has %d ms", ms)
	}
	if owner, _ := command(t, client, "GET", key).ToString(); len(owner) < 22 {
		t.Errorf("owner of %d characters", len(owner))
	}
	isNil(t, l.Release(t.Context()))
	if n, _ := command(t, client, "EXISTS", key).AsInt64(); n != 0 {
		t.Error("released, and the key is there")
	}
}

// Tokens grow when the server forgot the last one, and when its clock went back
// behind it.
func TestRedisTokens(t *testing.T) {
	client, k := rawRedis(t, redis.Addr), mustOpen(t, "redis", redis.Addr, options{})
	fence := "{latchkey:lock:" + t.Name() + "}:fence"
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
	command(t, client, "DEL", fence) // of an earlier run of this test
	take()
	command(t, client, "DEL", fence)
	if now := uint64(time.Now().UnixMicro()); take() > now+1e6 {
		t.Errorf("token %d is ahead of the clock, %d", last, now)
	}
	command(t, client, "SET", fence, "9000000000000000") // the year 2255
	if got := take(); got != 9000000000000001 {
		t.Errorf("token %d", got)
	}
	if got := take(); got != 9000000000000002 {
		t.Errorf("token %d", got)
	}
}

// A lock whose key vanishes, or becomes somebody else's, is lost at the next
// renewal, and a release before that finds it out too.
func TestRedisKeyGone(t *testing.T) {
	client, k := rawRedis(t, redis.Addr), mustOpen(t, "redis", redis.Addr, options{})
	key := "latchkey:lock:" + t.Name()
	for _, c := range []struct {
		name   string
		change []string
	}{
		{"deleted", []string{"DEL", key}},
		{"taken", []string{"SET", key, "somebody else", "PX", "60000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			l := mustAcquire(t, k, "TestRedisKeyGone", lock.Options{TTL: 3 * time.Second})
			command(t, client, c.change...)
			lostSoon(t, l)
			if d := time.Since(begin); d > 2500*time.Millisecond {
				t.Errorf("found out after %v, with a renewal each second", d)
			}
			command(t, client, "DEL", key)

			l = mustAcquire(t, k, "TestRedisKeyGone", lock.Options{})
			command(t, client, c.change...)
			wantErr(t, l.Release(t.Context()), lock.ErrLost)
			lostAlready := l.Err()
			wantErr(t, lostAlready, lock.ErrLost)
			if got, _ := command(t, client, "EXISTS", key).AsInt64(); (got == 1) != (c.name == "taken") {
				t.Errorf("the release changed the other's key: %d", got)
			}
			command(t, client, "DEL", key)
		})
	}
}

// What will not pass by waiting is told at once, and nothing is written.
func TestRedisRefusals(t *testing.T) {
	client, k := rawRedis(t, redis.Addr), mustOpen(t, "redis", redis.Addr, options{})
	key, fence := "latchkey:lock:"+t.Name(), "{latchkey:lock:"+t.Name()+"}:fence"
	for _, c := range []struct {
		name  string
		write []string
		says  string
	}{
		{"lock-is-a-list", []string{"RPUSH", key, "x"}, "WRONGTYPE"},
		{"fence-is-a-list", []string{"RPUSH", fence, "x"}, "WRONGTYPE"},
		{"fence-is-a-word", []string{"SET", fence, "x"}, "LOCKFENCE"},
		{"fence-is-too-high", []string{"SET", fence, "9007199254740992"}, "LOCKFENCE"},
		{"fence-is-negative", []string{"SET", fence, "-1"}, "LOCKFENCE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			command(t, client, "DEL", key, fence)
			command(t, client, c.write...)
			begin := time.Now()
			_, err := k.Acquire(t.Context(), "TestRedisRefusals", lock.Options{Wait: time.Hour})
			wantErr(t, err, lock.ErrUnavailable)
			if cause := rootCause(err); !strings.Contains(cause.Error(), c.says) || strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q, cause %q", err, cause)
			}
			if d := time.Since(begin); d > 10*time.Second {
				t.Errorf("told after %v", d)
			}
			if c.write[1] != key {
				if n, _ := command(t, client, "EXISTS", key).AsInt64(); n != 0 {
					t.Error("refused, and the lock is taken")
				}
			}
		})
	}
}

func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// A server that lost everything grants the lock again at once; the first holder
// finds out by its renewal, and the tokens tell who is later.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "redis")
	k := mustOpen(t, "redis", s.Addr, options{})
	l := mustAcquire(t, k, t.Name(), lock.Options{TTL: 3 * time.Second})
	client := rawRedis(t, s.Addr)
	command(t, client, "FLUSHALL")
	next := mustAcquire(t, k, t.Name(), lock.Options{})
	if next.Token() <= l.Token() {
		t.Errorf("token %d after %d", next.Token(), l.Token())
	}
	lostSoon(t, l)
	isNil(t, next.Err())
	isNil(t, next.Release(t.Context()))
}
