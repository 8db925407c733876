package mysql

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey"
)

// columns are what a record is made from: those of a session and, where its
// generation has ended, how that happened first. The joins are those of fromBy.
const columns = `s.id, s.generation, s.last_seen, s.version, s.idle, s.expires,
	coalesce(s.revoked_at, r.at, IF(s.generation<c.generation, 1, 0)), coalesce(s.revoked_by, r.actor, ''), coalesce(s.revoked_reason, r.reason, ''), s.record`

// fromBy is what columns are selected from, by an index: nothing without the row
// that tells the present generation, and so no session that might have been ended
// by it.
func fromBy(index string) string {
	return `latchkey_counter c JOIN latchkey_session s FORCE INDEX (` + index + `) LEFT JOIN latchkey_raise r ON r.generation=s.generation`
}

// locked are the columns without joins, for rows that are read to be changed:
// to lock a row of the joined tables would keep others waiting.
const locked = `s.id, s.generation, s.last_seen, s.version, s.idle, s.expires, coalesce(s.revoked_at, 0), coalesce(s.revoked_by, ''),
	coalesce(s.revoked_reason, ''), s.record`

// sqlLive is true of a session that may be used at a time, which is given twice.
// The joins are those of fromBy.
const sqlLive = `(s.revoked_at IS NULL AND s.generation=c.generation AND s.expires>? AND (s.idle=0 OR s.last_seen+s.idle>?))`

// sqlEnd is when a session ended, or will if it is not seen again.
const sqlEnd = `LEAST(s.expires, IF(s.idle>0, s.last_seen+s.idle, s.expires), coalesce(s.revoked_at, r.at, s.expires))`

// state is how a session stands, judged from its columns alone.
type state struct {
	lastSeen, idle, expires int64
	revoked                 int64 // 0: not revoked; by itself or by its generation
}

// live reports whether the session may be used. Only what is revoked never comes
// back: an idle session may turn out to have been seen, and one that looks expired
// may be live once the server's clock has been put right.
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

// row is a session as it was read.
type row struct {
	state
	rec latchkey.Record
}

// scanned is what columns are read into. The bytes stand until the next row.
type scanned struct {
	id, by, reason, record       sql.RawBytes
	generation, version, revoked int64
	state                        state
}

// targets are where the columns go, behind others.
func (c *scanned) targets(before ...any) []any {
	return append(before, &c.id, &c.generation, &c.state.lastSeen, &c.version, &c.state.idle, &c.state.expires, &c.revoked, &c.by, &c.reason, &c.record)
}

// unpack makes a row of what was read.
func (c *scanned) unpack() (*row, error) {
	if len(c.id) != len(latchkey.ID{}) {
		return nil, fmt.Errorf("%w: an ID of %d bytes", errDamaged, len(c.id))
	}
	r := &row{state: c.state, rec: latchkey.Record{ID: latchkey.ID(c.id), Generation: uint64(c.generation), LastSeenAt: timeOf(c.state.lastSeen),
		Version: uint64(c.version)}}
	if r.revoked = c.revoked; c.revoked != 0 {
		r.rec.RevokedAt, r.rec.RevokedBy, r.rec.RevokedReason = timeOf(c.revoked), string(c.by), string(c.reason)
	}
	if err := latchkey.DecodeRecord(c.record, &r.rec); err != nil {
		return nil, fmt.Errorf("%w: session %s: %w", errDamaged, r.rec.ID, err)
	}
	return r, nil
}

// timeOf is the time of a count of microseconds, where 0 stands for none.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// microOf is the count of a time, cut to whole microseconds; the zero time is 0.
func microOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// idleOf is the idle limit in microseconds, 0 for none.
func idleOf(r *latchkey.Record) int64 { return max(r.Idle, 0).Microseconds() }
