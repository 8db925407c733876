package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/api"
)

// The shapes of --json are those of package server/api; what follows is what that
// package keeps to itself. A cursor of the command line is good for the HTTP API and the other
// way round.

var errCursor = errors.New("is not a cursor that a previous page gave")

// pageOf is a page of sessions as the API shows it.
func pageOf(infos []latchkey.Info, next latchkey.Cursor) api.SessionPage {
	page := api.SessionPage{Sessions: make([]api.Session, len(infos)), NextCursor: orNull(encodeCursor(next))}
	for i, info := range infos {
		page.Sessions[i] = api.SessionOf(info)
	}
	return page
}

// encodeCursor is the text of a place in the list of sessions; "" at its end.
func encodeCursor(c latchkey.Cursor) string {
	if c.IsZero() {
		return ""
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(c.CreatedAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(b, c.ID[:]...))
}

// decodeCursor reads what encodeCursor writes, and nothing else.
func decodeCursor(text string) (latchkey.Cursor, error) {
	b, err := cursorBytes(text, 24)
	if err != nil {
		return latchkey.Cursor{}, err
	}
	us := binary.BigEndian.Uint64(b)
	id, err := latchkey.ParseID(latchkey.ID(b[8:]).String())
	if err != nil || us == 0 || us > endOfTime {
		return latchkey.Cursor{}, errCursor
	}
	return latchkey.Cursor{CreatedAt: time.UnixMicro(int64(us)).UTC(), ID: id}, nil
}

// endOfTime is the end of the year 9999 in Unix microseconds.
const endOfTime = 253402300799_999999

// encodeSeq is the text of a place in the audit trail; "" at its end.
func encodeSeq(seq uint64) string {
	if seq == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, seq))
}

// decodeSeq reads what encodeSeq writes, and nothing else.
func decodeSeq(text string) (uint64, error) {
	b, err := cursorBytes(text, 8)
	if err != nil {
		return 0, err
	}
	seq := binary.BigEndian.Uint64(b)
	if seq == 0 || seq > 1<<63-1 { // stores count in int64
		return 0, errCursor
	}
	return seq, nil
}

// cursorBytes decodes exactly n bytes. The decoder skips line ends, so the text's length counts too.
func cursorBytes(text string, n int) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != n || len(text) != base64.RawURLEncoding.EncodedLen(n) {
		return nil, errCursor
	}
	return b, nil
}

// orNull is a text in JSON; null when it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
