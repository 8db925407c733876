package latchkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"
)

// ID is the public handle of a session: a UUIDv7 (RFC 9562 §5.7). It is safe to
// log, to show and to put into a URL; knowing it gives no access.
//
// Its 12 rand_a bits are the placement of the session's identity, so that a
// sharded store can keep one identity's sessions together. IDs promise no order.
type ID [16]byte

// String returns the lower-case text form, 36 characters.
func (id ID) String() string {
	var b [36]byte
	id.encode(&b)
	return string(b[:])
}

// IsZero reports whether id is the zero ID, which no session has.
func (id ID) IsZero() bool { return id == ID{} }

// Placement is the 12-bit hash of the identity that the session was made for.
func (id ID) Placement() uint16 { return uint16(id[6]&0x0f)<<8 | uint16(id[7]) }

func (id ID) encode(b *[36]byte) {
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
}

// AppendText implements [encoding.TextAppender].
func (id ID) AppendText(b []byte) ([]byte, error) {
	var text [36]byte
	id.encode(&text)
	return append(b, text[:]...), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) {
	var b [36]byte
	id.encode(&b)
	return b[:], nil
}

// UnmarshalText implements [encoding.TextUnmarshaler] with the strictness of [ParseID].
func (id *ID) UnmarshalText(text []byte) error {
	v, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// ParseID reads the text form. It accepts only what String writes: lower case,
// dashes in place, version 7 and the RFC 9562 variant.
func ParseID(s string) (ID, error) {
	var id ID
	bad := func() (ID, error) {
		return ID{}, NewError(CodeInvalidRequest, "a session ID is a lower-case UUIDv7, such as 01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f", nil)
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return bad()
	}
	compact := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	for i := range len(compact) {
		if c := compact[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return bad()
		}
	}
	if _, err := hex.Decode(id[:], []byte(compact)); err != nil || id[6]>>4 != 7 || id[8]>>6 != 2 {
		return bad()
	}
	return id, nil
}

// newID draws an ID for the instant and placement given; the other 62 bits are random.
func newID(now time.Time, placement uint16, random io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(random, id[8:]); err != nil {
		return ID{}, NewError(CodeInternal, "no randomness from the system", err)
	}
	ms := uint64(max(now.UnixMilli(), 0))
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70 | byte(placement>>8)&0x0f
	id[7] = byte(placement)
	id[8] = 0x80 | id[8]&0x3f
	return id, nil
}

// placementOf hashes an identity into 12 bits under the store's placement key.
// Anonymous sessions have no identity and are spread at random.
func placementOf(key *[32]byte, identity Identity, random io.Reader) (uint16, error) {
	if identity.IsZero() {
		var b [2]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, NewError(CodeInternal, "no randomness from the system", err)
		}
		return (uint16(b[0])<<8 | uint16(b[1])) & 0x0fff, nil
	}
	mac := hmac.New(sha256.New, key[:])
	io.WriteString(mac, identity.Provider)
	mac.Write([]byte{0})
	io.WriteString(mac, identity.Subject)
	sum := mac.Sum(nil)
	return uint16(sum[0])<<4 | uint16(sum[1])>>4, nil
}

// Identity is whom a session is for. A provider ID stands for one exact issuer,
// so the same subject from two providers is two identities; limits, lists,
// revocation and self-service go by the pair.
type Identity struct {
	Provider string
	Subject  string
}

// IsZero reports whether there is no identity: the session is anonymous.
func (i Identity) IsZero() bool { return i.Subject == "" }
