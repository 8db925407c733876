//go:build unix && !linux

package servers

import "syscall"

// dieWithParent does nothing: this system has no parent-death signal, and a test
// program that is killed leaves its servers behind.
func dieWithParent(*syscall.SysProcAttr) {}

// children is empty: signals reach a server's process group only.
func children(int) []int { return nil }

// gone reports that no process has the number.
func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }
