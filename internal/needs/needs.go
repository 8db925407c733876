// Package needs finds the programs and Python modules that tests run. What is missing
// fails a test where CI=true and skips it elsewhere, by name.
package needs

import (
	"os"
	"os/exec"
	"strings"
)

// TB is what is needed of testing.TB, and what a TestMain can have as well.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Missing ends a test for want of something: it fails where CI=true, and is skipped
// elsewhere.
func Missing(t TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
		return
	}
	t.Skipf(format, args...)
}

// Program returns the path of the first of names that is there, on the PATH or where
// Debian puts servers.
func Program(t TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, at := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name, "/usr/local/bin/" + name} {
			if path, err := exec.LookPath(at); err == nil {
				return path
			}
		}
	}
	Missing(t, "%s is missing; scripts/setup installs it", strings.Join(names, " or "))
	return ""
}

// Python returns a Python that has modules, a list with commas: the one on the PATH,
// or Debian's, which has Debian's modules.
func Python(t TB, modules string) string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import "+modules).Run() == nil {
			return python
		}
	}
	Missing(t, "no python3 with %s; scripts/setup installs them", modules)
	return ""
}
