package itsdangerous_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

const (
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	raw    = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	token  = "IkFBRUNBd1FGQmdjSUNRb0xEQTBPRHhBUkVoTVVGUllYR0JrYUd4d2RIaDgi.aVc1pQ.KkrsLfNJBpQZXf3vLjSJaTO6wvc"
	signed = 1767323045
)

func at(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 0) } }

func timed(t testing.TB, c itsdangerous.Config) *itsdangerous.Timed {
	t.Helper()
	s, err := itsdangerous.NewTimed(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func config(now int64) itsdangerous.Config {
	return itsdangerous.Config{Secrets: []string{secret}, Salt: "session", Now: at(now)}
}

func TestConfigProblemsAreListedTogether(t *testing.T) {
	_, err := itsdangerous.NewTimed(itsdangerous.Config{
		Secrets: []string{"short", secret, ""}, Signer: itsdangerous.Signer{Digest: 9}, MaxToken: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"Secrets[0] has 5 bytes", "Secrets[2] has 0 bytes", "signer 0", "MaxToken"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "short;") || strings.Contains(err.Error(), secret) {
		t.Error("the error tells a secret")
	}
	if _, err := itsdangerous.NewUntimed(itsdangerous.Config{}); err == nil {
		t.Error("no secret: accepted")
	}
	if _, err := itsdangerous.NewUntimed(itsdangerous.Config{Secrets: []string{""}, DangerouslyShortSecrets: true}); err != nil {
		t.Error(err)
	}
}

func TestTokenIsWrittenAndRead(t *testing.T) {
	s := timed(t, config(signed))
	got, err := s.Dumps(raw)
	if err != nil || got != token {
		t.Fatalf("%s, %v", got, err)
	}
	v, when, err := s.LoadsString(token, 0)
	if err != nil || v != raw || when.Unix() != signed {
		t.Errorf("%q %v %v", v, when, err)
	}
	doc, _, err := s.LoadsJSON([]byte("x"), token, itsdangerous.Unchecked)
	if err != nil || string(doc) != `x"`+raw+`"` {
		t.Errorf("%s %v", doc, err)
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct {
		name   string
		now    int64
		maxAge time.Duration
		ok     bool
	}{
		{"fresh-zero", signed, 0, true},
		{"at-the-limit", signed + 60, time.Minute, true},
		{"past-it", signed + 61, time.Minute, false},
		{"fraction-is-cut", signed + 61, 61500 * time.Millisecond, true},
		{"future", signed - 1, time.Hour, false},
		{"future-unchecked", signed - 1, itsdangerous.Unchecked, true},
		{"old-unchecked", 1 << 40, itsdangerous.Unchecked, true},
		{"negative", signed, -time.Second, false},
		{"negative-small", signed, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := timed(t, config(c.now)).Loads(token, c.maxAge)
			if c.ok != (err == nil) {
				t.Fatal(err)
			}
			if !c.ok && !errors.Is(err, itsdangerous.ErrSignatureExpired) {
				t.Error(err)
			}
		})
	}
}

// classes lists the classes that an error is of, from the most exact one up.
func classes(err error) (names string) {
	for _, c := range []struct {
		name  string
		class error
	}{{"expired", itsdangerous.ErrSignatureExpired}, {"time", itsdangerous.ErrBadTimeSignature},
		{"signature", itsdangerous.ErrBadSignature}, {"payload", itsdangerous.ErrBadPayload}, {"data", itsdangerous.ErrBadData}} {
		if errors.Is(err, c.class) {
			names += c.name + " "
		}
	}
	return strings.TrimSpace(names)
}

func TestErrorClasses(t *testing.T) {
	c := config(signed)
	u, err := itsdangerous.NewUntimed(c)
	if err != nil {
		t.Fatal(err)
	}
	untimedToken, _ := u.Dumps(1)
	for _, tc := range []struct{ name, token, want, detail string }{
		{"no-separator", "abc", "signature data", "no separator"},
		{"empty", "", "signature data", "no separator"},
		{"one-part-wrong", "abc.def", "signature data", "does not match"},
		{"wrong", "e30.aVc1pQ.AAAA", "time signature data", "does not match"},
		{"untimed", untimedToken, "time signature data", "timestamp missing"},
		{"long", strings.Repeat("a", 70000) + ".a", "signature data", "too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := timed(t, c).Loads(tc.token, 0)
			if got := classes(err); got != tc.want || !strings.Contains(err.Error(), tc.detail) {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
	_, _, err = timed(t, config(signed+9)).Loads(token, 0)
	var e *itsdangerous.Error
	if got := classes(err); got != "expired time signature data" || !errors.As(err, &e) || e.DateSigned.Unix() != signed {
		t.Errorf("%s: %v", got, err)
	}
	_, _, err = timed(t, config(signed)).Loads(token[:len(token)-1]+"a", 0)
	if !errors.As(err, &e) || e.DateSigned.Unix() != signed {
		t.Errorf("the claimed date is lost: %v", err)
	}
}

// One token has one spelling: what the original would also read is refused.
func TestSpellings(t *testing.T) {
	s := timed(t, config(signed))
	last := token[len(token)-1]
	for _, spelling := range []string{token + "=", token + "==", token + "\n", " " + token, token[:len(token)-1] + string(last+1),
		token[:len(token)-2] + "!" + token[len(token)-2:], strings.Replace(token, "aVc1pQ", "AGlXNaU", 1), token + ".", "." + token} {
		if _, _, err := s.Loads(spelling, itsdangerous.Unchecked); err == nil {
			t.Errorf("%q is read", spelling)
		}
	}
}

// sign makes a token of any payload and timestamp with the default derivation, as
// only the holder of the key can.
func sign(t *testing.T, signedText string) string {
	t.Helper()
	// An untimed serializer signs whatever precedes the signature.
	return itsdangerous.SignForTest(t, itsdangerous.Config{Secrets: []string{secret}, Salt: "session"}, signedText)
}

func deflate(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	w, _ := zlib.NewWriterLevel(&b, 9)
	w.Write(text)
	w.Close()
	return "." + base64.RawURLEncoding.EncodeToString(b.Bytes())
}

func TestSignedButUnreadable(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	good := deflate(t, []byte(`{"a":"`+strings.Repeat("a", 100)+`"}`))
	for _, c := range []struct{ name, token, want string }{
		{"bomb", deflate(t, bytes.Repeat([]byte(" "), 2<<20)) + ".aVc1pQ", "payload data"},
		{"not-json", b64([]byte("not json")) + ".aVc1pQ", "payload data"},
		{"not-base64", "A.aVc1pQ", "payload data"},
		{"line-break", "e3\n0.aVc1pQ", "payload data"},
		{"unused-bits", "e31.aVc1pQ", "payload data"},
		{"not-zlib", ".Z2FyYmFnZQ.aVc1pQ", "payload data"},
		{"half-zlib", good[:len(good)-8] + ".aVc1pQ", "payload data"},
		{"zlib-and-more", good + "AAAA.aVc1pQ", "payload data"},
		{"invalid-utf8", "Iv8i.aVc1pQ", "payload data"},
		{"deep", b64(bytes.Repeat([]byte("["), 20000)) + ".aVc1pQ", "payload data"},
		{"nan", b64([]byte("NaN")) + ".aVc1pQ", "payload data"},
		{"timestamp-junk", "e30.A", "time signature data"},
		{"timestamp-leading-zero", "e30.AGlXNaU", "time signature data"},
		{"timestamp-nine-bytes", "e30." + b64([]byte("123456789")), "time signature data"},
		{"timestamp-after-9999", "e30.__________8", "time signature data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := timed(t, config(signed)).Loads(sign(t, c.token), itsdangerous.Unchecked)
			if got := classes(err); got != c.want {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
	if _, _, err := timed(t, config(signed)).Loads(sign(t, good+".aVc1pQ"), 0); err != nil {
		t.Error("the counter-check:", err)
	}
}

func TestExpansionLimitIsExact(t *testing.T) {
	doc := []byte(`"` + strings.Repeat("a", 998) + `"`)
	for most, ok := range map[int]bool{999: false, 1000: true, 1001: true} {
		c := config(signed)
		c.MaxExpanded = most
		_, _, err := timed(t, c).Loads(sign(t, deflate(t, doc)+".aVc1pQ"), 0)
		if (err == nil) != ok {
			t.Errorf("%d: %v", most, err)
		}
	}
}

// What attackers send costs little memory: 10 MB that are no token of ours, and 100 MB
// in a token that is.
func TestMemory(t *testing.T) {
	s := timed(t, config(signed))
	huge := strings.Repeat("a", 10<<20)
	bomb := sign(t, deflate(t, make([]byte, 100<<20))+".aVc1pQ")
	for _, c := range []struct {
		name, token string
		most        uint64
	}{{"cookie-of-10-MB", huge + "." + huge[:6] + ".a", 64 << 10}, {"bomb", bomb, 8 << 20}} {
		var before, after runtime.MemStats
		tampered := c.token + "x"
		runtime.ReadMemStats(&before)
		_, _, err := s.Loads(c.token, itsdangerous.Unchecked)
		s.DangerouslyLoadsUnverified(tampered, itsdangerous.Unchecked)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > c.most {
			t.Errorf("%s: %d bytes, %v", c.name, used, err)
		}
	}
}

func TestRotationAndFallbacks(t *testing.T) {
	old := config(signed)
	oldToken, _ := timed(t, old).Dumps("x")
	rotated := config(signed)
	rotated.Secrets = []string{secret, strings.Repeat("n", 32)}
	if _, _, err := timed(t, rotated).Loads(oldToken, 0); err != nil {
		t.Error("old secret:", err)
	}
	newToken, _ := timed(t, rotated).Dumps("x")
	if _, _, err := timed(t, old).Loads(newToken, 0); err == nil {
		t.Error("the last secret does not sign")
	}
	changed := rotated
	changed.Signer = itsdangerous.Signer{Digest: itsdangerous.SHA512, KeyDerivation: itsdangerous.HMAC}
	if _, _, err := timed(t, changed).Loads(oldToken, 0); err == nil {
		t.Error("another signer is accepted without a fallback")
	}
	changed.Fallbacks = []itsdangerous.Signer{{Digest: itsdangerous.SHA256}, {}}
	for _, tok := range []string{oldToken, newToken} {
		if _, _, err := timed(t, changed).Loads(tok, 0); err != nil {
			t.Error("fallback:", err)
		}
	}
	changed.Now = at(signed + 100)
	if _, _, err := timed(t, changed).Loads(oldToken, time.Minute); !errors.Is(err, itsdangerous.ErrSignatureExpired) {
		t.Error("an old token under a fallback:", err)
	}
}

func TestSalts(t *testing.T) {
	s := timed(t, config(signed))
	if _, _, err := s.WithSalt("other").Loads(token, 0); err == nil {
		t.Error("another salt reads the token")
	}
	if _, _, err := s.WithSalt("other").WithSalt("session").Loads(token, 0); err != nil {
		t.Error(err)
	}
	empty, named := config(signed), config(signed)
	empty.Salt, named.Salt = "", itsdangerous.DefaultSalt
	tok, _ := timed(t, empty).Dumps(1)
	if _, _, err := timed(t, named).Loads(tok, 0); err != nil {
		t.Error("no salt is not the default one:", err)
	}
	empty.DangerouslyEmptySalt = true
	if _, _, err := timed(t, empty).Loads(tok, 0); err == nil {
		t.Error("the empty salt is the default one")
	}
}

func TestUnverified(t *testing.T) {
	s := timed(t, config(signed))
	if v, valid := s.DangerouslyLoadsUnverified(token, 0); !valid || v != raw {
		t.Error(v, valid)
	}
	if v, valid := s.DangerouslyLoadsUnverified(token[:len(token)-2]+"xx", 0); valid || v != raw {
		t.Error(v, valid)
	}
	for _, junk := range []string{"", "abc", "..", "a.b.c"} {
		if v, valid := s.DangerouslyLoadsUnverified(junk, 0); valid || v != nil {
			t.Error(junk, v, valid)
		}
	}
	u, _ := itsdangerous.NewUntimed(config(signed))
	tok, err := u.Dumps(pyjson.Object{{Name: "z", Value: 1}, {Name: "a", Value: nil}})
	if err != nil || !strings.HasPrefix(tok, "eyJ6IjoxLCJhIjpudWxsfQ.") {
		t.Error(tok, err)
	}
	if _, err := u.Loads(tok); err != nil {
		t.Error(err)
	}
	if v, valid := u.DangerouslyLoadsUnverified(tok[:len(tok)-2] + "xx"); valid || v == nil {
		t.Error(v, valid)
	}
	if _, err := u.LoadsJSON(nil, token); err == nil {
		// The payload of a timed token, to an untimed reader, holds a dot.
		t.Error("a timed token is read as an untimed one")
	}
}

func TestCheckAllocates(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools allocate")
	}
	s := timed(t, config(signed))
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(200, func() {
		if _, _, err := s.LoadsJSON(dst, token, time.Hour); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() { _, _, _ = s.LoadsString(token, time.Hour) }); n > 3 {
		t.Errorf("LoadsString: %v allocations", n)
	}
}

// Every text must come back whole, wherever in a byte its compressed form ends, and
// by compress/zlib as well.
func TestCompression(t *testing.T) {
	s := timed(t, config(signed))
	r := rand.New(rand.NewPCG(1, 2))
	compressed := 0
	for i := range 3000 {
		length := r.IntN(300)
		if i%500 == 0 {
			length = 1<<14 - 3 + i/500 // around the size of a block
		}
		text := make([]byte, length)
		for j := range text {
			text[j] = "abcdef0123"[r.IntN(1+i%10)]
		}
		token, err := s.Dumps(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.LoadsString(token, 0); err != nil || got != string(text) {
			t.Fatalf("%s: %q, %v", text, got, err)
		}
		if token[0] != '.' {
			continue
		}
		compressed++
		payload, _, _ := strings.Cut(token[1:], ".")
		stream, _ := base64.RawURLEncoding.DecodeString(payload)
		z, err := zlib.NewReader(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(z); err != nil || string(got) != `"`+string(text)+`"` {
			t.Fatalf("%s: %q, %v", text, got, err)
		}
	}
	if compressed < 1000 || compressed == 3000 {
		t.Errorf("%d of 3000 are compressed", compressed)
	}
}

func TestOneSerializerForMany(t *testing.T) {
	s := timed(t, config(signed))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			text := strings.Repeat(string(rune('a'+i)), 20*i)
			for range 50 {
				token, err := s.Dumps(text)
				if got, _, err2 := s.WithSalt("session").LoadsString(token, 0); err != nil || err2 != nil || got != text {
					t.Errorf("%q becomes %q, %v %v", text, got, err, err2)
				}
				if got, _, err := s.LoadsString(token, 0); err != nil || got != text {
					t.Errorf("%q becomes %q, %v", text, got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestTimesThatCannotBeSigned(t *testing.T) {
	if _, err := timed(t, config(-1)).Dumps(1); err == nil {
		t.Error("a time before 1970 is signed")
	}
	if _, err := timed(t, config(1)).Dumps("\xff"); err == nil {
		t.Error("text that is not UTF-8 is signed")
	}
}

func BenchmarkLoadsString(b *testing.B) {
	s := timed(b, config(signed))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.LoadsString(token, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadsCompressed(b *testing.B) {
	const identity = ".eJxlzLsOgzAMheF38QyVEyiXPEcnFmSIB0vhoripKiHenXSr2vU7v84BmiZwQEFmhgJ4IQng1hRCASst_LXtcXuJ5ziKzzqRypxVVBP7kZ7ZLNqmRFOifWDlsHZ4vzVt16MZPt_vXSLrX2rMT3pegtsqmA.aVc1pQ.1IAItPBCpHDyqYCEfw5DdSXdzsk"
	s := timed(b, itsdangerous.Config{Secrets: []string{strings.Repeat("x", 32)}, Salt: "reflow-session-v1", Now: at(signed)})
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.LoadsJSON(dst, identity, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSeparator(t *testing.T) {
	for _, sep := range []string{":", "~~", "..", "é"} {
		c := itsdangerous.Config{Secrets: []string{strings.Repeat("k", 32)}, Separator: sep, Now: func() time.Time { return time.Unix(1767323045, 0) }}
		timed, err := itsdangerous.NewTimed(c)
		if err != nil {
			t.Fatal(err)
		}
		untimed, _ := itsdangerous.NewUntimed(c)
		for _, v := range []string{"x", strings.Repeat("ab", 100)} { // plain and compressed
			token, _ := timed.Dumps(v)
			if got, _, err := timed.LoadsString(token, 0); err != nil || got != v || strings.Count(token, sep) != 2 {
				t.Errorf("%q: %q %v", sep, token, err)
			}
			token, _ = untimed.Dumps(v)
			if got, err := untimed.Loads(token); err != nil || got != v {
				t.Errorf("%q: %q %v", sep, token, err)
			}
			if _, _, err := timed.Loads(token, 0); !errors.Is(err, itsdangerous.ErrBadSignature) {
				t.Errorf("%q: %v", sep, err)
			}
		}
	}
	for _, sep := range []string{"a", "-", "_", "=", ".a", "9", "::Z"} {
		if _, err := itsdangerous.NewTimed(itsdangerous.Config{Secrets: []string{strings.Repeat("k", 32)}, Separator: sep}); err == nil || !strings.Contains(err.Error(), "Separator") {
			t.Errorf("%q: %v", sep, err)
		}
	}
}

func TestTrailingBytes(t *testing.T) {
	c := itsdangerous.Config{Secrets: []string{strings.Repeat("k", 32)}}
	strict, _ := itsdangerous.NewUntimed(c)
	long := strings.Repeat("ab", 100)
	token, _ := strict.Dumps(long)
	payload, _, _ := strings.Cut(token[1:], ".")
	stream, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	more := itsdangerous.SignForTest(t, c, "."+base64.RawURLEncoding.EncodeToString(append(stream, "more"...)))
	if _, err := strict.Loads(more); !errors.Is(err, itsdangerous.ErrBadPayload) {
		t.Error(err)
	}
	c.DangerouslyTrailingBytes = true
	lenient, _ := itsdangerous.NewUntimed(c)
	for _, text := range []string{more, token} {
		if got, err := lenient.Loads(text); err != nil || got != long {
			t.Error(err)
		}
	}
	if _, err := strict.Loads(more); !errors.Is(err, itsdangerous.ErrBadPayload) { // no state is left behind
		t.Error(err)
	}
}
