package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Bounds of the steps.
const (
	benchLifetime = time.Hour // of the sessions, should nobody erase them
	benchHot      = 4096      // sessions in the near cache
	hitRounds     = 64
	hitsInRound   = 1000
	revokeRounds  = 200
)

// errExhausted ends a step before its time: there is nothing left to do it with.
var errExhausted = &failure{status: exitFailed, problems: []string{"nothing is left"}}

// measure runs the steps. Failures of operations are counted; the error is one that
// leaves nothing to measure.
func (b *bench) measure(ctx context.Context) error {
	if b.during(ctx, "create", b.callers, b.create); len(b.sessions) == 0 {
		return b.first
	}
	b.during(ctx, "lookup, from the store", b.callers, b.lookup(b.here, b.sessions))
	b.memory(ctx)
	b.during(ctx, "patch", b.callers, b.patches(ctx))
	b.during(ctx, "touch", b.callers, func(ctx context.Context, caller, i int) error {
		return b.store.Touch(ctx, []latchkey.Touch{{ID: b.turn(caller, i).id, At: b.here.Now()}})
	})
	b.revocation(ctx)
	var next atomic.Int64
	b.during(ctx, "revoke", b.callers, func(ctx context.Context, _, _ int) error {
		n := int(next.Add(1)) - 1
		if n >= len(b.sessions) {
			return errExhausted
		}
		_, err := b.here.Revoke(ctx, latchkey.Revocation{ID: b.sessions[n].id, By: actor(), Reason: "bench"})
		return err
	})
	return nil
}

// during has callers do something over and over for the duration, and notes how long
// it took them each time. do is told which caller it is, and how often that was there.
func (b *bench) during(ctx context.Context, step string, callers int, do func(ctx context.Context, caller, i int) error) {
	if ctx.Err() != nil {
		return
	}
	b.say(step)
	took, errs := make([]histogram, callers), make([]map[string]int, callers)
	began := time.Now()
	var all sync.WaitGroup
	for caller := range callers {
		errs[caller] = make(map[string]int)
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				start := time.Now()
				if start.Sub(began) >= b.duration {
					return
				}
				err := do(ctx, caller, i)
				end := time.Since(start)
				switch {
				case err == errExhausted:
					return
				case err == nil:
					took[caller].add(end)
				case ctx.Err() == nil: // else it is the interruption
					errs[caller][string(latchkey.CodeOf(err))]++
					b.fail(err)
				}
			}
		})
	}
	all.Wait()
	sum, failures := &took[0], errs[0]
	for i := 1; i < callers; i++ {
		sum.merge(&took[i])
		for code, n := range errs[i] {
			failures[code] += n
		}
	}
	b.note(step, callers, sum, time.Since(began), failures)
}

// note keeps what a step measured.
func (b *bench) note(step string, callers int, h *histogram, took time.Duration, failures map[string]int) {
	s := benchStep{Step: step, Callers: callers, Operations: h.total, Seconds: took.Seconds(), Errors: failures,
		P50: h.quantile(0.5).Nanoseconds(), P99: h.quantile(0.99).Nanoseconds(), P999: h.quantile(0.999).Nanoseconds()}
	if took > 0 {
		s.PerSecond = float64(h.total) / took.Seconds()
	}
	b.steps = append(b.steps, s)
}

// fail keeps the first failure.
func (b *bench) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == nil {
		b.first = err
	}
}

// create makes a session such as a sign-in makes.
func (b *bench) create(ctx context.Context, caller, i int) error {
	if b.reserved.Add(1) > int64(b.most) {
		return errExhausted
	}
	who := benchIdentity(caller + i*b.callers)
	issued, err := b.here.Issue(ctx, latchkey.SignIn{Provider: who.Provider, Subject: who.Subject, Email: who.Subject + "@example.com", Name: "Bench Mark",
		Roles: []string{"staff"}, Methods: []string{"pwd"}, UserAgent: "latchkey-bench", Lifetime: benchLifetime, Idle: benchLifetime, By: actor(),
		Data: map[string]json.RawMessage{"cart": json.RawMessage(`{"items":[1,2,3],"note":"a value such as programs keep"}`)}})
	if err != nil {
		b.reserved.Add(-1)
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions = append(b.sessions, benchSession{issued.Record.ID, issued.Token})
	return nil
}

// lookup asks a manager for sessions at random.
func (b *bench) lookup(m *latchkey.Manager, among []benchSession) func(context.Context, int, int) error {
	return func(ctx context.Context, _, _ int) error {
		_, err := m.Lookup(ctx, latchkey.Lookup{Token: among[rand.IntN(len(among))].token, Passive: true})
		return err
	}
}

// turn is a caller's next session; callers have sessions of their own while there are
// enough.
func (b *bench) turn(caller, i int) benchSession {
	return b.sessions[(caller+i*b.callers)%len(b.sessions)]
}

// memory measures lookups that the near cache answers: by all callers, and what one
// costs a single caller, without the clock being read for each.
func (b *bench) memory(ctx context.Context) {
	hot := b.sessions[:min(len(b.sessions), benchHot)]
	m := b.there.m
	b.say("filling the near cache")
	for _, s := range hot {
		if _, err := m.Lookup(ctx, latchkey.Lookup{Token: s.token, Passive: true}); err != nil {
			if ctx.Err() == nil {
				b.fail(err)
			}
			return
		}
	}
	b.during(ctx, "lookup, from memory", b.callers, b.lookup(m, hot))
	var rounds []time.Duration
	for range hitRounds {
		before, began := m.Stats().Hits, time.Now()
		for i := range hitsInRound {
			if _, err := m.Lookup(ctx, latchkey.Lookup{Token: hot[i%len(hot)].token, Passive: true}); err != nil {
				return // which the step above has counted if it lasts
			}
		}
		if took := time.Since(began); m.Stats().Hits-before == hitsInRound {
			rounds = append(rounds, took)
		}
	}
	if len(rounds) > 0 {
		slices.Sort(rounds)
		b.hits = float64(rounds[len(rounds)/2].Nanoseconds()) / hitsInRound
	}
}

// patches changes a data value, by compare-and-swap, in sessions that are held: one
// trip each. Where there are fewer sessions than callers these meet.
func (b *bench) patches(ctx context.Context) func(context.Context, int, int) error {
	held := make([][]latchkey.Session, b.callers)
	b.say("patch")
	var all sync.WaitGroup
	for caller := range held {
		all.Go(func() {
			for i := range max(1, min(16, len(b.sessions)/b.callers)) {
				if s, err := b.here.Lookup(ctx, latchkey.Lookup{Token: b.turn(caller, i).token, Passive: true}); err == nil {
					held[caller] = append(held[caller], s)
				}
			}
		})
	}
	all.Wait()
	return func(ctx context.Context, caller, i int) error {
		if len(held[caller]) == 0 {
			return errExhausted
		}
		s := held[caller][i%len(held[caller])]
		if err := s.SetJSON("count", json.RawMessage(strconv.Itoa(i))); err != nil {
			return err
		}
		return s.Commit(ctx)
	}
}

// revocation measures how long after a revocation's answer a second node refuses.
func (b *bench) revocation(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	const step = "revoked here, refused there"
	b.say(step)
	h, failures := new(histogram), make(map[string]int)
	began := time.Now()
	for i := 0; i < revokeRounds && ctx.Err() == nil && (i == 0 || time.Since(began) < b.duration); i++ {
		within, cancel := context.WithTimeout(ctx, measureTimeout)
		_, lag, err := oneRevocation(within, b.here, b.there.m, b.store, benchIdentity(i))
		cancel()
		switch {
		case err == nil:
			h.add(lag)
		case ctx.Err() == nil:
			failures[string(latchkey.CodeOf(err))]++
			b.fail(fmt.Errorf("a second node could not be measured: %w", err))
		}
	}
	b.note(step, 1, h, time.Since(began), failures)
}
