package main

import (
	"strings"
	"testing"
	"time"
)

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
