package sessioncache

import (
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// Time reads a time of an entry, ISO 8601 as datetime.fromisoformat reads it; without
// an offset it is UTC. It reports false for text that is no time, the empty one too.
func Time(text string) (time.Time, bool) {
	t, _, ok := py.ParseISO(text)
	return t.UTC(), ok
}

// TimeText writes a time as the original does: datetime.isoformat in UTC.
func TimeText(t time.Time) string { return py.FormatISO(t) }
