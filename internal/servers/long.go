package servers

import "os"

// Long reports that tests are to be made at full size: in the long runs (make chaos,
// which sets LATCHKEY_CHAOS_ROUNDS), and wherever the race detector is off. Under it
// everything takes several times as long, and the tests of a store make do with fewer
// sessions and histories.
func Long() bool { return !race || os.Getenv("LATCHKEY_CHAOS_ROUNDS") != "" }

// Sized is full where tests are [Long], and brief elsewhere.
func Sized(full, brief int) int {
	if Long() {
		return full
	}
	return brief
}
