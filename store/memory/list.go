package memory

import (
	"context"
	"slices"

	"github.com/latchkey-go/latchkey"
)

// List implements latchkey.Store. Sessions made at the same instant come in
// descending order of their IDs.
func (s *Store) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	if err := s.read(ctx); err != nil {
		return latchkey.ListPage{}, err
	}
	defer s.mu.RUnlock()
	now := s.now()
	size := q.PageSize()
	orders := []*order{&s.all}
	if q.Subject != "" {
		orders = s.identity(q.Provider, q.Subject, q.AnyProvider)
	}
	// Of each order one row more than a page: it tells whether there is a next one.
	var found []*row
	for _, o := range orders {
		taken := 0
		o.behind(q.After, func(r *row) bool {
			live := s.state(r, now) == latchkey.Live
			if q.State == latchkey.AnyState || live == (q.State == latchkey.OnlyLive) {
				found = append(found, r)
				taken++
			}
			return taken <= size
		})
	}
	if len(orders) > 1 {
		slices.SortFunc(found, func(a, b *row) int {
			return compare(b.rec.CreatedAt, b.rec.ID, a.rec.CreatedAt, a.rec.ID)
		})
	}
	var page latchkey.ListPage
	if len(found) > size {
		found = found[:size]
		last := &found[size-1].rec
		page.Next = latchkey.Cursor{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	page.Records = make([]*latchkey.Record, len(found))
	for i, r := range found {
		page.Records[i] = s.show(r)
	}
	return page, nil
}
