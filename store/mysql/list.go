package mysql

import (
	"context"
	"database/sql"
	"math"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// place is where a session is in a list.
type place struct {
	created int64
	id      latchkey.ID
}

// placed is a record and its place in a list.
type placed struct {
	place
	rec *latchkey.Record
}

// List implements latchkey.Store. Sessions made at the same instant come in
// descending order of their IDs.
func (s *Store) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	var page latchkey.ListPage
	var found []placed
	err := s.scan(ctx, boundMany, func(ctx context.Context, c *sql.Conn) (err error) {
		found = found[:0]
		if q.Subject == "" {
			found, err = s.list(ctx, c, &q, -1)
			return err
		}
		// In this order, so that none is missed that is ended meanwhile.
		for ended := range 2 {
			if ended == 1 && q.State == latchkey.OnlyLive {
				break
			}
			part, err := s.list(ctx, c, &q, ended)
			if err != nil {
				return err
			}
			found = append(found, part...)
		}
		return nil
	})
	if err != nil {
		return page, err
	}
	slices.SortStableFunc(found, func(a, b placed) int {
		if a.created != b.created {
			return int(max(min(b.created-a.created, 1), -1))
		}
		return slices.Compare(b.id[:], a.id[:])
	})
	// One that was ended between the two looks is in both.
	found = slices.CompactFunc(found, func(a, b placed) bool { return a.id == b.id })
	if size := q.PageSize(); len(found) > size {
		found = found[:size]
		last := found[size-1].rec
		page.Next = latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	page.Records = make([]*latchkey.Record, len(found))
	for i := range found {
		page.Records[i] = found[i].rec
	}
	return page, nil
}

// list reads one session more than a page holds: it tells whether there is a next
// one. Of a subject it reads those that are noted as ended, or the others.
func (s *Store) list(ctx context.Context, c *sql.Conn, q *latchkey.ListQuery, ended int) (list []placed, err error) {
	at := place{created: math.MaxInt64}
	if !q.After.IsZero() {
		at = place{microOf(q.After.CreatedAt), q.After.ID}
	}
	size := q.PageSize() + 1
	for len(list) < size {
		part, err := s.listPart(ctx, c, q, ended, at, size)
		if err != nil {
			return nil, err
		}
		for _, p := range part {
			// Another name may be under the same key.
			if q.Subject == "" || p.rec.Subject == q.Subject && (q.AnyProvider || p.rec.Provider == q.Provider) {
				list = append(list, p)
			}
		}
		if len(part) < size {
			break
		}
		at = part[size-1].place
	}
	return list, nil
}

// listPart reads sessions behind a place.
func (s *Store) listPart(ctx context.Context, c *sql.Conn, q *latchkey.ListQuery, ended int, at place, limit int) (part []placed, err error) {
	index := "by_created"
	if ended >= 0 {
		index = "by_subject"
	}
	text := "SELECT s.created, " + columns + " FROM " + fromBy(index) + " WHERE c.id=1 AND s.created<=? AND (s.created<? OR s.id<?)"
	values := []literal{num(at.created), num(at.created), rawID(at.id)}
	if ended >= 0 {
		text += " AND s.subject_key=? AND s.ended=?"
		values = append(values, num(pack.SubjectKey(q.Subject)), num(int64(ended)))
		if !q.AnyProvider {
			text += " AND s.who=?"
			values = append(values, num(pack.WhoKey(q.Provider, q.Subject)))
		}
	}
	now := literal(s.clock.sql())
	switch q.State {
	case latchkey.OnlyLive:
		text += " AND " + sqlLive
		values = append(values, now, now)
	case latchkey.OnlyEnded:
		text += " AND NOT " + sqlLive
		values = append(values, now, now)
	}
	var statement script
	statement.add(text+" ORDER BY s.created DESC, s.id DESC LIMIT ?", append(values, num(int64(limit)))...)
	err = ask(ctx, c, &statement, func(rows *sql.Rows) error {
		var sc scanned
		var created int64
		if err := rows.Scan(sc.targets(&created)...); err != nil {
			return err
		}
		r, err := sc.unpack()
		if err == nil {
			part = append(part, placed{place{created, r.rec.ID}, &r.rec})
		}
		return err
	})
	return part, err
}

// Count implements latchkey.Counter. The server looks at all rows, about a second
// a million.
func (s *Store) Count(ctx context.Context) (counts latchkey.Counts, err error) {
	err = s.scan(ctx, boundAll, func(ctx context.Context, c *sql.Conn) error {
		now := literal(s.clock.sql())
		var q script
		q.add(`SELECT coalesce(sum(live),0), count(DISTINCT IF(live AND who<>0, who, NULL)), coalesce(sum(live AND who=0),0), coalesce(sum(NOT live),0)
			FROM (SELECT s.who AS who, `+sqlLive+` AS live FROM latchkey_counter c JOIN latchkey_session s WHERE c.id=1) judged`, now, now)
		return ask(ctx, c, &q, func(rows *sql.Rows) error {
			return rows.Scan(&counts.Live, &counts.Identities, &counts.Anonymous, &counts.Ended)
		})
	})
	return counts, err
}
