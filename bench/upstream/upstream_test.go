// Package upstream measures lookups in the validated-session cache beside the Python
// service's GET and GET over redis-py, on one Redis in one run.
package upstream

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/rueidis"

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

func measure(b *testing.B, c *upstream.Cache, all []string) {
	b.ReportAllocs()
	ctx, i := context.Background(), 0
	for b.Loop() {
		u, err := c.Lookup(ctx, all[i%len(all)])
		if err != nil || u.Tier != "premium" {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkUpstream has the process hit, the Redis hit in both formats, a bare GET by
// the same client, and the Python service.
func BenchmarkUpstream(b *testing.B) {
	server := servers.StartRedis(b)
	all := tokens()
	b.Run("process", func(b *testing.B) {
		measure(b, cache(b, all, upstream.Config{TTL: time.Hour}), all)
	})
	redis := upstream.RedisConfig{URL: server.URL, Timeout: 10 * time.Second}
	sharedRedis := redis
	sharedRedis.Format = upstream.FormatSessionCache
	for name, cfg := range map[string]upstream.RedisConfig{"redis-native": redis, "redis-shared": sharedRedis} {
		b.Run(name, func(b *testing.B) {
			// 1 ms, and 4,096 others before each comes again: every lookup is a trip.
			c := cache(b, all, upstream.Config{TTL: time.Hour, ProcessTTL: time.Millisecond, Redis: cfg})
			before := c.Stats()
			measure(b, c, all)
			if s := c.Stats(); s.Hits > s.RedisHits/100 || s.Calls != before.Calls {
				b.Fatalf("not all were hits in Redis: %+v", s)
			}
		})
	}
	b.Run("redis-get", func(b *testing.B) {
		o, err := rueidis.ParseURL(server.URL)
		if err != nil {
			b.Fatal(err)
		}
		o.DisableCache, o.ForceSingleClient = true, true
		client, err := rueidis.NewClient(o)
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		ctx := context.Background()
		for b.Loop() {
			_ = client.Do(ctx, client.B().Get().Key("latchkey:none").Build()).Error()
		}
	})
	b.Run("python-get-get", func(b *testing.B) { python(b, server.URL, all[0]) })
}

// python lets the service measure itself: pipes are not what is compared.
func python(b *testing.B, url, token string) {
	const bin = "/usr/bin/python3"
	if err := exec.Command(bin, "-c", "import redis").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			b.Fatal("python3-redis is missing; run scripts/setup")
		}
		b.Skip("python3-redis is missing")
	}
	cmd := exec.Command(bin, "../../upstream/testdata/session_cache_service.py", url)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	ask := func(question map[string]any) (answer any) {
		if err := json.NewEncoder(in).Encode(question); err != nil || !lines.Scan() {
			b.Fatal("python:", err)
		}
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			b.Fatal(err)
		}
		return answer
	}
	user := map[string]any{"id": "user_1", "email": "player@example.com", "name": "Some One", "email_verified": true, "tier": "premium",
		"created_at": "2025-11-14T12:00:00+00:00", "updated_at": "2025-11-14T12:00:00+00:00"}
	ask(map[string]any{"op": "set", "token": token, "user": user, "expire": nil})
	seconds := ask(map[string]any{"op": "bench", "token": token, "n": max(b.N, 1)}).(float64)
	b.ReportMetric(seconds*1e9/float64(max(b.N, 1)), "ns/op")
}
