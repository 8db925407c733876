package latchkey

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/keyring"
)

func testRing(t testing.TB) *keyring.Ring {
	t.Helper()
	ring, err := keyring.Generate(time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func makeToken(t testing.TB, ring *keyring.Ring) token {
	t.Helper()
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		t.Fatal(err)
	}
	id, err := newID(time.Now(), 0x123, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := ring.Active(time.Now())
	tok, ok := newToken(ring, key, id, &secret)
	if !ok {
		t.Fatal("no token")
	}
	return tok
}

func TestTokenRoundTrip(t *testing.T) {
	ring := testRing(t)
	tok := makeToken(t, ring)
	text := tok.text()
	if len(text) != 91 || TokenLength != 91 {
		t.Fatalf("token of %d characters", len(text))
	}
	var got token
	if !got.parse(text) || got != tok || !got.genuine(ring) {
		t.Fatal("token does not come back")
	}
	if got.id().Placement() != 0x123 {
		t.Errorf("placement %#x", got.id().Placement())
	}
}

func TestTokenStrict(t *testing.T) {
	ring := testRing(t)
	tok := makeToken(t, ring)
	text := tok.text()
	bad := map[string]string{
		"empty":         "",
		"prefix-only":   "lk_",
		"short":         text[:90],
		"long":          text + "A",
		"padding":       text[:90] + "=",
		"other-prefix":  "LK_" + text[3:],
		"space":         text[:50] + " " + text[51:],
		"standard-plus": text[:50] + "+" + text[51:],
		"newline":       text[:50] + "\n" + text[51:],
		"high-bit":      text[:50] + "\xc3" + text[51:],
		"version-2":     "lk_" + base64.RawURLEncoding.EncodeToString(append([]byte{2}, tok.raw[1:]...)),
		"version-0":     "lk_" + base64.RawURLEncoding.EncodeToString(append([]byte{0}, tok.raw[1:]...)),
		"key-0":         "lk_" + base64.RawURLEncoding.EncodeToString(append([]byte{1, 0}, tok.raw[2:]...)),
		"quoted":        `"` + text[1:90] + `"`,
	}
	for name, s := range bad {
		var got token
		if got.parse(s) {
			t.Errorf("%s is taken for a token", name)
		}
	}
}

// Every single flipped bit of a token must make it not genuine.
func TestTokenTamper(t *testing.T) {
	ring := testRing(t)
	tok := makeToken(t, ring)
	for i := range len(tok.raw) * 8 {
		bent := tok
		bent.raw[i/8] ^= 1 << (i % 8)
		var got token
		if got.parse(bent.text()) && got.genuine(ring) {
			t.Errorf("bit %d may be flipped", i)
		}
	}
	if other := testRing(t); tok.genuine(other) {
		t.Error("genuine under another deployment's key")
	}
}

func FuzzToken(f *testing.F) {
	ring := testRing(f)
	tok := makeToken(f, ring)
	f.Add(tok.text())
	f.Add("lk_" + strings.Repeat("A", 88))
	f.Add("lk_" + strings.Repeat("_", 88))
	f.Fuzz(func(t *testing.T, s string) {
		var got token
		ok := got.parse(s)
		// The standard library's decoder is the reference.
		raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(s, "lk_"))
		want := strings.HasPrefix(s, "lk_") && len(s) == 91 && err == nil && len(raw) == 66 && raw[0] == 1 && raw[1] != 0
		if ok != want {
			t.Fatalf("parse(%q) = %v, reference %v", s, ok, want)
		}
		if ok && (got.text() != s || !bytes.Equal(got.raw[:], raw)) {
			t.Fatal("a token has two spellings")
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add("01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f")
	f.Add("01980F5E-7A2B-7C3D-8E4F-5A6B7C8D9E0F")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && id.String() != s {
			t.Fatalf("%q is read as %v", s, id)
		}
	})
}

func FuzzCookieHeader(f *testing.F) {
	f.Add("__Host-session=lk_x; a=b", "__Host-session=y")
	f.Add("a=b;__Host-session=1;;=;", "")
	f.Fuzz(func(t *testing.T, one, two string) {
		const name = "__Host-session"
		h := map[string][]string{"Cookie": {one, two}}
		value, count := findCookie(h, name)
		if count < 0 || count == 0 && value != "" || strings.ContainsAny(value, ";") {
			t.Fatalf("findCookie(%q, %q) = %q, %d", one, two, value, count)
		}
		if n := strings.Count(one, name+"=") + strings.Count(two, name+"="); count > n {
			t.Fatalf("%d cookies found in %q %q", count, one, two)
		}
	})
}

func TestFindCookie(t *testing.T) {
	for _, c := range []struct {
		lines []string
		value string
		count int
	}{
		{nil, "", 0},
		{[]string{"session=a"}, "a", 1},
		{[]string{"x=1; session=a; y=2"}, "a", 1},
		{[]string{"x=1;session=a"}, "a", 1},
		{[]string{"xsession=a"}, "", 0},
		{[]string{"session-x=a"}, "", 0},
		{[]string{"Session=a"}, "", 0},
		{[]string{"session=a; session=a"}, "a", 2},
		{[]string{"session=a", "session=b"}, "b", 2},
		{[]string{"session="}, "", 1},
		{[]string{"session=a \t"}, "a", 1},
		{[]string{"session"}, "", 0},
	} {
		value, count := findCookie(map[string][]string{"Cookie": c.lines}, "session")
		if value != c.value || count != c.count {
			t.Errorf("%q: %q, %d", c.lines, value, count)
		}
	}
}
