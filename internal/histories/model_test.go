package histories

import (
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

func op(in input, out output, call, back int64) porcupine.Operation {
	return porcupine.Operation{Input: in, Output: out, Call: call, Return: back}
}

// What must not happen is found.
func TestModel(t *testing.T) {
	made := op(input{action: issue, token: 1}, output{}, 0, 1)
	for name, c := range map[string]struct {
		want    bool
		history []porcupine.Operation
	}{
		"granted":                 {true, []porcupine.Operation{made, op(input{action: lookup, token: 1}, output{done, 0}, 2, 3)}},
		"granted-after-end":       {false, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{}, 2, 3), op(input{action: lookup, token: 1}, output{done, 0}, 4, 5)}},
		"granted-while-ending":    {true, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{}, 2, 9), op(input{action: lookup, token: 1}, output{done, 0}, 4, 5)}},
		"granted-after-refusal":   {false, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{}, 2, 9), op(input{action: lookup, token: 1}, output{refused, 0}, 3, 4), op(input{action: lookup, token: 1}, output{done, 0}, 5, 6)}},
		"refused-for-nothing":     {false, []porcupine.Operation{made, op(input{action: lookup, token: 1}, output{refused, 0}, 2, 3)}},
		"perhaps-ended":           {true, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{done, 0}, 4, 5), op(input{action: lookup, token: 1}, output{refused, 0}, 6, 7)}},
		"back-from-the-dead":      {false, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{refused, 0}, 4, 5), op(input{action: lookup, token: 1}, output{done, 0}, 6, 7)}},
		"replaced-token":          {false, []porcupine.Operation{made, op(input{action: renew, token: 1}, output{done, 2}, 2, 3), op(input{action: lookup, token: 1}, output{done, 0}, 4, 5)}},
		"renewed-token":           {true, []porcupine.Operation{made, op(input{action: renew, token: 1}, output{done, 2}, 2, 3), op(input{action: lookup, token: 2}, output{done, 0}, 4, 5)}},
		"lost-update":             {false, []porcupine.Operation{made, op(input{action: update, token: 1}, output{done, 1}, 2, 5), op(input{action: update, token: 1}, output{done, 1}, 3, 6)}},
		"both-updates":            {true, []porcupine.Operation{made, op(input{action: update, token: 1}, output{done, 2}, 2, 5), op(input{action: update, token: 1}, output{done, 1}, 3, 6)}},
		"update-undone":           {false, []porcupine.Operation{made, op(input{action: update, token: 1}, output{done, 1}, 2, 3), op(input{action: lookup, token: 1}, output{done, 0}, 4, 5)}},
		"update-of-an-ended-one":  {false, []porcupine.Operation{made, op(input{action: revoke, token: 0}, output{}, 2, 3), op(input{action: update, token: 1}, output{done, 1}, 4, 5)}},
		"undone":                  {true, []porcupine.Operation{made, op(input{action: revoke, fragile: true}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{refused, 0}, 4, 5), op(input{action: failover}, output{}, 3, 8), op(input{action: lookup, token: 1}, output{done, 0}, 6, 7)}},
		"undone-before-failover":  {false, []porcupine.Operation{made, op(input{action: revoke, fragile: true}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{refused, 0}, 4, 5), op(input{action: failover}, output{}, 8, 9), op(input{action: lookup, token: 1}, output{done, 0}, 6, 7)}},
		"undone-although-told":    {false, []porcupine.Operation{made, op(input{action: revoke, fragile: true}, output{}, 2, 3), op(input{action: failover}, output{}, 3, 8), op(input{action: lookup, token: 1}, output{done, 0}, 9, 10)}},
		"undone-under-another":    {false, []porcupine.Operation{made, op(input{action: update, token: 1, fragile: true}, output{unknown, 0}, 2, 99), op(input{action: update, token: 1, fragile: true}, output{done, 2}, 3, 4), op(input{action: failover}, output{}, 5, 6), op(input{action: lookup, token: 1}, output{done, 0}, 7, 8)}},
		"thief-without-answer":    {true, []porcupine.Operation{made, op(input{action: renew, token: 1}, output{done, 2}, 2, 3), op(input{action: lookup, token: 1}, output{unknown, 0}, 4, 99), op(input{action: lookup, token: 2}, output{refused, 0}, 5, 6)}},
		"perhaps-updated":         {true, []porcupine.Operation{made, op(input{action: update, token: 1}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{done, 1}, 4, 5)}},
		"perhaps-updated-not-two": {false, []porcupine.Operation{made, op(input{action: update, token: 1}, output{unknown, 0}, 2, 99), op(input{action: lookup, token: 1}, output{done, 2}, 4, 5)}},
	} {
		if got := porcupine.CheckOperations(model(), c.history); got != c.want {
			t.Errorf("%s: explained: %v", name, got)
		}
	}
}

// What is left out of a history makes no difference to whether it can be explained.
func TestCondense(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	explained := 0
	const tries = 3000
	for range tries {
		made := op(input{action: issue, token: 1}, output{}, 0, 5)
		all := []porcupine.Operation{made}
		drawn := map[int]int64{1: made.Return} // when tokens were known
		add := func(in input, out output) {
			call := drawn[in.token] + 1 + int64(rnd.IntN(60)) // a moment that is shared counts as overlapping
			if in.action == lookup && out.outcome == done {   // of a while ago
				call = max(0, call-10)
			}
			all = append(all, op(in, out, call, call+int64(1+rnd.IntN(25))))
		}
		if rnd.IntN(2) == 0 {
			add(input{action: renew, token: 1}, output{done, 2})
			drawn[2] = all[1].Return
		}
		for range rnd.IntN(4) {
			add(input{action: revoke}, output{outcome(2 * min(1, rnd.IntN(4))), 0})
		}
		for range rnd.IntN(3) {
			add(input{action: update, token: 1 + rnd.IntN(len(drawn))}, output{outcome(rnd.IntN(3)), 1 + rnd.IntN(2)})
		}
		for range rnd.IntN(9) {
			add(input{action: lookup, token: 1 + rnd.IntN(len(drawn))}, output{outcome(rnd.IntN(3)), rnd.IntN(2)})
		}
		for i := range all {
			if all[i].Output.(output).outcome == unknown {
				all[i].Return = 200
			}
		}
		want := porcupine.CheckOperations(model(), all)
		if got := porcupine.CheckOperations(model(), condense(all, nil)); got != want {
			t.Fatalf("seed %d: explained: %v in full, %v condensed:\n%s", seed, want, got, describe(all))
		}
		if want {
			explained++
		}
	}
	if explained < tries/100 || explained > tries*99/100 {
		t.Errorf("%d of %d histories can be explained, so that nothing was tried", explained, tries)
	}
}
