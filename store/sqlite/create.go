package sqlite

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Reasons of what a Create ends.
const (
	reasonReplaced = "replaced"
	reasonLimit    = "limit"
)

// draft is a session to be made, with all that can be worked out before the
// writer has its turn.
type draft struct {
	*latchkey.Create
	rec          *latchkey.Record
	packed       []byte
	subject, who int64
	event        []byte
	session      []byte // of the event
	led          bool   // by the row, to the event
}

func newDraft(c *latchkey.Create) *draft {
	d := &draft{Create: c, rec: &c.Record}
	space := make([]byte, 0, 640)
	d.packed = latchkey.AppendRecord(space, d.rec)
	d.event = pack.AppendEvent(d.packed[len(d.packed):], &c.Event)
	d.session, d.led = sessionColumn(c.Event.Session), leadsTo(d.rec, &c.Event)
	if d.rec.Subject != "" {
		d.subject, d.who = pack.SubjectKey(d.rec.Subject), pack.WhoKey(d.rec.Provider, d.rec.Subject)
	}
	return d
}

// Create implements latchkey.Store. All is decided before anything is changed, so
// that a sign-in which is refused ends nothing.
func (s *Store) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	d := newDraft(&c)
	return do(ctx, s, func(t *tx) (latchkey.Created, error) { return t.create(d) })
}

func (t *tx) create(d *draft) (latchkey.Created, error) {
	created := latchkey.Created{Generation: t.generation}
	refusal, err := t.refusal(d)
	if err != nil {
		return created, err
	}
	var replaced *row
	if refusal == nil && !d.Replaces.IsZero() && d.Replaces != d.rec.ID {
		if replaced, refusal, err = t.predecessor(d); err != nil {
			return created, err
		}
	}
	var evicted []*row
	if refusal == nil && d.Limit > 0 && d.rec.Subject != "" {
		if evicted, refusal, err = t.overLimit(d); err != nil {
			return created, err
		}
	}
	if refusal != nil {
		return created, t.refuse(d, refusal)
	}
	if err := t.insert(d); err != nil {
		return created, err
	}
	event := d.Event
	if event.Time.IsZero() {
		event.Time = t.time()
	}
	if replaced != nil {
		created.Replaced = replaced.live(t.now)
		if err := t.endFor(replaced, event, audit.Revoke, reasonReplaced); err != nil {
			return created, err
		}
	}
	for _, old := range evicted {
		if err := t.endFor(old, event, audit.Evict, reasonLimit); err != nil {
			return created, err
		}
		created.Evicted = append(created.Evicted, old.rec.ID)
	}
	return created, t.recordPacked(microOf(d.Event.Time), d.session, d.event, d.Event.Subject, d.led)
}

// refuse answers a refusal, unless the ID exists already, which comes first.
func (t *tx) refuse(d *draft, refusal error) error {
	_, exists, err := t.c.query("SELECT 1 FROM session WHERE id=?1").blob(d.rec.ID[:]).number()
	switch {
	case err != nil:
		return err
	case exists:
		return idExists()
	}
	return refusal
}

func idExists() error {
	return latchkey.NewError(latchkey.CodeConflict, "a session with this ID exists already", nil)
}

// insert adds the row and what leads to it.
func (t *tx) insert(d *draft) error {
	r := d.rec
	err := t.c.query(`INSERT INTO session (id, generation, who, created, last_seen, idle, expires, version, record) VALUES (?1,?2,?3,?4,?5,?6,?7,1,?8)`).
		blob(r.ID[:]).int(int64(t.generation)).int(d.who).int(microOf(r.CreatedAt)).int(microOf(r.LastSeenAt)).
		int(idleOf(r)).int(microOf(r.ExpiresAt)).blob(d.packed).run()
	if sqlite.ErrCode(err) == sqlite.ResultConstraintPrimaryKey {
		return idExists()
	}
	if err != nil {
		return err
	}
	if r.Subject != "" {
		t.subjects = append(t.subjects, subjectEntry{d.subject, microOf(r.CreatedAt), r.ID})
	}
	return t.indexSID(r)
}

// idleOf is the idle limit in microseconds, 0 for none.
func idleOf(r *latchkey.Record) int64 { return max(r.Idle, 0).Microseconds() }

func (t *tx) indexSID(r *latchkey.Record) error {
	if r.SID == "" {
		return nil
	}
	return t.c.query("INSERT INTO by_sid (key, id) VALUES (?1,?2)").int(pack.SIDKey(r.Provider, r.SID)).blob(r.ID[:]).run()
}

func (t *tx) unindexSID(r *latchkey.Record) error {
	if r.SID == "" {
		return nil
	}
	return t.c.query("DELETE FROM by_sid WHERE key=?1 AND id=?2").int(pack.SIDKey(r.Provider, r.SID)).blob(r.ID[:]).run()
}

// refusal says whether a revocation has overtaken the sign-in.
func (t *tx) refusal(d *draft) (refusal, err error) {
	if d.Began.IsZero() {
		return nil, nil
	}
	if t.noMarks == 0 {
		_, some, err := t.c.query("SELECT 1 FROM mark LIMIT 1").number()
		if err != nil {
			return nil, err
		}
		if t.noMarks = 1; some {
			t.noMarks = -1
		}
	}
	if t.noMarks > 0 {
		return nil, nil
	}
	var keys [3][16]byte
	if r := d.rec; r.Subject != "" {
		keys[0], keys[1] = pack.MarkKey(pack.Identity, r.Provider, r.Subject), pack.MarkKey(pack.Subject, "", r.Subject)
	}
	if d.rec.SID != "" {
		keys[2] = pack.MarkKey(pack.SID, d.rec.Provider, d.rec.SID)
	}
	// The zero key names nobody.
	_, overtaken, err := t.c.query("SELECT 1 FROM mark WHERE key IN (?1,?2,?3) AND at>=?4 AND at>=?5 LIMIT 1").
		blob(keys[0][:]).blob(keys[1][:]).blob(keys[2][:]).int(microOf(d.Began)).int(t.now - latchkey.RevocationMark.Microseconds()).number()
	if err == nil && overtaken {
		refusal = latchkey.NewError(latchkey.CodeDenied, "signed out everywhere since the sign-in began; sign in again", nil)
	}
	return refusal, err
}

// predecessor reads the session to be replaced, nil when there is none; or the
// refusal, where it is not as it was when its data was carried over.
func (t *tx) predecessor(d *draft) (old *row, refusal, err error) {
	old, err = t.load(d.Replaces)
	if err == nil && old != nil && d.ReplacesVersion != 0 && old.rec.Version != d.ReplacesVersion && old.live(t.now) {
		refusal = latchkey.NewError(latchkey.CodeConflict, "the session to replace was changed meanwhile", nil)
	}
	return old, refusal, err
}

// overLimit returns the live sessions that must end to make room, oldest first,
// or the refusal. Sessions that it meets and that have been revoked are noted as
// ended, on the page that the new row goes to anyway, so that the next sign-in
// need not look at them again.
func (t *tx) overLimit(d *draft) (evicted []*row, refusal, err error) {
	rows, ended, err := t.ofSubject(d.subject, func(st state, who int64) bool { return who == d.who && st.live(t.now) }, func(rec *latchkey.Record) bool {
		return rec.Provider == d.rec.Provider && rec.Subject == d.rec.Subject && rec.ID != d.Replaces
	})
	if err != nil {
		return nil, nil, err
	}
	over := len(rows) + 1 - d.Limit
	if over > 0 && d.Policy == latchkey.RefuseNew {
		return nil, latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed are live; end one first", nil), nil
	}
	return rows[:max(over, 0)], nil, t.setEnded(d.subject, ended)
}

// ofSubject reads the sessions under a subject's key that are not noted as ended,
// oldest first: those that are chosen, and the entries of those that have been
// revoked. Those that may be chosen by their columns are unpacked, and named then
// compares the names: the key may be another subject's too.
//
// What has only expired is met again each time until it is purged, at about a
// microsecond a row. It must not be noted: by a clock that is ahead a live
// session looks expired, and would be hidden from every later revocation.
func (t *tx) ofSubject(key int64, may func(st state, who int64) bool, named func(*latchkey.Record) bool) (chosen []*row, ended []subjectEntry, err error) {
	if err := t.flush(); err != nil {
		return nil, nil, err
	}
	q := t.c.query(`SELECT b.id, s.who, ` + judged + `, ` + columns + `, b.created FROM by_subject b CROSS JOIN session s ON s.id=b.id
		LEFT JOIN raise r ON r.generation=s.generation WHERE b.key=?1 AND b.ended=0 ORDER BY b.created, b.id`).int(key)
	defer q.done()
	for {
		ok, err := q.next()
		if err != nil || !ok {
			return chosen, ended, err
		}
		id, err := t.c.id(q, 0)
		if err != nil {
			return nil, nil, err
		}
		st := stateAt(q, 2)
		if st.revoked != 0 {
			ended = append(ended, subjectEntry{key, q.s.ColumnInt64(16), id})
		}
		if !may(st, q.s.ColumnInt64(1)) {
			continue
		}
		r := &row{state: st, rec: latchkey.Record{ID: id}}
		if err := t.c.record(q, 6, &r.rec); err != nil {
			return nil, nil, err
		}
		if named(&r.rec) {
			chosen = append(chosen, r)
		}
	}
}

// setEnded notes sessions that are revoked as ended for good.
func (t *tx) setEnded(key int64, entries []subjectEntry) error {
	for _, e := range entries {
		err := t.c.query("UPDATE by_subject SET ended=1 WHERE key=?1 AND ended=0 AND created=?2 AND id=?3").int(key).int(e.created).blob(e.id[:]).run()
		if err != nil {
			return err
		}
	}
	return nil
}

// endFor ends a session to make room, under the actor, identity and time of the
// creation's event.
func (t *tx) endFor(old *row, event audit.Event, action audit.Action, reason string) error {
	ended, err := t.end(old, event.Actor, reason)
	if err != nil || !ended {
		return err
	}
	event.Action, event.Session, event.Reason, event.Outcome, event.Count = action, old.rec.ID.String(), reason, audit.Done, 0
	return t.record(&event, &old.rec)
}

// Patch implements latchkey.Store.
func (s *Store) Patch(ctx context.Context, p latchkey.Patch) error {
	_, err := do(ctx, s, func(t *tx) (struct{}, error) { return struct{}{}, t.patch(&p) })
	return err
}

func (t *tx) patch(p *latchkey.Patch) error {
	next := p.Record // whoever runs this again must find it as it was
	old, err := t.load(next.ID)
	switch {
	case err != nil:
		return err
	case old == nil:
		return noSuchSession()
	case !old.live(t.now):
		return latchkey.NewError(latchkey.CodeInvalidSession, "the session has ended", nil)
	case old.rec.Version != next.Version:
		return latchkey.NewError(latchkey.CodeConflict, "the session was changed meanwhile", nil)
	}
	next.Provider, next.Subject, next.CreatedAt, next.Stateless = old.rec.Provider, old.rec.Subject, old.rec.CreatedAt, old.rec.Stateless
	for _, limited := range [...]*latchkey.Record{&old.rec, &next} {
		if err := t.note(limited); err != nil {
			return err
		}
	}
	if next.SID != old.rec.SID {
		if err := t.unindexSID(&old.rec); err != nil {
			return err
		}
		if err := t.indexSID(&next); err != nil {
			return err
		}
	}
	err = t.c.query("UPDATE session SET last_seen=max(last_seen,?1), idle=?2, expires=?3, version=version+1, record=?4 WHERE id=?5").
		int(microOf(next.LastSeenAt)).int(idleOf(&next)).int(microOf(next.ExpiresAt)).blob(latchkey.AppendRecord(nil, &next)).blob(next.ID[:]).run()
	if err != nil {
		return err
	}
	t.tell(next.ID)
	if p.Event == nil {
		return nil
	}
	event := *p.Event
	if event.Time.IsZero() {
		event.Time = t.time()
	}
	return t.record(&event, &next)
}

// touches bounds how many touches one op holds, so that a huge batch does not
// keep the lock from others.
const touchesPerOp = 1000

// Touch implements latchkey.Store. More than 1,000 touches are committed in
// several steps.
func (s *Store) Touch(ctx context.Context, touches []latchkey.Touch) error {
	for len(touches) > 0 {
		part := touches[:min(len(touches), touchesPerOp)]
		touches = touches[len(part):]
		if _, err := do(ctx, s, func(t *tx) (struct{}, error) { return struct{}{}, t.touch(part) }); err != nil {
			return err
		}
	}
	return nil
}

// touch judges whether a session was idle at the activity, which may be a little
// while ago, and everything else at present.
func (t *tx) touch(touches []latchkey.Touch) error {
	for _, one := range touches {
		at := min(microOf(one.At), t.now)
		err := t.c.query(`UPDATE session SET last_seen=?1 WHERE id=?2 AND last_seen<?1 AND revoked_at IS NULL AND generation=?3 AND expires>?4
			AND (idle=0 OR ?1<last_seen+idle)`).int(at).blob(one.ID[:]).int(int64(t.generation)).int(t.now).run()
		if err != nil {
			return err
		}
	}
	return nil
}
