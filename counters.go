package latchkey

import (
	"errors"
	"sync/atomic"
)

// Outcomes of a lookup, as they are counted.
const (
	outcomeValid = iota
	outcomeInvalid
	outcomeEnded
	outcomeUnavailable
	numOutcomes
)

// striped is a count spread over cache lines, so that cores counting hits do not
// wait for each other.
type striped [16]struct {
	atomic.Uint64
	_ [56]byte
}

func (s *striped) sum() (n uint64) {
	for i := range s {
		n += s[i].Load()
	}
	return n
}

type counters struct {
	hits           striped
	lookups        [numOutcomes]atomic.Uint64
	loads          atomic.Uint64
	stale          atomic.Uint64
	created        atomic.Uint64
	revoked        atomic.Uint64
	resigned       atomic.Uint64
	thefts         atomic.Uint64
	touches        atomic.Uint64
	touchesDropped atomic.Uint64
	conflicts      atomic.Uint64
}

// hit notes a lookup that the cache answered.
func (c *counters) hit(t *token) { c.hits[t.raw[17]&15].Add(1) }

// count notes the outcome of a lookup that the cache did not answer.
func (c *counters) count(err error) {
	switch {
	case err == nil:
		c.lookups[outcomeValid].Add(1)
	case errors.Is(err, errEnded):
		c.lookups[outcomeEnded].Add(1)
	case CodeOf(err) == CodeInvalidSession:
		c.lookups[outcomeInvalid].Add(1)
	default:
		c.lookups[outcomeUnavailable].Add(1)
	}
}

// Stats are a Manager's totals since it was made.
type Stats struct {
	// Valid, Invalid, Ended and Unavailable count lookups by outcome. Invalid
	// covers forged, unknown and replaced tokens.
	Valid, Invalid, Ended, Unavailable uint64
	// Hits counts the valid ones among them that the cache answered.
	Hits uint64
	// Loads counts lookups that the cache could not answer.
	Loads uint64
	// ServedStale counts grants under Config.ServeStale.
	ServedStale uint64
	// Created and Revoked count sessions.
	Created, Revoked uint64
	// Resigned counts tokens put under a newer key.
	Resigned uint64
	// Thefts counts sessions ended because a superseded token came back.
	Thefts uint64
	// Touches counts activity written; TouchesDropped what there was no room for.
	Touches, TouchesDropped uint64
	// Conflicts counts compare-and-swaps that had to be tried again.
	Conflicts uint64
}

// Stats returns the totals. Each is exact; together they are not one instant.
func (m *Manager) Stats() Stats {
	c := &m.counters
	hits := c.hits.sum()
	return Stats{Valid: hits + c.lookups[outcomeValid].Load(), Hits: hits, Invalid: c.lookups[outcomeInvalid].Load(),
		Ended: c.lookups[outcomeEnded].Load(), Unavailable: c.lookups[outcomeUnavailable].Load(),
		Loads: c.loads.Load(), ServedStale: c.stale.Load(), Created: c.created.Load(), Revoked: c.revoked.Load(),
		Resigned: c.resigned.Load(), Thefts: c.thefts.Load(), Touches: c.touches.Load(),
		TouchesDropped: c.touchesDropped.Load(), Conflicts: c.conflicts.Load()}
}
