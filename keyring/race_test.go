//go:build race

package keyring_test

// raceEnabled tells tests that count allocations that the race detector is on:
// it makes sync.Pool drop values at random.
const raceEnabled = true
