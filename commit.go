package latchkey

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"
)

// commits lets one session's writers in a process share a compare-and-swap:
// whoever comes first writes for all who have come meanwhile, so that two hundred
// parallel requests of one session cost a few writes and no retries.
type commits struct {
	mu     sync.Mutex
	queues map[ID]*queue
}

type queue struct{ waiting []*commitment }

// commitment is one request's changes on their way into the row.
type commitment struct {
	secret *[32]byte
	ops    []op
	done   chan struct{} // closed when rec or err is set
	lead   chan struct{} // closed to hand this one the lead
	rec    *Record
	err    error
}

// commitDeadline bounds a shared write, which outlives the request that began it.
const commitDeadline = 10 * time.Second

// apply saves ops to the session and returns the row they are in. hint is the row
// as the caller read it, or nil. When ctx ends first, nothing is known.
func (c *commits) apply(ctx context.Context, m *Manager, id ID, secret *[32]byte, hint *Record, ops []op) (*Record, error) {
	own := *secret
	mine := &commitment{secret: &own, ops: ops, done: make(chan struct{}), lead: make(chan struct{})}
	c.mu.Lock()
	if c.queues == nil {
		c.queues = make(map[ID]*queue)
	}
	q := c.queues[id]
	leading := q == nil
	if leading {
		q = &queue{}
		c.queues[id] = q
	}
	q.waiting = append(q.waiting, mine)
	c.mu.Unlock()

	if !leading {
		select {
		case <-mine.done:
			return mine.rec, mine.err
		case <-mine.lead:
			hint = nil
		case <-ctx.Done():
			// Somebody may have been told to wait for this one to lead.
			go func() {
				select {
				case <-mine.done:
				case <-mine.lead:
					c.run(ctx, m, id, q, nil)
				}
			}()
			return nil, unavailable(ctx.Err())
		}
	}
	c.run(ctx, m, id, q, hint)
	return mine.rec, mine.err
}

// run writes what is waiting, and hands the lead on if more has come.
func (c *commits) run(ctx context.Context, m *Manager, id ID, q *queue, hint *Record) {
	c.mu.Lock()
	batch := q.waiting
	q.waiting = nil
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
	defer cancel()
	m.swap(ctx, id, hint, batch)
	for _, b := range batch {
		close(b.done)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if len(q.waiting) == 0 {
		delete(c.queues, id)
	} else {
		close(q.waiting[0].lead)
	}
}

// swap applies a batch to the row by compare-and-swap, again on each conflict.
func (m *Manager) swap(ctx context.Context, id ID, hint *Record, batch []*commitment) {
	rec := hint
	for range maxAttempts {
		if rec == nil {
			var err error
			if rec, err = m.store.Get(ctx, id); err != nil {
				failAll(batch, sessionGone(err))
				return
			}
		}
		next, err := m.merge(rec, batch)
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
		own, ok := m.currentSecret(rec, b.secret, at)
		if b.err = nil; rec.StateAt(at) != Live || !ok {
			b.err = errInvalid(errEnded)
			continue
		}
		secret = own
	}
	if secret == nil {
		return nil, nil
	}
	data, err := m.openData(rec, secret)
	if err != nil {
		return nil, err
	}
	if data == nil {
		data = make(map[string]json.RawMessage)
	}
	applied := false
	for _, b := range batch {
		if b.err != nil {
			continue
		}
		trial := maps.Clone(data)
		for _, o := range b.ops {
			if b.err = applyOp(trial, o, m.cfg.MaxData); b.err != nil {
				break
			}
		}
		if b.err == nil {
			data, applied = trial, true
		}
	}
	if !applied {
		return nil, nil
	}
	next := *rec
	if err := m.sealInto(&next, secret, data); err != nil {
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
