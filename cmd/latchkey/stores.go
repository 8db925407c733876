package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// marker is implemented by stores that remember what they were made for, so that
// a demo's store, which anybody may sign in to, is never served in earnest.
type marker interface {
	// Marked returns the name that the store was made with, "" when there is none.
	Marked(ctx context.Context) (string, error)
}

// schemes are the kinds of stores; the value says whether this build has it.
var schemes = map[string]bool{"memory": true, "sqlite": true, "postgres": false, "postgresql": false, "mysql": false,
	"redis": false, "rediss": false, "redis+sentinel": false, "redis+cluster": false}

// storeScheme returns the kind of store and where it is. sqlite:///var/x.db, a URL
// with no host, means the same file as sqlite:/var/x.db.
func (s *settings) storeScheme() (scheme, rest string) {
	scheme, rest, _ = strings.Cut(s.store, ":")
	if scheme == "sqlite" && strings.HasPrefix(rest, "///") {
		rest = rest[len("//"):]
	}
	return scheme, rest
}

// checkStore returns what is wrong with --store. It never repeats a URL that it
// does not understand: there may be a password in it.
func (s *settings) checkStore() []string {
	scheme, rest := s.storeScheme()
	has, known := schemes[scheme]
	switch {
	case !known || !strings.Contains(s.store, ":"):
		return []string{"--store: is not a store URL; give sqlite:PATH or memory:"}
	case !has:
		return []string{fmt.Sprintf("--store: %s is not supported by this build; give sqlite:PATH or memory:", scheme)}
	case scheme == "memory" && rest != "":
		return []string{"--store: nothing follows memory:"}
	case scheme == "sqlite" && rest == "":
		return []string{"--store: sqlite: needs the path of a file, such as sqlite:latchkey.db"}
	case scheme == "sqlite" && !plainPath(rest):
		return []string{"--store: sqlite: takes a plain file path, such as sqlite:/var/lib/latchkey/latchkey.db: no //host, ?, # or %41 as in a URL"}
	}
	return nil
}

// plainPath reports whether what follows sqlite: is a path that nobody could mean
// as a URL: which of the two was meant would decide which file is made.
func plainPath(s string) bool {
	for i := range len(s) {
		hex := func(at int) bool { return at < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[at]) >= 0 }
		if s[i] < ' ' || s[i] == 0x7f || s[i] == '%' && hex(i+1) && hex(i+2) {
			return false
		}
	}
	return !strings.HasPrefix(s, "//") && !strings.HasPrefix(s, "file:") && !strings.ContainsAny(s, "?#") && !strings.Contains(s, "://") && !hasLogin(s)
}

// errOneProcess refuses a store in memory to commands that are done in an instant.
func errOneProcess() error {
	return usage("--store: memory: lives inside one daemon; ask that daemon by its HTTP API, or use sqlite:PATH")
}

// commandWait is how long a command waits for a lock that another process holds,
// once when it opens the store and once for what it changes there: 5 s together.
const commandWait = 2500 * time.Millisecond

// openExisting opens the store for a command: it must be there, and its schema
// must be this program's. Nothing is made or migrated.
func openExisting(s *settings) (latchkey.Store, error) {
	scheme, path := s.storeScheme()
	if scheme == "memory" {
		return nil, errOneProcess()
	}
	return openSQLite(sqlite.Config{Path: path, MustExist: true, Wait: commandWait})
}

// openServe opens the store for the daemon. Where there is none it is made, and
// marked in the same step if it is a demo's.
func openServe(s *settings, clock latchkey.Clock) (latchkey.Store, error) {
	scheme, path := s.storeScheme()
	if scheme == "memory" {
		return memory.New(memory.Config{Clock: clock})
	}
	cfg := sqlite.Config{Path: path, Clock: clock}
	if s.demo {
		cfg.Mark = demoMark
	}
	return openSQLite(cfg)
}

// openSQLite keeps a nil *sqlite.Store out of the interface.
func openSQLite(cfg sqlite.Config) (latchkey.Store, error) {
	store, err := sqlite.Open(cfg)
	if err != nil {
		return nil, err
	}
	return store, nil
}

// storeIsAbsent reports whether opening the store would make it.
func storeIsAbsent(s *settings) bool {
	scheme, path := s.storeScheme()
	if scheme != "sqlite" {
		return false
	}
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// checkMark refuses a demo's store without --demo, and any other with it.
func checkMark(ctx context.Context, s *settings, store latchkey.Store) error {
	m, ok := store.(marker)
	if !ok {
		return nil // what lives in memory was made by this very process
	}
	name, err := m.Marked(ctx)
	switch {
	case err != nil:
		return err
	case s.demo && name != demoMark:
		return usage(fmt.Sprintf("--demo: the store %s was not made by a demo, and a demo lets anybody sign in; leave --store out", shownPath(s.store)))
	case !s.demo && name == demoMark:
		return usage(fmt.Sprintf("--store: %s was made by a demo, where anybody could sign in; choose another store, or serve it with --demo", shownPath(s.store)))
	}
	return nil
}

// closeStore closes a store at the end of a command and keeps the first error.
func closeStore(store latchkey.Store, err *error) {
	if cerr := store.Close(); *err == nil {
		*err = cerr
	}
}
