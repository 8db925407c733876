package latchkey

import (
	"context"
	"time"
)

// Feed is implemented by stores that tell nodes of ended and changed sessions,
// so that a near cache can grant without asking (see package nearcache).
type Feed interface {
	// Follow delivers the store's invalidations, in the order in which they took
	// effect, from one goroutine, until ctx ends or the stream breaks; it returns
	// why. Its first batch has Reset set. A change made through this same Store
	// value is delivered before the call that made it returns.
	//
	// At least once in every interval, Follow proves that the stream is alive and
	// delivers a batch whose Sent is when that proof was sent. The proof takes the
	// path that a revocation takes: a message of this node that came back on the
	// same ordered stream or, for a polled log, the poll itself.
	Follow(ctx context.Context, interval time.Duration, deliver func(Batch)) error
}

// Batch is a run of invalidations.
type Batch struct {
	// Reset says that earlier invalidations may have been missed: forget everything.
	Reset bool
	// IDs lists sessions that were changed, renewed or ended.
	IDs []ID
	// All says that every session may have ended (the generation was raised).
	All bool
	// Sent, when not zero, promises that everything committed before this reading
	// of the node's clocks has been delivered, this batch included.
	Sent Moment
}

// Cache keeps decoded sessions in this process. The Manager asks it before the
// store; *nearcache.Cache implements it. It may grant; only a tombstone or a
// fresh store read refuses. All methods are safe for concurrent use.
type Cache interface {
	// Find returns what was filed under id if the feed has delivered everything
	// that was committed before now less within, by both of the node's clocks; a
	// within of 0 finds nothing. touched is the latest activity noted by Touched or
	// Fill, in Unix microseconds of store time. The bytes are never rewritten. It
	// allocates nothing.
	Find(id ID, now Moment, within time.Duration) (view []byte, touched int64, ok bool)

	// Load reads id from the store, sharing a trip with other callers where that
	// trip was sent no earlier than the caller's arrival less within. The record
	// is shared and must not be changed.
	Load(ctx context.Context, id ID, within time.Duration) (*Record, Filling, error)

	// Fill files a view under the record's ID unless an invalidation of it was
	// delivered since the read began.
	Fill(f Filling, view []byte, touched int64)

	// Touched notes activity of a session that is filed.
	Touched(id ID, at int64)

	// Drop forgets sessions, and Clear all of them; trips under way are not filed.
	Drop(ids ...ID)
	Clear()

	// Staleness is the bound of this cache: the longest that an answer of it may lag.
	Staleness() time.Duration
}

// Ledger is implemented by caches that know which stateless sessions have been
// changed or ended since they were made; *nearcache.Cache does. All methods are
// safe for concurrent use.
type Ledger interface {
	// Track begins to keep the list, from the store's [ChangeLister] and its feed.
	// An error says that the store has no such list.
	Track() error

	// Unchanged reports whether the session, made under the given generation, is
	// known to be as it was created, as of within ago by both of the node's clocks.
	// It is false whenever that is not known: the list is not loaded, is too long,
	// or its lease has lapsed. It allocates nothing.
	Unchanged(id ID, generation uint64, now Moment, within time.Duration) bool

	// Doubt forgets the list, and has it read again: a change of sessions unknown may
	// or may not have taken effect. Until then nothing is known to be unchanged.
	Doubt()
}

// Filling stands for a store read whose result may be filed. The zero value files
// nothing. Epoch and Clears are the cache's own marks of when the read began.
type Filling struct {
	ID     ID
	Epoch  uint64
	Clears uint64
	// Joined says that the trip was sent before this caller arrived. Its answer may
	// grant; a refusal needs a fresh one.
	Joined bool
}
