package redis

import (
	"context"
	"strconv"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Audit implements audit.Reader. A session's and a subject's events are found by
// buckets of about one event in 4,096, and sorted out here.
func (s *Store) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	page := audit.Page{Events: []audit.Event{}}
	if err := s.open(ctx); err != nil {
		return audit.Page{}, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if s.cfg.Mode == Cluster {
		if err := s.drain(ctx); err != nil {
			return audit.Page{}, err
		}
	}
	up, name := "0", ""
	if q.Ascending {
		up = "1"
	}
	switch {
	case q.Session != "":
		name = "as:other"
		if id, err := latchkey.ParseID(q.Session); err == nil {
			name = "as:" + tagText(id.Placement())
		}
	case q.Subject != "":
		name = "au:" + subjectTag(q.Subject)
	}
	const exact = 1 << 53 // of Lua's numbers; no position is beyond
	after, size := min(q.After, exact), q.PageSize()
	for more := true; more; {
		f, err := s.do(ctx, call{sc: &s.scripts.trail, tag: trailTag, weak: true, among: args{name, up, strconv.FormatUint(after, 10), strconv.Itoa(size + 1)}})
		if err != nil {
			return audit.Page{}, err
		}
		looked := f.int(1)
		more = f.flag(2)
		if f.text(0) != "ok" || f.bad || len(f.list)%2 != 1 || more && looked <= 0 {
			return audit.Page{}, unavailable(errAnswer)
		}
		for rest := f.list[3:]; len(rest) > 0; rest = rest[2:] {
			var e audit.Event
			if e.Seq, err = strconv.ParseUint(rest[0], 10, 64); err != nil {
				return audit.Page{}, unavailable(errAnswer)
			}
			if err := unpackEvent(rest[1], &e); err != nil {
				return audit.Page{}, unavailable(err)
			}
			if !matches(&e, &q) {
				continue
			}
			if len(page.Events) == size {
				page.Next = page.Events[size-1].Seq
				return page, nil
			}
			page.Events = append(page.Events, e)
		}
		after = uint64(looked)
	}
	return page, nil
}

func matches(e *audit.Event, q *audit.Query) bool {
	return (q.Session == "" || e.Session == q.Session) && (q.Subject == "" || e.Subject == q.Subject) &&
		(q.Provider == "" || e.Provider == q.Provider)
}
