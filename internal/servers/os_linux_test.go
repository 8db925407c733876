package servers

import (
	"fmt"
	"testing"
)

// PostgreSQL's processes are in groups of their own; each has to be reached.
func TestPostgresWhole(t *testing.T) {
	pg := StartPostgres(t)
	family := children(pg.run.pid)
	if len(family) < 3 {
		t.Fatalf("PostgreSQL has %d children", len(family))
	}
	pg.Stop(t)
	halted := 0
	for _, pid := range family {
		until(t, "the child is halted", func() bool {
			_, state := parentOf(fmt.Sprintf("/proc/%d/stat", pid))
			if state == 'T' {
				halted++
			}
			return state == 'T' || gone(pid) // a worker may have ended just before
		})
	}
	if halted < 3 {
		t.Errorf("of %d children %d are halted", len(family), halted)
	}
	pg.Continue(t)
	if got := psql(t, pg.URL, "SELECT 1"); got != "1" {
		t.Errorf("after a halt: %q", got)
	}
	pg.Kill(t)
	for _, pid := range family {
		if !gone(pid) {
			t.Errorf("process %d outlived the server", pid)
		}
	}
}
