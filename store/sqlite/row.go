package sqlite

import (
	"fmt"

	"github.com/latchkey-go/latchkey"
)

// columns are what a record is made from besides its ID: those of a session and,
// where its generation has ended, how that happened first. The join finds
// nothing for a session of the present generation.
const columns = `s.generation, s.last_seen, s.version, s.revoked_at, s.revoked_by, s.revoked_reason, s.record, r.at, r.actor, r.reason`

const (
	sqlGet  = `SELECT ` + columns + ` FROM session s LEFT JOIN raise r ON r.generation=s.generation WHERE s.id=?1`
	sqlLoad = `SELECT ` + columns + `, s.idle, s.expires FROM session s LEFT JOIN raise r ON r.generation=s.generation WHERE s.id=?1`
)

// record fills rec, whose ID is set, from the columns that begin at a place.
func (c *conn) record(q query, at int, rec *latchkey.Record) error {
	s := q.s
	rec.Generation = uint64(s.ColumnInt64(at))
	rec.LastSeenAt = timeOf(s.ColumnInt64(at + 1))
	rec.Version = uint64(s.ColumnInt64(at + 2))
	if revoked := s.ColumnInt64(at + 3); revoked != 0 {
		rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = timeOf(revoked), s.ColumnText(at+4), s.ColumnText(at+5)
	} else if raised := s.ColumnInt64(at + 7); raised != 0 {
		rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = timeOf(raised), s.ColumnText(at+8), s.ColumnText(at+9)
	}
	if err := latchkey.DecodeRecord(c.column(q, at+6), rec); err != nil {
		return fmt.Errorf("%w: session %s: %w", errDamaged, rec.ID, err)
	}
	return nil
}

// state is how a session stands, judged from its columns alone.
type state struct {
	lastSeen, idle, expires int64
	revoked                 int64 // 0: not revoked; by itself or by its generation
}

// live reports whether the session may be used. Only what is revoked never comes
// back: an idle session may turn out to have been seen, and one that looks expired
// may be live by the clock of another process, or by this one's once it is right.
func (s state) live(now int64) bool {
	return s.revoked == 0 && now < s.expires && (s.idle <= 0 || now < s.lastSeen+s.idle)
}

// end is when the session ended, or will if it is not seen again.
func (s state) end() int64 {
	end := s.expires
	if s.idle > 0 {
		end = min(end, s.lastSeen+s.idle)
	}
	if s.revoked != 0 {
		end = min(end, s.revoked)
	}
	return end
}

// judged are the columns of a state.
const judged = `s.last_seen, s.idle, s.expires, coalesce(s.revoked_at, r.at, 0)`

func stateAt(q query, at int) state {
	s := q.s
	return state{lastSeen: s.ColumnInt64(at), idle: s.ColumnInt64(at + 1), expires: s.ColumnInt64(at + 2), revoked: s.ColumnInt64(at + 3)}
}
