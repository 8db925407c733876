package mysql

import (
	"context"
	"database/sql"
	"math/bits"
	"strings"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/trips"
)

// mostPerTrip bounds how many callers share a query.
const mostPerTrip = 64

// reads answers Get. There are as many lanes as connections.
type reads struct {
	s     *Store
	db    *sql.DB
	lanes *trips.Lanes[latchkey.ID, *latchkey.Record, struct{}]

	prepared [8]atomic.Pointer[sql.Stmt] // for 1, 2, 4, … IDs
}

// want is what a caller of Get waits for.
type want = trips.Want[latchkey.ID, *latchkey.Record]

func newReads(s *Store, db *sql.DB, lanes int) *reads {
	r := &reads{s: s, db: db}
	r.lanes = trips.New(mostPerTrip, make([]struct{}, lanes), r.carry)
	return r
}

// Get implements latchkey.Store. It is one statement, and so one look at the
// tables: the present generation and how the session's own was ended are part of
// it. A caller that finds the connections busy shares a query that is sent after
// its call with others that wait.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	rec, err := s.reads.lanes.Do(ctx, id)
	if err != nil {
		if ctx.Err() != nil && !answered(err) {
			return nil, brokenOff(ctx)
		}
		return nil, answer(err)
	}
	if s.unsure.Has(id) {
		if err := s.settle(ctx, id); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// carry makes a trip. Nobody's deadline bounds one that several share.
func (r *reads) carry(ctx context.Context, _ struct{}, wants []*want) {
	if len(wants) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.s.timeout)
		defer cancel()
	}
	r.query(ctx, wants)
}

// query asks for sessions, again if the connection turns out to be lost: a read
// may be repeated.
func (r *reads) query(ctx context.Context, wants []*want) {
	err := r.once(ctx, wants)
	r.s.leaveReplica(err)
	if err != nil && lost(err) && ctx.Err() == nil {
		err = r.once(ctx, wants)
	}
	for _, w := range wants {
		switch {
		case err != nil:
			w.Value, w.Err = nil, err
		case w.Value == nil && w.Err == nil:
			w.Err = noSuchSession()
		}
	}
}

func (r *reads) once(ctx context.Context, wants []*want) error {
	for _, w := range wants {
		w.Value, w.Err = nil, nil
	}
	size := bits.Len(uint(len(wants) - 1)) // of the statement, as a power of two
	stmt, err := r.statement(ctx, size)
	if err != nil {
		return err
	}
	var args []any
	for i := range 1 << size {
		args = append(args, wants[min(i, len(wants)-1)].Key[:])
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var c scanned
	var replica bool
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(c.targets(&replica)...); err != nil {
			return err
		}
		if replica {
			return errReplica
		}
		if len(c.id) == 0 {
			continue // none of them exists
		}
		for _, w := range wants {
			if string(w.Key[:]) != string(c.id) {
				continue
			}
			row, err := c.unpack() // for each its own
			if w.Err = err; err == nil {
				w.Value = &row.rec
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n == 0 {
		return errDamaged // the row that tells the generation is missing, and nobody knows what has been ended
	}
	return nil
}

const sqlGet = `SELECT ` + sqlReplica + `, coalesce(s.id,''), coalesce(s.generation,0), coalesce(s.last_seen,0), coalesce(s.version,0), coalesce(s.idle,0),
	coalesce(s.expires,0), coalesce(s.revoked_at, r.at, IF(s.generation<c.generation, 1, 0)), coalesce(s.revoked_by, r.actor, ''),
	coalesce(s.revoked_reason, r.reason, ''), coalesce(s.record,'')
	FROM latchkey_counter c LEFT JOIN latchkey_session s FORCE INDEX (PRIMARY) ON s.id IN (?) LEFT JOIN latchkey_raise r ON r.generation=s.generation WHERE c.id=1`

// statement is the query for 1<<size sessions, prepared when it is first needed.
func (r *reads) statement(ctx context.Context, size int) (*sql.Stmt, error) {
	p := &r.prepared[size]
	if stmt := p.Load(); stmt != nil {
		return stmt, nil
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", 1<<size), ",")
	stmt, err := r.db.PrepareContext(ctx, strings.Replace(sqlGet, "IN (?)", "IN ("+marks+")", 1))
	if err != nil {
		return nil, err
	}
	if !p.CompareAndSwap(nil, stmt) { // another caller was quicker
		_ = stmt.Close()
	}
	return p.Load(), nil
}
