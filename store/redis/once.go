package redis

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
)

// maxChanged bounds a page of Changed, whatever was asked for.
const maxChanged = 50_000

// Changed implements latchkey.ChangeLister. A page holds at most 50,000 IDs.
func (s *Store) Changed(ctx context.Context, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	var page latchkey.ChangedPage
	if err := s.open(ctx); err != nil {
		return page, err
	}
	if limit <= 0 {
		limit = latchkey.DefaultChangedLimit
	}
	limit = min(limit, maxChanged)
	if s.cfg.Mode == Cluster {
		return s.changedAcross(ctx, after, limit)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return s.changed(ctx, "", after, limit)
}

// changed reads the list of one tag, or the whole where there is one primary.
func (s *Store) changed(ctx context.Context, tag string, after latchkey.ID, limit int) (latchkey.ChangedPage, error) {
	var page latchkey.ChangedPage
	from := ""
	if !after.IsZero() {
		from = after.String()
	}
	f, err := s.do(ctx, call{sc: &s.scripts.changed, tag: tag, weak: true, among: args{from, strconv.Itoa(limit)}})
	if err != nil {
		return page, err
	}
	page.Generation = uint64(f.int(1))
	if page.IDs, err = parseIDs(f.text(2)); err != nil || f.text(0) != "ok" || f.bad {
		return latchkey.ChangedPage{}, unavailable(errAnswer)
	}
	if next := f.text(3); next != "" {
		if page.Next, err = latchkey.ParseID(next); err != nil {
			return latchkey.ChangedPage{}, unavailable(errAnswer)
		}
	}
	if f.bad {
		return latchkey.ChangedPage{}, unavailable(errAnswer)
	}
	return page, nil
}

// Spend implements latchkey.Spender.
func (s *Store) Spend(ctx context.Context, key [32]byte, until time.Time) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag := tagText(binary.BigEndian.Uint16(key[:]))
	name := s.cfg.Prefix + "{" + tag + "}once:" + base64.RawURLEncoding.EncodeToString(key[:])
	f, err := s.do(ctx, call{sc: &s.scripts.spend, tag: tag, keys: []string{name}, among: args{decimal(microOf(until))}})
	if err != nil {
		return err
	}
	switch f.text(0) {
	case "ok":
		return nil
	case "bounds":
		return &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "latchkey: use once",
			Fields: []latchkey.FieldError{{Field: "until", Detail: "is ahead of the store's time, by a day at most"}}}
	case "spent":
		return latchkey.NewError(latchkey.CodeConflict, "used before", nil)
	}
	return unavailable(errAnswer)
}
