//go:build unix

package servers

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// Password is that of User on the MariaDB servers started here.
const Password = "not-a-secret"

// mariadbInit runs at each start. User has everything in the databases whose
// names begin with its own and nothing elsewhere, so that a server which is
// read-only refuses it as it would refuse a program's account.
const mariadbInit = "CREATE DATABASE IF NOT EXISTS `" + User + "`;\n" +
	"CREATE USER IF NOT EXISTS '" + User + "'@'127.0.0.1' IDENTIFIED BY '" + Password + "';\n" +
	"GRANT ALL PRIVILEGES ON `" + User + "%`.* TO '" + User + "'@'127.0.0.1';\n"

// StartMariaDB makes a new data directory and starts a server on it. settings are
// options such as "--log-bin", and go over the defaults: small caches, and every
// commit written but not synced, which loses nothing when the server is killed, only
// when the machine is. URL is mysql://latchkey:PASSWORD@host:port/latchkey; the user
// may make more databases whose names begin with latchkey. The user root has no
// password. The server's socket is mariadb.sock in Dir.
func StartMariaDB(t TB, settings ...string) *Server {
	t.Helper()
	install, mariadbd := binary(t, "mariadb-install-db", "mariadb-server"), binary(t, "mariadbd", "mariadb-server")
	return launch(t, func(s *Server, port int) {
		s.name, s.Dir = "mariadbd", tempDir(t, nil)
		s.URL = fmt.Sprintf("mysql://%s:%s@%s/%s", User, Password, s.Addr, User)
		data, start := filepath.Join(s.Dir, "data"), filepath.Join(s.Dir, "init.sql")
		owner := []string{}
		if os.Geteuid() == 0 {
			owner = append(owner, "--user=root") // it refuses to run as root unasked
		}
		cmd := exec.Command(install, append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal",
			"--skip-test-db", "--skip-name-resolve"}, owner...)...)
		cmd.Dir = s.Dir
		cmd.Env = append(os.Environ(), "TMPDIR="+s.Dir) // two at a time would remove each other's temporary tables
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mariadb-install-db: %v\n%s", err, out)
		}
		if err := os.WriteFile(start, []byte(mariadbInit), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
		s.argv = append([]string{mariadbd, "--no-defaults", "--datadir=" + data, "--init-file=" + start, "--bind-address=127.0.0.1",
			"--port=" + strconv.Itoa(port), "--socket=" + filepath.Join(s.Dir, "mariadb.sock"), "--pid-file=" + filepath.Join(s.Dir, "pid"), "--tmpdir=" + s.Dir,
			"--skip-name-resolve", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--max-connections=300",
			"--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=nosync", "--debug-no-sync", "--performance-schema=OFF"}, append(owner, settings...)...)
		s.ready = func(ctx context.Context) bool { return greets(ctx, s.Addr) }
	})
}

// greets reports whether a MySQL server greets whoever connects: a packet of
// protocol version 10. It does so after it has run its init file.
func greets(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var head [5]byte
	_, err = io.ReadFull(conn, head[:])
	return err == nil && head[4] == 10
}
