package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// shared is the server of tests that do not harm it.
var shared *servers.Server

func TestMain(m *testing.M) {
	status := servers.Main(m, func(t servers.TB) { shared = servers.StartMariaDB(t) })
	if status == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/latchkey-go/latchkey/internal/servers.(*Server).start.func1")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

var databases atomic.Int64

// newURL is that of a new database on a server.
func newURL(t testing.TB, s *servers.Server) string {
	t.Helper()
	name := fmt.Sprintf("latchkey_%d", databases.Add(1))
	db := connect(t, s.URL)
	if _, err := db.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The server may have gone with the test.
		_, _ = db.ExecContext(context.Background(), "DROP DATABASE "+name)
		db.Close()
	})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// connect is a second program's way to a database.
func connect(t testing.TB, text string) *sql.DB {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName, cfg.Logger = "tcp", u.Host, u.User.Username(), strings.TrimPrefix(u.Path, "/"), &driver.NopLogger{}
	cfg.Passwd, _ = u.User.Password()
	cfg.MultiStatements = true
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}
