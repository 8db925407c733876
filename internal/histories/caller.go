package histories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/latchkey-go/latchkey"
)

// caller does one thing after the other at its node.
type caller struct {
	*run
	id   int
	node *node
	rnd  *rand.Rand
}

func (c *caller) work(ctx context.Context) {
	for ctx.Err() == nil {
		slot := c.rnd.IntN(slots)
		h := c.take(slot)
		switch n := c.rnd.IntN(100); {
		case h.session == nil:
			c.issue(slot)
		case h.tired || n < 8:
			c.revoke(slot, h)
		case n < 10:
			c.revokeIdentity(h)
		case n < 11:
			c.revokeAll()
		case n < 20:
			c.renew(slot, h)
		case n < 40:
			c.update(slot, h)
		default:
			c.lookup(slot, h)
		}
		time.Sleep(time.Duration(c.rnd.IntN(2000)) * time.Microsecond)
	}
}

// take returns what a slot holds; a session that is over counts as none.
func (c *caller) take(slot int) held {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.slots[slot]
	if h.session != nil && h.over {
		c.slots[slot] = held{}
		return held{}
	}
	if h.session != nil {
		h.tired = h.events > longest
	}
	return h
}

func (c *caller) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callTimeout)
}

// told is the outcome that an error stands for.
func told(err error) outcome {
	switch latchkey.CodeOf(err) {
	case "":
		return done
	case latchkey.CodeInvalidSession, latchkey.CodeNoSuchSession:
		return refused
	}
	return unknown
}

// note writes an event down. An outcome that is not known ends the session's use,
// so that a history has few of them.
func (c *caller) note(h *session, in input, out output, call int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[out.outcome]++
	if out.outcome == unknown && in.action == lookup {
		return // it says nothing
	}
	h.events++
	if out.outcome == unknown {
		h.over = true
	}
	c.events = append(c.events, event{h.number, porcupine.Operation{ClientId: c.id, Input: in, Output: out, Call: call, Return: c.at()}})
}

func (c *caller) issue(slot int) {
	ctx, cancel := c.context()
	defer cancel()
	who := latchkey.Identity{Provider: "local", Subject: fmt.Sprintf("user-%d", c.rnd.IntN(identities))}
	call := c.at()
	issued, err := c.node.manager.Issue(ctx, latchkey.SignIn{Subject: who.Subject})
	if err != nil {
		return // nobody has its token
	}
	c.mu.Lock()
	c.tokens++
	h := held{session: &session{number: len(c.sessions), id: issued.Record.ID, identity: who}, token: issued.Token, number: c.tokens}
	c.sessions[h.session.number] = h.session
	c.slots[slot] = h
	// Revocations of many that were under way may have ended it already.
	for _, e := range c.wide {
		if (e.of == (latchkey.Identity{}) || e.of == who) && (e.outcome == unknown || e.back >= call) {
			c.events = append(c.events, event{h.session.number, porcupine.Operation{ClientId: e.caller, Input: input{action: revoke}, Output: output{e.outcome, 0}, Call: e.call, Return: e.back}})
		}
	}
	c.mu.Unlock()
	c.note(h.session, input{issue, h.number}, output{done, 0}, call)
}

func (c *caller) lookup(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	s, err := c.node.manager.Lookup(ctx, latchkey.Lookup{Token: h.token, AskStore: c.cfg.Staleness == 0})
	value := 0
	if err == nil {
		// What the session's data says belongs to the lookup, unless it is read apart.
		if value, err = counter.Get(s); err != nil {
			return
		}
		if call -= int64(c.cfg.Staleness); call < 0 {
			call = 0
		}
	}
	c.note(h.session, input{lookup, h.number}, output{told(err), value}, call)
	if told(err) == refused {
		c.drop(slot, h)
	}
}

// drop takes a session out of use whose token did not open it.
func (c *caller) drop(slot int, h held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots[slot].number == h.number {
		c.slots[slot] = held{}
	}
}

func (c *caller) update(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	s, err := c.node.manager.Lookup(ctx, latchkey.Lookup{Token: h.token})
	if err != nil {
		return
	}
	call := c.at()
	var value atomic.Int64 // the function may still run when nobody waits any more
	err = counter.Update(s, func(n int) (int, error) { value.Store(int64(n + 1)); return n + 1, nil })
	if err == nil {
		err = s.Commit(ctx)
	}
	if latchkey.CodeOf(err) == latchkey.CodeConflict {
		return // it gave up, and changed nothing
	}
	c.note(h.session, input{update, h.number}, output{told(err), int(value.Load())}, call)
}

func (c *caller) renew(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	s, err := c.node.manager.Lookup(ctx, latchkey.Lookup{Token: h.token})
	if err != nil {
		return
	}
	call := c.at()
	issued, err := s.Renew(ctx, latchkey.Renewal{})
	if latchkey.CodeOf(err) == latchkey.CodeConflict {
		return
	}
	c.mu.Lock()
	c.tokens++
	number := c.tokens
	c.mu.Unlock()
	c.note(h.session, input{renew, h.number}, output{told(err), number}, call)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots[slot].number == h.number {
		c.slots[slot].token, c.slots[slot].number = issued.Token, number
	}
}

func (c *caller) revoke(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	_, err := c.node.manager.Revoke(ctx, latchkey.Revocation{ID: h.id, By: "test"})
	out := output{told(err), 0}
	if out.outcome == refused {
		return // no such session: what made it was not to last
	}
	c.note(h.session, input{action: revoke}, out, call)
	if c.rnd.IntN(3) == 0 {
		c.drop(slot, h)
	}
}

// wide is a revocation of many sessions that has begun, and its end once it is known.
type wide struct {
	of      latchkey.Identity // of everybody when zero
	caller  int
	call    int64
	back    int64
	outcome outcome
}

func (c *caller) revokeIdentity(h held) {
	c.revokeMany(h.identity, latchkey.Revocation{Provider: h.identity.Provider, Subject: h.identity.Subject, By: "test"})
}

func (c *caller) revokeAll() {
	c.revokeMany(latchkey.Identity{}, latchkey.Revocation{All: true, By: "test"})
}

// revokeMany is an event of every session it may have ended: of those there were
// when it was over, and of those whose making it overlapped.
func (c *caller) revokeMany(of latchkey.Identity, r latchkey.Revocation) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	_, err := c.node.manager.Revoke(ctx, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	w := wide{of, c.id, call, c.at(), told(err)}
	c.counts[w.outcome]++
	c.wide = append(c.wide, w)
	for _, s := range c.sessions {
		if of == (latchkey.Identity{}) || s.identity == of {
			s.events++
			c.events = append(c.events, event{s.number, porcupine.Operation{ClientId: c.id, Input: input{action: revoke}, Output: output{w.outcome, 0}, Call: w.call, Return: w.back}})
		}
	}
}
