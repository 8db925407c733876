package main

import "os"

// headroom is what may be allocated between two collections, at least.
const headroom = 32 << 20

// makeHeadroom keeps the collector from running all the time while little is in use.
// It runs whenever as much was allocated as was in use the last time, which is little
// in most daemons: a dozen MiB, which checks at the edge allocate in a tenth of a second.
// Each run takes processor time from them, and makes some of them late. What is returned
// counts as in use for as long as it is kept; it is never written to, so that it takes
// up none of the machine's memory, but up to as much more does garbage. Where the
// operator has set GOGC or GOMEMLIMIT there is none.
func makeHeadroom() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, headroom)
}
