package mysql

import (
	"cmp"
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fanout"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// tx is a transaction of two trips: begin locks and reads, finish writes and
// commits. In between the program decides.
type tx struct {
	s   *Store
	ctx context.Context
	c   *sql.Conn

	now        int64 // store time, read with the locks held
	generation int64 // the present one

	out     script // what the change writes
	events  []event
	changed []latchkey.ID
	every   bool        // all sessions may have ended
	about   latchkey.ID // what the caller may read when the answer is lost, or none

	claims fanout.Claims
}

// event is an event of the trail as its columns hold it.
type event struct {
	at      int64
	session []byte
	subject literal
	packed  []byte
}

// attempts is how often a transaction is begun anew that met others'.
const attempts = 12

// change runs f in a transaction, and returns when that is durable and this
// process's followers have been told. It may run f several times. Whatever f
// returns is lost with an error.
func change[T any](ctx context.Context, s *Store, f func(t *tx) (T, error)) (T, error) {
	return changeWithin(ctx, s, s.timeout, f)
}

// changeWithin is change with another bound than the store's.
func changeWithin[T any](ctx context.Context, s *Store, bound time.Duration, f func(t *tx) (T, error)) (result T, err error) {
	var none T
	if err := s.enter(ctx); err != nil {
		return none, err
	}
	defer s.leave()
	if s.readOnly {
		return none, unavailable(errReadOnly)
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for n := 1; ; n++ {
		t := &tx{s: s, ctx: ctx}
		err := t.run(func() (err error) {
			result, err = f(t)
			return err
		})
		switch {
		case err == nil:
			if err := t.claims.Await(ctx); err != nil {
				return none, err
			}
			return result, nil
		case answered(err):
			return none, err
		case ctx.Err() != nil:
			return none, brokenOff(ctx)
		case errors.Is(err, errCommit) || !again(err):
			return none, unavailable(err)
		case n == attempts:
			return none, unavailable(fmt.Errorf("%w: %w", errBusy, err))
		}
		if err := pause(ctx, n); err != nil {
			return none, err
		}
	}
}

// pause waits for others to get on, a random while that grows with the attempts.
func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(n, 7)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return brokenOff(ctx)
	}
}

// run does one attempt. The connection goes back into the pool without a
// transaction, or not at all.
func (t *tx) run(f func() error) (err error) {
	defer func() { t.s.leaveReplica(err) }() // with the connection in its pool
	c, err := t.s.work.Conn(t.ctx)
	if err != nil {
		return err
	}
	t.c = c
	clean := false
	defer func() {
		if !clean {
			abandon(t.ctx, c)
		}
		_ = c.Close()
	}()
	if err = f(); err != nil {
		return err
	}
	err = t.finish()
	clean = err == nil
	return err
}

// abandon ends the transaction of a connection, or else the connection.
func abandon(ctx context.Context, c *sql.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := c.ExecContext(ctx, "ROLLBACK"); err != nil {
		_ = c.Raw(func(any) error { return sqldriver.ErrBadConn })
	}
}

// ask sends statements and gives each row to the function of its result, in the
// order of those statements that have one. It returns after the last statement.
func ask(ctx context.Context, c *sql.Conn, q *script, each ...func(*sql.Rows) error) (err error) {
	if q.err != nil {
		return q.err
	}
	rows, err := c.QueryContext(ctx, q.text())
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, rows.Close()) }()
	for i, take := range each {
		if i > 0 && !rows.NextResultSet() {
			return cmp.Or(rows.Err(), fmt.Errorf("%w: an answer is missing", errDamaged))
		}
		for rows.Next() {
			if err := take(rows); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	for rows.NextResultSet() { // the statements behind the last result
		continue
	}
	return rows.Err()
}

// begin starts the transaction: it waits for those who deal with the same keys,
// runs the statements of q, which lock and read, and then notes the time. On a
// server that is read-only by now it is errReplica.
func (t *tx) begin(keys []int64, q *script, each ...func(*sql.Rows) error) error {
	var first script
	first.add("START TRANSACTION")
	var take []func(*sql.Rows) error
	got := 0
	wanted := make([]int64, len(keys))
	for i, key := range keys {
		wanted[i] = stripe(key)
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	if len(wanted) > 0 {
		// In their order: nobody waits in a circle.
		first.add("SELECT n FROM latchkey_lock FORCE INDEX (PRIMARY) WHERE n IN (?) ORDER BY n FOR UPDATE", list(wanted, num))
		take = append(take, func(*sql.Rows) error { got++; return nil })
	}
	if q != nil {
		first.join(q)
		take = append(take, each...)
	}
	// Administrators may write to a server that is read-only, which others do not see.
	var replica bool
	first.add("SELECT " + sqlReplica + ", generation, " + t.s.clock.sql() + " FROM latchkey_counter WHERE id=1")
	take = append(take, func(rows *sql.Rows) error { return rows.Scan(&replica, &t.generation, &t.now) })
	sent := t.s.clock.Now()
	if err := ask(t.ctx, t.c, &first, take...); err != nil {
		return err
	}
	if replica {
		return errReplica
	}
	if got != len(wanted) || t.generation == 0 {
		return errDamaged // without the generation nobody knows what has been ended
	}
	t.s.clock.sample(sent, t.s.clock.Now(), t.now)
	return nil
}

// Positions are read from the row that was just changed, and so is this
// transaction's. Without the row they would be NULL, which is refused, and nothing
// would be committed.
const (
	sqlCount  = `UPDATE latchkey_counter SET change_seq=change_seq+?, audit_seq=audit_seq+? WHERE id=1`
	sqlEvent  = `INSERT INTO latchkey_audit (seq, at, session, subject_key, event) VALUES ((SELECT audit_seq-? FROM latchkey_counter WHERE id=1),?,?,?,?)`
	sqlChange = `INSERT INTO latchkey_change (seq, origin, at, every, ids) VALUES ((SELECT change_seq FROM latchkey_counter WHERE id=1),?,?,?,?)`
)

// finish writes and commits in one trip. The row of the counters is taken last, so
// that others wait for it no longer than the server needs to commit.
func (t *tx) finish() error {
	q := &t.out
	tells := len(t.changed) > 0 || t.every
	if q.empty() && len(t.events) == 0 && !tells {
		_, err := t.c.ExecContext(t.ctx, "ROLLBACK")
		return err
	}
	// A server takes only so much at once; the rest of the transaction is the same.
	for front := q.split(atOnce); front != nil; front = q.split(atOnce) {
		if err := ask(t.ctx, t.c, front); err != nil {
			return err
		}
	}
	var position int64
	var each []func(*sql.Rows) error
	if tells || len(t.events) > 0 {
		t.count(q, tells)
	}
	if tells {
		q.add("SELECT change_seq FROM latchkey_counter WHERE id=1")
		each = append(each, func(rows *sql.Rows) error { return rows.Scan(&position) })
	}
	q.add("COMMIT")
	err := ask(t.ctx, t.c, q, each...)
	if err != nil && code(err) != 0 && again(err) {
		return err // of a statement before the commit, or of a commit that was refused
	}
	if err != nil && code(err) == 0 && !t.about.IsZero() {
		t.s.unsure.Add(t.about)
	}
	if tells {
		// After an unknown outcome, too: to be told in vain does no harm.
		t.claims = t.s.hub.Publish(latchkey.Batch{IDs: t.changed, All: t.every}, 0)
		if err == nil {
			t.s.told.note(position)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return nil
}

const (
	// atOnce bounds the statements of a trip, in bytes; max_allowed_packet is 16 MiB
	// unless an operator has lowered it.
	atOnce = 256 << 10
	// mostNamed bounds the sessions that the log names in one entry. Where there are
	// more it says that all may have ended, which costs other nodes their caches.
	mostNamed = 50_000
)

// count takes the next positions, and writes what has them.
func (t *tx) count(q *script, tells bool) {
	step, every := int64(0), int64(0)
	if tells {
		step = 1
	}
	if t.every || len(t.changed) > mostNamed {
		every = 1
	}
	q.add(sqlCount, num(step), num(int64(len(t.events))))
	for i, e := range t.events {
		q.add(sqlEvent, num(int64(len(t.events)-1-i)), num(cmp.Or(e.at, t.now)), orNull(e.session), e.subject, raw(e.packed))
	}
	if tells {
		var ids []byte
		for i := 0; every == 0 && i < len(t.changed); i++ {
			ids = append(ids, t.changed[i][:]...)
		}
		q.add(sqlChange, num(t.s.origin), num(t.now), num(every), raw(ids))
	}
}

// time is the store's.
func (t *tx) time() time.Time { return timeOf(t.now) }

// record adds an event to the trail; one without a time happened now.
func (t *tx) record(e *audit.Event) {
	subject := literal("NULL")
	if e.Subject != "" {
		subject = num(pack.SubjectKey(e.Subject))
	}
	t.events = append(t.events, event{at: microOf(e.Time), session: sessionColumn(e.Session), subject: subject, packed: packEvent(e)})
}

// tell has followers forget a session.
func (t *tx) tell(id latchkey.ID) { t.changed = append(t.changed, id) }

// rows is where begin puts sessions that it has locked. They are judged by settle,
// which knows the present generation.
type rows struct{ list []*row }

// take reads a row.
func (l *rows) take(from *sql.Rows) error {
	var c scanned
	if err := from.Scan(c.targets()...); err != nil {
		return err
	}
	r, err := c.unpack()
	if err == nil {
		l.list = append(l.list, r)
	}
	return err
}

// settle marks as revoked what a lower generation has ended.
func (t *tx) settle(l *rows) []*row {
	for _, r := range l.list {
		if r.revoked == 0 && int64(r.rec.Generation) < t.generation {
			r.revoked = 1
		}
	}
	return l.list
}

// idsPerStatement bounds the length of a statement.
const idsPerStatement = 1000

// end marks sessions as ended by somebody, except for those that are already.
// What is idle or expired is marked like the rest: a touch that is under way, or a
// clock that is put right, must not bring it back.
func (t *tx) end(list []*row, by, reason string) (ended []*row) {
	for _, r := range list {
		if r.revoked == 0 {
			ended = append(ended, r)
			t.tell(r.rec.ID)
		}
	}
	for part := range slices.Chunk(ended, idsPerStatement) {
		t.out.add("UPDATE latchkey_session SET ended=1, revoked_at=?, revoked_by=?, revoked_reason=? WHERE id IN (?)",
			num(t.now), raw(by), raw(reason), idsOf(part))
	}
	t.noteChanged(ended)
	return ended
}

func idsOf(rows []*row) literal { return list(rows, func(r *row) literal { return rawID(r.rec.ID) }) }

// keepChanged is for how many microseconds an entry of the list of changed sessions
// stays after it has passed. It is read by nobody then, but is again once a clock that
// was ahead is put right: until its limit a token would be honoured otherwise.
const keepChanged = int64(24 * time.Hour / time.Microsecond)

// noteChanged lists those of the sessions that are stateless and not long past their
// limit as no longer what they were created as.
func (t *tx) noteChanged(list []*row) {
	for _, r := range list {
		if r.rec.Stateless && r.expires > t.now-keepChanged {
			t.out.add("INSERT INTO latchkey_changed (id, expires) VALUES (?,?) ON DUPLICATE KEY UPDATE expires=GREATEST(expires,?)",
				rawID(r.rec.ID), num(r.expires), num(r.expires))
		}
	}
}
