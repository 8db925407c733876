//go:build unix

package histories_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// kinds are how the nodes of a fleet are set up.
var kinds = map[string]histories.Config{
	"asking":    {},
	"cached":    {Staleness: 250 * time.Millisecond},
	"stateless": {Staleness: 250 * time.Millisecond, Stateless: true},
}

// backends are those that processes can share.
var backends = []string{"redis", "postgres", "mysql", "sqlite"}

// history is one that takes long, and is made again and again in the long runs.
type history struct {
	name string
	make func(t *testing.T)
}

// brief are the ones that are always made, all at a time since most of it is waiting.
var brief = map[string]bool{"nodes/redis/cached": true, "nodes/postgres/asking": true, "nodes/sqlite/stateless": true,
	"delayed/redis/cached": true, "old-primary/alone/cached": true, "activity/sqlite/cached": true}

// Nodes that are processes, packets that come late, databases that are shut down, and
// an old primary that does not know of the new one.
func TestFleetFaults(t *testing.T) {
	var together sync.WaitGroup
	defer together.Wait()
	for _, h := range slices.Concat(processes(), activity(), delays(), restarts(), oldPrimaries()) {
		switch {
		case everything():
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				for range few(t) {
					h.make(t)
				}
			})
		case brief[h.name]:
			together.Go(func() { t.Run(h.name, h.make) })
		}
	}
}

// processesOn makes processes for a new store, on a server unless it is a file.
func processesOn(t *testing.T, name string) (*histories.Processes, *servers.Server) {
	t.Helper()
	e, ok := engines[name]
	if !ok {
		path := filepath.Join(servers.Folder(t), "s.db")
		return &histories.Processes{Store: func(int) string { return name + " " + path }}, nil
	}
	server := e.start(t)
	return &histories.Processes{Store: func(int) string { return name + " " + server.URL }}, server
}

// processes: one is stopped for longer than the staleness and goes on, one is killed
// and another started in its place, and several of them are, together with the server
// and while it is shut down. What was acknowledged survives, and a node that wakes
// grants nothing that was ended while it slept.
func processes() (all []history) {
	for _, name := range backends {
		for kind, cfg := range kinds {
			all = append(all, history{"nodes/" + name + "/" + kind, func(t *testing.T) {
				p, server := processesOn(t, name)
				cfg.Host, cfg.FaultFor, cfg.Strikes, cfg.Gentle, cfg.Callers = p, 400*time.Millisecond, 3, true, 9
				if everything() {
					cfg.Strikes = 12
				}
				cfg.Faults = []histories.Fault{
					{Name: "a node stopped and continued", Apart: []int{0}, Break: func() { p.Stop(0) }, Heal: func() { p.Continue(0) }},
					{Name: "a node killed and replaced", Break: func() { p.Kill(1) }, Heal: func() { p.Start(1) }},
				}
				if server == nil {
					cfg.Faults = append(cfg.Faults,
						histories.Fault{Name: "all nodes killed", Break: func() { p.Kill(0); p.Kill(1); p.Kill(2) }, Heal: func() { p.Start(0); p.Start(1); p.Start(2) }})
				} else {
					cfg.Faults = append(cfg.Faults,
						histories.Fault{Name: "server and nodes killed", Break: func() { p.Kill(2); server.Kill(t); p.Kill(1) }, Heal: func() { p.Start(1); server.Restart(t); p.Start(2) }},
						histories.Fault{Name: "server stopped, and a node longer", Apart: []int{0}, Break: func() { p.Stop(0); server.Stop(t) }, Heal: func() { server.Continue(t); p.Continue(0) }},
						histories.Fault{Name: "server shut down and a node killed", Break: func() { server.Terminate(t); p.Kill(0) }, Heal: func() { p.Start(0); server.Restart(t) }})
				}
				histories.Run(t, cfg)
			}})
		}
	}
	return all
}

// activity: a node that is killed takes with it what of the sessions' activity was not
// written, and no session. That of stateless sessions is noted when their token is due.
func activity() (all []history) {
	for _, name := range backends {
		for _, kind := range []string{"asking", "cached"} {
			all = append(all, history{"activity/" + name + "/" + kind, func(t *testing.T) {
				p, _ := processesOn(t, name)
				store := opened(t, func(ctx context.Context) (latchkey.Store, error) { return openStore(ctx, p.Store(0)) })
				histories.RunActivity(t, p, kinds[kind], store)
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}})
		}
	}
	return all
}
