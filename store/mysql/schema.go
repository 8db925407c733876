package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/migration"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

//go:embed migrations/*.sql
var migrations embed.FS

// needed is the lowest schema that a program must know to use tables of the
// newest one. A migration that old programs can live with leaves it as it is.
const needed = 1

// Schema tells what a store's tables are, and what its server does.
type Schema struct {
	// Version is the schema of the tables, and Needs the lowest one that a program
	// must know to use it; Known is the one of this program.
	Version, Needs, Known int
	// Server is the server's version.
	Server string
	// FlushLog is innodb_flush_log_at_trx_commit; at 1 what was acknowledged
	// survives a loss of power, as far as the disk keeps what it confirmed.
	FlushLog int
	// Binlog says that the server keeps a binary log, of which SyncBinlog commits
	// are written to disk together; 0 leaves that to the system.
	Binlog     bool
	SyncBinlog int
}

// known is the newest schema of this program.
func known() int { return migration.Known(migrations) }

// What a database may hold.
type content int

const (
	blank    content = iota // nothing of ours
	begun                   // tables whose making was broken off
	complete                // a store
)

// readSchema tells what the database holds. Names of ours that are another
// program's are an error.
func readSchema(ctx context.Context, c *sql.Conn, to *target) (what content, version, needs int, err error) {
	var ours, meta int
	err = c.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(table_name='latchkey_meta'),0) FROM information_schema.tables
		WHERE table_schema=DATABASE() AND table_name IN ('latchkey_meta','latchkey_session','latchkey_counter','latchkey_raise','latchkey_lock',
			'latchkey_mark','latchkey_audit','latchkey_change','latchkey_changed','latchkey_spent')`).Scan(&ours, &meta)
	switch {
	case err != nil:
		return blank, 0, 0, err
	case ours == 0:
		return blank, 0, 0, nil
	case meta == 0:
		return blank, 0, 0, to.refused("the database has tables named latchkey_… that are no Latchkey store; give another database")
	}
	rows, err := c.QueryContext(ctx, `SELECT name, value FROM latchkey_meta WHERE name IN ('schema','needs')`)
	if err != nil {
		if code(err) == codeNoColumn {
			err = to.refused("the table latchkey_meta is another program's; give another database")
		}
		return blank, 0, 0, err
	}
	defer rows.Close()
	values := make(map[string]int)
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return blank, 0, 0, err
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return blank, 0, 0, fmt.Errorf("%w: %s is no number", errDamaged, name)
		}
		values[name] = n
	}
	if err := rows.Err(); err != nil {
		return blank, 0, 0, err
	}
	if _, ok := values["schema"]; !ok {
		return begun, 0, 0, nil
	}
	return complete, values["schema"], values["needs"], nil
}

// checkSchema refuses tables that this program cannot use.
func (to *target) checkSchema(version, needs int) error {
	switch {
	case version < known():
		return to.wrongSchema("has schema %d, which is older than this program's %d; back it up and run `latchkey migrate`", version, known())
	case needs > known():
		return to.wrongSchema("has schema %d, which is newer than this program's %d; use a newer latchkey", version, known())
	}
	return nil
}

// migrating is how long to wait for another program that changes the tables.
const migrating = time.Minute

// apply brings the tables to the newest version, under a lock that keeps others
// from doing so meanwhile. A step that was broken off is begun anew by whoever
// comes next; the version is written when all are done.
func apply(ctx context.Context, c *sql.Conn, to *target, files fs.FS, mark string) (from, version int, err error) {
	scripts, err := migration.Steps(files)
	if err != nil {
		return 0, 0, err
	}
	lock := fmt.Sprintf("latchkey.%x", pack.MarkKey('m', "", to.driver.DBName)) // names are 64 characters at most
	var got sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT GET_LOCK('"+lock+"',?)", int(migrating.Seconds())).Scan(&got); err != nil {
		return 0, 0, err
	}
	if got.Int64 != 1 {
		return 0, 0, to.refused("another program is changing the tables; try again when it has finished")
	}
	defer func() {
		_, _ = c.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK('"+lock+"')") // goes with the connection, too
	}()
	what, from, needs, err := readSchema(ctx, c, to)
	switch {
	case err != nil:
		return 0, 0, err
	case what == complete && from >= len(scripts):
		if needs > len(scripts) {
			return from, from, to.checkSchema(from, needs)
		}
		return from, from, nil
	}
	for _, text := range scripts[from:] {
		for _, statement := range statements(text) {
			if _, err := c.ExecContext(ctx, statement); err != nil {
				return from, from, err
			}
		}
	}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return from, from, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	var q script
	q.add("START TRANSACTION")
	if what != complete {
		q.add("INSERT IGNORE INTO latchkey_meta (name, value) VALUES ('placement key',?), ('mark',?)", raw(key[:]), raw(mark))
	}
	q.add("REPLACE INTO latchkey_meta (name, value) VALUES ('needs',?), ('schema',?)", raw(strconv.Itoa(needed)), raw(strconv.Itoa(len(scripts))))
	q.add("COMMIT")
	if _, err := c.ExecContext(ctx, q.text()); err != nil {
		_, _ = c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return from, from, errors.Join(err, q.err)
	}
	return from, len(scripts), nil
}

// statements are those of a script; each ends with a semicolon at the end of a line.
func statements(text string) (list []string) {
	for _, one := range strings.Split(text+"\n", ";\n") {
		if strings.TrimSpace(one) != "" {
			list = append(list, one)
		}
	}
	return list
}

// Schema returns what the store's tables are, and the settings of its server, as
// they were when the store was opened.
func (s *Store) Schema() Schema { return s.schema }

// Warnings are settings of the server that work and yet may not be meant, a line
// each, as they were when the store was opened.
func (s *Store) Warnings() []string { return slices.Clone(s.warnings) }

// Migrate brings the store that cfg names to this program's schema, or makes it
// in a database without one, and returns its version before (0 when it was made)
// and after. Other programs may use it meanwhile, as far as the server lets them
// while it changes a table; they go on if they know the new schema's lowest
// requirement. A store that is newer is left as it is, and refused if this program
// cannot use it.
func Migrate(ctx context.Context, cfg Config) (from, to int, err error) {
	return migrate(ctx, cfg, migrations)
}

func migrate(ctx context.Context, cfg Config, files fs.FS) (from, version int, err error) {
	to, err := cfg.check()
	if err != nil {
		return 0, 0, err
	}
	err = to.alone(ctx, &cfg, func(c *sql.Conn) error {
		from, version, err = apply(ctx, c, to, files, cfg.Mark)
		return err
	})
	return from, version, err
}

// alone runs f on a connection that is closed afterwards.
func (to *target) alone(ctx context.Context, cfg *Config, f func(c *sql.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return brokenOff(ctx)
	}
	db, err := to.open(cfg, 1, false)
	if err != nil {
		return to.cannotOpen(err)
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err == nil {
		defer c.Close()
		err = f(c)
	}
	if err != nil {
		return to.cannotOpen(err)
	}
	return nil
}

// brokenOff is the answer to a call whose context has ended.
func brokenOff(ctx context.Context) error { return unavailable(context.Cause(ctx)) }
