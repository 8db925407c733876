//go:build !linux

package paired

import "time"

// threadTime is the time that has passed: there is no clock of threads here.
func threadTime() time.Duration { return time.Since(epoch) }
