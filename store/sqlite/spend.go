package sqlite

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// maxSpent is how far ahead the time may be at which a key is forgotten.
const maxSpent = 24 * time.Hour

// Spend implements latchkey.Spender. A time that has passed already is
// CodeInvalidRequest, like one that is too far ahead: what is forgotten at once
// could be used twice.
func (s *Store) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	_, err := do(ctx, s, func(t *tx) (struct{}, error) { return struct{}{}, t.spend(&key, until) })
	return err
}

func (t *tx) spend(key *[32]byte, until time.Time) error {
	at := microOf(until)
	if at <= t.now || at > t.now+maxSpent.Microseconds() {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: use once",
			Fields: []latchkey.FieldError{{Field: "until", Detail: "is ahead of the store's time, by a day at most"}}}
	}
	before, _, err := t.c.query("SELECT until FROM spent WHERE key=?1").blob(key[:]).number()
	if err != nil {
		return err
	}
	if before > t.now {
		return latchkey.NewError(latchkey.CodeConflict, "used before", nil)
	}
	return t.c.query("INSERT INTO spent (key, until) VALUES (?1,?2) ON CONFLICT (key) DO UPDATE SET until=excluded.until").
		blob(key[:]).int(at).run()
}

// dropSpent forgets the keys whose time has passed.
func (t *tx) dropSpent() error {
	return t.c.query("DELETE FROM spent WHERE until<=?1").int(t.now).run()
}
