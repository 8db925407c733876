package sqlite

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// note lists a stateless session as changed until its absolute limit. Of several
// limits the latest one counts: a token that was made under it may still be about.
func (t *tx) note(rec *latchkey.Record) error {
	if !rec.Stateless {
		return nil
	}
	return t.c.query("INSERT INTO changed (id, expires) VALUES (?1,?2) ON CONFLICT (id) DO UPDATE SET expires=max(expires, excluded.expires)").
		blob(rec.ID[:]).int(microOf(rec.ExpiresAt)).run()
}

const (
	sqlGeneration = "SELECT max(generation) FROM raise"
	sqlChanged    = "SELECT id FROM changed WHERE id>?1 AND expires>?2 ORDER BY id LIMIT ?3"
)

// Changed implements latchkey.ChangeLister. A page is one look at the file; a
// million entries are read in about half a second.
func (s *Store) Changed(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	if limit <= 0 {
		limit = latchkey.DefaultChangedLimit
	}
	var page latchkey.ChangedPage
	err := s.snapshot(ctx, func(c *conn) error {
		raised, _, err := c.query(sqlGeneration).number()
		if err != nil {
			return err
		}
		page = latchkey.ChangedPage{Generation: uint64(raised) + 1}
		q := c.query(sqlChanged).blob(after[:]).int(s.clock.micros()).int(int64(limit) + 1)
		defer q.done()
		for {
			ok, err := q.next()
			if err != nil || !ok {
				return err
			}
			if len(page.IDs) == limit {
				page.Next = page.IDs[limit-1]
				return nil
			}
			id, err := c.id(q, 0)
			if err != nil {
				return err
			}
			page.IDs = append(page.IDs, id)
		}
	})
	if err != nil {
		return latchkey.ChangedPage{}, err
	}
	return page, nil
}

// keepChanged is how long an entry stays in the file after it has passed: a
// process whose clock is behind by less still reads it, as long as it would
// honour the token.
const keepChanged = 24 * time.Hour

// oldChanges removes what has passed from the list of changed sessions.
func (p *purge) oldChanges(ctx context.Context) error {
	var after latchkey.ID
	for more := true; more; {
		bound := p.s.clock.micros() - keepChanged.Microseconds()
		ids, err := p.find(ctx, func(c *conn) (ids []latchkey.ID, err error) {
			q := c.query("SELECT id FROM changed WHERE id>?1 AND expires<?2 ORDER BY id").blob(after[:]).int(bound)
			defer q.done()
			for len(ids) < p.batch {
				if more, err = q.next(); err != nil || !more {
					return ids, err
				}
				if after, err = c.id(q, 0); err != nil {
					return nil, err
				}
				ids = append(ids, after)
			}
			return ids, nil
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		_, err = do(ctx, p.s, func(t *tx) (struct{}, error) {
			for _, id := range ids {
				if err := t.c.query("DELETE FROM changed WHERE id=?1 AND expires<?2").blob(id[:]).int(bound).run(); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
