//go:build !race

package itsdangerous_test

const raceDetector = false
