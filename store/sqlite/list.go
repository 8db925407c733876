package sqlite

import (
	"context"
	"math"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

const (
	sqlList = `SELECT s.id, s.created, ` + judged + `, ` + columns + ` FROM session s INDEXED BY session_created
		LEFT JOIN raise r ON r.generation=s.generation
		WHERE (s.created, s.id)<(?1, ?2) ORDER BY s.created DESC, s.id DESC`
	sqlListSubject = `SELECT b.id, b.created, ` + judged + `, ` + columns + ` FROM by_subject b CROSS JOIN session s ON s.id=b.id
		LEFT JOIN raise r ON r.generation=s.generation
		WHERE b.key=?3 AND b.ended=?4 AND (b.created, b.id)<(?1, ?2) ORDER BY b.created DESC, b.id DESC`
)

// placed is a record and its place in a list.
type placed struct {
	created int64
	rec     *latchkey.Record
}

// List implements latchkey.Store. Sessions made at the same instant come in
// descending order of their IDs.
func (s *Store) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	var page latchkey.ListPage
	var found []placed
	err := s.snapshot(ctx, func(c *conn) error {
		now := s.clock.micros()
		if q.Subject == "" {
			var err error
			found, err = list(c, after(c.query(sqlList), q.After), &q, now)
			return err
		}
		key := pack.SubjectKey(q.Subject)
		for ended := range int64(2) {
			if ended == 1 && q.State == latchkey.OnlyLive {
				break
			}
			part, err := list(c, after(c.query(sqlListSubject), q.After).int(key).int(ended), &q, now)
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
		return slices.Compare(b.rec.ID[:], a.rec.ID[:])
	})
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

// after binds the place behind which a page begins.
func after(q query, c latchkey.Cursor) query {
	if c.IsZero() {
		return q.int(math.MaxInt64).blob(nil)
	}
	return q.int(microOf(c.CreatedAt)).blob(c.ID[:])
}

// list reads one session more than a page holds: it tells whether there is a next one.
func list(c *conn, rows query, q *latchkey.ListQuery, now int64) (found []placed, err error) {
	defer rows.done()
	for len(found) <= q.PageSize() {
		ok, err := rows.next()
		if err != nil || !ok {
			return found, err
		}
		if q.State != latchkey.AnyState && stateAt(rows, 2).live(now) != (q.State == latchkey.OnlyLive) {
			continue
		}
		rec := new(latchkey.Record)
		if rec.ID, err = c.id(rows, 0); err != nil {
			return nil, err
		}
		if err := c.record(rows, 6, rec); err != nil {
			return nil, err
		}
		if q.Subject != "" && (rec.Subject != q.Subject || !q.AnyProvider && rec.Provider != q.Provider) {
			continue // another name under the same key, or another provider's
		}
		found = append(found, placed{rows.s.ColumnInt64(1), rec})
	}
	return found, nil
}

// Count implements latchkey.Counter. It looks at all rows, about 0.3 seconds
// a million, and keeps 8 bytes for each identity meanwhile.
func (s *Store) Count(ctx context.Context) (latchkey.Counts, error) {
	var counts latchkey.Counts
	err := s.interruptible(ctx, func(c *conn) error {
		now := s.clock.micros()
		q := c.query("SELECT s.who, " + judged + " FROM session s LEFT JOIN raise r ON r.generation=s.generation")
		defer q.done()
		counts = latchkey.Counts{}
		seen := make(map[int64]struct{})
		for {
			ok, err := q.next()
			if err != nil || !ok {
				counts.Identities = len(seen)
				return err
			}
			who := q.s.ColumnInt64(0)
			switch {
			case !stateAt(q, 1).live(now):
				counts.Ended++
			case who == 0:
				counts.Live++
				counts.Anonymous++
			default:
				counts.Live++
				seen[who] = struct{}{}
			}
		}
	})
	if err != nil {
		return latchkey.Counts{}, err
	}
	return counts, nil
}
