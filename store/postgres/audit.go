package postgres

import (
	"context"
	"math"

	"github.com/latchkey-go/latchkey/audit"
)

// Audit implements audit.Reader. Events are read in the order of their positions,
// in which they were not always committed: whoever reads upwards, to go on behind
// the last one, is given none while an earlier one may still be to come. For that
// a page waits, where positions are missing in it, until the transactions that are
// about to end have done so; new ones wait meanwhile.
func (s *Store) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	if !plainName(q.Session, q.Provider, q.Subject) {
		return audit.Page{Events: []audit.Event{}}, nil // there is no such event
	}
	from := int64(min(q.After, math.MaxInt64))
	if q.After == 0 && !q.Ascending {
		from = math.MaxInt64
	}
	events, err := s.events(ctx, &q, from)
	if err == nil && q.Ascending && !gapless(&q, from, events) {
		last := int64(events[len(events)-1].Seq)
		ctx, cancel := context.WithTimeout(ctx, scanTimeout)
		defer cancel()
		if err = answer(s.run(ctx, s.work, stSettle, nil, true, nil)); err == nil {
			events, err = s.events(ctx, &q, from)
		}
		for len(events) > 0 && int64(events[len(events)-1].Seq) > last {
			events = events[:len(events)-1] // of transactions that began since
		}
	}
	if err != nil {
		return audit.Page{}, err
	}
	page := audit.Page{Events: events}
	if size := q.PageSize(); len(events) > size {
		page.Events = events[:size]
		page.Next = page.Events[size-1].Seq
	}
	return page, nil
}

// gapless reports whether no event can be missing between the ones that were read.
func gapless(q *audit.Query, from int64, events []audit.Event) bool {
	if len(events) == 0 {
		return true
	}
	if q.Session != "" || q.Subject != "" || q.Provider != "" {
		return false
	}
	return int64(events[len(events)-1].Seq) == from+int64(len(events))
}

// events reads one event more than a page holds: it tells whether there is a next one.
func (s *Store) events(ctx context.Context, q *audit.Query, from int64) ([]audit.Event, error) {
	p := newParams(5).int(from).text(q.Provider).int(int64(q.PageSize()) + 1)
	st := stTrail
	switch {
	case q.Session != "":
		st = stTrailOf
		p.text(q.Session).text(q.Subject)
	case q.Subject != "":
		st = stTrailSubject
		p.text(q.Subject)
	}
	if q.Ascending {
		st++ // the one upwards comes next
	}
	events := []audit.Event{}
	err := s.scan(ctx, st, p, func(c *columns) error {
		e := audit.Event{Seq: uint64(c.int()), Time: timeOf(c.int()), Count: int(c.int())}
		e.Action, e.Actor, e.Session = audit.Action(c.text()), c.text(), c.text()
		e.Provider, e.Subject, e.IP = c.text(), c.text(), c.text()
		e.Outcome, e.Reason = audit.Outcome(c.text()), c.text()
		events = append(events, e)
		return nil
	})
	return events, err
}
