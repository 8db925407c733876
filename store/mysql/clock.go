package mysql

import (
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
)

// clock is the store's time, which is the server's: this node's monotonic clock
// plus an offset that every answer of the server puts right.
type clock struct {
	latchkey.Clock
	hand   bool         // the store's time follows Clock
	offset atomic.Int64 // nanoseconds from the monotonic reading to store time
}

func newClock(c latchkey.Clock, hand bool) *clock {
	k := &clock{Clock: c, hand: hand}
	now := c.Now()
	k.offset.Store(now.Wall - now.Mono)
	return k
}

// at is a reading of the clock as Unix microseconds of store time.
func (k *clock) at(m latchkey.Moment) int64 { return (m.Mono + k.offset.Load()) / 1000 }

// sample takes an answer of the server: what its clock said, in microseconds, at
// some time between two readings of this node's. The offset is moved no farther
// than that demands, so that a slow answer does not disturb what a quick one told.
func (k *clock) sample(sent, got latchkey.Moment, server int64) {
	if k.hand {
		return
	}
	least, most := server*1000-got.Mono, server*1000+999-sent.Mono
	for {
		old := k.offset.Load()
		next := min(max(old, least), most)
		if next == old || k.offset.CompareAndSwap(old, next) {
			return
		}
	}
}

// sqlServerTime is the server's clock: Unix microseconds at the beginning of the
// statement. Sessions are set to UTC.
const sqlServerTime = `TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))`

// sql is the store's time as an expression.
func (k *clock) sql() string {
	if k.hand {
		return string(num(k.at(k.Now())))
	}
	return sqlServerTime
}

// StoreTime implements latchkey.Timekeeper. It goes by the server's clock as it
// was at the latest poll of a follower or change of this Store, give or take the
// trip to the server and back.
func (s *Store) StoreTime(at latchkey.Moment) int64 { return s.clock.at(at) }
