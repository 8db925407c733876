package crossauth_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/internal/vectortest"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

const (
	secret = "ABCDEFGHIJKLMNOPQRSTUVWX"
	token  = "AAECAwQFBgcICQoLDA0ODw"
	cookie = token + ".cd039c7d808376b2e636c48c39793ded1c4d036663cb56ec987f6b9e39c5c07c"
	masked = "EBESExQVFhcYGRobHB0eHw.EBAQEBAQEBAQEBAQEBAQEA"
)

// code is the code of an error, "" of none.
func code(err error) crossauth.Code {
	var e *crossauth.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestRandom(t *testing.T) {
	b := bytes.NewReader([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 31, 32, 255})
	if got, err := crossauth.RandomValue(b, 16); err != nil || got != token {
		t.Error(got, err)
	}
	if got, err := crossauth.RandomBase32(b, 3, 2); err != nil || got != "9A-9" {
		t.Error(got, err)
	}
	if got, err := crossauth.UUID(rand.Reader); err != nil || len(got) != 32 {
		t.Error(got, err)
	}
	if _, err := crossauth.RandomValue(b, 1); err == nil {
		t.Error("a value without randomness")
	}
	if _, err := crossauth.RandomValue(rand.Reader, 1<<30); err == nil {
		t.Error("a value without bound")
	}
	if got := crossauth.Hash("PLAINTEXT"); got != "y0Dn2tyGFhuXmN5IUS8zLSHBQfzB4ooIb95KM3WqsbU" {
		t.Error(got)
	}
	if got := crossauth.HashSessionID(token); got != "s:XSYR1aTdK0Cyd9_bXs9bSYGRUNfVxi9O75YMsMJNsgw" {
		t.Error(got)
	}
}

func TestSecureTokens(t *testing.T) {
	if _, err := crossauth.NewSigner(secret); err == nil {
		t.Error("a short secret is accepted")
	}
	s := crossauth.DangerouslyNewSigner(secret)
	if got := s.SignSecureToken(token); got != cookie {
		t.Error(got)
	}
	if got, err := s.UnsignSecureToken(cookie); err != nil || got != token {
		t.Error(got, err)
	}
	for _, bad := range []string{"", ".", token, cookie + ".", "." + cookie, cookie[:len(cookie)-1], strings.ToUpper(cookie), cookie + " "} {
		if _, err := s.UnsignSecureToken(bad); code(err) != crossauth.InvalidKey {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSignedJSON(t *testing.T) {
	s, err := crossauth.NewSigner(strings.Repeat("k", 32))
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1767323045678)
	payload := pyjson.Object{{Name: "v", Value: "é"}, {Name: "t", Value: 0}}
	text, err := crossauth.SignableToken(payload, "salt", at)
	// base64 of {"v": "\u00e9", "t": 1767323045678, "s": "salt"}
	if err != nil || text != "eyJ2IjogIlx1MDBlOSIsICJ0IjogMTc2NzMyMzA0NTY3OCwgInMiOiAic2FsdCJ9" {
		t.Error(text, err)
	}
	if payload[1].Value != 0 {
		t.Error("the caller's payload is changed")
	}
	value, err := s.Sign(payload, "salt", at)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		value  string
		maxAge time.Duration
		now    time.Time
		want   crossauth.Code
	}{
		{"any-age", value, 0, at.Add(1e6 * time.Hour), ""},
		{"at-the-limit", value, time.Hour, at.Add(time.Hour), ""},
		{"past-it", value, time.Hour, at.Add(time.Hour + 1), crossauth.Expired},
		{"future", value, time.Hour, at.Add(-1), crossauth.Expired},
		{"negative", value, -time.Hour, at, crossauth.Expired},
		{"tampered", "A" + value[1:], 0, at, crossauth.InvalidKey},
		{"not-base64", s.SignSecureToken("e"), 0, at, crossauth.InvalidKey},
		{"not-json", s.SignSecureToken("bm8="), 0, at, crossauth.InvalidKey},
		{"not-an-object", s.SignSecureToken("W10="), 0, at, crossauth.InvalidKey},
		{"no-time", s.SignSecureToken("e30="), time.Hour, at, crossauth.InvalidKey},
		{"line-break", s.SignSecureToken("e3\n0="), 0, at, crossauth.InvalidKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Unsign(c.value, c.maxAge, c.now)
			if code(err) != c.want || (err == nil) != (c.want == "") {
				t.Fatal(err)
			}
			if v, _ := got.Text("v"); err == nil && v != "é" {
				t.Error(got)
			}
		})
	}
}

func TestXOR(t *testing.T) {
	for _, c := range []struct{ a, b, strict, lenient string }{
		{token, "EBESExQVFhcYGRobHB0eHw", "EBAQEBAQEBAQEBAQEBAQEA", "EBAQEBAQEBAQEBAQEBAQEA"},
		{"QUJDREVGRw", "SElKS0xNTg", "CQsJDwkLCQ", "CQsJDwkLCQ"},
		{"AAAA", "AAECAwQF", "AAEC", "AAEC"},
		{"", token, "", ""},
		{"AB", "_w", "error", "_w"},      // unused bits
		{"AA\n", "_w", "error", "error"}, // padded to four, then the line break is dropped
		{"A", "_w", "error", "error"},    // one character of data
		{"!!!!", "_w", "error", ""},      // nothing of the alphabet
		{"éAA", "_w", "error", "error"},  // not ASCII
	} {
		for name, f := range map[string]func(a, b string) (string, error){"strict": crossauth.XOR, "lenient": crossauth.LenientXOR} {
			want := map[string]string{"strict": c.strict, "lenient": c.lenient}[name]
			if got, err := f(c.a, c.b); got != want && (want != "error" || code(err) != crossauth.InvalidKey) {
				t.Errorf("%s %q %q: %q %v", name, c.a, c.b, got, err)
			}
		}
	}
}

func newCSRF(t testing.TB, change func(*crossauth.CSRFConfig)) *crossauth.CSRF {
	t.Helper()
	config := crossauth.CSRFConfig{Secret: secret, DangerouslyShortSecret: true}
	if change != nil {
		change(&config)
	}
	c, err := crossauth.NewCSRF(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDoubleSubmit(t *testing.T) {
	strict := newCSRF(t, nil)
	lenient := newCSRF(t, func(c *crossauth.CSRFConfig) { c.LenientBase64 = true })
	mask := []byte{16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}
	if got, err := strict.MaskWith(token, mask); err != nil || got != masked {
		t.Error(got, err)
	}
	fresh, err := strict.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	one, _ := strict.Mask(fresh)
	two, _ := strict.Mask(fresh)
	if one == two || len(one) != 45 || strict.Validate(strict.CookieValue(fresh), one) != nil || strict.Validate(strict.CookieValue(fresh), two) != nil {
		t.Error("masks", one, two)
	}
	empty := strict.CookieValue("")
	longMask, _ := lenient.MaskWith(token, append(mask, 99, 98))
	for _, c := range []struct {
		name, cookie, header string
		strict, lenient      bool
	}{
		{"ok", cookie, masked, true, true},
		{"bad-cookie", cookie[:len(cookie)-1] + "0", masked, false, false},
		{"no-cookie", "", masked, false, false},
		{"no-header", cookie, "", false, false},
		{"unmasked", cookie, token, false, false},
		{"three-parts", cookie, masked + ".", false, false},
		{"other-token", cookie, one, false, false},
		{"short-mask", cookie, "AAAA." + token, false, false},
		{"junk", cookie, "!.!", false, false},
		{"long-mask", cookie, longMask, false, true},
		{"unused-bits", cookie, "EBESExQVFhcYGRobHB0eHx.EBAQEBAQEBAQEBAQEBAQEA", false, true},
		{"empty-token", empty, ".", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := strict.Validate(c.cookie, c.header); (err == nil) != c.strict || err != nil && code(err) != crossauth.InvalidCsrf {
				t.Error("strict:", err)
			}
			if err := lenient.Validate(c.cookie, c.header); (err == nil) != c.lenient || err != nil && code(err) != crossauth.InvalidCsrf {
				t.Error("lenient:", err)
			}
		})
	}
}

func TestCookieStrings(t *testing.T) {
	c := newCSRF(t, nil)
	if got, err := c.CookieString("v"); err != nil || got != "CSRFTOKEN=v; Path=/; HttpOnly; Secure; SameSite=Lax" || c.HeaderName() != "X-CROSSAUTH-CSRF" {
		t.Error(got, err)
	}
	c = newCSRF(t, func(c *crossauth.CSRFConfig) {
		c.CookieName = "C"
		c.Cookie = crossauth.CookieOptions{Domain: "example.com", Path: "/a", SameSite: http.SameSiteStrictMode, Readable: true, Insecure: true}
	})
	if got, err := c.CookieString("v"); err != nil || got != "C=v; Path=/a; Domain=example.com; SameSite=Strict" {
		t.Error(got, err)
	}
	o := crossauth.CookieOptions{Expires: time.Date(2026, 1, 6, 5, 4, 5, 0, time.FixedZone("", 7200))}
	if got, err := o.String("SESSIONID", cookie); err != nil || got != "SESSIONID="+cookie+"; Path=/; Expires=Tue, 06 Jan 2026 03:04:05 GMT; HttpOnly; Secure; SameSite=Lax" {
		t.Error(got, err)
	}
	if _, err := o.String("a b", "v"); err == nil {
		t.Error("a name with a space")
	}
	if _, err := o.String("a", "v;x"); err == nil {
		t.Error("a value with a semicolon")
	}
	_, err := crossauth.NewCSRF(crossauth.CSRFConfig{Secret: "s", CookieName: "a b"})
	if err == nil || !strings.Contains(err.Error(), "Secret has 1") || !strings.Contains(err.Error(), "cookie") {
		t.Error(err)
	}
}

func TestPasswordHash(t *testing.T) {
	const text = "pbkdf2:sha256:32:1:0:salt:Eg-2z_z4syxD5yJSVsT4N6hlSMkszDVICAWYfLcL4Xs="
	h, err := crossauth.ParsePasswordHash(text)
	if err != nil || h.String() != text {
		t.Fatal(h, err)
	}
	if !h.Matches("password") || h.Matches("Password") || h.Matches("") {
		t.Error("matches")
	}
	// The digest of the hash counts, whatever the default.
	h, err = crossauth.ParsePasswordHash("pbkdf2:sha1:20:2:1:salt:6mwBTcctb4zNHtkqzh1B8NjeiVc=")
	if err != nil || !h.Peppered || !h.Matches("password") {
		t.Error(h, err)
	}
	for bad, want := range map[string]crossauth.Code{
		"": crossauth.InvalidHash, "a:b": crossauth.InvalidHash, "scrypt:sha256:32:1:0:s:h": crossauth.UnsupportedAlgorithm,
		"pbkdf2:md5:32:1:0:s:h": crossauth.UnsupportedAlgorithm, "pbkdf2:sha256:x:1:0:s:h": crossauth.InvalidHash,
		"pbkdf2:sha256:32:99999999999:0:s:h": crossauth.InvalidHash, "pbkdf2:sha256:999999999:1:0:s:h": crossauth.InvalidHash,
		"pbkdf2:sha256:0:1:0:s:": crossauth.InvalidHash, "pbkdf2:sha256:32:0:0:s:h": crossauth.InvalidHash,
	} {
		if _, err := crossauth.ParsePasswordHash(bad); code(err) != want {
			t.Errorf("%q: %v", bad, err)
		}
	}
	h, err = crossauth.HashPassword(rand.Reader, "x")
	if err != nil || !strings.HasPrefix(h.String(), "pbkdf2:sha256:32:600000:0:") || len(h.Salt) != 22 {
		t.Error(h, err)
	}
	if (&crossauth.PasswordHash{}).Matches("") {
		t.Error("the zero hash matches")
	}
}

func TestSymmetric(t *testing.T) {
	k, err := crossauth.NewSymmetricKey("xkDDElW4zZTLdIZ3AS0v0gJbh_SZZSAo6YuWDeEtBaU")
	if err != nil {
		t.Fatal(err)
	}
	const plain, want = "This is the plaintext", "QUJDREVGR0hJSktMTU5PUA.vm3j7WeBpDGM76GhB0K4gQlE7nnkUGQvVe4hoPtocSI"
	if got, err := k.Encrypt(strings.NewReader("ABCDEFGHIJKLMNOP"), plain); err != nil || got != want {
		t.Error(got, err)
	}
	if got, err := k.Decrypt(want); err != nil || got != plain {
		t.Error(got, err)
	}
	for _, text := range []string{"", "é", strings.Repeat("x", 16), strings.Repeat("x", 1000)} {
		c, err := k.Encrypt(rand.Reader, text)
		if got, err2 := k.Decrypt(c); err != nil || err2 != nil || got != text {
			t.Errorf("%q: %v %v", got, err, err2)
		}
	}
	for _, bad := range []string{"", ".", "QUJDREVGR0hJSktMTU5PUA.", want + "A", want[:len(want)-1] + "J", "QUJD." + want[23:], want + "." + want, want[23:]} {
		if got, err := k.Decrypt(bad); code(err) != crossauth.InvalidHash {
			t.Errorf("%q: %q %v", bad, got, err)
		}
	}
	for _, bad := range []string{"", "AAAA", "!", strings.Repeat("A", 22)} {
		if _, err := crossauth.NewSymmetricKey(bad); code(err) != crossauth.InvalidKey {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		code    crossauth.Code
		status  int
		message string
		oauth   string
	}{
		{crossauth.InvalidKey, 401, "Key is invalid", "server_error"},
		{crossauth.Expired, 401, "Token has expired", "expired_token"},
		{crossauth.UserNotActive, 403, "Account is not active", "server_error"},
		{crossauth.KeyExists, 500, "Attempt to create a key that already exists", "server_error"},
		{crossauth.SlowDown, 200, "Slow polling down by 5 seconds", "slow_down"},
		{crossauth.FormEntry, 500, "Unknown error", "server_error"},
		{"no such code", 500, "Unknown error", "server_error"},
	} {
		if c.code.Status() != c.status || c.code.Message() != c.message || c.code.OAuth() != c.oauth {
			t.Errorf("%s: %d %q %q", c.code, c.code.Status(), c.code.Message(), c.code.OAuth())
		}
	}
	_, err := crossauth.XOR("!", "!")
	if !errors.Is(err, &crossauth.Error{Code: crossauth.InvalidKey}) || errors.Is(err, &crossauth.Error{Code: crossauth.Expired}) || err.Error() != "crossauth: Key is invalid" {
		t.Error(err)
	}
}

func FuzzReaders(f *testing.F) {
	for _, c := range vectortest.Load(f, "../runner", "crossauth") {
		f.Add(c.Text(f, "value")+c.Text(f, "cookie"), c.Text(f, "header"))
	}
	f.Add("pbkdf2:sha256:32:1:0:salt:Eg-2z_z4syxD5yJSVsT4N6hlSMkszDVICAWYfLcL4Xs=", "QUJDREVGR0hJSktMTU5PUA.vm3j7WeBpDGM76GhB0K4gQlE7nnkUGQvVe4hoPtocSI")
	f.Add("e30=", "a.b")
	strict := newCSRF(f, nil)
	lenient := newCSRF(f, func(c *crossauth.CSRFConfig) { c.LenientBase64 = true })
	signer := crossauth.DangerouslyNewSigner(secret)
	key, err := crossauth.NewSymmetricKey("xkDDElW4zZTLdIZ3AS0v0gJbh_SZZSAo6YuWDeEtBaU")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strict.Validate(a, b) == nil && lenient.Validate(a, b) != nil {
			t.Fatal("the strict reader accepts more")
		}
		_, _ = lenient.MaskWith(a, []byte(b))
		_, _ = key.Decrypt(b)
		if h, err := crossauth.ParsePasswordHash(a); err == nil && h.Iterations < 100 {
			_ = h.Matches(b)
		}
		if o, err := signer.Unsign(signer.SignSecureToken(a), time.Hour, time.Unix(0, 0)); err == nil && o == nil {
			t.Fatal("no payload and no error")
		}
	})
}
