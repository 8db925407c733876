//go:build !linux

package propagation

import "runtime"

func nap() { runtime.Gosched() }
