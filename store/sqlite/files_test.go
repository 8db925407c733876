package sqlite

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// move renames the files of a store that are there.
func move(t *testing.T, from, to string, suffixes ...string) {
	t.Helper()
	for _, suffix := range suffixes {
		if err := os.Rename(from+suffix, to+suffix); err != nil {
			t.Fatal(err)
		}
	}
}

// silent checks that a store answers nothing, and why.
func silent(t *testing.T, s *Store, id latchkey.ID, say string) {
	t.Helper()
	_, err := s.Create(t.Context(), signIn(s, "bob")) // looks at once
	fixture.Unavailable(t, err, say)
	_, err = s.Get(t.Context(), id)
	fixture.Unavailable(t, err, say)
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	fixture.Unavailable(t, err, say)
	_, err = s.List(t.Context(), latchkey.ListQuery{})
	fixture.Unavailable(t, err, say)
	_, err = s.Count(t.Context())
	fixture.Unavailable(t, err, say)
	_, err = s.PlacementKey(t.Context())
	fixture.Unavailable(t, err, say)
	fixture.Unavailable(t, s.Follow(t.Context(), time.Hour, func(latchkey.Batch) { t.Error("delivered") }), say)
}

// revokeElsewhere has another process revoke a session, and waits until it has ended.
func revokeElsewhere(t *testing.T, path string, id latchkey.ID) {
	t.Helper()
	c := startChild(t, "revoke", path)
	if _, err := io.WriteString(c.in, id.String()+"\n"); err != nil {
		t.Fatal(err)
	}
	if what, got, ok := c.line(t); !ok || what != "r" || got != id {
		t.Fatalf("child: %q %v %v", what, got, ok)
	}
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("child: %v", err)
	}
}

// A file that goes away and comes back is used again, without a restart.
func TestFileComesBack(t *testing.T) {
	all := []string{"", "-wal", "-shm"}
	for name, c := range map[string]struct{ away, back []string }{
		"database-alone":     {all[:1], all[:1]},
		"all":                {all, all},
		"database-last-back": {all, []string{"-wal", "-shm", ""}},
		"log-away-first":     {[]string{"-shm", "-wal", ""}, all},
	} {
		t.Run(name, func(t *testing.T) {
			path := made(t)
			s := mustOpen(t, Config{Path: path})
			id := add(t, s, "ann")
			w := fixture.Follow(t, s, 10*time.Millisecond)
			elsewhere := filepath.Join(t.TempDir(), "q.db")
			move(t, path, elsewhere, c.away...)
			gone := s.clock.Now()
			silent(t, s, id, "not in its place")
			moved := len(c.away) == len(all)
			if moved { // another process may use it there
				revokeElsewhere(t, elsewhere, id)
			}
			if w.Proof().Mono > gone.Mono {
				t.Error("the feed proved itself alive while the file was away")
			}
			for _, suffix := range c.back {
				if moved {
					_, err := s.Get(t.Context(), id)
					fixture.Unavailable(t, err, "")
				}
				move(t, elsewhere, path, suffix)
			}
			if fixture.Get(t, s, id).RevokedAt.IsZero() == moved {
				t.Error("what another process did meanwhile is not seen")
			}
			next := add(t, s, "bob")
			fixture.Eventually(t, "a reset", func() bool { return w.Resets() == 2 })
			revokeElsewhere(t, path, next)
			if fixture.Get(t, s, next).RevokedAt.IsZero() {
				t.Error("an acknowledged revocation of another process is not seen")
			}
			back := s.clock.Now()
			w.ProvenSince(t, back)
			if !w.Saw(next) {
				t.Error("the feed proved itself alive without having told of it")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			intact(t, path)
		})
	}
}

// The same by way of a folder, and of a link.
func TestFolderComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(filepath.Join(dir, "latchkey.db"), link); err != nil {
		t.Skipf("needs symbolic links: %v", err)
	}
	if _, err := create(filepath.Join(dir, "latchkey.db"), ""); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Config{Path: link})
	id := add(t, s, "ann")
	move(t, dir, dir+"-away", "")
	silent(t, s, id, "not in its place")
	move(t, dir+"-away", dir, "")
	fixture.Get(t, s, id)
	add(t, s, "bob")
	if err := os.Remove(filepath.Join(dir, "latchkey.db-wal")); err != nil {
		t.Fatal(err) // beside the file itself
	}
	silent(t, s, id, "the log of the database was removed")
}

// A file that is replaced must not be written to, nor the old one believed, not
// even when that comes back: somebody may have used the log with the new one.
func TestReplacedFile(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, Config{Path: path})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	move(t, path, path+".old", "")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	silent(t, s, id, "was replaced while the store was open; restart the program")
	fixture.Unavailable(t, w.Ended(), "was replaced")
	move(t, path+".old", path, "")
	silent(t, s, id, "restart the program")
}

// Without its log a store would go on where no other process finds what it does,
// and see nothing of what they do.
func TestLogRemoved(t *testing.T) {
	for name, gone := range map[string][]string{"log": {"-wal"}, "index": {"-shm"}, "both": {"-wal", "-shm"}} {
		t.Run(name, func(t *testing.T) {
			path := made(t)
			s := mustOpen(t, Config{Path: path})
			id := add(t, s, "ann")
			w := fixture.Follow(t, s, 20*time.Millisecond)
			for _, suffix := range gone {
				if err := os.Remove(path + suffix); err != nil {
					t.Fatal(err)
				}
			}
			removed := s.clock.Now()
			silent(t, s, id, "the log of the database was removed while the store was open")
			fixture.Unavailable(t, w.Ended(), "the log of the database was removed")
			if w.Proof().Mono > removed.Mono {
				t.Error("the feed proved itself alive without the log")
			}
			if _, err := s.openReader(&Config{Path: path}, 2, 0); !errors.Is(err, errLogGone) {
				t.Errorf("a connection was opened to another log: %v", err)
			}
			// Nobody else has been there: what was acknowledged is saved by closing.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := mustOpen(t, Config{Path: path})
			fixture.Get(t, again, id)
			intact(t, path)
		})
	}
}

// What another process acknowledges after it has begun a new log must not be
// missed, nor destroyed when the store is closed.
func TestLogReplaced(t *testing.T) {
	path := made(t)
	first := mustOpen(t, Config{Path: path})
	id := add(t, first, "ann")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, Config{Path: path})
	w := fixture.Follow(t, s, 20*time.Millisecond)
	lost := add(t, s, "bob") // in the log that is removed
	fixture.Get(t, s, id)
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	revokeElsewhere(t, path, id)
	acknowledged := time.Now()
	fixture.Eventually(t, "reads to notice", func() bool {
		begun := time.Now()
		rec, err := s.Get(t.Context(), id)
		if err == nil && rec.RevokedAt.IsZero() && begun.Sub(acknowledged) > lookEvery {
			t.Fatal("an acknowledged revocation is not honoured")
		}
		return err != nil
	})
	silent(t, s, id, "the log of the database was removed while the store was open")
	w.Ended()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if absent(path + "-wal") {
		t.Error("closing has removed the other's log")
	}
	again := mustOpen(t, Config{Path: path})
	if fixture.Get(t, again, id).RevokedAt.IsZero() {
		t.Error("closing has destroyed an acknowledged revocation")
	}
	if _, err := again.Get(t.Context(), lost); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
		t.Errorf("a session of the removed log: %v", err)
	}
	intact(t, path)
}

// Reads notice by themselves when nobody writes or follows.
func TestReadsNotice(t *testing.T) {
	path := made(t)
	s := mustOpen(t, Config{Path: path, ReadOnly: true, Readers: 1}) // one, that to open another is no look
	id := latchkey.ID{}
	if _, err := s.Get(t.Context(), id); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
		t.Fatal(err)
	}
	if err := os.Remove(path + "-shm"); err != nil {
		t.Fatal(err)
	}
	removed := time.Now()
	fixture.Eventually(t, "reads to notice", func() bool {
		begun := time.Now()
		_, err := s.Get(t.Context(), id)
		if latchkey.CodeOf(err) == latchkey.CodeNoSuchSession && begun.Sub(removed) > lookEvery {
			t.Fatal("answered without a look")
		}
		return latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable
	})
}

// A commit that went into a log which was removed before it ended is not confirmed.
func TestLogRemovedMeanwhile(t *testing.T) {
	s := mustOpen(t, Config{Path: newPath(t)})
	_, err := do(t.Context(), s, func(t *tx) (int, error) { return 0, os.Remove(s.path + "-wal") })
	fixture.Unavailable(t, err, errCommit.Error())
	fixture.Unavailable(t, err, errLogGone.Error())
}

// An empty file, and a database with nothing in it, are made a store in place.
func TestEmptyFile(t *testing.T) {
	for name, c := range map[string]struct {
		mode    os.FileMode
		prepare func(t *testing.T, path string)
	}{
		"as-mktemp-makes":  {0o600, nil},
		"as-touch-makes":   {0o644, nil},
		"blank-database":   {0o600, func(t *testing.T, path string) { tamper(t, path, "VACUUM;") }},
		"blank-with-log":   {0o644, func(t *testing.T, path string) { tamper(t, path, "PRAGMA journal_mode=WAL;") }},
		"made-by-one-gone": {0o600, abandon},
	} {
		t.Run(name, func(t *testing.T) {
			path := written(t, "")
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if c.prepare != nil {
				c.prepare(t, path)
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, cfg := range []Config{{Path: path, MustExist: true}, {Path: path, ReadOnly: true}} {
				_, err := Open(cfg)
				fixture.Unavailable(t, err, "so it is no Latchkey store yet")
			}
			s := mustOpen(t, Config{Path: path, Mark: "demo"})
			after, err := os.Stat(path)
			if err != nil || after.Mode().Perm() != 0o600 || !os.SameFile(before, after) {
				t.Errorf("mode %v, %v; want the same file with 0600", after.Mode(), err)
			}
			for _, suffix := range []string{"-wal", "-shm"} {
				if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v; want 0600", suffix, info, err)
				}
			}
			if schema := s.Schema(); schema.Version != known() || schema.JournalMode != "wal" || schema.Synchronous != "2" || schema.PageSize != 4096 {
				t.Errorf("schema is %+v", schema)
			}
			if name, err := s.Marked(t.Context()); name != "demo" || err != nil {
				t.Errorf("marked %q, %v", name, err)
			}
			id := add(t, s, "ann")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fixture.Get(t, mustOpen(t, Config{Path: path, MustExist: true}), id)
			intact(t, path)
		})
	}
}

// abandon has a process killed in the middle of making a store.
func abandon(t *testing.T, path string) {
	t.Helper()
	c := startChild(t, "abandon", path)
	if what, _, ok := c.line(t); !ok || what != "held" {
		t.Fatalf("child: %q", what)
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Fatalf("%v, %v: nothing was written", info.Size(), err)
	}
}

func TestMigrateEmptyFile(t *testing.T) {
	path := written(t, "")
	if from, to, err := Migrate(t.Context(), path); from != 0 || to != known() || err != nil {
		t.Fatalf("%d to %d, %v; want 0 to %d", from, to, err, known())
	}
	add(t, mustOpen(t, Config{Path: path, MustExist: true}), "ann")
}

// Many that find the same empty file at once end up with one store.
func TestEmptyFileRace(t *testing.T) {
	for range 5 {
		path := written(t, "")
		keys := make(map[string]bool)
		var children []*child
		for range 4 {
			children = append(children, startChild(t, "make", path))
		}
		for _, c := range children {
			what, key, ok := c.line(t)
			if !ok || what != "k" {
				t.Fatalf("child: %q", what)
			}
			keys[key.String()] = true
			if err := c.cmd.Wait(); err != nil {
				t.Errorf("child: %v", err)
			}
		}
		if len(keys) != 1 {
			t.Errorf("%d placement keys for one store", len(keys))
		}
	}
}

// The word on what to do is in each of the causes.
func TestTroublesSayWhatToDo(t *testing.T) {
	for _, err := range []error{errAway, errReplaced, errLogGone, errLogReplaced} {
		if !strings.Contains(err.Error(), "restart the program") {
			t.Errorf("%q does not say what to do", err)
		}
	}
}
