package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"golang.org/x/sys/unix"
)

// mount puts a small file system at a new folder. Only root can.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("needs to mount a file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// Of a full disk nothing acknowledged is lost, and the store goes on by itself
// when there is room again.
func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=8m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "latchkey.db")
	s := mustOpen(t, Config{Path: path})
	ids, err := fill(t, s)
	fixture.Unavailable(t, err, "the disk is full")
	for _, id := range ids {
		fixture.Get(t, s, id)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	id := add(t, s, "bob")
	fixture.Revoke(t, s, id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	intact(t, path)
	again := mustOpen(t, Config{Path: path})
	for _, id := range append(ids, id) {
		fixture.Get(t, again, id)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mount(t, "size=8m")
	path := filepath.Join(dir, "latchkey.db")
	s, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{Path: path})
	fixture.Unavailable(t, err, "check the permissions")
	_, err = Open(Config{Path: filepath.Join(dir, "other.db")})
	fixture.Unavailable(t, err, "read-only file system")
}

// asStranger runs f with the rights of a user who may do to the directory what its
// mode says. Root may do everything, but not with somebody else's rights to files;
// they are this thread's, so it is not used again.
func asStranger(t *testing.T, dir string, mode os.FileMode, f func()) {
	t.Helper()
	if os.Getuid() == 0 {
		for _, d := range []string{filepath.Dir(dir), dir} {
			if err := os.Chmod(d, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	failed := make(chan error)
	go func() {
		if os.Getuid() == 0 {
			runtime.LockOSThread()
			if err := unix.Setfsuid(65534); err != nil {
				failed <- err
				return
			}
		}
		f()
		failed <- nil
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// openError opens a store in vain.
func openError(path string) error {
	s, err := Open(Config{Path: path})
	if err == nil {
		_ = s.Close()
	}
	return err
}

// Another user's file is refused with a word about permissions.
func TestForbidden(t *testing.T) {
	path := made(t)
	if os.Getuid() != 0 {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Dir(path)
	var there, absent error
	asStranger(t, dir, 0o755, func() { there, absent = openError(path), openError(filepath.Join(dir, "new.db")) })
	fixture.Unavailable(t, there, "check the permissions")
	if os.Getuid() == 0 {
		fixture.Unavailable(t, absent, "permission denied")
	}
}

// A file that can be read and not written to is refused when it is opened, not at
// the first sign-in, even if a log can be made beside it; and none is left there,
// for it would keep the file's owner out.
func TestOpenCannotWrite(t *testing.T) {
	path := made(t)
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	var err error
	asStranger(t, filepath.Dir(path), 0o777, func() { err = openError(path) })
	fixture.Unavailable(t, err, "the database cannot be written to; check the permissions")
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Where the system is not asked, SQLite says the same.
	asStranger(t, filepath.Dir(path), 0o777, func() {
		cfg := Config{Path: path}
		if err = cfg.check(); err != nil {
			return
		}
		var c *conn
		if c, _, err = openWriter(&cfg); err == nil {
			err = closing(c.Conn, errors.New("opened"))
		}
	})
	fixture.Unavailable(t, cannotOpen(path, err), "the database cannot be written to; check the permissions")
}
