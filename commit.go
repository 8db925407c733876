package latchkey

import (
	"context"
	"slices"
	"sync"
	"time"
)

// commits lets one session's writers in a process share a compare-and-swap: what
// has come while a write was under way goes into the next one together, so that
// two hundred parallel requests of one session cost a few writes and no retries.
type commits struct {
	mu     sync.Mutex
	queues map[ID][]*commitment // sessions with a write under way, and what waits for the next
	idle   chan struct{}        // closed when the last write is done; nil unless somebody waits
}

// commitment is one request's changes on their way into the row.
type commitment struct {
	secret [32]byte
	issued int64   // of a token of version 2, when: activity
	hint   *Record // the row as the request read it, or nil
	ops    []op
	done   chan struct{} // closed when rec or err is set
	rec    *Record
	err    error
}

// commitDeadline bounds a shared write, which outlives the requests in it.
const commitDeadline = 10 * time.Second

// apply saves ops to the session and returns the row they are in. When ctx ends
// first, nothing is known.
func (c *commits) apply(ctx context.Context, m *Manager, id ID, mine *commitment) (*Record, error) {
	mine.done = make(chan struct{})
	c.mu.Lock()
	if c.queues == nil {
		c.queues = make(map[ID][]*commitment)
	}
	waiting, writing := c.queues[id]
	c.queues[id] = append(waiting, mine)
	if !writing {
		go c.write(context.WithoutCancel(ctx), m, id)
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.rec, mine.err
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

// write saves what waits for one session, until nothing does. Close waits for it.
func (c *commits) write(ctx context.Context, m *Manager, id ID) {
	done := false
	defer func() {
		if !done { // a program's function ended this goroutine
			c.mu.Lock()
			defer c.mu.Unlock()
			c.finish(id)
		}
	}()
	for !done {
		c.mu.Lock()
		batch := c.queues[id]
		if len(batch) == 0 {
			c.finish(id)
			done = true
		} else {
			c.queues[id] = nil
		}
		c.mu.Unlock()
		if len(batch) > 0 {
			m.save(ctx, id, batch)
		}
	}
}

// save writes a batch and answers everybody in it, come what may.
func (m *Manager) save(ctx context.Context, id ID, batch []*commitment) {
	ctx, cancel := context.WithTimeout(ctx, commitDeadline)
	defer cancel()
	defer func() {
		if recover() != nil {
			failAll(batch, errLostWrite)
		}
		for _, b := range batch {
			if b.rec == nil && b.err == nil {
				b.err = errLostWrite
			}
			close(b.done)
		}
	}()
	m.swap(ctx, id, batch)
}

// errLostWrite answers a change whose writing broke off; whether it took effect is not known.
var errLostWrite = NewError(CodeStoreUnavailable, "the session could not be saved", nil)

// finish ends a session's writing, with the lock held, and answers what still
// waits after an abnormal end.
func (c *commits) finish(id ID) {
	for _, b := range c.queues[id] {
		b.err = errLostWrite
		close(b.done)
	}
	delete(c.queues, id)
	if len(c.queues) == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// wait returns when no write is under way, or ctx has ended.
func (c *commits) wait(ctx context.Context) error {
	c.mu.Lock()
	if len(c.queues) == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// swap applies a batch to the row by compare-and-swap, again on each conflict.
func (m *Manager) swap(ctx context.Context, id ID, batch []*commitment) {
	rec := batch[0].hint
	for range maxAttempts {
		if rec == nil {
			var err error
			if rec, err = m.store.Get(ctx, id); err != nil {
				failAll(batch, sessionGone(err))
				return
			}
		}
		hinted := rec == batch[0].hint
		rec = m.touches.ahead(rec)
		for _, b := range batch {
			rec = m.provenActive(ctx, b.issued, rec, m.Now())
		}
		next, err := m.merge(rec, batch)
		if hinted && (err != nil || refusesAny(batch)) {
			// What a request read a while ago may grant; only a fresh read refuses.
			rec, batch[0].hint = nil, nil
			continue
		}
		if err != nil {
			failAll(batch, err)
			return
		}
		if next == nil {
			return // nobody's changes could be applied
		}
		switch err = m.patch(ctx, next, nil); CodeOf(err) {
		case "":
			for _, b := range batch {
				if b.err == nil {
					b.rec = next
				}
			}
			return
		case CodeConflict:
			m.counters.conflicts.Add(1)
			rec = nil
		default:
			failAll(batch, sessionGone(err))
			return
		}
	}
	failAll(batch, NewError(CodeConflict, "the session is changing too fast; try again", nil))
}

func refusesAny(batch []*commitment) bool {
	return slices.ContainsFunc(batch, func(b *commitment) bool { return CodeOf(b.err) == CodeInvalidSession })
}

func failAll(batch []*commitment, err error) {
	for _, b := range batch {
		if b.err == nil {
			b.err = err
		}
	}
}

// merge applies everybody's ops to a copy of the row. Who may not change the
// session, or whose function fails, gets an error; the others go on. It returns
// nil when nothing is left to write.
func (m *Manager) merge(rec *Record, batch []*commitment) (*Record, error) {
	at := m.Now()
	var secret *[32]byte
	for _, b := range batch {
		own, ok := m.currentSecret(rec, &b.secret, at)
		if b.err = nil; rec.StateAt(at) != Live || !ok {
			b.err = errInvalid(errEnded)
			continue
		}
		secret = own
	}
	if secret == nil {
		return nil, nil
	}
	opened, err := m.openData(rec, secret)
	if err != nil {
		return nil, err
	}
	data, applied := newValues(opened), false
	for _, b := range batch {
		if b.err != nil {
			continue
		}
		trial := data.clone()
		if b.err = trial.applyAll(b.ops, m.cfg.MaxData); b.err == nil {
			data, applied = trial, true
		}
	}
	if !applied {
		return nil, nil
	}
	next := *rec
	if err := m.sealInto(&next, secret, data.m); err != nil {
		return nil, err
	}
	return &next, nil
}

// currentSecret returns the secret that opens the row for a client which holds
// the given one: itself, or its successor when it is the previous one within its grace.
func (m *Manager) currentSecret(rec *Record, secret *[32]byte, at time.Time) (*[32]byte, bool) {
	hash := hashOf(secret)
	if hash == rec.SecretHash {
		return secret, true
	}
	if hash != rec.PreviousHash || !rec.graceOpen(at) {
		return nil, false
	}
	next, ok := m.successor(rec, secret)
	return &next, ok && hashOf(&next) == rec.SecretHash
}
