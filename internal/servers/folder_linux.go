package servers

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// memory is where Linux has a file system in memory.
const memory = "/dev/shm"

// room is what has to be free there. A container may have 64 MB in all, which is
// less than one database server needs.
const room = 4 << 30

// folder makes a new folder for a server's files: in memory where there is plenty of
// it, for a private server's files need not outlive the machine and a disk takes
// most of the time of the tests; otherwise, and where TMPDIR is set, in the folder for
// temporary files. done lets go of it, before it is removed.
func folder() (dir string, done func(), err error) {
	var fs syscall.Statfs_t
	const tmpfs = 0x01021994
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil || int64(fs.Type) != tmpfs || fs.Bavail*uint64(fs.Bsize) < room {
		dir, err = os.MkdirTemp("", "latchkey-servers-")
		return dir, func() {}, err
	}
	sweep()
	dir, err = os.MkdirTemp(memory, "latchkey-servers-")
	if err != nil {
		return "", nil, err
	}
	held, err := os.Open(dir)
	if err == nil {
		err = syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, func() { held.Close() }, nil
}

// sweep removes from memory what test programs left there that were killed: nobody
// holds the lock. The lock of a folder that is just being made is not held yet, so
// only those go that are not new.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(memory, "latchkey-servers-*"))
	for _, dir := range left {
		held, err := os.Open(dir)
		if err != nil {
			continue // another's
		}
		if info, err := held.Stat(); err == nil && time.Since(info.ModTime()) > time.Minute && syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		held.Close()
	}
}
