//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// A measurement runs on every store, without an error, and leaves no session behind:
// those of others are as they were.
func TestBenchStores(t *testing.T) {
	for name, launch := range map[string]func(t *testing.T) string{
		"sqlite":   func(*testing.T) string { return "sqlite:latchkey.db" },
		"redis":    func(t *testing.T) string { return servers.StartRedis(t, "--appendonly", "yes").URL },
		"postgres": func(t *testing.T) string { return servers.StartPostgres(t).URL },
		"mysql":    func(t *testing.T) string { return servers.StartMariaDB(t).URL },
	} {
		t.Run(name, func(t *testing.T) {
			dir, store := t.TempDir(), launch(t)
			makeStore(t, dir, store)
			cli(t, dir, 0, "session", "issue", "--subject", "alice", "--sid", "keep", "--store", store)
			before := allSessions(t, dir, store, "all")
			out := cli(t, dir, 0, "bench", "--store", store, "--duration", "50ms", "--concurrency", "8", "--yes", "--json")
			var sum benchSummary
			if err := json.Unmarshal([]byte(out), &sum); err != nil {
				t.Fatal(err)
			}
			if len(sum.Steps) != 7 || sum.Hit == nil || *sum.Hit <= 0 || sum.Sessions == 0 {
				t.Errorf("%s", out)
			}
			for _, s := range sum.Steps {
				if s.Operations == 0 || len(s.Errors) > 0 || s.P50 <= 0 || s.P99 < s.P50 || s.P999 < s.P99 {
					t.Errorf("%+v", s)
				}
			}
			if strings.Contains(out, servers.Password) {
				t.Error("the password is shown")
			}
			if after := allSessions(t, dir, store, "all"); len(after) != 1 || len(after["keep"]) != 1 || after["keep"][0].ID != before["keep"][0].ID || after["keep"][0].State != "live" {
				t.Errorf("after: %+v", after)
			}
			if events := cli(t, dir, 0, "audit", "--store", store, "--subject", "bench-000", "--provider", benchProvider, "--json"); !strings.Contains(events, `"events": []`) {
				t.Errorf("its name is in the trail: %s", events)
			}
		})
	}
}

// No table has a row more of it, but the trail, and the feed's log, which is bounded.
func TestBenchLeavesNoRows(t *testing.T) {
	dir := prepare(t)
	rows := func() map[string]int {
		t.Helper()
		c, err := zsqlite.OpenConn(filepath.Join(dir, "latchkey.db"), zsqlite.OpenReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var tables []string
		if err := sqlitex.ExecuteTransient(c, "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite_%'", &sqlitex.ExecOptions{ResultFunc: func(s *zsqlite.Stmt) error {
			tables = append(tables, s.ColumnText(0))
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		counts := make(map[string]int)
		for _, table := range tables {
			if err := sqlitex.ExecuteTransient(c, "SELECT count(*) FROM "+table, &sqlitex.ExecOptions{ResultFunc: func(s *zsqlite.Stmt) error {
				counts[table] = s.ColumnInt(0)
				return nil
			}}); err != nil {
				t.Fatal(err)
			}
		}
		return counts
	}
	cli(t, dir, 0, "session", "issue", "--subject", "alice")
	before := rows()
	cli(t, dir, 0, "bench", "--duration", "100ms", "--yes")
	after := rows()
	if len(before) < 4 || before["session"] != 1 {
		t.Fatalf("before: %v", before)
	}
	for table, n := range after {
		if n != before[table] && table != "audit" && table != "change" {
			t.Errorf("%s has %d rows, and had %d", table, n, before[table])
		}
	}
}

// measuring starts a long measurement and waits until it has made sessions.
func measuring(t *testing.T, dir string) (cmd *exec.Cmd, errs *bytes.Buffer) {
	t.Helper()
	cmd, errs = exec.Command(builtBinary, "bench", "--duration", "1m", "--json"), new(bytes.Buffer)
	cmd.Dir, cmd.Stderr, cmd.Stdout = dir, errs, new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for began := time.Now(); len(allSessions(t, dir, "sqlite:latchkey.db", "all")[""]) < 100; {
		if time.Since(began) > patience {
			t.Fatalf("no sessions are made\n%s", errs)
		}
	}
	return cmd, errs
}

// SIGINT ends a measurement; what it made is erased all the same.
func TestBenchInterrupted(t *testing.T) {
	dir := prepare(t)
	cmd, errs := measuring(t, dir)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	_ = cmd.Wait() // the status is looked at
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(errs.String(), "interrupted; the sessions have been erased") {
		t.Errorf("status %v, %s", cmd.ProcessState, errs)
	}
	var sum benchSummary
	if err := json.Unmarshal(cmd.Stdout.(*bytes.Buffer).Bytes(), &sum); err != nil || !sum.Interrupted || len(sum.Steps) != 1 || sum.Steps[0].Operations == 0 || len(sum.Steps[0].Errors) > 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	if left := allSessions(t, dir, "sqlite:latchkey.db", "all"); len(left) > 0 {
		t.Errorf("%d sessions are left", len(left[""]))
	}
}

// What a measurement leaves that is killed, the next one erases.
func TestBenchKilled(t *testing.T) {
	dir := prepare(t)
	cmd, _ := measuring(t, dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if len(allSessions(t, dir, "sqlite:latchkey.db", "all")) == 0 {
		t.Fatal("nothing is left to erase")
	}
	cli(t, dir, 0, "bench", "--duration", "20ms", "--sessions", "1")
	if left := allSessions(t, dir, "sqlite:latchkey.db", "all"); len(left) > 0 {
		t.Errorf("%d sessions are left", len(left[""]))
	}
}

// One that was killed at its first instants has left any identity's session.
func TestBenchKilledAtOnce(t *testing.T) {
	dir := prepare(t)
	cli(t, dir, 0, "session", "issue", "--provider", benchProvider, "--subject", benchIdentity(5).Subject)
	cli(t, dir, 0, "bench", "--duration", "20ms", "--sessions", "1")
	if left := allSessions(t, dir, "sqlite:latchkey.db", "all"); len(left) > 0 {
		t.Errorf("%+v are left", left)
	}
}
