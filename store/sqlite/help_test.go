package sqlite

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// mustOpen opens a store that is closed when the test ends.
func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// newPath is where a store may be made.
func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "latchkey.db") }

// now is the store's time.
func (s *Store) now() time.Time { return timeOf(s.clock.micros()) }

// made makes a store with one session, closes it, and returns its path.
func made(t testing.TB) string {
	t.Helper()
	path := newPath(t)
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, "ann")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// raw opens another connection to the file of a store, past the store.
func raw(t testing.TB, path string) *conn {
	t.Helper()
	c, err := openConn(path, sqlite.OpenReadWrite, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.Conn != nil {
			_ = c.Close()
		}
	})
	return c
}

// tamper runs statements on the file of a closed store.
func tamper(t testing.TB, path, script string) {
	t.Helper()
	c := raw(t, path)
	if err := c.script(script); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.Conn = nil
}

// intact checks that the file is whole and that every index leads where it should.
func intact(t testing.TB, path string) {
	t.Helper()
	c := raw(t, path)
	defer func() { _ = c.Close(); c.Conn = nil }()
	if v, err := c.pragma("integrity_check"); err != nil || v != "ok" {
		t.Errorf("integrity_check: %q, %v", v, err)
	}
	for what, text := range map[string]string{
		"sessions of a subject that by_subject does not lead to": `SELECT count(*) FROM session WHERE who<>0 AND (id, created) NOT IN
			(SELECT id, created FROM by_subject)`,
		"entries of by_subject that lead nowhere": `SELECT count(*) FROM by_subject WHERE id NOT IN (SELECT id FROM session)`,
		"entries of by_sid that lead nowhere":     `SELECT count(*) FROM by_sid WHERE id NOT IN (SELECT id FROM session)`,
		"sessions without an event":               `SELECT count(*) FROM session WHERE id NOT IN (SELECT session FROM audit WHERE session IS NOT NULL)`,
		"events indexed that are not there":       `SELECT count(*) FROM audit_subject WHERE seq NOT IN (SELECT seq FROM audit)`,
		"gaps in the log":                         `SELECT max(seq)-min(seq)+1-count(*) FROM change`,
	} {
		if n, _, err := c.query(text).number(); err != nil || n != 0 {
			t.Errorf("%d %s (%v)", n, what, err)
		}
	}
}

// catFile reads a file in another process.
func catFile(path string) ([]byte, error) { return exec.Command("cat", path).Output() }

// signIn is a Create for a subject at the store's time.
func signIn(s *Store, subject string) latchkey.Create { return fixture.SignIn(s.now(), subject) }

// add signs a subject in.
func add(t testing.TB, s *Store, subject string) latchkey.ID {
	t.Helper()
	return fixture.Add(t, s, signIn(s, subject))
}
