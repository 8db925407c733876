package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Sizes of what is sealed, in bytes.
const (
	SecretSize    = 32 // a session's secret
	DataKeySize   = 32 // a session's data key
	SessionIDSize = 16 // a session ID, raw (not its text)

	nonceSize = 12
	tagSize   = 16

	// SealOverhead is how much longer sealed data is than what it holds.
	SealOverhead = nonceSize + tagSize
	// WrapSize is the length of a wrapped data key.
	WrapSize = DataKeySize + SealOverhead
)

const (
	infoData  = "latchkey/data/v1"
	labelWrap = "latchkey/wrap/v1"
	labelData = "latchkey/data/v1"
)

// Errors of the sealing functions. An unwrap or open that fails says no more
// than that: the wrong secret, a foreign ID and changed bytes are not told
// apart, because an AEAD cannot.
var (
	ErrUnwrap = errors.New("keyring: the data key cannot be unwrapped: wrong secret or session ID, or changed bytes")
	ErrOpen   = errors.New("keyring: the data cannot be opened: wrong data key or session ID, or changed bytes")
)

// errArgument is for nil pointers, a mistake of the program.
var errArgument = errors.New("keyring: a secret or data key is nil")

// WrapDataKey seals dataKey so that only whoever holds secret can open it, for
// the session with the raw ID id. The result has [WrapSize] bytes; the package
// comment gives the formula. The nonce comes from random, or from the system's
// generator (inside the cryptographic module, as FIPS 140 wants it) when random
// is nil or rand.Reader; pass anything else in tests only.
func WrapDataKey(secret *[SecretSize]byte, id [SessionIDSize]byte, dataKey *[DataKeySize]byte, random io.Reader) ([]byte, error) {
	if secret == nil || dataKey == nil {
		return nil, errArgument
	}
	key, err := wrappingKey(secret, id)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return seal(key, labelWrap, id, dataKey[:], random)
}

// UnwrapDataKey is the inverse of [WrapDataKey]. A wrap of another length than
// [WrapSize], made with another secret or for another ID, or changed, is
// [ErrUnwrap].
func UnwrapDataKey(secret *[SecretSize]byte, id [SessionIDSize]byte, wrap []byte) (dataKey [DataKeySize]byte, err error) {
	if secret == nil {
		return dataKey, errArgument
	}
	if len(wrap) != WrapSize {
		return dataKey, fmt.Errorf("%w (%d bytes, want %d)", ErrUnwrap, len(wrap), WrapSize)
	}
	key, err := wrappingKey(secret, id)
	if err != nil {
		return dataKey, err
	}
	defer clear(key)
	out, err := open(key, labelWrap, id, wrap)
	if err != nil || len(out) != DataKeySize {
		return dataKey, ErrUnwrap
	}
	copy(dataKey[:], out)
	clear(out)
	return dataKey, nil
}

// SealData encrypts plaintext (the JSON of a session's data) under its data key,
// bound to the session with the raw ID id. The result is [SealOverhead] bytes
// longer. For random see [WrapDataKey]. Nonces are random, which limits one data
// key to 2^32 seals (NIST SP 800-38D, section 8.3): far beyond any session.
func SealData(dataKey *[DataKeySize]byte, id [SessionIDSize]byte, plaintext []byte, random io.Reader) ([]byte, error) {
	if dataKey == nil {
		return nil, errArgument
	}
	return seal(dataKey[:], labelData, id, plaintext, random)
}

// OpenData is the inverse of [SealData]. Data that is too short, sealed under
// another key or for another ID, or changed, is [ErrOpen].
func OpenData(dataKey *[DataKeySize]byte, id [SessionIDSize]byte, sealed []byte) ([]byte, error) {
	if dataKey == nil {
		return nil, errArgument
	}
	if len(sealed) < SealOverhead {
		return nil, fmt.Errorf("%w (%d bytes, at least %d)", ErrOpen, len(sealed), SealOverhead)
	}
	out, err := open(dataKey[:], labelData, id, sealed)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// wrappingKey derives the key that wraps a session's data key.
func wrappingKey(secret *[SecretSize]byte, id [SessionIDSize]byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret[:], id[:], infoData, 32)
	if err != nil {
		return nil, fmt.Errorf("keyring: derive the wrapping key: %w", err)
	}
	return key, nil
}

func associatedData(label string, id [SessionIDSize]byte) [32]byte {
	var aad [32]byte // both labels have 16 bytes
	copy(aad[copy(aad[:], label):], id[:])
	return aad
}

func seal(key []byte, label string, id [SessionIDSize]byte, plaintext []byte, random io.Reader) ([]byte, error) {
	aad := associatedData(label, id)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("keyring: seal: %w", err)
	}
	out := make([]byte, 0, len(plaintext)+SealOverhead)
	if random == nil || random == rand.Reader {
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("keyring: seal: %w", err)
		}
		return gcm.Seal(out, nil, plaintext, aad[:]), nil
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keyring: seal: %w", err)
	}
	out = out[:nonceSize]
	if _, err := io.ReadFull(random, out); err != nil {
		return nil, fmt.Errorf("keyring: seal: read random bytes: %w", err)
	}
	return gcm.Seal(out, out[:nonceSize], plaintext, aad[:]), nil
}

func open(key []byte, label string, id [SessionIDSize]byte, sealed []byte) ([]byte, error) {
	aad := associatedData(label, id)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	// A result that is not nil, also for an empty plaintext.
	return gcm.Open(make([]byte, 0, len(sealed)-SealOverhead), nil, sealed, aad[:])
}
