package histories

import (
	"cmp"
	"slices"

	"github.com/anishathalye/porcupine"
)

// condense leaves out operations of a session's history that others imply, since the
// time that porcupine takes grows steeply with what overlaps.
//
// A token opens a session with one value of the counter during one stretch of time: the
// counter only rises, and no token comes back. Of the lookups that were granted with
// the same token and value, all can be placed in it if the one that ended first and the
// one that began last can. Of those that were refused, the first to end says it all,
// unless the token had been replaced: then it may be any of them that ended the session.
// A failover may break a stretch, so what comes before, during and after one is taken
// apart.
//
// Of revocations that may or may not have been made, and of lookups that may have ended
// a session because of a replaced token, the earliest can stand for the others: all of
// them may yet happen. Each failover may undo one.
func condense(history []porcupine.Operation, losses []loss) []porcupine.Operation {
	replaced := make(map[int]bool)
	for _, op := range history {
		if in := op.Input.(input); in.action == renew {
			replaced[in.token] = true
		}
	}
	type alike struct {
		kind, token, value int
		when               int
	}
	const (
		firstGrant = iota
		lastGrant
		firstRefusal
	)
	best := make(map[alike]int) // places in history
	maybe := make(map[input][]int)
	kept := make([]bool, len(history))
	propose := func(key alike, i int, better func(a, b *porcupine.Operation) bool) {
		if at, ok := best[key]; !ok || better(&history[i], &history[at]) {
			best[key] = i
		}
	}
	endsFirst := func(a, b *porcupine.Operation) bool { return a.Return < b.Return }
	beginsLast := func(a, b *porcupine.Operation) bool { return a.Call > b.Call }
	for i, op := range history {
		in, out := op.Input.(input), op.Output.(output)
		when := passed(losses, &op)
		switch {
		case out.outcome == unknown && (in.action == revoke || in.action == lookup && replaced[in.token]):
			maybe[in] = append(maybe[in], i)
		case in.action != lookup:
			kept[i] = true
		case out.outcome == done:
			propose(alike{firstGrant, in.token, out.value, when}, i, endsFirst)
			propose(alike{lastGrant, in.token, out.value, when}, i, beginsLast)
		case out.outcome == refused && replaced[in.token]:
			kept[i] = true
		case out.outcome == refused:
			propose(alike{firstRefusal, in.token, 0, when}, i, endsFirst)
		}
	}
	for _, i := range best {
		kept[i] = true
	}
	for _, some := range maybe {
		slices.SortFunc(some, func(a, b int) int { return cmp.Compare(history[a].Call, history[b].Call) })
		for _, i := range some[:min(len(some), 1+len(losses))] {
			kept[i] = true
		}
	}
	var left []porcupine.Operation
	for i, op := range history {
		if kept[i] {
			left = append(left, op)
		}
	}
	return left
}

// passed says where among the losses an operation lies: how many were over when it
// began, twice, and one more when it overlapped with another.
func passed(losses []loss, op *porcupine.Operation) (when int) {
	for _, l := range losses {
		switch {
		case l.to < op.Call:
			when += 2
		case l.from <= op.Return:
			when++
		}
	}
	return when
}
