//go:build unix

package keyring

import (
	"io/fs"
	"syscall"
)

func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }

func ownerOf(fi fs.FileInfo) int { return int(fi.Sys().(*syscall.Stat_t).Uid) }
