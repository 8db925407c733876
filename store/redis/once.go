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
	ctx, cancel := s.bound(ctx)
	defer cancel()
	from := ""
	if !after.IsZero() {
		from = after.String()
	}
	answer, err := s.one().runConfirmed(ctx, &s.scripts.changed, 0, "", "", nil, from, strconv.Itoa(limit))
	if err != nil {
		return page, err
	}
	f := &fields{list: answer}
	page.Generation = uint64(f.int(1))
	ids, err := parseIDs(f.text(2))
	if err != nil || f.text(0) != "ok" || f.bad {
		return latchkey.ChangedPage{}, unavailable(errAnswer)
	}
	page.IDs = ids
	if len(ids) == limit {
		page.Next = ids[len(ids)-1]
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
	answer, err := s.one().run(ctx, &s.scripts.spend, tag, "", []string{name}, decimal(microOf(until)))
	if err != nil {
		return err
	}
	switch answer[0] {
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
