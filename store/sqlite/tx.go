package sqlite

import (
	"cmp"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// tx is the transaction of a group of changes. It holds the database's one lock
// for writing, so that what it has read stays true.
type tx struct {
	w  *writer
	c  *conn
	s  *Store
	op *op // the one being run

	now        int64  // store time; read with the lock held, so that times ascend in the order of the changes
	generation uint64 // the present one
	auditSeq   int64  // of the last event
	changeSeq  int64  // of the last entry of the log
	noMarks    int8   // 1: there are none, -1: there are some, 0: not known

	subjects []subjectEntry // to be put into by_subject
	changed  []latchkey.ID
	every    bool // all sessions may have ended
}

// subjectEntry is a row of by_subject.
type subjectEntry struct {
	key, created int64
	id           latchkey.ID
}

const sqlStart = `SELECT (SELECT max(generation) FROM raise), (SELECT max(seq) FROM audit), (SELECT max(seq) FROM change),
	(SELECT value FROM meta WHERE name='audit floor')`

// start reads where the counters stand.
func (t *tx) start() error {
	t.now = t.s.clock.micros()
	q := t.c.query(sqlStart)
	if ok, err := q.next(); err != nil || !ok {
		return cmp.Or(err, errDamaged)
	}
	defer q.done()
	t.generation = uint64(q.s.ColumnInt64(0)) + 1
	t.auditSeq, t.changeSeq = max(q.s.ColumnInt64(1), q.s.ColumnInt64(3)), q.s.ColumnInt64(2)
	if t.changeSeq == 0 {
		return errDamaged // the newest entry always stays; starting anew would hide changes from followers
	}
	return nil
}

// finish writes what was put off.
func (t *tx) finish() error {
	if err := t.flush(); err != nil {
		return err
	}
	if len(t.changed) == 0 && !t.every {
		return nil
	}
	t.changeSeq++
	ids := make([]byte, 0, len(t.changed)*16)
	for _, id := range t.changed {
		ids = append(ids, id[:]...)
	}
	every := int64(0)
	if t.every {
		every = 1
	}
	return t.c.query("INSERT INTO change (seq, origin, at, every, ids) VALUES (?1,?2,?3,?4,?5)").
		int(t.changeSeq).int(t.s.origin).int(t.now).int(every).blob(ids).run()
}

// batch is what followers are told.
func (t *tx) batch() latchkey.Batch { return latchkey.Batch{IDs: t.changed, All: t.every} }

// tell has followers forget a session.
func (t *tx) tell(id latchkey.ID) {
	t.changed = append(t.changed, id)
	t.op.tells = true
}

// flush fills the one table in a random order, sorted, so that rows of a group
// which share a page meet there. Whoever reads the table flushes first.
func (t *tx) flush() error {
	slices.SortFunc(t.subjects, func(a, b subjectEntry) int { return cmp.Compare(a.key, b.key) })
	for i := range t.subjects {
		e := &t.subjects[i]
		if err := t.c.query("INSERT INTO by_subject (key, ended, created, id) VALUES (?1,0,?2,?3)").int(e.key).int(e.created).blob(e.id[:]).run(); err != nil {
			return err
		}
	}
	t.subjects = t.subjects[:0]
	return nil
}

// time is the store's.
func (t *tx) time() time.Time { return timeOf(t.now) }

// row is a session as a transaction reads it.
type row struct {
	state
	rec latchkey.Record
}

// load reads a session; nil when there is none.
func (t *tx) load(id latchkey.ID) (*row, error) {
	q := t.c.query(sqlLoad).blob(id[:])
	if ok, err := q.next(); err != nil || !ok {
		return nil, err
	}
	defer q.done()
	r := &row{rec: latchkey.Record{ID: id}}
	if err := t.c.record(q, 0, &r.rec); err != nil {
		return nil, err
	}
	r.state = state{lastSeen: microOf(r.rec.LastSeenAt), idle: q.s.ColumnInt64(10), expires: q.s.ColumnInt64(11), revoked: microOf(r.rec.RevokedAt)}
	return r, nil
}

// end marks a session as ended by somebody and reports whether that changed it.
// What is revoked stays as it is. What is idle or expired is marked like the rest:
// a touch that is under way, or a clock that is put right, must not bring it back.
func (t *tx) end(r *row, by, reason string) (bool, error) {
	if r.revoked != 0 {
		return false, nil
	}
	t.tell(r.rec.ID)
	if err := t.note(&r.rec); err != nil {
		return false, err
	}
	return true, t.c.query("UPDATE session SET revoked_at=?1, revoked_by=?2, revoked_reason=?3 WHERE id=?4").
		int(t.now).text(by).text(reason).blob(r.rec.ID[:]).run()
}

// record adds an event to the trail. about is the session whose row leads to the
// event when the trail of a subject is asked for; where it does not, the event
// is indexed itself.
func (t *tx) record(e *audit.Event, about *latchkey.Record) error {
	return t.recordPacked(microOf(e.Time), sessionColumn(e.Session), pack.AppendEvent(nil, e), e.Subject, leadsTo(about, e))
}

// leadsTo reports whether a session's row leads to an event about its subject.
func leadsTo(about *latchkey.Record, e *audit.Event) bool {
	return e.Subject == "" || about != nil && about.Identity() == latchkey.Identity{Provider: e.Provider, Subject: e.Subject} && about.ID.String() == e.Session
}

// recordPacked adds a packed event; at 0 stands for the store's time.
func (t *tx) recordPacked(at int64, session, event []byte, subject string, led bool) error {
	t.auditSeq++
	if err := t.c.query("INSERT INTO audit (seq, at, session, event) VALUES (?1,?2,?3,?4)").
		int(t.auditSeq).int(cmp.Or(at, t.now)).orNull(session).blob(event).run(); err != nil || led {
		return err
	}
	return t.c.query("INSERT INTO audit_subject (key, seq) VALUES (?1,?2)").int(pack.SubjectKey(subject)).int(t.auditSeq).run()
}

// pruneEvery is how often old entries of the log, old marks and what may be used
// again are removed, and so about how long a follower may lie behind.
const pruneEvery = time.Minute

// pruneRounds is how many times that is done after the last change: long enough
// for its marks to go. An idle store is not written to.
const pruneRounds = int(latchkey.RevocationMark/pruneEvery) + 2

// pruneAll removes entries of the log that were there at the last look, and
// marks and spent keys that no longer count. The newest entry stays: its position tells
// followers that they have missed nothing, and where the next one goes.
func (t *tx) pruneAll() error {
	p := &t.w.prune
	if p.marked > 0 {
		if err := t.c.query("DELETE FROM change WHERE seq<=?1 AND seq<(SELECT max(seq) FROM change)").int(p.marked).run(); err != nil {
			return err
		}
	}
	p.marked = t.changeSeq
	if err := t.c.query("DELETE FROM mark WHERE at<?1").int(t.now - latchkey.RevocationMark.Microseconds()).run(); err != nil {
		return err
	}
	return t.dropSpent()
}
