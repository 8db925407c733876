package oidc_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

var update = flag.Bool("update", false, "make testdata/logout-tokens.json anew, with new keys")

const vectorFile = "testdata/logout-tokens.json"

// vectors are logout tokens with what is to be said of each, for this receiver and for
// others: a fixed time, fixed keys, and a token a case.
type vectors struct {
	Note     string             `json:"note"`
	Issuer   string             `json:"issuer"`
	ClientID string             `json:"client_id"`
	Now      time.Time          `json:"now"`
	Keys     jose.JSONWebKeySet `json:"jwks"`
	Cases    []vector           `json:"cases"`
}

type vector struct {
	Name string `json:"name"`
	// Strict asks for typ (OWASP ASVS 5.0, 10.5.5).
	Strict bool   `json:"strict,omitempty"`
	Token  string `json:"token"`
	// Refused is why, "" for a good token, which then is about Subject and SID.
	Refused oidc.Reason `json:"refused,omitempty"`
	Subject string      `json:"sub,omitempty"`
	SID     string      `json:"sid,omitempty"`
}

func TestLogoutTokens(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if v.Issuer != issuer || v.ClientID != clientID || len(v.Cases) < 50 {
		t.Fatalf("vectors of %s with %d cases", v.Issuer, len(v.Cases))
	}
	clock := latchkeytest.NewClock(v.Now)
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			cfg := config(newMisbehaving(v.Keys.Keys...), clock)
			cfg.StrictLogoutType = c.Strict
			out, err := newProvider(t, cfg).CheckLogout(t.Context(), c.Token)
			if got := oidc.ReasonOf(err); got != c.Refused || out.Subject != c.Subject || out.SID != c.SID {
				t.Errorf("refused as %q (%v), sub %q, sid %q; want %q, %q, %q", got, err, out.Subject, out.SID, c.Refused, c.Subject, c.SID)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error says %v", err)
			}
		})
	}
}

// writeVectors makes the cases.
func writeVectors(t *testing.T) {
	const event = "http://schemas.openid.net/event/backchannel-logout"
	good, stranger, ec := newRSA(t, "key-1"), newRSA(t, "key-1"), newEC(t, "key-2")
	now := start.Unix()
	claims := object{"iss": issuer, "aud": clientID, "iat": now, "exp": now + 120, "jti": "jti-" + canary, "sub": "ada", "sid": "sid-1", "events": object{event: object{}}}
	typed := object{"typ": "logout+jwt"}
	v := vectors{Note: "OpenID Connect Back-Channel Logout 1.0, 2.6. A receiver for client_id at issuer, at the time now, with these keys and RS256 registered.",
		Issuer: issuer, ClientID: clientID, Now: start, Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{good.public(), ec.public()}}}
	accept := func(name string, strict bool, header, changes object) {
		all := claims.with(changes)
		sub, _ := all["sub"].(string)
		sid, _ := all["sid"].(string)
		v.Cases = append(v.Cases, vector{name, strict, good.sign(t, typed.with(header), all), "", sub, sid})
	}
	raw := func(name string, why oidc.Reason, token string) {
		v.Cases = append(v.Cases, vector{Name: name, Token: token, Refused: why})
	}
	bad := func(name string, why oidc.Reason, changes object) {
		raw(name, why, good.sign(t, typed, claims.with(changes)))
	}
	accept("good", true, nil, nil)
	accept("good_sid_only", true, nil, object{"sub": missing})
	accept("good_sub_only", true, nil, object{"sid": missing})
	accept("good_audience_list", true, nil, object{"aud": []string{"other", clientID}})
	accept("good_unknown_claims", true, nil, object{"trace": 1, "events": object{event: object{"x": 1}, "urn:other": 1}})
	accept("good_typ_in_full", true, object{"typ": "application/Logout+JWT"}, nil)
	accept("good_without_typ", false, object{"typ": missing}, nil)
	accept("good_without_kid", false, object{"kid": missing}, nil)
	accept("good_fraction_of_second", false, nil, object{"exp": float64(now) + 0.5})
	v.Cases = append(v.Cases, vector{Name: "without_typ_strict", Strict: true, Token: good.sign(t, nil, claims), Refused: oidc.WrongType})

	raw("typ_jwt", oidc.WrongType, good.sign(t, object{"typ": "JWT"}, claims))
	raw("typ_access_token", oidc.WrongType, good.sign(t, object{"typ": "at+jwt"}, claims))
	raw("typ_security_event", oidc.WrongType, good.sign(t, object{"typ": "secevent+jwt"}, claims))
	raw("typ_number", oidc.WrongType, good.sign(t, object{"typ": 1}, claims))
	raw("alg_none", oidc.WrongAlgorithm, strings.Join([]string{encode(`{"alg":"none","typ":"logout+jwt"}`), encode(mustJSON(claims)), ""}, "."))
	raw("alg_none_capitals", oidc.WrongAlgorithm, strings.Join([]string{encode(`{"alg":"nOnE"}`), encode(mustJSON(claims)), ""}, "."))
	raw("alg_hs256_public_key", oidc.WrongAlgorithm, macByPublicKey(t, good, claims))
	raw("alg_es256_not_registered", oidc.WrongAlgorithm, ec.sign(t, typed, claims))
	raw("alg_rs384_not_registered", oidc.WrongAlgorithm, signer{"key-1", "RS384", good.key}.sign(t, typed, claims))
	raw("alg_says_rs256_key_is_ec", oidc.UnknownKey, ec.sign(t, object{"alg": "RS256"}, claims))
	raw("other_key_same_kid", oidc.BadSignature, stranger.sign(t, typed, claims))
	raw("other_key_no_kid", oidc.BadSignature, stranger.sign(t, object{"kid": missing}, claims))
	raw("unknown_kid", oidc.UnknownKey, good.sign(t, object{"kid": "../../key"}, claims))
	raw("own_key_in_header", oidc.UnknownKey, signer{"mine", "RS256", stranger.key}.sign(t, object{"jwk": stranger.public()}, claims))
	raw("own_key_set_in_header", oidc.UnknownKey, signer{"mine", "RS256", stranger.key}.sign(t, object{"jku": "https://evil.example/keys"}, claims))
	raw("critical_header", oidc.Malformed, good.sign(t, object{"crit": []string{"x"}, "x": 1}, claims))
	parts := strings.Split(good.sign(t, typed, claims), ".")
	raw("payload_changed", oidc.BadSignature, strings.Join([]string{parts[0], encode(mustJSON(claims.with(object{"sub": "bob"}))), parts[2]}, "."))
	raw("signature_missing", oidc.Malformed, parts[0]+"."+parts[1])
	raw("signature_empty", oidc.BadSignature, parts[0]+"."+parts[1]+".")
	raw("encrypted", oidc.Encrypted, "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d")
	raw("garbage", oidc.Malformed, "x.y.z")
	raw("empty", oidc.Malformed, "")
	raw("payload_no_object", oidc.Malformed, good.sign(t, typed, `["x"]`))
	raw("payload_no_json", oidc.Malformed, good.sign(t, typed, `{`))
	raw("payload_two_objects", oidc.Malformed, good.sign(t, typed, mustJSON(claims)+"{}"))

	bad("issuer_other", oidc.WrongIssuer, object{"iss": "https://id.example.com/realms/two"})
	bad("issuer_slash", oidc.WrongIssuer, object{"iss": issuer + "/"})
	bad("issuer_missing", oidc.WrongIssuer, object{"iss": missing})
	bad("audience_other_client", oidc.WrongAudience, object{"aud": "other"})
	bad("audience_list_of_others", oidc.WrongAudience, object{"aud": []string{"other", "app2"}})
	bad("audience_missing", oidc.WrongAudience, object{"aud": missing})
	bad("audience_number", oidc.WrongAudience, object{"aud": 1})
	bad("audience_mixed", oidc.WrongAudience, object{"aud": []any{clientID, 1}})
	bad("expired", oidc.Expired, object{"iat": now - 121, "exp": now - 1})
	bad("expired_now", oidc.Expired, object{"exp": now})
	bad("exp_missing", oidc.WrongTime, object{"exp": missing})
	bad("exp_text", oidc.WrongTime, object{"exp": "2030-01-01"})
	bad("exp_far", oidc.WrongTime, object{"exp": now + 24*3600})
	bad("exp_beyond_time", oidc.WrongTime, object{"exp": 1e300})
	bad("exp_before_iat", oidc.WrongTime, object{"iat": now + 50, "exp": now + 40})
	bad("iat_missing", oidc.WrongTime, object{"iat": missing})
	bad("iat_future", oidc.WrongTime, object{"iat": now + 61})
	bad("iat_old", oidc.WrongTime, object{"iat": now - 25*3600})
	bad("nbf_future", oidc.WrongTime, object{"nbf": now + 100})
	bad("sub_and_sid_missing", oidc.NoSubject, object{"sub": missing, "sid": missing})
	bad("sub_number", oidc.NoSubject, object{"sub": 7})
	bad("sub_empty", oidc.NoSubject, object{"sub": ""})
	bad("sid_null", oidc.NoSubject, object{"sid": nil})
	bad("sid_too_long", oidc.NoSubject, object{"sid": strings.Repeat("x", 256)})
	bad("sub_with_control", oidc.NoSubject, object{"sub": "a\nb"})
	bad("events_missing", oidc.NoEvent, object{"events": missing})
	bad("events_list", oidc.NoEvent, object{"events": []string{event}})
	bad("event_other", oidc.NoEvent, object{"events": object{"urn:other": object{}}})
	bad("event_null", oidc.NoEvent, object{"events": object{event: nil}})
	bad("event_true", oidc.NoEvent, object{"events": object{event: true}})
	bad("event_text", oidc.NoEvent, object{"events": object{event: "{}"}})
	bad("event_list", oidc.NoEvent, object{"events": object{event: []string{}}})
	bad("nonce", oidc.HasNonce, object{"nonce": "x"})
	bad("nonce_null", oidc.HasNonce, object{"nonce": nil})
	bad("jti_missing", oidc.NoTokenID, object{"jti": missing})
	bad("jti_empty", oidc.NoTokenID, object{"jti": ""})
	bad("jti_number", oidc.NoTokenID, object{"jti": 1})
	raw("id_token", oidc.NoEvent, good.sign(t, nil, claims.with(object{"events": missing, "jti": missing, "nonce": "n", "auth_time": now})))

	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, []byte(tidy(t, text)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// macByPublicKey is the classic: the public key, as PEM, taken for a shared secret.
func macByPublicKey(t *testing.T, s signer, claims object) string {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signed := encode(`{"alg":"HS256","kid":"key-1","typ":"logout+jwt"}`) + "." + encode(mustJSON(claims))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(signed))
	return signed + "." + encode(string(mac.Sum(nil)))
}
