package redis

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// shared is a server for tests that leave it in peace; each takes a prefix of its own.
var shared *servers.Server

func TestMain(m *testing.M) {
	os.Exit(servers.Main(m, func(t servers.TB) { shared = servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always") }))
}

var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("t%d:", prefixes.Add(1)) }

// turned has the store's time follow a clock that is turned by hand.
func turned(clock latchkey.Clock) *hooks {
	start := clock.Now()
	return &hooks{
		micros: func(at latchkey.Moment) int64 { return (start.Wall + at.Mono - start.Mono) / 1000 },
	}
}

func mustOpen(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Addrs == nil {
		cfg.Addrs = []string{shared.Addr}
	}
	if cfg.Prefix == "" {
		cfg.Prefix = newPrefix()
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Clock: o.Clock, test: turned(o.Clock)})
		},
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return mustOpen(t, Config{Prefix: s.(*Store).cfg.Prefix, Clock: o.Clock, test: turned(o.Clock)})
		},
		Durable: true,
	})
}
