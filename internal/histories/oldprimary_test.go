//go:build linux

package histories_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// division is a Sentinel group whose network is divided, and nodes on both sides: the
// first one hears of no other primary while the others do. All can reach all servers.
type division struct {
	group     *servers.RedisSentinel
	sentinels []*servers.Proxy // of the first node
}

func divided(t *testing.T, replicas int) *division {
	d := &division{group: servers.StartRedisSentinelApart(t, replicas, "--appendonly", "yes")}
	for _, s := range d.group.Sentinels {
		d.sentinels = append(d.sentinels, servers.StartProxy(t, s.Addr))
	}
	return d
}

// open opens a node's store.
func (d *division) open(t testing.TB, node, wait int) latchkey.Store {
	t.Helper()
	u, err := url.Parse(d.group.URL)
	if err != nil {
		t.Fatal(err)
	}
	if node == 0 {
		var addrs []string
		for _, p := range d.sentinels {
			addrs = append(addrs, p.Addr)
		}
		u.Host = strings.Join(addrs, ",")
	}
	return redisAt(t, u.String(), wait)
}

// blind keeps the first node from the sentinels.
func (d *division) blind() {
	for _, p := range d.sentinels {
		p.Cut()
	}
}

// join puts everything together.
func (d *division) join() {
	d.group.Rejoin()
	for _, p := range d.sentinels {
		p.Resume()
	}
}

// company is the primary and so many of its replicas.
func (d *division) company(t *testing.T, replicas int) []*servers.Server {
	primary := d.group.Primary(t)
	all := []*servers.Server{primary}
	for _, s := range d.group.Servers {
		if s != primary && len(all) <= replicas {
			all = append(all, s)
		}
	}
	return all
}

// oldPrimaries: a primary is separated from the sentinels and from replicas while one
// node stays with it and the others have gone to its successor. The node that stayed may
// say nothing once the lease is over: neither grant what was ended elsewhere nor make
// changes that will be gone.
func oldPrimaries() (all []history) {
	for name, c := range map[string]struct {
		replicas, wait int
		with           int  // replicas that stay with the old primary
		hidden         bool // from the sentinels only
	}{
		"alone":       {replicas: 2, wait: 1},
		"in-company":  {replicas: 3, wait: 2, with: 1},
		"from-within": {replicas: 2, wait: 2, hidden: true},
	} {
		for _, kind := range []string{"cached", "stateless"} {
			all = append(all, history{"old-primary/" + name + "/" + kind, func(t *testing.T) {
				cfg := kinds[kind]
				d := divided(t, c.replicas)
				cfg.Open = func(t testing.TB, node int) latchkey.Store { return d.open(t, node, c.wait) }
				cfg.FaultFor, cfg.Strikes, cfg.Gentle = 500*time.Millisecond, 1, kind == "cached"
				if everything() {
					cfg.FaultFor, cfg.Strikes = 3*time.Second, 3
				}
				cfg.Faults = []histories.Fault{{Name: "an old primary", Loses: true, Apart: []int{0}, Break: func() {
					old := d.company(t, c.with)
					d.blind()
					if c.hidden {
						d.group.Hide(old...)
					} else {
						d.group.Isolate(old...)
					}
					if everything() {
						d.group.AwaitFailover(t, old[0]) // until the sentinels miss it
					} else {
						d.group.Failover(t)
					}
				}, Heal: func() {
					d.join()
					if everything() {
						d.group.AwaitOrder(t)
					}
				}}}
				histories.Run(t, cfg)
			}})
		}
	}
	return all
}
