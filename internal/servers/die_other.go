//go:build unix && !linux

package servers

import "syscall"

// dieWithParent does nothing: this system has no parent-death signal, and a test
// program that is killed leaves its servers behind.
func dieWithParent(*syscall.SysProcAttr) {}
