package console

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func TestRelative(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{0, "Just now"}, {-time.Second, "Just now"}, {-59 * time.Second, "Just now"}, {-time.Minute, "1 minute ago"}, {-119 * time.Second, "1 minute ago"},
		{-2 * time.Minute, "2 minutes ago"}, {-time.Hour + 1, "59 minutes ago"}, {-time.Hour, "1 hour ago"}, {-47 * time.Hour, "47 hours ago"}, {-48 * time.Hour, "2 days ago"},
		{-400 * 24 * time.Hour, "400 days ago"}, {time.Second, "in less than a minute"}, {time.Minute, "in 1 minute"}, {3 * time.Hour, "in 3 hours"},
		{-1 << 63, "106751 days ago"},
	} {
		if got := relative(tc.d); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.d, got, tc.want)
		}
	}
}

func TestInstant(t *testing.T) {
	at := time.Date(2025, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	if got, want := newInstant(at, at.Add(time.Hour)), (instant{"1 hour ago", "4 Mar 2025, 04:06 UTC", "2025-03-04T04:06:07Z"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := newInstant(time.Time{}, at); got != (instant{Relative: "Not known"}) {
		t.Errorf("got %v", got)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1<<64 - 1: "18,446,744,073,709,551,615"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := number(-1); got != "0" {
		t.Errorf("-1: %q", got)
	}
	for _, tc := range []struct {
		hits, misses uint64
		want         string
	}{{0, 0, "–"}, {1, 0, "100.0 %"}, {0, 1, "0.0 %"}, {2, 1, "66.7 %"}, {1<<64 - 1, 1<<64 - 1, "50.0 %"}} {
		if got := percent(tc.hits, tc.misses); got != tc.want {
			t.Errorf("%d of %d: %q, want %q", tc.hits, tc.misses, got, tc.want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1 KiB", 1<<20 - 1: "1023 KiB", 5 << 20: "5 MiB", 3 << 30: "3 GiB", 1 << 42: "4,096 GiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestHits(t *testing.T) {
	for _, tc := range []struct {
		st   latchkey.Stats
		want uint64
	}{{latchkey.Stats{}, 0}, {latchkey.Stats{Valid: 100, Ended: 50, Loads: 60}, 90}, {latchkey.Stats{Valid: 1, Loads: 3, Invalid: 2}, 0}} {
		if got := hits(tc.st); got != tc.want {
			t.Errorf("%+v: %d, want %d", tc.st, got, tc.want)
		}
	}
}

func TestPlace(t *testing.T) {
	for ip, want := range map[string]string{"": "Not recorded", "192.0.2.0/24": "Network 192.0.2.0/24", "2001:db8::/48": "Network 2001:db8::/48", "192.0.2.1": "192.0.2.1"} {
		if got := place(ip); got != want {
			t.Errorf("%q: %q, want %q", ip, got, want)
		}
	}
}
