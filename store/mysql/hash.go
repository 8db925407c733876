package mysql

import (
	"crypto/sha256"
	"encoding/binary"
)

// Kinds of hashes. They keep a subject from looking like a SID.
const (
	kindSubject  = 's' // a subject under every provider
	kindIdentity = 'i' // provider and subject
	kindSID      = 'd' // provider and SID
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

func subjectKey(subject string) int64 { return keyOf(digest(kindSubject, "", subject)) }

func sidKey(provider, sid string) int64 { return keyOf(digest(kindSID, provider, sid)) }

// whoKey is 0 for anonymous sessions only.
func whoKey(provider, subject string) int64 {
	if subject == "" {
		return 0
	}
	if k := keyOf(digest(kindIdentity, provider, subject)); k != 0 {
		return k
	}
	return 1
}

func keyOf(sum [sha256.Size]byte) int64 { return int64(binary.BigEndian.Uint64(sum[:])) }

// markKey names a revocation mark by 16 bytes, which nobody makes collide.
func markKey(kind byte, provider, name string) (key [16]byte) {
	sum := digest(kind, provider, name)
	copy(key[:], sum[:])
	return key
}

// stripes is how many rows latchkey_lock has.
const stripes = 1024

// stripe is the row at which those who deal with a key wait for each other.
func stripe(key int64) int64 { return int64(uint64(key) % stripes) }
