package memory

import (
	"context"
	"time"

	"github.com/latchkey-go/latchkey"
)

// minSpent is how many spent keys there are at least before old ones are looked for.
const minSpent = 1024

// Spend implements latchkey.Spender. A time that has passed already is
// CodeInvalidRequest, like one that is too far ahead: what is forgotten at once
// could be used twice.
func (s *Store) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	return s.change(ctx, func(now time.Time, _ *latchkey.Batch) error {
		until := micro(until)
		if !until.After(now) || until.After(now.Add(24*time.Hour)) {
			return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: use once",
				Fields: []latchkey.FieldError{{Field: "until", Detail: "is ahead of the store's time, by a day at most"}}}
		}
		if s.spent[key].After(now) {
			return latchkey.NewError(latchkey.CodeConflict, "used before", nil)
		}
		if len(s.spent) >= s.sweepSpent {
			s.dropSpent(now)
			s.sweepSpent = max(minSpent, 2*len(s.spent))
		}
		s.spent[key] = until
		return nil
	})
}

// dropSpent forgets the keys whose time has passed.
func (s *Store) dropSpent(now time.Time) {
	for key, until := range s.spent {
		if !until.After(now) {
			delete(s.spent, key)
		}
	}
}
