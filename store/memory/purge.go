package memory

import (
	"context"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

const defaultBatch = 1000

// Purge implements latchkey.Store. The lock is let go between batches. When ctx
// ends it stops after a whole batch; what went until then is counted and recorded.
func (s *Store) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	if err := s.read(ctx); err != nil {
		return 0, err
	}
	picked := s.pick(&p)
	s.mu.RUnlock()

	batch := p.Batch
	if batch <= 0 {
		batch = defaultBatch
	}
	// Everything else about a purge goes with its last batch: the event counts what
	// went before it, too.
	removed := 0
	for {
		part := picked[:min(batch, len(picked))]
		picked = picked[len(part):]
		last := len(picked) == 0
		err := s.change(ctx, func(now time.Time, b *latchkey.Batch) error {
			for _, r := range part {
				if !r.gone && s.purgeable(r, &p, now) {
					s.noteChange(&r.rec, now)
					s.remove(r)
					b.IDs = append(b.IDs, r.rec.ID)
				}
			}
			removed += len(b.IDs)
			if last {
				s.finishPurge(&p, removed, now)
			}
			return nil
		})
		switch {
		case err != nil && removed > 0 && !last:
			s.stopPurge(&p, removed)
			return removed, err
		case err != nil || last:
			return removed, err
		}
	}
}

// pick lists the rows that are to go.
func (s *Store) pick(p *latchkey.Purge) []*row {
	now := s.now()
	var picked []*row
	if !p.Erase.IsZero() {
		s.identities[p.Erase.Subject][p.Erase.Provider].present(func(r *row) bool {
			picked = append(picked, r)
			return true
		})
	}
	if !p.EndedBefore.IsZero() {
		for _, r := range s.rows {
			if !erases(p, r) && s.purgeable(r, p, now) {
				picked = append(picked, r)
			}
		}
	}
	return picked
}

// erases reports whether a row is of the identity to erase. Nobody's are not.
func erases(p *latchkey.Purge, r *row) bool {
	return !p.Erase.IsZero() && r.rec.Identity() == p.Erase
}

// purgeable reports whether a row is to go: it is of the identity to erase, or it
// has ended before the bound. A bound in the future spares what is live.
func (s *Store) purgeable(r *row, p *latchkey.Purge, now time.Time) bool {
	return erases(p, r) || !p.EndedBefore.IsZero() && s.state(r, now) != latchkey.Live && s.endedAt(r).Before(p.EndedBefore)
}

// finishPurge removes old events and the erased name, and records the purge.
func (s *Store) finishPurge(p *latchkey.Purge, removed int, now time.Time) {
	events := 0
	if !p.EndedBefore.IsZero() {
		before := len(s.trail)
		s.trail = slices.DeleteFunc(s.trail, func(e audit.Event) bool { return e.Time.Before(p.EndedBefore) })
		events = before - len(s.trail)
	}
	if !p.Erase.IsZero() {
		for i := range s.trail {
			if e := &s.trail[i]; names(e, p.Erase) {
				e.Provider, e.Subject, e.IP = "", "", ""
			}
		}
	}
	s.dropMarks(now)
	s.dropSpent(now)
	s.changes.merge(now)
	if removed > 0 || events > 0 {
		s.recordPurge(p, removed, now)
	}
}

// names reports whether an event is about an identity, or about its subject
// under every provider.
func names(e *audit.Event, who latchkey.Identity) bool {
	return e.Subject == who.Subject && (e.Provider == who.Provider || e.Provider == "")
}

// recordPurge records the purge without naming whom it erased.
func (s *Store) recordPurge(p *latchkey.Purge, removed int, now time.Time) {
	e := p.Event
	e.Time, e.Count = now, removed
	if !p.Erase.IsZero() && names(&e, p.Erase) {
		e.Provider, e.Subject, e.IP = "", "", ""
	}
	s.record(e)
}

// stopPurge records a purge that was broken off.
func (s *Store) stopPurge(p *latchkey.Purge, removed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.recordPurge(p, removed, s.now())
	}
}
