//go:build !race

package servers

// race: the race detector is off.
const race = false
