package memory

import (
	"context"
	"sort"
	"time"

	"github.com/latchkey-go/latchkey/audit"
)

// record appends an event to the trail and forgets the oldest beyond the bound.
func (s *Store) record(e audit.Event) {
	s.seq++
	e.Seq = s.seq
	s.trail = append(s.trail, e)
	if over := len(s.trail) - s.maxAudit; over > 0 {
		clear(s.trail[:over]) // the strings must not outlive their events
		s.trail = s.trail[over:]
	}
}

// stamped is e with a time, the store's unless the caller gave one.
func (s *Store) stamped(e audit.Event, now time.Time) audit.Event {
	if e.Time = micro(e.Time); e.Time.IsZero() {
		e.Time = now
	}
	return e
}

// Audit implements audit.Reader. It walks the trail from where the query begins.
func (s *Store) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	if err := s.read(ctx); err != nil {
		return audit.Page{}, err
	}
	defer s.mu.RUnlock()
	size := q.PageSize()
	at, end, step := len(s.trail)-1, -1, -1
	switch {
	case q.Ascending:
		at, end, step = s.place(q.After+1), len(s.trail), 1
	case q.After > 0:
		at = s.place(q.After) - 1
	}
	page := audit.Page{Events: []audit.Event{}}
	for ; at != end; at += step {
		e := &s.trail[at]
		if !matches(e, &q) {
			continue
		}
		if len(page.Events) == size {
			page.Next = page.Events[size-1].Seq
			break
		}
		page.Events = append(page.Events, *e)
	}
	return page, nil
}

// place is the index of the first event that is not before seq.
func (s *Store) place(seq uint64) int {
	return sort.Search(len(s.trail), func(i int) bool { return s.trail[i].Seq >= seq })
}

func matches(e *audit.Event, q *audit.Query) bool {
	return (q.Session == "" || e.Session == q.Session) &&
		(q.Subject == "" || e.Subject == q.Subject) &&
		(q.Provider == "" || e.Provider == q.Provider)
}
