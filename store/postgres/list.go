package postgres

import (
	"context"
	"math"

	"github.com/latchkey-go/latchkey"
)

// List implements latchkey.Store. Sessions made at the same instant come in
// descending order of their IDs.
func (s *Store) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	at, id := int64(math.MaxInt64), latchkey.ID{}
	if !q.After.IsZero() {
		at, id = microOf(q.After.CreatedAt), q.After.ID
	}
	size := q.PageSize()
	p := s.nowParam(newParams(7)).int(at).uuid(id).int(int64(size) + 1).int(int64(q.State))
	st := stList
	if q.Subject != "" {
		if !plainName(q.Provider, q.Subject) {
			return latchkey.ListPage{}, nil // nobody has such a name
		}
		st = stListSubject
		p.text(q.Subject).optText(q.Provider, !q.AnyProvider)
	}
	var rows []row
	n := 0
	err := s.scan(ctx, st, p, func(c *columns) error {
		n++
		r, err := readRow(c)
		if r.rec != nil {
			rows = append(rows, r)
		}
		return err
	})
	if err == nil && n == 0 {
		err = unavailable(errNoStore)
	}
	if err != nil {
		return latchkey.ListPage{}, err
	}
	var page latchkey.ListPage
	if len(rows) > size {
		rows = rows[:size]
		last := rows[size-1].rec
		page.Next = latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	page.Records = make([]*latchkey.Record, len(rows))
	for i, r := range rows {
		if page.Records[i], err = s.judge(ctx, r); err != nil {
			return latchkey.ListPage{}, answer(err)
		}
	}
	return page, nil
}

// Count implements latchkey.Counter. It looks at all rows.
func (s *Store) Count(ctx context.Context) (latchkey.Counts, error) {
	var counts latchkey.Counts
	err := s.scan(ctx, stCount, s.nowParam(newParams(1)), func(c *columns) error {
		if _, ok := c.optInt(); !ok {
			return errNoStore
		}
		counts.Live, counts.Ended = int(c.int()), int(c.int())
		counts.Anonymous, counts.Identities = int(c.int()), int(c.int())
		return nil
	})
	if err != nil {
		return latchkey.Counts{}, err
	}
	return counts, nil
}

// Changed implements latchkey.ChangeLister. A page is one look at the database.
func (s *Store) Changed(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	if limit <= 0 {
		limit = latchkey.DefaultChangedLimit
	}
	var page latchkey.ChangedPage
	n := 0
	err := s.scan(ctx, stChanged, s.nowParam(newParams(3)).uuid(after).int(int64(limit)+1), func(c *columns) error {
		n++
		generation := c.int()
		if generation == standby {
			return errStandby
		}
		page.Generation = uint64(generation)
		if c.row[0] != nil {
			page.IDs = append(page.IDs, c.id())
		}
		return nil
	})
	if err == nil && n == 0 {
		err = unavailable(errNoStore)
	}
	if err != nil {
		return latchkey.ChangedPage{}, err
	}
	if len(page.IDs) > limit {
		page.IDs = page.IDs[:limit]
		page.Next = page.IDs[limit-1]
	}
	return page, nil
}
