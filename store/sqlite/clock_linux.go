package sqlite

import "golang.org/x/sys/unix"

// suspension returns how long the machine has been suspended since it started,
// in nanoseconds: the clock that counts it less the one that does not.
func suspension() (int64, bool) {
	// The clocks are read one after the other. Where this goroutine was made to
	// wait in between, the difference would be taken for a suspension.
	for range 5 {
		var before, boot, after unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
			return 0, false
		}
		if after.Nano()-before.Nano() < slack/10 {
			return boot.Nano() - before.Nano(), true
		}
	}
	return 0, false
}
