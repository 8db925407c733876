package mysql

import (
	"context"
	"crypto/rand"

	"github.com/latchkey-go/latchkey"
)

// InnoDB lets others see a change when its commit has been decided, and brings the log
// to the disk after that. Whoever acts on what another one has just committed may be
// ahead of the disk: a crash takes back what both were sure of. A commit of one's own
// that writes something waits for the log up to its place, and so for all before it.

// harden makes the commit of a transaction that has found nothing left to do such a
// one. The row is forgotten with others whose time has passed.
func (t *tx) harden() error {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	t.out.add("INSERT INTO latchkey_spent (k, until) VALUES (?,0)", raw(key[:]))
	return nil
}

// hardened returns when whatever could be seen before it was called is on the disk.
func (s *Store) hardened(ctx context.Context) error {
	_, err := change(ctx, s, func(t *tx) (struct{}, error) {
		if err := t.begin(nil, nil); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, t.harden()
	})
	return err
}

// settle has what was just read of a session brought to the disk, where somebody is
// about to rely on it.
func (s *Store) settle(ctx context.Context, id latchkey.ID) error {
	if err := s.hardened(ctx); err != nil {
		return err
	}
	s.unsure.Settle(id)
	return nil
}
