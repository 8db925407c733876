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
)

// marker is implemented by stores that remember what they were made for, so that
// a demo's store, which anybody may sign in to, is never served in earnest.
type marker interface {
	// Marked returns the name that the store was made with, "" when there is none.
	Marked(ctx context.Context) (string, error)
}

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
func (s *settings) checkStore() (problems []string) {
	scheme, _ := s.storeScheme()
	e, known := engines()[scheme]
	if !known || !strings.Contains(s.store, ":") {
		problems = []string{"--store: is not a store URL; give " + storeForms}
	} else {
		problems = e.check(s)
	}
	if s.feedURL != "" && scheme != "postgres" && scheme != "postgresql" {
		problems = append(problems, "--feed-url: is for PostgreSQL behind a pooler; other stores have no use for it")
	}
	return problems
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
	return usage("--store: memory: lives inside one daemon; ask that daemon by its HTTP API, or use another store")
}

// commandWait is how long a command waits for a lock that another process holds,
// once when it opens the store and once for what it changes there: 5 s together.
const commandWait = 2500 * time.Millisecond

// openExisting opens the store for a command: it must be there, and its schema
// must be this program's. Nothing is made or migrated.
func openExisting(ctx context.Context, s *settings) (latchkey.Store, error) {
	scheme, _ := s.storeScheme()
	return engines()[scheme].open(ctx, s, opening{command: true})
}

// openServe opens the store for the daemon. Where there is none it is made, and
// marked in the same step if it is a demo's.
func openServe(ctx context.Context, s *settings, clock latchkey.Clock) (latchkey.Store, error) {
	o := opening{clock: clock}
	if s.demo {
		o.mark = demoMark
	}
	scheme, _ := s.storeScheme()
	return engines()[scheme].open(ctx, s, o)
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
