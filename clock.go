package latchkey

import "time"

// Moment is one reading of a node's two clocks, in nanoseconds.
//
// The wall clock can be stepped by an operator or by NTP, and the monotonic one
// stops while a machine is suspended; deadlines that matter hold only while
// both agree (see package nearcache).
type Moment struct {
	// Wall is Unix time.
	Wall int64
	// Mono is the time since some fixed point in this process's life; it never goes back.
	Mono int64
}

// Time is the wall reading as a UTC time.
func (m Moment) Time() time.Time { return time.Unix(0, m.Wall).UTC() }

// Clock tells the time. Implementations are safe for concurrent use and fast:
// a session check reads the clock once. Package latchkeytest has one to turn by hand.
type Clock interface {
	Now() Moment
}

// SystemClock returns the machine's clock. All system clocks of a process agree,
// so a reading of one may be compared with a reading of another.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

// started is what the monotonic readings of this process count from.
var started = time.Now()

func (systemClock) Now() Moment {
	t := time.Now()
	return Moment{Wall: t.UnixNano(), Mono: int64(t.Sub(started))}
}

// Timekeeper is implemented by stores whose clock is not the node's: sessions
// are judged by the store's time, so that all nodes agree and a stepped clock on
// one of them changes nothing. StoreTime converts a reading of the node's clock
// to Unix microseconds of the store's; it is called on every check and must not block.
type Timekeeper interface {
	StoreTime(at Moment) int64
}
