//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package keyring

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const openNonblock = syscall.O_NONBLOCK

// isDevice reports whether err says that a path names a socket or a device
// without a driver, which cannot be opened.
func isDevice(err error) bool {
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EOPNOTSUPP)
}

// lockFolder waits for the advisory lock on a folder that all changes of the
// keyrings in it take, and returns what gives it back. The lock is the kernel's
// (flock), so it ends with its process; it leaves no file behind, unlike one on
// a file beside the keyring. source is for messages.
func lockFolder(source, folder string) (unlock func(), err error) {
	d, err := os.Open(folder)
	if err != nil {
		return nil, ioError(source, "open its folder", err)
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, ioError(source, "lock its folder", err)
	}
	return func() { d.Close() }, nil
}

// keepOwner gives f the owner of old where that is not the running user.
func keepOwner(f *os.File, old fs.FileInfo) error {
	st, ok := old.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil
	}
	return f.Chown(int(st.Uid), int(st.Gid))
}
