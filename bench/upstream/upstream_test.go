// Package upstream measures lookups in the validated-session cache beside the Python
// service's GET and GET over redis-py, on one Redis in one run.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/bench/internal/python"
	"github.com/latchkey-go/latchkey/bench/internal/redismon"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/upstream"
)

// hotSet is how many sessions are looked up in turn.
const hotSet = 4096

// account answers at once, with a name for each token.
type account struct{}

func (account) Validate(_ context.Context, token string) (upstream.User, error) {
	return upstream.User{ID: "user_" + token[:16], Email: "player@example.com", Name: "Some One", EmailVerified: true, Tier: "premium",
		CreatedAt: time.Unix(1.7e9, 0), UpdatedAt: time.Unix(1.7e9, 0), ExpiresAt: time.Now().Add(24 * time.Hour)}, nil
}

// tokens are as long as Appwrite's session secrets, about 250 characters.
func tokens() []string {
	out := make([]string, hotSet)
	for i := range out {
		out[i] = fmt.Sprintf("%0250d", i)
		out[i] = out[i][234:] + out[i][:234]
	}
	return out
}

func cache(b *testing.B, all []string, cfg upstream.Config) *upstream.Cache {
	b.Helper()
	cfg.Upstream = account{}
	c, err := upstream.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	for _, token := range all {
		if _, err := c.Lookup(context.Background(), token); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// lookup is a subject: the tokens in turn.
func lookup(name string, c *upstream.Cache, all []string) paired.Subject {
	ctx := context.Background()
	return paired.Loop(name, func(i int) error {
		u, err := c.Lookup(ctx, all[i%len(all)])
		if err == nil && u.Tier != "premium" {
			err = errors.New("another user")
		}
		return err
	})
}

// BenchmarkUpstream has the process hit, the Redis hit in both formats, a bare GET by
// the same client library, and the Python service's GET and GET; and what each sends
// to Redis for a lookup.
func BenchmarkUpstream(b *testing.B) {
	server := servers.StartRedis(b)
	all := tokens()
	py := python.Start(b)
	py.Ask(nil, "session_cache", "get_get", server.URL, all, map[string]any{"user_id": "user_1", "email": "player@example.com", "name": "Some One",
		"email_verified": true, "tier": "premium", "created_at": "2025-11-14T12:00:00+00:00", "updated_at": "2025-11-14T12:00:00+00:00"})

	redis := upstream.RedisConfig{URL: server.URL, Timeout: 10 * time.Second}
	sharedRedis := redis
	sharedRedis.Format = upstream.FormatSessionCache
	process := cache(b, all, upstream.Config{TTL: time.Hour})
	// 1 ms, and 4,096 others before each comes again: every lookup is a trip.
	native := cache(b, all, upstream.Config{TTL: time.Hour, ProcessTTL: time.Millisecond, Redis: redis})
	shared := cache(b, all, upstream.Config{TTL: time.Hour, ProcessTTL: time.Millisecond, Redis: sharedRedis})
	before := native.Stats()

	o, err := rueidis.ParseURL(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	o.DisableCache, o.ForceSingleClient = true, true
	client, err := rueidis.NewClient(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	get := paired.Loop("redis_get", func(int) error {
		err := client.Do(context.Background(), client.B().Get().Key("latchkey:none").Build()).Error()
		if rueidis.IsRedisNil(err) {
			err = nil
		}
		return err
	})
	paired.Compare(b, paired.Plan{}, lookup("process", process, all), lookup("redis_native", native, all), lookup("redis_shared", shared, all), get,
		py.Subject("python", "get_get"))
	if s := native.Stats(); s.Hits > s.RedisHits/100 || s.Calls != before.Calls {
		b.Fatalf("not all were hits in Redis: %+v", s)
	}
	next := 0 // another token each time: the process keeps one for a millisecond
	token := func() string { next++; return all[next%len(all)] }
	trips(b, server.Addr, map[string]func(){
		"trips_native": func() { mustFind(b, native, token()) },
		"trips_shared": func() { mustFind(b, shared, token()) },
		"trips_python": func() { py.Ask(nil, "once", "get_get") },
	})
}

// trips counts the commands that one lookup sends; each waits for the one before.
func trips(b *testing.B, addr string, lookups map[string]func()) {
	monitor := redismon.Start(b, addr)
	for name, f := range lookups {
		b.Run(name, func(b *testing.B) {
			commands := monitor.Commands(f)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(commands)), "commands/op")
			want := 1
			if name == "trips_python" {
				want = 2
			}
			if len(commands) != want {
				b.Errorf("a lookup sends %d commands: %q", len(commands), commands)
			}
		})
	}
}

func mustFind(b *testing.B, c *upstream.Cache, token string) {
	b.Helper()
	if _, err := c.Lookup(context.Background(), token); err != nil {
		b.Fatal(err)
	}
}
