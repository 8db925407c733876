package latchkey

import (
	"crypto/sha256"
	"encoding/base64"

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
	// TokenLength is the length of every token, in characters.
	TokenLength = len(tokenPrefix) + tokenRaw/3*4
)

// token is a parsed token. Its text and its secret are never logged.
type token struct {
	key keyring.ID
	raw [tokenRaw]byte
}

func (t *token) id() *ID           { return (*ID)(t.raw[2:18]) }
func (t *token) secret() *[32]byte { return (*[32]byte)(t.raw[18:50]) }
func (t *token) mac() *[16]byte    { return (*[16]byte)(t.raw[50:66]) }

// signed is the part that the MAC covers: version up to and including secret.
func (t *token) signed() []byte { return t.raw[:50] }

// hash is what the store knows of the secret.
func (t *token) hash() [32]byte { return sha256.Sum256(t.raw[18:50]) }

// b64 maps a character of the URL-safe alphabet (RFC 4648 §5) to its six bits, and others to 0xff.
var b64 = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = byte(i)
	}
	return t
}()

// parse reads s strictly and reports whether it has the form of a token. It
// checks no MAC and allocates nothing.
func (t *token) parse(s string) bool {
	if len(s) != TokenLength || s[:len(tokenPrefix)] != tokenPrefix {
		return false
	}
	s = s[len(tokenPrefix):]
	var bad byte
	for i, j := 0, 0; j+2 < tokenRaw; i, j = i+4, j+3 {
		q := s[i : i+4]
		a, b, c, d := b64[q[0]], b64[q[1]], b64[q[2]], b64[q[3]]
		bad |= a | b | c | d
		v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(d)
		o := t.raw[j : j+3 : j+3]
		o[0], o[1], o[2] = byte(v>>16), byte(v>>8), byte(v)
	}
	if bad&0xc0 != 0 || t.raw[0] != tokenVersion {
		return false
	}
	t.key = keyring.ID(t.raw[1])
	return t.key != 0
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
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(t.raw[:])
}

// genuine reports whether the MAC is right under a key that is still accepted.
func (t *token) genuine(keys *keyring.Ring) bool {
	return keys.VerifyMAC(t.key, keyring.PurposeToken, t.signed(), t.raw[50:66])
}
