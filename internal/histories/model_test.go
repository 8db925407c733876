package histories

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// What must not happen is found.
func TestModel(t *testing.T) {
	op := func(in input, out output, call, back int64) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: call, Return: back}
	}
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
