package memory

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"time"

	"github.com/latchkey-go/latchkey"
)

// changes are the stateless sessions that are not as they were created. until
// tells how long each one counts; the lists hold each ID once, for reading in
// order. The zero value of the lists is empty.
type changes struct {
	until  map[latchkey.ID]time.Time
	sorted []latchkey.ID
	recent []latchkey.ID // not yet merged into sorted, in no order
}

// minRecent is how many recent changes there are at least before they are merged.
const minRecent = 1024

// add lists a session until its absolute limit. A limit may have moved: of several
// the latest one counts, since a token that was made under it may still be about.
func (c *changes) add(id latchkey.ID, limit, now time.Time) {
	before, listed := c.until[id]
	if listed && !limit.After(before) || !limit.After(now) {
		return
	}
	c.until[id] = limit
	if listed {
		return
	}
	c.recent = append(c.recent, id)
	if len(c.recent) >= minRecent+len(c.sorted)/8 {
		c.merge(now)
	}
}

// merge puts the lists in order, and forgets what has passed.
func (c *changes) merge(now time.Time) {
	c.sorted = slices.DeleteFunc(append(c.sorted, c.recent...), func(id latchkey.ID) bool {
		if c.until[id].After(now) {
			return false
		}
		delete(c.until, id)
		return true
	})
	c.recent = c.recent[:0]
	slices.SortFunc(c.sorted, byID)
}

func byID(a, b latchkey.ID) int { return bytes.Compare(a[:], b[:]) }

// page lists up to n sessions behind one, and one more where there is one.
func (c *changes) page(after latchkey.ID, n int, now time.Time) []latchkey.ID {
	var ids []latchkey.ID
	from := sort.Search(len(c.sorted), func(i int) bool { return byID(c.sorted[i], after) > 0 })
	for _, id := range c.sorted[from:] {
		if len(ids) > n {
			break
		}
		if c.until[id].After(now) {
			ids = append(ids, id)
		}
	}
	for _, id := range c.recent {
		if byID(id, after) > 0 && c.until[id].After(now) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, byID)
	return ids[:min(len(ids), n+1)]
}

// noteChange lists a stateless session that is no longer as it was created.
func (s *Store) noteChange(rec *latchkey.Record, now time.Time) {
	if rec.Stateless {
		s.changes.add(rec.ID, rec.ExpiresAt, now)
	}
}

// Changed implements latchkey.ChangeLister.
func (s *Store) Changed(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	if limit <= 0 {
		limit = latchkey.DefaultChangedLimit
	}
	if err := s.read(ctx); err != nil {
		return latchkey.ChangedPage{}, err
	}
	defer s.mu.RUnlock()
	page := latchkey.ChangedPage{Generation: s.generation()}
	page.IDs = s.changes.page(after, limit, s.now())
	if len(page.IDs) > limit {
		page.IDs = page.IDs[:limit]
		page.Next = page.IDs[limit-1]
	}
	return page, nil
}
