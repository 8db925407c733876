package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

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

// storeScheme returns the kind of store and where it is.
func (s *settings) storeScheme() (scheme, rest string) {
	scheme, rest, _ = strings.Cut(s.store, ":")
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
	case scheme == "sqlite" && (rest == "" || strings.ContainsRune(rest, 0)):
		return []string{"--store: sqlite: needs the path of a file, such as sqlite:latchkey.db"}
	}
	return nil
}

// errOneProcess refuses a store in memory to commands that are done in an instant.
func errOneProcess() error {
	return usage("--store: memory: lives inside one daemon; ask that daemon by its HTTP API, or use sqlite:PATH")
}

// openExisting opens the store for a command: it must be there, and its schema
// must be this program's. Nothing is made or migrated.
func openExisting(s *settings) (latchkey.Store, error) {
	scheme, path := s.storeScheme()
	if scheme == "memory" {
		return nil, errOneProcess()
	}
	return openSQLite(sqlite.Config{Path: path, MustExist: true})
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

// openSQLite opens a database. One of another schema is no outage: it is there,
// and waiting does not help.
func openSQLite(cfg sqlite.Config) (latchkey.Store, error) {
	store, err := sqlite.Open(cfg)
	if err == nil {
		return store, nil
	}
	if text := err.Error(); strings.Contains(text, ": has schema ") {
		return nil, failed("", "%s", text)
	}
	return nil, err
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
		return usage(fmt.Sprintf("--demo: the store %s was not made by a demo, and a demo lets anybody sign in; leave --store out", shown(s.store)))
	case !s.demo && name == demoMark:
		return usage(fmt.Sprintf("--store: %s was made by a demo, where anybody could sign in; choose another store, or serve it with --demo", shown(s.store)))
	}
	return nil
}

// closeStore closes a store at the end of a command and keeps the first error.
func closeStore(store latchkey.Store, err *error) {
	if cerr := store.Close(); *err == nil {
		*err = cerr
	}
}
