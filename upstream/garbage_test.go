package upstream_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/upstream"
)

// Whatever stands in an entry's place is a miss, and is replaced.
func TestGarbageInRedis(t *testing.T) {
	digest := func(token string) string { sum := sha256.Sum256([]byte(token)); return hex.EncodeToString(sum[:]) }
	python := `{"user_id": "u1", "email": "e", "name": "n", "email_verified": true, "tier": "t", "created_at": "2025-01-01T00:00:00", "updated_at": "2025-01-01T00:00:00", "session_expire": null, "cached_at": `
	huge := strings.Repeat("x", 10<<20)
	native := "latchkey:upstream:{default}:e:" + digest(token(1))
	counters := "latchkey:upstream:{default}:i"
	old := "session_cache:" + digest(token(1))[:32]
	for _, c := range []struct {
		name     string
		format   upstream.Format
		commands [][]string
		quiet    bool // a miss like others, without a count
	}{
		{"text", upstream.FormatNative, [][]string{{"SET", native, "garbage", "EX", "60"}}, false},
		{"empty", upstream.FormatNative, [][]string{{"SET", native, ""}}, true},
		{"huge", upstream.FormatNative, [][]string{{"SET", native, huge, "EX", "60"}}, false},
		{"list", upstream.FormatNative, [][]string{{"DEL", native}, {"LPUSH", native, "x"}}, false},
		{"for-ever", upstream.FormatNative, [][]string{{"PERSIST", native}}, false},
		{"cut", upstream.FormatNative, [][]string{{"SETRANGE", native, "60", "zzzzzzzz"}}, false},
		{"other-bucket", upstream.FormatNative, [][]string{{"SETRANGE", native, "33", "0000"}}, false},
		{"later-counter", upstream.FormatNative, [][]string{{"SETRANGE", native, "17", "00000000000000ff"}}, true},
		{"counters-gone", upstream.FormatNative, [][]string{{"DEL", counters}}, true},
		{"counters-list", upstream.FormatNative, [][]string{{"DEL", counters}, {"LPUSH", counters, "x"}}, false},
		{"counters-text", upstream.FormatNative, [][]string{{"HSET", counters, "n", "many"}}, false},
		{"counters-huge", upstream.FormatNative, [][]string{{"HSET", counters, "e", huge}}, false},
		{"json-text", upstream.FormatSessionCache, [][]string{{"SET", old, "garbage", "EX", "60"}}, false},
		{"json-huge", upstream.FormatSessionCache, [][]string{{"SET", old, `{"user_id":"` + huge + `"}`, "EX", "60"}}, false},
		{"json-deep", upstream.FormatSessionCache, [][]string{{"SET", old, strings.Repeat("[", 60000), "EX", "60"}}, false},
		{"json-list", upstream.FormatSessionCache, [][]string{{"DEL", old}, {"LPUSH", old, "x"}}, false},
		{"json-two-users", upstream.FormatSessionCache, [][]string{{"SET", old, `{"user_id": "other", ` + python[1:] + "9e9}"}}, true},
		{"json-future", upstream.FormatSessionCache, [][]string{{"SET", old, python + "9e9}", "EX", "60"}}, true},
		{"json-past", upstream.FormatSessionCache, [][]string{{"SET", old, python + "1}", "EX", "60"}}, true},
		{"json-far", upstream.FormatSessionCache, [][]string{{"SET", old, python + "1e300}", "EX", "60"}}, true},
		{"marker-text", upstream.FormatSessionCache, [][]string{{"SET", "user_invalidated:u1", "then"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			cache, clock := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.Redis.Format = c.format })
			lookup(t, cache, token(1))
			do := admin(t, server.Addr)
			for _, command := range c.commands {
				if err := do(command...).Error(); err != nil {
					t.Fatal(command[0], err)
				}
			}
			clock.Advance(10 * time.Millisecond)
			if u := lookup(t, cache, token(1)); u.Name != "A" {
				t.Fatalf("%+v", u)
			}
			if wantCalls(t, a, 2); (cache.Stats().Garbage == 0) != c.quiet || cache.Stats().RedisAway {
				t.Errorf("%+v", cache.Stats())
			}
			if c.name == "marker-text" {
				return // it stands until somebody invalidates the user again
			}
			for range 3 { // one for the entry, one for the counters
				clock.Advance(10 * time.Millisecond)
				lookup(t, cache, token(1))
			}
			if s := cache.Stats(); s.RedisHits == 0 || s.Calls > 4 {
				t.Errorf("it does not mend: %+v", s)
			}
			if err := cache.InvalidateUser(context.Background(), "u1"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without its counters Redis knows nothing: an eviction or a lost write is a miss, and
// a fill that began before is refused.
func TestCountersLostInFlight(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "before"))
	one, clock := shared(t, a, server.URL, nil)
	two, _ := shared(t, a, server.URL, nil)
	entered := a.hold()
	done := make(chan struct{})
	go func() { _, _ = one.Lookup(context.Background(), token(1)); close(done) }()
	<-entered
	a.set(token(1), player("u1", "after"))
	if err := two.InvalidateUser(context.Background(), "u1"); err != nil {
		t.Fatal(err)
	}
	if err := admin(t, server.Addr)("DEL", "latchkey:upstream:{default}:i").Error(); err != nil {
		t.Fatal(err)
	}
	a.release()
	<-done
	if one.Stats().Overtaken != 1 {
		t.Error("the fill was not refused")
	}
	clock.Advance(time.Second)
	for _, c := range []*upstream.Cache{one, two} {
		if u := lookup(t, c, token(1)); u.Name != "after" {
			t.Error(u.Name)
		}
	}
}

// A Redis that is full takes no entry and no mark, but it must not keep anybody signed in.
func TestFullRedis(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "before"))
	a.set(token(2), player("u2", "before"))
	one, _ := shared(t, a, server.URL, nil)
	two, clock := shared(t, a, server.URL, nil)
	lookup(t, one, token(1))
	lookup(t, one, token(2))
	do := admin(t, server.Addr)
	if err := do("CONFIG", "SET", "maxmemory", "1").Error(); err != nil {
		t.Fatal(err)
	}
	a.set(token(1), player("u1", "after"))
	if err := one.InvalidateToken(context.Background(), token(2)); err != nil {
		t.Error(err)
	}
	if err := one.InvalidateUser(context.Background(), "u1"); err != nil {
		t.Error(err)
	}
	a.set(token(2), nil)
	if u := lookup(t, two, token(1)); u.Name != "after" {
		t.Error(u.Name)
	}
	refusedLookup(t, two, token(2))
	clock.Advance(time.Second)
	if err := do("CONFIG", "SET", "maxmemory", "0").Error(); err != nil {
		t.Fatal(err)
	}
	lookup(t, two, token(1))
	if two.Stats().RedisAway {
		t.Error("away")
	}
}

// TestNotARedis: what listens at the address is something else, or has gone mad.
func TestNotARedis(t *testing.T) {
	hello := "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
	for name, answer := range map[string]string{
		"http": "HTTP/1.1 400 Bad Request\r\n\r\n", "negative": "$-7\r\n", "huge": "$99999999999\r\n", "array": "*99999999999\r\n",
		"surplus": strings.Repeat("+OK\r\n", 100), "push": ">3\r\n+message\r\n+a\r\n+b\r\n", "closed": "", "deep": strings.Repeat("*1\r\n", 100000),
		"hello-then-negative": hello + "$-7\r\n", "hello-then-surplus": hello + strings.Repeat("+PONG\r\n", 50),
		"hello-of-wrong-types": "%2\r\n:5\r\n:3\r\n$7\r\nversion\r\n*1\r\n:1\r\n", "hello-version-number": "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n:7\r\n",
		"hello-then-values": hello + "*3\r\n:1\r\n:1\r\n$1\r\nx\r\n*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						_, _ = bufio.NewReader(conn).ReadString('\n')
						_, _ = io.WriteString(conn, answer)
						if answer != "" {
							_, _ = io.Copy(io.Discard, conn)
						}
					}()
				}
			}()
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			c, clock := shared(t, a, "redis://"+l.Addr().String(), func(cfg *upstream.Config) { cfg.Redis.Timeout = 100 * time.Millisecond })
			for range 3 {
				clock.Advance(time.Second)
				lookup(t, c, token(1))
			}
			if wantCalls(t, a, 3); c.Stats().PassedBy+c.Stats().Garbage != 3 {
				t.Errorf("%+v", c.Stats())
			}
			wantCode(t, c.InvalidateUser(context.Background(), "u1"), latchkey.CodeStoreUnavailable)
			if c.Health(context.Background()) == nil {
				t.Error("healthy")
			}
			_ = c.Close()
		})
	}
}
