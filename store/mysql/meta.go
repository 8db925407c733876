package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/latchkey-go/latchkey"
)

// Mark gives the store a name of at most 255 bytes, such as "demo"; "" takes it
// away. It is durable when Mark returns.
func (s *Store) Mark(ctx context.Context, name string) error {
	if len(name) > maxMark {
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: mysql store",
			Fields: []latchkey.FieldError{{Field: "Mark", Detail: fmt.Sprintf("is longer than %d bytes", maxMark)}}}
	}
	_, err := change(ctx, s, func(t *tx) (struct{}, error) {
		t.out.add("UPDATE latchkey_meta SET value=? WHERE name='mark'", raw(name))
		return struct{}{}, t.begin(nil, nil)
	})
	return err
}

// Marked returns the store's name, "" when it has none.
func (s *Store) Marked(ctx context.Context) (string, error) {
	v, err := s.meta(ctx, "mark")
	return string(v), err
}

// PlacementKey implements latchkey.PlacementKeeper. The key was drawn when the
// store was made and stays for its life.
func (s *Store) PlacementKey(ctx context.Context) ([32]byte, error) {
	v, err := s.meta(ctx, "placement key")
	if err == nil && len(v) != 32 {
		err = unavailable(errDamaged)
	}
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(v), nil
}

// meta reads one of the store's own values.
func (s *Store) meta(ctx context.Context, name string) (value []byte, err error) {
	err = s.scan(ctx, s.timeout, func(ctx context.Context, c *sql.Conn) error {
		err := c.QueryRowContext(ctx, "SELECT value FROM latchkey_meta WHERE name="+string(raw(name))).Scan(&value)
		if errors.Is(err, sql.ErrNoRows) {
			err = errDamaged
		}
		return err
	})
	return value, err
}
