//go:build unix

package servers

import (
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Child is a program of the test's own, such as the test program in another role. It
// dies with the test program on Linux. Its methods are safe for concurrent use.
type Child struct {
	run *process
	cmd *exec.Cmd
}

// Spawn starts cmd, which must not have been started. The last of its standard error
// is kept. The caller has to see to its end.
func Spawn(cmd *exec.Cmd) (*Child, error) {
	run, err := spawn(cmd, false)
	if err != nil {
		return nil, err
	}
	return &Child{run, cmd}, nil
}

// Stop halts the program by SIGSTOP, Continue undoes that.
func (c *Child) Stop() { c.signal(syscall.SIGSTOP) }

// Continue undoes Stop.
func (c *Child) Continue() { c.signal(syscall.SIGCONT) }

// Kill ends the program by SIGKILL, stopped or not, and returns when it is gone.
func (c *Child) Kill() {
	c.signal(syscall.SIGKILL)
	<-c.run.exited
}

// signal does nothing once the program has ended: its number may be another's.
func (c *Child) signal(sig syscall.Signal) {
	select {
	case <-c.run.exited:
	default:
		_ = c.cmd.Process.Signal(sig) // which looks again
	}
}

// Wait waits for the program to end by itself, for the given time at most. It
// reports whether it did, with status 0.
func (c *Child) Wait(patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.run.exited:
		return c.cmd.ProcessState.Success()
	case <-timer.C:
		return false
	}
}

// Output is the last that the program wrote to its standard error.
func (c *Child) Output() string { return c.run.output.String() }

// spawn starts a program that dies with this one. Its standard error is kept, and its
// standard output too where that is wanted.
func spawn(cmd *exec.Cmd, output bool) (*process, error) {
	run := &process{exited: make(chan struct{})}
	if cmd.Stderr = &run.output; output {
		cmd.Stdout = &run.output
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error, 1)
	go func() {
		// The system sends the parent-death signal when the *thread* that started
		// the program ends, so that thread has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			run.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(run.exited)
		}
	}()
	return run, <-started
}
