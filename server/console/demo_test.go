package console_test

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/browsertest"
)

// TestDemoInBrowsers: the program that people run, with its embedded database, and
// two browsers at it.
func TestDemoInBrowsers(t *testing.T) {
	browsertest.Find(t)
	site := startDemo(t)
	for name, scripts := range map[string]bool{"with_scripts": true, "without_scripts": false} {
		t.Run(name, func(t *testing.T) { twoBrowsers(t, site, scripts) })
	}
}

// signInURL is in the lines that the demo greets with.
var signInURL = regexp.MustCompile(`(http://[^\s/]+)/login\b`)

// startDemo builds the program, starts its demo in an empty folder, and returns the
// address that it says it is at. It is stopped when the test ends, and has to obey.
func startDemo(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	dependOnSources(t)
	program := filepath.Join(folder, "latchkey")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", program, "github.com/latchkey-go/latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, "serve", "--demo", "--listen", "127.0.0.1:0")
	cmd.Dir = folder
	for _, setting := range os.Environ() { // a developer's own settings must not reach it
		if !strings.HasPrefix(setting, "LATCHKEY_") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if m := signInURL.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
		ended <- cmd.Wait()
	}()
	started := false
	t.Cleanup(func() {
		if !started {
			_ = cmd.Process.Kill() // what went wrong is said already
			<-ended
			return
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("it could not be stopped: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil || t.Failed() {
				t.Errorf("it ended with %v: %s", err, log.String())
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill() // so that nothing is left behind
			t.Errorf("it did not stop when told to: %s", log.String())
		}
	})
	select {
	case site := <-found:
		started = true
		return site
	case err := <-ended:
		ended <- err
		t.Fatalf("it ended before it was there: %v: %s", err, log.String())
	case <-time.After(time.Minute):
		t.Fatalf("it never said where it is: %s", log.String())
	}
	return ""
}

// dependOnSources looks at all of the module's sources. The go command notes which
// files a test looks at, and forgets a result that it kept when one of them changes;
// it cannot know of itself that this test builds another program.
func dependOnSources(t *testing.T) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if path != root && d != nil && (d.Name() == "testdata" || d.Name() == "bench" || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return err
		}
		switch filepath.Ext(path) {
		case ".go", ".sql", ".html", ".css", ".svg", ".mod":
			if !strings.HasSuffix(path, "_test.go") {
				_, err = os.Stat(path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer keeps what a program says while others read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
