package latchkey

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Activity is written at most once per session and touch interval, many sessions
// in one batch, and never on a request's path. A session may therefore idle out
// one touch interval early, never late.
const (
	touchEvery    = 500 * time.Millisecond // how often a batch is written
	touchBatch    = 1024                   // sessions in one call of the store
	maxTouches    = 1 << 16                // waiting sessions; beyond it activity is dropped and counted
	touchDeadline = 5 * time.Second
)

// touchInterval is how far last seen may lag for an idle limit, both in
// microseconds: a twentieth of it, between a second and a minute, but never more
// than half of the limit itself.
func touchInterval(idle int64) int64 {
	const second, minute = int64(time.Second / time.Microsecond), int64(time.Minute / time.Microsecond)
	if idle <= 0 {
		return minute
	}
	return min(max(idle/20, second), minute, idle/2)
}

// toucher gathers activity and writes it from a goroutine of its own.
type toucher struct {
	mu      sync.Mutex
	pending map[ID]activity
	quit    chan struct{}
	done    chan struct{}
	once    sync.Once
	err     error
}

// activity is the first and the last instant of it, in Unix microseconds of store
// time. The first matters where the row was not told of some before: a session must
// not look idle between the two.
type activity struct{ first, last int64 }

func (t *toucher) start(m *Manager) {
	t.pending = make(map[ID]activity)
	t.quit, t.done = make(chan struct{}), make(chan struct{})
	go t.run(m)
}

func (t *toucher) run(m *Manager) {
	defer close(t.done)
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
			err := m.FlushTouches(context.Background())
			if err != nil && !failing { // once an outage, not twice a second
				m.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "activity cannot be written; it is kept and tried again", slog.Any("error", err))
			}
			failing = err != nil
		case <-t.quit:
			return
		}
	}
}

// stop ends the goroutine and writes what is left with flush.
func (t *toucher) stop(ctx context.Context, flush func(context.Context) error) error {
	t.once.Do(func() {
		close(t.quit)
		select {
		case <-t.done:
		case <-ctx.Done():
			t.err = ctx.Err()
			return
		}
		t.err = flush(ctx)
	})
	return t.err
}

// touch notes activity.
func (m *Manager) touch(id ID, first, at int64) {
	if m.cache != nil {
		m.cache.Touched(id, at)
	}
	t := &m.touches
	t.mu.Lock()
	defer t.mu.Unlock()
	if before, known := t.pending[id]; known || len(t.pending) < maxTouches {
		if known {
			first, at = min(before.first, first), max(before.last, at)
		}
		t.pending[id] = activity{first, at}
	} else {
		m.counters.touchesDropped.Add(1)
	}
}

// ahead returns rec as it will be once the activity noted here is written.
func (t *toucher) ahead(rec *Record) *Record {
	t.mu.Lock()
	a, ok := t.pending[rec.ID]
	t.mu.Unlock()
	if !ok || a.last <= micro(rec.LastSeenAt) {
		return rec
	}
	next := *rec
	next.LastSeenAt = fromMicro(a.last)
	return &next
}

// writeTouch writes what activity is noted of one session, and reports whether
// there was any and it was written.
func (m *Manager) writeTouch(ctx context.Context, id ID) bool {
	t := &m.touches
	t.mu.Lock()
	a, ok := t.pending[id]
	t.mu.Unlock()
	if ok && a.first < a.last && m.store.Touch(ctx, []Touch{{ID: id, At: fromMicro(a.first)}}) != nil {
		return false
	}
	return ok && m.store.Touch(ctx, []Touch{{ID: id, At: fromMicro(a.last)}}) == nil
}

// FlushTouches writes the activity noted so far. The Manager does so by itself
// twice a second and at Close; call it to see last-seen times at once. What could
// not be written is kept for the next time.
func (m *Manager) FlushTouches(ctx context.Context) error {
	t := &m.touches
	t.mu.Lock()
	batch := make([]Touch, 0, len(t.pending))
	var first []Touch
	for id, a := range t.pending {
		batch = append(batch, Touch{ID: id, At: fromMicro(a.last)})
		if a.first < a.last {
			first = append(first, Touch{ID: id, At: fromMicro(a.first)})
		}
	}
	t.mu.Unlock()
	for len(first) > 0 {
		part := first[:min(len(first), touchBatch)]
		first = first[len(part):]
		callCtx, cancel := context.WithTimeout(ctx, touchDeadline)
		err := m.store.Touch(callCtx, part)
		cancel()
		if err != nil {
			return unavailable(err)
		}
	}
	for len(batch) > 0 {
		part := batch[:min(len(batch), touchBatch)]
		batch = batch[len(part):]
		callCtx, cancel := context.WithTimeout(ctx, touchDeadline)
		err := m.store.Touch(callCtx, part)
		cancel()
		if err != nil {
			return unavailable(err)
		}
		m.counters.touches.Add(uint64(len(part)))
		t.mu.Lock()
		for _, touch := range part {
			if a := t.pending[touch.ID]; a.last <= micro(touch.At) {
				delete(t.pending, touch.ID)
			}
		}
		t.mu.Unlock()
	}
	return nil
}
