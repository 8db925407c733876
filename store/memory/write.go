package memory

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Reasons of what a Create ends.
const (
	reasonReplaced = "replaced"
	reasonLimit    = "limit"
)

// Create implements latchkey.Store. All is decided before anything is changed, so
// that a sign-in which is refused ends nothing.
func (s *Store) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	var created latchkey.Created
	rec := clone(&c.Record) // outside the lock
	err := s.change(ctx, func(now time.Time, b *latchkey.Batch) error {
		if s.rows[rec.ID] != nil {
			return latchkey.NewError(latchkey.CodeConflict, "a session with this ID exists already", nil)
		}
		if s.marked(&rec, micro(c.Began), now) {
			return latchkey.NewError(latchkey.CodeDenied, "signed out everywhere since the sign-in began; sign in again", nil)
		}
		old := s.rows[c.Replaces]
		if old != nil && c.ReplacesVersion != 0 && old.rec.Version != c.ReplacesVersion && s.state(old, now) == latchkey.Live {
			return latchkey.NewError(latchkey.CodeConflict, "the session to replace was changed meanwhile", nil)
		}
		evicted, err := s.overLimit(&c, now)
		if err != nil {
			return err
		}
		event := s.stamped(c.Event, now)
		if old != nil {
			created.Replaced = s.state(old, now) == latchkey.Live
			if s.revoke(old, now, event.Actor, reasonReplaced) {
				s.endedBy(event, audit.Revoke, old.rec.ID, reasonReplaced)
				b.IDs = append(b.IDs, old.rec.ID)
			}
		}
		for _, old := range evicted {
			s.revoke(old, now, event.Actor, reasonLimit)
			s.endedBy(event, audit.Evict, old.rec.ID, reasonLimit)
			b.IDs = append(b.IDs, old.rec.ID)
			created.Evicted = append(created.Evicted, old.rec.ID)
		}
		rec.Generation, rec.Version = s.generation(), 1
		rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = time.Time{}, "", ""
		created.Generation = rec.Generation
		s.add(&row{rec: rec})
		s.record(event)
		return nil
	})
	if err != nil {
		return latchkey.Created{}, err
	}
	return created, nil
}

// overLimit returns the live sessions that must end to make room for c, or an
// error when its policy is to refuse.
func (s *Store) overLimit(c *latchkey.Create, now time.Time) ([]*row, error) {
	if c.Limit <= 0 || c.Record.Subject == "" {
		return nil, nil
	}
	var live []*row
	s.identities[c.Record.Subject][c.Record.Provider].present(func(r *row) bool {
		if r.rec.ID != c.Replaces && s.state(r, now) == latchkey.Live {
			live = append(live, r)
		}
		return true
	})
	over := len(live) + 1 - c.Limit
	switch {
	case over <= 0:
		return nil, nil
	case c.Policy == latchkey.RefuseNew:
		return nil, latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed are live; end one first", nil)
	}
	return live[:over], nil
}

// endedBy records what a Create ended, under the actor, identity and time of its event.
func (s *Store) endedBy(created audit.Event, action audit.Action, id latchkey.ID, reason string) {
	created.Action, created.Session, created.Reason, created.Outcome, created.Count = action, id.String(), reason, audit.Done, 0
	s.record(created)
}

// Patch implements latchkey.Store.
func (s *Store) Patch(ctx context.Context, p latchkey.Patch) error {
	next := clone(&p.Record)
	return s.change(ctx, func(now time.Time, b *latchkey.Batch) error {
		r := s.rows[next.ID]
		switch {
		case r == nil:
			return noSuchSession()
		case s.state(r, now) != latchkey.Live:
			return latchkey.NewError(latchkey.CodeInvalidSession, "the session has ended", nil)
		case r.rec.Version != next.Version:
			return latchkey.NewError(latchkey.CodeConflict, "the session was changed meanwhile", nil)
		}
		old := &r.rec
		next.Provider, next.Subject, next.CreatedAt, next.Generation = old.Provider, old.Subject, old.CreatedAt, old.Generation
		next.Stateless = old.Stateless
		next.RevokedAt, next.RevokedBy, next.RevokedReason = time.Time{}, "", ""
		if old.LastSeenAt.After(next.LastSeenAt) {
			next.LastSeenAt = old.LastSeenAt
		}
		next.Version++
		s.noteChange(old, now)
		s.noteChange(&next, now)
		s.unindexSID(r)
		r.rec = next
		s.indexSID(r)
		if p.Event != nil {
			s.record(s.stamped(*p.Event, now))
		}
		b.IDs = append(b.IDs, next.ID)
		return nil
	})
}

// Touch implements latchkey.Store.
func (s *Store) Touch(ctx context.Context, touches []latchkey.Touch) error {
	return s.change(ctx, func(now time.Time, _ *latchkey.Batch) error {
		for _, t := range touches {
			r := s.rows[t.ID]
			if r == nil {
				continue
			}
			at := micro(t.At)
			if at.After(now) {
				at = now
			}
			// Whether it is idle is judged at the activity, which may be a little while
			// ago; everything else at present.
			ended := s.superseded(r) || !r.rec.RevokedAt.IsZero() || !now.Before(r.rec.ExpiresAt)
			if !ended && at.After(r.rec.LastSeenAt) && r.rec.StateAt(at) == latchkey.Live {
				r.rec.LastSeenAt = at
			}
		}
		return nil
	})
}
