//go:build unix

package histories_test

import (
	"context"
	"net/url"
	"os"
	"strconv"
	"sync"
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
		for kind, cfg := range map[string]histories.Config{
			"asking":    {},
			"cached":    {Staleness: 250 * time.Millisecond},
			"stateless": {Staleness: 250 * time.Millisecond, Stateless: true},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				for range rounds(t) {
					fleet(t, e, cfg)
				}
			})
		}
	}
}

func fleet(t *testing.T, e engine, cfg histories.Config) {
	server := e.start(t)
	var mu sync.Mutex
	var proxies []*servers.Proxy
	cfg.Open = func(t testing.TB, _ int) latchkey.Store {
		p := servers.StartProxy(t, server.Addr)
		mu.Lock()
		proxies = append(proxies, p)
		mu.Unlock()
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = p.Addr
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		s, err := e.open(ctx, u.String())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	cfg.For = 3 * time.Second
	if rounds(t) > 1 {
		cfg.For = 10 * time.Second
	}
	cfg.Faults = []histories.Fault{
		{Name: "a node cut off", Break: func() { proxies[0].Cut() }, Heal: func() { proxies[0].Resume() }},
		{Name: "a node's packets held back", Break: func() { proxies[1].Stall() }, Heal: func() { proxies[1].Resume() }},
		{Name: "server killed and restarted", Break: func() { server.Kill(t) }, Heal: func() { server.Restart(t) }},
		{Name: "server stopped and continued", Break: func() { server.Stop(t) }, Heal: func() { server.Continue(t) }},
	}
	histories.Run(t, cfg)
}
