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
	status := servers.Main(m, func(t servers.TB) { shared = servers.StartMariaDB(t, "--max-connections=1500") })
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
	once(t, s.URL, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if s == shared { // others go with their tests
			once(t, s.URL, "DROP DATABASE "+name)
		}
	})
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// once runs statements on a connection that is closed afterwards.
func once(t testing.TB, url, text string) {
	t.Helper()
	db := connect(t, url)
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
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
