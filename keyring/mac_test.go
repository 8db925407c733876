package keyring_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey/keyring"
)

// referenceHMAC is what the package comment says, in the library's own words.
func referenceHMAC(t interface{ Fatal(...any) }, key []byte, purpose string, msg []byte) []byte {
	k, err := hkdf.Key(sha256.New, key, nil, purpose, 32)
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(sha256.New, k)
	h.Write(msg)
	return h.Sum(nil)
}

func drawArray32(t *rapid.T, label string) [32]byte {
	b := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label)
	b[0] |= 1 // a key of zeros is refused
	return [32]byte(b)
}

func TestHMACOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := drawArray32(t, "key")
		parts := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 5).Draw(t, "parts")
		r, err := keyring.New(keyring.NewKey(1, key, epoch))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := r.HMAC(1, keyring.PurposeRotate, parts...)
		want := referenceHMAC(t, key[:], string(keyring.PurposeRotate), bytes.Join(parts, nil))
		if !ok || !bytes.Equal(got[:], want) {
			t.Fatalf("HMAC = %x, %v; want %x", got, ok, want)
		}
	})
}

// TestMACSeparation: a MAC is good for its key, purpose and message, and for no
// other of any of them.
func TestMACSeparation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := drawArray32(t, "key 1"), drawArray32(t, "key 2")
		if one == two {
			t.Skip("equal keys")
		}
		r, err := keyring.New(keyring.NewKey(1, one, epoch), keyring.NewKey(2, two, epoch))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := keyring.New(keyring.NewKey(1, two, epoch))
		if err != nil {
			t.Fatal(err)
		}
		msg := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "message")
		mac, ok := r.MAC(1, keyring.PurposeToken, msg)
		if !ok || !r.VerifyMAC(1, keyring.PurposeToken, msg, mac[:]) {
			t.Fatal("a MAC does not verify")
		}
		bent := bytes.Clone(msg)
		bent[rapid.IntRange(0, len(msg)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		off := mac
		off[rapid.IntRange(0, 15).Draw(t, "mac byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "mac bit")
		for name, bad := range map[string]bool{
			"other_purpose":    r.VerifyMAC(1, keyring.PurposeRotate, msg, mac[:]),
			"other_key":        r.VerifyMAC(2, keyring.PurposeToken, msg, mac[:]),
			"unknown_key":      r.VerifyMAC(3, keyring.PurposeToken, msg, mac[:]),
			"other_deployment": foreign.VerifyMAC(1, keyring.PurposeToken, msg, mac[:]),
			"other_message":    r.VerifyMAC(1, keyring.PurposeToken, bent, mac[:]),
			"shorter_message":  r.VerifyMAC(1, keyring.PurposeToken, msg[1:], mac[:]),
			"other_mac":        r.VerifyMAC(1, keyring.PurposeToken, msg, off[:]),
			"shorter_mac":      r.VerifyMAC(1, keyring.PurposeToken, msg, mac[:15]),
			"longer_mac":       r.VerifyMAC(1, keyring.PurposeToken, msg, append(mac[:], 0)),
			"no_mac":           r.VerifyMAC(1, keyring.PurposeToken, msg, nil),
		} {
			if bad {
				t.Errorf("%s: verifies", name)
			}
		}
	})
}

func TestMACRefusals(t *testing.T) {
	var zero keyring.Ring
	retired := keyring.Key{ID: 2, Created: epoch, ActiveFrom: epoch, Retired: epoch}
	r := newRing(t, keyOf(1, 1, epoch), retired)
	for _, c := range []struct {
		name    string
		ring    *keyring.Ring
		id      keyring.ID
		purpose keyring.Purpose
	}{
		{"zero_ring", &zero, 1, keyring.PurposeToken},
		{"zero_id", r, 0, keyring.PurposeToken},
		{"unknown", r, 3, keyring.PurposeToken},
		{"retired", r, 2, keyring.PurposeToken},
		{"no_purpose", r, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, ok := c.ring.MAC(c.id, c.purpose, nil); ok || m != [16]byte{} {
				t.Errorf("MAC = %x, %v", m, ok)
			}
			if m, ok := c.ring.HMAC(c.id, c.purpose); ok || m != [32]byte{} {
				t.Errorf("HMAC = %x, %v", m, ok)
			}
			if m, ok := c.ring.Derive(c.id, string(c.purpose)); ok || m != [32]byte{} {
				t.Errorf("Derive = %x, %v", m, ok)
			}
			if c.ring.VerifyMAC(c.id, c.purpose, nil, make([]byte, 16)) {
				t.Error("VerifyMAC is true")
			}
		})
	}
}

// TestManyPurposes goes past the number of purposes that are kept, from several
// goroutines at once.
func TestManyPurposes(t *testing.T) {
	key := [32]byte{7}
	r := newRing(t, keyring.NewKey(1, key, epoch))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				p := "purpose " + strconv.Itoa(i%40)
				msg := fmt.Appendf(nil, "message %d", i)
				got, ok := r.HMAC(1, keyring.Purpose(p), msg)
				if want := referenceHMAC(t, key[:], p, msg); !ok || !bytes.Equal(got[:], want) {
					t.Errorf("%s: HMAC = %x, want %x", p, got, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools allocate")
	}
	r := newRing(t, keyOf(1, 1, epoch), keyOf(2, 2, epoch))
	good, _ := r.MAC(1, keyring.PurposeToken, make([]byte, 50))
	sink := false
	for name, f := range map[string]func(){
		// The messages are the callers' own arrays: they must not escape either.
		"MAC":       func() { var msg [50]byte; m, _ := r.MAC(1, keyring.PurposeToken, msg[:]); sink = m[0] == 0 },
		"VerifyMAC": func() { var msg [50]byte; sink = r.VerifyMAC(1, keyring.PurposeToken, msg[:], good[:]) },
		"HMAC": func() {
			var a [16]byte
			var b [32]byte
			m, _ := r.HMAC(2, keyring.PurposeRotate, a[:], b[:])
			sink = m[0] == 0
		},
		"Version": func() { sink = r.Version() == 0 },
		"Accepts": func() { sink = r.Accepts(1) },
		"Active":  func() { _, sink = r.Active(epoch) },
	} {
		f()
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	_ = sink
}

// FuzzMAC compares with crypto/hmac.
func FuzzMAC(f *testing.F) {
	f.Add([]byte("key"), "latchkey/token/v1", []byte("message"))
	f.Add([]byte{}, "x", []byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 32), "\x00", bytes.Repeat([]byte{1}, 129))
	f.Fuzz(func(t *testing.T, k []byte, purpose string, msg []byte) {
		key := [32]byte{31: 1}
		copy(key[:31], k)
		r := newRing(t, keyring.NewKey(9, key, epoch))
		got, ok := r.HMAC(9, keyring.Purpose(purpose), msg)
		if ok != (purpose != "") {
			t.Fatalf("ok = %v for purpose %q", ok, purpose)
		}
		if want := referenceHMAC(t, key[:], purpose, msg); ok && !bytes.Equal(got[:], want) {
			t.Fatalf("HMAC = %x, want %x", got, want)
		}
	})
}

func BenchmarkMAC(b *testing.B) {
	r := newRing(b, keyOf(1, 1, epoch))
	var msg [50]byte // a token before its MAC
	b.ReportAllocs()
	for b.Loop() {
		r.MAC(1, keyring.PurposeToken, msg[:])
	}
}

func BenchmarkVerifyMAC(b *testing.B) {
	r := newRing(b, keyOf(1, 1, epoch))
	var msg [50]byte
	mac, _ := r.MAC(1, keyring.PurposeToken, msg[:])
	b.ReportAllocs()
	for b.Loop() {
		if !r.VerifyMAC(1, keyring.PurposeToken, msg[:], mac[:]) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkMACByHand is the alternative that was not taken: HMAC written out
// over sha256.Sum256, which cannot keep the state of the padded key.
func BenchmarkMACByHand(b *testing.B) {
	var inner [64 + 50]byte
	var outer [64 + 32]byte
	b.ReportAllocs()
	for b.Loop() {
		sum := sha256.Sum256(inner[:])
		copy(outer[64:], sum[:])
		sha256.Sum256(outer[:])
	}
}

func BenchmarkVersion(b *testing.B) {
	r := newRing(b, keyOf(1, 1, epoch))
	for b.Loop() {
		if r.Version() != 1 {
			b.Fatal("changed")
		}
	}
}

func BenchmarkActive(b *testing.B) {
	r := newRing(b, keyOf(1, 1, epoch), keyOf(2, 2, epoch.Add(1)))
	for b.Loop() {
		r.Active(epoch)
	}
}
