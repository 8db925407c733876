package postgres

import (
	"crypto/sha256"
	"encoding/binary"
)

// Kinds of revocation marks. They keep a subject from looking like a SID.
const (
	kindSubject  = 's' // a subject under every provider
	kindIdentity = 'i' // provider and subject
	kindSID      = 'd' // provider and SID
)

// markKey names a revocation mark by 16 bytes of a hash. The provider's length
// comes before it, so that no two pairs read the same.
func markKey(kind byte, provider, name string) [16]byte {
	var space [256]byte
	b := append(space[:0], kind)
	b = binary.AppendUvarint(b, uint64(len(provider)))
	b = append(b, provider...)
	b = append(b, name...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}
