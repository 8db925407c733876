package postgres

import (
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
)

// clock is the server's time as this node knows it: its own monotonic clock plus
// the offset that trips to the server bring. Setting the node's wall clock changes
// nothing, and time that the machine was suspended is made up for by the next trip.
type clock struct {
	latchkey.Clock
	offset atomic.Int64 // nanoseconds from the monotonic reading to Unix time of the server
}

// sample takes in what the server's clock said during a trip. Whatever the offset
// is, it is between two bounds; one that is within them already stays, so that
// trips of unequal length do not make the time waver.
func (k *clock) sample(sent, received latchkey.Moment, server int64) {
	least, most := server*1000-received.Mono, server*1000-sent.Mono
	if now := k.offset.Load(); now < least || now > most+999 { // the server counts microseconds
		k.offset.Store(least + (most-least)/2)
	}
}

// at is a reading of the node's clock as Unix microseconds of the server's.
func (k *clock) at(m latchkey.Moment) int64 {
	ns := m.Mono + k.offset.Load()
	us := ns / 1000
	if ns < 0 && ns%1000 != 0 {
		us--
	}
	return us
}

// StoreTime implements latchkey.Timekeeper. It is right to within half of the
// shortest trip to the server of late.
func (s *Store) StoreTime(at latchkey.Moment) int64 { return s.clock.at(at) }

// microOf is t in Unix microseconds, 0 for none.
func microOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf is the reverse of microOf.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
