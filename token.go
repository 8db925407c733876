package latchkey

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"github.com/latchkey-go/latchkey/keyring"
)

// A token is what the client holds:
//
//	"lk_" base64url( version=1 | key id(1) | session ID(16) | secret(32) | mac(16) )
//
// 91 characters. The MAC lets a node refuse a made-up token without asking the
// store; the secret, of which only the SHA-256 is stored, is what proves
// possession. 66 bytes are 88 characters exactly, with no spare bits and no
// padding, so a token has one spelling.
const (
	tokenPrefix  = "lk_"
	tokenVersion = 1
	tokenRaw     = 1 + 1 + 16 + 32 + 16
	// TokenLength is the length of the token of a stored session, in characters.
	TokenLength = len(tokenPrefix) + tokenRaw/3*4
)

// token is a parsed token. Its text and its secret are never logged.
type token struct {
	key keyring.ID
	raw [tokenRaw]byte // of version 2, up to the secret, once it was opened

	// Of a token of version 2: its text, and what was sealed in it.
	sealed       string
	store        [8]byte
	generation   uint64
	issued, idle int64 // microseconds

	bearer bool // it came in an Authorization header: no cookie is to answer it
}

// isSealed reports whether the token has the form of version 2.
func (t *token) isSealed() bool { return t.sealed != "" }

func (t *token) id() *ID           { return (*ID)(t.raw[2:18]) }
func (t *token) secret() *[32]byte { return (*[32]byte)(t.raw[18:50]) }
func (t *token) mac() *[16]byte    { return (*[16]byte)(t.raw[50:66]) }

// signed is the part that the MAC covers: version up to and including secret.
func (t *token) signed() []byte { return t.raw[:50] }

// hash is what the store knows of the secret.
func (t *token) hash() [32]byte { return sha256.Sum256(t.raw[18:50]) }

// sextets maps a character of the URL-safe alphabet (RFC 4648 §5) to its six bits,
// shifted to where the first to fourth character of a group of four has them.
// Others are mapped to the sign bit.
var sextets = func() (t [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for place := range t {
		for c := range t[place] {
			t[place][c] = 1 << 31
		}
		for value, c := range []byte(alphabet) {
			t[place][c] = uint32(value) << (18 - 6*place)
		}
	}
	return t
}()

// parse reads s strictly and reports whether it has the form of a token. It
// checks no MAC and allocates nothing.
func (t *token) parse(s string) bool {
	if isSealedToken(s) {
		t.sealed = s
		return true
	}
	if len(s) != TokenLength || s[:len(tokenPrefix)] != tokenPrefix {
		return false
	}
	s = s[len(tokenPrefix):]
	var raw [tokenRaw + 2]byte // the last group is written with two bytes to spare
	var bad uint32
	for i := range tokenRaw / 6 {
		q := s[8*i : 8*i+8]
		high := sextets[0][q[0]] | sextets[1][q[1]] | sextets[2][q[2]] | sextets[3][q[3]]
		low := sextets[0][q[4]] | sextets[1][q[5]] | sextets[2][q[6]] | sextets[3][q[7]]
		bad |= high | low
		binary.BigEndian.PutUint64(raw[6*i:], uint64(high)<<40|uint64(low)<<16)
	}
	copy(t.raw[:], raw[:])
	if bad>>31 != 0 || t.raw[0] != tokenVersion {
		return false
	}
	t.key = keyring.ID(t.raw[1])
	return t.key != 0
}

// decodeBase64url reads s as parse does, in whatever length: the URL-safe alphabet
// without padding, and in its one spelling.
func decodeBase64url(s string) ([]byte, bool) {
	if len(s)%4 == 1 {
		return nil, false
	}
	size := len(s) * 3 / 4
	buf := make([]byte, size+2) // a group of eight is written with two bytes to spare
	var bad uint32
	rest := buf
	for len(s) >= 8 && len(rest) >= 8 { // the second goes with the first, and spares checks
		high := sextets[0][s[0]] | sextets[1][s[1]] | sextets[2][s[2]] | sextets[3][s[3]]
		low := sextets[0][s[4]] | sextets[1][s[5]] | sextets[2][s[6]] | sextets[3][s[7]]
		bad |= high | low
		binary.BigEndian.PutUint64(rest, uint64(high)<<40|uint64(low)<<16)
		s, rest = s[8:], rest[6:]
	}
	for len(s) > 0 {
		var group uint32
		n := min(len(s), 4)
		for i := range n {
			group |= sextets[i][s[i]]
		}
		bad |= group
		for i := range n - 1 {
			rest[i] = byte(group >> (16 - 8*i))
		}
		rest = rest[n-1:]
		if n < 4 && group<<(8+8*(n-1)) != 0 { // spare bits
			return nil, false
		}
		s = s[n:]
	}
	return buf[:size], bad>>31 == 0
}

// newToken makes the token of a session under the given key.
func newToken(keys *keyring.Ring, key keyring.ID, id ID, secret *[32]byte) (token, bool) {
	t := token{key: key}
	t.raw[0], t.raw[1] = tokenVersion, byte(key)
	copy(t.raw[2:18], id[:])
	copy(t.raw[18:50], secret[:])
	mac, ok := keys.MAC(key, keyring.PurposeToken, t.signed())
	copy(t.raw[50:66], mac[:])
	return t, ok
}

// text returns the token as the client holds it.
func (t *token) text() string {
	if t.isSealed() {
		return t.sealed
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(t.raw[:])
}

// genuine reports whether the MAC is right under a key that is still accepted. A
// token of version 2 was opened to be read at all.
func (t *token) genuine(keys *keyring.Ring) bool {
	if t.isSealed() {
		return t.raw[0] == sealedVersion
	}
	return keys.VerifyMAC(t.key, keyring.PurposeToken, t.signed(), t.raw[50:66])
}
