package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/latchkey-go/latchkey"
)

// caller does one thing after the other at its node.
type caller struct {
	*run
	id   int
	node node
	rnd  *rand.Rand
}

// mix is how often callers do what, in ten thousand times, and how long they pause at
// most. The rest are lookups.
type mix struct {
	revoke, revokeIdentity, revokeAll, renew, update, lookBack int
	pause                                                      time.Duration
	longest                                                    int // events after which a session is ended, to keep its history checkable
}

var (
	// busy changes much, so that changes meet.
	busy = mix{revoke: 800, revokeIdentity: 200, revokeAll: 100, renew: 900, update: 2000, lookBack: 1000, pause: 2 * time.Millisecond, longest: 40}
	// gentle leaves sessions as they are for a while, so that nodes have them in memory
	// when they are changed.
	gentle = mix{revoke: 40, revokeIdentity: 10, revokeAll: 3, renew: 100, update: 200, lookBack: 1500, pause: 8 * time.Millisecond, longest: 150}
)

func (c *caller) work(ctx context.Context) {
	do := busy
	if c.cfg.Gentle {
		do = gentle
	}
	for ctx.Err() == nil {
		slot := c.rnd.IntN(slots)
		h := c.take(slot, do.longest)
		n := c.rnd.IntN(10_000)
		of := func(share int) bool { n -= share; return n < 0 }
		switch {
		case h.session == nil:
			c.issue(slot)
		case h.tired || of(do.revoke):
			c.revoke(slot, h)
		case of(do.revokeIdentity):
			c.revokeIdentity(h)
		case of(do.revokeAll):
			c.revokeAll()
		case of(do.renew):
			c.renew(slot, h)
		case of(do.update):
			c.update(slot, h)
		case of(do.lookBack):
			c.lookBack(2 * do.longest)
		default:
			c.lookup(slot, h)
		}
		time.Sleep(time.Duration(c.rnd.Int64N(int64(do.pause))))
	}
}

// take returns what a slot holds; a session that is over counts as none.
func (c *caller) take(slot, longest int) held {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.slots[slot]
	if h.session != nil && h.over {
		c.empty(slot)
		return held{}
	}
	if h.session != nil {
		h.tired = h.events > longest
	}
	return h
}

// empty takes what a slot holds out of use, with c.mu locked.
func (c *caller) empty(slot int) {
	if h := c.slots[slot]; h.session != nil {
		c.former = append(c.former, h)
		c.former = c.former[max(0, len(c.former)-former):]
	}
	c.slots[slot] = held{}
}

// context bounds a call. Some callers have little patience.
func (c *caller) context() (context.Context, context.CancelFunc) {
	patience := callTimeout
	if c.rnd != nil && c.rnd.IntN(10) == 0 {
		patience = time.Duration(20+c.rnd.IntN(400)) * time.Millisecond
	}
	return context.WithTimeout(context.Background(), patience)
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
func (c *caller) note(s *session, in input, out output, call int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[out.outcome]++
	in.fragile = c.fragile
	s.events++
	if out.outcome == unknown && in.action != lookup {
		s.over = true
	}
	at := c.at()
	switch in.action {
	case issue:
		s.made = at
	case revoke:
		s.ended(out.outcome, call, at)
	}
	c.events = append(c.events, event{s.number, porcupine.Operation{ClientId: c.id, Input: in, Output: out, Call: call, Return: at}})
}

// ended notes a revocation that was told to be done and began when the session was
// made: what overlapped with that may have come before it, and have ended nothing.
func (s *session) ended(o outcome, call, back int64) {
	if o == done && s.made != 0 && call > s.made && s.endedBy == 0 {
		s.endedBy = back
	}
}

func (c *caller) issue(slot int) {
	if h, ok := c.make(fmt.Sprintf("user-%d", c.rnd.IntN(identities))); ok {
		c.mu.Lock()
		c.slots[slot] = h
		c.mu.Unlock()
	}
}

// make issues a session and notes that.
func (c *caller) make(subject string) (h held, ok bool) {
	ctx, cancel := c.context()
	defer cancel()
	who := latchkey.Identity{Provider: provider, Subject: subject}
	call := c.at()
	id, token, err := c.node.issue(ctx, who.Subject)
	if err != nil {
		return held{}, false // nobody has its token
	}
	c.mu.Lock()
	c.tokens++
	h = held{session: &session{number: len(c.sessions), id: id, identity: who}, token: token, number: c.tokens}
	h.last = h
	c.sessions[h.session.number] = h.session
	// Revocations of many that were under way may have ended it already.
	for _, e := range c.wide {
		if (e.of == (latchkey.Identity{}) || e.of == who) && (e.outcome == unknown || e.back >= call) {
			c.events = append(c.events, event{h.session.number, porcupine.Operation{ClientId: e.caller, Input: input{action: revoke, fragile: c.fragile}, Output: output{e.outcome, 0}, Call: e.call, Return: e.back}})
		}
	}
	c.mu.Unlock()
	c.note(h.session, input{action: issue, token: h.number}, output{done, 0}, call)
	return h, true
}

func (c *caller) lookup(slot int, h held) {
	if c.glance(h, c.cfg.Staleness == 0) == refused {
		c.drop(slot, h)
	}
}

// lookBack asks for a session that is out of use.
func (c *caller) lookBack(longest int) {
	c.mu.Lock()
	var h held
	if n := c.rnd.IntN(1 + len(c.former) + len(c.bait)); n < len(c.former) {
		h = c.former[n]
	} else if n -= len(c.former); n < len(c.bait) {
		h = c.bait[n]
	}
	enough := h.session == nil || h.events > longest
	c.mu.Unlock()
	if !enough {
		c.glance(h, c.cfg.Staleness == 0)
	}
}

// glance looks a session up, and notes what came of it.
func (c *caller) glance(h held, ask bool) outcome {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	value, err := c.node.lookup(ctx, h.token, ask)
	if errors.Is(err, errNothing) {
		return unknown
	}
	if err == nil {
		call = max(0, call-int64(c.cfg.Staleness))
	}
	c.note(h.session, input{action: lookup, token: h.number}, output{told(err), value}, call)
	return told(err)
}

// drop takes a session out of use whose token did not open it.
func (c *caller) drop(slot int, h held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots[slot].number == h.number {
		c.empty(slot)
	}
}

func (c *caller) update(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	value, err := c.node.update(ctx, h.token)
	if !c.lookedOnly(h, err, call) {
		c.note(h.session, input{action: update, token: h.number}, output{told(err), value}, call)
	}
}

// lookedOnly notes an update or a renewal that came no further than to look up, and
// reports whether it was that, or nothing at all.
func (c *caller) lookedOnly(h held, err error, call int64) bool {
	var first atLookup
	if errors.As(err, &first) {
		c.note(h.session, input{action: lookup, token: h.number}, output{told(err), 0}, call)
		return true
	}
	return errors.Is(err, errNothing)
}

func (c *caller) renew(slot int, h held) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	token, err := c.node.renew(ctx, h.token)
	if c.lookedOnly(h, err, call) {
		return
	}
	c.mu.Lock()
	c.tokens++
	number := c.tokens
	c.mu.Unlock()
	c.note(h.session, input{action: renew, token: h.number}, output{told(err), number}, call)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.last.token, h.last.number = token, number
	if c.slots[slot].number == h.number {
		c.slots[slot].token, c.slots[slot].number = token, number
	}
}

func (c *caller) revoke(slot int, h held) {
	c.end(h)
	if c.rnd.IntN(3) == 0 {
		c.drop(slot, h)
	}
}

// end revokes a session and notes that.
func (c *caller) end(h held) {
	ctx, cancel := c.context()
	defer cancel()
	call := c.at()
	err := c.node.revoke(ctx, latchkey.Revocation{ID: h.id, By: "test"})
	if out := (output{told(err), 0}); !errors.Is(err, errNothing) && out.outcome != refused { // no such session: what made it was not to last
		c.note(h.session, input{action: revoke}, out, call)
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
	err := c.node.revoke(ctx, r)
	if errors.Is(err, errNothing) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := wide{of, c.id, call, c.at(), told(err)}
	c.counts[w.outcome]++
	c.wide = append(c.wide, w)
	for _, s := range c.sessions {
		if s.endedBy != 0 && s.endedBy < call {
			continue // it had been ended before: nothing more can come of it
		}
		if of == (latchkey.Identity{}) || s.identity == of {
			s.events++
			c.events = append(c.events, event{s.number, porcupine.Operation{ClientId: c.id, Input: input{action: revoke, fragile: c.fragile}, Output: output{w.outcome, 0}, Call: w.call, Return: w.back}})
			s.ended(w.outcome, w.call, w.back)
		}
	}
}
