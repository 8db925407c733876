package lock_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/lock"
)

// pythonMutex is apicrud's Mutex in a process of its own.
type pythonMutex struct {
	in    io.Writer
	lines *bufio.Reader
}

func startPython(t *testing.T, name, maxwait, ttl string) *pythonMutex {
	t.Helper()
	python := needs.Python(t, "redis")
	host, port, err := net.SplitHostPort(redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-W", "ignore", "testdata/mutex.py", host, port, name, maxwait, ttl)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &pythonMutex{in, bufio.NewReader(out)}
}

func (p *pythonMutex) do(t *testing.T, what string) string {
	t.Helper()
	if _, err := io.WriteString(p.in, what+"\n"); err != nil {
		t.Fatal(err)
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *pythonMutex) want(t *testing.T, what, answer string) {
	t.Helper()
	if got := p.do(t, what); !strings.HasPrefix(got, answer) || got != answer && answer != "acquired" {
		t.Errorf("Python's %s: %q, want %q", what, got, answer)
	}
}

// shape of a value, of either side: gen_id of some length.
var genIDShape = regexp.MustCompile(`^x-[-0-9A-Z_a-z]{8,}$`)

func TestMutexWithPython(t *testing.T) {
	const name = "alembic"
	client := rawRedis(t, redis.Addr)
	k := mustOpen(t, "redis", redis.Addr, options{mode: lock.ModeMutex})
	python := startPython(t, name, "1", "120")

	// Python holds.
	python.want(t, "acquire", "acquired")
	_, err := k.Acquire(t.Context(), name, lock.Options{Wait: 100 * time.Millisecond})
	wantErr(t, err, lock.ErrTimeout)
	theirs, _ := command(t, client, "GET", "mutex:alembic").ToString()
	python.want(t, "release", "released")

	// Go holds.
	first := mustAcquire(t, k, name, lock.Options{TTL: 2 * time.Second})
	ours, _ := command(t, client, "GET", "mutex:alembic").ToString()
	if !genIDShape.MatchString(theirs) || !genIDShape.MatchString(ours) || ours[:4] != theirs[:4] {
		t.Errorf("values %q and %q are not of one kind", theirs, ours) // the day decides on x- and two digits
	}
	python.want(t, "acquire", "TimeoutError Unable to acquire mutex=alembic")
	python.want(t, "release", "TimeoutError Mutex held too long, may need a longer ttl")
	isNil(t, first.Err())
	isNil(t, first.Release(t.Context()))

	// Python waits for Go: its next try, within a second, finds the lock free.
	patient := startPython(t, name, "30", "120")
	second := mustAcquire(t, k, name, lock.Options{})
	if second.Token() <= first.Token() {
		t.Errorf("token %d after %d", second.Token(), first.Token())
	}
	answer := make(chan string, 1)
	go func() { answer <- patient.do(t, "acquire") }()
	select {
	case got := <-answer:
		t.Fatalf("Python got it while Go held it: %s", got)
	case <-time.After(300 * time.Millisecond): // while Python tries
	}
	isNil(t, second.Release(t.Context()))
	if got := <-answer; !strings.HasPrefix(got, "acquired ") {
		t.Fatal(got)
	}

	// Go's release and renewal leave Python's key alone.
	wantErr(t, second.Release(t.Context()), lock.ErrNotHeld)
	patient.want(t, "release", "released")

	// Go loses the lock to Python.
	third := mustAcquire(t, k, name, lock.Options{TTL: time.Second})
	command(t, client, "DEL", "mutex:alembic")
	python.want(t, "acquire", "acquired")
	lostSoon(t, third)
	python.want(t, "release", "released")
}

// A Python holder that overstays loses the lock to Go, and frees nothing then.
func TestMutexPythonOverstays(t *testing.T) {
	const name = "overstay"
	k := mustOpen(t, "redis", redis.Addr, options{mode: lock.ModeMutex})
	python := startPython(t, name, "1", "1")
	python.want(t, "acquire", "acquired")
	l := mustAcquire(t, k, name, lock.Options{Wait: time.Minute})
	python.want(t, "release", "TimeoutError Mutex held too long, may need a longer ttl")
	isNil(t, l.Err())
	isNil(t, l.Release(t.Context()))
	python.want(t, "release", "AttributeError") // the original's answer to an expired key

	// The native mode has other keys.
	native := mustAcquire(t, mustOpen(t, "redis", redis.Addr, options{}), name, lock.Options{})
	python.want(t, "acquire", "acquired")
	isNil(t, native.Release(t.Context()))
}
