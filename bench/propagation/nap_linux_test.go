package propagation

import "golang.org/x/sys/unix"

// nap sleeps for about 70 µs: 20, and what the system adds. [time.Sleep] cannot be so
// short where nothing else runs, and a loop that does not sleep would keep one of the
// processors from the server.
func nap() {
	_ = unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
}
