//go:build unix

package servers

import (
	"fmt"
	"slices"
	"strings"
)

// sentinelHost is where the sentinels of a group connect from whose servers can be
// kept apart, and serverHost where server i does.
const sentinelHost = "127.0.2.1"

func serverHost(i int) string { return fmt.Sprintf("127.0.1.%d", i+1) }

// StartRedisSentinelApart is [StartRedisSentinel] with so many replicas and a network
// among the servers and sentinels that can be divided. Clients connect from 127.0.0.1
// and reach all servers always. It needs all of 127.0.0.0/8, which Linux has.
func StartRedisSentinelApart(t TB, replicas int, settings ...string) *RedisSentinel {
	t.Helper()
	ways := make([]*Proxy, 1+replicas)
	for i := range ways {
		ways[i] = StartProxy(t, "")
	}
	return startSentinel(t, replicas, ways, settings)
}

// announced are the settings by which others reach server i, and know it.
func (g *RedisSentinel) announced(i int) []string {
	if g.ways == nil {
		return nil
	}
	host, port, _ := strings.Cut(g.ways[i].Addr, ":")
	return []string{"--bind-source-addr", serverHost(i), "--replica-announce-ip", host, "--replica-announce-port", port}
}

// addr is where server i is reached.
func (g *RedisSentinel) addr(i int) string {
	if g.ways == nil {
		return g.Servers[i].Addr
	}
	return g.ways[i].Addr
}

// Isolate divides the network: the given servers reach each other, and all others
// reach each other and the sentinels, but for the clients nothing changes. It needs [StartRedisSentinelApart].
func (g *RedisSentinel) Isolate(these ...*Server) {
	var inside, outside []string
	for i, s := range g.Servers {
		if slices.Contains(these, s) {
			inside = append(inside, serverHost(i))
		} else {
			outside = append(outside, serverHost(i))
		}
	}
	for i, s := range g.Servers {
		if slices.Contains(these, s) {
			g.ways[i].CutFrom(append(outside, sentinelHost)...)
		} else {
			g.ways[i].CutFrom(inside...)
		}
	}
}

// Hide keeps the sentinels from the given servers, and nobody else.
func (g *RedisSentinel) Hide(these ...*Server) {
	for i, s := range g.Servers {
		if slices.Contains(these, s) {
			g.ways[i].CutFrom(sentinelHost)
		}
	}
}

// Rejoin undoes Isolate and Hide.
func (g *RedisSentinel) Rejoin() {
	for _, w := range g.ways {
		w.Resume()
	}
}

// Failover has the first sentinel replace the primary without having found it away,
// and waits until another one is named. Replicas may still be about to follow it.
func (g *RedisSentinel) Failover(t TB) {
	t.Helper()
	before := g.Primary(t)
	waitFor(t, "a sentinel to agree to a failover", func() bool {
		answer := redisCommand(g.Sentinels[0].Addr, "SENTINEL", "FAILOVER", g.Name)
		return len(answer) == 1 && (answer[0] == "OK" || strings.HasPrefix(answer[0], "INPROG"))
	})
	waitFor(t, "another primary", func() bool { return g.Primary(t) != before })
}

// AwaitFailover waits until the sentinels name another primary than the given one.
func (g *RedisSentinel) AwaitFailover(t TB, old *Server) {
	t.Helper()
	waitFor(t, "another primary", func() bool { return g.Primary(t) != old })
}

// AwaitOrder waits until all servers follow the primary that the sentinels name.
func (g *RedisSentinel) AwaitOrder(t TB) {
	t.Helper()
	waitFor(t, "all to follow one primary", func() bool { return g.follow(g.Primary(t)) })
}

// follow reports whether all other servers are in step with a primary.
func (g *RedisSentinel) follow(primary *Server) bool {
	for _, s := range g.Servers {
		info := redisInfo(redisCommand(s.Addr, "INFO", "replication"))
		if s == primary {
			if info["role"] != "master" {
				return false
			}
			continue
		}
		_, port, _ := strings.Cut(g.addr(slices.Index(g.Servers, primary)), ":")
		if info["role"] != "slave" || info["master_link_status"] != "up" || info["master_port"] != port {
			return false
		}
	}
	return true
}

// redisInfo makes a map of an answer to INFO.
func redisInfo(answer []string) map[string]string {
	facts := make(map[string]string)
	for line := range strings.Lines(strings.Join(answer, "")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}
