//go:build unix

package keyring

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const goodText = header + "\n" + goodLine + "\n" + otherLine + "\n"

func writeKeys(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
}

// TestFileModes looks at the mode bits, not at what this user may do, so it
// holds for root too.
func TestFileModes(t *testing.T) {
	if !hasModes() {
		t.Skip("files have no mode bits on " + runtime.GOOS)
	}
	path := filepath.Join(t.TempDir(), "latchkey.keys")
	for mode := fs.FileMode(0o400); mode <= 0o777; mode++ {
		if mode&0o400 == 0 {
			continue // not even the owner's
		}
		writeKeys(t, path, goodText, mode)
		_, err := Open(path, Options{CreateIfMissing: true})
		if mode&0o077 == 0 {
			if err != nil {
				t.Errorf("mode %04o: %v", mode, err)
			}
			continue
		}
		wantError(t, err, KindUnsafe, modeText(mode), "chmod 600 "+path)
		_, err = Rotate(path, testTime, 0)
		wantError(t, err, KindUnsafe, "chmod 600 "+path)
		os.Remove(path)
	}
}

func TestFileKinds(t *testing.T) {
	dir := t.TempDir()
	good, open, pipe := filepath.Join(dir, "good"), filepath.Join(dir, "it's open"), filepath.Join(dir, "pipe")
	writeKeys(t, good, goodText, 0o600)
	writeKeys(t, open, goodText, 0o644)
	link := func(target string) string {
		name := filepath.Join(dir, "link to "+filepath.Base(target))
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if err := makePipe(pipe); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link(good), Options{}); err != nil {
		t.Errorf("a symbolic link to a good file: %v", err)
	}
	for _, c := range []struct {
		name, path string
		kind       Kind
		says       string
	}{
		{"link_to_open_file", link(open), KindUnsafe, `chmod 600 '` + filepath.Join(dir, `link to it'\''s open`) + `'`},
		{"folder", dir, KindUnsafe, "not a regular file"},
		{"pipe", pipe, KindUnsafe, "not a regular file"},
		{"device", "/dev/zero", KindUnsafe, "not a regular file"},
		{"missing", filepath.Join(dir, "absent"), KindMissing, "latchkey key generate"},
		{"missing_folder", filepath.Join(dir, "absent", "keys"), KindMissing, "latchkey key generate"},
		{"dangling_link", link(filepath.Join(dir, "gone")), KindMissing, "latchkey key generate"},
		{"below_a_file", filepath.Join(good, "keys"), KindIO, "cannot open"},
		{"control_characters", filepath.Join(dir, "a\nb\x1b"), KindMissing, "a?b?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.path, Options{})
			wantError(t, err, c.kind, c.says)
			_, err = Rotate(c.path, testTime, 0)
			wantError(t, err, c.kind, c.says)
			_, err = Retire(c.path, 1, testTime, time.Hour)
			wantError(t, err, c.kind, c.says)
		})
	}
}

// TestChangeKeepsTheFile: a change goes to the file behind a link, and keeps its
// mode and, made by root, its owner.
func TestChangeKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	path, name := filepath.Join(dir, "keys"), filepath.Join(t.TempDir(), "link")
	writeKeys(t, path, goodText, 0o400)
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path, name); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(name, testTime, 0); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(name); err != nil || fi.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link became %v, %v", fi.Mode(), err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o400 {
		t.Errorf("the mode became %v, %v", fi.Mode(), err)
	}
	if root && ownerOf(fi) != 1234 {
		t.Errorf("the owner became %d", ownerOf(fi))
	}
	if r, err := Open(path, Options{}); err != nil || !r.Accepts(3) {
		t.Errorf("the new key is not there: %v", err)
	}
	noLeftovers(t, path)
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	opts := Options{CreateIfMissing: true, Clock: clockAt(testTime), Random: strings.NewReader(strings.Repeat("*", 32))}
	r, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	if got := states(r.Keys(testTime)); got != "1:active" || r.Version() != 1 || r.Source() != path {
		t.Errorf("the ring is %s, version %d, source %s", got, r.Version(), r.Source())
	}
	text, _ := os.ReadFile(path)
	if want := header + "\n1 2026-01-02T03:04:05.678901Z 2026-01-02T03:04:05.678901Z - " + goodKey + "\n"; string(text) != want {
		t.Errorf("the file is %q, want %q", text, want)
	}
	if fi, err := os.Stat(path); err != nil || hasModes() && fi.Mode() != 0o600 {
		t.Errorf("the mode is %v, %v", fi.Mode(), err)
	}
	noLeftovers(t, path)

	_, err = Create(path, Options{})
	wantError(t, err, KindExists, "latchkey key rotate")
	if again, _ := os.ReadFile(path); string(again) != string(text) {
		t.Error("a refused creation changed the file")
	}
	_, err = Create(filepath.Join(path, "..", "absent", "keys"), Options{})
	wantError(t, err, KindIO, "cannot write in its folder")
	_, err = Create(path+"2", Options{Random: iotest.ErrReader(io.ErrUnexpectedEOF)})
	wantError(t, err, KindIO, "random")
	noLeftovers(t, path)
	// Nothing is made in the place of a bad file.
	writeKeys(t, path, "", 0o600)
	_, err = Open(path, opts)
	wantError(t, err, KindMalformed, "line 1")
}

// TestPublish covers a file system without hard links.
func TestPublish(t *testing.T) {
	noLinks := func(string, string) error { return &os.LinkError{Op: "link", Err: errors.ErrUnsupported} }
	for name, link := range map[string]func(string, string) error{"links": os.Link, "no_links": noLinks} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, tmp := filepath.Join(dir, "keys"), filepath.Join(dir, "tmp")
			writeKeys(t, tmp, "first", 0o600)
			if err := publish(path, tmp, link); err != nil {
				t.Fatal(err)
			}
			writeKeys(t, tmp+"2", "second", 0o600)
			wantError(t, publish(path, tmp+"2", link), KindExists)
			if b, err := os.ReadFile(path); string(b) != "first" {
				t.Errorf("the file holds %q, %v", b, err)
			}
		})
	}
}

// TestReplaceFails: a change that cannot be made is an error and leaves nothing.
func TestReplaceFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil { // not to be renamed onto
		t.Fatal(err)
	}
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	err = replaceFile(path, goodText, old)
	wantError(t, err, KindIO, "cannot replace: ")
	if strings.Count(err.Error(), path) != 1 || errors.Unwrap(err) == nil {
		t.Errorf("the error is %q, of %v", err, errors.Unwrap(err))
	}
	noLeftovers(t, path)
}

func TestSources(t *testing.T) {
	t.Setenv("KEYRING_GOOD", strings.ReplaceAll(goodText, "\n", ";"))
	t.Setenv("KEYRING_BAD", header+"; 1 2 3")
	t.Setenv("KEYRING_EMPTY", "")
	t.Setenv("KEYRING_LONG", strings.Repeat("x", maxText+1))
	if r, err := Open("env:KEYRING_GOOD", Options{CreateIfMissing: true}); err != nil || !r.Accepts(2) {
		t.Errorf("a good variable: %v", err)
	}
	for _, c := range []struct {
		name, source string
		kind         Kind
		says         string
	}{
		{"none", "", KindUsage, "give a path or env:NAME"},
		{"unset", "env:KEYRING_UNSET", KindMissing, "env:KEYRING_UNSET: the variable is not set"},
		{"empty", "env:KEYRING_EMPTY", KindMissing, "not set"},
		{"malformed", "env:KEYRING_BAD", KindMalformed, "env:KEYRING_BAD: line 2: has 3 fields"},
		{"long", "env:KEYRING_LONG", KindMalformed, "longer than 64 KiB"},
		{"no_name", "env:", KindUsage, "name of a variable"},
		{"bad_name", "env:A-B", KindUsage, "name of a variable"},
		{"digit_first", "env:1A", KindUsage, "name of a variable"},
		{"text_as_source", goodText, KindUsage, "looks like a key itself"},
		{"text_as_name", "env:" + strings.ReplaceAll(goodText, "\n", ";"), KindUsage, "looks like a key itself"},
		{"key_as_source", goodKey, KindUsage, "looks like a key itself"},
		{"padded_key_as_name", "env:" + goodKey + "=", KindUsage, "looks like a key itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.source, Options{})
			wantError(t, err, c.kind, c.says)
			mustNotRepeat(t, err.Error(), goodKey)
		})
	}
	for name, f := range map[string]func() error{
		"create_if_missing": func() error { _, err := Open("env:KEYRING_UNSET", Options{CreateIfMissing: true}); return err },
		"create":            func() error { _, err := Create("env:KEYRING_UNSET", Options{}); return err },
		"rotate":            func() error { _, err := Rotate("env:KEYRING_GOOD", testTime, 0); return err },
		"retire":            func() error { _, err := Retire("env:KEYRING_GOOD", 1, testTime, time.Hour); return err },
	} {
		t.Run(name, func(t *testing.T) { wantError(t, f(), KindReadOnly, "environment variable cannot be changed") })
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, goodText, 0o600)
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	version := r.Version()
	reload := func(wantChange bool) {
		t.Helper()
		changed, err := r.Reload()
		if err != nil || changed != wantChange {
			t.Fatalf("Reload = %v, %v; want %v", changed, err, wantChange)
		}
		if changed {
			version++
		}
		if r.Version() != version {
			t.Fatalf("the version is %d, want %d", r.Version(), version)
		}
	}
	reload(false)
	if err := os.Chtimes(path, testTime, testTime); err != nil {
		t.Fatal(err)
	}
	reload(false) // touched, not changed

	third := "3 " + goodTime + " " + goodTime + " - " + strings.Replace(goodKey, "K", "L", 1) + "\n"
	for _, c := range []struct {
		name  string
		spoil func()
		kind  Kind
		says  string
	}{
		{"vanished", func() { os.Remove(path) }, KindMissing, "no such file"},
		{"empty", func() { writeKeys(t, path, "", 0o600) }, KindMalformed, "line 1"},
		{"truncated", func() { writeKeys(t, path, goodText[:len(goodText)-10], 0o600) }, KindMalformed, "line 3"},
		{"open_to_others", func() { writeKeys(t, path, goodText, 0o640) }, KindUnsafe, "chmod 600"},
		{"no_keys", func() { writeKeys(t, path, header+"\n"+deadLine, 0o600) }, KindMalformed, "no acceptable key"},
		{"all_other_keys", func() { writeKeys(t, path, header+"\n"+third, 0o600) }, KindRefused, "none of the keys in use would remain"},
		{"same_ids_other_bytes", func() {
			writeKeys(t, path, header+"\n1"+otherLine[1:]+"\n2"+goodLine[1:], 0o600)
		}, KindRefused, "none of the keys in use would remain"},
	} {
		c.spoil()
		changed, err := r.Reload()
		wantError(t, err, c.kind, c.says)
		if changed || r.Version() != version || !r.Accepts(1) || !r.Accepts(2) || r.Accepts(3) {
			t.Errorf("%s: the keys did not stay in force", c.name)
		}
		os.Remove(path)
	}

	writeKeys(t, path, goodText+third, 0o600)
	reload(true)
	if !r.Accepts(3) {
		t.Error("the new key is not accepted")
	}
	writeKeys(t, path, strings.Replace(goodText, goodTime, "2027"+goodTime[4:], 2)+third, 0o600)
	reload(true) // only the times changed
	writeKeys(t, path, header+"\n"+otherLine, 0o600)
	reload(true)
	if r.Accepts(1) || r.Accepts(3) || !r.Accepts(2) {
		t.Error("keys that are gone are accepted")
	}
}

func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, goodText, 0o600)
	r, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, events, ended := make(chan time.Time), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		r.Watch(ctx, WatchOptions{
			Ticks:    ticks,
			OnChange: func() { events <- nil },
			OnError:  func(err error) { events <- err },
		})
	}()
	if _, err := Rotate(path, testTime, 0); err != nil {
		t.Fatal(err)
	}
	ticks <- testTime
	if err := <-events; err != nil || !r.Accepts(3) {
		t.Errorf("after a rotation: %v", err)
	}
	ticks <- testTime // no change, no call
	writeKeys(t, path, "x", 0o600)
	ticks <- testTime
	wantError(t, <-events, KindMalformed)
	if !r.Accepts(3) {
		t.Error("a bad file changed the keys")
	}
	cancel()
	<-ended

	closed := make(chan time.Time)
	close(closed)
	r.Watch(t.Context(), WatchOptions{Ticks: closed}) // returns
	r.Watch(ctx, WatchOptions{})                      // so does this
}
