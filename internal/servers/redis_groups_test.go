//go:build unix

package servers

import (
	"strings"
	"testing"
)

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	g := StartRedisSentinel(t)
	if p := g.Primary(t); p != g.Servers[0] || len(g.Servers) != 3 || len(g.Sentinels) != 3 {
		t.Errorf("the primary is %v of %d servers", p.Addr, len(g.Servers))
	}
	if !strings.HasPrefix(g.URL, "redis+sentinel://127.0.0.1:") || !strings.HasSuffix(g.URL, "/main") {
		t.Errorf("URL is %s", g.URL)
	}
}

// From the moment that a sentinel names another primary to clients, so does Primary,
// although the sentinel that leads the failover is not done with it for a while.
func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	g := StartRedisSentinel(t)
	old := g.Primary(t)
	old.Kill(t)
	until(t, "a sentinel names another primary", func() bool {
		for _, s := range g.Sentinels {
			addr := strings.Join(redisCommand(s.Addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.Name), ":")
			if addr != ":" && addr != "" && addr != old.Addr {
				return true
			}
		}
		return false
	})
	if now := g.Primary(t); now == old {
		t.Error("Primary is the one that was killed")
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	c := StartRedisCluster(t, 3, 1)
	if len(c.Primaries) != 3 || len(c.Replicas) != 3 {
		t.Errorf("%d primaries and %d replicas", len(c.Primaries), len(c.Replicas))
	}
	info := strings.Join(redisCommand(c.Replicas[2].Addr, "CLUSTER", "INFO"), "")
	for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:6", "cluster_size:3"} {
		if !strings.Contains(info, want) {
			t.Errorf("not %s: %s", want, info)
		}
	}
}

// A divided group has two primaries: the old one does not hear of the new one.
func TestRedisSentinelApart(t *testing.T) {
	t.Parallel()
	g := StartRedisSentinelApart(t, 2)
	old := g.Primary(t)
	g.Isolate(old)
	g.Failover(t)
	next := g.Primary(t)
	role := func(s *Server) string { return redisInfo(redisCommand(s.Addr, "INFO", "replication"))["role"] }
	until(t, "the new primary is one", func() bool { return role(next) == "master" })
	if got := role(old); got != "master" || next == old {
		t.Errorf("the old primary, which is kept apart, is a %s", got)
	}
	if n := redisCommand(old.Addr, "WAIT", "1", "100"); len(n) != 1 || n[0] != "0" {
		t.Errorf("%v replicas confirm what the old primary does", n)
	}
	g.Rejoin()
	g.AwaitOrder(t)
	if got := role(old); got != "slave" {
		t.Errorf("the old primary, which is back, is a %s", got)
	}
}
