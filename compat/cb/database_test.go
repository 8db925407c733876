package cb_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/cb/engine"
	"github.com/latchkey-go/latchkey/internal/servers"
)

// postgres is the server of this package's tests, started by the first that needs it.
var postgres struct {
	sync.Mutex
	server   *servers.Server
	cleanups []func()
}

func TestMain(m *testing.M) {
	status := m.Run()
	for _, f := range slices.Backward(postgres.cleanups) {
		f()
	}
	os.Exit(status)
}

// lasting is a TB whose cleanups wait for the end of all tests.
type lasting struct{ testing.TB }

func (lasting) Cleanup(f func()) { postgres.cleanups = append(postgres.cleanups, f) }

func postgresURL(t testing.TB) string {
	t.Helper()
	postgres.Lock()
	defer postgres.Unlock()
	if postgres.server == nil {
		postgres.server = servers.StartPostgres(lasting{t})
	}
	return postgres.server.URL
}

// database is an empty database of either engine, and how others reach it.
type database struct {
	*engine.DB
	url string // a path, or a postgres:// URL
}

// eachEngine runs a test on a new SQLite file and in a new schema of PostgreSQL.
func eachEngine(t *testing.T, test func(t *testing.T, db database)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqliteFile(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, postgresSchema(t)) })
}

func sqliteFile(t testing.TB) database { return sqliteFileOf(t, 4) }

func sqliteFileOf(t testing.TB, connections int) database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cb.db")
	pool, err := sqlitex.NewPool(path, sqlitex.PoolOptions{PoolSize: connections, PrepareConn: func(c *sqlite.Conn) error {
		return sqlitex.ExecuteTransient(c, "PRAGMA synchronous = OFF", nil) // tests do not lose power
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return database{engine.SQLite(pool), path}
}

var schemas atomic.Int64

func postgresSchema(t testing.TB) database {
	t.Helper()
	name := fmt.Sprintf("schema_%d", schemas.Add(1))
	address := postgresURL(t) + "?options=" + url.QueryEscape("-csearch_path="+name)
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db := engine.PostgreSQL(pool)
	execute(t, db, "CREATE SCHEMA "+name)
	return database{db, address}
}

func execute(t testing.TB, db *engine.DB, statement string, args ...engine.Value) int64 {
	t.Helper()
	n, err := db.Exec(t.Context(), statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// clock is a time that tests turn.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Unix(signed, 678_901_000).UnixMicro())
	return c
}
func (c *clock) now() time.Time                 { return time.UnixMicro(c.at.Load()) }
func (c *clock) turn(d time.Duration)           { c.at.Add(d.Microseconds()) }
func same(a, b time.Time) bool                  { return a.Equal(b) && a.Location() == b.Location() }
func isInvalid(err error) bool                  { return err == cb.ErrInvalid }
func text(format string, a ...any) engine.Value { return engine.TextValue(fmt.Sprintf(format, a...)) }

func newService(t testing.TB, db *engine.DB, now func() time.Time, change func(*cb.ServiceConfig)) *cb.Service {
	t.Helper()
	codec, err := cb.New(cb.Config{Secrets: []string{secret}, Days: 30, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	config := cb.ServiceConfig{Codec: codec, DB: db}
	if change != nil {
		change(&config)
	}
	s, err := cb.NewService(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// made is a service whose table is made.
func made(t testing.TB, db *engine.DB, now func() time.Time) *cb.Service {
	t.Helper()
	s := newService(t, db, now, nil)
	for range 2 {
		if err := s.CreateTable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// original is the original in Python, answering requests.
type original struct {
	in  io.WriteCloser
	out *bufio.Reader
}

type object = map[string]any

func startOriginal(t *testing.T, script, modules string, args ...string) *original {
	t.Helper()
	python := ""
	for _, candidate := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(candidate, "-c", "import "+modules).Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		missing := "no python3 with " + modules + "; scripts/setup installs them"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cmd := exec.Command(python, append([]string{script}, args...)...)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		t.Fatal("python does not start", err1, err2)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &original{in, bufio.NewReader(out)}
}

func (o *original) ask(t *testing.T, request object, answer any) {
	t.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	got, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", request, err)
	}
	if err := json.NewDecoder(strings.NewReader(got)).Decode(answer); err != nil {
		t.Fatalf("%q: %v", got, err)
	}
}
