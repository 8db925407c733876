package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// fill creates sessions until the store fails, and returns those acknowledged.
func fill(t *testing.T, s *Store) (ids []latchkey.ID, err error) {
	t.Helper()
	for range 100_000 {
		c := signIn(s, "ann")
		c.Record.Data = make([]byte, 8000)
		if _, err := s.Create(t.Context(), c); err != nil {
			return ids, err
		}
		ids = append(ids, c.Record.ID)
	}
	t.Fatal("never full")
	return nil, nil
}

// The same where no file system can be mounted: SQLite's own bound.
func TestFullDatabase(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, Config{Path: path})
	bound := func(pages string) {
		t.Helper()
		if _, err := do(t.Context(), s, func(t *tx) (string, error) { return t.c.pragma("max_page_count=" + pages) }); err != nil {
			t.Fatal(err)
		}
	}
	bound("200")
	ids, err := fill(t, s)
	fixture.Unavailable(t, err, "the disk is full")
	bound("1000000")
	ids = append(ids, add(t, s, "bob"))
	for _, id := range ids {
		fixture.Get(t, s, id)
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{Limit: latchkey.MaxListLimit})
	if err != nil || len(page.Records) != len(ids) {
		t.Errorf("%d sessions, %v; want the %d acknowledged", len(page.Records), err, len(ids))
	}
}

// Damage in the middle of the file is unavailable, never "no such session", and
// does not keep what is whole from being read.
func TestDamagedPage(t *testing.T) {
	path := newPath(t)
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var ids []latchkey.ID
	for range 300 {
		ids = append(ids, add(t, s, "ann"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := raw(t, path)
	root, _, err := c.query("SELECT rootpage FROM sqlite_schema WHERE name='session'").number()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	c.Conn = nil
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(strings.Repeat("damage", 600)), (root-1)*4096); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	s, err = Open(Config{Path: path})
	if err != nil {
		fixture.Unavailable(t, err, "is damaged")
		return
	}
	defer s.Close()
	_, err = s.Get(t.Context(), ids[0])
	fixture.Unavailable(t, err, "is damaged")
	_, err = s.Create(t.Context(), signIn(s, "bob"))
	fixture.Unavailable(t, err, "is damaged")
	if name, err := s.Marked(t.Context()); name != "" || err != nil {
		t.Errorf("what is whole is not read: %q, %v", name, err)
	}
}

// A damaged row is unavailable too.
func TestDamagedRow(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, Config{Path: path})
	id, other := add(t, s, "ann"), add(t, s, "ann")
	if err := raw(t, path).query("UPDATE session SET record=x'0102' WHERE id=?1").blob(id[:]).run(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), id)
	fixture.Unavailable(t, err, "damaged")
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	fixture.Unavailable(t, err, "damaged")
	fixture.Get(t, s, other)
	fixture.Revoke(t, s, other)
}

// The sqlite3 shell writes beside us, and each waits for the other.
func TestShell(t *testing.T) {
	shell := needs.Program(t, "sqlite3")
	path := made(t)
	s := mustOpen(t, Config{Path: path})
	const each = 200
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range each {
				if _, err := s.Create(t.Context(), signIn(s, "ann")); err != nil {
					t.Errorf("Create: %v", err)
					return
				}
			}
		})
	}
	script := ".timeout 5000\nCREATE TABLE other (x);\n" + strings.Repeat("INSERT INTO other VALUES (1);\n", each)
	cmd := exec.Command(shell, "-bail", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sqlite3: %v: %s", err, out)
	}
	wg.Wait()
	c := raw(t, path)
	for text, want := range map[string]int64{"SELECT count(*) FROM other": each, "SELECT count(*) FROM session": 4*each + 1} {
		if n, _, err := c.query(text).number(); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", text, n, err, want)
		}
	}
	// What the shell changes by hand is seen at once.
	id := add(t, s, "bob")
	script = fmt.Sprintf("UPDATE session SET revoked_at=1, revoked_by='shell', revoked_reason='' WHERE id=x'%x'", id[:])
	if out, err := exec.Command(shell, path, script).CombinedOutput(); err != nil {
		t.Fatalf("sqlite3: %v: %s", err, out)
	}
	if fixture.Get(t, s, id).RevokedBy != "shell" {
		t.Error("the change is not seen")
	}
}

// occupy keeps the writer busy until release is called, so that what is queued
// meanwhile makes one group.
func occupy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, end, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_, err := do(context.Background(), s, func(*tx) (int, error) {
			close(begun)
			<-end
			return 0, nil
		})
		if err != nil {
			t.Error(err)
		}
	}()
	<-begun
	return func() { close(end); <-done }
}

// One op that fails in a way nobody foresaw does not spoil the others of its group.
func TestGroupIsolation(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	release := occupy(t, s)
	failed := errors.New("not foreseen")
	results := make([]error, 12)
	ids := make([]latchkey.ID, len(results))
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			switch i {
			case 3:
				_, results[i] = do(t.Context(), s, func(t *tx) (int, error) {
					_ = t.c.query("UPDATE meta SET value='spoilt' WHERE name='mark'").run()
					return 0, failed
				})
			case 7:
				_, results[i] = do(t.Context(), s, func(*tx) (int, error) { panic("a defect") })
			default:
				c := signIn(s, "ann")
				ids[i] = c.Record.ID
				_, results[i] = s.Create(t.Context(), c)
			}
		})
	}
	fixture.Eventually(t, "the group", func() bool { return len(s.ops) == len(results) })
	release()
	wg.Wait()
	for i, err := range results {
		switch i {
		case 3:
			fixture.Unavailable(t, err, failed.Error())
		case 7:
			fixture.Unavailable(t, err, "a defect")
		default:
			if err != nil {
				t.Errorf("op %d was spoilt: %v", i, err)
				continue
			}
			fixture.Get(t, s, ids[i])
		}
	}
	if name, err := s.Marked(t.Context()); name != "" || err != nil {
		t.Errorf("half of an op was committed: %q, %v", name, err)
	}
}

// A failing commit answers the whole group, and does nothing.
func TestGroupFails(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t), Wait: 100 * time.Millisecond})
	hold := raw(t, s.path)
	if err := hold.script("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ids := make([]latchkey.ID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			c := signIn(s, "ann")
			ids[i] = c.Record.ID
			_, err := s.Create(t.Context(), c)
			if sqlite.ErrCode(err).ToPrimary() != sqlite.ResultBusy {
				t.Errorf("error is %v", err)
			}
		})
	}
	wg.Wait()
	if err := hold.script("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if _, err := s.Get(t.Context(), id); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
			t.Errorf("half done: %v", err)
		}
	}
	add(t, s, "bob")
}
