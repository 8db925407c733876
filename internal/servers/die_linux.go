package servers

import "syscall"

// dieWithParent makes the system kill the server when the test program is gone,
// however it went.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
