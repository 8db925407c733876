package keyring

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// createFile makes the file path with the given text, durable and never seen in
// part. It fails with KindExists when there is one.
func createFile(path, text string) error {
	if _, err := os.Lstat(path); err == nil {
		return exists(path)
	}
	tmp, err := writeTemporary(path, text, nil)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // whichever way it goes, the temporary name is not needed
	if err := publish(path, tmp, os.Link); err != nil {
		return err
	}
	return syncFolder(path)
}

// publish gives the file tmp the name path unless that is taken. A hard link does
// both in one step; where the file system has none, a rename under the folder's
// lock does, which is enough against other processes of this program.
func publish(path, tmp string, link func(oldname, newname string) error) error {
	err := link(tmp, path)
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	unlock, err := lockFolder(path, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); err == nil {
		return exists(path)
	}
	if err := os.Rename(tmp, path); err != nil {
		return ioError(path, "create", linkCause(err))
	}
	return nil
}

func exists(path string) error {
	return newError(KindExists, path, "there is a file already; `latchkey key rotate` adds a key to it")
}

// replaceFile puts text in the place of the file path, whose former state is old.
func replaceFile(path, text string, old fs.FileInfo) error {
	tmp, err := writeTemporary(path, text, old)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return ioError(path, "replace", linkCause(err))
	}
	return syncFolder(path)
}

// writeTemporary writes text to a new file beside path and onto stable storage.
// The file has the owner and mode of old, so that a change made by root leaves
// the file readable to the daemon; without old it is the caller's, mode 0600.
func writeTemporary(path, text string, old fs.FileInfo) (name string, err error) {
	// CreateTemp opens with O_EXCL and mode 0600: the text is never exposed.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return "", ioError(path, "write in its folder", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = ioError(path, "write", cerr)
		}
		if err != nil {
			os.Remove(f.Name())
			name = ""
		}
	}()
	mode := fs.FileMode(0o600)
	if old != nil {
		mode = old.Mode().Perm()
		if err := keepOwner(f, old); err != nil {
			return "", ioError(path, "keep its owner (run this as the owner or as root)", err)
		}
	}
	if hasModes() {
		// Explicit, because the umask may have taken bits away.
		if err := f.Chmod(mode); err != nil {
			return "", ioError(path, "set its mode", err)
		}
	}
	if _, err := f.WriteString(text); err != nil {
		return "", ioError(path, "write", err)
	}
	if err := f.Sync(); err != nil {
		return "", ioError(path, "write to stable storage", err)
	}
	return f.Name(), nil
}

// syncFolder makes the new name of path durable. Windows cannot sync a folder
// and needs not: its renames are written through by the file system's log.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return ioError(path, "open its folder", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return ioError(path, "write its folder to stable storage", err)
	}
	return nil
}

// linkCause strips the two paths from the error of a link or rename.
func linkCause(err error) error {
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}
