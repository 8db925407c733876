package sqlite

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

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
	wantUnavailable(t, err, "the disk is full")
	for _, id := range ids {
		get(t, s, id)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	id := add(t, s, "bob")
	revoke(t, s, id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	intact(t, path)
	again := mustOpen(t, Config{Path: path})
	for _, id := range append(ids, id) {
		get(t, again, id)
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
	wantUnavailable(t, err, "check the permissions")
	_, err = Open(Config{Path: filepath.Join(dir, "other.db")})
	wantUnavailable(t, err, "read-only file system")
}

// Another user's file is refused with a word about permissions.
func TestForbidden(t *testing.T) {
	path := made(t)
	dir := filepath.Dir(path)
	if os.Getuid() != 0 {
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
	} else {
		// Root may do everything, but not with somebody else's rights to files. They
		// are this thread's, so it is not used again.
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := make(chan [2]error)
	go func() {
		if os.Getuid() == 0 {
			runtime.LockOSThread()
			if err := unix.Setfsuid(65534); err != nil {
				done <- [2]error{err, err}
				return
			}
		}
		_, err := Open(Config{Path: path})
		_, err2 := Open(Config{Path: filepath.Join(dir, "new.db")})
		done <- [2]error{err, err2}
	}()
	errs := <-done
	wantUnavailable(t, errs[0], "check the permissions")
	if os.Getuid() == 0 {
		wantUnavailable(t, errs[1], "permission denied")
	}
}
