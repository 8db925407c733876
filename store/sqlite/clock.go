package sqlite

import (
	"reflect"
	"sync/atomic"

	"github.com/latchkey-go/latchkey"
)

// clock is the store's time: the wall clock as it was when the store was opened,
// plus the monotonic time since, plus the time that the machine was suspended.
// Stepping the wall clock changes nothing until the store is opened again.
type clock struct {
	latchkey.Clock
	start     latchkey.Moment
	system    bool  // the machine's clock, and so subject to suspension
	awake     int64 // how far the clock that counts suspension was ahead at the start
	suspended atomic.Int64
}

func newClock(c latchkey.Clock) *clock {
	if c == nil {
		c = latchkey.SystemClock()
	}
	k := &clock{Clock: c, start: c.Now(), system: reflect.TypeOf(c) == reflect.TypeOf(latchkey.SystemClock())}
	if k.system {
		k.awake, k.system = suspension()
	}
	return k
}

// at is a reading of the clock as Unix microseconds of store time.
func (k *clock) at(m latchkey.Moment) int64 {
	return (k.start.Wall + (m.Mono - k.start.Mono) + k.suspended.Load()) / 1000
}

func (k *clock) micros() int64 { return k.at(k.Now()) }

// sample notes how long the machine has been suspended since the start.
func (k *clock) sample() {
	if !k.system {
		return
	}
	total, ok := suspension()
	if !ok {
		return
	}
	for d := total - k.awake; ; {
		known := k.suspended.Load()
		if d <= known+slack || k.suspended.CompareAndSwap(known, d) {
			return
		}
	}
}

// slack is by how much two such readings may differ without a suspension: 10 ms.
const slack = 10_000_000

// StoreTime implements latchkey.Timekeeper.
func (s *Store) StoreTime(at latchkey.Moment) int64 { return s.clock.at(at) }
