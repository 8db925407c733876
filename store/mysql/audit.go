package mysql

import (
	"context"
	"database/sql"
	"math"

	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Audit implements audit.Reader.
func (s *Store) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	var page audit.Page
	err := s.scan(ctx, boundMany, func(ctx context.Context, c *sql.Conn) error {
		page = audit.Page{Events: []audit.Event{}}
		return trail(ctx, c, &q, &page)
	})
	if err != nil {
		return audit.Page{}, err
	}
	return page, nil
}

// trail reads a page, in parts, since of a part some may be about others.
func trail(ctx context.Context, c *sql.Conn, q *audit.Query, page *audit.Page) error {
	size := q.PageSize()
	after := int64(min(q.After, math.MaxInt64))
	if q.After == 0 && !q.Ascending {
		after = math.MaxInt64
	}
	for {
		part, err := trailPart(ctx, c, q, after, size+1)
		if err != nil {
			return err
		}
		for _, e := range part {
			after = int64(e.Seq)
			if q.Session != "" && e.Session != q.Session || q.Subject != "" && e.Subject != q.Subject || q.Provider != "" && e.Provider != q.Provider {
				continue
			}
			if len(page.Events) == size {
				page.Next = page.Events[size-1].Seq
				return nil
			}
			page.Events = append(page.Events, e)
		}
		if len(part) <= size {
			return nil
		}
	}
}

// trailPart reads events behind a position, of which the session's or the
// subject's key is the one asked for.
func trailPart(ctx context.Context, c *sql.Conn, q *audit.Query, after int64, limit int) (part []audit.Event, err error) {
	text, order := "SELECT seq, at, session, event FROM latchkey_audit WHERE seq<?", " ORDER BY seq DESC"
	if q.Ascending {
		text, order = "SELECT seq, at, session, event FROM latchkey_audit WHERE seq>?", " ORDER BY seq"
	}
	values := []literal{num(after)}
	if q.Session != "" {
		text += " AND session=?"
		values = append(values, raw(sessionColumn(q.Session)))
	}
	if q.Subject != "" {
		text += " AND subject_key=?"
		values = append(values, num(pack.SubjectKey(q.Subject)))
	}
	var statement script
	statement.add(text+order+" LIMIT ?", append(values, num(int64(limit)))...)
	err = ask(ctx, c, &statement, func(rows *sql.Rows) error {
		e, err := scanEvent(rows)
		part = append(part, e)
		return err
	})
	return part, err
}

// scanEvent reads the columns seq, at, session, event.
func scanEvent(rows *sql.Rows) (e audit.Event, err error) {
	var seq, at int64
	var session, packed sql.RawBytes
	if err := rows.Scan(&seq, &at, &session, &packed); err != nil {
		return e, err
	}
	e.Seq, e.Time, e.Session = uint64(seq), timeOf(at), sessionText(session)
	return e, unpackEvent(packed, &e)
}
