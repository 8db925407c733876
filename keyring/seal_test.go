package keyring_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey/keyring"
)

// TestSealRoundTrip also re-wraps under a second secret, as renewing does.
func TestSealRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret, renewed, dataKey := drawArray32(t, "secret"), drawArray32(t, "renewed"), drawArray32(t, "data key")
		id := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		plain := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plaintext")

		sealed, err := keyring.SealData(&dataKey, id, plain, nil)
		if err != nil || len(sealed) != len(plain)+keyring.SealOverhead {
			t.Fatalf("SealData gives %d bytes, %v", len(sealed), err)
		}
		for _, s := range [][32]byte{secret, renewed} {
			wrap, err := keyring.WrapDataKey(&s, id, &dataKey, nil)
			if err != nil || len(wrap) != keyring.WrapSize {
				t.Fatalf("WrapDataKey gives %d bytes, %v", len(wrap), err)
			}
			key, err := keyring.UnwrapDataKey(&s, id, wrap)
			if err != nil || key != dataKey {
				t.Fatalf("UnwrapDataKey: %v", err)
			}
			before := bytes.Clone(sealed)
			got, err := keyring.OpenData(&key, id, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("OpenData = %x, %v; want %x", got, err, plain)
			}
			if !bytes.Equal(before, sealed) {
				t.Fatal("OpenData changed its input")
			}
		}
	})
}

// TestSealRefusals: everything but the right secret, ID and bytes is refused.
func TestSealRefusals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret, dataKey := drawArray32(t, "secret"), drawArray32(t, "data key")
		id := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		plain := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "plaintext")
		wrap, err := keyring.WrapDataKey(&secret, id, &dataKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := keyring.SealData(&dataKey, id, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		flip := func(b []byte, label string) []byte {
			b = bytes.Clone(b)
			b[rapid.IntRange(0, len(b)-1).Draw(t, label)] ^= 1 << rapid.IntRange(0, 7).Draw(t, label+" bit")
			return b
		}
		otherSecret, otherKey := [32]byte(flip(secret[:], "secret byte")), [32]byte(flip(dataKey[:], "key byte"))
		otherID := [16]byte(flip(id[:], "id byte"))
		// Sealed as data under the wrapping key's own input: the labels keep them apart.
		asData, err := keyring.SealData(&secret, id, dataKey[:], nil)
		if err != nil {
			t.Fatal(err)
		}

		for name, c := range map[string]struct {
			secret *[32]byte
			id     [16]byte
			wrap   []byte
		}{
			"other_secret": {&otherSecret, id, wrap},
			"foreign_id":   {&secret, otherID, wrap},
			"changed":      {&secret, id, flip(wrap, "wrap byte")},
			"shorter":      {&secret, id, wrap[:59]},
			"longer":       {&secret, id, append(bytes.Clone(wrap), 0)},
			"empty":        {&secret, id, nil},
			"data":         {&secret, id, asData},
		} {
			if key, err := keyring.UnwrapDataKey(c.secret, c.id, c.wrap); !errors.Is(err, keyring.ErrUnwrap) || key != [32]byte{} {
				t.Errorf("unwrap %s: %v", name, err)
			}
		}
		for name, c := range map[string]struct {
			key  *[32]byte
			id   [16]byte
			data []byte
		}{
			"other_key":  {&otherKey, id, data},
			"foreign_id": {&dataKey, otherID, data},
			"changed":    {&dataKey, id, flip(data, "data byte")},
			"shorter":    {&dataKey, id, data[:len(data)-1]},
			"longer":     {&dataKey, id, append(bytes.Clone(data), 0)},
			"too_short":  {&dataKey, id, data[:27]},
			"empty":      {&dataKey, id, nil},
		} {
			if got, err := keyring.OpenData(c.key, c.id, c.data); !errors.Is(err, keyring.ErrOpen) || got != nil {
				t.Errorf("open %s: %v", name, err)
			}
		}
	})
}

func TestSealArguments(t *testing.T) {
	var key [32]byte
	var id [16]byte
	broken := iotest.ErrReader(io.ErrClosedPipe)
	short := bytes.NewReader(make([]byte, 11))
	for name, f := range map[string]func() error{
		"wrap_nil_secret":   func() error { _, err := keyring.WrapDataKey(nil, id, &key, nil); return err },
		"wrap_nil_key":      func() error { _, err := keyring.WrapDataKey(&key, id, nil, nil); return err },
		"unwrap_nil_secret": func() error { _, err := keyring.UnwrapDataKey(nil, id, make([]byte, 60)); return err },
		"seal_nil_key":      func() error { _, err := keyring.SealData(nil, id, nil, nil); return err },
		"open_nil_key":      func() error { _, err := keyring.OpenData(nil, id, make([]byte, 28)); return err },
		"wrap_no_random":    func() error { _, err := keyring.WrapDataKey(&key, id, &key, broken); return err },
		"seal_short_random": func() error { _, err := keyring.SealData(&key, id, nil, short); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestSealNonces: equal inputs never give equal outputs.
func TestSealNonces(t *testing.T) {
	var key [32]byte
	seen := map[[12]byte]bool{}
	for range 1000 {
		b, err := keyring.SealData(&key, [16]byte{}, []byte("{}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[[12]byte(b)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d nonces in 1000 seals", len(seen))
	}
}

func BenchmarkUnwrapDataKey(b *testing.B) {
	var secret, key [32]byte
	wrap, err := keyring.WrapDataKey(&secret, [16]byte{}, &key, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.UnwrapDataKey(&secret, [16]byte{}, wrap); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenData(b *testing.B) {
	var key [32]byte
	data, err := keyring.SealData(&key, [16]byte{}, make([]byte, 400), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.OpenData(&key, [16]byte{}, data); err != nil {
			b.Fatal(err)
		}
	}
}
