//go:build unix

package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey-go/latchkey/internal/needs"
)

// TB is what this package needs of a [testing.TB]. It is an interface so that
// TestMain, which has none, can start servers too; see [Main].
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// patience is how long a server may take to answer after its start, or to go
// after its end. A machine under load is slow; a healthy one needs a tenth of a second.
const patience = 30 * time.Second

// Server is a running program with an address. Its methods are for the goroutine
// of the test that started it.
type Server struct {
	// Addr is host:port.
	Addr string
	// URL is the address as clients of this kind of server take it.
	URL string
	// Dir holds the server's files.
	Dir string

	name  string
	argv  []string
	cred  *syscall.Credential
	quit  syscall.Signal             // what it stops by in good order
	yield syscall.Signal             // what it ends by at once, giving back what a kill would leave; 0: nothing
	ready func(context.Context) bool // asked until it is true

	mu  sync.Mutex
	run *process
}

// process is one life of a server.
type process struct {
	pid    int
	exited chan struct{}
	output lockedBuffer
}

// Kill ends the server and its children at once by SIGKILL, and returns when they
// are gone. What they had written stays for Restart.
func (s *Server) Kill(t TB) { t.Helper(); s.end(t, syscall.SIGKILL) }

// Terminate asks the server to stop, connections or not, and returns when it has.
// For PostgreSQL it is a fast shutdown.
func (s *Server) Terminate(t TB) { t.Helper(); s.end(t, s.quit) }

// Abort ends the server at once in the way that it has for that, and returns when it
// is gone: an immediate shutdown of PostgreSQL, which recovers at its next start. It
// is Kill for the others.
func (s *Server) Abort(t TB) {
	t.Helper()
	sig := s.yield
	if sig == 0 {
		sig = syscall.SIGKILL
	}
	s.end(t, sig)
}

// Stop halts the server by SIGSTOP: connections stay open and nothing answers.
func (s *Server) Stop(t TB) { t.Helper(); s.signal(t, syscall.SIGSTOP) }

// Continue undoes Stop.
func (s *Server) Continue(t TB) { t.Helper(); s.signal(t, syscall.SIGCONT) }

// Restart starts the server again on the same port and files, killing it first
// when it runs, and returns when it answers.
func (s *Server) Restart(t TB) {
	t.Helper()
	s.Kill(t)
	if err := s.start(); err != nil {
		t.Fatalf("%v", err)
	}
}

func (s *Server) signal(t TB, sig syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		t.Fatalf("%s is not running", s.name)
	}
	s.run.signal(sig)
}

// signal reaches the process and its children, and returns who those are. The
// process is halted first, so that none is born meanwhile.
func (p *process) signal(sig syscall.Signal) []int {
	_ = syscall.Kill(p.pid, syscall.SIGSTOP) // gone already is as good, here and below
	family := children(p.pid)
	for _, pid := range family {
		_ = syscall.Kill(pid, sig)
	}
	_ = syscall.Kill(p.pid, sig)
	return family
}

func (s *Server) end(t TB, sig syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return
	}
	family := children(s.run.pid)
	if sig == syscall.SIGKILL {
		family = s.run.signal(sig)
	} else {
		_ = syscall.Kill(s.run.pid, sig)
	}
	deadline := time.Now().Add(patience)
	select {
	case <-s.run.exited:
	case <-time.After(patience):
		t.Fatalf("%s does not end:\n%s", s.name, s.run.output.String())
	}
	// Children that outlive their parent by a moment still hold the port and, in
	// PostgreSQL, the shared memory.
	for _, pid := range family {
		for !gone(pid) && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	s.run = nil
}

// leave has the server give back what is not in its folder, before it is killed for
// good. One that does not in time is killed all the same.
func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yield == 0 || s.run == nil {
		return
	}
	s.run.signal(syscall.SIGCONT) // a test may have stopped it
	_ = syscall.Kill(s.run.pid, s.yield)
	select {
	case <-s.run.exited:
		s.run = nil
	case <-time.After(patience / 3):
	}
}

// errEnded: the program ended at once, perhaps because the port was taken.
var errEnded = errors.New("ended at its start")

// start runs the program and waits until it answers.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	run, err := spawn(cmd, true)
	if err != nil {
		return fmt.Errorf("%s does not start: %w", s.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case <-run.exited:
			return fmt.Errorf("%s %w:\n%s", s.name, errEnded, run.output.String())
		case <-ctx.Done():
			run.signal(syscall.SIGKILL)
			return fmt.Errorf("%s does not answer:\n%s", s.name, run.output.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.run = run
	return nil
}

// launch starts the server that prepare describes on a free port. A port can be
// taken between its choice and its use, so there are a few tries.
func launch(t TB, prepare func(s *Server, port int)) *Server {
	t.Helper()
	var err error
	for range 3 {
		port := freePort(t)
		s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), quit: syscall.SIGTERM}
		prepare(s, port)
		if err = s.start(); err == nil {
			t.Cleanup(func() {
				s.leave()
				s.Kill(t)
				if err := os.RemoveAll(s.Dir); err != nil {
					t.Logf("%s: %v", s.name, err)
				}
			})
			return s
		}
		_ = os.RemoveAll(s.Dir)
		if !errors.Is(err, errEnded) {
			break
		}
	}
	t.Fatalf("%v", err)
	return nil
}

func freePort(t TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("no free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// tempDir is a new folder that the given user owns. (That of [testing.T.TempDir]
// lies in one that only its maker may enter.)
func tempDir(t TB, cred *syscall.Credential) string {
	t.Helper()
	dir, done, err := folder()
	if err == nil {
		t.Cleanup(done)
		if cred != nil {
			err = os.Chown(dir, int(cred.Uid), int(cred.Gid))
		}
	}
	if err != nil {
		t.Fatalf("no folder for a server: %v", err)
	}
	return dir
}

// Folder is a new folder where those of servers are, for files that need not outlive
// the machine. It is removed when the test ends.
func Folder(t TB) string {
	t.Helper()
	dir := tempDir(t, nil)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("%v", err)
		}
	})
	return dir
}

// binary finds a program on the PATH or in one of Debian's folders, the highest
// version first. Without it the test is skipped, or fails where CI=true.
func binary(t TB, name, debianPackage string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/local/sbin/"} {
		found, _ := filepath.Glob(pattern + name)
		slices.SortFunc(found, func(a, b string) int { // 9 before 15
			if len(a) != len(b) {
				return len(b) - len(a)
			}
			return strings.Compare(b, a)
		})
		if len(found) > 0 {
			return found[0]
		}
	}
	needs.Missing(t, "%s is not installed (Debian: apt-get install %s)", name, debianPackage)
	return ""
}

// lockedBuffer keeps the last of a server's output, for the message when it fails.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 64 << 10
	if b.buf.Len()+len(p) > most {
		b.buf.Reset()
	}
	b.buf.Write(p[max(0, len(p)-most):])
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
