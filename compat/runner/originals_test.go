package runner_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/internal/needs"
)

// The originals, run as they are packaged: what they write is read here, what is
// written here is read there.

// python returns a Python that has the original libraries.
func python(t *testing.T) string {
	t.Helper()
	return needs.Python(t, "itsdangerous, jwt, cryptography")
}

type object = map[string]any

type original struct {
	Value string `json:"value"`
	Error string `json:"error"`
}

// originals lets the original libraries answer.
func originals(t *testing.T, cases []object) []original {
	t.Helper()
	var in bytes.Buffer
	for _, c := range cases {
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := exec.Command(python(t), "testdata/originals.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []original
	for line := range bytes.Lines(out) {
		var a original
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(cases) {
		t.Fatalf("%d answers to %d cases", len(answers), len(cases))
	}
	return answers
}

// source is deterministic, so that a failure can be seen again.
func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// randomJSON is a value of any shape, as JSON text.
func randomJSON(r *rand.Rand, depth int) string {
	texts := []string{"", "a", "Zoë 漢字 🎲", "\u2028<&>/\"\\\b\f\n\r\t\x01\x7f", strings.Repeat("ab", r.IntN(200))}
	numbers := []string{"0", "-0", "1", "-7", "9007199254740993", "123456789012345678901234567890", "1.5", "-0.0", "1e3", "1E-7", "1e16", "123456.789e-3", "5e-324", "1e22"}
	switch n := r.IntN(6 + depth); n {
	case 0:
		return []string{"null", "true", "false"}[r.IntN(3)]
	case 1, 2:
		return numbers[r.IntN(len(numbers))]
	case 3, 4, 5:
		b, _ := json.Marshal(texts[r.IntN(len(texts))])
		return string(b)
	case 6, 7:
		var items []string
		for range r.IntN(6) {
			items = append(items, randomJSON(r, depth-2))
		}
		return "[" + strings.Join(items, " , ") + "]"
	default:
		return randomObject(r, depth-2)
	}
}

func randomObject(r *rand.Rand, depth int) string {
	var items []string
	for i := range r.IntN(6) {
		items = append(items, fmt.Sprintf("%q: %s", string(rune('z'-i*r.IntN(3))), randomJSON(r, depth)))
	}
	return "{" + strings.Join(items, ", ") + "}"
}

var (
	digests     = []string{"sha1", "sha256", "sha384", "sha512"}
	derivations = []string{"django-concat", "concat", "hmac", "none"}
)

func serializerCase(r *rand.Rand) (object, itsdangerous.Config) {
	digest, derivation := r.IntN(4), r.IntN(4)
	secrets := []string{"k", "clé-秘密", strings.Repeat("long", 50), ""}[r.IntN(3):]
	now := []int64{0, 1, 255, 256, 1767323045, 4294967296}[r.IntN(6)]
	salt := []string{"itsdangerous", "", "sél-塩"}[r.IntN(3)]
	sep := []string{".", ":", "~~"}[r.IntN(3)]
	c := object{"secrets": secrets, "salt": salt, "digest": digests[digest], "key_derivation": derivations[derivation], "now": now, "timed": r.IntN(3) > 0, "sep": sep}
	return c, itsdangerous.Config{Secrets: secrets, Salt: salt, Separator: sep, Now: func() time.Time { return time.Unix(now, 0) },
		Signer:                  itsdangerous.Signer{Digest: itsdangerous.Digest(digest), KeyDerivation: itsdangerous.KeyDerivation(derivation)},
		DangerouslyShortSecrets: true, DangerouslyEmptySalt: true}
}

// tokens makes the tokens of a case and reads them back.
type tokens struct {
	dumps func(v any) (string, error)
	loads func(token string) ([]byte, error)
}

func newTokens(t *testing.T, c object, config itsdangerous.Config) tokens {
	t.Helper()
	if c["timed"] == true {
		s, err := itsdangerous.NewTimed(config)
		if err != nil {
			t.Fatal(err)
		}
		return tokens{s.Dumps, func(token string) ([]byte, error) {
			doc, _, err := s.LoadsJSON(nil, token, 0)
			return doc, err
		}}
	}
	s, err := itsdangerous.NewUntimed(config)
	if err != nil {
		t.Fatal(err)
	}
	return tokens{s.Dumps, func(token string) ([]byte, error) { return s.LoadsJSON(nil, token) }}
}

func TestItsdangerousBothWays(t *testing.T) {
	r := source()
	var theirs, ours []object
	var made []tokens
	var docs []string
	for range 300 {
		c, config := serializerCase(r)
		tok, doc := newTokens(t, c, config), randomJSON(r, 8)
		v, err := pyjson.Parse([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		token, err := tok.dumps(v)
		if err != nil {
			t.Fatal(err)
		}
		write, read := object{"op": "dumps", "payload_json": doc}, object{"op": "loads", "token": token, "max_age": 0}
		for k, v := range c {
			write[k], read[k] = v, v
		}
		theirs, ours, made, docs = append(theirs, write), append(ours, read), append(made, tok), append(docs, doc)
	}
	wrote, read := originals(t, theirs), originals(t, ours)
	compressed, same := 0, 0
	for i, doc := range docs {
		if want := asDefault(t, doc); wrote[i].Error != "" || read[i].Error != "" || read[i].Value != want {
			t.Fatalf("%v: there %+v, want %s", ours[i], read[i], want)
		}
		back, err := made[i].loads(wrote[i].Value)
		if err != nil || asDefault(t, string(back)) != asDefault(t, doc) {
			t.Fatalf("%v: %s, %v", theirs[i], back, err)
		}
		switch {
		case strings.HasPrefix(wrote[i].Value, "."):
			compressed++
			if wrote[i].Value == ours[i]["token"] {
				same++
			}
		case wrote[i].Value != ours[i]["token"]:
			t.Fatalf("%v: ours %s, theirs %s", theirs[i], ours[i]["token"], wrote[i].Value)
		}
	}
	// All are, or none where Python's zlib is a fork with streams of its own.
	if compressed < 10 || compressed > 200 || same != compressed && same != 0 {
		t.Errorf("%d of the tokens are compressed, %d to the same bytes", compressed, same)
	}
}

// asDefault is json.dumps(json.loads(doc)), remade.
func asDefault(t *testing.T, doc string) string {
	t.Helper()
	v, err := pyjson.Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	text, err := pyjson.Marshal(pyjson.Default, v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What fails there fails here, by the same class.
func TestItsdangerousErrors(t *testing.T) {
	now := int64(1767323045)
	config := itsdangerous.Config{Secrets: []string{"s"}, Now: func() time.Time { return time.Unix(now, 0) }, DangerouslyShortSecrets: true}
	s, err := itsdangerous.NewTimed(config)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := s.Dumps("x")
	var cases []object
	for _, text := range []string{"", "a", ".", "..", "a.b", "a.b.c", token[1:], token + "x", token[:len(token)-1], strings.ToUpper(token), "." + token} {
		for _, maxAge := range []any{nil, 0, 10, -1} {
			for _, at := range []int64{now - 1, now, now + 10, now + 11} {
				cases = append(cases, object{"op": "loads", "timed": true, "secrets": []string{"s"}, "salt": "itsdangerous", "digest": "sha1",
					"key_derivation": "django-concat", "token": text, "max_age": maxAge, "now": at})
			}
		}
	}
	names := map[string]error{"BadSignature": itsdangerous.ErrBadSignature, "BadTimeSignature": itsdangerous.ErrBadTimeSignature,
		"SignatureExpired": itsdangerous.ErrSignatureExpired, "BadPayload": itsdangerous.ErrBadPayload}
	for i, want := range originals(t, cases) {
		now = cases[i]["now"].(int64)
		maxAge := itsdangerous.Unchecked
		if seconds, ok := cases[i]["max_age"].(int); ok {
			maxAge = time.Duration(seconds) * time.Second
		}
		_, _, err := s.Loads(cases[i]["token"].(string), maxAge)
		var e *itsdangerous.Error
		if !errors.As(err, &e) || e.Class != names[want.Error] {
			t.Errorf("%v: here %v, there %+v", cases[i], err, want)
		}
	}
}

func TestCiphersBothWays(t *testing.T) {
	r := source()
	const key = "xkDDElW4zZTLdIZ3AS0v0gJbh_SZZSAo6YuWDeEtBaU"
	symmetric, err := crossauth.NewSymmetricKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var cases []object
	var want []string
	add := func(text string, c object) { cases, want = append(cases, c), append(want, text) }
	for i := range 60 {
		secret, text := strings.Repeat("é", i), strings.Repeat("x", i)
		iv := make([]byte, 16)
		for j := range iv {
			iv[j] = byte(r.Uint32())
		}
		c, err := apicrud.NewCipher(apicrud.Config{Secret: secret, DangerouslyShortSecret: true})
		if err != nil {
			t.Fatal(err)
		}
		value, _ := c.EncryptWith(iv, text)
		sealed, _ := symmetric.Encrypt(bytes.NewReader(iv), text)
		add(value, object{"op": "apicrud_encrypt", "secret": secret, "iv": hex.EncodeToString(iv), "text": text})
		add(text, object{"op": "apicrud_decrypt", "secret": secret, "value": value})
		add(sealed, object{"op": "crossauth_encrypt", "key": key, "iv": hex.EncodeToString(iv), "text": text})
		add(text, object{"op": "crossauth_decrypt", "key": key, "value": sealed})
	}
	for i, got := range originals(t, cases) {
		if got.Error != "" || got.Value != want[i] {
			t.Fatalf("%v: %+v, want %s", cases[i], got, want[i])
		}
	}
}

func TestSignedJSONBothWays(t *testing.T) {
	r := source()
	var cases []object
	var want []string
	for range 100 {
		doc := randomObject(r, 6)
		payload, err := pyjson.ParseObject([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(r.Int64N(1 << 41))
		signed, err := crossauth.DangerouslyNewSigner("clé").Sign(payload, "s", at)
		if err != nil {
			t.Fatal(err)
		}
		token, err := apicrud.DangerouslyNewJWT("clé").Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := apicrud.DangerouslyNewJWT("clé").Verify(token); err != nil || len(claims) != len(payload) {
			t.Fatal(claims, err)
		}
		text := asDefault(t, doc)
		cases = append(cases, object{"op": "crossauth_sign", "payload_json": doc, "salt": "s", "t": at.UnixMilli(), "secret": "clé"},
			object{"op": "jwt_encode", "claims_json": doc, "secret": "clé"}, object{"op": "jwt_decode", "token": token, "secret": "clé"},
			object{"op": "json_default", "text": doc})
		want = append(want, signed, token, text, text)
	}
	for i, digest := range []string{"sha1", "sha224", "sha256", "sha384", "sha512"} {
		h := crossauth.PasswordHash{Digest: digest, KeyLength: 10 + i, Iterations: 3 + i, Salt: "sälz"}
		cases = append(cases, object{"op": "crossauth_password", "digest": digest, "password": "pässword", "salt": h.Salt, "iterations": h.Iterations, "length": h.KeyLength})
		want = append(want, "")
	}
	for i, got := range originals(t, cases) {
		if cases[i]["op"] == "crossauth_password" {
			h, err := crossauth.ParsePasswordHash(got.Value)
			if err != nil || !h.Matches("pässword") || h.String() != got.Value {
				t.Fatalf("%v: %+v %v", cases[i], got, err)
			}
		} else if got.Error != "" || got.Value != want[i] {
			t.Fatalf("%v: %+v, want %s", cases[i], got, want[i])
		}
	}
}

// The standard library's readers, remade: what they take is taken, with the same
// meaning, but for the oddities that are refused.
func TestReadersOfTheStandardLibrary(t *testing.T) {
	r := source()
	var cases []object
	const letters = "AB-_+/=!\nz9"
	for range 300 {
		var s strings.Builder
		for range r.IntN(9) {
			s.WriteByte(letters[r.IntN(len(letters))])
		}
		cases = append(cases, object{"op": "base64_decode", "text": s.String()})
	}
	for _, s := range []string{"1767323045.678901", " 1\n", "1_0", "_1", "1__0", "1_", "1e3", "inf", "-Infinity", "0x10", "", "1.e5", ".5", "+5", "1e999", "x", "1e_5"} {
		cases = append(cases, object{"op": "real", "text": s})
	}
	for _, s := range []string{"2026-01-02", "20260102", "2026-W01", "2026W011", "2020-W53-7", "2026-01-02T03", "2026-01-02T03:04", "20260102T030405", "2026-01-02 03:04:05.1",
		"2026-01-02T03:04:05.1234567Z", "2026-01-02T03:04:05,5+05:30", "2026-01-02T03:04:05+0530", "2026-01-02T03:04:05-05", "2026-01-02T03:04:05+01:00:30.5", "2026-01-02T",
		"2026-02-30", "2026-1-2", "2026-01-02T24:00", "2026-01-02T03:60", "2026-01-02T0304:05", "2026-01-02T03:0405", "2026-01-02T03:04:05.", "2026-01-02T03:04:05Zx", "2026-01-02T03:04+", "2026-W00", "0000-01-01", "", "now", "2026-01-02T03:04:05+24:00"} {
		cases = append(cases, object{"op": "iso", "text": s})
	}
	for i, there := range originals(t, cases) {
		text := cases[i]["text"].(string)
		var here original
		switch cases[i]["op"] {
		case "base64_decode":
			b, err := py.LenientBase64(py.Pad(text))
			here = outcome(hex.EncodeToString(b), err == nil)
		case "real":
			f, ok := py.Float(text)
			here = outcome(strings.NewReplacer("+Inf", "inf", "-Inf", "-inf").Replace(fmt.Sprint(f)), ok)
			if v, err := pyjson.Marshal(pyjson.Default, f); err == nil {
				here = outcome(string(v), ok)
			}
		case "iso":
			at, naive, ok := py.ParseISO(text)
			s := py.FormatISO(at)
			if naive {
				s = strings.TrimSuffix(s, "+00:00")
			}
			here = outcome(s, ok)
		}
		if (here.Error == "") != (there.Error == "") || here.Value != there.Value {
			t.Errorf("%v: here %+v, there %+v", cases[i], here, there)
		}
	}
}

func outcome(value string, ok bool) original {
	if !ok {
		return original{Error: "refused"}
	}
	return original{Value: value}
}

// The limits of reading JSON are Python's own.
func TestLimitsOfJSON(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	texts := []string{nested(pyjson.MaxDepth - 20), nested(pyjson.MaxDepth + 20), strings.Repeat("1", pyjson.MaxIntegerDigits),
		strings.Repeat("1", pyjson.MaxIntegerDigits+1), strings.Repeat("1", pyjson.MaxIntegerDigits+1) + ".0e-4290"}
	var cases []object
	var want []bool
	for _, text := range texts {
		cases = append(cases, object{"op": "json_default", "text": text})
		want = append(want, pyjson.Check([]byte(text)) == nil)
	}
	var got []bool
	for _, a := range originals(t, cases) {
		got = append(got, a.Error == "")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("there %v, here %v", got, want)
	}
}
