//go:build unix

package databasetest

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// Databases makes databases for the tests of a package. Its zero value is ready; run
// the tests by its Main, which ends the server.
type Databases struct {
	// WithMariaDB has Each run tests on MariaDB, too, of what is meant for it.
	WithMariaDB bool

	mu       sync.Mutex
	mariadb  *servers.Server
	server   *servers.Server
	cleanups []func()
	schemas  int
}

// Main runs the tests of a package and returns the program's exit status. Servers
// are started by the first test that needs them and ended here.
func (d *Databases) Main(m *testing.M) int {
	status := m.Run()
	for _, f := range slices.Backward(d.cleanups) {
		f()
	}
	return status
}

// lasting is a TB whose cleanups wait for the end of all tests.
type lasting struct {
	testing.TB
	d *Databases
}

func (l lasting) Cleanup(f func()) { l.d.cleanups = append(l.d.cleanups, f) }

// schema returns the server's URL and the name of a schema that nobody else has.
func (d *Databases) schema(t testing.TB) (address, name string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		d.server = servers.StartPostgres(lasting{t, d})
	}
	d.schemas++
	return d.server.URL, fmt.Sprintf("schema_%d", d.schemas)
}

// Database is an empty database of an engine, and how others reach it.
type Database struct {
	*engine.DB
	URL string // a path, or a postgres:// or mysql:// URL
}

// Each runs a test on a new SQLite file, in a new schema of PostgreSQL and, with
// WithMariaDB, in a new database of that.
func (d *Databases) Each(t *testing.T, test func(t *testing.T, db Database)) { d.each(t, 4, test) }

func (d *Databases) each(t *testing.T, connections int, test func(t *testing.T, db Database)) {
	t.Run("sqlite", func(t *testing.T) { test(t, d.SQLite(t, connections)) })
	t.Run("postgres", func(t *testing.T) { test(t, d.PostgreSQL(t)) })
	if d.WithMariaDB {
		t.Run("mariadb", func(t *testing.T) { test(t, d.MariaDB(t)) })
	}
}

// EachOfOneConnection is [Databases.Each] whose SQLite pool has one connection: they
// learn one by one of a table that a test makes anew.
func (d *Databases) EachOfOneConnection(t *testing.T, test func(t *testing.T, db Database)) {
	d.each(t, 1, test)
}

// SQLite makes a file and a pool of connections to it.
func (d *Databases) SQLite(t testing.TB, connections int) Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	pool, err := sqlitex.NewPool(path, sqlitex.PoolOptions{PoolSize: connections, PrepareConn: func(c *sqlite.Conn) error {
		return sqlitex.ExecuteTransient(c, "PRAGMA synchronous = OFF", nil) // tests do not lose power
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return Database{engine.SQLite(pool), path}
}

// PostgreSQL makes a schema and a pool of connections to it.
func (d *Databases) PostgreSQL(t testing.TB) Database {
	t.Helper()
	address, name := d.schema(t)
	address += "?options=" + url.QueryEscape("-csearch_path="+name)
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db := engine.PostgreSQL(pool)
	Execute(t, db, "CREATE SCHEMA "+name)
	return Database{db, address}
}

// MariaDB makes a database and a pool of connections to it.
func (d *Databases) MariaDB(t testing.TB) Database {
	t.Helper()
	d.mu.Lock()
	if d.mariadb == nil {
		d.mariadb = servers.StartMariaDB(lasting{t, d})
	}
	d.schemas++
	name := fmt.Sprintf("latchkey_%d", d.schemas)
	d.mu.Unlock()
	open := func(database string) *sql.DB {
		cfg := mysql.NewConfig()
		cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = servers.User, servers.Password, "tcp", d.mariadb.Addr, database
		cfg.Collation, cfg.ClientFoundRows, cfg.Logger = "utf8mb4_bin", true, &mysql.NopLogger{}
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return sql.OpenDB(connector)
	}
	first := open(servers.User)
	defer first.Close()
	if _, err := first.ExecContext(t.Context(), "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		t.Fatal(err)
	}
	pool := open(name)
	t.Cleanup(func() { pool.Close() })
	return Database{engine.MariaDB(pool), strings.TrimSuffix(d.mariadb.URL, servers.User) + name}
}

// Execute runs a statement that must not fail and returns how many rows it changed.
func Execute(t testing.TB, db *engine.DB, statement string, args ...engine.Value) int64 {
	t.Helper()
	n, err := db.Exec(t.Context(), statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// Clock is a time that tests turn. It is safe for concurrent use.
type Clock struct{ at atomic.Int64 }

// NewClock returns a clock that stands at 2026-01-02 03:04:05.678901 UTC.
func NewClock() *Clock {
	c := new(Clock)
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC).UnixMicro())
	return c
}

// Now is the clock's time, in microseconds.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.at.Load()) }

// Turn moves the clock on, or back.
func (c *Clock) Turn(d time.Duration) { c.at.Add(d.Microseconds()) }
