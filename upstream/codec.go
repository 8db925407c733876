package upstream

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"
)

// userFormat is the first byte of a packed user. A reader refuses others, so that
// processes of two versions may share a Redis.
const userFormat = 1

// errPacked is what damaged bytes are refused with.
var errPacked = errors.New("upstream: a packed user is damaged or of another format")

// maxPacked bounds a packed user: format, flag, four times, five strings.
const maxPacked = 2 + 4*8 + 4*(2+MaxText) + 3 + MaxClaims

// appendUser packs a user: format byte, a byte that is 1 when the address is
// verified, the times CreatedAt, UpdatedAt, ExpiresAt and CheckedAt as big-endian
// Unix microseconds (0 is none), and ID, Email, Name, Tier and Claims, each after
// its length as a varint. Stale is not packed: it is a matter of the moment.
func appendUser(dst []byte, u *User) []byte {
	verified := byte(0)
	if u.EmailVerified {
		verified = 1
	}
	dst = append(dst, userFormat, verified)
	for _, t := range [...]time.Time{u.CreatedAt, u.UpdatedAt, u.ExpiresAt, u.CheckedAt} {
		us := int64(0)
		if !t.IsZero() {
			us = t.UnixMicro()
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(us))
	}
	for _, s := range [...]string{u.ID, u.Email, u.Name, u.Tier, u.Claims} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

// decodeUser unpacks a user whose strings share b's memory: b must never be written
// again. It checks every length and refuses trailing bytes.
func decodeUser(b []byte, u *User) error {
	if len(b) < 2+4*8 || len(b) > maxPacked || b[0] != userFormat || b[1] > 1 {
		return errPacked
	}
	u.EmailVerified, u.Stale = b[1] == 1, false
	for i, t := range [...]*time.Time{&u.CreatedAt, &u.UpdatedAt, &u.ExpiresAt, &u.CheckedAt} {
		*t = fromMicro(int64(binary.BigEndian.Uint64(b[2+8*i:])))
	}
	b = b[2+4*8:]
	for _, s := range [...]*string{&u.ID, &u.Email, &u.Name, &u.Tier, &u.Claims} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return errPacked
		}
		// The alternative is five copies per lookup, which cost more than the lookup.
		*s = unsafe.String(unsafe.SliceData(b[size:]), int(n))
		b = b[size+int(n):]
	}
	if len(b) != 0 || u.ID == "" {
		return errPacked
	}
	return nil
}

// fromMicro is the time of a count of microseconds since 1970, where 0 stands for none.
func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
