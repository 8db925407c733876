package mysql

import (
	"context"
	"database/sql"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
)

// mostPerTrip bounds how many callers share a query.
const mostPerTrip = 64

// reads answers Get. There are as many lanes as connections. A caller that finds
// one free asks by itself at once; others wait for one, and whoever waits when it
// becomes free shares the next query.
type reads struct {
	s  *Store
	db *sql.DB

	mu    sync.Mutex
	free  int
	queue []*waiting

	prepared [8]atomic.Pointer[sql.Stmt] // for 1, 2, 4, … IDs
}

// waiting is a caller that waits for a lane.
type waiting struct {
	ctx  context.Context
	id   latchkey.ID
	rec  *latchkey.Record
	err  error
	done chan struct{} // closed when rec and err are set
}

func newReads(s *Store, db *sql.DB, lanes int) *reads { return &reads{s: s, db: db, free: lanes} }

// Get implements latchkey.Store. It is one statement, and so one look at the
// tables: the present generation and how the session's own was ended are part of
// it. A caller that finds the connections busy shares a query that is sent after
// its call with others that wait.
func (s *Store) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	rec, err := s.reads.get(ctx, id)
	if err != nil {
		if ctx.Err() != nil && !answered(err) {
			return nil, brokenOff(ctx)
		}
		return nil, answer(err)
	}
	return rec, nil
}

func (r *reads) get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	r.mu.Lock()
	if r.free > 0 {
		r.free--
		r.mu.Unlock()
		defer r.release()
		w := &waiting{id: id}
		r.query(ctx, []*waiting{w})
		return w.rec, w.err
	}
	w := &waiting{ctx: ctx, id: id, done: make(chan struct{})}
	r.queue = append(r.queue, w)
	r.mu.Unlock()
	select {
	case <-w.done:
		return w.rec, w.err
	case <-ctx.Done():
		return nil, brokenOff(ctx)
	}
}

// release gives a lane to those who wait, or else frees it.
func (r *reads) release() {
	if trip := r.next(); len(trip) > 0 {
		r.s.calls.Go(func() { // the lane's own call is under way until then
			for ; len(trip) > 0; trip = r.next() {
				r.share(trip)
			}
		})
	}
}

// next takes those who share the next trip; without any the lane is free.
func (r *reads) next() []*waiting {
	r.mu.Lock()
	defer r.mu.Unlock()
	trip := make([]*waiting, 0, min(len(r.queue), mostPerTrip))
	n := 0
	for ; n < len(r.queue) && len(trip) < mostPerTrip; n++ {
		if w := r.queue[n]; w.ctx.Err() == nil { // others have left
			trip = append(trip, w)
		}
	}
	clear(r.queue[:n])
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue = nil
	}
	if len(trip) == 0 {
		r.free++
	}
	return trip
}

// share asks for several callers, whatever becomes of each of them meanwhile.
func (r *reads) share(trip []*waiting) {
	ctx, cancel := context.WithTimeout(context.Background(), r.s.timeout)
	defer cancel()
	r.query(ctx, trip)
	for _, w := range trip {
		close(w.done)
	}
}

// query asks for sessions, again if the connection turns out to be lost: a read
// may be repeated.
func (r *reads) query(ctx context.Context, trip []*waiting) {
	err := r.once(ctx, trip)
	r.s.leaveReplica(err)
	if err != nil && lost(err) && ctx.Err() == nil {
		err = r.once(ctx, trip)
	}
	for _, w := range trip {
		switch {
		case err != nil:
			w.rec, w.err = nil, err
		case w.rec == nil && w.err == nil:
			w.err = noSuchSession()
		}
	}
}

func (r *reads) once(ctx context.Context, trip []*waiting) error {
	for _, w := range trip {
		w.rec, w.err = nil, nil
	}
	size := bits.Len(uint(len(trip) - 1)) // of the statement, as a power of two
	stmt, err := r.statement(ctx, size)
	if err != nil {
		return err
	}
	var args []any
	for i := range 1 << size {
		args = append(args, trip[min(i, len(trip)-1)].id[:])
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
		for _, w := range trip {
			if string(w.id[:]) != string(c.id) {
				continue
			}
			row, err := c.unpack() // for each its own
			if w.err = err; err == nil {
				w.rec = &row.rec
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
