//go:build !linux

package paired

import "testing"

// Apart calls start: processors cannot be chosen here.
func Apart(_ *testing.B, start func()) { start() }
