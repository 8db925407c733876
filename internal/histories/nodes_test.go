//go:build unix

package histories_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/histories"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// kinds are how the nodes of a fleet are set up.
var kinds = map[string]histories.Config{
	"asking":    {},
	"cached":    {Staleness: 250 * time.Millisecond},
	"stateless": {Staleness: 250 * time.Millisecond, Stateless: true},
}

// brief is what the tests do where there is no time for all.
var brief = map[string]string{"redis": "cached", "postgres": "asking", "mysql": "cached", "sqlite": "stateless"}

// Nodes are processes. One is stopped for longer than the staleness and goes on, one is
// killed and another started in its place, and all of them are, together with the
// server. What was acknowledged survives, and a node that wakes grants nothing that
// was ended while it slept.
func TestFleetNodes(t *testing.T) {
	for name, kept := range brief {
		for kind, cfg := range kinds {
			if kind != kept && !everything() {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				for range few(t) {
					processes(t, name, cfg)
				}
			})
		}
	}
}

func processes(t *testing.T, name string, cfg histories.Config) {
	var server *servers.Server
	p := &histories.Processes{}
	if e, ok := engines[name]; ok {
		server = e.start(t)
		p.Store = func(int) string { return name + " " + server.URL }
	} else {
		path := filepath.Join(t.TempDir(), "s.db")
		p.Store = func(int) string { return name + " " + path }
	}
	cfg.Host, cfg.For, cfg.FaultFor = p, 3*time.Second, 400*time.Millisecond
	if everything() {
		cfg.For = 10 * time.Second
	}
	all := func(do func(node int)) {
		for i := range 3 {
			do(i)
		}
	}
	cfg.Faults = []histories.Fault{
		{Name: "a node stopped and continued", Break: func() { p.Stop(0) }, Heal: func() { p.Continue(0) }},
		{Name: "a node killed and replaced", Break: func() { p.Kill(1) }, Heal: func() { p.Start(1) }},
	}
	if server == nil {
		cfg.Faults = append(cfg.Faults,
			histories.Fault{Name: "all nodes killed and replaced", Break: func() { all(p.Kill) }, Heal: func() { all(p.Start) }})
	} else {
		cfg.Faults = append(cfg.Faults,
			histories.Fault{Name: "server and nodes killed", Break: func() { p.Kill(2); server.Kill(t); p.Kill(1) }, Heal: func() { p.Start(1); server.Restart(t); p.Start(2) }})
	}
	histories.Run(t, cfg)
}
