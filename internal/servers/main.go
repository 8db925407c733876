//go:build unix

package servers

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// Main runs a package's tests with servers that they share: setup starts them,
// the tests run, and the servers are killed. It returns the program's exit status.
// A missing binary skips the whole package by name, or fails it where CI=true.
func Main(m *testing.M, setup func(t TB)) int {
	t := &mainTB{}
	defer t.cleanup()
	ready := make(chan struct{})
	go func() { // of its own, because Skipf and Fatalf end the goroutine they are called in
		defer close(ready)
		setup(t)
	}()
	<-ready
	if t.ended {
		return t.status
	}
	return m.Run()
}

// mainTB is the TB of a TestMain.
type mainTB struct {
	cleanups []func()
	ended    bool
	status   int
}

func (t *mainTB) Helper()          {}
func (t *mainTB) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *mainTB) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (t *mainTB) Skipf(format string, args ...any) {
	t.Logf("SKIP: "+format, args...)
	t.ended = true
	runtime.Goexit()
}

func (t *mainTB) Fatalf(format string, args ...any) {
	t.Logf("FAIL: "+format, args...)
	t.ended, t.status = true, 1
	runtime.Goexit()
}

// cleanup runs the cleanups, the last one first, each in a goroutine that it may end.
func (t *mainTB) cleanup() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.cleanups[i]()
		}()
		<-done
	}
}
