package servers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a killed test program left in memory goes; what a living one has stays.
func TestFolderSweep(t *testing.T) {
	if probe := Folder(t); !strings.HasPrefix(probe, memory) {
		t.Skip("folders are not in memory here")
	}
	orphan, err := os.MkdirTemp(memory, "latchkey-servers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(orphan) })
	if err := os.WriteFile(filepath.Join(orphan, "file"), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, held := orphan, Folder(t)
	sweep()
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a new folder was swept away: %v", err)
	}
	for _, dir := range []string{orphan, held} {
		if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("the orphan is there still: %v", err)
	}
	if _, err := os.Stat(held); err != nil {
		t.Errorf("a folder in use was swept away: %v", err)
	}
}

// With TMPDIR set, folders are there.
func TestFolderInTMPDIR(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := Folder(t)
	if filepath.Dir(dir) != os.Getenv("TMPDIR") {
		t.Errorf("folder is %s", dir)
	}
}
