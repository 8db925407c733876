package keyring

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// ID names a key within a keyring; tokens carry it in one byte. 0 is no key.
type ID uint8

// KeySize is the length of a key in bytes.
const KeySize = 32

// Key is one key of a ring. Its bytes cannot be read back, and every way of
// printing it (fmt, log/slog, encoding/json) shows its ID only. A Key is a value
// that may be copied and shared.
type Key struct {
	// ID is 1 to 255, unique within a ring.
	ID ID
	// Created is when the key was made; for information.
	Created time.Time
	// ActiveFrom is when the key becomes the one new MACs are made with.
	ActiveFrom time.Time
	// Retired is zero while the key is acceptable. A retired key has no bytes.
	Retired time.Time

	secret *secret // nil when retired
}

// secret is the bytes of a key, with what has been derived from them.
type secret struct {
	// A function, because fmt cannot see through one. Where a Key stands in an
	// unexported field fmt does not call its methods but prints what it finds,
	// following even pointers when the verb does not suit them.
	bytes   func() *[KeySize]byte
	macs    atomic.Pointer[[]*macKey]
	sealers atomic.Pointer[[]*sealer]
}

func newSecret(b [KeySize]byte) *secret {
	return &secret{bytes: func() *[KeySize]byte { return &b }}
}

// NewKey returns an acceptable key with the given bytes, created and active at
// the instant activeFrom. Its fields may be changed before it is handed to [New].
func NewKey(id ID, bytes [KeySize]byte, activeFrom time.Time) Key {
	return Key{ID: id, Created: activeFrom, ActiveFrom: activeFrom, secret: newSecret(bytes)}
}

// GenerateKey returns a key like [NewKey] with bytes read from random, or from
// the system's generator when random is nil.
func GenerateKey(id ID, activeFrom time.Time, random io.Reader) (Key, error) {
	var b [KeySize]byte
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Key{}, ioError("", "read random bytes for a key", err)
	}
	return NewKey(id, b, activeFrom), nil
}

func (k Key) acceptable() bool { return k.Retired.IsZero() }

// same reports whether two keys are equal in every field, bytes included.
func (k Key) same(o Key) bool {
	return k.ID == o.ID && k.Created.Equal(o.Created) && k.ActiveFrom.Equal(o.ActiveFrom) &&
		k.Retired.Equal(o.Retired) && (k.secret == nil) == (o.secret == nil) && (k.secret == nil || k.sameBytes(o))
}

// sameBytes reports in constant time whether both keys have bytes, and equal ones.
func (k Key) sameBytes(o Key) bool {
	return k.secret != nil && o.secret != nil &&
		subtle.ConstantTimeCompare(k.secret.bytes()[:], o.secret.bytes()[:]) == 1
}

// normal returns k with its times in UTC and whole microseconds, the precision
// that the file format holds.
func (k Key) normal() Key {
	k.Created, k.ActiveFrom, k.Retired = normalTime(k.Created), normalTime(k.ActiveFrom), normalTime(k.Retired)
	return k
}

func normalTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	// Going through the count drops the monotonic reading too, which would make
	// two readings of one file compare by uptime.
	return time.UnixMicro(t.UnixMicro()).UTC()
}

// checkKeys returns what is wrong with keys as the keys of one ring; where names
// the i-th of them in messages.
func checkKeys(keys []Key, where func(i int) string) (problems []string) {
	var zero [KeySize]byte
	for i, k := range keys {
		switch {
		case k.ID == 0:
			problems = append(problems, where(i)+": the key id must be 1 to 255")
		case k.acceptable() && k.secret == nil:
			problems = append(problems, where(i)+": an acceptable key needs its bytes")
		case !k.acceptable() && k.secret != nil:
			problems = append(problems, where(i)+": a retired key must not have its bytes any more")
		case k.secret != nil && subtle.ConstantTimeCompare(k.secret.bytes()[:], zero[:]) == 1:
			problems = append(problems, where(i)+": the key is all zeros; make a random one")
		}
		for j, other := range keys[:i] {
			if k.ID == other.ID {
				problems = append(problems, where(i)+": the same key id as "+where(j))
			}
			if k.sameBytes(other) {
				problems = append(problems, where(i)+": the same key bytes as "+where(j))
			}
		}
	}
	// Said only of a set without other faults: of a set with some, it may be untrue.
	if len(problems) == 0 && !slices.ContainsFunc(keys, Key.acceptable) {
		problems = append(problems, "there is no acceptable key; make one with `latchkey key generate`")
	}
	return problems
}

// String returns the key's name, such as "key 3".
func (k Key) String() string { return "key " + strconv.Itoa(int(k.ID)) }

// GoString is [Key.String]: %#v shows no more than %v.
func (k Key) GoString() string { return k.String() }

// Format writes [Key.String] for every verb and flag, among them %x and %+v.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is [Key.String], for log/slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON returns [Key.String] as a JSON string. There is no way back: keys
// travel in the file format only.
func (k Key) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, k.String()), nil }

// State is what a key is good for at an instant; the package comment defines
// the four.
type State string

// The states of a key.
const (
	StateActive   State = "active"
	StateNext     State = "next"
	StateAccepted State = "accepted"
	StateRetired  State = "retired"
)

// Info describes a key for listing. It holds no secret.
type Info struct {
	ID         ID
	Created    time.Time
	ActiveFrom time.Time
	Retired    time.Time // zero unless retired
	State      State
}
