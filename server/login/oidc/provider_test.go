package oidc_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/transaction"
)

// attempt is a transaction as a callback finds it.
var attempt = transaction.Transaction{Provider: "one", State: "s", Nonce: "nonce-" + canary, Verifier: "verifier-" + canary, Began: start}

// bench is a misbehaving provider with a key, and good claims for the attempt.
type bench struct {
	*misbehaving
	key    signer
	clock  *latchkeytest.Clock
	claims object
	cfg    oidc.Config
}

func newBench(t *testing.T) *bench {
	b := &bench{key: newRSA(t, "key-1"), clock: latchkeytest.NewClock(start)}
	b.misbehaving = newMisbehaving(b.key.public())
	now := start.Unix()
	b.claims = object{"iss": issuer, "aud": clientID, "sub": "ada", "iat": now, "exp": now + 300, "nonce": attempt.Nonce, "name": "Ada", "email": "ada@example.com",
		"email_verified": true, "sid": "sid-1", "auth_time": now - 10, "acr": "urn:otp", "amr": []string{"pwd", "otp"}, "groups": []string{"admins", "staff"}}
	b.cfg = config(b.misbehaving, b.clock)
	b.cfg.Claims.Roles = []string{"groups"}
	return b
}

// gives has the token endpoint answer with an ID token.
func (b *bench) gives(idToken string) {
	b.set("/token", func(*http.Request) (int, string) {
		return http.StatusOK, mustJSON(object{"access_token": "access-" + canary, "token_type": "Bearer", "expires_in": 60, "refresh_token": "refresh-" + canary, "id_token": idToken})
	})
}

// finish exchanges a code at a provider that was just configured.
func (b *bench) finish(t *testing.T, req oidc.Request) (latchkey.SignIn, error) {
	t.Helper()
	return newProvider(t, b.cfg).Finish(t.Context(), attempt, req, "code-"+canary)
}

func TestFinish(t *testing.T) {
	b := newBench(t)
	b.gives(b.key.sign(t, object{"typ": "JWT"}, b.claims))
	in, err := b.finish(t, oidc.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if in.Provider != "one" || in.Subject != "ada" || in.Name != "Ada" || in.Email != "ada@example.com" || in.SID != "sid-1" || in.Assurance != "urn:otp" ||
		!in.AuthTime.Equal(start.Add(-10*time.Second)) || !in.Began.Equal(start) || !slices.Equal(in.Roles, []string{"admins", "staff"}) || !slices.Equal(in.Methods, []string{"pwd", "otp"}) || in.KeepData {
		t.Errorf("%+v", in)
	}
	if got := b.sent; got.Get("code") != "code-"+canary || got.Get("code_verifier") != attempt.Verifier || got.Get("redirect_uri") != b.cfg.RedirectURL || got.Get("client_secret") != "" {
		t.Errorf("sent %v", got)
	}
	// Nothing was asked that was not needed, and only the ID token is kept.
	if data := fmt.Sprint(string(in.Data[oidc.DataName])); b.count("/me") != 0 || strings.Contains(data, "access-") || strings.Contains(data, "refresh-") || !strings.Contains(data, "id_token") {
		t.Errorf("%d calls of userinfo, data %s", b.count("/me"), data)
	}
}

// TestRefusedIDTokens: every kind of ID token that is not this attempt's.
func TestRefusedIDTokens(t *testing.T) {
	b := newBench(t)
	other := newRSA(t, "key-1")
	now := start.Unix()
	sum := sha256.Sum256([]byte("access-" + canary))
	good := base64.RawURLEncoding.EncodeToString(sum[:16])
	cases := []struct {
		name    string
		changes object
		want    oidc.Reason
	}{
		{"good", nil, ""},
		{"good_at_hash", object{"at_hash": good}, ""},
		{"good_azp", object{"azp": clientID}, ""},
		{"good_trusted_audience", object{"aud": []string{clientID, "api"}, "azp": clientID}, ""},
		{"issuer_other", object{"iss": "https://id.example.com/realms/two"}, oidc.WrongIssuer},
		{"issuer_prefix", object{"iss": "https://id.example.com"}, oidc.WrongIssuer},
		{"audience_other", object{"aud": "other"}, oidc.WrongAudience},
		{"audience_untrusted", object{"aud": []string{clientID, "evil"}, "azp": clientID}, oidc.WrongAudience},
		{"azp_other", object{"azp": "other"}, oidc.WrongParty},
		{"azp_missing", object{"aud": []string{clientID, "api"}}, oidc.WrongParty},
		{"azp_null", object{"azp": nil}, oidc.WrongParty},
		{"nonce_other", object{"nonce": "other"}, oidc.WrongNonce},
		{"nonce_missing", object{"nonce": missing}, oidc.WrongNonce},
		{"nonce_number", object{"nonce": 1}, oidc.WrongNonce},
		{"expired", object{"exp": now - 1}, oidc.Expired},
		{"exp_missing", object{"exp": missing}, oidc.WrongTime},
		{"iat_missing", object{"iat": missing}, oidc.WrongTime},
		{"iat_future", object{"iat": now + 100}, oidc.WrongTime},
		{"nbf_future", object{"nbf": now + 100}, oidc.WrongTime},
		{"auth_time_future", object{"auth_time": now + 100}, oidc.WrongTime},
		{"auth_time_text", object{"auth_time": "now"}, oidc.WrongTime},
		{"sub_missing", object{"sub": missing}, oidc.NoSubject},
		{"sub_number", object{"sub": 1}, oidc.NoSubject},
		{"sub_too_long", object{"sub": strings.Repeat("x", 256)}, oidc.NoSubject},
		{"sid_number", object{"sid": 1}, oidc.NoSubject},
		{"at_hash_other", object{"at_hash": "x"}, oidc.WrongHash},
		{"acr_list", object{"acr": []string{"x"}}, oidc.WrongACR},
		{"logout_token", object{"events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}, oidc.WrongType},
	}
	b.cfg.Audiences = []string{"api"}
	check := func(t *testing.T, token string, want oidc.Reason) {
		t.Helper()
		b.gives(token)
		_, err := b.finish(t, oidc.Request{})
		if got := oidc.ReasonOf(err); got != want || want != "" && latchkey.CodeOf(err) != latchkey.CodeDenied {
			t.Errorf("refused as %q (%v), want %q", got, err, want)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), canary) {
				t.Errorf("the error says %v", e)
			}
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { check(t, b.key.sign(t, nil, b.claims.with(c.changes)), c.want) })
	}
	for name, c := range map[string]struct {
		token string
		want  oidc.Reason
	}{
		"none":         {encode(`{"alg":"none"}`) + "." + encode(mustJSON(b.claims)) + ".", oidc.WrongAlgorithm},
		"hs256":        {macByPublicKey(t, b.key, b.claims), oidc.WrongAlgorithm},
		"other_key":    {other.sign(t, nil, b.claims), oidc.BadSignature},
		"access_token": {b.key.sign(t, object{"typ": "at+jwt"}, b.claims), oidc.WrongType},
		"logout_typ":   {b.key.sign(t, object{"typ": "logout+jwt"}, b.claims), oidc.WrongType},
		"encrypted":    {"a.b.c.d.e", oidc.Encrypted},
		"too_long":     {strings.Repeat("x", 65<<10), oidc.Malformed},
		"none_at_all":  {"", oidc.NoIDToken},
	} {
		t.Run(name, func(t *testing.T) { check(t, c.token, c.want) })
	}
}

// TestAsked: what a sign-in asks for beyond the configuration must be there.
func TestAsked(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		change  func(*oidc.Config)
		req     oidc.Request
		changes object
		want    oidc.Reason
	}{
		"max_age_good":        {nil, oidc.Request{MaxAge: time.Minute}, nil, ""},
		"max_age_old":         {nil, oidc.Request{MaxAge: 5 * time.Minute}, object{"auth_time": start.Unix() - 301}, oidc.TooOld},
		"max_age_just":        {nil, oidc.Request{MaxAge: 5 * time.Minute}, object{"auth_time": start.Unix() - 300}, ""},
		"max_age_untold":      {nil, oidc.Request{MaxAge: 5 * time.Minute}, object{"auth_time": missing}, oidc.NoAuthTime},
		"configured_old":      {func(c *oidc.Config) { c.MaxAge = time.Minute }, oidc.Request{MaxAge: time.Hour}, object{"auth_time": start.Unix() - 121}, oidc.TooOld},
		"configured_skew":     {func(c *oidc.Config) { c.MaxAge = time.Minute }, oidc.Request{MaxAge: time.Hour}, object{"auth_time": start.Unix() - 120}, ""},
		"configured_untold":   {func(c *oidc.Config) { c.MaxAge = time.Minute }, oidc.Request{}, object{"auth_time": missing}, oidc.NoAuthTime},
		"acr_good":            {nil, oidc.Request{ACR: "urn:otp"}, nil, ""},
		"acr_less":            {nil, oidc.Request{ACR: "urn:otp"}, object{"acr": "urn:pwd"}, oidc.WrongACR},
		"level_higher":        {nil, oidc.Request{ACR: "aal2"}, object{"acr": "aal3"}, ""},
		"level_lower":         {nil, oidc.Request{ACR: "aal2"}, object{"acr": "aal1"}, oidc.WrongACR},
		"acr_untold":          {nil, oidc.Request{ACR: "urn:otp"}, object{"acr": missing}, oidc.WrongACR},
		"configured_acr_less": {func(c *oidc.Config) { c.ACRValues, c.RequireACR = []string{"urn:key", "urn:otp"}, true }, oidc.Request{}, object{"acr": "urn:pwd"}, oidc.WrongACR},
		"configured_acr_good": {func(c *oidc.Config) { c.ACRValues, c.RequireACR = []string{"urn:key", "urn:otp"}, true }, oidc.Request{}, nil, ""},
		"voluntary_acr":       {func(c *oidc.Config) { c.ACRValues = []string{"urn:key"} }, oidc.Request{}, object{"acr": "urn:pwd"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := b.cfg
			if c.change != nil {
				c.change(&cfg)
			}
			b.gives(b.key.sign(t, nil, b.claims.with(c.changes)))
			if _, err := newProvider(t, cfg).Finish(t.Context(), attempt, c.req, "code"); oidc.ReasonOf(err) != c.want || err != nil && c.want == "" {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestClaims: what becomes of claims.
func TestClaims(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		claims  oidc.Claims
		changes object
		email   string
		display string
		roles   []string
	}{
		"unverified":      {oidc.Claims{}, object{"email_verified": false}, "", "Ada", nil},
		"unverified_text": {oidc.Claims{}, object{"email_verified": "false"}, "", "Ada", nil},
		"verified_text":   {oidc.Claims{}, object{"email_verified": "true"}, "ada@example.com", "Ada", nil},
		"untold":          {oidc.Claims{}, object{"email_verified": missing}, "ada@example.com", "Ada", nil},
		"untold_strict":   {oidc.Claims{VerifiedEmail: true}, object{"email_verified": missing}, "", "Ada", nil},
		"username":        {oidc.Claims{}, object{"name": missing, "preferred_username": "ada1"}, "ada@example.com", "ada1", nil},
		"unusable":        {oidc.Claims{}, object{"name": "a\x00b", "email": strings.Repeat("x", 400)}, "", "", nil},
		"other_types":     {oidc.Claims{Roles: []string{"groups"}}, object{"name": 1, "email": []string{"x"}, "groups": object{"a": 1}}, "", "", nil},
		"paths":           {oidc.Claims{Roles: []string{"realm.roles", "https://x.example/roles", "single"}}, object{"realm": object{"roles": []any{"a", 1, "b,c", "a"}}, "https://x.example/roles": []string{"d"}, "single": "e"}, "ada@example.com", "Ada", []string{"a", "d", "e"}},
		"map":             {oidc.Claims{Roles: []string{"groups"}, RoleMap: map[string][]string{"admins": {"admin", "ops"}}, Always: []string{"user"}}, nil, "ada@example.com", "Ada", []string{"user", "admin", "ops"}},
		"prefix":          {oidc.Claims{Roles: []string{"groups"}, Prefix: "corp:"}, nil, "ada@example.com", "Ada", []string{"corp:admins", "corp:staff"}},
		"named":           {oidc.Claims{Email: "mail", Name: "nick"}, object{"mail": "b@example.com", "nick": "A"}, "b@example.com", "A", nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := b.cfg
			cfg.Claims, cfg.UserInfo = c.claims, oidc.UserInfoNever
			b.gives(b.key.sign(t, nil, b.claims.with(c.changes)))
			in, err := newProvider(t, cfg).Finish(t.Context(), attempt, oidc.Request{}, "code")
			if err != nil || in.Email != c.email || in.Name != c.display || !slices.Equal(in.Roles, c.roles) {
				t.Errorf("%q %q %q (%v), want %q %q %q", in.Email, in.Name, in.Roles, err, c.email, c.display, c.roles)
			}
		})
	}
}

func TestUserInfo(t *testing.T) {
	b := newBench(t)
	b.gives(b.key.sign(t, nil, b.claims.with(object{"groups": missing, "email": missing})))
	for name, c := range map[string]struct {
		status int
		answer string
		reason oidc.Reason
		away   bool
	}{
		"good":         {200, `{"sub":"ada","groups":["g"],"email":"i@example.com","email_verified":true,"name":"not used"}`, "", false},
		"other_person": {200, `{"sub":"bob","groups":["g"]}`, oidc.WrongSubject, false},
		"no_person":    {200, `{"groups":["g"]}`, oidc.WrongSubject, false},
		"failing":      {500, canary, "", true},
		"refusing":     {401, `{"error":"` + canary + `"}`, "", true},
		"no_json":      {200, canary, "", true},
		"redirect":     {302, "", "", true},
		"too_large":    {200, `{"sub":"ada","x":"` + strings.Repeat("x", 2<<20) + `"}`, "", true},
		"cut_off":      {0, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			b.set("/me", func(*http.Request) (int, string) { return c.status, c.answer })
			in, err := b.finish(t, oidc.Request{})
			if oidc.ReasonOf(err) != c.reason || oidc.IsAway(err) != c.away {
				t.Fatalf("%v (%v)", err, errors.Unwrap(err))
			}
			if err == nil && (in.Name != "Ada" || in.Email != "i@example.com" || !slices.Equal(in.Roles, []string{"g"})) {
				t.Errorf("%+v", in)
			}
			if err != nil && strings.Contains(fmt.Sprint(err, errors.Unwrap(err)), canary) {
				t.Errorf("the error says %v, %v", err, errors.Unwrap(err))
			}
		})
	}
}

// TestTokenEndpoint: refusals of the provider are told from its being away, and its
// words are in no error.
func TestTokenEndpoint(t *testing.T) {
	b := newBench(t)
	for name, c := range map[string]struct {
		status int
		answer string
		reason oidc.Reason
		away   bool
	}{
		"code_used":     {400, `{"error":"invalid_grant","error_description":"` + canary + `"}`, oidc.Rejected, false},
		"other_error":   {400, `{"error":"` + canary + `"}`, oidc.Rejected, false},
		"client_wrong":  {401, `{"error":"invalid_client"}`, "", true},
		"failing":       {500, canary, "", true},
		"gateway":       {403, "<html>" + canary, "", true},
		"gateway_json":  {404, `{"message":"` + canary + `"}`, "", true},
		"busy":          {429, "", "", true},
		"redirect":      {307, "", "", true},
		"cut_off":       {0, "", "", true},
		"too_large":     {200, `{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`, oidc.Malformed, false},
		"no_json":       {200, canary, oidc.Malformed, false},
		"no_token":      {200, `{}`, oidc.Malformed, false},
		"no_id_token":   {200, `{"access_token":"x","token_type":"Bearer"}`, oidc.NoIDToken, false},
		"id_token_list": {200, `{"access_token":"x","token_type":"Bearer","id_token":["x"]}`, oidc.NoIDToken, false},
	} {
		t.Run(name, func(t *testing.T) {
			b.set("/token", func(*http.Request) (int, string) { return c.status, c.answer })
			_, err := b.finish(t, oidc.Request{})
			if err == nil || oidc.ReasonOf(err) != c.reason || oidc.IsAway(err) != c.away {
				t.Fatalf("%v (%v)", err, errors.Unwrap(err))
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), canary) {
					t.Errorf("the error says %v", e)
				}
			}
		})
	}
}

// TestKeyRotation: a key that is not known is looked for, and whoever makes keys up
// cannot have the provider asked for each.
func TestKeyRotation(t *testing.T) {
	b := newBench(t)
	p := newProvider(t, b.cfg)
	finish := func(s signer) error {
		b.gives(s.sign(t, nil, b.claims))
		_, err := p.Finish(t.Context(), attempt, oidc.Request{}, "code")
		return err
	}
	if err := finish(b.key); err != nil || b.count("/keys") != 1 {
		t.Fatal(err, b.count("/keys"))
	}
	next := newRSA(t, "key-2")
	for range 20 {
		if err := finish(next); oidc.ReasonOf(err) != oidc.UnknownKey {
			t.Fatal(err)
		}
	}
	if n := b.count("/keys"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	b.mu.Lock()
	b.keys.Keys = append(b.keys.Keys[:0:0], next.public())
	b.mu.Unlock()
	b.clock.Advance(6 * time.Second)
	if err := finish(next); err != nil || b.count("/keys") != 2 {
		t.Error(err, b.count("/keys"))
	}
	if err := finish(b.key); oidc.ReasonOf(err) != oidc.UnknownKey {
		t.Errorf("a key that was withdrawn: %v", err)
	}
	// Keys that are not for this are not taken, whatever they are called.
	weak := next.public()
	weak.Use = "enc"
	b.mu.Lock()
	b.keys.Keys[0] = weak
	b.mu.Unlock()
	b.clock.Advance(2 * time.Hour)
	b.claims = b.claims.with(object{"exp": b.clock.Time().Unix() + 60})
	if err := finish(next); oidc.ReasonOf(err) != oidc.UnknownKey {
		t.Errorf("a key for encryption: %v", err)
	}
}

// TestProviderAway: nothing is asked of it at the start, attempts that failed are
// spaced, and what is known counts for a day.
func TestProviderAway(t *testing.T) {
	b := newBench(t)
	up := b.answers["/.well-known/openid-configuration"]
	down := func(*http.Request) (int, string) { return 0, "" }
	b.set("/.well-known/openid-configuration", down)
	p := newProvider(t, b.cfg)
	if b.count("/.well-known/openid-configuration") != 0 {
		t.Error("asked at the start")
	}
	for range 50 {
		if _, err := p.Begin(t.Context(), oidc.Request{}); !oidc.IsAway(err) || latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Fatal(err)
		}
	}
	if n := b.count("/.well-known/openid-configuration"); n != 2 { // and once more at once
		t.Errorf("asked %d times", n)
	}
	b.set("/.well-known/openid-configuration", up)
	b.clock.Advance(time.Second)
	if _, err := p.Begin(t.Context(), oidc.Request{}); err != nil {
		t.Error(err)
	}
	b.set("/.well-known/openid-configuration", down)
	b.clock.Advance(23 * time.Hour)
	if _, err := p.Begin(t.Context(), oidc.Request{}); err != nil {
		t.Error(err)
	}
	b.clock.Advance(time.Hour)
	if _, err := p.Begin(t.Context(), oidc.Request{}); !oidc.IsAway(err) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newProvider(t, b.cfg).Begin(ended, oidc.Request{}); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Error(err)
	}
}

// TestDiscovery: configurations that are not to be trusted.
func TestDiscovery(t *testing.T) {
	for name, changes := range map[string]map[string]any{
		"other_issuer":   {"issuer": "https://id.example.com/realms/two"},
		"slash":          {"issuer": issuer + "/"},
		"plain_token":    {"token_endpoint": "http://id.example.com/token"},
		"plain_auth":     {"authorization_endpoint": "http://id.example.com/auth"},
		"plain_keys":     {"jwks_uri": "http://id.example.com/keys"},
		"script":         {"authorization_endpoint": "javascript:alert(1)"},
		"no_token":       {"token_endpoint": ""},
		"keys_elsewhere": {"jwks_uri": 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for k, v := range changes {
				b.metadata[k] = v
			}
			if _, err := newProvider(t, b.cfg).Begin(t.Context(), oidc.Request{}); !oidc.IsAway(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestBegin(t *testing.T) {
	b := newBench(t)
	b.cfg.Params, b.cfg.Prompt, b.cfg.MaxAge, b.cfg.ACRValues = map[string]string{"hd": "example.com"}, "select_account", time.Hour, []string{"urn:a", "urn:b"}
	p := newProvider(t, b.cfg)
	address, err := p.Begin(t.Context(), oidc.Request{Login: true, MaxAge: time.Minute, RedirectURL: "https://other.example.com/callback/one"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address(attempt))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": clientID, "state": "s", "nonce": attempt.Nonce, "code_challenge": transaction.Challenge(attempt.Verifier),
		"code_challenge_method": "S256", "scope": "openid profile email", "hd": "example.com", "prompt": "select_account login", "max_age": "60", "acr_values": "urn:a urn:b",
		"redirect_uri": "https://other.example.com/callback/one"} {
		if q.Get(name) != want || len(q[name]) != 1 {
			t.Errorf("%s is %q, want %q", name, q[name], want)
		}
	}
	if len(q) != 12 || strings.Contains(u.String(), attempt.Verifier) {
		t.Errorf("%s", u)
	}
	// Two attempts are two addresses, each with its own.
	two := attempt
	two.State, two.Nonce = "s2", "n2"
	if other := address(two); !strings.Contains(other, "state=s2") || !strings.Contains(other, "nonce=n2") || !strings.HasSuffix(address(attempt), "state=s") {
		t.Errorf("%s", other)
	}
}

func TestCheckIssuer(t *testing.T) {
	b := newBench(t)
	p := newProvider(t, b.cfg)
	b2 := newBench(t)
	delete(b2.metadata, "authorization_response_iss_parameter_supported")
	silent := newProvider(t, b2.cfg)
	for _, c := range []struct {
		p     *oidc.Provider
		iss   string
		given bool
		good  bool
	}{{p, issuer, true, true}, {p, "", false, false}, {p, "", true, false}, {p, issuer + "/", true, false}, {p, "https://evil.example", true, false},
		{silent, "", false, true}, {silent, issuer, true, true}, {silent, "https://evil.example", true, false}} {
		if err := c.p.CheckIssuer(t.Context(), c.iss, c.given); (err == nil) != c.good || err != nil && oidc.ReasonOf(err) != oidc.WrongIssuer {
			t.Errorf("iss %q (%v): %v", c.iss, c.given, err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := oidc.Config{ID: "a", Issuer: issuer, ClientID: "c", RedirectURL: "https://app.example.com/callback/a"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	bad := oidc.Config{ID: "A b", Issuer: "http://id.example.com?x", ClientSecret: canary + "\n", ClientAuth: "jwt", Scopes: []string{"a b"}, Params: map[string]string{"state": "x"},
		Prompt: "none", MaxAge: time.Millisecond, ACRValues: []string{""}, Algorithm: "HS256", Audiences: []string{""}, UserInfo: "x", PostLogoutURL: "x",
		Claims: oidc.Claims{Always: []string{"a,b"}, RoleMap: map[string][]string{"a": {""}}, Prefix: ","}}
	err := bad.Check()
	var e *latchkey.Error
	if !errors.As(err, &e) || e.Code != latchkey.CodeInvalidRequest || strings.Contains(err.Error(), canary) {
		t.Fatal(err)
	}
	for _, field := range []string{"ID", "Issuer", "ClientID", "ClientSecret", "ClientAuth", "RedirectURL", "Scopes[0]", "Params", "Prompt", "MaxAge", "ACRValues[0]", "Algorithm", "Audiences[0]",
		"UserInfo", "PostLogoutURL", "Claims.Always", "Claims.RoleMap[a]", "Claims.Prefix"} {
		if !slices.ContainsFunc(e.Fields, func(f latchkey.FieldError) bool { return f.Field == field }) {
			t.Errorf("nothing is said of %s", field)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, config(nil, nil)); strings.Contains(text, canary) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	for issuer, fine := range map[string]bool{"http://127.0.0.1:8080": true, "http://[::1]/x": true, "http://localhost": true, "http://10.0.0.1": false, "https://u:p@id.example.com": false, "": false} {
		c := good
		c.Issuer = issuer
		if err := c.Check(); (err == nil) != fine {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

// FuzzCheckLogout: whatever is sent, nothing panics, and only what is signed is good.
func FuzzCheckLogout(f *testing.F) {
	key := newRSA(f, "key-1")
	claims := object{"iss": issuer, "aud": clientID, "iat": start.Unix(), "exp": start.Unix() + 60, "jti": "x", "sub": "ada", "events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}
	good := key.sign(f, nil, claims)
	for _, seed := range []string{good, good + ".", "..", "a.b.c.d.e", encode(`{"alg":"RS256"}`) + "..", strings.Replace(good, ".", "..", 1)} {
		f.Add(seed)
	}
	p, err := oidc.New(config(newMisbehaving(key.public()), latchkeytest.NewClock(start)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := p.CheckLogout(context.Background(), raw); (err == nil) != (raw == good) || err != nil && oidc.ReasonOf(err) == "" {
			t.Errorf("%q: %v", raw, err)
		}
	})
}

// TestRealTransport: without a transport of one's own the standard library's is used.
func TestRealTransport(t *testing.T) {
	b := newBench(t)
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	b.cfg.Transport, b.cfg.Issuer = nil, srv.URL
	if err := newProvider(t, b.cfg).Ready(t.Context()); !oidc.IsAway(err) || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), "status 404") {
		t.Errorf("%v: %v", err, errors.Unwrap(err))
	}
}
