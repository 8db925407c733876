package latchkey

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// state is what one request does to its session. It is made for the request and
// never used again, so that a Session kept too long can at worst be of no use.
type state struct {
	m *Manager
	// phase holds the bits below. It is apart from mu so that a request which changes
	// nothing takes no lock.
	phase atomic.Uint32

	saving sync.Mutex // held while the session is saved or exchanged; taken before mu
	mu     sync.Mutex
	tok    token
	view   view
	seen   int64
	rec    *Record // the row, when this request read it; shared, never changed
	ops    []op
	data   *values       // working copy; nil until it is needed
	broken error         // why data cannot be opened
	r      *http.Request // for the client's address; nil outside HTTP
	issued *Issued       // the token drawn in this request, or the deletion of the cookie

	w     http.ResponseWriter // the one underneath, where Set-Cookie goes; nil outside HTTP
	begun bool                // the session is saved, or could not be
	fault bool                // it could not; the problem has been written instead
	auto  bool                // issued is not the handler's doing, and can wait for another response
	// byToken says that the view is what the token tells of itself.
	byToken bool
	// refused says that the token stands, and the program's filter is against it.
	refused bool
}

// Bits of state.phase.
const (
	phaseChanged = 1 << iota // reads must look here rather than at the view in the Session
	phaseDone                // the response has begun: no more changes
)

func (st *state) changed() bool { return st.phase.Load()&phaseChanged != 0 }
func (st *state) done() bool    { return st.phase.Load()&phaseDone != 0 }

// mayChange announces a change, with the lock held, and reports whether there may
// be one. It is decided together with the response's beginning, so that a change
// is either refused or saved.
func (st *state) mayChange() bool { return st.phase.Or(phaseChanged)&phaseDone == 0 }

// session is a hold on what is current.
func (st *state) session() Session {
	v, seen := st.snapshot()
	return Session{v: v, seen: seen, st: st, m: st.m}
}

// readOnly is a hold that can read everything and change nothing.
func (st *state) readOnly() Session {
	s := Session{v: st.view, seen: st.seen, m: st.m}
	if st.view.sealed() { // its data has to be opened first
		s.st = &state{m: st.m, tok: st.tok, view: st.view, seen: st.seen, rec: st.rec, r: st.r}
		s.st.phase.Store(phaseDone)
	}
	return s
}

// snapshot returns the view that is current.
func (st *state) snapshot() (view, int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.view, st.seen
}

// working returns a copy of the working data, if this request has any: it does
// after a change, and when the view's data is sealed.
func (st *state) working() (map[string]json.RawMessage, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.data == nil && st.view.sealed() {
		st.loadData()
	}
	if st.data == nil {
		return nil, false
	}
	return maps.Clone(st.data.m), true
}

// value returns one value that is current.
func (st *state) value(name string) (json.RawMessage, bool, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.data == nil && st.view.sealed() {
		st.loadData()
	}
	if st.broken != nil {
		return nil, false, st.broken
	}
	if st.data == nil {
		raw, ok := st.view.value(name)
		return raw, ok, nil
	}
	raw, ok := st.data.m[name]
	return raw, ok, nil
}

func (st *state) openError() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.broken
}

// loadData fills the working copy from the view or, where that is sealed, by
// reading and opening the row.
func (st *state) loadData() {
	st.data = newValues(nil)
	if !st.view.sealed() {
		st.data = newValues(maps.Collect(st.view.values))
		return
	}
	rec := st.rec
	if rec == nil {
		ctx := context.Background()
		if st.r != nil {
			ctx = st.r.Context()
		}
		var err error
		if rec, err = st.m.row(ctx, &st.tok); err != nil {
			st.broken = err
			return
		}
		at := st.m.Now()
		if _, ok := st.m.currentSecret(rec, st.tok.secret(), at); !ok || rec.StateAt(at) != Live {
			st.broken = errInvalid(errEnded)
			return
		}
	}
	data, err := st.m.openData(rec, st.tok.secret())
	if err != nil {
		st.broken = err
		return
	}
	st.data = newValues(data)
}

// change records an op and applies it to the working copy, so that the request
// reads its own writes.
func (st *state) change(o op) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.mayChange() {
		return ErrCommitted
	}
	now := o
	for {
		if st.data == nil {
			st.loadData()
		}
		if st.broken != nil {
			return st.broken
		}
		if o.update == nil {
			break
		}
		// The program's function runs without the lock: it may read the session.
		var after json.RawMessage
		var err error
		before := st.data.m[o.name]
		st.unlocked(func() { after, err = o.update(before) })
		if err != nil {
			return err
		}
		if st.done() {
			return ErrCommitted
		}
		if st.data != nil && bytes.Equal(st.data.m[o.name], before) {
			now = op{name: o.name, value: after}
			break
		}
	}
	if err := st.data.apply(now, st.m.cfg.MaxData); err != nil {
		return err
	}
	st.ops = append(st.ops, o)
	return nil
}

// unlocked runs f without the lock, for functions of the program: they may read
// the session, or panic.
func (st *state) unlocked(f func()) {
	st.mu.Unlock()
	defer st.mu.Lock()
	f()
}

// commit saves what was recorded. After an error the changes are still recorded.
func (st *state) commit(ctx context.Context) error {
	st.saving.Lock()
	defer st.saving.Unlock()
	if st.done() {
		return ErrCommitted
	}
	return st.save(ctx)
}

// save is commit for who holds saving.
func (st *state) save(ctx context.Context) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.ops) == 0 {
		return nil
	}
	if len(st.view) == 0 {
		return st.m.createAnonymous(ctx, st)
	}
	c := &commitment{secret: *st.tok.secret(), issued: st.tok.issued, hint: st.rec, ops: slices.Clone(st.ops)}
	id := *st.tok.id()
	var rec *Record
	var err error
	st.unlocked(func() { rec, err = st.m.commits.apply(ctx, st.m, id, c) })
	if err != nil {
		return err
	}
	rest := st.ops[len(c.ops):]
	if err := st.adopt(rec); err != nil {
		return err
	}
	return st.replay(rest)
}

// adopt makes rec, which st.tok opens, what the request sees.
func (st *state) adopt(rec *Record) error {
	values, err := st.m.openData(rec, st.tok.secret())
	if err != nil {
		return err
	}
	v, err := newView(rec, &st.tok, values, false)
	if err != nil {
		return err
	}
	st.rec, st.view, st.seen, st.data, st.broken, st.refused = rec, v, micro(rec.LastSeenAt), nil, nil, false
	st.phase.Or(phaseChanged)
	return nil
}

// none makes the request see no session.
func (st *state) none() {
	st.rec, st.view, st.seen, st.ops, st.data, st.broken, st.issued = nil, nil, 0, nil, nil, nil, nil
	st.phase.Or(phaseChanged)
}

// sendCookie puts the line that is due into the response, in place of any other
// for the session cookie. What carries a token is in no cache.
func (st *state) sendCookie() {
	if st.w == nil || st.issued == nil || st.issued.SetCookie == "" {
		return
	}
	header, name := st.w.Header(), st.m.cookieName+"="
	kept := header["Set-Cookie"][:0:0]
	for _, l := range header["Set-Cookie"] {
		if !strings.HasPrefix(l, name) {
			kept = append(kept, l)
		}
	}
	header["Set-Cookie"] = append(kept, st.issued.SetCookie)
	header["Cache-Control"] = []string{"no-store"}
}
