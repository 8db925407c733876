package console

import (
	"strconv"
	"time"
)

// instant is a point in time as the pages show it: how far off for people, exact for
// those who want to know, and for machines. Pages without script cannot know the
// reader's time zone, so exact times are UTC and say so.
type instant struct {
	Relative string // "3 minutes ago", "in 2 hours"
	Exact    string // "20 Nov 2025, 14:02 UTC"
	Machine  string // RFC 3339
}

func newInstant(t, now time.Time) instant {
	if t.IsZero() {
		return instant{Relative: "Not known"}
	}
	t = t.UTC()
	return instant{relative(t.Sub(now)), t.Format("2 Jan 2006, 15:04 UTC"), t.Format(time.RFC3339)}
}

// relative says a distance in time in its largest unit, rounded down. Distances
// below a minute are "just now": activity is recorded no finer than that.
func relative(d time.Duration) string {
	past := d < 0
	n := d.Abs()
	var text string
	switch {
	case n < time.Minute && (past || n == 0):
		return "Just now"
	case n < time.Minute:
		return "in less than a minute"
	case n < time.Hour:
		text = plural(n/time.Minute, "minute")
	case n < 48*time.Hour:
		text = plural(n/time.Hour, "hour")
	default:
		text = plural(n/(24*time.Hour), "day")
	}
	if past {
		return text + " ago"
	}
	return "in " + text
}

func plural(n time.Duration, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.FormatInt(int64(n), 10) + " " + unit + "s"
}
