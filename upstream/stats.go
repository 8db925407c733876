package upstream

import "sync/atomic"

// Stats counts what a cache did since New. The numbers are not from one instant.
type Stats struct {
	Hits        uint64 // users found in the process
	RefusedHits uint64 // refusals found in the process
	Implausible uint64 // tokens that no upstream can have issued
	Misses      uint64 // flights: lookups that left the process
	Joined      uint64 // lookups that waited for another's flight
	RedisHits   uint64 // flights that Redis answered

	Calls       uint64 // calls of the upstream
	Refusals    uint64 // calls that said the token is nobody's
	Failures    uint64 // calls without a usable answer
	Unavailable uint64 // flights that ended with store_unavailable
	Stale       uint64 // flights that were answered under Config.ServeStale

	PassedBy    uint64 // flights that passed Redis by because it gave no answer
	RedisErrors uint64 // trips to Redis that failed
	RedisAway   bool   // Redis gives no answer now
	Garbage     uint64 // values in Redis that were no entries of ours
	Overtaken   uint64 // fills that Redis refused because of an invalidation

	Invalidations        uint64 // calls of InvalidateUser and InvalidateToken
	InvalidationsWaiting int64  // of those, how many Redis has not taken yet
	InvalidationsLost    uint64 // and how many are not tried again, because too many wait
	UpstreamDown         bool   // the last call of the upstream got no answer
	Entries              int64  // users held in the process
	Bytes                int64  // bytes held in the process, refusals included
}

type counters struct {
	hits, refusedHits, implausible, misses, joined, redisHits atomic.Uint64
	calls, refusals, failures, unavailable, stale             atomic.Uint64
	passedBy, garbage, overtaken, invalidations               atomic.Uint64
}

// Stats is cheap enough to be asked for every few seconds.
func (c *Cache) Stats() Stats {
	n, users := &c.stats, c.users.Stats()
	s := Stats{
		Hits: n.hits.Load(), RefusedHits: n.refusedHits.Load(), Implausible: n.implausible.Load(),
		Misses: n.misses.Load(), Joined: n.joined.Load(), RedisHits: n.redisHits.Load(),
		Calls: n.calls.Load(), Refusals: n.refusals.Load(), Failures: n.failures.Load(),
		Unavailable: n.unavailable.Load(), Stale: n.stale.Load(),
		PassedBy: n.passedBy.Load(), Garbage: n.garbage.Load(), Overtaken: n.overtaken.Load(),
		Invalidations: n.invalidations.Load(), UpstreamDown: c.down.Load(),
		Entries: users.Entries, Bytes: users.Bytes + c.refused.Stats().Bytes,
	}
	if r := c.remote; r != nil {
		s.RedisErrors, s.RedisAway = r.errs.Load(), r.away.Load()
		s.InvalidationsWaiting, s.InvalidationsLost = r.waiting.Load(), r.lost.Load()
	}
	return s
}
