package histories

import "github.com/anishathalye/porcupine"

// condense leaves out lookups of a session's history that others imply, since the time
// that porcupine takes grows steeply with what overlaps.
//
// A token opens a session with one value of the counter during one stretch of time: the
// counter only rises, and no token comes back. Of the lookups that were granted with
// the same token and value, all can be placed in it if the one that ended first and the
// one that began last can. Of those that were refused, the first to end says it all,
// unless the token had been replaced: then it may be any of them that ended the session.
// Only a failover breaks the stretch, so that lookups near one are all kept.
func condense(history []porcupine.Operation, losses []loss) []porcupine.Operation {
	replaced := make(map[int]bool)
	for _, op := range history {
		if in := op.Input.(input); in.action == renew {
			replaced[in.token] = true
		}
	}
	type granted struct{ token, value, losses int }
	first, last := make(map[granted]int), make(map[granted]int) // places in history
	refusal := make(map[int]int)                                // by token
	kept := make([]bool, len(history))
	for i, op := range history {
		in, out := op.Input.(input), op.Output.(output)
		passed, near := passedBy(losses, op)
		switch {
		case in.action != lookup || near:
			kept[i] = true
		case out.outcome == done:
			g := granted{in.token, out.value, passed}
			if at, ok := first[g]; !ok || op.Return < history[at].Return {
				first[g] = i
			}
			if at, ok := last[g]; !ok || op.Call > history[at].Call {
				last[g] = i
			}
		case replaced[in.token]:
			kept[i] = true
		case out.outcome == refused:
			if at, ok := refusal[in.token]; !ok || op.Return < history[at].Return {
				refusal[in.token] = i
			}
		}
	}
	for _, some := range []map[granted]int{first, last} {
		for _, i := range some {
			kept[i] = true
		}
	}
	for _, i := range refusal {
		kept[i] = true
	}
	var left []porcupine.Operation
	for i, op := range history {
		if kept[i] {
			left = append(left, op)
		}
	}
	return left
}

// passedBy counts the losses that were over when an operation began, and reports whether
// it overlapped with one.
func passedBy(losses []loss, op porcupine.Operation) (passed int, near bool) {
	for _, l := range losses {
		if l.to < op.Call {
			passed++
		}
		near = near || l.from <= op.Return && op.Call <= l.to
	}
	return passed, near
}
