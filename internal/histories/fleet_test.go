//go:build unix

package histories_test

import (
	"context"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/mysql"
	"github.com/latchkey-go/latchkey/store/postgres"
	"github.com/latchkey-go/latchkey/store/redis"
)

// engine is a server with what opens a store on it.
type engine struct {
	start func(t testing.TB) *servers.Server
	open  func(ctx context.Context, url string) (latchkey.Store, error)
}

var engines = map[string]engine{
	"redis": {
		func(t testing.TB) *servers.Server {
			return servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
		},
		func(ctx context.Context, url string) (latchkey.Store, error) {
			cfg, err := redis.ParseURL(url)
			if err != nil {
				return nil, err
			}
			cfg.Timeout = time.Second
			return redis.Open(ctx, cfg)
		},
	},
	"postgres": {
		func(t testing.TB) *servers.Server { return servers.StartPostgres(t) },
		func(ctx context.Context, url string) (latchkey.Store, error) {
			return postgres.Open(ctx, postgres.Config{URL: url, Timeout: time.Second})
		},
	},
	"mysql": {
		func(t testing.TB) *servers.Server { return servers.StartMariaDB(t) },
		func(ctx context.Context, url string) (latchkey.Store, error) {
			return mysql.Open(ctx, mysql.Config{URL: url, Timeout: time.Second})
		},
	},
}

// rounds is how often each history is made: once, or as often as the long run says.
func rounds(t *testing.T) int {
	text := os.Getenv("LATCHKEY_CHAOS_ROUNDS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("LATCHKEY_CHAOS_ROUNDS=%q is no count", text)
	}
	return n
}

// Every node reaches the server through a proxy of its own, which is cut and stalled;
// the server is killed and restarted, and stopped and continued.
func TestFleet(t *testing.T) {
	for name, e := range engines {
		for kind, cfg := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				aside(t)
				for range rounds(t) {
					server, proxies := fleet(t, e, &cfg)
					cfg.Faults = []histories.Fault{
						{Name: "a node cut off", Apart: []int{0}, Break: proxies[0].Cut, Heal: proxies[0].Resume},
						{Name: "a node's packets held back", Apart: []int{1}, Break: proxies[1].Stall, Heal: proxies[1].Resume},
						{Name: "server killed and restarted", Break: func() { server.Kill(t) }, Heal: func() { server.Restart(t) }},
						{Name: "server stopped and continued", Break: func() { server.Stop(t) }, Heal: func() { server.Continue(t) }},
					}
					histories.Run(t, cfg)
				}
			})
		}
	}
}

// restarts: a database is shut down in its own ways, fast and immediately, and comes
// back.
func restarts() (all []history) {
	for name, e := range engines {
		for kind, cfg := range kinds {
			all = append(all, history{"restart/" + name + "/" + kind, func(t *testing.T) {
				server, _ := fleet(t, e, &cfg)
				cfg.Faults = []histories.Fault{
					{Name: "shut down", Break: func() { server.Terminate(t) }, Heal: func() { server.Restart(t) }},
					{Name: "shut down at once", Break: func() { server.Abort(t) }, Heal: func() { server.Restart(t) }},
				}
				histories.Run(t, cfg)
			}})
		}
	}
	return all
}

// delays: packets come late, by up to seven times the staleness and in the order in
// which they were sent: all the time, and with connections cut in between.
func delays() (all []history) {
	for name, e := range engines {
		for kind, cfg := range kinds {
			all = append(all, history{"delayed/" + name + "/" + kind, func(t *testing.T) {
				_, proxies := fleet(t, e, &cfg)
				cfg.Seed = histories.Seed(t)
				delay := func(shortest, longest time.Duration) {
					for i, p := range proxies[1:] { // the first node is quick, and so are its revocations
						p.Delay(cfg.Seed+uint64(i), shortest, longest)
					}
				}
				late, nothing := []int{1, 2}, func() {}
				cfg.Callers, cfg.Gentle, cfg.Strikes = 12, true, 7
				if cfg.Staleness > 0 {
					cfg.Staleness = 100 * time.Millisecond
				}
				if everything() {
					cfg.Strikes = 14
				}
				cfg.Faults = []histories.Fault{
					{Name: "packets late", Apart: late, Break: func() { delay(0, 750*time.Millisecond) }, Heal: nothing},
					{Name: "late and cut off", Apart: late[:1], Break: proxies[1].Cut, Heal: proxies[1].Resume},
					{Name: "late and cut off", Apart: late[1:], Break: proxies[2].Cut, Heal: proxies[2].Resume},
					{Name: "all late", Apart: late, Break: func() { delay(250*time.Millisecond, 300*time.Millisecond) }, Heal: nothing},
					{Name: "all late still", Apart: late, Break: nothing, Heal: nothing},
					{Name: "a little late", Apart: late, Break: func() { delay(0, 50*time.Millisecond) }, Heal: nothing},
					{Name: "in time", Apart: late, Break: func() { delay(0, 0) }, Heal: nothing},
				}
				cfg.Calm = func() { delay(0, 0) }
				histories.Run(t, cfg)
			}})
		}
	}
	return all
}

// aside lets a test run beside others in the long runs.
func aside(t *testing.T) {
	if everything() {
		t.Parallel()
	}
}

// fleet starts a server, and has cfg open nodes that reach it through a proxy each.
// They are open when the faults strike.
func fleet(t *testing.T, e engine, cfg *histories.Config) (*servers.Server, []*servers.Proxy) {
	t.Helper()
	server := e.start(t)
	var proxies []*servers.Proxy
	for range 3 {
		proxies = append(proxies, servers.StartProxy(t, server.Addr))
	}
	cfg.Open = func(t testing.TB, node int) latchkey.Store {
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = proxies[node].Addr
		return opened(t, func(ctx context.Context) (latchkey.Store, error) { return e.open(ctx, u.String()) })
	}
	cfg.For = 3 * time.Second
	if everything() {
		cfg.For = 6 * time.Second
	}
	return server, proxies
}
