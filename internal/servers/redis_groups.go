//go:build unix

package servers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RedisSentinel is a primary with replicas and the sentinels that watch it.
type RedisSentinel struct {
	// Name is that of the primary among the sentinels.
	Name string
	// Servers are the primary, as it was at the start, and its replicas.
	Servers []*Server
	// Sentinels watch the servers; two of them agree on a failover.
	Sentinels []*Server
	// URL is redis+sentinel://host:port,…/NAME.
	URL string

	ways []*Proxy // by which the servers are reached, where they can be kept apart
}

// StartRedisSentinel starts a primary, two replicas and three sentinels, and returns
// when the sentinels know of each other and of the replicas. A primary that is away
// for two and a half seconds is replaced. settings are further arguments of the servers.
func StartRedisSentinel(t TB, settings ...string) *RedisSentinel {
	t.Helper()
	return startSentinel(t, 2, nil, settings)
}

// startSentinel starts a group whose servers are reached by ways, or directly when
// there are none.
func startSentinel(t TB, replicas int, ways []*Proxy, settings []string) *RedisSentinel {
	t.Helper()
	g := &RedisSentinel{Name: "main", ways: ways}
	settings = append([]string{"--repl-diskless-sync-delay", "0"}, settings...)
	var host, port string
	for i := range 1 + replicas {
		own := append(g.announced(i), settings...)
		if i > 0 {
			own = append([]string{"--replicaof", host + " " + port}, own...)
		}
		g.Servers = append(g.Servers, StartRedis(t, own...))
		if ways != nil {
			ways[i].lead(g.Servers[i].Addr)
		}
		if i == 0 {
			host, port, _ = strings.Cut(g.addr(0), ":")
		}
	}
	waitFor(t, "the replicas to follow", func() bool { return g.follow(g.Servers[0]) })
	bin := binary(t, "redis-sentinel", "redis-sentinel")
	var addrs []string
	for range 3 {
		s := launch(t, func(s *Server, own int) {
			s.name, s.URL, s.Dir = "redis-sentinel", "redis://"+s.Addr, tempDir(t, nil)
			conf := filepath.Join(s.Dir, "sentinel.conf")
			text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s %s %s 2\n", own, s.Dir, g.Name, host, port) +
				fmt.Sprintf("sentinel down-after-milliseconds %[1]s 2500\nsentinel failover-timeout %[1]s 3000\nsentinel parallel-syncs %[1]s 2\n", g.Name)
			if ways != nil {
				text += "bind-source-addr " + sentinelHost + "\nsentinel announce-ip 127.0.0.1\n"
			}
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatalf("%v", err)
			}
			s.argv = []string{bin, conf}
			s.ready = func(ctx context.Context) bool { return redisReady(ctx, s.Addr) }
		})
		g.Sentinels = append(g.Sentinels, s)
		addrs = append(addrs, s.Addr)
	}
	g.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + g.Name
	for _, s := range g.Sentinels {
		waitFor(t, "the sentinels to know of the others", func() bool {
			facts := redisFacts(redisCommand(s.Addr, "SENTINEL", "MASTER", g.Name))
			return facts["num-slaves"] == strconv.Itoa(replicas) && facts["num-other-sentinels"] == "2"
		})
	}
	return g
}

// Primary is the server that the sentinels name. They may differ for a while after a
// failover; the one of the highest epoch is right.
func (g *RedisSentinel) Primary(t TB) *Server {
	t.Helper()
	var found *Server
	latest := -1
	for _, sentinel := range g.Sentinels {
		facts := redisFacts(redisCommand(sentinel.Addr, "SENTINEL", "MASTER", g.Name))
		epoch, err := strconv.Atoi(facts["config-epoch"])
		// Of the facts the address is the last to change.
		addr := strings.Join(redisCommand(sentinel.Addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.Name), ":")
		for i, s := range g.Servers {
			if err == nil && epoch > latest && g.addr(i) == addr {
				found, latest = s, epoch
			}
		}
	}
	if found == nil {
		t.Fatalf("no sentinel names a primary")
	}
	return found
}

// RedisCluster is primaries that share the slots, each with as many replicas.
type RedisCluster struct {
	// Primaries have the slots at the start, and Replicas follow the primary at the
	// same place, one after the other round by round.
	Primaries, Replicas []*Server
	// URL is redis+cluster://host:port,….
	URL string
}

// slots is how many a cluster has.
const slots = 16384

// StartRedisCluster starts a cluster, and returns when all of it is in order. A
// primary that is away for two seconds is replaced. settings are further arguments of
// the servers.
func StartRedisCluster(t TB, primaries, replicasEach int, settings ...string) *RedisCluster {
	t.Helper()
	c := &RedisCluster{}
	start := func() *Server {
		// The port of the bus is 10,000 above the other one unless set, and so may not be one.
		return StartRedis(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(freePort(t)),
			"--repl-diskless-sync-delay", "0"}, settings...)...)
	}
	var addrs []string
	for i := range primaries {
		s := start()
		c.Primaries = append(c.Primaries, s)
		addrs = append(addrs, s.Addr)
		mustRedis(t, s.Addr, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/primaries), strconv.Itoa((i+1)*slots/primaries-1))
		mustRedis(t, s.Addr, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for range primaries * replicasEach {
		c.Replicas = append(c.Replicas, start())
	}
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	all := append(append([]*Server(nil), c.Primaries...), c.Replicas...)
	for _, s := range all[1:] {
		host, port, _ := strings.Cut(s.Addr, ":")
		bus := redisCommand(s.Addr, "CONFIG", "GET", "cluster-port")
		if len(bus) != 2 {
			t.Fatalf("no bus: %v", bus)
		}
		mustRedis(t, c.Primaries[0].Addr, "CLUSTER", "MEET", host, port, bus[1])
	}
	for _, s := range all {
		waitFor(t, "the servers to know each other", func() bool {
			return strings.Count(strings.Join(redisCommand(s.Addr, "CLUSTER", "NODES"), ""), " connected") == len(all)
		})
	}
	for i, s := range c.Replicas {
		id := redisCommand(c.Primaries[i%primaries].Addr, "CLUSTER", "MYID")
		mustRedis(t, s.Addr, "CLUSTER", "REPLICATE", strings.Join(id, ""))
	}
	for _, s := range all {
		waitFor(t, "the cluster to be in order", func() bool {
			info := strings.Join(redisCommand(s.Addr, "CLUSTER", "INFO"), "")
			role := strings.Join(redisCommand(s.Addr, "INFO", "replication"), "")
			return strings.Contains(info, "cluster_state:ok") && (strings.Contains(role, "role:master") || strings.Contains(role, "master_link_status:up"))
		})
	}
	return c
}

// MoveSlot moves a slot with its keys from one primary to another, as resharding does.
func (c *RedisCluster) MoveSlot(t TB, slot int, from, to *Server) {
	t.Helper()
	number := strconv.Itoa(slot)
	source, target := redisCommand(from.Addr, "CLUSTER", "MYID"), redisCommand(to.Addr, "CLUSTER", "MYID")
	if len(source) != 1 || len(target) != 1 {
		t.Fatalf("the servers do not tell who they are: %v, %v", source, target)
	}
	mustRedis(t, to.Addr, "CLUSTER", "SETSLOT", number, "IMPORTING", source[0])
	mustRedis(t, from.Addr, "CLUSTER", "SETSLOT", number, "MIGRATING", target[0])
	host, port, _ := strings.Cut(to.Addr, ":")
	for {
		keys := redisCommand(from.Addr, "CLUSTER", "GETKEYSINSLOT", number, "100")
		if len(keys) == 0 {
			break
		}
		mustRedis(t, from.Addr, append([]string{"MIGRATE", host, port, "", "0", "5000", "KEYS"}, keys...)...)
	}
	mustRedis(t, to.Addr, "CLUSTER", "SETSLOT", number, "NODE", target[0])
	mustRedis(t, from.Addr, "CLUSTER", "SETSLOT", number, "NODE", target[0])
	for _, s := range append(append([]*Server(nil), c.Primaries...), c.Replicas...) {
		if s != from && s != to {
			redisCommand(s.Addr, "CLUSTER", "SETSLOT", number, "NODE", target[0]) // others hear of it anyway
		}
	}
}

func waitFor(t TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func mustRedis(t TB, addr string, command ...string) {
	t.Helper()
	if got := redisCommand(addr, command...); len(got) != 1 || got[0] != "OK" {
		t.Fatalf("%v: %v", command, got)
	}
}

// redisFacts makes a map of names and values that follow each other.
func redisFacts(list []string) map[string]string {
	facts := make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		facts[list[i]] = list[i+1]
	}
	return facts
}

// redisCommand runs a command whose answer is a text, or a list of texts that may be
// nested once; nil when there is no answer.
func redisCommand(addr string, command ...string) []string {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, arg := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return nil
	}
	return readTexts(bufio.NewReader(conn))
}

func readTexts(r *bufio.Reader) []string {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return nil
	}
	line, kind := strings.TrimRight(line[1:], "\r\n"), line[0]
	n, _ := strconv.Atoi(line)
	switch kind {
	case '$':
		b := make([]byte, max(n, 0)+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil
		}
		return []string{string(b[:max(n, 0)])}
	case '*':
		var all []string
		for range n {
			all = append(all, readTexts(r)...)
		}
		return all
	}
	return []string{line}
}
