package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/upstream"
)

// shared makes a cache over a and a Redis, whose process part is off when nothing is edited.
func shared(t testing.TB, a *accounts, url string, edit func(*upstream.Config)) (*upstream.Cache, *latchkeytest.Clock) {
	return newCache(t, a, func(cfg *upstream.Config) {
		cfg.ProcessTTL = time.Millisecond
		cfg.Redis = upstream.RedisConfig{URL: url, Timeout: 5 * time.Second, RetryEvery: 5 * time.Millisecond}
		if edit != nil {
			edit(cfg)
		}
	})
}

// admin is a client to look at a Redis and to harm it.
func admin(t testing.TB, addr string) func(args ...string) rueidis.RedisResult {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return func(args ...string) rueidis.RedisResult {
		return c.Do(context.Background(), c.B().Arbitrary(args...).Build())
	}
}

func keys(t testing.TB, do func(...string) rueidis.RedisResult, pattern string) []string {
	t.Helper()
	list, err := do("KEYS", pattern).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestProcessesShare(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	user := player("u1", "Zoë")
	user["expire"] = start.Add(time.Hour).Format(time.RFC3339)
	a.set(token(1), user)
	one, _ := shared(t, a, server.URL, nil)
	two, _ := shared(t, a, server.URL, nil)
	u := lookup(t, one, token(1))
	if again := lookup(t, two, token(1)); again != u || again.Claims == "" || again.ExpiresAt.IsZero() {
		t.Fatalf("%+v\n%+v", again, u)
	}
	wantCalls(t, a, 1)
	other, _ := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.Redis.Name = "other" })
	lookup(t, other, token(1))
	wantCalls(t, a, 2) // another name shares nothing
	do := admin(t, server.Addr)
	for _, key := range keys(t, do, "*:e:*") {
		value, _ := do("GET", key).ToString()
		if ttl, _ := do("PTTL", key).AsInt64(); ttl <= 0 || ttl > upstream.DefaultTTL.Milliseconds() {
			t.Errorf("%s lives %d ms", key, ttl)
		}
		for _, secret := range []string{canary, "u1@", "Zo", "premium"} {
			if strings.Contains(key+value, secret) {
				t.Errorf("%s holds %q", key, secret)
			}
		}
	}
	if n := len(keys(t, do, "*")); n != 4 {
		t.Errorf("%d keys", n)
	}
}

// A hit in Redis is one command from the client, whatever the script does inside.
func TestOneTrip(t *testing.T) {
	for name, format := range map[string]upstream.Format{"native": upstream.FormatNative, "shared": upstream.FormatSessionCache} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			c, clock := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.Redis.Format = format })
			lookup(t, c, token(1))
			clock.Advance(time.Second)
			lookup(t, c, token(1)) // the server has met the scripts
			conn, err := net.Dial("tcp", server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			lines := bufio.NewScanner(conn)
			if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil || !lines.Scan() || lines.Text() != "+OK" {
				t.Fatal(err, lines.Text())
			}
			before := c.Stats().RedisHits
			for range 5 {
				clock.Advance(time.Millisecond)
				lookup(t, c, token(1))
			}
			if got := c.Stats().RedisHits - before; got != 5 {
				t.Fatal(got, "hits")
			}
			admin(t, server.Addr)("ECHO", "the-end")
			trips := 0
			for lines.Scan() && !strings.Contains(lines.Text(), "the-end") {
				line := lines.Text()
				switch {
				case strings.Contains(line, " lua] "), strings.Contains(line, `"HELLO"`), strings.Contains(line, `"CLIENT"`):
				case strings.Contains(line, `"EVALSHA"`):
					trips++
				default:
					t.Error("also sent:", line)
				}
			}
			if trips != 5 {
				t.Errorf("%d trips for 5 hits", trips)
			}
			wantCalls(t, a, 1)
		})
	}
}

// What another process was just reading when a user was invalidated is not filed,
// and neither process serves it.
func TestInvalidateInFlightElsewhere(t *testing.T) {
	for name, format := range map[string]upstream.Format{"native": upstream.FormatNative, "shared": upstream.FormatSessionCache} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "before"))
			edit := func(cfg *upstream.Config) { cfg.Redis.Format = format }
			one, clock := shared(t, a, server.URL, edit)
			two, clock2 := shared(t, a, server.URL, edit)
			entered := a.hold()
			names := make(chan string)
			ask := func() {
				u, _ := one.Lookup(context.Background(), token(1))
				names <- u.Name
			}
			go ask()
			<-entered
			a.set(token(1), player("u1", "after"))
			// The clocks stand: the marker of the shared format is as old as the lookup.
			if err := two.InvalidateUser(context.Background(), "u1"); err != nil {
				t.Fatal(err)
			}
			go ask() // joins, and came after the invalidation
			eventually(t, "the second waits", func() bool { return one.Stats().Joined == 1 })
			a.release()
			if got := (<-names) + (<-names); got != "beforeafter" && got != "afterbefore" {
				t.Errorf("%s: the joiner was given what was before", got)
			}
			if one.Stats().Overtaken == 0 {
				t.Error("the fill was not refused")
			}
			clock.Advance(2 * time.Second)
			clock2.Advance(2 * time.Second)
			for _, c := range []*upstream.Cache{one, two} {
				if u := lookup(t, c, token(1)); u.Name != "after" {
					t.Error(u.Name)
				}
			}
		})
	}
}

func TestInvalidateElsewhere(t *testing.T) {
	for name, format := range map[string]upstream.Format{"native": upstream.FormatNative, "shared": upstream.FormatSessionCache} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			edit := func(cfg *upstream.Config) { cfg.Redis.Format, cfg.ProcessTTL = format, time.Second }
			one, clock := shared(t, a, server.URL, edit)
			two, _ := shared(t, a, server.URL, edit)
			a.set(token(1), player("u1", "before"))
			a.set(token(2), player("u2", "before"))
			lookup(t, one, token(1))
			lookup(t, one, token(2))
			a.set(token(1), player("u1", "after"))
			if err := two.InvalidateUser(context.Background(), "u1"); err != nil {
				t.Fatal(err)
			}
			if err := two.InvalidateToken(context.Background(), token(2)); err != nil {
				t.Fatal(err)
			}
			if u := lookup(t, two, token(1)); u.Name != "after" {
				t.Error("the invalidating process serves", u.Name)
			}
			clock.Advance(time.Second) // ProcessTTL
			if u := lookup(t, one, token(1)); u.Name != "after" {
				t.Error("the other process serves", u.Name)
			}
			refusedLookup(t, one, token(2)) // although the upstream would still grant it
			refusedLookup(t, two, token(2))
		})
	}
}

func TestRedisComesAndGoes(t *testing.T) {
	for name, act := range map[string]struct {
		away, back func(*servers.Server, servers.TB)
	}{
		"killed":  {(*servers.Server).Kill, (*servers.Server).Restart},
		"stopped": {(*servers.Server).Stop, (*servers.Server).Continue},
	} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			a.set(token(2), player("u2", "A"))
			var log bytes.Buffer
			c, clock := shared(t, a, server.URL, func(cfg *upstream.Config) {
				cfg.Redis.Timeout, cfg.Log = 200*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
			})
			lookup(t, c, token(1))
			act.away(server, t)
			clock.Advance(time.Second)
			lookup(t, c, token(1))
			if s := c.Stats(); !s.RedisAway || s.PassedBy != 1 || s.RedisErrors == 0 || s.Calls != 2 {
				t.Fatalf("%+v", s)
			}
			if c.Health(context.Background()) == nil {
				t.Error("healthy")
			}
			begun := time.Now()
			for range 20 {
				clock.Advance(time.Second)
				lookup(t, c, token(1))
			}
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("20 lookups took %v: each waits for Redis", took)
			}
			wantCode(t, c.InvalidateUser(context.Background(), "u1"), latchkey.CodeStoreUnavailable)
			wantCode(t, c.InvalidateToken(context.Background(), token(2)), latchkey.CodeStoreUnavailable)
			if s := c.Stats(); s.InvalidationsWaiting != 2 {
				t.Fatalf("%+v", s)
			}
			calls := a.calls.Load()
			lookup(t, c, token(1))
			wantCalls(t, a, calls+1) // in force here at once
			act.back(server, t)
			eventually(t, "back", func() bool { s := c.Stats(); return !s.RedisAway && s.InvalidationsWaiting == 0 })
			other, _ := shared(t, a, server.URL, nil)
			calls = a.calls.Load()
			lookup(t, other, token(1)) // what was filed before the outage does not count
			wantCalls(t, a, calls+1)
			refusedLookup(t, other, token(2))
			lookup(t, c, token(1))
			if err := c.Health(context.Background()); err != nil {
				t.Error(err)
			}
			_ = c.Close()
			if strings.Contains(log.String(), canary) || !strings.Contains(log.String(), "away") || !strings.Contains(log.String(), "back") {
				t.Error(log.String())
			}
		})
	}
}

// A Redis that answers but does not take the invalidation is not away, and what it
// holds of that user is worthless for the process that knows.
func TestWaitingInvalidationIsHeeded(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "before"))
	a.set(token(2), player("u2", "before"))
	c, clock := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.Redis.Format = upstream.FormatSessionCache })
	lookup(t, c, token(1))
	lookup(t, c, token(2))
	do := admin(t, server.Addr)
	if err := do("CONFIG", "SET", "maxmemory", "1").Error(); err != nil {
		t.Fatal(err)
	}
	a.set(token(1), player("u1", "after"))
	a.set(token(2), player("u2", "after"))
	wantCode(t, c.InvalidateUser(context.Background(), "u1"), latchkey.CodeStoreUnavailable)
	clock.Advance(time.Second)
	if u := lookup(t, c, token(1)); u.Name != "after" {
		t.Error(u.Name)
	}
	if u := lookup(t, c, token(2)); u.Name != "before" || c.Stats().RedisAway {
		t.Error("the others' entries do not count:", u.Name)
	}
	if err := do("CONFIG", "SET", "maxmemory", "0").Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "taken", func() bool { return c.Stats().InvalidationsWaiting == 0 })
	if n := len(keys(t, do, "user_invalidated:u1")); n != 1 {
		t.Error("no marker")
	}
}

// A session that was ended while another process was asking about it stays ended.
func TestEndTokenInFlightElsewhere(t *testing.T) {
	for name, format := range map[string]upstream.Format{"native": upstream.FormatNative, "shared": upstream.FormatSessionCache} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			edit := func(cfg *upstream.Config) { cfg.Redis.Format = format }
			one, clock := shared(t, a, server.URL, edit)
			two, _ := shared(t, a, server.URL, edit)
			entered := a.hold()
			done := make(chan struct{})
			go func() { _, _ = one.Lookup(context.Background(), token(1)); close(done) }()
			<-entered
			if err := two.InvalidateToken(context.Background(), token(1)); err != nil {
				t.Fatal(err)
			}
			a.release()
			<-done
			clock.Advance(time.Second)
			refusedLookup(t, one, token(1))
			refusedLookup(t, two, token(1))
			wantCalls(t, a, 1)
			if left := keys(t, admin(t, server.Addr), "session_cache:*"); len(left) != 0 {
				t.Error("Python would find", left)
			}
		})
	}
}

// Without ServeStale nothing past ProcessTTL is served when nobody can be asked,
// although TTL is not over: another process may have invalidated it.
func TestNobodyToAsk(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	for name, stale := range map[string]time.Duration{"refused": 0, "stale": time.Minute} {
		t.Run(name, func(t *testing.T) {
			server.Restart(t)
			c, clock := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.ServeStale = stale })
			a.behave(nil)
			lookup(t, c, token(1))
			server.Kill(t)
			a.behave(broken)
			clock.Advance(time.Second)
			u, err := c.Lookup(context.Background(), token(1))
			if stale == 0 {
				wantCode(t, err, latchkey.CodeStoreUnavailable)
			} else if err != nil || !u.Stale {
				t.Error(u, err)
			}
		})
	}
}

// The shared format compares clocks of several hosts; they may be a second apart.
func TestClocksOfHosts(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "before"))
	edit := func(cfg *upstream.Config) { cfg.Redis.Format = upstream.FormatSessionCache }
	one, ahead := shared(t, a, server.URL, edit)
	two, clock := shared(t, a, server.URL, edit)
	ahead.StepWall(900 * time.Millisecond)
	lookup(t, one, token(1))
	a.set(token(1), player("u1", "after"))
	if err := two.InvalidateUser(context.Background(), "u1"); err != nil {
		t.Fatal(err)
	}
	ahead.Advance(10 * time.Millisecond)
	if u := lookup(t, one, token(1)); u.Name != "after" {
		t.Error("an entry of a host whose clock is ahead survived")
	}
	// Entries beyond that, and older ones than this process allows, are not believed.
	do := admin(t, server.Addr)
	for name, at := range map[string]time.Duration{"ahead": 5 * time.Second, "old": -sessioncache.DefaultTTL - 3*time.Second} {
		clock.Advance(3 * time.Second)
		e := sessioncache.Entry{UserID: "u1", Name: "foreign", CreatedAt: "2025-01-01T00:00:00", UpdatedAt: "2025-01-01T00:00:00",
			CachedAt: float64(clock.Time().Add(at).UnixMicro()) / 1e6}
		text, err := e.Text()
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"DEL", sessioncache.MarkerKey("u1")}, {"SET", sessioncache.Key(token(1)), string(text), "EX", "600"}} {
			if err := do(command...).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if u := lookup(t, two, token(1)); u.Name != "after" {
			t.Error(name, "is believed:", u.Name)
		}
	}
}

func TestStaleThroughRedis(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	edit := func(cfg *upstream.Config) { cfg.TTL, cfg.ServeStale = time.Second, time.Hour }
	one, _ := shared(t, a, server.URL, edit)
	lookup(t, one, token(1))
	do := admin(t, server.Addr)
	entry := keys(t, do, "*:e:*")[0]
	// Redis' own clock decides; rather than to wait for it, the entry is made to be past its time.
	if err := do("PEXPIRE", entry, "3599000").Error(); err != nil {
		t.Fatal(err)
	}
	a.behave(broken)
	two, _ := shared(t, a, server.URL, edit)
	if u := lookup(t, two, token(1)); !u.Stale || u.ID != "u1" {
		t.Fatalf("%+v", u)
	}
	if err := one.InvalidateUser(context.Background(), "u1"); err != nil {
		t.Fatal(err)
	}
	three, _ := shared(t, a, server.URL, edit)
	for _, c := range []*upstream.Cache{one, two, three} {
		_, err := c.Lookup(context.Background(), token(1))
		wantCode(t, err, latchkey.CodeStoreUnavailable)
	}
	// A refusal takes the remnant out of Redis.
	a.behave(nil)
	lookup(t, three, token(1))
	if err := do("PEXPIRE", entry, "3599000").Error(); err != nil {
		t.Fatal(err)
	}
	a.set(token(1), nil)
	four, _ := shared(t, a, server.URL, edit)
	refusedLookup(t, four, token(1))
	if n := len(keys(t, do, "*:e:*")); n != 0 {
		t.Error("the entry stays")
	}
}

// Redis' word on an entry's age is held against this host's clock, and the reverse.
func TestClockStepsWithRedis(t *testing.T) {
	for name, format := range map[string]upstream.Format{"native": upstream.FormatNative, "shared": upstream.FormatSessionCache} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			a := newAccounts(t)
			a.set(token(1), player("u1", "A"))
			c, clock := shared(t, a, server.URL, func(cfg *upstream.Config) { cfg.Redis.Format = format })
			lookup(t, c, token(1))
			for i, step := range []time.Duration{-24 * time.Hour, 24 * time.Hour, 30 * 24 * time.Hour} {
				clock.StepWall(step)
				clock.Advance(time.Second)
				lookup(t, c, token(1))
				wantCalls(t, a, int64(i)+2)
			}
			clock.Advance(time.Second)
			lookup(t, c, token(1))
			wantCalls(t, a, 4)
		})
	}
}

// A server that has forgotten the scripts is told them again.
func TestScriptsForgotten(t *testing.T) {
	server := servers.StartRedis(t)
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, clock := shared(t, a, server.URL, nil)
	lookup(t, c, token(1))
	if err := admin(t, server.Addr)("SCRIPT", "FLUSH").Error(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	lookup(t, c, token(1))
	if s := c.Stats(); s.RedisHits != 1 || s.RedisErrors != 0 {
		t.Errorf("%+v", s)
	}
}
