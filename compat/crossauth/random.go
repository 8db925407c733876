package crossauth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// Prefixes of the values in the key table, by purpose.
const (
	PrefixSession           = "s:"
	PrefixPasswordReset     = "p:"
	PrefixEmailVerification = "e:"
	PrefixAPIKey            = "api:"
	PrefixAuthorizationCode = "authz:"
	PrefixAccessToken       = "access:"
	PrefixRefreshToken      = "refresh:"
	PrefixMFAToken          = "omfa:"
	PrefixDeviceCode        = "dc:"
	PrefixUserCode          = "uc:"
)

// Lengths in bytes, before base64.
const (
	SessionIDLength = 16
	CSRFLength      = 16
	SaltLength      = 16 // PBKDF2_SALTLENGTH
)

// maxRandom bounds what one call draws.
const maxRandom = 1 << 16

func draw(random io.Reader, n int) ([]byte, error) {
	if n < 0 || n > maxRandom {
		return nil, fmt.Errorf("crossauth: %d random bytes; ask for 0 to %d", n, maxRandom)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("crossauth: randomness: %w", err)
	}
	return b, nil
}

// RandomValue returns n random bytes in URL-safe base64 without padding: 22
// characters for 16 bytes. Give it crypto/rand.Reader.
func RandomValue(random io.Reader, n int) (string, error) {
	b, err := draw(random, n)
	return py.RawURL.EncodeToString(b), err
}

const base32 = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// RandomBase32 returns n random characters of an alphabet without 0, 1, I and O,
// with a dash between groups of dashEvery characters when that is positive.
func RandomBase32(random io.Reader, n, dashEvery int) (string, error) {
	b, err := draw(random, n)
	var s strings.Builder
	for i, c := range b {
		if dashEvery > 0 && i > 0 && i%dashEvery == 0 {
			s.WriteByte('-')
		}
		s.WriteByte(base32[c%32])
	}
	return s.String(), err
}

// UUID returns 16 random bytes as 32 hexadecimal digits: no UUID of RFC 9562.
func UUID(random io.Reader) (string, error) {
	b, err := draw(random, 16)
	return hex.EncodeToString(b), err
}

// Hash returns SHA-256 of text in URL-safe base64 without padding, 43 characters. It
// is for random values, not for passwords.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return py.RawURL.EncodeToString(sum[:])
}

// HashSessionID returns what the key table holds for a session identifier.
func HashSessionID(id string) string { return PrefixSession + Hash(id) }
