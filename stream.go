package latchkey

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// StreamGrace is how long a watched stream goes on without the store being able
// to say whether its session still stands.
const StreamGrace = 30 * time.Second

const (
	streamPause   = time.Second // between attempts to follow a feed that broke
	streamTimeout = 5 * time.Second
	streamChecks  = 32 // reads of the store at a time
)

// Causes of a watched context's end that are not the session's.
var (
	errPrivileges = errors.New("the session's roles or assurance have changed")
	errManager    = errors.New("the session manager was closed")
	errNoAnswer   = errors.New("the store has not answered for too long")
)

// Watch returns a context for a long answer (a WebSocket, server-sent events, a
// long poll) that ends with the session: when it is revoked, within the staleness
// that holds for lookups, when its idle or absolute limit is reached, and when its
// roles or assurance change, so that the stream is opened again under what holds
// now. What passes over the stream is not activity: only requests keep a session
// from idling out.
//
// While the feed is silent the session is read again and again; when the store has
// given no answer for [StreamGrace], the context ends too. [context.Cause] tells
// why: an error of code CodeInvalidSession or CodeStoreUnavailable.
//
// Call cancel when the stream is over. A Session that is not Live is
// ErrNoSession. Watching costs a read of the store at its beginning, and the
// Manager one more reader of the store's feed while anything is watched.
func (s Session) Watch(ctx context.Context) (watched context.Context, cancel context.CancelFunc, err error) {
	v, _ := s.now()
	if len(v) == 0 || s.m == nil {
		return nil, nil, ErrNoSession
	}
	watched, end := context.WithCancelCause(ctx)
	st := &stream{id: v.id(), end: end, assurance: v.str(strAssurance), roles: v.str(strRoles), identity: s.Identity()}
	if err := s.m.streams.add(s.m, st); err != nil {
		end(err)
		return nil, nil, err
	}
	stop := context.AfterFunc(watched, func() { s.m.streams.remove(st) })
	return watched, func() { end(context.Canceled); stop(); s.m.streams.remove(st) }, nil
}

// stream is one watched context.
type stream struct {
	id               ID
	end              context.CancelCauseFunc
	identity         Identity
	assurance, roles string

	// Kept by streams.run alone.
	due             int64 // store time in microseconds by which its row is to be read again
	asked, answered int64 // when the store was last asked about it, and last spoke; by the monotonic clock
}

// streams are the contexts that a Manager watches, and the goroutine that does.
// It runs while there are any.
type streams struct {
	mu      sync.Mutex
	watched map[ID][]*stream
	told    map[ID]bool // named by the feed since they were last read
	all     bool        // any may have ended
	lease   *Moment     // when the feed last proved itself alive
	wake    chan struct{}
	stop    context.CancelFunc // nil while nothing runs
	running sync.WaitGroup
	closed  bool
}

func (w *streams) add(m *Manager, st *stream) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return unavailable(errManager)
	}
	if w.watched == nil {
		w.watched, w.told, w.wake = make(map[ID][]*stream), make(map[ID]bool), make(chan struct{}, 1)
	}
	st.answered = m.clock.Now().Mono
	w.watched[st.id] = append(w.watched[st.id], st)
	w.told[st.id] = true // it may have ended since it was looked up
	if w.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.stop, w.lease = cancel, nil
		w.running.Go(func() { w.run(ctx, m) })
		if feed, ok := m.store.(Feed); ok {
			w.running.Go(func() { w.follow(ctx, m, feed) })
		}
	}
	w.signal()
	return nil
}

func (w *streams) remove(st *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(w.watched[st.id]), func(other *stream) bool { return other == st })
	if len(list) > 0 {
		w.watched[st.id] = list
		return
	}
	delete(w.watched, st.id)
	delete(w.told, st.id)
	if len(w.watched) == 0 && w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// close ends every stream and waits for the goroutines.
func (w *streams) close() {
	w.mu.Lock()
	w.closed = true
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	var list []*stream
	for _, l := range w.watched {
		list = append(list, l...)
	}
	w.mu.Unlock()
	for _, st := range list {
		st.end(unavailable(errManager))
	}
	w.running.Wait()
}

// signal wakes run. The caller holds the lock.
func (w *streams) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// follow keeps the feed open until ctx ends.
func (w *streams) follow(ctx context.Context, m *Manager, feed Feed) {
	for ctx.Err() == nil {
		// An error needs no report: without a proof every session is read.
		_ = feed.Follow(ctx, m.streamBound()/4, func(b Batch) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all = w.all || b.All || b.Reset
			for _, id := range b.IDs {
				if _, ok := w.watched[id]; ok {
					w.told[id] = true
				}
			}
			if b.Sent != (Moment{}) && (w.lease == nil || b.Sent.Mono >= w.lease.Mono) {
				w.lease = &b.Sent
			}
			if w.all || len(w.told) > 0 {
				w.signal()
			}
		})
		timer := time.NewTimer(streamPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// streamBound is how soon a stream is to follow its session's end. Half of the
// staleness, so that finding the feed silent and asking the store fit into it.
func (m *Manager) streamBound() time.Duration {
	if m.cache != nil {
		return m.cache.Staleness() / 2
	}
	return time.Second / 2
}

// run reads what the feed named, what has reached a limit and, while the feed is
// silent, everything.
func (w *streams) run(ctx context.Context, m *Manager) {
	tick := time.NewTicker(max(m.streamBound()/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
		ids := w.take(m)
		var checks sync.WaitGroup
		slots := make(chan struct{}, streamChecks)
		for id, list := range ids {
			slots <- struct{}{}
			checks.Go(func() {
				defer func() { <-slots }()
				m.check(ctx, id, list)
			})
		}
		checks.Wait()
	}
}

// take returns the streams whose row is to be read now.
func (w *streams) take(m *Manager) map[ID][]*stream {
	now, bound := m.clock.Now(), m.streamBound()
	at := m.storeMicros(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = false
	silent := w.lease == nil || time.Duration(max(now.Mono-w.lease.Mono, now.Wall-w.lease.Wall, w.lease.Wall-now.Wall)) > bound
	out := make(map[ID][]*stream)
	for id, list := range w.watched {
		wanted := all || w.told[id]
		for _, st := range list {
			wanted = wanted || st.due != 0 && at >= st.due || (silent || st.asked > st.answered) && now.Mono-st.asked >= int64(bound)
		}
		if wanted {
			out[id] = list
		}
	}
	clear(w.told)
	return out
}

// check reads one session's row and ends its streams if it does not stand.
func (m *Manager) check(ctx context.Context, id ID, list []*stream) {
	asked := m.clock.Now().Mono
	callCtx, cancel := context.WithTimeout(ctx, streamTimeout)
	rec, err := m.store.Get(callCtx, id)
	cancel()
	if ctx.Err() != nil {
		return
	}
	clock := m.clock.Now()
	now := m.storeTime(clock)
	if err == nil {
		rec = m.touches.ahead(rec)
	}
	for _, st := range list {
		st.asked = asked
		switch {
		case CodeOf(err) == CodeNoSuchSession:
			st.end(errInvalid(errUnknown))
		case err != nil:
			if clock.Mono-st.answered >= int64(StreamGrace) {
				st.end(unavailable(errNoAnswer))
			}
		case rec.StateAt(now) != Live:
			st.end(errInvalid(errEnded))
		case !m.stillAs(st, rec):
			st.end(errInvalid(errPrivileges))
		default:
			st.answered, st.due = clock.Mono, micro(rec.EndsAt())
		}
	}
}

// stillAs reports whether a row is still what a stream was opened under.
func (m *Manager) stillAs(st *stream, rec *Record) bool {
	v, err := newView(rec, &token{}, nil, true)
	return err == nil && rec.Identity() == st.identity && v.str(strRoles) == st.roles && v.str(strAssurance) == st.assurance &&
		(m.cfg.Filter == nil || m.cfg.Filter(Session{v: v, seen: micro(rec.LastSeenAt), m: m}))
}
