package sqlite

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

const (
	sqlTrail        = `SELECT seq, at, session, event FROM audit WHERE seq<?1 ORDER BY seq DESC`
	sqlTrailUp      = `SELECT seq, at, session, event FROM audit WHERE seq>?1 ORDER BY seq`
	sqlTrailOf      = `SELECT seq, at, session, event FROM audit WHERE session=?2 AND seq<?1 ORDER BY seq DESC`
	sqlTrailOfUp    = `SELECT seq, at, session, event FROM audit WHERE session=?2 AND seq>?1 ORDER BY seq`
	sqlTrailSubject = `SELECT a.seq FROM by_subject b CROSS JOIN audit a ON a.session=b.id WHERE b.key=?1
		UNION SELECT seq FROM audit_subject WHERE key=?1`
	sqlEvent = `SELECT seq, at, session, event FROM audit WHERE seq=?1`
)

// Audit implements audit.Reader. A subject's events are found by its sessions,
// which costs about 3 microseconds for each that is kept.
func (s *Store) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	page := audit.Page{Events: []audit.Event{}}
	err := s.snapshot(ctx, func(c *conn) error {
		page.Events, page.Next = page.Events[:0], 0
		if q.Subject != "" {
			return subjectTrail(c, &q, &page)
		}
		return trail(c, &q, &page)
	})
	if err != nil {
		return audit.Page{}, err
	}
	return page, nil
}

// from is the position behind which a page begins.
func from(q *audit.Query) int64 {
	if q.After > math.MaxInt64 || q.After == 0 && !q.Ascending {
		return math.MaxInt64
	}
	return int64(q.After)
}

// trail reads a page of everybody's events, or of a session's.
func trail(c *conn, q *audit.Query, page *audit.Page) error {
	text := map[[2]bool]string{{false, false}: sqlTrail, {true, false}: sqlTrailUp, {false, true}: sqlTrailOf, {true, true}: sqlTrailOfUp}[[2]bool{q.Ascending, q.Session != ""}]
	rows := c.query(text).int(from(q))
	if q.Session != "" {
		rows = rows.blob(sessionColumn(q.Session))
	}
	defer rows.done()
	for {
		ok, err := rows.next()
		if err != nil || !ok {
			return err
		}
		if full, err := collect(c, rows, q, page); err != nil || full {
			return err
		}
	}
}

// collect adds the event of a row to the page if it is asked for, and reports
// whether there was no room left for it.
func collect(c *conn, rows query, q *audit.Query, page *audit.Page) (full bool, err error) {
	e, err := c.event(rows)
	switch {
	case err != nil:
		return false, err
	case q.Session != "" && e.Session != q.Session, q.Subject != "" && e.Subject != q.Subject, q.Provider != "" && e.Provider != q.Provider:
		return false, nil
	case len(page.Events) == q.PageSize():
		page.Next = page.Events[len(page.Events)-1].Seq
		return true, nil
	}
	page.Events = append(page.Events, e)
	return false, nil
}

// event reads the columns seq, at, session, event.
func (c *conn) event(q query) (audit.Event, error) {
	e := audit.Event{Seq: uint64(q.s.ColumnInt64(0)), Time: timeOf(q.s.ColumnInt64(1))}
	e.Session = sessionText(c.column(q, 2))
	if err := pack.ReadEvent(c.column(q, 3), &e); err != nil {
		return e, fmt.Errorf("%w: event %d: %w", errDamaged, e.Seq, err)
	}
	return e, nil
}

// subjectTrail reads a page of a subject's events.
func subjectTrail(c *conn, q *audit.Query, page *audit.Page) error {
	seqs, err := c.numbers(c.query(sqlTrailSubject).int(pack.SubjectKey(q.Subject)))
	if err != nil {
		return err
	}
	slices.Sort(seqs)
	if !q.Ascending {
		slices.Reverse(seqs)
	}
	start := from(q)
	for _, seq := range seqs {
		if q.Ascending && seq <= start || !q.Ascending && seq >= start {
			continue
		}
		rows := c.query(sqlEvent).int(seq)
		ok, err := rows.next()
		if err != nil {
			return err
		}
		if !ok {
			continue // the index is read in the same snapshot; nothing to tell
		}
		full, err := collect(c, rows, q, page)
		rows.done()
		if err != nil || full {
			return err
		}
	}
	return nil
}

// numbers reads the first column of all rows.
func (c *conn) numbers(q query) ([]int64, error) {
	var list []int64
	for {
		ok, err := q.next()
		if err != nil || !ok {
			return list, err
		}
		list = append(list, q.s.ColumnInt64(0))
	}
}
