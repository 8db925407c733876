package histories

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	lures    = 6 // sessions that are made for an ambush
	lastBait = 6 // of the last one
)

// prepare notes which sessions nodes may have in memory before they are put apart.
func (r *run) prepare(f *Fault) {
	if len(f.Apart) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bait = slices.Clone(r.bait[max(0, len(r.bait)-lastBait):]) // some may be there still that should not
	for _, h := range r.slots {
		if h.session != nil {
			r.bait = append(r.bait, h)
		}
	}
	r.bait, r.kept = append(r.bait, r.kept...), nil
}

// lure has a node that is in touch end those sessions, and others that it makes and that
// the nodes apart are just being asked for. More are made and kept for the next time,
// so that every node has them in memory by then.
func (r *run) lure(f *Fault) {
	if len(f.Apart) == 0 {
		return
	}
	free := 0
	for slices.Contains(f.Apart, free) {
		free++
	}
	r.mu.Lock()
	bait := slices.Clone(r.bait)
	r.mu.Unlock()
	rnd := rand.New(rand.NewPCG(r.cfg.Seed, uint64(r.at())))
	ender := &caller{run: r, id: r.cfg.Callers, node: r.nodes[free]}
	for _, h := range bait {
		r.aside.Go(func() { ender.end(h) })
	}
	for range lures {
		wait := time.Duration(rnd.IntN(40)) * time.Millisecond
		r.aside.Go(func() {
			h, ok := ender.make("lured")
			if !ok {
				return
			}
			r.mu.Lock()
			r.bait = append(r.bait, h)
			r.mu.Unlock()
			for _, node := range f.Apart {
				r.aside.Go(func() { r.probe(node, h) })
			}
			time.Sleep(wait)
			ender.end(h)
		})
		r.aside.Go(func() {
			if h, ok := ender.make("kept"); ok {
				r.mu.Lock()
				r.kept = append(r.kept, h)
				r.mu.Unlock()
			}
		})
	}
}

// nag has the nodes apart asked for all of that, again and again, until stop is closed:
// while nothing is heard of, before it is over, and just after. Answers are not waited for.
func (r *run) nag(f *Fault, stop <-chan struct{}) {
	if len(f.Apart) == 0 {
		return
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		r.mu.Lock()
		ask := slices.Concat(r.bait, r.kept)
		r.mu.Unlock()
		for _, node := range f.Apart {
			for _, h := range ask {
				r.aside.Go(func() { r.probe(node, h) })
			}
		}
		select {
		case <-stop:
			return
		case <-again.C:
		}
	}
}

// probe looks a session up at a node.
func (r *run) probe(node int, h held) {
	c := &caller{run: r, id: r.cfg.Callers + 1 + node, node: r.nodes[node]}
	c.glance(h, r.cfg.Staleness == 0)
}
