package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failing takes so many bytes and no more.
type failing struct {
	bytes.Buffer
	left int
}

func (f *failing) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	f.left -= n
	f.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errors.New("no room")
	}
	return n, nil
}

// When the output takes no more, no session lives on whose token nobody has.
func TestImportOutputFull(t *testing.T) {
	for _, room := range []int{0, 100, 5_000, 50_000, 123_456} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			var in bytes.Buffer
			for i := range 1000 {
				fmt.Fprintf(&in, `{"subject":"user-%d"}`+"\n", i)
			}
			out := &failing{left: room}
			im := newImporting(t, out, importFlags{}, nil)
			err := im.run(t.Context(), &in)
			if err == nil || explain(err).status != exitFailed || !strings.Contains(err.Error(), "the results cannot be written: no room") || im.summary(err).Stopped != "output" {
				t.Errorf("error %v", err)
			}
			whole := out.String()[:strings.LastIndexByte(out.String(), '\n')+1]
			told := make(map[string]bool)
			for _, r := range parseResults(t, whole) {
				told[r.ID] = true
			}
			live := im.live()
			for _, s := range live {
				if !told[s.ID.String()] {
					t.Errorf("the token of %s is in no output, and it lives", s.ID)
				}
			}
			// --resume would pass over the lines of these.
			if len(live) != len(told) {
				t.Errorf("the tokens of %d sessions are in the output, and %d live", len(told), len(live))
			}
			if sum := im.summary(err); sum.Lost == 0 || sum.Imported != len(im.live()) {
				t.Errorf("%+v, and %d live", sum, len(im.live()))
			}
		})
	}
}

// With --resume nothing is cut off, or written to, but results of an import.
func TestImportResumesResultsOnly(t *testing.T) {
	const whole = `{"line":1,"error":"malformed","detail":"","errors":[]}` + "\n"
	for name, c := range map[string]struct {
		text, left string // what is left of it; "" when it is refused
	}{
		"half_a_result": {whole + `{"line":2,"id":"01a1`, whole},
		"a_bit_of_one":  {whole + `{"l`, whole},
		"whole":         {whole, whole},
		"a_secret":      {"hunter2", ""},
		"an_input":      {`{"subject":"a","sid":"1"}`, ""},
		"behind_one":    {whole + "hunter2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.jsonl")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, _, err := openResults(path, true, false)
			if (err == nil) != (c.left != "") {
				t.Errorf("error %v", err)
			}
			if f != nil {
				f.Close()
			}
			want := c.left
			if want == "" {
				want = c.text
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%q is left, want %q (%v)", got, want, err)
			}
		})
	}
}

// Tokens are not written to what somebody else may have put there.
func TestImportResumesOwnFilesOnly(t *testing.T) {
	if !hasModes() {
		t.Skip("files have no modes here")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path(name), nil, mode), os.Chmod(path(name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("own", 0o600)
	write("readable", 0o644)
	write("writable", 0o620)
	if err := errors.Join(os.Symlink(path("own"), path("link")), os.Symlink(path("nowhere"), path("dangling")), os.Mkdir(path("folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"own": "", "new": "", "readable": "chmod 600", "writable": "chmod 600", "link": "no regular file", "dangling": "no regular file", "folder": "no regular file"}
	if os.Geteuid() == 0 {
		write("theirs", 0o600)
		if err := os.Chown(path("theirs"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		want["theirs"] = "another user"
	}
	for name, why := range want {
		f, _, err := openResults(path(name), true, false)
		if f != nil {
			f.Close()
		}
		if why == "" && err != nil || why != "" && (err == nil || explain(err).status != exitUsage || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	if _, err := os.Lstat(path("nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a link pointed at was made: %v", err)
	}
}
