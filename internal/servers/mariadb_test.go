//go:build unix

package servers_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/latchkey-go/latchkey/internal/servers"
)

func mariadb(t *testing.T, s *servers.Server, user, password, database string) *sql.DB {
	t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd, cfg.DBName, cfg.Logger = "tcp", s.Addr, user, password, database, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMariaDB(t *testing.T) {
	s := servers.StartMariaDB(t, "--innodb-lock-wait-timeout=7")
	db := mariadb(t, s, servers.User, servers.Password, servers.User)
	for _, text := range []string{"CREATE TABLE kept (n INT PRIMARY KEY)", "INSERT INTO kept VALUES (7)", "CREATE DATABASE latchkey_more"} {
		if _, err := db.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if _, err := db.Exec("CREATE DATABASE other"); err == nil {
		t.Error("the user may do anything")
	}
	s.Kill(t)
	if err := db.Ping(); err == nil {
		t.Error("answers after its end")
	}
	s.Restart(t)
	var n, wait, flush int
	if err := db.QueryRow("SELECT n, @@innodb_lock_wait_timeout, @@innodb_flush_log_at_trx_commit FROM kept").Scan(&n, &wait, &flush); err != nil || n != 7 || wait != 7 || flush != 1 {
		t.Errorf("after a restart: %d, settings %d and %d, %v", n, wait, flush, err)
	}
	if _, err := mariadb(t, s, "root", "", "").Exec("SET GLOBAL read_only=1"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO kept VALUES (8)"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a read-only server took a row: %v", err)
	}
	s.Terminate(t)
}
