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
)

var actionNames = [...]string{"issue", "look up", "update", "renew", "revoke"}

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

// state is a session as the model has it. token is -1 when a renewal went through
// whose answer nobody got.
type state struct {
	phase phase
	token int
	count int
}

// step returns the states that may follow an event; none if it cannot happen in s.
func step(s state, in input, out output) []any {
	one := func(next state) []any { return []any{next} }
	opens := s.phase == live && s.token == in.token
	switch in.action {
	case issue:
		if s.phase == absent && out.outcome == done {
			return one(state{phase: live, token: in.token})
		}
	case lookup:
		switch {
		case out.outcome == done && opens && s.count == out.value:
			return one(s)
		case out.outcome == refused && s.phase != absent && !opens:
			// A token that was replaced some time ago is taken for a thief's, and ends the session.
			return []any{s, state{phase: ended}}
		}
	case update:
		next := s
		next.count++
		return change(s, next, opens, out, out.value == next.count)
	case renew:
		next := s
		next.token = out.value
		if out.outcome == unknown {
			next.token = -1
		}
		return change(s, next, opens, out, true)
	case revoke:
		next := s
		if s.phase == live {
			next = state{phase: ended}
		}
		if out.outcome == unknown {
			return []any{s, next}
		}
		return one(next)
	}
	return nil
}

// change is a step of a session's holder.
func change(s, next state, opens bool, out output, fits bool) []any {
	switch {
	case out.outcome == done && opens && fits:
		return []any{next}
	case out.outcome == refused && s.phase != absent && !opens:
		return []any{s, state{phase: ended}}
	case out.outcome == unknown && opens:
		return []any{s, next}
	case out.outcome == unknown:
		return []any{s, state{phase: ended}}
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
