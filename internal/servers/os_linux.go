package servers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// dieWithParent makes the system kill the server when the test program is gone,
// however it went.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// children lists the processes that pid started and that are there still. Those of
// PostgreSQL leave its process group, so a signal to the group does not reach them.
func children(pid int) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		if parent, state := parentOf(file); parent == pid && state != 'Z' {
			if n, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// gone reports that the process has ended, though perhaps nobody has asked how.
func gone(pid int) bool {
	_, state := parentOf(fmt.Sprintf("/proc/%d/stat", pid))
	return state == 0 || state == 'Z'
}

// parentOf reads a file of proc_pid_stat(5): pid (name) state parent …
func parentOf(file string) (parent int, state byte) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, 0
	}
	text = text[bytes.LastIndexByte(text, ')')+1:]
	if _, err := fmt.Sscanf(string(text), " %c %d", &state, &parent); err != nil {
		return 0, 0
	}
	return parent, state
}
