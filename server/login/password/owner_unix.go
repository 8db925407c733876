//go:build unix

package password

import (
	"os"
	"syscall"
)

// keepOwner gives f the owner of the file at path, so that a change made by root leaves
// the file readable to the daemon.
func keepOwner(f *os.File, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // there is none yet
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		return f.Chown(int(st.Uid), int(st.Gid))
	}
	return nil
}
