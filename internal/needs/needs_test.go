package needs

import (
	"fmt"
	"strings"
	"testing"
)

// told keeps how a test was ended.
type told struct{ fatal, skip string }

func (*told) Helper()                     {}
func (t *told) Skipf(f string, a ...any)  { t.skip = fmt.Sprintf(f, a...) }
func (t *told) Fatalf(f string, a ...any) { t.fatal = fmt.Sprintf(f, a...) }

// What is missing is named; it fails a test where CI=true and only there.
func TestMissing(t *testing.T) {
	for what, find := range map[string]func(TB) string{
		"no-such-program": func(t TB) string { return Program(t, "no-such-program") },
		"no_such_module":  func(t TB) string { return Python(t, "no_such_module") },
	} {
		for _, ci := range []string{"true", ""} {
			t.Setenv("CI", ci)
			var how told
			if path := find(&how); path != "" {
				t.Errorf("found %s at %s", what, path)
			}
			failed, skipped := strings.Contains(how.fatal, what), strings.Contains(how.skip, what)
			if failed != (ci == "true") || skipped == failed {
				t.Errorf("CI=%q: failed with %q, skipped with %q", ci, how.fatal, how.skip)
			}
		}
	}
	var how told
	if path := Program(&how, "no-such-program", "sh"); path == "" || how != (told{}) {
		t.Errorf("sh is at %q, %+v", path, how)
	}
}
