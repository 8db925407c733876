//go:build race

package itsdangerous_test

// Under the race detector sync.Pool drops things at random.
const raceDetector = true
