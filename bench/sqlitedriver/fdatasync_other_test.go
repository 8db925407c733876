//go:build !linux

package sqlitedriver

import "os"

func fdatasync(f *os.File) error { return f.Sync() }
