package postgres

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// op is one change: its number, and what followers are told of it.
type op struct {
	s     *Store
	token int64
	ids   []latchkey.ID
	every bool
}

func (s *Store) newOp() *op { return &op{s: s, token: s.tokens.Add(1)} }

// params begins the parameters of a function that changes sessions.
func (o *op) params(n int) *params {
	return o.s.nowParam(newParams(n + 3)).int(o.s.origin).int(o.token)
}

// done tells this node's followers, waits until they have taken it in, and has the
// other nodes woken.
func (o *op) done(ctx context.Context) error {
	if len(o.ids) == 0 && !o.every {
		return nil
	}
	b := latchkey.Batch{IDs: o.ids, All: o.every}
	claims := o.s.tell(change{o.s.origin, o.token}, b, false)
	o.s.wakeOthers(item{o.token, b})
	return claims.Await(ctx)
}

// event are the texts of an event as the functions take them, and its time.
func (p *params) event(e *audit.Event) *params {
	return p.texts([]string{text(string(e.Action)), text(e.Actor), text(e.Session), text(e.Provider), text(e.Subject), text(e.IP),
		text(string(e.Outcome)), text(e.Reason), strconv.Itoa(e.Count)})
}

// text is s without what the server refuses in a text.
func text(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// plainName reports whether a name is kept as it is. One that were not would be
// another's.
func plainName(names ...string) bool {
	for _, s := range names {
		if text(s) != s {
			return false
		}
	}
	return true
}

func badName() error {
	return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: session",
		Fields: []latchkey.FieldError{{Field: "identity", Detail: "provider, subject and sid are UTF-8 without zero bytes"}}}
}

// idleOf is the idle limit in microseconds, 0 for none.
func idleOf(r *latchkey.Record) int64 { return max(r.Idle, 0).Microseconds() }

// Create implements latchkey.Store. It is one trip and one transaction.
func (s *Store) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	r := &c.Record
	if !plainName(r.Provider, r.Subject, r.SID) {
		return latchkey.Created{}, badName()
	}
	if c.Replaces == r.ID {
		c.Replaces = latchkey.ID{}
	}
	var marks [][16]byte
	if r.Subject != "" {
		marks = append(marks, markKey(kindIdentity, r.Provider, r.Subject), markKey(kindSubject, "", r.Subject))
	}
	if r.SID != "" {
		marks = append(marks, markKey(kindSID, r.Provider, r.SID))
	}
	o := s.newOp()
	p := o.params(19).uuid(r.ID).text(r.Provider).text(r.Subject).text(r.SID).
		int(microOf(r.CreatedAt)).int(microOf(r.LastSeenAt)).int(idleOf(r)).int(microOf(r.ExpiresAt)).bool(r.Stateless).
		bytes(latchkey.AppendRecord(nil, r)).optID(c.Replaces).int(int64(c.ReplacesVersion)).
		int(int64(max(c.Limit, 0))).bool(c.Policy == latchkey.RefuseNew).optInt(microOf(c.Began), !c.Began.IsZero()).uuids(marks).
		int(latchkey.RevocationMark.Microseconds()).optInt(microOf(c.Event.Time), !c.Event.Time.IsZero()).event(&c.Event)
	var created latchkey.Created
	var said string
	err := s.call(ctx, s.t.Timeout, stCreate, p, func(c *columns) int64 {
		said = c.text()
		now := c.int()
		created.Generation, created.Replaced = uint64(c.int()), c.bool()
		created.Evicted, o.ids = c.ids(), c.ids()
		return now
	})
	if taken(err) {
		said, err = "exists", nil
	}
	if err == nil {
		err = refusal(said)
	}
	if err == nil {
		err = o.done(ctx)
	}
	if err != nil {
		return latchkey.Created{}, err
	}
	return created, nil
}

// taken reports whether a session with the ID was made by somebody else at the
// same time.
func taken(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.state == "23505" && f.rule == "session_pkey"
}

// refusal is the error for what a function answered, nil for "ok".
func refusal(said string) error {
	switch said {
	case "ok":
		return nil
	case "unknown":
		return noSuchSession()
	case "exists":
		return latchkey.NewError(latchkey.CodeConflict, "a session with this ID exists already", nil)
	case "conflict":
		return latchkey.NewError(latchkey.CodeConflict, "the session was changed meanwhile", nil)
	case "ended":
		return latchkey.NewError(latchkey.CodeInvalidSession, "the session has ended", nil)
	case "denied":
		return latchkey.NewError(latchkey.CodeDenied, "signed out everywhere since the sign-in began; sign in again", nil)
	case "limit":
		return latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed are live; end one first", nil)
	}
	return unavailable(errWire)
}

// Patch implements latchkey.Store.
func (s *Store) Patch(ctx context.Context, patch latchkey.Patch) error {
	next := patch.Record // whoever runs this again must find it as it was
	if !plainName(next.Provider, next.Subject, next.SID) {
		return badName()
	}
	for range 2 {
		o := s.newOp()
		p := o.params(13).uuid(next.ID).int(int64(next.Version)).text(next.Provider).text(next.Subject).text(next.SID).
			int(microOf(next.CreatedAt)).int(microOf(next.LastSeenAt)).int(idleOf(&next)).int(microOf(next.ExpiresAt)).
			bool(next.Stateless).bytes(latchkey.AppendRecord(nil, &next))
		if patch.Event != nil {
			p.optInt(microOf(patch.Event.Time), !patch.Event.Time.IsZero()).event(patch.Event)
		} else {
			p.optInt(0, false).add(oidTextArray, nil)
		}
		var said string
		err := s.call(ctx, s.t.Timeout, stPatch, p, func(c *columns) int64 {
			said = c.text()
			now, _ := c.optInt()
			if said == "other" {
				next.Provider, next.Subject, next.CreatedAt, next.Stateless = c.text(), c.text(), timeOf(c.int()), c.bool()
			}
			return now
		})
		if err != nil {
			return err
		}
		if said == "other" {
			continue
		}
		if err := refusal(said); err != nil {
			return err
		}
		o.ids = []latchkey.ID{next.ID}
		return o.done(ctx)
	}
	return unavailable(errDamaged) // what never changes has changed between two looks
}

// mostTouches bounds how many touches one transaction holds.
const mostTouches = 1000

// Touch implements latchkey.Store. More than 1,000 touches, or several of one
// session, take several transactions.
func (s *Store) Touch(ctx context.Context, touches []latchkey.Touch) error {
	var part []latchkey.Touch
	in := make(map[latchkey.ID]struct{}, min(len(touches), mostTouches))
	for _, t := range touches {
		if _, twice := in[t.ID]; twice || len(part) == mostTouches {
			if err := s.touch(ctx, part); err != nil {
				return err
			}
			part = part[:0]
			clear(in)
		}
		part = append(part, t)
		in[t.ID] = struct{}{}
	}
	return s.touch(ctx, part)
}

// touch takes sessions in the order of their IDs, as whoever locks several does.
func (s *Store) touch(ctx context.Context, part []latchkey.Touch) error {
	if len(part) == 0 {
		if ctx.Err() != nil {
			return brokenOff(ctx)
		}
		return answer(s.usable())
	}
	slices.SortFunc(part, func(a, b latchkey.Touch) int { return slices.Compare(a.ID[:], b.ID[:]) })
	ids, ats := make([][16]byte, len(part)), make([]int64, len(part))
	for i, t := range part {
		ids[i], ats[i] = t.ID, microOf(t.At)
	}
	return s.call(ctx, s.t.Timeout, stTouch, s.nowParam(newParams(3)).uuids(ids).ints(ats), (*columns).int)
}

// Revoke implements latchkey.Store. A session that is idle or expired is marked as
// revoked without being counted. To count what a revocation of everything ends, all
// rows are looked at, about 0.2 seconds a million.
func (s *Store) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if err := r.Check(); err != nil {
		return latchkey.RevokeResult{}, err
	}
	o := s.newOp()
	var result latchkey.RevokeResult
	var err error
	switch {
	case !r.ID.IsZero():
		err = s.revokeOne(ctx, o, &r, &result)
	case r.All:
		p := o.params(3).text(text(r.By)).text(text(r.Reason)).event(&r.Event)
		err = s.call(ctx, max(s.t.Timeout, scanTimeout), stRevokeAll, p, func(c *columns) int64 {
			now := c.int()
			result.Count = int(c.int())
			return now
		})
		o.every = true
	default:
		err = s.revokeMany(ctx, o, &r, &result)
	}
	if err == nil {
		err = o.done(ctx)
	}
	if err != nil {
		return latchkey.RevokeResult{}, err
	}
	return result, nil
}

func (s *Store) revokeOne(ctx context.Context, o *op, r *latchkey.Revocation, result *latchkey.RevokeResult) error {
	p := o.params(6).uuid(r.ID).optText(text(r.Only.Provider), r.Only.Subject != "").optText(text(r.Only.Subject), r.Only.Subject != "").
		text(text(r.By)).text(text(r.Reason)).event(&r.Event)
	var said string
	err := s.call(ctx, s.t.Timeout, stRevokeOne, p, func(c *columns) int64 {
		said = c.text()
		now, _ := c.optInt()
		if c.bool() {
			result.Count, result.IDs = 1, []latchkey.ID{r.ID}
		}
		o.ids = c.ids()
		return now
	})
	if err != nil {
		return err
	}
	return refusal(said)
}

func (s *Store) revokeMany(ctx context.Context, o *op, r *latchkey.Revocation, result *latchkey.RevokeResult) error {
	if !plainName(r.Provider, r.Subject, r.SID) {
		return badName()
	}
	mark := markKey(kindIdentity, r.Provider, r.Subject)
	switch {
	case r.SID != "":
		mark = markKey(kindSID, r.Provider, r.SID)
	case r.AnyProvider:
		mark = markKey(kindSubject, "", r.Subject)
	}
	p := o.params(8).optText(r.Provider, r.SID != "" || !r.AnyProvider).optText(r.Subject, r.SID == "").optText(r.SID, r.SID != "").
		optID(r.Except).uuid(mark).text(text(r.By)).text(text(r.Reason)).event(&r.Event)
	return s.call(ctx, max(s.t.Timeout, scanTimeout), stRevokeMany, p, func(c *columns) int64 {
		now := c.int()
		result.IDs, o.ids = c.ids(), c.ids()
		result.Count = len(result.IDs)
		return now
	})
}

// maxSpent is how far ahead the time may be at which a key is forgotten.
const maxSpent = 24 * time.Hour

// Spend implements latchkey.Spender. A time that has passed already is
// CodeInvalidRequest, like one that is too far ahead: what is forgotten at once
// could be used twice.
func (s *Store) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	p := s.nowParam(newParams(4)).bytes(key[:]).int(microOf(until)).int(maxSpent.Microseconds())
	var said string
	err := s.call(ctx, s.t.Timeout, stSpend, p, func(c *columns) int64 {
		said = c.text()
		return c.int()
	})
	switch {
	case err != nil:
		return err
	case said == "until":
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: use once",
			Fields: []latchkey.FieldError{{Field: "until", Detail: "is ahead of the store's time, by a day at most"}}}
	case said == "conflict":
		return latchkey.NewError(latchkey.CodeConflict, "used before", nil)
	}
	return refusal(said)
}
