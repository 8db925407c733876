package api

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey"
)

// Cursors are opaque to callers: base64url without padding of a fixed number of
// bytes. They are read strictly, so each place in a list has one spelling.

var cursorText = base64.RawURLEncoding.Strict()

const cursorDetail = "is not a next_cursor of this list"

// sessionCursor writes a place among sessions: creation time in Unix
// microseconds, big-endian, then the ID.
func sessionCursor(c latchkey.Cursor) *string {
	if c.IsZero() {
		return nil
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(c.CreatedAt.UnixMicro()))
	text := cursorText.EncodeToString(append(b, c.ID[:]...))
	return &text
}

func parseSessionCursor(s string) (latchkey.Cursor, bool) {
	b, ok := cursorBytes(s, 8+16)
	if !ok {
		return latchkey.Cursor{}, false
	}
	us := int64(binary.BigEndian.Uint64(b))
	var raw latchkey.ID
	copy(raw[:], b[8:])
	id, err := latchkey.ParseID(raw.String())
	// Times out of the range of records would only confuse a store.
	if err != nil || us <= 0 || us > maxMicro {
		return latchkey.Cursor{}, false
	}
	return latchkey.Cursor{CreatedAt: time.UnixMicro(us).UTC(), ID: id}, true
}

// maxMicro is the end of the year 9999.
const maxMicro = 253402300799_999999

// eventCursor writes a place in the trail: the sequence number, big-endian.
func eventCursor(seq uint64) *string {
	if seq == 0 {
		return nil
	}
	text := cursorText.EncodeToString(binary.BigEndian.AppendUint64(nil, seq))
	return &text
}

func parseEventCursor(s string) (uint64, bool) {
	b, ok := cursorBytes(s, 8)
	if !ok {
		return 0, false
	}
	seq := binary.BigEndian.Uint64(b)
	return seq, seq != 0 && seq <= 1<<63-1 // stores count in int64
}

// cursorBytes decodes a cursor of exactly n bytes. The decoder skips line ends,
// so the length of the text is checked too.
func cursorBytes(s string, n int) ([]byte, bool) {
	if len(s) != cursorText.EncodedLen(n) {
		return nil, false
	}
	b, err := cursorText.DecodeString(s)
	return b, err == nil && len(b) == n
}

// parseLimit reads a page's limit: 0 when absent, which stands for the default.
func parseLimit(s string, most int) (int, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= most && strconv.Itoa(n) == s
}
