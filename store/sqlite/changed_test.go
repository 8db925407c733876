package sqlite

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/internal/migration"
)

// rows counts the rows of a table, past the store.
func rows(t *testing.T, path, table string) int64 {
	t.Helper()
	n, _, err := raw(t, path).query("SELECT count(*) FROM " + table).number()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// changed lists what is changed, as a node that starts now reads it.
func changed(t *testing.T, s *Store) []latchkey.ID {
	t.Helper()
	page, err := s.Changed(t.Context(), latchkey.ID{}, 0)
	if err != nil {
		t.Fatalf("Changed: %v", err)
	}
	return page.IDs
}

// An entry that has passed stays in the file for a day, for processes whose clock
// is behind; then retention removes it.
func TestChangedIsPruned(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	path := newPath(t)
	s := mustOpen(t, Config{Path: path, Clock: clock})
	behind := mustOpen(t, Config{Path: path, Clock: latchkeytest.NewClock(clock.Time().Add(-20 * time.Hour))})
	for range 7 {
		c := signIn(s, "ann")
		c.Record.Stateless = true
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		fixture.Revoke(t, s, c.Record.ID)
	}
	purge := func(want int64) {
		t.Helper()
		if _, err := s.Purge(t.Context(), latchkey.Purge{EndedBefore: s.now(), Batch: 2}); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, path, "changed"); n != want {
			t.Errorf("%d entries are kept, want %d", n, want)
		}
	}
	clock.Advance(23 * time.Hour)
	purge(7)
	if rows(t, path, "session") != 0 || len(changed(t, s)) != 7 {
		t.Error("the rows are to go, and what is listed to stay")
	}
	clock.Advance(2 * time.Hour)
	purge(7)
	if len(changed(t, s)) != 0 || len(changed(t, behind)) != 7 {
		t.Errorf("listed are %d and, by the clock that is behind, %d; want 0 and 7", len(changed(t, s)), len(changed(t, behind)))
	}
	clock.Advance(22 * time.Hour)
	purge(7)
	clock.Advance(time.Hour + time.Second)
	purge(0)
}

// What may be used again goes from the file.
func TestSpentIsPruned(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	path := newPath(t)
	s := mustOpen(t, Config{Path: path, Clock: clock})
	spend := func() {
		t.Helper()
		for i := range 3 {
			if err := s.Spend(t.Context(), [32]byte{byte(i)}, s.now().Add(time.Duration(i+1)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, prune := range map[string]func() error{
		"purge": func() error { _, err := s.Purge(t.Context(), latchkey.Purge{EndedBefore: s.now()}); return err },
		"tick": func() error {
			_, err := do(t.Context(), s, func(t *tx) (int, error) { return 0, t.pruneAll() })
			return err
		},
	} {
		spend()
		clock.Advance(2*time.Minute + time.Second)
		if err := prune(); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, path, "spent"); n != 1 {
			t.Errorf("%s: %d keys are kept, want 1", name, n)
		}
		clock.Advance(time.Minute)
	}
}

// A file of the first schema is refused until it is migrated, and keeps what it has.
func TestMigrateFirstSchema(t *testing.T) {
	scripts, err := migration.Steps(migrations)
	if err != nil {
		t.Fatal(err)
	}
	path := made(t)
	tamper(t, path, "DROP TABLE changed; DROP TABLE spent; UPDATE meta SET value=1 WHERE name='needs'; PRAGMA user_version=1;")
	if s, err := Open(Config{Path: path}); err == nil {
		_ = s.Close()
		t.Fatal("opened a file of an older schema")
	} else if !errors.Is(err, ErrSchema) {
		t.Fatalf("refused with %v", err)
	}
	if from, to, err := Migrate(t.Context(), path); from != 1 || to != len(scripts) || err != nil {
		t.Fatalf("migrated from %d to %d, %v", from, to, err)
	}
	s := mustOpen(t, Config{Path: path})
	if got := s.Schema(); got.Needs < 2 {
		t.Errorf("programs that know schema %d may use the file, but keep no list of changes", got.Needs)
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{Provider: "idp", Subject: "ann"})
	if err != nil || len(page.Records) != 1 {
		t.Fatalf("listed %v, %v", page, err)
	}
	fixture.Revoke(t, s, page.Records[0].ID)
	if got := changed(t, s); len(got) != 0 {
		t.Errorf("a session of before is listed: %v", got)
	}
	// The tables are those of a new file.
	if migrated, fresh := tables(t, path), tables(t, made(t)); migrated != fresh {
		t.Errorf("tables are\n%s\nwant\n%s", migrated, fresh)
	}
}

// tables is the schema of a file as SQLite keeps it.
func tables(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	q := raw(t, path).query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
	for {
		ok, err := q.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all.String()
		}
		all.WriteString(q.s.ColumnText(0) + "\n")
	}
}

// A sign-in that changes no stateless session writes nothing to the list.
func TestCreateWritesNoChange(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, Config{Path: path})
	c := raw(t, path)
	if err := c.script("CREATE TRIGGER no_change BEFORE INSERT ON changed BEGIN SELECT raise(ABORT, 'written'); END;"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d := signIn(s, "ann")
		d.Record.Stateless, d.Limit = true, 10
		if _, err := s.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	stored := add(t, s, "bob")
	fixture.Revoke(t, s, stored)
	// The trigger does what it is for, and a change that cannot be listed is not made.
	d := signIn(s, "carl")
	d.Record.Stateless = true
	if _, err := s.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	_, err := s.Revoke(t.Context(), fixture.Revocation(d.Record.ID))
	fixture.Unavailable(t, err, "written")
	if !fixture.Get(t, s, d.Record.ID).RevokedAt.IsZero() {
		t.Error("a change that could not be listed was made")
	}
}
