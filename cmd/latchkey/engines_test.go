package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// Redis has no schema; migrate makes the store there all the same, and says when it
// cannot.
func TestMigrateRedis(t *testing.T) {
	server := servers.StartRedis(t)
	t.Chdir(t.TempDir())
	runs := func(want int, store string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), append(args, "--store", store), strings.NewReader(""), &out, &errs, env()); got != want {
			t.Fatalf("latchkey %v: status %d, want %d\n%s%s", args, got, want, out.String(), errs.String())
		}
		return errs.String()
	}
	runs(0, "", "key", "generate")
	if text := runs(4, "redis://127.0.0.1:1", "migrate"); strings.Count(text, "refused") != 1 {
		t.Errorf("a cause is told twice: %s", text)
	}
	runs(4, server.URL, "session", "issue", "--subject", "alice")
	for range 2 {
		if text := runs(0, server.URL, "migrate"); !strings.HasSuffix(text, "is there, and has no schema to bring anywhere\n") {
			t.Error(text)
		}
	}
	runs(0, server.URL, "session", "issue", "--subject", "alice")
}

// Where a primary may be cut off, its beats count no longer than an entry of the near
// cache; what would have them is told before anything is opened.
func TestCheckLease(t *testing.T) {
	for _, c := range []struct {
		store     string
		staleness time.Duration
		want      string
	}{
		{"redis://h:1", 10 * time.Millisecond, ""},
		{"redis+sentinel://h:1/m", 0, ""},
		{"redis+sentinel://h:1/m", 100 * time.Millisecond, ""},
		{"redis+sentinel://h:1/m?lease=500ms", time.Second, ""},
		{"redis+sentinel://h:1/m", 99 * time.Millisecond, "--staleness: 99ms is less than the 100ms"},
		{"redis+cluster://h:1", 10 * time.Millisecond, "--staleness: 10ms is less than the 100ms"},
		{"redis+cluster://h:1?lease=2s", time.Second, "--store: lease: 2s is longer than the --staleness of 1s"},
	} {
		problems := checkRedis(&settings{store: c.store, staleness: c.staleness})
		if got := strings.Join(problems, "; "); (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s, staleness %v: %q, want %q", c.store, c.staleness, got, c.want)
		}
	}
}
