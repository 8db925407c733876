package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"io"
)

// PurposeSealed is the purpose of sealed session tokens, version 2 of the token.
const PurposeSealed Purpose = "latchkey/token/v2"

// sealer seals and opens under one derived key.
type sealer struct {
	purpose Purpose
	open    cipher.AEAD // takes the nonce apart
	seal    cipher.AEAD // draws the nonce itself, inside the cryptographic module
}

// Seal appends to dst nonce(12) | AES-256-GCM(plaintext, aad), under the key id
// derived for purpose. The nonce comes from random, or from the system's
// generator when random is nil or rand.Reader; pass anything else in tests only.
// ok is false when the key is unknown or retired, purpose is empty, or there is no
// randomness.
//
// Nonces are random, which limits one key and purpose to 2^32 seals (NIST SP
// 800-38D, section 8.3): rotate the key before.
func (r *Ring) Seal(id ID, purpose Purpose, dst, plaintext, aad []byte, random io.Reader) (sealed []byte, ok bool) {
	s := r.sealer(id, purpose)
	if s == nil {
		return dst, false
	}
	if random == nil || random == rand.Reader {
		return s.seal.Seal(dst, nil, plaintext, aad), true
	}
	var nonce [nonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return dst, false
	}
	return s.open.Seal(append(dst, nonce[:]...), nonce[:], plaintext, aad), true
}

// Open is the inverse of [Ring.Seal], and appends the plaintext to dst; dst may be
// sealed[12:12], to open in place. What was changed, sealed under another key or
// purpose or with another aad, or is too short, is not ok; in that case the bytes
// behind dst are zeros. It allocates nothing where dst has room, once a key and
// purpose are in use.
func (r *Ring) Open(id ID, purpose Purpose, dst, sealed, aad []byte) (plaintext []byte, ok bool) {
	s := r.sealer(id, purpose)
	if s == nil || len(sealed) < SealOverhead {
		return nil, false
	}
	out, err := s.open.Open(dst, sealed[:nonceSize], sealed[nonceSize:], aad)
	return out, err == nil
}

// sealer returns what seals under the key id derived for purpose; nil when there
// is no such key.
func (r *Ring) sealer(id ID, purpose Purpose) *sealer {
	snap := r.snap.Load()
	if snap == nil || purpose == "" || snap.secrets[id] == nil {
		return nil
	}
	s := snap.secrets[id]
	if list := s.sealers.Load(); list != nil {
		for _, x := range *list {
			if x.purpose == purpose {
				return x
			}
		}
	}
	return s.addSealer(purpose)
}

// addSealer derives the key for purpose and keeps it for later calls, like addPurpose.
func (s *secret) addSealer(purpose Purpose) *sealer {
	key, ok := s.derive(string(purpose))
	if !ok {
		return nil
	}
	defer clear(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil
	}
	x := &sealer{purpose: purpose}
	if x.open, err = cipher.NewGCM(block); err != nil {
		return nil
	}
	if x.seal, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil
	}
	return keep(&s.sealers, x, func(x *sealer) Purpose { return x.purpose })
}
