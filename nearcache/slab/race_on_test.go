//go:build race

package slab

// underRace makes tests whose size does not matter for races smaller: the detector
// slows them down some twenty times.
const underRace = true
