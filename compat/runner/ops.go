package runner

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/compat/reflow"
	"github.com/latchkey-go/latchkey/compat/sessioncache"
)

// operation returns what answers a format's operation, nil when there is none.
func operation(format, op string) func(*input) reply {
	switch format + "/" + op {
	case "itsdangerous/dumps":
		return dumps
	case "itsdangerous/loads":
		return loads
	case "reflow/decode":
		return reflowDecode
	case "reflow/csrf":
		return reflowCSRF
	case "reflow/should_reissue":
		return shouldReissue
	case "reflow/pkce_s256":
		return func(in *input) reply { return value(reflow.PKCES256(in.text("verifier"))) }
	case "reflow/tx_decode":
		return txDecode
	case "cb/token_hash":
		return func(in *input) reply { return value(cb.TokenHash(in.text("raw"))) }
	case "cb/cookie":
		return cbCookie
	case "cb/lookup":
		return cbLookup
	case "session_cache/key":
		return func(in *input) reply { return value(sessioncache.Key(in.text("token"))) }
	case "session_cache/ttl":
		return cacheTTL
	case "session_cache/get":
		return cacheGet
	case "apicrud/encrypt":
		return encrypt
	case "apicrud/decrypt":
		return decrypt
	case "apicrud/key":
		return func(in *input) reply { return value(apicrud.Key(in.text("uid"), in.text("token"))) }
	case "apicrud/jwt":
		return jwt
	}
	if format == "crossauth" {
		return crossauthOperation(op)
	}
	return nil
}

func crossauthOperation(op string) func(*input) reply {
	switch op {
	case "hash":
		return func(in *input) reply { return value(crossauth.Hash(in.text("text"))) }
	case "hash_session_id":
		return func(in *input) reply { return value(crossauth.HashSessionID(in.text("session_id"))) }
	case "sign_secure_token":
		return func(in *input) reply {
			return value(crossauth.DangerouslyNewSigner(in.text("secret")).SignSecureToken(in.text("token")))
		}
	case "unsign_secure_token":
		return func(in *input) reply {
			token, err := crossauth.DangerouslyNewSigner(in.text("secret")).UnsignSecureToken(in.text("value"))
			return valueOr(token, err, codeInvalid)
		}
	case "mask_csrf_token":
		return func(in *input) reply {
			c, mask := csrf(in, ""), in.hex("mask_bytes_hex")
			token := in.text("token")
			if in.bad {
				return reply{}
			}
			masked, err := c.MaskWith(token, mask)
			return valueOr(masked, err, codeBadCase)
		}
	case "csrf_validate":
		return func(in *input) reply {
			cookie, header := in.optional("cookie"), in.optional("header")
			c := csrf(in, in.text("secret"))
			if in.bad || cookie == nil || header == nil {
				return reply{code: codeInvalid}
			}
			return valueOr(true, c.Validate(*cookie, *header), codeInvalid)
		}
	}
	return nil
}

func csrf(in *input, secret string) *crossauth.CSRF {
	c, err := crossauth.NewCSRF(crossauth.CSRFConfig{Secret: secret, DangerouslyShortSecret: true, LenientBase64: true})
	in.bad = in.bad || err != nil
	return c
}

// value answers with v as JSON, number text kept.
func value(v any) reply {
	text, err := pyjson.Marshal(pyjson.Verbatim, v)
	if err != nil {
		return reply{code: codeBadCase}
	}
	return reply{value: text}
}

// valueOr answers with v, or with code when there is an error.
func valueOr(v any, err error, code string) reply {
	if err != nil {
		return reply{code: code}
	}
	return value(v)
}

// serializer makes the serializer that a case asks for.
func serializer(in *input) *itsdangerous.Timed {
	now := in.now("now")
	salt := in.optional("salt")
	if salt == nil { // salt=None
		s := itsdangerous.DefaultSignerSalt
		salt = &s
	}
	digests := map[string]itsdangerous.Digest{"sha1": itsdangerous.SHA1, "sha256": itsdangerous.SHA256, "sha384": itsdangerous.SHA384, "sha512": itsdangerous.SHA512}
	derivations := map[string]itsdangerous.KeyDerivation{"django-concat": itsdangerous.DjangoConcat, "concat": itsdangerous.Concat,
		"hmac": itsdangerous.HMAC, "none": itsdangerous.NoDerivation}
	digest, ok1 := digests[in.text("digest")]
	derivation, ok2 := derivations[in.text("key_derivation")]
	s, err := itsdangerous.NewTimed(itsdangerous.Config{
		Secrets: in.texts("secrets"), Salt: *salt, Signer: itsdangerous.Signer{Digest: digest, KeyDerivation: derivation},
		MaxToken: MaxLine, MaxExpanded: MaxLine, Now: func() time.Time { return now },
		DangerouslyShortSecrets: true, DangerouslyEmptySalt: true, DangerouslyTrailingBytes: true,
	})
	in.bad = in.bad || err != nil || !ok1 || !ok2
	return s
}

func dumps(in *input) reply {
	s := serializer(in)
	payload, err := pyjson.Parse([]byte(in.text("payload_json")))
	if in.bad || err != nil {
		return reply{code: codeBadCase}
	}
	token, err := s.Dumps(payload)
	return valueOr(token, err, codeBadCase)
}

func loads(in *input) reply {
	s, token, maxAge := serializer(in), in.text("token"), itsdangerous.Unchecked
	if string(in.members["max_age"]) != "null" {
		maxAge = in.age("max_age")
	}
	if in.bad {
		return reply{}
	}
	doc, _, err := s.LoadsJSON(nil, token, maxAge)
	switch {
	case errors.Is(err, itsdangerous.ErrSignatureExpired):
		return reply{code: codeExpired}
	case errors.Is(err, itsdangerous.ErrBadPayload):
		return reply{code: codeBadPayload}
	case err != nil:
		return reply{code: codeBadSignature}
	}
	return reply{value: asciiJSON(doc)}
}

func reflowCodec(in *input, now time.Time) *reflow.Codec {
	c, err := reflow.New(reflow.Config{Secrets: []string{in.text("secret")}, Now: func() time.Time { return now },
		MaxToken: MaxLine, MaxExpanded: MaxLine, DangerouslyShortSecrets: true, DangerouslyAsOriginal: true})
	in.bad = in.bad || err != nil
	return c
}

func reflowDecode(in *input) reply {
	c, cookie, maxAge := reflowCodec(in, in.now("now")), in.optional("cookie"), in.age("max_age")
	if in.bad || cookie == nil {
		return reply{code: codeInvalid}
	}
	id, err := c.DecodeWithin(*cookie, maxAge)
	if err != nil {
		return reply{code: codeInvalid}
	}
	text, err := id.MarshalJSON()
	if err != nil {
		return reply{code: codeInvalid}
	}
	return reply{value: asciiJSON(text)}
}

func txDecode(in *input) reply {
	c, cookie, maxAge := reflowCodec(in, in.now("now")), in.optional("cookie"), in.age("max_age")
	if in.bad || cookie == nil {
		return reply{code: codeInvalid}
	}
	o, err := c.DecodeTxWithin(*cookie, maxAge)
	return valueOr(o, err, codeInvalid)
}

func reflowCSRF(in *input) reply {
	c, session := reflowCodec(in, time.Time{}), in.text("session_value")
	if in.bad {
		return reply{}
	}
	return value(c.CSRF(session))
}

func shouldReissue(in *input) reply {
	lifetime, age := in.microseconds("ttl_seconds"), in.microseconds("elapsed_seconds")
	id := reflow.Identity{IssuedAt: reflow.Date{Time: time.UnixMicro(0)}, ExpiresAt: reflow.Date{Time: time.UnixMicro(lifetime)}}
	return value(reflow.ShouldReissue(&id, time.UnixMicro(age)))
}

func cbCodec(in *input, days int) *cb.Codec {
	now := in.now("now")
	c, err := cb.New(cb.Config{Secrets: []string{in.text("secret")}, Salt: in.text("salt"), Days: days, Now: func() time.Time { return now },
		MaxToken: MaxLine, MaxExpanded: MaxLine, DangerouslyShortSecrets: true, DangerouslyEmptySalt: true})
	in.bad = in.bad || err != nil
	return c
}

func cbCookie(in *input) reply {
	c, raw := cbCodec(in, 1), in.text("raw")
	if in.bad {
		return reply{}
	}
	cookie, err := c.Cookie(raw)
	return valueOr(cookie, err, codeBadCase)
}

func cbLookup(in *input) reply {
	days := in.number("session_max_days")
	c, cookie := cbCodec(in, int(min(max(days, 0), cb.MaxDays))), in.optional("cookie")
	var row *cb.Row
	if in.value("row") != nil {
		columns, ok := in.object("row")
		row = &cb.Row{TokenHash: columns.text("token_hash"), ExpiresAt: columns.text("expires_at"), RevokedAt: columns.optional("revoked_at")}
		in.bad = in.bad || !ok || columns.bad
	}
	if in.bad || cookie == nil || days < 0 {
		return reply{code: codeInvalid}
	}
	return valueOr(true, c.CheckText(*cookie, row), codeInvalid)
}

func cacheTTL(in *input) reply {
	ttl := in.number("ttl_seconds")
	text := in.value("ttl_seconds")
	if string(in.members["session_remaining"]) == "null" { // no known end
		return value(text)
	}
	switch got := sessioncache.OriginalTTL(ttl, in.number("session_remaining")); {
	case got == ttl:
		return value(text)
	default:
		return value(json.Number(strconv.FormatFloat(got, 'f', -1, 64)))
	}
}

// cacheGet builds the entry as the original takes it: its members must be there, but
// only those that are looked at need their types.
func cacheGet(in *input) reply {
	now, marker, cached := in.now("now"), in.marker("marker"), in.value("cached")
	o, ok := cached.(pyjson.Object)
	if in.bad = in.bad || !ok && cached != nil; in.bad || !ok {
		return reply{code: codeMiss}
	}
	for _, name := range []string{"user_id", "email", "name", "email_verified", "tier"} {
		if _, there := o.Get(name); !there {
			return reply{code: codeMiss}
		}
	}
	var e sessioncache.Entry
	e.CreatedAt, _ = o.Text("created_at")
	e.UpdatedAt, _ = o.Text("updated_at")
	if expire, _ := o.Get("session_expire"); !falsy(expire) {
		if e.SessionExpire, ok = expire.(string); !ok {
			return reply{code: codeMiss}
		}
	}
	if user, _ := o.Get("user_id"); !falsy(user) {
		e.UserID = "somebody"
	}
	if at, there := o.Get("cached_at"); there && marker != nil && e.UserID != "" {
		if e.CachedAt, ok = number(at); !ok {
			return reply{code: codeMiss}
		}
	}
	if !e.DecideAsOriginal(now, marker) {
		return reply{code: codeMiss}
	}
	return value(true)
}

// marker returns a marker's text; a number is its own. None is one that does not
// count: empty, which Python takes for none, and nan, than which nothing is older.
func (in *input) marker(name string) *string {
	if n, ok := in.value(name).(json.Number); ok {
		s := string(n)
		return &s
	}
	s := in.optional(name)
	if s != nil && (*s == "" || strings.EqualFold(strings.TrimLeft(strings.TrimSpace(*s), "+-"), "nan")) {
		return nil
	}
	return s
}

// number is what Python compares with a number, truth values among them.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	}
	return 0, false
}

// falsy is what Python takes for false.
func falsy(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case []any:
		return len(v) == 0
	case pyjson.Object:
		return len(v) == 0
	}
	return false
}

func aes(in *input) *apicrud.Cipher {
	c, err := apicrud.NewCipher(apicrud.Config{Secret: in.text("secret"), MaxValue: MaxLine, DangerouslyShortSecret: true, DangerouslyAsOriginal: true})
	in.bad = in.bad || err != nil
	return c
}

func encrypt(in *input) reply {
	c, iv, text := aes(in), in.hex("iv_hex"), in.text("plaintext")
	if in.bad {
		return reply{}
	}
	got, err := c.EncryptWith(iv, text)
	return valueOr(got, err, codeBadCase)
}

func decrypt(in *input) reply {
	c, text := aes(in), in.text("value")
	if in.bad {
		return reply{}
	}
	got, err := c.Decrypt(text)
	return valueOr(got, err, codeBadCase)
}

func jwt(in *input) reply {
	claims, ok := in.value("claims").(pyjson.Object)
	secret := in.text("secret")
	if !ok || in.bad {
		return reply{code: codeBadCase}
	}
	token, err := apicrud.DangerouslyNewJWT(secret).Sign(claims)
	return valueOr(token, err, codeBadCase)
}
