package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/migration"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// needed is the lowest schema that a program must know to use a store of the
	// newest one. A migration that old programs can live with leaves it as it is.
	needed = 1
	// oldestServer is the first version with all that the statements use.
	oldestServer = 140000
	// migrationLock is the key of the lock that whoever changes the schema holds: "LKEY".
	migrationLock = 0x4c4b4559
)

// Schema tells what a store's tables are, and how the server writes.
type Schema struct {
	// Version is the schema of the store, and Needs the lowest one that a program
	// must know to use it; Known is the one of this program.
	Version, Needs, Known int
	// Server is the server's version. Fsync and FullPageWrites are its settings of
	// those names: what was acknowledged survives a loss of power only if both are
	// on. The store sees to synchronous_commit itself.
	Server                string
	Fsync, FullPageWrites bool
	// Pooler says that statements are not prepared, for the sake of a pooler.
	Pooler bool
	// Listens says that followers are woken by notifications; otherwise they poll.
	Listens bool
}

// known is the newest schema of this program.
func known() int { return migration.Known(migrations) }

// survey is what a first look at a server tells.
type survey struct {
	Schema
	number   int    // of the server's version
	encoding string // of the database
	pooled   bool   // somebody stands between us and the server
	tables   int64  // in the store's schema, whoever made them
	ours     bool
}

const textSurvey = `SELECT current_setting('server_version_num')::bigint, split_part(current_setting('server_version'), ' ', 1),
current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean, current_setting('server_encoding'), pg_backend_pid()::bigint,
(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1),
(SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = 'meta' AND a.attname IN ('name', 'value') AND a.atttypid = 'text'::regtype)`

const textMetaTable = `SELECT name, value FROM latchkey.meta WHERE name IN ('application', 'version', 'needs')`

// look finds out what there is. It prepares nothing, and so passes any pooler.
func look(ctx context.Context, conn *pgconn.PgConn, schema string) (sv survey, err error) {
	sv.Known = known()
	p := newParams(1).text(schema)
	result := conn.ExecParams(ctx, textSurvey, p.values, p.oids, binaryFormat, binaryFormat).Read()
	if result.Err != nil {
		return sv, result.Err
	}
	if len(result.Rows) != 1 {
		return sv, errWire
	}
	c := columns{row: result.Rows[0]}
	sv.number, sv.Server = int(c.int()), c.text()
	sv.Fsync, sv.FullPageWrites, sv.encoding = c.bool(), c.bool(), c.text()
	sv.pooled = c.int() != int64(conn.PID())
	sv.tables = c.int()
	meta := c.int() == 2
	if err := c.done(); err != nil || !meta {
		return sv, err
	}
	result = conn.ExecParams(ctx, inSchema(textMetaTable, schema), nil, nil, nil, binaryFormat).Read()
	if result.Err != nil {
		return sv, result.Err
	}
	for _, row := range result.Rows {
		c := columns{row: row}
		name, value := c.text(), c.text()
		switch name {
		case "application":
			sv.ours = value == "latchkey"
		case "version":
			sv.Version, _ = strconv.Atoi(value)
		case "needs":
			sv.Needs, _ = strconv.Atoi(value)
		}
	}
	return sv, nil
}

// foreign refuses servers that are too old, and schemas that are somebody else's.
func (sv *survey) foreign(t *target) error {
	switch {
	case sv.number < oldestServer:
		return refused(t.where, "is PostgreSQL %s; version %d or later is needed", sv.Server, oldestServer/10000)
	case sv.encoding != "UTF8":
		return refused(t.where, "is a database in the encoding %s; create one with ENCODING 'UTF8' TEMPLATE template0", sv.encoding)
	case sv.tables > 0 && !sv.ours:
		return refused(t.where, "has a schema %q with tables that are not of a Latchkey store; give another by schema=NAME in the URL", t.schema)
	}
	return nil
}

// usable refuses stores that this program cannot use.
func (sv *survey) usable(t *target) error {
	switch {
	case sv.Version < sv.Known:
		return wrongSchema(t.where, "has schema %d, which is older than this program's %d; back it up and run `latchkey migrate`", sv.Version, sv.Known)
	case sv.Needs > sv.Known:
		return wrongSchema(t.where, "has schema %d, which is newer than this program's %d; use a newer latchkey", sv.Version, sv.Known)
	}
	return nil
}

// Schema returns what the store's tables are, and how the server writes, as it was
// when the store was opened.
func (s *Store) Schema() Schema { return s.schema }

// Migrate brings the store to this program's schema, or makes it where there is
// none, and returns its version before (0 when it was made) and after. Other
// programs that use it wait meanwhile, and go on if they know the new schema's
// lowest requirement. A store that is newer is left as it is, and refused if this
// program cannot use it. Of the configuration only URL, Mark and Timeout count.
func Migrate(ctx context.Context, cfg Config) (from, to int, err error) {
	return migrate(ctx, cfg, migrations)
}

func migrate(ctx context.Context, cfg Config, files fs.FS) (from, to int, err error) {
	cfg.FeedURL = ""
	t, err := cfg.check()
	if err != nil {
		return 0, 0, err
	}
	if ctx.Err() != nil {
		return 0, 0, brokenOff(ctx)
	}
	conn, err := pgx.ConnectConfig(ctx, t.main.ConnConfig)
	if err != nil {
		return 0, 0, cannotOpen(t.where, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if from, to, err = apply(ctx, conn.PgConn(), t, files); err != nil {
		return from, from, cannotOpen(t.where, err)
	}
	return from, to, nil
}

// apply brings a store to the newest schema, in one transaction and with the lock.
func apply(ctx context.Context, conn *pgconn.PgConn, t *target, files fs.FS) (from, to int, err error) {
	scripts, err := migration.Steps(files)
	if err != nil {
		return 0, 0, err
	}
	begin := fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock(%d)", migrationLock)
	if err := script(ctx, conn, begin); err != nil {
		return 0, 0, err
	}
	from, to, err = applyLocked(ctx, conn, t, scripts)
	if err == nil {
		err = script(ctx, conn, "COMMIT")
	}
	if err != nil && !conn.IsClosed() {
		err = errors.Join(err, script(context.WithoutCancel(ctx), conn, "ROLLBACK"))
	}
	return from, to, err
}

func applyLocked(ctx context.Context, conn *pgconn.PgConn, t *target, scripts []string) (from, to int, err error) {
	sv, err := look(ctx, conn, t.schema)
	if err == nil {
		err = sv.foreign(t)
	}
	if err != nil {
		return 0, 0, err
	}
	from = sv.Version
	switch {
	case sv.Version >= len(scripts) && sv.Needs > len(scripts):
		return from, from, wrongSchema(t.where, "has schema %d, which is newer than this program's %d; use a newer latchkey", sv.Version, len(scripts))
	case sv.Version >= len(scripts):
		return from, from, nil
	}
	text := "SET LOCAL synchronous_commit = on;\n"
	if from == 0 {
		text += `CREATE SCHEMA IF NOT EXISTS latchkey.;
CREATE TABLE latchkey.meta (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO latchkey.meta (name, value) VALUES ('application', 'latchkey'), ('version', ''), ('needs', '');
`
	}
	text += strings.Join(scripts[from:], "\n")
	text += fmt.Sprintf("\nUPDATE latchkey.meta SET value = '%d' WHERE name = 'version'; UPDATE latchkey.meta SET value = '%d' WHERE name = 'needs';",
		len(scripts), needed)
	text = strings.Replace(inSchema(text, t.schema), `"`+t.schema+`".;`, `"`+t.schema+`";`, 1) // of CREATE SCHEMA
	if err := script(ctx, conn, text); err != nil || from > 0 {
		return from, len(scripts), err
	}
	return from, len(scripts), describe(ctx, conn, t)
}

// describe puts in the row that makes a store of the tables.
func describe(ctx context.Context, conn *pgconn.PgConn, t *target) error {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	p := newParams(2).bytes(key[:]).text(t.Mark)
	// The first generation is by the clock, so that a store which is made anew begins
	// above what tokens of the one before it tell of.
	text := inSchema(`INSERT INTO latchkey.store (id, generation, placement_key, mark) VALUES (gen_random_uuid(), latchkey.clock(NULL), $1, $2)`, t.schema)
	if err := conn.ExecParams(ctx, text, p.values, p.oids, binaryFormat, binaryFormat).Read().Err; err != nil {
		return err
	}
	// Of tables that were never looked at the server expects hundreds of rows, and
	// compiles what would join as many.
	return script(ctx, conn, inSchema("ANALYZE latchkey.store; ANALYZE latchkey.log; ANALYZE latchkey.run", t.schema))
}

// script runs statements that return nothing of interest.
func script(ctx context.Context, conn *pgconn.PgConn, text string) error {
	_, err := conn.Exec(ctx, text).ReadAll()
	return err
}

// channel is what followers of a store in a schema listen to.
func channel(schema string) string {
	name := "latchkey_" + schema
	if len(name) > 63 {
		sum := markKey('c', "", schema)
		name = "latchkey_" + hex.EncodeToString(sum[:])
	}
	return name
}
