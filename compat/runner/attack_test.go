package runner_test

import (
	"bytes"
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/compat/reflow"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

const attackSecret = "a secret that is known to the attacker, too"

// readers are what takes text from outside, by name. Each must refuse all of the texts
// below.
func readers(t *testing.T) map[string]func(text string) error {
	t.Helper()
	now := func() time.Time { return time.Unix(1767323045, 0) }
	flow, err1 := reflow.New(reflow.Config{Secrets: []string{attackSecret}, Now: now})
	admin, err2 := cb.New(cb.Config{Secrets: []string{attackSecret}, Days: 30, Now: now})
	csrf, err3 := crossauth.NewCSRF(crossauth.CSRFConfig{Secret: attackSecret})
	signer, err4 := crossauth.NewSigner(attackSecret)
	key, err5 := crossauth.NewSymmetricKey(base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			t.Fatal(err)
		}
	}
	good, _ := csrf.NewToken()
	return map[string]func(text string) error{
		"pyjson":              func(s string) error { _, err := pyjson.Parse([]byte(s)); return err },
		"pyjson-check":        func(s string) error { return pyjson.Check([]byte(s)) },
		"engine-row":          func(s string) error { _, err := engine.ParseRow(s); return err },
		"reflow-identity":     func(s string) error { _, err := flow.Decode(s); return err },
		"reflow-tx":           func(s string) error { _, err := flow.DecodeTx(s); return err },
		"cb-cookie":           func(s string) error { _, err := admin.Read(s); return err },
		"crossauth-cookie":    func(s string) error { _, err := csrf.CheckCookie(s); return err },
		"crossauth-header":    func(s string) error { return csrf.Validate(csrf.CookieValue(good), s) },
		"crossauth-json":      func(s string) error { _, err := signer.Unsign(s, 0, now()); return err },
		"crossauth-signed":    func(s string) error { _, err := signer.Unsign(signer.SignSecureToken(s), 0, now()); return err },
		"crossauth-data":      func(s string) error { _, err := crossauth.DecodeData(s); return err },
		"crossauth-cipher":    func(s string) error { _, err := key.Decrypt(s); return err },
		"crossauth-password":  func(s string) error { _, err := crossauth.ParsePasswordHash(s); return err },
		"session-cache-entry": func(s string) error { _, err := sessioncache.ParseEntry([]byte(s)); return err },
	}
}

// signedText is a cookie that only the holder of the secret can make.
func signedText(salt, payload string) string {
	key := sha1.Sum([]byte(salt + "signer" + attackSecret)) // django-concat
	mac := hmac.New(sha1.New, key[:])
	mac.Write([]byte(payload + ".aVc1pQ"))
	return payload + ".aVc1pQ." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// What attackers send is refused at little cost: 10 MB, a million levels of JSON, and
// what expands, in a token that is signed with a leaked secret.
func TestAttacks(t *testing.T) {
	var bomb bytes.Buffer
	w, _ := zlib.NewWriterLevel(&bomb, zlib.BestCompression)
	for range 100 {
		w.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	w.Close()
	deep := strings.Repeat("[", 1_000_000)
	raw := base64.RawURLEncoding.EncodeToString
	texts := map[string]string{
		"huge": strings.Repeat("A", 10<<20), "huge-parts": strings.Repeat("A.", 5<<20), "huge-colons": strings.Repeat(":", 10<<20), "deep": deep, "deep-closed": deep + strings.Repeat("]", 1_000_000),
		"deep-objects": strings.Repeat(`{"a":`, 1_000_000), "deep-base64": raw([]byte(deep)), "bomb": "." + raw(bomb.Bytes()), "many-names": "[" + strings.Repeat(`{"a":1,`, 100_000), "digits": strings.Repeat("9", 10<<20),
	}
	for _, salt := range []string{reflow.SessionSalt, reflow.TxSalt, cb.DefaultSalt} {
		texts["signed-bomb-"+salt] = signedText(salt, "."+raw(bomb.Bytes()))
		texts["signed-deep-"+salt] = signedText(salt, raw([]byte(strings.Repeat("[", 40_000))))
		texts["signed-nothing-"+salt] = signedText(salt, "")
	}
	all := readers(t)
	if id := signedText(reflow.SessionSalt, raw([]byte(`{"sub":"a","provider_id":"p","issued_at":1767323045,"expires_at":1767323046}`))); all["reflow-identity"](id) != nil {
		t.Fatal("the attacker's own signature is wrong")
	}
	for reader, read := range all {
		for name, text := range texts {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := read(text)
			runtime.ReadMemStats(&after)
			// A copy or two of the text, and the megabyte that a payload may expand to.
			if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > uint64(4*len(text)+8<<20) {
				t.Errorf("%s of %s: %d bytes for %d, %v", reader, name, used, len(text), err)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("%s of %s: the error repeats the text", reader, name)
			}
		}
	}
}
