package apicrud_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

const (
	secret  = "5bj27gMy6Kbb37A7P"
	content = `{"auth": "admin:user", "exp": "1767330245", "iss": "dev.example.com", "jti": "6Xy9abcd", "sub": "u-1"}`
	value   = "AAECAwQFBgcICQoLDA0OD8BeT7aURUrmnhik7S57YxUhn1EOdR4g0rFKghhwAU/a5Qpb2ggMxgTinLyy3FN4g2WDxWNz0TNYmDUgsyxZ/F9QfTEiiWIlM5S+aDjRIXjKCxTC0Jk17ebtTASnEWCZmXMtvKknxdoUljXxpSCheO0="
)

var iv = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func newCipher(t testing.TB, asOriginal bool) *apicrud.Cipher {
	t.Helper()
	c, err := apicrud.NewCipher(apicrud.Config{Secret: secret, DangerouslyShortSecret: true, DangerouslyAsOriginal: asOriginal})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func session() apicrud.Session {
	exp := apicrud.Exp(time.Unix(1767323045, 999), 2*time.Hour)
	return apicrud.Session{Roles: []string{"admin", "user"}, Exp: exp, Issuer: "dev.example.com", Token: "6Xy9abcd", UID: "u-1"}
}

func TestSessionValue(t *testing.T) {
	c := newCipher(t, false)
	s := session()
	text, err := pyjson.Marshal(pyjson.Default, s.Object())
	if err != nil || string(text) != content {
		t.Fatalf("%s %v", text, err)
	}
	if got, err := c.EncryptWith(iv, content); err != nil || got != value {
		t.Error(got, err)
	}
	got, err := c.Open(value, "6Xy9abcd")
	if sub, _ := got.Text("sub"); err != nil || sub != "u-1" {
		t.Error(got, err)
	}
	s.Extra = pyjson.Object{{Name: "acc", Value: "x"}, {Name: "exp", Value: "1"}}
	sealed, err := c.Seal(s.Object())
	if err != nil {
		t.Fatal(err)
	}
	got, err = c.Open(sealed, "6Xy9abcd")
	if exp, _ := got.Text("exp"); err != nil || exp != "1" || got[5].Name != "acc" {
		t.Error(got, err)
	}
	for _, token := range []string{"", "6Xy9abce", "bcd"} {
		if _, err := c.Open(sealed, token); !errors.Is(err, apicrud.ErrInvalid) {
			t.Errorf("%q opens it: %v", token, err)
		}
	}
	for _, text := range []string{"[]", "{}", `{"jti": 1}`, "no"} {
		v, _ := c.Encrypt(text)
		if _, err := c.Open(v, ""); !errors.Is(err, apicrud.ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEncrypt(t *testing.T) {
	c := newCipher(t, false)
	for _, text := range []string{"", "{}", strings.Repeat("x", 15), strings.Repeat("x", 16), strings.Repeat("é", 16)} {
		v, err := c.Encrypt(text)
		if got, err2 := c.Decrypt(v); err != nil || err2 != nil || got != text {
			t.Errorf("%q: %q %v %v", text, got, err, err2)
		}
	}
	if _, err := c.Encrypt("é"); !errors.Is(err, apicrud.ErrUnaligned) {
		t.Error(err)
	}
	if _, err := c.EncryptWith(iv[:15], "x"); err == nil {
		t.Error("a short IV")
	}
	dry, _ := apicrud.NewCipher(apicrud.Config{Secret: secret, DangerouslyShortSecret: true, Random: bytes.NewReader(nil)})
	if _, err := dry.Encrypt("x"); err == nil {
		t.Error("no randomness")
	}
}

// damaged is value with one byte of its blocks changed.
func damaged(at int) string {
	b, _ := base64.StdEncoding.DecodeString(value)
	b[at] ^= 0x40
	return base64.StdEncoding.EncodeToString(b)
}

func TestDecryptJunk(t *testing.T) {
	strict, original := newCipher(t, false), newCipher(t, true)
	raw, _ := base64.StdEncoding.DecodeString(value)
	last := damaged(len(raw) - 17) // the padding of the last block
	for _, c := range []struct {
		name, value string
		original    bool
	}{
		{"empty", "", false},
		{"not-base64", "!", false},
		{"iv-alone", value[:24], false},
		{"half-a-block", base64.StdEncoding.EncodeToString(raw[:40]), false},
		{"padding", last, true},
		{"line-break", value[:4] + "\n" + value[4:], true},
		{"long", strings.Repeat("A", 1<<20+4), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := strict.Decrypt(c.value); !errors.Is(err, apicrud.ErrInvalid) {
				t.Errorf("%q %v", got, err)
			}
			if got, err := original.Decrypt(c.value); (err == nil) != c.original {
				t.Errorf("as original: %q %v", got, err)
			}
		})
	}
	// No authentication: a flipped bit of the IV is a flipped bit of the text.
	if got, err := strict.Decrypt(damaged(2)); err != nil || got == content || got[3:] != content[3:] {
		t.Errorf("%q %v", got, err)
	}
	wrong, _ := apicrud.NewCipher(apicrud.Config{Secret: strings.Repeat("w", 32)})
	if _, err := wrong.Open(value, "6Xy9abcd"); !errors.Is(err, apicrud.ErrInvalid) {
		t.Error("a wrong secret opens it")
	}
	_, err := apicrud.NewCipher(apicrud.Config{Secret: "short", MaxValue: -1})
	if err == nil || !strings.Contains(err.Error(), "Secret has 5") || !strings.Contains(err.Error(), "MaxValue") {
		t.Error(err)
	}
}

func TestKey(t *testing.T) {
	for token, want := range map[string]string{"6Xy9abcd": "ses:u:bcd", "ab": "ses:u:ab", "": "ses:u:", "aéñ漢": "ses:u:éñ漢", "a\xff\xff": "ses:u:a\xff\xff"} {
		if got := apicrud.Key("u", token); got != want {
			t.Errorf("%q: %q", token, got)
		}
	}
}

func TestNewID(t *testing.T) {
	day := time.Date(2026, 1, 2, 23, 59, 59, 0, time.UTC)
	// 2923 days since 2018-01-01, times 8, is 23384: 5, 45, 24 in base 64.
	if got, err := apicrud.NewID(bytes.NewReader([]byte{0, 0, 1, 63, 64, 255}), day, 8, "x-"); err != nil || got != "x-4hN-0z-z" {
		t.Error(got, err)
	}
	seen := map[string]bool{}
	for range 100 {
		id, err := apicrud.NewID(rand.Reader, day, apicrud.TokenLength, "")
		if err != nil || len(id) != apicrud.TokenLength || !strings.HasPrefix(id, "4h") || seen[id] {
			t.Fatal(id, err)
		}
		seen[id] = true
	}
	if _, err := apicrud.NewID(rand.Reader, day, 3, ""); err == nil {
		t.Error("an identifier without randomness")
	}
	if _, err := apicrud.NewID(bytes.NewReader(nil), day, 8, ""); err == nil {
		t.Error("no randomness")
	}
	if id, err := apicrud.NewID(rand.Reader, time.Time{}, 8, ""); err != nil || len(id) != 8 {
		t.Error(id, err)
	}
}

func TestJWT(t *testing.T) {
	if _, err := apicrud.NewJWT("short"); err == nil {
		t.Error("a short secret")
	}
	j := apicrud.DangerouslyNewJWT("PY07l0g0FSqeKsyx")
	s := session()
	s.Extra = pyjson.Object{{Name: "name", Value: "Zoë"}}
	token, err := j.Sign(s.Object())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := j.Verify(token); err != nil || len(got) != 6 {
		t.Error(got, err)
	}
	other := apicrud.DangerouslyNewJWT(strings.Repeat("k", 32))
	if _, err := other.Verify(token); !errors.Is(err, apicrud.ErrInvalid) {
		t.Error(err)
	}
	for _, bad := range []string{"", ".", "..", token + "=", token[1:], strings.Replace(token, ".", "", 1), "eyJhbGciOiJub25lIn0" + token[strings.Index(token, "."):]} {
		if _, err := j.Verify(bad); !errors.Is(err, apicrud.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	for _, c := range vectortest.Load(f, "../runner", "apicrud") {
		f.Add(c.Text(f, "value"), c.Text(f, "plaintext"))
	}
	f.Add("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x", "")
	strict, original := newCipher(f, false), newCipher(f, true)
	j := apicrud.DangerouslyNewJWT(secret)
	f.Fuzz(func(t *testing.T, a, text string) {
		if got, err := strict.Decrypt(a); err == nil {
			if again, err := original.Decrypt(a); err != nil || again != got {
				t.Fatal("the strict reader accepts more")
			}
		}
		_, _ = original.Open(a, text)
		_, _ = j.Verify(a)
		_ = apicrud.Key(a, text)
		if v, err := strict.EncryptWith(iv, text); err == nil && strings.ToValidUTF8(text, "") == text {
			if got, err := strict.Decrypt(v); err != nil || got != text {
				t.Fatalf("%q becomes %q, %v", text, got, err)
			}
		}
	})
}
