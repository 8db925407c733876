package redis

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Reasons of what a Create ends.
const (
	reasonReplaced = "replaced"
	reasonLimit    = "limit"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func version8(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

// microText is a time for a script, "" where the server's stands for it.
func microText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return decimal(t.UnixMicro())
}

// subjectTag is the bucket of a subject's events, "" for none.
func subjectTag(subject string) string {
	if subject == "" {
		return ""
	}
	return subjectRef(subject)[:3]
}

// Create implements latchkey.Store. All is decided before anything is changed, so
// that a sign-in which is refused ends nothing.
func (s *Store) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	if err := s.open(ctx); err != nil {
		return latchkey.Created{}, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	create := s.create
	if s.cfg.Mode == Cluster {
		create = s.createAcross
	}
	created, err := create(ctx, &c)
	return created, s.doubted(c.Record.ID, err)
}

func (s *Store) create(ctx context.Context, c *latchkey.Create) (latchkey.Created, error) {
	var created latchkey.Created
	r, e := &c.Record, &c.Event
	identity, subject, sid := s.identityRef(r.Identity()), subjectRef(r.Subject), sidRef(r.Provider, r.SID)
	replaces, expected := "", ""
	if !c.Replaces.IsZero() {
		replaces = c.Replaces.String()
	}
	if c.ReplacesVersion != 0 {
		expected = version8(c.ReplacesVersion)
	}
	limit := 0
	if c.Limit > 0 && r.Subject != "" {
		limit = c.Limit
	}
	f, err := s.do(ctx, call{sc: &s.scripts.create, tag: tagText(r.ID.Placement()), told: 3, keys: []string{s.rowKey(r.ID)}, among: args{
		r.ID.String(), packRow(r, identity, subject, sid), decimal(microOf(r.CreatedAt)), decimal(microOf(r.ExpiresAt)),
		identity, subject, sid, decimal(microOf(c.Began)), strconv.Itoa(limit), strconv.Itoa(int(c.Policy)),
		replaces, expected, packEnd(e.Actor, reasonReplaced), packEnd(e.Actor, reasonLimit),
		microText(e.Time), strconv.Itoa(e.Count), stem(e.Provider, e.Subject), e.IP, e.Session, restOf(e), subjectTag(e.Subject),
		eventRest(audit.Revoke, e.Actor, audit.Done, reasonReplaced), eventRest(audit.Evict, e.Actor, audit.Done, reasonLimit)}})
	if err != nil {
		return created, err
	}
	switch f.text(0) {
	case "ok":
		created.Generation, created.Replaced = uint64(f.int(1)), f.flag(2)
		created.Evicted, err = parseIDs(f.text(4))
		if err != nil {
			return latchkey.Created{}, unavailable(err)
		}
		return created, f.err()
	case "exists":
		err = errExists()
	case "changed":
		err = errReplaced()
	case "denied":
		err = errOvertaken()
	case "limit":
		err = latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed are live; end one first", nil)
	default:
		err = unavailable(errAnswer)
	}
	return created, err
}

func errExists() error {
	return latchkey.NewError(latchkey.CodeConflict, "a session with this ID exists already", nil)
}

func errReplaced() error {
	return latchkey.NewError(latchkey.CodeConflict, "the session to replace was changed meanwhile", nil)
}

func errOvertaken() error {
	return latchkey.NewError(latchkey.CodeDenied, "signed out everywhere since the sign-in began; sign in again", nil)
}

// Patch implements latchkey.Store.
func (s *Store) Patch(ctx context.Context, p latchkey.Patch) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	r := &p.Record
	among := args{r.ID.String(), version8(r.Version), decimal(microOf(r.LastSeenAt)), decimal(idleOf(r)), decimal(microOf(r.ExpiresAt)),
		sidRef(r.Provider, r.SID), string(packed(r))}
	if e := p.Event; e != nil {
		among = append(among, "1", microText(e.Time), strconv.Itoa(e.Count), stem(e.Provider, e.Subject), e.IP, e.Session, restOf(e), subjectTag(e.Subject))
	} else {
		among = append(among, "", "", "", "", "", "", "", "")
	}
	c := call{sc: &s.scripts.patch, tag: tagText(r.ID.Placement()), told: 1, keys: []string{s.rowKey(r.ID)}, among: append(among, subjectRef(r.Subject), "")}
	f, err := s.do(ctx, c)
	if err == nil && f.text(0) == "announce" {
		if err := s.announce(ctx, r, 0); err != nil {
			return err
		}
		c.among[len(c.among)-1] = "1"
		f, err = s.do(ctx, c)
	}
	if err != nil {
		return s.doubted(r.ID, err)
	}
	switch f.text(0) {
	case "ok":
		return f.err()
	case "gone":
		return noSuchSession()
	case "ended":
		return latchkey.NewError(latchkey.CodeInvalidSession, "the session has ended", nil)
	case "changed":
		return latchkey.NewError(latchkey.CodeConflict, "the session was changed meanwhile", nil)
	}
	return unavailable(errAnswer)
}

// touchesPerScript bounds how many touches one script holds, about a millisecond of
// the server's time.
const touchesPerScript = 500

// Touch implements latchkey.Store. More than 500 touches are written in several
// steps. They are not confirmed by replicas: what is lost is activity.
func (s *Store) Touch(ctx context.Context, touches []latchkey.Touch) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if s.cfg.Mode == Cluster {
		return s.touchAcross(ctx, touches)
	}
	for len(touches) > 0 {
		part := touches[:min(len(touches), touchesPerScript)]
		touches = touches[len(part):]
		if err := s.touch(ctx, "", part); err != nil {
			return err
		}
	}
	return nil
}

// touch writes touches of sessions with one tag, or with any where there is one primary.
func (s *Store) touch(ctx context.Context, tag string, touches []latchkey.Touch) error {
	keys, at := make([]string, len(touches)), make(args, len(touches))
	for i, t := range touches {
		keys[i], at[i] = s.rowKey(t.ID), decimal(microOf(t.At))
	}
	f, err := s.do(ctx, call{sc: &s.scripts.touch, tag: tag, keys: keys, weak: true, among: at})
	if err != nil {
		return err
	}
	return f.ok()
}
