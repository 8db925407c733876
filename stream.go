package latchkey

import (
	"cmp"
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
}

// watched is one session with its streams. All fields are guarded by streams.mu.
type watched struct {
	streams []*stream
	named   bool  // by the feed, since it was last read
	stale   bool  // anything may have ended since it was last read
	reading bool  // its row is being read
	due     int64 // store time in microseconds by which its row is to be read again; 0 for at once
	asked   int64 // when it was last read, by the monotonic clock
	since   int64 // since when the store owes an answer about it; 0 for not at all
}

// streams are the contexts that a Manager watches, and the goroutines that do. They
// run while there are any.
type streams struct {
	mu       sync.Mutex
	sessions map[ID]*watched
	current  *watcher // nil while nothing runs
	running  sync.WaitGroup
	closed   bool
}

// watcher is one life of the goroutines.
type watcher struct {
	m     *Manager
	ctx   context.Context
	stop  context.CancelFunc
	wake  chan struct{} // capacity 1
	lease *Moment       // when the feed last proved itself alive; guarded by streams.mu

	// What the feed named goes before what is read in turn, and neither waits for
	// the other's reads.
	urgent, turn chan struct{}
}

func (w *streams) add(m *Manager, st *stream) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return unavailable(errManager)
	}
	if w.current == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c := &watcher{m: m, ctx: ctx, stop: cancel, wake: make(chan struct{}, 1),
			urgent: make(chan struct{}, streamChecks), turn: make(chan struct{}, streamChecks)}
		w.current, w.sessions = c, make(map[ID]*watched)
		w.running.Go(func() { w.run(c) })
		if feed, ok := m.store.(Feed); ok {
			w.running.Go(func() { w.follow(c, feed) })
		}
	}
	s := w.sessions[st.id]
	if s == nil {
		s = &watched{}
		w.sessions[st.id] = s
	}
	s.streams = append(s.streams, st)
	s.named = true // it may have ended since it was looked up
	w.current.signal()
	return nil
}

func (w *streams) remove(st *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[st.id]
	if s == nil {
		return
	}
	s.streams = slices.DeleteFunc(slices.Clone(s.streams), func(other *stream) bool { return other == st })
	if len(s.streams) > 0 {
		return
	}
	delete(w.sessions, st.id)
	if len(w.sessions) == 0 && w.current != nil {
		w.current.stop()
		w.current = nil
	}
}

// close ends every stream and waits for the goroutines, or until ctx ends.
func (w *streams) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	if w.current != nil {
		w.current.stop()
		w.current = nil
	}
	var list []*stream
	for _, s := range w.sessions {
		list = append(list, s.streams...)
	}
	w.mu.Unlock()
	for _, st := range list {
		st.end(unavailable(errManager))
	}
	done := make(chan struct{})
	go func() {
		w.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal wakes run.
func (c *watcher) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// follow keeps the feed open until the watcher is stopped.
func (w *streams) follow(c *watcher, feed Feed) {
	for c.ctx.Err() == nil {
		// An error needs no report: without a proof every session is read.
		_ = feed.Follow(c.ctx, c.m.streamBound()/4, func(b Batch) { w.deliver(c, b) })
		timer := time.NewTimer(streamPause)
		select {
		case <-c.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// deliver takes one batch of the feed.
func (w *streams) deliver(c *watcher, b Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != c {
		return
	}
	news := b.All || b.Reset
	if news {
		for _, s := range w.sessions {
			s.stale = true
		}
	}
	for _, id := range b.IDs {
		if s := w.sessions[id]; s != nil {
			s.named, news = true, true
		}
	}
	if b.Sent != (Moment{}) && (c.lease == nil || b.Sent.Mono >= c.lease.Mono) {
		c.lease = &b.Sent
	}
	if news {
		c.signal()
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

// run has the rows read that are to be, and ends what the store has left without an
// answer for too long.
func (w *streams) run(c *watcher) {
	tick := time.NewTicker(max(c.m.streamBound()/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		case <-c.wake:
		}
		w.round(c)
	}
}

// round starts reads as far as there is room for them: what the feed named first,
// and then whatever has waited longest.
func (w *streams) round(c *watcher) {
	now, bound := c.m.clock.Now(), int64(c.m.streamBound())
	at := c.m.storeMicros(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != c {
		return
	}
	silent := c.lease == nil || max(now.Mono-c.lease.Mono, now.Wall-c.lease.Wall, c.lease.Wall-now.Wall) > bound
	var turn []ID
	for id, s := range w.sessions {
		if s.since != 0 && now.Mono-s.since >= int64(StreamGrace) {
			for _, st := range s.streams {
				st.end(unavailable(errNoAnswer))
			}
			continue
		}
		switch {
		case s.reading:
		case s.named && w.begin(c, c.urgent, id, s, now.Mono):
		case s.named, s.stale, at >= s.due && s.due != 0, (silent || s.since != 0) && now.Mono-s.asked >= bound:
			if turn = append(turn, id); s.since == 0 {
				s.since = max(now.Mono, 1)
			}
		}
	}
	slices.SortFunc(turn, func(a, b ID) int { return cmp.Compare(w.sessions[a].asked, w.sessions[b].asked) })
	for _, id := range turn {
		if !w.begin(c, c.turn, id, w.sessions[id], now.Mono) {
			return
		}
	}
}

// begin reads a session's row if there is a place for it among places. The caller
// holds w.mu.
func (w *streams) begin(c *watcher, places chan struct{}, id ID, s *watched, now int64) bool {
	select {
	case places <- struct{}{}:
	default:
		return false
	}
	s.named, s.stale, s.reading, s.asked = false, false, true, now
	if s.since == 0 {
		s.since = max(now, 1)
	}
	w.running.Go(func() {
		w.check(c, id, s)
		<-places
		c.signal() // there may be another one waiting for the place
	})
	return true
}

// check reads one session's row and ends its streams if it does not stand.
func (w *streams) check(c *watcher, id ID, s *watched) {
	ctx, cancel := context.WithTimeout(c.ctx, streamTimeout)
	rec, err := c.m.store.Get(ctx, id)
	cancel()
	if c.ctx.Err() != nil {
		return
	}
	if err == nil {
		rec = c.m.touches.ahead(rec)
	}
	now := c.m.Now()
	w.mu.Lock()
	list := s.streams
	w.mu.Unlock()
	var changed []*stream
	if err == nil { // the program's filter is asked without the lock
		changed = slices.DeleteFunc(slices.Clone(list), func(st *stream) bool { return c.m.stillAs(st, rec) })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s.reading = false
	switch {
	case CodeOf(err) == CodeNoSuchSession:
		s.endAll(errInvalid(errUnknown))
	case err != nil:
	case rec.StateAt(now) != Live:
		s.endAll(errInvalid(errEnded))
	default:
		s.since, s.due = 0, micro(rec.EndsAt())
		for _, st := range changed {
			st.end(errInvalid(errPrivileges))
		}
	}
}

// endAll ends every stream of a session.
func (s *watched) endAll(cause error) {
	for _, st := range s.streams {
		st.end(cause)
	}
}

// stillAs reports whether a row is still what a stream was opened under.
func (m *Manager) stillAs(st *stream, rec *Record) bool {
	v, err := newView(rec, &token{}, nil, true)
	return err == nil && rec.Identity() == st.identity && v.str(strRoles) == st.roles && v.str(strAssurance) == st.assurance &&
		(m.cfg.Filter == nil || m.cfg.Filter(Session{v: v, seen: micro(rec.LastSeenAt), m: m}))
}
