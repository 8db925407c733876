package mysql

import (
	"context"
	"database/sql"
	"slices"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/pack"
)

// Reasons of what a Create ends.
const (
	reasonReplaced = "replaced"
	reasonLimit    = "limit"
)

// Create implements latchkey.Store. All is decided before anything is changed, so
// that a sign-in which is refused ends nothing.
func (s *Store) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	d := &draft{Create: &c, rec: &c.Record, packed: latchkey.AppendRecord(nil, &c.Record)}
	return change(ctx, s, func(t *tx) (latchkey.Created, error) { return t.create(d) })
}

// draft is a session to be made.
type draft struct {
	*latchkey.Create
	rec    *latchkey.Record
	packed []byte
}

// found is what a Create has to know.
type found struct {
	exists      bool
	mark        int64 // the latest revocation that may have overtaken the sign-in
	predecessor rows
	others      rows // of the subject
}

// look locks and reads what decides about a Create.
func (t *tx) look(d *draft) (*found, error) {
	var f found
	var q script
	var each []func(*sql.Rows) error
	rec := d.rec
	q.add("SELECT 1 FROM latchkey_session WHERE id=?", rawID(rec.ID))
	each = append(each, func(*sql.Rows) error { f.exists = true; return nil })
	var keys []int64
	limited := d.Limit > 0 && rec.Subject != ""
	if !d.Began.IsZero() || limited {
		// Those who sign the same subject in or out come one after the other.
		if rec.Subject != "" {
			keys = append(keys, pack.SubjectKey(rec.Subject))
		}
		if rec.SID != "" {
			keys = append(keys, pack.SIDKey(rec.Provider, rec.SID))
		}
	}
	if marks := d.marks(); len(marks) > 0 {
		q.add("SELECT coalesce(max(at),0) FROM latchkey_mark WHERE k IN (?)", list(marks, func(k [16]byte) literal { return raw(k[:]) }))
		each = append(each, func(rows *sql.Rows) error { return rows.Scan(&f.mark) })
	}
	if !d.Replaces.IsZero() && d.Replaces != rec.ID {
		q.add("SELECT "+locked+" FROM latchkey_session s WHERE s.id=? FOR UPDATE", rawID(d.Replaces))
		each = append(each, f.predecessor.take)
	}
	if limited {
		q.add("SELECT "+locked+" FROM latchkey_session s FORCE INDEX (by_subject) WHERE s.subject_key=? AND s.ended=0 AND s.who=? ORDER BY s.created, s.id FOR UPDATE",
			num(pack.SubjectKey(rec.Subject)), num(pack.WhoKey(rec.Provider, rec.Subject)))
		each = append(each, f.others.take)
	}
	if err := t.begin(keys, &q, each...); err != nil {
		return nil, err
	}
	t.settle(&f.predecessor)
	t.settle(&f.others)
	return &f, nil
}

// marks are the keys of the revocations that would have overtaken the sign-in.
func (d *draft) marks() (keys [][16]byte) {
	if d.Began.IsZero() {
		return nil
	}
	if d.rec.Subject != "" {
		keys = append(keys, pack.MarkKey(pack.Identity, d.rec.Provider, d.rec.Subject), pack.MarkKey(pack.Subject, "", d.rec.Subject))
	}
	if d.rec.SID != "" {
		keys = append(keys, pack.MarkKey(pack.SID, d.rec.Provider, d.rec.SID))
	}
	return keys
}

func (t *tx) create(d *draft) (created latchkey.Created, err error) {
	f, err := t.look(d)
	if err != nil {
		return created, err
	}
	var evicted []*row
	switch {
	case f.exists:
		return created, latchkey.NewError(latchkey.CodeConflict, "a session with this ID exists already", nil)
	case f.mark != 0 && f.mark >= microOf(d.Began) && f.mark >= t.now-latchkey.RevocationMark.Microseconds():
		return created, latchkey.NewError(latchkey.CodeDenied, "signed out everywhere since the sign-in began; sign in again", nil)
	}
	predecessor := f.predecessor.list
	if len(predecessor) > 0 && d.ReplacesVersion != 0 && predecessor[0].rec.Version != d.ReplacesVersion && predecessor[0].live(t.now) {
		return created, latchkey.NewError(latchkey.CodeConflict, "the session to replace was changed meanwhile", nil)
	}
	if evicted, err = t.overLimit(d, f.others.list); err != nil {
		return created, err
	}
	created.Generation = uint64(t.generation)
	t.about = d.rec.ID
	t.insert(d)
	event := d.Event
	if event.Time.IsZero() {
		event.Time = t.time()
	}
	if len(predecessor) > 0 {
		created.Replaced = predecessor[0].live(t.now)
		t.endFor(predecessor, event, audit.Revoke, reasonReplaced)
	}
	t.endFor(evicted, event, audit.Evict, reasonLimit)
	for _, old := range evicted {
		created.Evicted = append(created.Evicted, old.rec.ID)
	}
	t.record(&event)
	return created, nil
}

// overLimit returns the live sessions that must end to make room, oldest first,
// or the refusal.
func (t *tx) overLimit(d *draft, others []*row) ([]*row, error) {
	if d.Limit <= 0 || d.rec.Subject == "" {
		return nil, nil
	}
	live := slices.DeleteFunc(others, func(r *row) bool {
		return !r.live(t.now) || r.rec.ID == d.Replaces || r.rec.Identity() != d.rec.Identity() // the key may be another's, too
	})
	over := len(live) + 1 - d.Limit
	if over > 0 && d.Policy == latchkey.RefuseNew {
		return nil, latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed are live; end one first", nil)
	}
	return live[:max(over, 0)], nil
}

// insert adds the row. Another program that makes the same one at once is refused,
// and then finds that it exists.
func (t *tx) insert(d *draft) {
	r := d.rec
	subject, sid := literal("NULL"), literal("NULL")
	if r.Subject != "" {
		subject = num(pack.SubjectKey(r.Subject))
	}
	if r.SID != "" {
		sid = num(pack.SIDKey(r.Provider, r.SID))
	}
	t.out.add(`INSERT INTO latchkey_session (id, generation, subject_key, who, sid_key, created, last_seen, idle, expires, version, record)
		VALUES (?,?,?,?,?,?,?,?,?,1,?)`, rawID(r.ID), num(t.generation), subject, num(pack.WhoKey(r.Provider, r.Subject)), sid,
		num(microOf(r.CreatedAt)), num(microOf(r.LastSeenAt)), num(idleOf(r)), num(microOf(r.ExpiresAt)), raw(d.packed))
}

// endFor ends sessions to make room, under the actor, identity and time of the
// creation's event.
func (t *tx) endFor(old []*row, event audit.Event, action audit.Action, reason string) {
	for _, r := range t.end(old, event.Actor, reason) {
		event.Action, event.Session, event.Reason, event.Outcome, event.Count = action, r.rec.ID.String(), reason, audit.Done, 0
		t.record(&event)
	}
}

// one locks and reads one session; nil when there is none.
func (t *tx) one(id latchkey.ID) (*row, error) {
	var q script
	var l rows
	q.add("SELECT "+locked+" FROM latchkey_session s WHERE s.id=? FOR UPDATE", rawID(id))
	if err := t.begin(nil, &q, l.take); err != nil {
		return nil, err
	}
	if len(t.settle(&l)) == 0 {
		return nil, nil
	}
	return l.list[0], nil
}

// Patch implements latchkey.Store.
func (s *Store) Patch(ctx context.Context, p latchkey.Patch) error {
	_, err := change(ctx, s, func(t *tx) (struct{}, error) { return struct{}{}, t.patch(&p) })
	return err
}

func (t *tx) patch(p *latchkey.Patch) error {
	next := p.Record // whoever runs this again must find it as it was
	old, err := t.one(next.ID)
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
	sid := literal("NULL")
	if next.SID != "" {
		sid = num(pack.SIDKey(next.Provider, next.SID))
	}
	t.out.add("UPDATE latchkey_session SET sid_key=?, last_seen=GREATEST(last_seen,?), idle=?, expires=?, version=version+1, record=? WHERE id=?",
		sid, num(microOf(next.LastSeenAt)), num(idleOf(&next)), num(microOf(next.ExpiresAt)), raw(latchkey.AppendRecord(nil, &next)), rawID(next.ID))
	old.expires = max(old.expires, microOf(next.ExpiresAt)) // tokens of before the patch tell the former limit
	t.noteChanged([]*row{old})
	t.tell(next.ID)
	t.about = next.ID
	if p.Event != nil {
		t.record(p.Event)
	}
	return nil
}

// touchesPerChange bounds how many touches one transaction holds, so that a huge
// batch does not keep its rows from others.
const touchesPerChange = 250

// Touch implements latchkey.Store. More than 250 touches are committed in several
// steps.
func (s *Store) Touch(ctx context.Context, touches []latchkey.Touch) error {
	// By session, so that no two batches wait in a circle; those of one in their order.
	touches = slices.SortedStableFunc(slices.Values(touches), func(a, b latchkey.Touch) int { return slices.Compare(a.ID[:], b.ID[:]) })
	if len(touches) == 0 {
		return s.usable(ctx)
	}
	for part := range slices.Chunk(touches, touchesPerChange) {
		if _, err := change(ctx, s, func(t *tx) (struct{}, error) { return struct{}{}, t.touch(part) }); err != nil {
			return err
		}
	}
	return nil
}

// touch judges whether a session was idle at the activity, which may be a little
// while ago, and everything else at present.
func (t *tx) touch(touches []latchkey.Touch) error {
	if err := t.begin(nil, nil); err != nil {
		return err
	}
	for _, one := range touches {
		if one.At.IsZero() {
			continue
		}
		at := num(min(microOf(one.At), t.now))
		t.out.add(`UPDATE latchkey_session SET last_seen=? WHERE id=? AND last_seen<? AND revoked_at IS NULL AND generation=? AND expires>?
			AND (idle=0 OR ?<last_seen+idle)`, at, rawID(one.ID), at, num(t.generation), num(t.now), at)
	}
	return nil
}
