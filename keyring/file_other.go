//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package keyring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

const openNonblock = 0

// isDevice is false: what cannot be opened is reported as the system says it.
func isDevice(error) bool { return false }

// lockFolder takes the lock of a folder: a file that only one process can make.
// Where there is no flock it does not wait, and a process that was killed leaves
// the lock behind; the error says what to do. source is for messages.
func lockFolder(source, folder string) (unlock func(), err error) {
	name := filepath.Join(folder, ".latchkey-keyring.lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, newError(KindRefused, source, "another change is under way; if none is, delete "+quote(name))
	}
	if err != nil {
		return nil, ioError(source, "lock its folder", err)
	}
	f.Close()
	return func() { os.Remove(name) }, nil
}

// keepOwner does nothing where files have no owner that can be given.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
