package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey/store/internal/migration"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// applicationID marks SQLite files as ours: "LKEY".
	applicationID = 0x4c4b4559
	// needed is the lowest schema that a program must know to use a file of the
	// newest one. A migration that old programs can live with leaves it as it is.
	needed = 2
)

// Schema tells what a store's tables are, and how it writes.
type Schema struct {
	// Version is the schema of the file, and Needs the lowest one that a program
	// must know to use it; Known is the one of this program.
	Version, Needs, Known int
	// PageSize is in bytes; JournalMode and Synchronous are SQLite's settings, which
	// are WAL and FULL (2): what was acknowledged survives a loss of power.
	PageSize                 int
	JournalMode, Synchronous string
	// SQLite is the version of the library.
	SQLite string
}

// known is the newest schema of this program.
func known() int { return migration.Known(migrations) }

// fillNew makes the tables in an empty file that nobody else knows yet.
func fillNew(path, mark string) error {
	scripts, err := migration.Steps(migrations)
	if err != nil {
		return err
	}
	c, err := openConn(path, sqlite.OpenReadWrite, defaultWait)
	if err != nil {
		return err
	}
	err = c.script("PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;")
	if err == nil {
		err = apply(c, scripts, 0, mark)
	}
	if err == nil {
		err = c.script("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// fillBlank makes the tables in a file that has nothing in it, as mktemp or touch
// make one, and reports whether it did. It is filled in place rather than replaced
// by one that is complete: of two programs that find it empty, the slower one would
// replace what the other has begun to use. One that is killed meanwhile leaves it
// blank.
func fillBlank(c *conn, path, mark string) (made bool, err error) {
	if blank, err := isBlank(c); err != nil || !blank {
		return false, err
	}
	// Before there is anything to read. What SQLite makes beside the file gets the same mode.
	for _, name := range namesOf(path) {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			if err := os.Chmod(name, 0o600); err != nil {
				return false, refused(path, "is empty, and not for its owner alone, which cannot be changed (%v); change it by chmod 600, or remove it", reason(err))
			}
		}
	}
	scripts, err := migration.Steps(migrations)
	if err != nil {
		return false, err
	}
	// EXTRA makes the end of the transaction durable without a write-ahead log, too.
	if err := c.script("PRAGMA page_size=4096; PRAGMA synchronous=EXTRA; PRAGMA fullfsync=ON;"); err != nil {
		return false, err
	}
	if err := apply(c, scripts, 0, mark); err != nil && !errors.Is(err, errMigrating) { // or another program was quicker
		return false, err
	} else if err != nil {
		return false, nil
	}
	return true, c.script("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
}

// isBlank reports whether a database is one that nobody has put anything in.
func isBlank(c *conn) (bool, error) {
	for _, name := range []string{"application_id", "user_version"} {
		if v, err := c.pragma(name); err != nil || v != "0" {
			return false, err
		}
	}
	n, _, err := c.query("SELECT count(*) FROM sqlite_schema").number()
	return n == 0, err
}

// apply brings a file from one version to the newest, in one transaction.
func apply(c *conn, scripts []string, from int, mark string) error {
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := func() error {
		// Another program may have been quicker.
		if now, err := c.pragma("user_version"); err != nil || now != strconv.Itoa(from) {
			return errors.Join(err, errMigrating)
		}
		for _, script := range scripts[from:] {
			if err := c.script(script); err != nil {
				return err
			}
		}
		if mark != "" {
			if err := c.query("UPDATE meta SET value=?1 WHERE name='mark'").blob([]byte(mark)).run(); err != nil {
				return err
			}
		}
		if err := c.query("INSERT INTO meta (name, value) VALUES ('needs', ?1) ON CONFLICT (name) DO UPDATE SET value=excluded.value").
			int(needed).run(); err != nil {
			return err
		}
		return c.script(fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", applicationID, len(scripts)))
	}()
	if err != nil && !c.AutocommitEnabled() {
		_ = c.script("ROLLBACK")
	}
	return err
}

var errMigrating = errors.New("the schema was changed by another program meanwhile; run `latchkey migrate` again")

const sqlNeeds = `SELECT value FROM meta WHERE name='needs'`

// readSchema tells what a file is. It answers errForeign to one that is not ours.
func readSchema(c *conn) (Schema, error) {
	schema := Schema{Known: known(), SQLite: sqlite.Version}
	var settings [5]string
	for i, name := range []string{"application_id", "user_version", "page_size", "journal_mode", "synchronous"} {
		v, err := c.pragma(name)
		if err != nil {
			return schema, err
		}
		settings[i] = v
	}
	if settings[0] != strconv.Itoa(applicationID) {
		return schema, errForeign
	}
	schema.Version, _ = strconv.Atoi(settings[1])
	schema.PageSize, _ = strconv.Atoi(settings[2])
	schema.JournalMode, schema.Synchronous = settings[3], settings[4]
	needs, _, err := c.query(sqlNeeds).number()
	schema.Needs = int(needs)
	return schema, err
}

var errForeign = errors.New("not a Latchkey store")

// checkSchema refuses files that this program cannot use.
func checkSchema(c *conn, path string) (Schema, error) {
	schema, err := readSchema(c)
	switch {
	case errors.Is(err, errForeign):
		if blank, err := isBlank(c); err == nil && blank {
			return schema, refused(path, "is an empty database, "+notYet)
		}
		return schema, refused(path, "is an SQLite database, but not a Latchkey store; give another path")
	case err != nil:
		return schema, err
	case schema.Version < schema.Known:
		return schema, wrongSchema(path, "has schema %d, which is older than this program's %d; back it up and run `latchkey migrate`", schema.Version, schema.Known)
	case schema.Needs > schema.Known:
		return schema, wrongSchema(path, "has schema %d, which is newer than this program's %d; use a newer latchkey", schema.Version, schema.Known)
	}
	return schema, nil
}

// Schema returns what the store's tables are, and the settings in force on the
// connection that writes.
func (s *Store) Schema() Schema { return s.schema }

// Migrate brings the store at path to this program's schema, or makes it where
// there is none, and returns its version before (0 when it was made) and after.
// Other programs that have it open wait meanwhile, and go on if they know the
// new schema's lowest requirement. A file that is newer is left as it is, and
// refused if this program cannot use it.
func Migrate(ctx context.Context, path string) (from, to int, err error) {
	return migrate(ctx, path, migrations)
}

func migrate(ctx context.Context, path string, files fs.FS) (from, to int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, brokenOff(ctx)
	}
	cfg := Config{Path: path}
	if err := cfg.check(); err != nil {
		return 0, 0, err
	}
	if cfg.Path, err = filepath.Abs(path); err != nil {
		return 0, 0, refused(path, "has no absolute path: %v", err)
	}
	path = cfg.Path
	made, err := ensure(&cfg)
	if err != nil {
		return 0, 0, err
	}
	scripts, err := migration.Steps(files)
	if err != nil {
		return 0, 0, cannotOpen(path, err)
	}
	c, err := openConn(path, sqlite.OpenReadWrite, cfg.Wait)
	if err != nil {
		return 0, 0, cannotOpen(path, err)
	}
	defer func() {
		if cerr := c.Close(); err == nil && cerr != nil {
			err = cannotOpen(path, cerr)
		}
	}()
	c.SetInterrupt(ctx.Done())
	filled, err := fillBlank(c, path, "")
	if err != nil {
		return 0, 0, cannotOpen(path, err)
	}
	made = made || filled
	schema, err := readSchema(c)
	switch {
	case errors.Is(err, errForeign):
		return 0, 0, refused(path, "is an SQLite database, but not a Latchkey store; give another path")
	case err != nil:
		return 0, 0, cannotOpen(path, err)
	case schema.Version >= len(scripts) && schema.Needs > len(scripts):
		return schema.Version, schema.Version, wrongSchema(path, "has schema %d, which is newer than this program's %d; use a newer latchkey", schema.Version, len(scripts))
	case made:
		return 0, schema.Version, nil
	case schema.Version >= len(scripts):
		return schema.Version, schema.Version, nil
	}
	from = schema.Version
	if err := c.script("PRAGMA synchronous=FULL; PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON"); err != nil {
		return from, from, cannotOpen(path, err)
	}
	if err := apply(c, scripts, from, ""); err != nil {
		return from, from, cannotOpen(path, err)
	}
	return from, len(scripts), nil
}
