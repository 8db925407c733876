package memory

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// mark stands against sign-ins that began before a revocation.
type mark struct {
	kind           markKind
	provider, name string
}

type markKind byte

const (
	markIdentity markKind = iota // provider and subject
	markSubject                  // a subject under every provider
	markSID                      // a provider's own session
)

// minMarks is how many marks there are at least before old ones are looked for.
const minMarks = 1024

// leaveMark notes a revocation by identity or SID, and forgets marks that no
// longer count whenever their number has doubled.
func (s *Store) leaveMark(r *latchkey.Revocation, now time.Time) {
	if len(s.marks) >= s.sweepMarks {
		s.dropMarks(now)
		s.sweepMarks = max(minMarks, 2*len(s.marks))
	}
	switch {
	case r.SID != "":
		s.marks[mark{markSID, r.Provider, r.SID}] = now
	case r.AnyProvider:
		s.marks[mark{markSubject, "", r.Subject}] = now
	default:
		s.marks[mark{markIdentity, r.Provider, r.Subject}] = now
	}
}

func (s *Store) dropMarks(now time.Time) {
	for m, at := range s.marks {
		if now.Sub(at) > latchkey.RevocationMark {
			delete(s.marks, m)
		}
	}
}

// marked reports whether a sign-in that began then has been overtaken by a revocation.
func (s *Store) marked(rec *latchkey.Record, began, now time.Time) bool {
	if began.IsZero() {
		return false
	}
	stands := func(m mark) bool {
		at, ok := s.marks[m]
		return ok && !at.Before(began) && now.Sub(at) <= latchkey.RevocationMark
	}
	return rec.Subject != "" && (stands(mark{markIdentity, rec.Provider, rec.Subject}) || stands(mark{markSubject, "", rec.Subject})) ||
		rec.SID != "" && stands(mark{markSID, rec.Provider, rec.SID})
}

// revoke marks a row as ended by somebody and reports whether that changed it.
// What is revoked stays as it is. What is idle or expired is marked like the rest:
// a touch that is under way may yet show that it was not idle, and must not bring
// it back.
func (s *Store) revoke(r *row, now time.Time, by, reason string) bool {
	if s.state(r, now) == latchkey.Revoked {
		return false
	}
	r.rec.RevokedAt, r.rec.RevokedBy, r.rec.RevokedReason = now, by, reason
	s.noteChange(&r.rec, now)
	return true
}

// Revoke implements latchkey.Store. A session that is idle or expired is marked
// as revoked without being counted.
func (s *Store) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	var result latchkey.RevokeResult
	if err := r.Check(); err != nil {
		return result, err
	}
	err := s.change(ctx, func(now time.Time, b *latchkey.Batch) error {
		event := r.Event
		event.Time = now
		switch {
		case !r.ID.IsZero():
			row := s.rows[r.ID]
			if row == nil || r.Only.Subject != "" && row.rec.Identity() != r.Only {
				return noSuchSession()
			}
			s.end(row, now, &r, &result, b)
			if event.Subject == "" {
				event.Provider, event.Subject = row.rec.Provider, row.rec.Subject
			}
			if len(b.IDs) > 0 {
				s.record(event)
			}
			return nil
		case r.All:
			for _, row := range s.rows {
				if s.state(row, now) == latchkey.Live {
					result.Count++
				}
			}
			s.raises[s.present] = raise{now, r.By, r.Reason}
			s.present = max(s.present+1, uint64(now.UnixMicro()))
			b.All = true
		case r.SID != "":
			for _, row := range s.sids[sid{r.Provider, r.SID}] {
				s.end(row, now, &r, &result, b)
			}
			s.leaveMark(&r, now)
		default:
			for _, o := range s.identity(r.Provider, r.Subject, r.AnyProvider) {
				o.present(func(row *row) bool {
					if row.rec.ID != r.Except {
						s.end(row, now, &r, &result, b)
					}
					return true
				})
			}
			s.leaveMark(&r, now)
		}
		event.Count = result.Count
		s.record(event)
		return nil
	})
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	return result, nil
}

// end revokes one of the rows that a revocation selects.
func (s *Store) end(row *row, now time.Time, r *latchkey.Revocation, result *latchkey.RevokeResult, b *latchkey.Batch) {
	live := s.state(row, now) == latchkey.Live
	if !s.revoke(row, now, r.By, r.Reason) {
		return
	}
	b.IDs = append(b.IDs, row.rec.ID)
	if live {
		result.Count++
		result.IDs = append(result.IDs, row.rec.ID)
	}
}
