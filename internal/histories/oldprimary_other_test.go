//go:build unix && !linux

package histories_test

// oldPrimaries are none where a network cannot be divided on one machine.
func oldPrimaries() []history { return nil }
