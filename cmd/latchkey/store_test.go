//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	zsqlite "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey"
)

// alter runs statements on a database behind the program's back.
func alter(t *testing.T, path string, statements ...string) *zsqlite.Conn {
	t.Helper()
	c, err := zsqlite.OpenConn(path, zsqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for _, s := range statements {
		if err := sqlitex.ExecuteTransient(c, s, nil); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return c
}

// A store of another schema is one clear line and status 4 for every command, the
// daemon included, and stays as it is.
func TestOtherSchema(t *testing.T) {
	for _, c := range []struct{ name, change, want string }{
		{"older", "PRAGMA user_version=0", "is older than this program's"},
		{"newer", "UPDATE meta SET value=999 WHERE name='needs'", "is newer than this program's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			runs := func(want int, args ...string) string {
				t.Helper()
				var out, errs bytes.Buffer
				if got := run(t.Context(), args, strings.NewReader(""), &out, &errs, env()); got != want {
					t.Fatalf("latchkey %v: status %d, want %d\n%s%s", args, got, want, out.String(), errs.String())
				}
				return errs.String()
			}
			runs(0, "migrate")
			runs(0, "key", "generate")
			if err := alter(t, "latchkey.db", "PRAGMA journal_mode=WAL", c.change).Close(); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"session", "list"}, {"session", "issue", "--subject", "a"}, {"audit"}, {"serve", "--listen", "127.0.0.1:0"}} {
				text := runs(4, args...)
				if !strings.Contains(text, c.want) || strings.Count(text, "\n") != 1 {
					t.Errorf("latchkey %v says %q", args, text)
				}
			}
			if text := runs(4, "doctor"); !strings.Contains(text, "failed") {
				t.Errorf("the doctor says %q", text)
			}
			if c.name == "newer" && !strings.Contains(runs(4, "migrate"), c.want) {
				t.Error("migrate does not say what is wrong")
			}
			if c.name == "older" && !strings.Contains(runs(4, "session", "list"), "run `latchkey migrate`") {
				t.Error("nothing says how to go on")
			}
		})
	}
}

// A request that waits for a locked store does not hold a stop up.
func TestStopDespiteLock(t *testing.T) {
	dir := prepare(t)
	p := start(t, dir)
	p.issue("early")
	alter(t, filepath.Join(dir, "latchkey.db"), "BEGIN IMMEDIATE")
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"subject":"late"}`
	fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", adminSecret, len(body), body)
	if resp, _ := p.call("GET", "/healthz", ""); resp.StatusCode != 200 {
		t.Errorf("health: %d", resp.StatusCode)
	}
	p.stop()
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && resp.StatusCode == 201 {
		t.Error("a session was acknowledged that could not be written")
	}
}

// A command gives up on a locked store after 5 s altogether, though it waits when
// it opens the store and again for the change.
func TestCommandDespiteLock(t *testing.T) {
	dir := prepare(t)
	path := filepath.Join(dir, "latchkey.db")
	alter(t, path, "BEGIN IMMEDIATE")
	var out, errs bytes.Buffer
	began := time.Now()
	status := run(t.Context(), []string{"session", "revoke", "--all", "--store", "sqlite:" + path}, strings.NewReader(""), &out, &errs, env())
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
	if status != exitUnavailable || !strings.Contains(errs.String(), "another program holds the database locked") {
		t.Errorf("status %d, %q", status, errs.String())
	}
}

// shrinking counts fewer ended sessions each time.
type shrinking struct{ left atomic.Int64 }

func (s *shrinking) Count(context.Context) (latchkey.Counts, error) {
	return latchkey.Counts{Ended: int(s.left.Add(-100))}, nil
}

// The bar measures what has gone against what there was, and leaves its line clean.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &program{err: &out}
	counter := &shrinking{}
	counter.left.Store(500)
	ticks, quit := make(chan time.Time), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.draw(t.Context(), counter, "purging", ticks, quit)
	}()
	for range 3 {
		ticks <- time.Time{}
	}
	close(quit)
	<-done
	for _, want := range []string{"purging [..............................] 0 removed, 400 left", "[########......................] 100 removed, 300 left", "[###############...............] 200 removed, 200 left"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
	if !strings.HasSuffix(out.String(), "\r\x1b[K") {
		t.Errorf("the line stays: %q", out.String())
	}
	if stop := (&program{err: &out}).progress(t.Context(), nil, "purging"); stop == nil {
		t.Error("without a terminal there is nothing to stop")
	}
}

// Whatever the command line, the answer is a status and lines, never a panic.
func FuzzCommandLine(f *testing.F) {
	for _, seed := range []string{"policy\n--json", "policy\n--idle\n1h", "policy\n--idle=x\n--\nx", "session\nrevoke\n--all=maybe\n--limit", "policy\n-x=3\n-", "help\nkey", "policy\n--prefix"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		args := strings.Split(text, "\n")
		// Whatever would serve, make or change something is left out.
		switch args[0] {
		case "policy", "version", "help", "completion":
		default:
			args = append([]string{"policy"}, args...)
		}
		var out, errs bytes.Buffer
		status := run(t.Context(), args, strings.NewReader(""), &out, &errs, env())
		if status != exitDone && status != exitUsage {
			t.Errorf("%q gives status %d: %s", args, status, errs.String())
		}
		if status == exitUsage && !strings.HasPrefix(errs.String(), "latchkey: ") {
			t.Errorf("%q says %q", args, errs.String())
		}
	})
}
