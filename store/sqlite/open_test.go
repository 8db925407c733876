package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/internal/migration"
)

func TestOpenMakes(t *testing.T) {
	path := newPath(t)
	if _, err := Open(Config{Path: path, MustExist: true}); err == nil {
		t.Fatal("made a store although it must exist")
	} else {
		fixture.Unavailable(t, err, "does not exist")
	}
	s := mustOpen(t, Config{Path: path, Mark: "demo"})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
	if name, err := s.Marked(t.Context()); name != "demo" || err != nil {
		t.Errorf("marked %q, %v", name, err)
	}
	schema := s.Schema()
	if schema.Version != known() || schema.Known != known() || schema.Needs != needed || schema.JournalMode != "wal" || schema.PageSize != 4096 || schema.Synchronous != "2" {
		t.Errorf("schema is %+v", schema)
	}
	key, err := s.PlacementKey(t.Context())
	if err != nil || key == [32]byte{} {
		t.Errorf("placement key %x, %v", key, err)
	}
	if err := s.Mark(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, Config{Path: path, Mark: "demo"})
	if name, err := again.Marked(t.Context()); name != "" || err != nil {
		t.Errorf("opening marked a store that was there: %q, %v", name, err)
	}
	if same, err := again.PlacementKey(t.Context()); err != nil || same != key {
		t.Errorf("placement key changed, %v", err)
	}
	if files, _ := filepath.Glob(path + ".new-*"); len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

// Many that start at once end up with one store.
func TestOpenRace(t *testing.T) {
	path := newPath(t)
	stores := make([]*Store, 8)
	keys := make([][32]byte, len(stores))
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			s, err := Open(Config{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
			keys[i], err = s.PlacementKey(context.Background())
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, s := range stores {
		if s == nil {
			continue
		}
		if keys[i] != keys[0] {
			t.Error("two placement keys for one store")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	_, err := Open(Config{Wait: -1, Readers: -1, ReadCache: -1, WriteCache: -1})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
		t.Fatalf("error is %v", err)
	}
	for _, field := range []string{"Path", "Wait", "Readers", "ReadCache", "WriteCache"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
}

// Whatever a path may lead to, the error is one line that names it and says what to do.
func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		say  string
		path func(t *testing.T) string
	}{
		{"directory", "is a directory", func(t *testing.T) string { return t.TempDir() }},
		{"missing-directory", "make it first", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none", "latchkey.db") }},
		{"below-a-file", "not a directory", func(t *testing.T) string { return filepath.Join(written(t, "x"), "latchkey.db") }},
		{"empty-with-log", "restore the database beside it", func(t *testing.T) string {
			path := written(t, "")
			if err := os.WriteFile(path+"-wal", []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		{"text", "not an SQLite database", func(t *testing.T) string { return written(t, strings.Repeat("sessions\n", 1000)) }},
		{"short-text", "not an SQLite database", func(t *testing.T) string { return written(t, "hello") }},
		{"another-program", "not a Latchkey store", func(t *testing.T) string {
			path := written(t, "")
			tamper(t, path, "CREATE TABLE session (id); PRAGMA user_version=1;")
			return path
		}},
		{"log-without-database", "restore the database beside it", func(t *testing.T) string {
			path := newPath(t)
			if err := os.WriteFile(path+"-wal", []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		{"truncated", "is damaged", func(t *testing.T) string {
			path := made(t)
			if err := os.Truncate(path, 3*4096); err != nil {
				t.Fatal(err)
			}
			return path
		}},
		{"older", "run `latchkey migrate`", func(t *testing.T) string {
			path := made(t)
			tamper(t, path, "PRAGMA user_version=0;")
			return path
		}},
		{"newer", "schema 99, which is newer than this program's 2", func(t *testing.T) string {
			path := made(t)
			tamper(t, path, "PRAGMA user_version=99; UPDATE meta SET value=98 WHERE name='needs';")
			return path
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path(t)
			s, err := Open(Config{Path: path})
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			fixture.Unavailable(t, err, c.say)
			if older := strings.Contains(c.say, "migrate") || strings.Contains(c.say, "newer"); errors.Is(err, ErrSchema) != older {
				t.Errorf("%q is an error of the schema: %v", err, !older)
			}
			if text := err.Error(); !strings.Contains(text, path) || strings.Contains(text, "\n") {
				t.Errorf("%q is not one line that names the file", text)
			}
		})
	}
}

func written(t *testing.T, text string) string {
	t.Helper()
	path := newPath(t)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A newer file that old programs can live with is used.
func TestOpenNewerCompatible(t *testing.T) {
	path := made(t)
	tamper(t, path, "PRAGMA user_version=99; ALTER TABLE session ADD COLUMN later INTEGER;")
	s := mustOpen(t, Config{Path: path})
	id := add(t, s, "ann")
	if fixture.Get(t, s, id).Subject != "ann" {
		t.Error("not read back")
	}
	if v := s.Schema().Version; v != 99 {
		t.Errorf("schema %d, want 99", v)
	}
}

// A file that is migrated beyond this program while it has it open is given up.
func TestMigratedUnderneath(t *testing.T) {
	path := made(t)
	s := mustOpen(t, Config{Path: path})
	id := add(t, s, "ann")
	c := raw(t, path)
	if err := c.script("UPDATE meta SET value=99 WHERE name='needs'; PRAGMA user_version=99;"); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, "the store to be given up", func() bool {
		_, err := s.Get(t.Context(), id)
		return err != nil
	})
	_, err := s.Get(t.Context(), id)
	fixture.Unavailable(t, err, "use a newer latchkey")
	_, err = s.Create(t.Context(), signIn(s, "bob"))
	fixture.Unavailable(t, err, "use a newer latchkey")
}

func TestMigrate(t *testing.T) {
	path := newPath(t)
	if from, to, err := Migrate(t.Context(), path); from != 0 || to != known() || err != nil {
		t.Fatalf("made: %d to %d, %v", from, to, err)
	}
	if from, to, err := Migrate(t.Context(), path); from != known() || to != known() || err != nil {
		t.Errorf("nothing to do: %d to %d, %v", from, to, err)
	}
	first, err := migration.Steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	later := fstest.MapFS{}
	for i, text := range first {
		later[fmt.Sprintf("migrations/%04d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	next := fmt.Sprintf("migrations/%04d_next.sql", len(first)+1)

	// A migration that fails changes nothing.
	later[next] = &fstest.MapFile{Data: []byte("CREATE TABLE later (x); INSERT INTO nowhere VALUES (1);")}
	if from, to, err := migrate(t.Context(), path, later); err == nil || from != to {
		t.Errorf("failing: %d to %d, %v", from, to, err)
	}
	later[next] = &fstest.MapFile{Data: []byte("CREATE TABLE later (x);")}
	if from, to, err := migrate(t.Context(), path, later); from != known() || to != known()+1 || err != nil {
		t.Errorf("next: %d to %d, %v", from, to, err)
	}
	newer := made(t)
	tamper(t, newer, "PRAGMA user_version=99; UPDATE meta SET value=98 WHERE name='needs';")
	if _, _, err := Migrate(t.Context(), newer); !errors.Is(err, ErrSchema) {
		t.Errorf("a newer store: %v, want an error of the schema", err)
	}
	if _, _, err := Migrate(t.Context(), written(t, "hello")); err == nil {
		t.Error("migrated a text")
	} else {
		fixture.Unavailable(t, err, "not an SQLite database")
	}
	s := mustOpen(t, Config{Path: path})
	add(t, s, "ann") // this program can still use it
}

// The scripts in the binary are in order, and numbered without gaps.
func TestSteps(t *testing.T) {
	if known() < 1 {
		t.Fatal("no migrations")
	}
	if _, err := migration.Steps(fstest.MapFS{"migrations/0002_x.sql": {}}); err == nil {
		t.Error("a gap was accepted")
	}
}

func TestReadOnly(t *testing.T) {
	path := made(t)
	alone := mustOpen(t, Config{Path: path, ReadOnly: true}) // nobody keeps a log for it
	if page, err := alone.List(t.Context(), latchkey.ListQuery{}); err != nil || len(page.Records) != 1 {
		t.Errorf("listed %d, %v", len(page.Records), err)
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	w := mustOpen(t, Config{Path: path})
	id := add(t, w, "bob")
	s := mustOpen(t, Config{Path: path, ReadOnly: true})
	if fixture.Get(t, s, id).Subject != "bob" {
		t.Error("not read")
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{})
	if err != nil || len(page.Records) != 2 {
		t.Errorf("listed %d, %v", len(page.Records), err)
	}
	_, err = s.Create(t.Context(), signIn(s, "cid"))
	fixture.Unavailable(t, err, "for reading only")
	seen := fixture.Follow(t, s, 20e6)
	fixture.Revoke(t, w, id)
	fixture.Eventually(t, "the other's revocation", func() bool { return seen.Saw(id) })
}
