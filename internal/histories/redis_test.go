//go:build unix

package histories_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/redis"
)

// everything is said in the long runs.
func everything() bool { return os.Getenv("LATCHKEY_CHAOS_ROUNDS") != "" }

// long skips what takes half a minute and is part of the long runs only.
func long(t *testing.T) {
	if !everything() {
		t.Skip("part of the long runs: make chaos")
	}
}

// few is how often a history is made that takes long: once in twenty-five rounds.
func few(t *testing.T) int { return (rounds(t) + 24) / 25 }

// redisAt opens a store of a group of servers.
func redisAt(t testing.TB, url string, wait int) latchkey.Store {
	t.Helper()
	cfg, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Timeout, cfg.Lease, cfg.Wait = time.Second, 250*time.Millisecond, wait
	return opened(t, func(ctx context.Context) (latchkey.Store, error) { return redis.Open(ctx, cfg) })
}

// opened opens a store, again where a busy machine took too long.
func opened(t testing.TB, open func(ctx context.Context) (latchkey.Store, error)) latchkey.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		s, err := open(ctx)
		if err == nil {
			return s
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// The primary dies and a replica takes its place; the old one comes back. What was
// acknowledged had reached a replica, and is kept.
func TestFleetSentinel(t *testing.T) {
	long(t)
	for kind, cfg := range map[string]histories.Config{
		"cached":    {Staleness: 250 * time.Millisecond},
		"stateless": {Staleness: 250 * time.Millisecond, Stateless: true},
	} {
		t.Run(kind, func(t *testing.T) {
			group := servers.StartRedisSentinel(t, "--appendonly", "yes")
			cfg.Open = func(t testing.TB, _ int) latchkey.Store { return redisAt(t, group.URL, 1) }
			cfg.For, cfg.FaultFor = 30*time.Second, 8*time.Second
			var victim *servers.Server
			cfg.Faults = []histories.Fault{
				{Name: "primary killed", Loses: true, Break: func() { victim = group.Primary(t); victim.Kill(t) }, Heal: func() { victim.Restart(t) }},
				{Name: "primary stopped", Loses: true, Break: func() { victim = group.Primary(t); victim.Stop(t) }, Heal: func() { victim.Continue(t) }},
			}
			histories.Run(t, cfg)
		})
	}
}

// A primary of a cluster dies and its replica takes its place, and slots move.
func TestFleetCluster(t *testing.T) {
	long(t)
	for kind, cfg := range map[string]histories.Config{
		"cached":    {Staleness: 250 * time.Millisecond},
		"stateless": {Staleness: 250 * time.Millisecond, Stateless: true},
	} {
		t.Run(kind, func(t *testing.T) {
			group := servers.StartRedisCluster(t, 3, 1, "--appendonly", "yes")
			cfg.Open = func(t testing.TB, _ int) latchkey.Store { return redisAt(t, group.URL, 1) }
			cfg.For, cfg.FaultFor = 30*time.Second, 8*time.Second
			victim := group.Primaries[1]
			slot := 100 // of the first primary's range
			cfg.Faults = []histories.Fault{
				{Name: "slots moved", Break: func() {
					for range 20 {
						group.MoveSlot(t, slot, group.Primaries[0], group.Primaries[2])
						slot++
					}
				}, Heal: func() {}},
				{Name: "a primary killed", Loses: true, Break: func() { victim.Kill(t) }, Heal: func() { victim.Restart(t) }},
			}
			histories.Run(t, cfg)
		})
	}
}
