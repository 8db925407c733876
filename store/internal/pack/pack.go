// Package pack holds what the stores write alike: the hashes that their indexes and
// revocation marks go by, and the packed form of an audit event. docs/formats.md
// gives them byte by byte.
package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/latchkey-go/latchkey/audit"
)

// Kinds of hashes. They keep a subject from looking like a SID.
const (
	Subject  = 's' // a subject under every provider
	Identity = 'i' // provider and subject
	SID      = 'd' // provider and SID
)

// digest hashes one or two names. The first one's length comes before it, so
// that no two pairs read the same.
func digest(kind byte, provider, name string) [sha256.Size]byte {
	var space [256]byte
	b := append(space[:0], kind)
	b = binary.AppendUvarint(b, uint64(len(provider)))
	b = append(b, provider...)
	b = append(b, name...)
	return sha256.Sum256(b)
}

// Keys of the indexes. They are made of 8 bytes only: whoever wants to can make
// two names collide, so the real ones are always compared afterwards.

// SubjectKey is the key of a subject under every provider.
func SubjectKey(subject string) int64 { return keyOf(digest(Subject, "", subject)) }

// SIDKey is the key of a provider's own session.
func SIDKey(provider, sid string) int64 { return keyOf(digest(SID, provider, sid)) }

// WhoKey is the key of an identity; it is 0 for anonymous sessions only.
func WhoKey(provider, subject string) int64 {
	if subject == "" {
		return 0
	}
	if k := keyOf(digest(Identity, provider, subject)); k != 0 {
		return k
	}
	return 1
}

func keyOf(sum [sha256.Size]byte) int64 { return int64(binary.BigEndian.Uint64(sum[:])) }

// MarkKey names a revocation mark by 16 bytes, which nobody makes collide.
func MarkKey(kind byte, provider, name string) [16]byte {
	sum := digest(kind, provider, name)
	return [16]byte(sum[:16])
}

// eventFormat is the first byte of a packed event. A reader refuses others.
const eventFormat = 1

// ErrEvent answers bytes that are no packed event, or one of a newer format.
var ErrEvent = errors.New("packed audit event is damaged or of a newer format")

// AppendEvent packs what stores have no column for: everything but position, time
// and session. more are further texts of the store's own.
func AppendEvent(dst []byte, e *audit.Event, more ...string) []byte {
	dst = append(dst, eventFormat)
	for _, s := range [...]string{string(e.Action), e.Actor, e.Provider, e.Subject, e.IP, string(e.Outcome), e.Reason} {
		dst = appendText(dst, s)
	}
	for _, s := range more {
		dst = appendText(dst, s)
	}
	return binary.AppendUvarint(dst, uint64(max(e.Count, 0)))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// ReadEvent is the reverse of AppendEvent, with as many further texts. It keeps
// nothing of b, and checks every length against what is left.
func ReadEvent(b []byte, e *audit.Event, more ...*string) error {
	if len(b) == 0 || b[0] != eventFormat {
		return ErrEvent
	}
	b = b[1:]
	var action, outcome string
	for _, to := range append([]*string{&action, &e.Actor, &e.Provider, &e.Subject, &e.IP, &outcome, &e.Reason}, more...) {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return ErrEvent
		}
		*to = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	count, size := binary.Uvarint(b)
	if size <= 0 || size != len(b) {
		return ErrEvent
	}
	e.Action, e.Outcome, e.Count = audit.Action(action), audit.Outcome(outcome), int(count)
	return nil
}
