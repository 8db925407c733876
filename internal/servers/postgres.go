//go:build unix

package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/latchkey-go/latchkey/internal/needs"
)

// User is the superuser of the PostgreSQL servers started here; the database has
// the same name, and no password is asked on 127.0.0.1.
const User = "latchkey"

// StartPostgres makes a new cluster and starts it. settings are configuration
// parameters such as "synchronous_commit=off", and go over the defaults: fsync is
// off, which loses nothing when the server is killed, only when the machine is.
// URL is postgres://latchkey@host:port/latchkey.
func StartPostgres(t TB, settings ...string) *Server {
	t.Helper()
	initdb, postgres := binary(t, "initdb", "postgresql"), binary(t, "postgres", "postgresql")
	isReady, createdb := binary(t, "pg_isready", "postgresql"), binary(t, "createdb", "postgresql")
	cred := unprivileged(t)
	return launch(t, func(s *Server, port int) {
		s.name, s.cred, s.Dir = "postgres", cred, tempDir(t, cred)
		s.quit = syscall.SIGINT   // SIGTERM would wait for its clients to leave
		s.yield = syscall.SIGQUIT // a kill would leave its shared memory segment in the system
		s.URL = fmt.Sprintf("postgres://%s@%s/%s", User, s.Addr, User)
		data := filepath.Join(s.Dir, "data")
		cmd := exec.Command(initdb, "-D", data, "-U", User, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
		cmd.Dir = s.Dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("initdb: %v\n%s", err, out)
		}
		s.argv = []string{postgres, "-D", data, "-p", strconv.Itoa(port)}
		for _, setting := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off",
			"shared_buffers=32MB", "max_connections=200", "autovacuum_naptime=5s", "dynamic_shared_memory_type=mmap", "jit=off"}, settings...) {
			s.argv = append(s.argv, "-c", setting)
		}
		s.ready = func(ctx context.Context) bool {
			if exec.CommandContext(ctx, isReady, "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-d", "template1", "-U", User).Run() != nil {
				return false
			}
			return s.hasDatabase(ctx, createdb, port)
		}
	})
}

// hasDatabase makes the database of User at the first start, and reports whether it is there.
func (s *Server) hasDatabase(ctx context.Context, createdb string, port int) bool {
	mark := filepath.Join(s.Dir, "database-made")
	if _, err := os.Stat(mark); err == nil {
		return true
	}
	cmd := exec.CommandContext(ctx, createdb, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", User, "--maintenance-db=template1", User)
	return cmd.Run() == nil && os.WriteFile(mark, nil, 0o600) == nil
}

// StartPgBouncer starts the pooler before a PostgreSQL server, in transaction
// mode: each transaction may meet another connection. settings are lines of the
// section [pgbouncer]. URL is that of the database through the pooler.
func StartPgBouncer(t TB, pg *Server, settings ...string) *Server {
	t.Helper()
	bin := binary(t, "pgbouncer", "pgbouncer")
	cred := unprivileged(t)
	return launch(t, func(s *Server, port int) {
		s.name, s.cred, s.Dir = "pgbouncer", cred, tempDir(t, cred)
		s.URL = fmt.Sprintf("postgres://%s@%s/%s", User, s.Addr, User)
		host, pgPort, _ := net.SplitHostPort(pg.Addr)
		config := fmt.Sprintf("[databases]\n%[1]s = host=%[2]s port=%[3]s dbname=%[1]s user=%[1]s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %[4]d\n"+
			"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n", User, host, pgPort, port)
		for _, line := range settings {
			config += line + "\n"
		}
		file := filepath.Join(s.Dir, "pgbouncer.ini")
		if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
			t.Fatalf("%v", err)
		}
		s.argv = []string{bin, file}
		s.ready = func(ctx context.Context) bool {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}
	})
}

// unprivileged is the user to run PostgreSQL as: nil, the test's own, unless that is root.
func unprivileged(t TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		needs.Missing(t, "PostgreSQL does not run as root and there is no user postgres (Debian: apt-get install postgresql)")
		return nil
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatalf("the user postgres has no numbers: %v %v", err1, err2)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
