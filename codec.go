package latchkey

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// recordFormat is the first byte of a packed record. A reader refuses others,
// so that an older program never misreads a newer row.
const recordFormat = 1

const (
	flagRotation   = 1 << iota // the rotation fields follow
	flagSuperseded             // the hash of the token before the previous one follows
	flagStateless              // the token tells of the session itself
)

// AppendRecord packs the part of a record that changes only as a whole, for
// stores that keep it in one column, and appends it to dst. Left out is what
// stores hold beside it because it changes or is looked up alone: ID, LastSeenAt,
// Generation, Version, RevokedAt, RevokedBy and RevokedReason. docs/formats.md
// gives the layout byte by byte.
func AppendRecord(dst []byte, r *Record) []byte {
	var flags byte
	rotating := r.PreviousHash != [32]byte{} || len(r.PreviousWrap) > 0
	if rotating {
		flags |= flagRotation
	}
	if r.SupersededHash != [32]byte{} {
		flags |= flagSuperseded
	}
	if r.Stateless {
		flags |= flagStateless
	}
	dst = append(dst, recordFormat, flags)
	dst = append(dst, r.SecretHash[:]...)
	dst = append(dst, r.PatchID[:]...)
	for _, t := range [...]time.Time{r.CreatedAt, r.ExpiresAt, r.AuthTime, r.RotatedAt} {
		dst = appendTime(dst, t)
	}
	dst = binary.AppendUvarint(dst, uint64(max(r.Idle, 0)/time.Microsecond))
	dst = binary.AppendUvarint(dst, uint64(max(r.Lifetime, 0)/time.Microsecond))
	for _, s := range [...]string{r.Provider, r.Subject, r.Email, r.Name, r.Assurance, r.SID, r.IP, r.UserAgent} {
		dst = appendBytes(dst, s)
	}
	for _, list := range [...][]string{r.Roles, r.Methods} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, s := range list {
			dst = appendBytes(dst, s)
		}
	}
	dst = appendBytes(dst, r.Wrap)
	dst = appendBytes(dst, r.Data)
	if rotating {
		dst = append(dst, r.PreviousHash[:]...)
		dst = append(dst, r.RotateNonce[:]...)
		dst = append(dst, byte(r.RotateKey))
		dst = appendTime(dst, r.GraceEnd)
		dst = appendBytes(dst, r.PreviousWrap)
	}
	if flags&flagSuperseded != 0 {
		dst = append(dst, r.SupersededHash[:]...)
	}
	return dst
}

// errRecord is what DecodeRecord answers to bytes that are no record.
var errRecord = errors.New("packed session record is damaged or of a newer format")

// DecodeRecord unpacks what AppendRecord packed into r, and leaves the fields
// that AppendRecord leaves out as they are. It keeps nothing of b, checks every
// length against what is left, and refuses trailing bytes. The record's texts,
// Wrap and Data share one block of memory, so none of them may be written to.
func DecodeRecord(b []byte, r *Record) error {
	d := decoder{b: bytes.Clone(b)}
	format, flags := d.byte(), d.byte()
	if d.failed || format != recordFormat || flags&^(flagRotation|flagSuperseded|flagStateless) != 0 {
		return errRecord
	}
	r.Stateless = flags&flagStateless != 0
	copy(r.SecretHash[:], d.take(32))
	copy(r.PatchID[:], d.take(16))
	for _, t := range [...]*time.Time{&r.CreatedAt, &r.ExpiresAt, &r.AuthTime, &r.RotatedAt} {
		*t = d.time()
	}
	r.Idle, r.Lifetime = d.duration(), d.duration()
	for _, s := range [...]*string{&r.Provider, &r.Subject, &r.Email, &r.Name, &r.Assurance, &r.SID, &r.IP, &r.UserAgent} {
		*s = alias(d.bytes())
	}
	r.Roles, r.Methods = d.list(), d.list()
	r.Wrap, r.Data = d.bytes(), d.bytes()
	r.PreviousHash, r.RotateNonce, r.RotateKey, r.GraceEnd, r.PreviousWrap = [32]byte{}, [16]byte{}, 0, time.Time{}, nil
	if flags&flagRotation != 0 {
		copy(r.PreviousHash[:], d.take(32))
		copy(r.RotateNonce[:], d.take(16))
		r.RotateKey = keyring.ID(d.byte())
		r.GraceEnd = d.time()
		r.PreviousWrap = d.bytes()
	}
	r.SupersededHash = [32]byte{}
	if flags&flagSuperseded != 0 {
		copy(r.SupersededHash[:], d.take(32))
	}
	if d.failed || len(d.b) != 0 {
		return errRecord
	}
	return nil
}

func appendTime(dst []byte, t time.Time) []byte {
	var us int64
	if !t.IsZero() {
		us = t.UnixMicro()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(us))
}

func appendBytes[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// decoder reads a packed record. After a failure it yields zeros, and failed stays set.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if d.failed || n < 0 || n > len(d.b) {
		d.failed = true
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() time.Time {
	b := d.take(8)
	if b == nil {
		return time.Time{}
	}
	return fromMicro(int64(binary.BigEndian.Uint64(b)))
}

// fromMicro is the time of a count of microseconds since 1970, where 0 stands for none.
func fromMicro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func (d *decoder) duration() time.Duration {
	us := d.uvarint()
	if us > uint64(1<<63-1)/uint64(time.Microsecond) {
		d.failed = true
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed = true
		return nil
	}
	if n == 0 {
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) list() []string {
	n := d.uvarint()
	if n > uint64(len(d.b)) { // each string takes a byte at least
		d.failed = true
		return nil
	}
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for range n {
		out = append(out, alias(d.bytes()))
	}
	return out
}
