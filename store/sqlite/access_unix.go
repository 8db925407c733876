//go:build linux || darwin || freebsd || netbsd || openbsd

package sqlite

import "golang.org/x/sys/unix"

// mayWrite asks the system whether this process may write to a file, without
// opening it: closing a descriptor would drop the locks of another store that
// this process has on the same file. It returns nil where that is not known.
func mayWrite(path string) error {
	switch err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err {
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return err
	}
	return nil
}
