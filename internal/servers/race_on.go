//go:build race

package servers

// race: the race detector is on.
const race = true
