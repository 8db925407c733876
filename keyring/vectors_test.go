package keyring_test

import (
	"bytes"
	"crypto/fips140"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

// hexBytes is a byte string that testdata/vectors.json holds in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	*h = v
	return err
}

type vectors struct {
	MAC []struct {
		Name                        string
		ID                          keyring.ID
		Key, Derived, Message, HMAC hexBytes
		Purpose                     keyring.Purpose
		Mac                         hexBytes
	}
	Seal []struct {
		Name                  string
		Secret, ID, Plaintext hexBytes
		DataKey               hexBytes `json:"data_key"`
		WrapNonce             hexBytes `json:"wrap_nonce"`
		DataNonce             hexBytes `json:"data_nonce"`
		Wrap, Data            hexBytes
	}
	Text struct {
		Text string
		MACs map[string]hexBytes
	}
}

// loadVectors reads the known answers that testdata/vectors.py computed with
// another implementation.
func loadVectors(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.MAC) == 0 || len(v.Seal) == 0 || len(v.Text.MACs) == 0 {
		t.Fatal("testdata/vectors.json lacks a section")
	}
	return v
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRing(t testing.TB, keys ...keyring.Key) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// keyOf returns a key whose bytes are all b.
func keyOf(id keyring.ID, b byte, from time.Time) keyring.Key {
	return keyring.NewKey(id, [32]byte(bytes.Repeat([]byte{b}, 32)), from)
}

func TestMACVectors(t *testing.T) {
	for _, v := range loadVectors(t).MAC {
		t.Run(v.Name, func(t *testing.T) {
			r := newRing(t, keyring.NewKey(v.ID, [32]byte(v.Key), epoch))
			if got, ok := r.Derive(v.ID, string(v.Purpose)); !ok || !bytes.Equal(got[:], v.Derived) {
				t.Errorf("Derive = %x, %v; want %x", got, ok, v.Derived)
			}
			// Twice: the second use of a pooled state takes another path in crypto/hmac.
			for range 2 {
				if got, ok := r.MAC(v.ID, v.Purpose, v.Message); !ok || !bytes.Equal(got[:], v.Mac) {
					t.Errorf("MAC = %x, %v; want %x", got, ok, v.Mac)
				}
				if !r.VerifyMAC(v.ID, v.Purpose, v.Message, v.Mac) {
					t.Error("VerifyMAC refuses the right MAC")
				}
				half := len(v.Message) / 2
				if got, ok := r.HMAC(v.ID, v.Purpose, v.Message[:half], nil, v.Message[half:]); !ok || !bytes.Equal(got[:], v.HMAC) {
					t.Errorf("HMAC = %x, %v; want %x", got, ok, v.HMAC)
				}
			}
		})
	}
}

func TestSealVectors(t *testing.T) {
	for _, v := range loadVectors(t).Seal {
		t.Run(v.Name, func(t *testing.T) {
			secret, id, dataKey := [32]byte(v.Secret), [16]byte(v.ID), [32]byte(v.DataKey)
			key, err := keyring.UnwrapDataKey(&secret, id, v.Wrap)
			if err != nil || key != dataKey {
				t.Errorf("UnwrapDataKey = %x, %v; want %x", key, err, dataKey)
			}
			plain, err := keyring.OpenData(&dataKey, id, v.Data)
			if err != nil || plain == nil || !bytes.Equal(plain, v.Plaintext) {
				t.Errorf("OpenData = %x, %v; want %x", plain, err, v.Plaintext)
			}
			if fips140.Enforced() {
				return // which forbids nonces of one's own, so there is nothing to compare
			}
			wrap, err := keyring.WrapDataKey(&secret, id, &dataKey, bytes.NewReader(v.WrapNonce))
			if err != nil || !bytes.Equal(wrap, v.Wrap) {
				t.Errorf("WrapDataKey = %x, %v; want %x", wrap, err, v.Wrap)
			}
			data, err := keyring.SealData(&dataKey, id, v.Plaintext, bytes.NewReader(v.DataNonce))
			if err != nil || !bytes.Equal(data, v.Data) {
				t.Errorf("SealData = %x, %v; want %x", data, err, v.Data)
			}
		})
	}
}

// TestTextVector opens a keyring that another program wrote, as a file and in
// both spellings that a variable may have.
func TestTextVector(t *testing.T) {
	v := loadVectors(t).Text
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(v.Text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYRING_LINES", v.Text)
	t.Setenv("KEYRING_SEMICOLONS", strings.ReplaceAll(v.Text, "\n", "; "))
	for _, source := range []string{path, "env:KEYRING_LINES", "env:KEYRING_SEMICOLONS"} {
		r, err := keyring.Open(source, keyring.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range v.MACs {
			id, _ := strconv.Atoi(name)
			if !r.VerifyMAC(keyring.ID(id), keyring.PurposeToken, []byte("m"), want) {
				t.Errorf("%s: the MAC under key %d differs", source, id)
			}
		}
		if r.Accepts(2) {
			t.Errorf("%s: accepts the retired key", source)
		}
		list := r.Keys(epoch)
		if len(list) != 3 || list[1].State != keyring.StateRetired ||
			!list[1].Retired.Equal(time.Date(2026, 1, 9, 15, 4, 5, 999_999_000, time.UTC)) ||
			!list[2].ActiveFrom.Equal(time.Date(2026, 1, 4, 15, 4, 5, 123_456_000, time.UTC)) {
			t.Errorf("%s: keys are %+v", source, list)
		}
	}
}
