package mysql

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// now is the store's time.
func (s *Store) now() time.Time { return timeOf(s.clock.at(s.clock.Now())) }

// signIn is a Create for a subject at the store's time.
func signIn(s *Store, subject string) latchkey.Create { return fixture.SignIn(s.now(), subject) }

// add signs a subject in.
func add(t testing.TB, s *Store, subject string) latchkey.ID {
	t.Helper()
	return fixture.Add(t, s, signIn(s, subject))
}
