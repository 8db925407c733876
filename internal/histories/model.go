package histories

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// action is what a caller asks for.
type action int

const (
	issue action = iota
	lookup
	update // adds one to the counter in the session's data
	renew
	revoke // by ID, by identity, or everything: for one session they are the same
	failover
)

var actionNames = [...]string{"issue", "look up", "update", "renew", "revoke", "failover"}

// outcome is what it was told.
type outcome int

const (
	done    outcome = iota // granted, changed or ended
	refused                // there is no such session, or not under this token
	unknown                // no answer: it may have happened or may yet
)

var outcomeNames = [...]string{"done", "refused", "unknown"}

// input is one call concerning one session. Tokens are numbered as they are drawn.
type input struct {
	action action
	token  int
	// fragile is where a failover may undo a change whose maker was not told that it
	// was made. One who was told keeps it.
	fragile bool
}

// output is its answer: for lookup and update the counter, for renew the new token.
type output struct {
	outcome outcome
	value   int
}

// phase of a session.
type phase int

const (
	absent phase = iota
	live
	ended
)

// state is a session as the model has it.
type state struct {
	row
	// confirmed is what a failover would leave where loose is set: what came after it
	// can be seen, and nobody was told that it was made.
	confirmed row
	loose     bool
}

// row is what a store has of a session. token is -1 when a renewal went through whose
// answer nobody got.
type row struct {
	phase phase
	token int
	count int
}

// becomes is the state after a change that was acknowledged, and with it what had been
// made before.
func (s state) becomes(r row) []any { return []any{state{row: r}} }

// mayBecome are the states after a change that was not: it was not made, or it was and
// stays, or it was and may be undone.
func (s state) mayBecome(r row, fragile bool) []any {
	if r == s.row {
		return []any{s}
	}
	all := []any{s, state{row: r}}
	if fragile {
		base := s.row
		if s.loose {
			base = s.confirmed
		}
		all = append(all, state{row: r, confirmed: base, loose: true})
	}
	return all
}

// step returns the states that may follow an event; none if it cannot happen in s.
func step(s state, in input, out output) []any {
	opens := s.phase == live && s.token == in.token
	over := row{phase: ended}
	switch in.action {
	case issue:
		if s.phase == absent && out.outcome == done {
			return s.becomes(row{phase: live, token: in.token})
		}
	case lookup:
		switch {
		case out.outcome == done && opens && s.count == out.value:
			return []any{s}
		case out.outcome == refused && s.phase != absent && !opens:
			// A token that was replaced some time ago is taken for a thief's, and ends the session.
			return s.mayBecome(over, in.fragile)
		case out.outcome == unknown && (opens || s.phase == absent):
			return []any{s}
		case out.outcome == unknown:
			return s.mayBecome(over, in.fragile)
		}
	case update:
		next := s.row
		next.count++
		return change(s, next, opens, in, out, out.value == next.count)
	case renew:
		next := s.row
		next.token = out.value
		if out.outcome == unknown {
			next.token = -1
		}
		return change(s, next, opens, in, out, true)
	case revoke:
		next := s.row
		if s.phase == live {
			next = over
		}
		if out.outcome == unknown {
			return s.mayBecome(next, in.fragile)
		}
		return s.becomes(next)
	case failover:
		if s.loose {
			return []any{s, state{row: s.confirmed}}
		}
		return []any{s}
	}
	return nil
}

// change is a step of a session's holder.
func change(s state, next row, opens bool, in input, out output, fits bool) []any {
	over := row{phase: ended}
	switch {
	case out.outcome == done && opens && fits:
		return s.becomes(next)
	case out.outcome == refused && s.phase != absent && !opens:
		return s.mayBecome(over, in.fragile)
	case out.outcome == unknown && opens:
		return s.mayBecome(next, in.fragile)
	case out.outcome == unknown:
		return s.mayBecome(over, in.fragile)
	}
	return nil
}

// model is what porcupine checks each session's history against.
func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(s, in, out any) []any { return step(s.(state), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			i, o := in.(input), out.(output)
			return fmt.Sprintf("%s(token %d) -> %s %d", actionNames[i.action], i.token, outcomeNames[o.outcome], o.value)
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return m.ToModel()
}
