package latchkey

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey-go/latchkey/keyring"
)

func sealedFixture(t testing.TB) (*Manager, token, view) {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	ring, err := keyring.New(keyring.NewKey(1, [32]byte{1}, now), keyring.NewKey(2, [32]byte{2}, now))
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{keys: ring, cookieName: "__Host-session", cfg: Config{Rand: rand.Reader}}
	rec := Record{ID: ID{1, 2, 3}, Provider: "local", Subject: "ann", Email: "ann@example.com", Roles: []string{"admin", "dev"},
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), Idle: 10 * time.Minute, AuthTime: now, RotatedAt: now, Version: 1}
	v, err := newView(&rec, &token{}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	tok, ok := m.drawSealed(2, v, 7, &[32]byte{9, 9}, micro(now))
	if !ok {
		t.Fatal("not sealed")
	}
	return m, tok, v
}

func TestSealedToken(t *testing.T) {
	m, drawn, v := sealedFixture(t)
	var tok token
	if !tok.parse(drawn.text()) || !tok.isSealed() || tok.genuine(m.keys) {
		t.Fatal("parsing only tells the form")
	}
	told, ok := tok.open(m.keys)
	if !ok || !tok.genuine(m.keys) || tok != drawn {
		t.Fatalf("opened: %v", ok)
	}
	if told.id() != v.id() || told.int(viewSeen) != v.int(viewSeen) || told[viewKey] != 2 || !told.ofSealed() || told.sealed() ||
		!bytes.Equal(told[viewCreated:], v[viewCreated:]) || !bytes.Equal(told[viewEnds:viewHash], v[viewEnds:viewHash]) {
		t.Errorf("view\n got %x\nwant %x", []byte(told), []byte(v))
	}
	if s := (Session{v: told}); s.Subject() != "ann" || len(s.Roles()) != 2 || s.Version() != 1 {
		t.Errorf("session of %q with %q", s.Subject(), s.Roles())
	}
	// A view filed for one kind of token is no other kind's, whatever the rest says.
	other := tok
	other.raw[0] = tokenVersion
	if filed, _ := newView(&Record{SecretHash: tok.hash()}, &tok, nil, false); !filed.verifiedWith(&tok) || filed.verifiedWith(&other) {
		t.Error("verified across the versions of the token")
	}
}

// Each changed character, each cut and each other spelling is refused.
func TestSealedTokenStrict(t *testing.T) {
	m, drawn, _ := sealedFixture(t)
	text := drawn.text()
	refused := func(name, s string) {
		t.Helper()
		var tok token
		if tok.parse(s) {
			if _, ok := tok.open(m.keys); ok {
				t.Errorf("%s: opened", name)
			}
		}
	}
	for i := range text {
		for _, c := range []byte("Ag_-=+/ \r\n\x00é") {
			if text[i] != c {
				refused("changed", text[:i]+string(rune(c))+text[i+1:])
			}
		}
		refused("cut", text[:i])
	}
	refused("padded", text+"=")
	refused("longer", text+"A")
	refused("line-end", text+"\n")
	refused("too-long", text+strings.Repeat("A", maxToken))
	raw, err := base64.RawURLEncoding.DecodeString(text[3:])
	if err != nil {
		t.Fatal(err)
	}
	refused("standard-alphabet", tokenPrefix+base64.RawStdEncoding.EncodeToString(raw)+"+")
	for version := range 256 {
		if version != sealedVersion {
			refused("version", tokenPrefix+base64.RawURLEncoding.EncodeToString(append([]byte{byte(version)}, raw[1:]...)))
		}
	}
	for key := range 256 {
		if key != 2 {
			refused("key", tokenPrefix+base64.RawURLEncoding.EncodeToString(append([]byte{2, byte(key)}, raw[2:]...)))
		}
	}
}

// What only a holder of the key can make, and yet is no identity.
func TestSealedIdentityStrict(t *testing.T) {
	m, drawn, _ := sealedFixture(t)
	raw, _ := base64.RawURLEncoding.DecodeString(drawn.text()[3:])
	plain, ok := m.keys.Open(2, keyring.PurposeSealed, nil, raw[2:], raw[:2])
	if !ok {
		t.Fatal("fixture")
	}
	for name, change := range map[string]func(p []byte) []byte{
		"format":       func(p []byte) []byte { p[sealFormat] = 2; return p },
		"flags":        func(p []byte) []byte { p[sealFlags] = 2; return p },
		"end-past":     func(p []byte) []byte { p[sealEnds+2*numStrings-1]++; return p },
		"end-short":    func(p []byte) []byte { p[sealEnds+2*numStrings-1]--; return p },
		"ends-descend": func(p []byte) []byte { p[sealEnds], p[sealEnds+1] = 0xff, 0xff; return p },
		"trailing":     func(p []byte) []byte { return append(p, 0) },
		"head-only":    func(p []byte) []byte { return p[:sealStrings] },
		"no-head":      func(p []byte) []byte { return p[:sealStrings-1] },
		"empty":        func([]byte) []byte { return nil },
	} {
		sealed, _ := m.keys.Seal(2, keyring.PurposeSealed, []byte{2, 2}, change(bytes.Clone(plain)), []byte{2, 2}, nil)
		tok := token{sealed: tokenPrefix + base64.RawURLEncoding.EncodeToString(sealed)}
		if _, ok := tok.open(m.keys); ok {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestDecodeBase64url(t *testing.T) {
	strict := base64.RawURLEncoding.Strict()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[A-Za-z0-9_-]{0,40}`).Draw(t, "text")
		if rapid.Bool().Draw(t, "damaged") {
			at := rapid.IntRange(0, len(s)).Draw(t, "at")
			s = s[:at] + rapid.StringMatching(`[=+/ é\x00.]`).Draw(t, "junk") + s[at:]
		}
		want, err := strict.DecodeString(s)
		got, ok := decodeBase64url(s)
		if ok != (err == nil) || ok && !bytes.Equal(got, want) {
			t.Fatalf("%q: %x %v, want %x %v", s, got, ok, want, err)
		}
	})
}

// FuzzSealedToken opens what no key sealed, and what one did.
func FuzzSealedToken(f *testing.F) {
	m, drawn, _ := sealedFixture(f)
	f.Add(drawn.text(), []byte(nil))
	raw, _ := base64.RawURLEncoding.DecodeString(drawn.text()[3:])
	plain, _ := m.keys.Open(2, keyring.PurposeSealed, nil, raw[2:], raw[:2])
	f.Add("", plain)
	f.Fuzz(func(t *testing.T, text string, identity []byte) {
		var tok token
		if tok.parse(text) && tok.isSealed() {
			if _, ok := tok.open(m.keys); ok && text != drawn.text() {
				t.Fatal("forged")
			}
		}
		sealed, _ := m.keys.Seal(2, keyring.PurposeSealed, []byte{2, 2}, identity, []byte{2, 2}, nil)
		tok = token{sealed: tokenPrefix + base64.RawURLEncoding.EncodeToString(sealed)}
		if v, ok := tok.open(m.keys); ok {
			s := Session{v: v}
			_, _, _, _ = s.Subject(), s.Roles(), s.ExpiresAt(), s.Info()
			if _, err := s.Data(); err != nil && !v.sealed() {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkSealedOpen(b *testing.B) {
	m, drawn, _ := sealedFixture(b)
	text := drawn.text()
	b.ReportAllocs()
	for b.Loop() {
		var tok token
		if !tok.parse(text) {
			b.Fatal("form")
		}
		if _, ok := tok.open(m.keys); !ok {
			b.Fatal("not opened")
		}
	}
}

// A token that was remembered is not taken for another, nor under other keys.
func TestOpenedTokens(t *testing.T) {
	m, drawn, _ := sealedFixture(t)
	m.opened = new(openedTokens)
	open := func(text string) bool {
		var tok token
		if !tok.parse(text) {
			return false
		}
		v, ok := m.open(&tok)
		if ok && (tok != drawn || v.id() != *drawn.id()) {
			t.Error("opened as another")
		}
		return ok
	}
	text := drawn.text()
	for range 4 {
		if !open(text) {
			t.Fatal("refused")
		}
	}
	number, _ := place(text)
	remembered := 0
	for i := range m.opened[number].entries {
		if m.opened[number].entries[i].Load() != nil {
			remembered++
		}
	}
	if remembered != 1 {
		t.Fatalf("remembered %d times", remembered)
	}
	for i := range len(text) {
		for _, c := range []byte{'A', 'B'} {
			if changed := text[:i] + string(c) + text[i+1:]; changed != text && open(changed) {
				t.Fatalf("opened with character %d changed", i)
			}
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { open(text) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if _, err := m.keys.Set(keyring.NewKey(1, [32]byte{1}, time.Unix(1_700_000_000, 0))); err != nil {
		t.Fatal(err)
	}
	if open(text) {
		t.Error("opened under a key that is gone")
	}
}
