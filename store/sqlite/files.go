package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// lookEvery is how long reads go on without somebody having looked whether the
// files are in their places.
const lookEvery = 100 * time.Millisecond

// files are those that the store has open: the database, and SQLite's log and the
// log's index beside it. SQLite itself never looks whether their names still lead
// to them, and would go on in files that no other process can find: writes would
// be lost with them, and revocations of others never be seen.
//
// No connection and no lock is needed to look; it is safe for concurrent use.
type files struct {
	names [3]string // the database, its log, the log's index
	known [3]os.FileInfo

	trouble atomic.Pointer[trouble]
	looked  atomic.Int64  // when all was last found in its place, on the clock of begun
	returns atomic.Uint64 // how often the files have come back
	begun   time.Time
}

// Places in files.
const (
	theDatabase = iota
	theLog
	theIndex
)

// trouble is why nothing is answered. It is the cause of what callers get.
type trouble struct {
	why   error
	final bool // until the store is opened again; else until the files are back
	ends  bool // followers too, rather than leave them without a proof
}

func (t *trouble) Error() string { return t.why.Error() }
func (t *trouble) Unwrap() error { return t.why }

// isTrouble reports whether err concerns the files, and so every change alike.
func isTrouble(err error) bool {
	var t *trouble
	return errors.As(err, &t)
}

// openFiles notes which database is at the path, before SQLite opens it.
func openFiles(path string) (*files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, refused(path, "%v", reason(err))
	}
	return &files{names: namesOf(path), known: [3]os.FileInfo{info}, begun: time.Now()}, nil
}

// namesOf are the names of a store's files. SQLite keeps the log beside the file
// itself, not beside a link to it.
func namesOf(path string) [3]string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path // there is no such file, or the next call of the system says what is wrong
	}
	return [3]string{path, real + "-wal", real + "-shm"}
}

// opened notes which log and index SQLite has opened, after it has read the
// database once, and that the database is still the one that was at the path.
func (f *files) opened() error {
	for i := theLog; i <= theIndex; i++ {
		info, err := os.Stat(f.names[i])
		if err != nil {
			return refused(f.names[theDatabase], "its log %s is gone right after it was opened (%v); try again", f.names[i], reason(err))
		}
		f.known[i] = info
	}
	if t := f.look(); t != nil {
		return t
	}
	return nil
}

// look finds out whether the names lead to the files that are open.
func (f *files) look() *trouble {
	for i, name := range f.names {
		info, err := os.Stat(name)
		switch {
		case err == nil && os.SameFile(info, f.known[i]):
		case err == nil && i == theDatabase:
			return &trouble{why: errReplaced, final: true, ends: true}
		case err == nil:
			return &trouble{why: fmt.Errorf("%w: %s", errLogReplaced, name), final: true, ends: true}
		case i == theDatabase:
			return &trouble{why: fmt.Errorf("%w (%w)", errAway, reason(err))}
		default:
			return &trouble{why: fmt.Errorf("%w (%s: %w)", errLogGone, name, reason(err)), ends: true}
		}
	}
	return nil
}

// check looks, unless the files have been given up for good, and returns why the
// store cannot be used, or nil.
//
// Files that are absent may come back; as long as nobody has put others in their
// place, nobody can have made changes there. A log of somebody else's, or another
// database, is final: a process that has met it has written where this one's
// files cannot take it in.
func (f *files) check() error {
	was := f.trouble.Load()
	if was != nil && was.final {
		return was
	}
	at := int64(time.Since(f.begun))
	now := f.look()
	switch {
	case now == nil:
		f.looked.Store(at)
		if was != nil && f.trouble.CompareAndSwap(was, nil) {
			f.returns.Add(1)
		}
		return nil
	case was != nil && !was.ends && !now.final:
		now.ends = false // the database is back before its log
	}
	return f.give(now)
}

// give gives the files up, and returns why they are.
func (f *files) give(t *trouble) error {
	for {
		was := f.trouble.Load()
		if was != nil && was.final {
			return was
		}
		if f.trouble.CompareAndSwap(was, t) {
			return t
		}
	}
}

// fresh returns why the store cannot be used, and looks if that was long ago.
func (f *files) fresh() error {
	if f.trouble.Load() == nil && int64(time.Since(f.begun))-f.looked.Load() < int64(lookEvery) {
		return nil
	}
	return f.check()
}

// logIsOthers reports whether closing the last connection in the ordinary way
// could do harm: it would move this store's log into the database, and remove the
// log that is at the path, which is another process's. A log that is only gone has
// been replaced by nobody, and moving it saves what it holds.
func (f *files) logIsOthers() bool {
	if was := f.trouble.Load(); was != nil && (errors.Is(was, errReplaced) || errors.Is(was, errLogReplaced)) {
		return true // whatever is there now
	}
	now := f.look()
	return now != nil && !errors.Is(now, errLogGone)
}

// absent reports whether there is nothing at a path, not even a dangling link.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
