package keyring_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

func TestSealOpen(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	one, two := keyring.NewKey(1, [32]byte{1}, now), keyring.NewKey(2, [32]byte{2}, now)
	ring, err := keyring.New(one, two)
	if err != nil {
		t.Fatal(err)
	}
	plain, aad := []byte("who it is for"), []byte{2, 1}
	sealed, ok := ring.Seal(1, keyring.PurposeSealed, []byte("head"), plain, aad, nil)
	if !ok || string(sealed[:4]) != "head" || len(sealed) != 4+keyring.SealOverhead+len(plain) {
		t.Fatalf("sealed %d bytes, %v", len(sealed), ok)
	}
	sealed = sealed[4:]

	// The formula, by hand.
	key, _ := hkdf.Key(sha256.New, append([]byte{1}, make([]byte, 31)...), nil, "latchkey/token/v2", 32)
	block, _ := aes.NewCipher(key)
	gcm, _ := cipher.NewGCM(block)
	if got, err := gcm.Open(nil, sealed[:12], sealed[12:], aad); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("by hand: %q, %v", got, err)
	}

	if got, ok := ring.Open(1, keyring.PurposeSealed, nil, sealed, aad); !ok || !bytes.Equal(got, plain) {
		t.Fatalf("opened %q, %v", got, ok)
	}
	for name, open := range map[string]func() ([]byte, bool){
		"other-key":     func() ([]byte, bool) { return ring.Open(2, keyring.PurposeSealed, nil, sealed, aad) },
		"unknown-key":   func() ([]byte, bool) { return ring.Open(3, keyring.PurposeSealed, nil, sealed, aad) },
		"other-purpose": func() ([]byte, bool) { return ring.Open(1, "another", nil, sealed, aad) },
		"no-purpose":    func() ([]byte, bool) { return ring.Open(1, "", nil, sealed, aad) },
		"other-aad":     func() ([]byte, bool) { return ring.Open(1, keyring.PurposeSealed, nil, sealed, []byte{2, 2}) },
		"short":         func() ([]byte, bool) { return ring.Open(1, keyring.PurposeSealed, nil, sealed[:27], aad) },
		"empty":         func() ([]byte, bool) { return ring.Open(1, keyring.PurposeSealed, nil, nil, aad) },
		"cut":           func() ([]byte, bool) { return ring.Open(1, keyring.PurposeSealed, nil, sealed[:len(sealed)-1], aad) },
		"zero-ring":     func() ([]byte, bool) { return new(keyring.Ring).Open(1, keyring.PurposeSealed, nil, sealed, aad) },
	} {
		if got, ok := open(); ok || len(got) != 0 {
			t.Errorf("%s: opened %q", name, got)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x10
		if _, ok := ring.Open(1, keyring.PurposeSealed, nil, changed, aad); ok {
			t.Errorf("byte %d changed: opened", i)
		}
	}
	if _, ok := ring.Seal(3, keyring.PurposeSealed, nil, plain, aad, nil); ok {
		t.Error("sealed under an unknown key")
	}
	other, ok := ring.Seal(1, keyring.PurposeSealed, nil, plain, aad, nil)
	if !ok || bytes.Equal(other[:12], sealed[:12]) {
		t.Error("two seals under one nonce")
	}
}

func TestNoAllocationsOpen(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	ring, err := keyring.New(keyring.NewKey(1, [32]byte{1}, time.Unix(1_700_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	aad := []byte{2, 1}
	sealed, _ := ring.Seal(1, keyring.PurposeSealed, nil, []byte("who it is for"), aad, nil)
	work := make([]byte, len(sealed))
	if n := testing.AllocsPerRun(100, func() {
		copy(work, sealed)
		if _, ok := ring.Open(1, keyring.PurposeSealed, work[12:12], work, aad); !ok {
			t.Error("in place: refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
