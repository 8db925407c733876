package itsdangerous

import (
	"crypto/hmac"
	"crypto/subtle"
	"hash"
	"sync"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// longest is the length of the longest signature: SHA-512 in base64.
const longest = 86

// key is one derived key with HMAC states ready to use. The states remember the
// hash of the padded key, so a check costs the blocks of the message alone.
type key struct {
	length int // of a signature in base64
	states sync.Pool
}

type state struct {
	mac  hash.Hash
	sum  []byte
	text [longest]byte
	in   []byte
}

// keepInput is the largest input buffer that goes back to the pool.
const keepInput = 8 << 10

func newKey(s Signer, secret, salt string) *key {
	derived, newHash := s.derive(secret, salt), s.Digest.new()
	k := &key{length: py.RawURL.EncodedLen(newHash().Size())}
	k.states.New = func() any {
		return &state{mac: hmac.New(newHash, derived), sum: make([]byte, 0, longest)}
	}
	return k
}

// sign appends the signature of message in base64 to dst.
func (k *key) sign(dst, message []byte) []byte {
	st := k.states.Get().(*state)
	st.mac.Reset()
	st.mac.Write(message)
	dst = py.RawURL.AppendEncode(dst, st.mac.Sum(st.sum[:0]))
	k.states.Put(st)
	return dst
}

// verify reports whether signature is the one of message. The texts are compared,
// not the bytes they decode to: that is what makes the spelling unique.
func (k *key) verify(message, signature string) bool {
	if len(signature) != k.length {
		return false
	}
	st := k.states.Get().(*state)
	st.in = append(st.in[:0], message...)
	st.mac.Reset()
	st.mac.Write(st.in)
	py.RawURL.Encode(st.text[:k.length], st.mac.Sum(st.sum[:0]))
	st.in = append(st.in[:0], signature...)
	ok := subtle.ConstantTimeCompare(st.in, st.text[:k.length]) == 1
	if cap(st.in) > keepInput {
		st.in = nil
	}
	k.states.Put(st)
	return ok
}

// keys are those of a serializer in the order they are tried: the signer's, newest
// secret first, then the fallbacks'. The first one signs.
type keys []*key

func newKeys(c *Config) (ks keys) {
	for _, s := range append([]Signer{c.Signer}, c.Fallbacks...) {
		for i := len(c.Secrets) - 1; i >= 0; i-- {
			ks = append(ks, newKey(s, c.Secrets[i], c.Salt))
		}
	}
	return ks
}

func (ks keys) verify(message, signature string) bool {
	for _, k := range ks {
		if k.verify(message, signature) {
			return true
		}
	}
	return false
}
