package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Method names a method of latchkey.Store.
type Method string

// The methods that a Faulty asks about.
const (
	MethodCreate Method = "Create"
	MethodGet    Method = "Get"
	MethodPatch  Method = "Patch"
	MethodTouch  Method = "Touch"
	MethodRevoke Method = "Revoke"
	MethodList   Method = "List"
	MethodPurge  Method = "Purge"
)

// The methods of capabilities that a Faulty asks about, where the wrapped store
// offers them.
const (
	MethodChanged Method = "Changed" // of latchkey.ChangeLister
	MethodSpend   Method = "Spend"   // of latchkey.Spender
)

// Op is a call of a store. Of the arguments only that of the method is set.
type Op struct {
	Method     Method
	ID         latchkey.ID // of Get; of Changed, after which the page begins
	Create     *latchkey.Create
	Patch      *latchkey.Patch
	Touches    []latchkey.Touch
	Revocation *latchkey.Revocation
	List       *latchkey.ListQuery
	Purge      *latchkey.Purge
	Spent      [32]byte // of Spend
}

// Writes reports whether the call may change something.
func (o Op) Writes() bool {
	return o.Method != MethodGet && o.Method != MethodList && o.Method != MethodChanged
}

// Decide says what becomes of a call: it is carried out if apply is true, and
// answered with err if that is not nil. (true, err) is a change that was
// persisted but whose answer was lost; (false, err) one that was not persisted.
// It may block, which lets a test arrange an order of events, and is called from
// many goroutines at once.
type Decide func(op Op) (apply bool, err error)

// ErrLost is a failure for Decide to answer: the connection broke.
var ErrLost error = latchkey.NewError(latchkey.CodeStoreUnavailable, "the session store gave no answer",
	errors.New("storetest: connection lost"))

// NotPersisted and PersistedLost are the two ways in which a step can fail.
func NotPersisted(Op) (apply bool, err error) { return false, ErrLost }

// PersistedLost carries the call out and loses its answer.
func PersistedLost(Op) (apply bool, err error) { return true, ErrLost }

// Only applies d to calls of one method, and lets others pass.
func Only(m Method, d Decide) Decide {
	return func(op Op) (bool, error) {
		if op.Method == m {
			return d(op)
		}
		return true, nil
	}
}

// Faulty is a store whose calls fail when the test wants it. It has all
// capabilities of a store; those that the wrapped one lacks behave as if they
// were absent: Follow fails, StoreTime is the node's own clock, and so on. It is
// safe for concurrent use.
type Faulty struct {
	inner     latchkey.Store
	decide    atomic.Pointer[Decide]
	placement [32]byte

	mu      sync.Mutex
	cut     bool
	streams map[*stream]struct{}
}

// stream is a running call of Follow. One that was cut off delivers nothing more,
// the last beat before it breaks included: it would vouch for what was missed.
type stream struct {
	cancel context.CancelFunc
	cut    bool
}

// NewFaulty wraps a store. Calls pass until Fail is called.
func NewFaulty(s latchkey.Store) *Faulty {
	f := &Faulty{inner: s, streams: make(map[*stream]struct{})}
	_, _ = rand.Read(f.placement[:]) // never fails
	return f
}

// Fail sets what decides about calls from now on; nil lets all of them pass.
func (f *Faulty) Fail(d Decide) {
	if d == nil {
		f.decide.Store(nil)
		return
	}
	f.decide.Store(&d)
}

// CutFeed cuts followers off as a network does: they are told nothing any more
// and do not notice. Mending the feed breaks their streams, so that they begin anew.
func (f *Faulty) CutFeed(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	for s := range f.streams {
		if s.cut = true; !cut {
			s.cancel()
		}
	}
}

func (f *Faulty) isCut(s *stream) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.cut
}

// Unwrap returns the wrapped store.
func (f *Faulty) Unwrap() latchkey.Store { return f.inner }

// call asks about an operation and carries it out if it is to be.
func call[T any](f *Faulty, op Op, do func() (T, error)) (T, error) {
	apply, fault := true, error(nil)
	if d := f.decide.Load(); d != nil {
		apply, fault = (*d)(op)
	}
	var result T
	var err error
	switch {
	case apply:
		result, err = do()
	case fault == nil:
		fault = ErrLost // what was not done must not be acknowledged
	}
	if fault != nil {
		var zero T
		return zero, fault
	}
	return result, err
}

// Create implements latchkey.Store.
func (f *Faulty) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	return call(f, Op{Method: MethodCreate, Create: &c}, func() (latchkey.Created, error) { return f.inner.Create(ctx, c) })
}

// Get implements latchkey.Store.
func (f *Faulty) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	return call(f, Op{Method: MethodGet, ID: id}, func() (*latchkey.Record, error) { return f.inner.Get(ctx, id) })
}

// Patch implements latchkey.Store.
func (f *Faulty) Patch(ctx context.Context, p latchkey.Patch) error {
	_, err := call(f, Op{Method: MethodPatch, Patch: &p}, func() (struct{}, error) { return struct{}{}, f.inner.Patch(ctx, p) })
	return err
}

// Touch implements latchkey.Store.
func (f *Faulty) Touch(ctx context.Context, touches []latchkey.Touch) error {
	_, err := call(f, Op{Method: MethodTouch, Touches: touches}, func() (struct{}, error) { return struct{}{}, f.inner.Touch(ctx, touches) })
	return err
}

// Revoke implements latchkey.Store.
func (f *Faulty) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	return call(f, Op{Method: MethodRevoke, Revocation: &r}, func() (latchkey.RevokeResult, error) { return f.inner.Revoke(ctx, r) })
}

// List implements latchkey.Store.
func (f *Faulty) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	return call(f, Op{Method: MethodList, List: &q}, func() (latchkey.ListPage, error) { return f.inner.List(ctx, q) })
}

// Purge implements latchkey.Store.
func (f *Faulty) Purge(ctx context.Context, p latchkey.Purge) (int, error) {
	return call(f, Op{Method: MethodPurge, Purge: &p}, func() (int, error) { return f.inner.Purge(ctx, p) })
}

// Close implements latchkey.Store.
func (f *Faulty) Close() error { return f.inner.Close() }

// errLacks is the cause where the wrapped store has no such capability.
var errLacks = errors.New("storetest: the wrapped store does not offer this")

func lacks() error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, "not offered", errLacks)
}

// Follow implements latchkey.Feed.
func (f *Faulty) Follow(ctx context.Context, interval time.Duration, deliver func(latchkey.Batch)) error {
	feed, ok := f.inner.(latchkey.Feed)
	if !ok {
		return lacks()
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	s := &stream{cancel: cancel, cut: f.cut}
	f.streams[s] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.streams, s)
		f.mu.Unlock()
	}()
	err := feed.Follow(own, interval, func(b latchkey.Batch) {
		if !f.isCut(s) {
			deliver(b)
		}
	})
	if own.Err() != nil && ctx.Err() == nil {
		return ErrLost // mended
	}
	return err
}

// PlacementKey implements latchkey.PlacementKeeper.
func (f *Faulty) PlacementKey(ctx context.Context) ([32]byte, error) {
	if k, ok := f.inner.(latchkey.PlacementKeeper); ok {
		return k.PlacementKey(ctx)
	}
	return f.placement, nil
}

// Count implements latchkey.Counter.
func (f *Faulty) Count(ctx context.Context) (latchkey.Counts, error) {
	if c, ok := f.inner.(latchkey.Counter); ok {
		return c.Count(ctx)
	}
	return latchkey.Counts{}, lacks()
}

// Changed implements latchkey.ChangeLister.
func (f *Faulty) Changed(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	l, ok := f.inner.(latchkey.ChangeLister)
	if !ok {
		return latchkey.ChangedPage{}, lacks()
	}
	return call(f, Op{Method: MethodChanged, ID: after}, func() (latchkey.ChangedPage, error) { return l.Changed(ctx, after, limit) })
}

// Spend implements latchkey.Spender.
func (f *Faulty) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	s, ok := f.inner.(latchkey.Spender)
	if !ok {
		return lacks()
	}
	_, err := call(f, Op{Method: MethodSpend, Spent: key}, func() (struct{}, error) { return struct{}{}, s.Spend(ctx, key, until) })
	return err
}

// StoreTime implements latchkey.Timekeeper.
func (f *Faulty) StoreTime(at latchkey.Moment) int64 {
	if k, ok := f.inner.(latchkey.Timekeeper); ok {
		return k.StoreTime(at)
	}
	return at.Wall / 1000
}

// Audit implements audit.Reader.
func (f *Faulty) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	if r, ok := f.inner.(audit.Reader); ok {
		return r.Audit(ctx, q)
	}
	return audit.Page{}, lacks()
}
