package console

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/page"
)

// refreshSeconds is how often the status page renews itself.
const refreshSeconds = 5

// counted is a count of the store's sessions and when it was taken.
type counted struct {
	latchkey.Counts
	err   error
	at    time.Time
	taken bool
}

// countAge is how old a shown count may be. It bounds what any number of open status
// pages costs the store.
const countAge = time.Second

// statusView is the status page's data.
type statusView struct {
	Counts  []figure // nil when the store does not count
	Away    bool     // the store gave no answer
	Lookups []row
	Changes []row
	Cache   []figure
	AsOf    instant
	Live    bool   // the page renews itself
	Other   string // the URL that pauses or resumes
	Seconds int
}

// figure is a number that stands out.
type figure struct{ Name, Value string }

// row is a line of a table.
type row struct{ Name, Hint, Value string }

// showStatus is GET /status. With updates=off the page stands still, for people whom
// a changing page disturbs (WCAG 2.2, success criterion 2.2.2).
func (c *Console) showStatus(w http.ResponseWriter, r *http.Request, s latchkey.Session) {
	now := c.m.Now()
	v := statusView{AsOf: newInstant(now, now), Live: r.URL.Query().Get("updates") != "off", Seconds: refreshSeconds}
	v.AsOf.Exact = now.UTC().Format("15:04:05 UTC")
	status := http.StatusOK
	if c.counter != nil {
		counts, err := c.count(r.Context(), now)
		if v.Away = err != nil; v.Away {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", strconv.Itoa(latchkey.RetryAfter))
		} else {
			v.Counts = []figure{{"Live sessions", number(counts.Live)}, {"Identities", number(counts.Identities)},
				{"Anonymous", number(counts.Anonymous)}, {"Ended, still kept", number(counts.Ended)}}
		}
	}
	st := c.m.Stats()
	v.Lookups = []row{
		{"Valid", "the session stands", number(st.Valid)},
		{"Invalid", "forged, unknown or replaced tokens", number(st.Invalid)},
		{"Ended", "signed out, idle, expired or revoked", number(st.Ended)},
		{"Unavailable", "the store gave no answer", number(st.Unavailable)},
	}
	v.Changes = []row{
		{"Sessions created", "", number(st.Created)},
		{"Sessions ended by somebody", "", number(st.Revoked)},
		{"Stolen tokens noticed", "a superseded token came back", number(st.Thefts)},
	}
	if c.cache != nil {
		cs := c.cache()
		v.Cache = []figure{{"Answered from memory", percent(hits(st), st.Loads)}, {"Sessions in memory", number(cs.Entries)}, {"Memory in use", size(cs.Bytes)}}
	}
	out := page.View{Title: "Status", User: display(s), Current: "/status"}
	v.Other = c.site.Path("/status")
	if v.Live {
		out.Refresh, out.RefreshSeconds = c.site.Path("/status?passive=1"), refreshSeconds
		v.Other += "?updates=off"
	}
	out.Body = v
	c.site.Render(w, r, status, c.status, out)
}

// count asks the store, at most once in countAge; pages that come meanwhile wait for
// that answer or share the last one. A failure is shared as briefly.
func (c *Console) count(ctx context.Context, now time.Time) (latchkey.Counts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts.taken && now.Sub(c.counts.at).Abs() < countAge {
		return c.counts.Counts, c.counts.err
	}
	// The answer is for others too, so that it must not fail because this visitor left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), countTimeout)
	defer cancel()
	counts, err := c.counter.Count(ctx)
	c.counts = counted{counts, err, now, true}
	return counts, err
}

// countTimeout bounds how long a status page waits for the store.
const countTimeout = 2 * time.Second

// hits is how many lookups needed no trip to the store. Invalid tokens are left out:
// most are refused before anything is asked.
func hits(st latchkey.Stats) uint64 {
	answered := st.Valid + st.Ended + st.Unavailable
	return answered - min(st.Loads, answered)
}

// size writes a number of bytes in the unit that suits it.
func size(bytes int64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if bytes < 1<<10 {
			return strconv.FormatInt(bytes, 10) + " " + unit
		}
		bytes >>= 10
	}
	return number(bytes) + " GiB"
}

// number writes a count with its digits in groups of three.
func number[N int | int64 | uint64](n N) string {
	digits := strconv.FormatUint(uint64(max(n, 0)), 10)
	var out []byte
	for i := range len(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, digits[i])
	}
	return string(out)
}

// percent is the share of hits, or a dash before anything was asked.
func percent(hits, misses uint64) string {
	total := float64(hits) + float64(misses)
	if total == 0 {
		return "–"
	}
	return strconv.FormatFloat(100*float64(hits)/total, 'f', 1, 64) + " %"
}
