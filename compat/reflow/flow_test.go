package reflow

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey-go/latchkey/store/storetest"
)

// hash is the argon2id hash of a password in its text form, with the least parameters:
// tests of what surrounds it need not wait.
func hash(password, salt string) string {
	sum := argon2.IDKey([]byte(password), []byte(salt), 1, 8, 1, 16)
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", base64.RawStdEncoding.EncodeToString([]byte(salt)), base64.RawStdEncoding.EncodeToString(sum))
}

// verify reads what hash writes.
func verify(_ context.Context, text, password string) (bool, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[3] != "m=8,t=1,p=1" {
		return false, errors.New("no hash of these tests")
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	return subtle.ConstantTimeCompare(argon2.IDKey([]byte(password), salt, 1, 8, 1, 16), want) == 1, errors.Join(err1, err2)
}

// site is the original's application, as far as it signs in.
type site struct {
	http.Handler
	sessions *Sessions
	clock    *clockAt
	events   []Event
	used     *storetest.Faulty
	idp      *idp
}

func newSite(t testing.TB, settings Settings, change func(*FlowConfig)) *site {
	t.Helper()
	s := &site{idp: &idp{claims: Claims{Subject: "ada"}}}
	s.sessions, s.clock = sessions(t, func(c *SessionsConfig) {
		c.OnEvent = func(_ *http.Request, e Event) { s.events = append(s.events, e) }
	}, func(c *Config) { c.Random = nil }) // what the tests have otherwise runs dry
	s.used = spender(t, s.clock)
	c := FlowConfig{Sessions: s.sessions, Settings: settings, VerifyPassword: verify, OIDC: s.idp, Used: s.used}
	if change != nil {
		change(&c)
	}
	f, err := NewFlow(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = s.sessions.Handler(APIKeyAuth{}.Handler(f.Handler()))
	return s
}

func (s *site) lastEvent(t *testing.T, want Event) {
	t.Helper()
	if len(s.events) == 0 || s.events[len(s.events)-1] != want {
		t.Errorf("events %+v, want %+v last", s.events, want)
	}
}

var basic = Settings{Mode: ModeBasic, BasicUsers: []BasicUser{{"alice", hash("right", "saltsalt")}, {"bob", "$argon2id$broken"}}}

func post(path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest("POST", AuthPath+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// cookies returns the Set-Cookie lines of an answer by name.
func cookies(res *http.Response) map[string]*http.Cookie {
	m := make(map[string]*http.Cookie)
	for _, c := range res.Cookies() {
		m[c.Name] = c
	}
	return m
}

const own, mine = "Origin", "http://example.com"

func TestBasicLogin(t *testing.T) {
	s := newSite(t, basic, nil)
	res := serve(s, post("login", `{"username":"alice","password":"right","more":1}`, own, mine))
	if got := body(t, res); res.StatusCode != 200 || got != `{"sub":"alice","email":null,"name":"alice","provider_id":"basic","expires_at":"2026-01-02T11:04:05.678901+00:00"}` {
		t.Fatal(res.StatusCode, got)
	}
	set := cookies(res)
	session := set[DefaultCookieName]
	if len(set) != 2 || res.Header.Get(SentinelHeader) != "1" || session == nil || set[DefaultCookieName+CSRFSuffix].Value != s.sessions.config.Codec.CSRF(session.Value) {
		t.Error(res.Header)
	}
	s.lastEvent(t, Event{LoginSuccess, "basic", "alice", ""})
	long := strings.Repeat("é", MaxCredential+1)
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
		body   string
		event  Event
	}{
		{"wrong-password", post("login", `{"username":"alice","password":"wrong"}`, own, mine), 401, `{"detail":"invalid credentials"}`, Event{LoginFailure, "basic", "", InvalidPassword}},
		{"unknown-user", post("login", `{"username":"eve","password":"right"}`, own, mine), 401, `{"detail":"invalid credentials"}`, Event{LoginFailure, "basic", "", InvalidPassword}},
		{"broken-hash", post("login", `{"username":"bob","password":"x"}`, own, mine), 401, `{"detail":"invalid credentials"}`, Event{LoginFailure, "basic", "", InvalidPassword}},
		{"other-origin", post("login", `{"username":"alice","password":"right"}`, own, "http://evil.example"), 403, `{"detail":"cross-origin request rejected"}`, Event{}},
		{"no-origin", post("login", `{"username":"alice","password":"right"}`), 403, `{"detail":"missing or non-same-origin request"}`, Event{}},
		{"get", request("GET", AuthPath+"login", ""), 405, `{"detail":"Method Not Allowed"}`, Event{}},
		{"empty", post("login", ``, own, mine), 422, `{"detail":[{"type":"missing","loc":["body"],"msg":"Field required"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"no-json", post("login", `{`, own, mine), 422, `{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"no-object", post("login", `[]`, own, mine), 422, `{"detail":[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"form", post("login", `username=alice&password=right`, own, mine, "Content-Type", "application/x-www-form-urlencoded"), 422,
			`{"detail":[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"fields", post("login", `{"username":5}`, own, mine), 422, `{"detail":[{"type":"string_type","loc":["body","username"],"msg":"Input should be a valid string"},{"type":"missing","loc":["body","password"],"msg":"Field required"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"lengths", post("login", `{"username":"","password":"`+long+`"}`, own, mine), 422, `{"detail":[{"type":"string_too_short","loc":["body","username"],"msg":"String should have at least 1 character"},{"type":"string_too_long","loc":["body","password"],"msg":"String should have at most 200 characters"}]}`, Event{LoginFailure, "basic", "", MissingCredentials}},
		{"large", post("login", `{"username":"`+strings.Repeat("a", 10<<20), own, mine), 413, `{"detail":"request body too large"}`, Event{}},
		{"oidc", request("GET", AuthPath+"login/idp", ""), 404, `{"detail":"oidc not enabled"}`, Event{}},
		{"callback", request("GET", AuthPath+"callback/idp?code=x&state=y", ""), 404, `{"detail":"oidc not enabled"}`, Event{}},
		{"config", request("GET", AuthPath+"config", ""), 200, `{"mode":"basic","providers":[{"id":"basic","display_name":"Sign in","login_url":"/login"}]}`, Event{}},
		{"elsewhere", request("GET", AuthPath+"x", ""), 404, `{"detail":"Not Found"}`, Event{}},
		{"deeper", request("GET", AuthPath+"login/a/b", ""), 404, `{"detail":"Not Found"}`, Event{}},
		{"nobody", request("GET", AuthPath+"me", ""), 401, `{"detail":"Authentication required"}`, Event{}},
		{"api", request("GET", "/api/v1/x", ""), 401, `{"detail":"Missing API key. Provide a valid key in the 'X-API-Key' header."}`, Event{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.events = nil
			res := serve(s, c.r)
			if got := body(t, res); res.StatusCode != c.status || got != c.body || len(res.Cookies()) > 0 {
				t.Error(res.StatusCode, got, res.Header)
			}
			if c.event != (Event{}) {
				s.lastEvent(t, c.event)
			} else if len(s.events) > 0 {
				t.Error(s.events)
			}
		})
	}
}

// TestBusy: passwords are verified a few at a time, and not for who may not try.
func TestBusy(t *testing.T) {
	running, most, release := make(chan struct{}, 100), 0, make(chan struct{})
	s := newSite(t, basic, func(c *FlowConfig) {
		c.VerifyPassword = func(context.Context, string, string) (bool, error) {
			running <- struct{}{}
			<-release
			<-running
			return false, nil
		}
		c.Allow = func(r *http.Request) bool { return r.Header.Get("X-Often") == "" }
		c.Sessions.config.OnEvent = nil // it is not for several at once
	})
	done := make(chan int)
	const callers = 3 * MaxVerifying
	for range callers {
		go func() {
			done <- serve(s, post("login", `{"username":"alice","password":"x"}`, own, mine)).StatusCode
		}()
	}
	for range callers {
		release <- struct{}{}
		most = max(most, len(running))
		if code := <-done; code != 401 {
			t.Error(code)
		}
	}
	if most > MaxVerifying {
		t.Errorf("%d at once", most)
	}
	if res := serve(s, post("login", `{"username":"alice","password":"x"}`, own, mine, "X-Often", "1")); res.StatusCode != 429 {
		t.Error(res.StatusCode)
	}
}

// idp is an OpenID provider as far as the Flow sees one: it redeems a code for the
// claims when the verifier is that of the challenge it was sent.
type idp struct {
	sent   url.Values // the last authorization request
	claims Claims
	away   error
}

func (p *idp) AuthorizationEndpoint(_ context.Context, provider Provider) (string, error) {
	return "https://idp.example/authorize?tenant=" + provider.ClientID, p.away
}

func (p *idp) Redeem(_ context.Context, _ Provider, c Code) (Claims, error) {
	switch {
	case p.away != nil:
		return Claims{}, p.away
	case c.Code != "good" || PKCES256(c.Verifier) != p.sent.Get("code_challenge") || c.Nonce != p.sent.Get("nonce") || c.RedirectURI != p.sent.Get("redirect_uri"):
		return Claims{}, errors.New("invalid_grant")
	}
	return p.claims, nil
}

var oidc = Settings{Mode: ModeOIDC, PostLoginRedirect: "/home", OIDCProviders: []Provider{
	{ID: "idp", DisplayName: "IdP", ClientID: "client", Scopes: DefaultScopes}, {ID: "other", DisplayName: "Other", ClientID: "c2"}}}

// begin starts a sign-in and returns the transaction cookie.
func (s *site) begin(t *testing.T, path string) string {
	t.Helper()
	res := serve(s, request("GET", AuthPath+path, ""))
	sent, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != 302 || cookies(res)[TxCookieName] == nil {
		t.Fatal(err, res.StatusCode, res.Header)
	}
	s.idp.sent = sent.Query()
	return cookies(res)[TxCookieName].Value
}

// callback lets the browser come back with a transaction cookie.
func (s *site) callback(path, tx string) *http.Response {
	r := request("GET", AuthPath+"callback/"+path, "")
	if tx != "" {
		r.AddCookie(&http.Cookie{Name: TxCookieName, Value: tx})
	}
	return serve(s, r)
}

func TestOIDC(t *testing.T) {
	s := newSite(t, oidc, nil)
	res := serve(s, request("GET", AuthPath+"login/idp?next=/docs%3Fx=%C3%BC", ""))
	tx := cookies(res)[TxCookieName]
	line := res.Header.Get("Set-Cookie")
	if want := "reflow_oauth_tx=" + tx.Value + "; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure"; line != want {
		t.Error(line)
	}
	held, err := s.sessions.config.Codec.DecodeTx(tx.Value)
	if err != nil {
		t.Fatal(err)
	}
	if want := "https://idp.example/authorize?tenant=client&response_type=code&client_id=client&redirect_uri=http%3A%2F%2Fexample.com%2Fapi%2Fv1%2Fauth%2Fcallback%2Fidp&scope=openid+email+profile&state=" +
		held.State + "&nonce=" + held.Nonce + "&code_challenge=" + PKCES256(held.Verifier) + "&code_challenge_method=S256"; res.Header.Get("Location") != want {
		t.Errorf("sent to %s", res.Header.Get("Location"))
	}
	email, preferred := "ada@example.com", "Ada L."
	s.idp.claims = Claims{Subject: "ada", Email: &email, PreferredUsername: &preferred}
	sent, _ := url.Parse(res.Header.Get("Location"))
	s.idp.sent = sent.Query()
	res = s.callback("idp?code=good&state="+held.State, tx.Value)
	set := cookies(res)
	if res.StatusCode != 302 || res.Header.Get("Location") != "/docs?x=%C3%BC" || len(set) != 3 || set[TxCookieName].MaxAge >= 0 {
		t.Fatal(res.StatusCode, res.Header)
	}
	id, err := s.sessions.config.Codec.Decode(set[DefaultCookieName].Value)
	if err != nil || id.Subject != "ada" || id.Provider != "idp" || *id.Email != email || *id.Name != preferred {
		t.Errorf("%+v %v", id, err)
	}
	s.lastEvent(t, Event{LoginSuccess, "idp", "ada", ""})
	res = s.callback("idp?code=good&state="+held.State, tx.Value)
	if got := body(t, res); res.StatusCode != 400 || got != `{"detail":"authentication failed"}` || cookies(res)[DefaultCookieName] != nil {
		t.Error("a transaction is finished twice:", res.StatusCode, got)
	}
}

func TestCallbackAttacks(t *testing.T) {
	const failed = `{"detail":"authentication failed"}`
	for _, c := range []struct {
		name    string
		status  int
		body    string
		cleared bool
		attack  func(s *site, state, tx string) *http.Response
	}{
		{"no-code", 400, `{"detail":"callback missing code or state"}`, false, func(s *site, state, tx string) *http.Response { return s.callback("idp?state="+state, tx) }},
		{"no-state", 400, `{"detail":"callback missing code or state"}`, false, func(s *site, _, tx string) *http.Response { return s.callback("idp?code=good", tx) }},
		{"two-codes", 400, `{"detail":"callback missing code or state"}`, false, func(s *site, state, tx string) *http.Response {
			return s.callback("idp?code=good&code=bad&state="+state, tx)
		}},
		{"no-cookie", 400, `{"detail":"missing oauth tx cookie"}`, false, func(s *site, state, _ string) *http.Response {
			return s.callback("idp?code=good&state="+state, "")
		}},
		{"two-cookies", 400, `{"detail":"missing oauth tx cookie"}`, false, func(s *site, state, tx string) *http.Response {
			r := request("GET", AuthPath+"callback/idp?code=good&state="+state, "")
			r.Header.Set("Cookie", TxCookieName+"="+tx+"; "+TxCookieName+"="+tx)
			return serve(s, r)
		}},
		{"tampered", 400, `{"detail":"oauth tx invalid"}`, true, func(s *site, state, tx string) *http.Response {
			return s.callback("idp?code=good&state="+state, "x"+tx)
		}},
		{"expired", 400, `{"detail":"oauth tx expired"}`, true, func(s *site, state, tx string) *http.Response {
			s.clock.now = s.clock.now.Add(TxMaxAge + time.Second)
			return s.callback("idp?code=good&state="+state, tx)
		}},
		{"session-for-tx", 400, `{"detail":"oauth tx invalid"}`, true, func(s *site, state, _ string) *http.Response {
			id := s.sessions.config.Codec.NewIdentity("a", "p", nil, nil)
			session, _ := s.sessions.config.Codec.Encode(&id)
			return s.callback("idp?code=good&state="+state, session)
		}},
		{"other-state", 400, failed, false, func(s *site, _, tx string) *http.Response {
			return s.callback("idp?code=good&state="+strings.Repeat("A", 43), tx)
		}},
		{"other-provider", 400, failed, true, func(s *site, state, tx string) *http.Response {
			return s.callback("other?code=good&state="+state, tx)
		}},
		{"unknown-provider", 404, `{"detail":"unknown provider"}`, false, func(s *site, state, tx string) *http.Response {
			return s.callback("evil?code=good&state="+state, tx)
		}},
		{"bad-code", 400, failed, true, func(s *site, state, tx string) *http.Response { return s.callback("idp?code=bad&state="+state, tx) }},
		{"no-subject", 400, failed, true, func(s *site, state, tx string) *http.Response {
			s.idp.claims.Subject = ""
			return s.callback("idp?code=good&state="+state, tx)
		}},
		{"provider-away", 503, `{"detail":"temporarily unavailable"}`, true, func(s *site, state, tx string) *http.Response {
			s.idp.away = fmt.Errorf("dial: %w", ErrUnavailable)
			return s.callback("idp?code=good&state="+state, tx)
		}},
		{"store-away", 503, `{"detail":"temporarily unavailable"}`, false, func(s *site, state, tx string) *http.Response {
			s.used.Fail(storetest.NotPersisted)
			return s.callback("idp?code=good&state="+state, tx)
		}},
		{"refused-there", 302, "", true, func(s *site, state, tx string) *http.Response {
			return s.callback("idp?error=access_denied&state="+state, tx)
		}},
		{"refused-forged", 302, "", false, func(s *site, _, tx string) *http.Response { return s.callback("idp?error=access_denied&state=x", tx) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, oidc, nil)
			tx := s.begin(t, "login/idp?next=//evil.example")
			state := s.idp.sent.Get("state")
			res := c.attack(s, state, tx)
			set := cookies(res)
			if got := body(t, res); res.StatusCode != c.status || got != c.body || set[DefaultCookieName] != nil {
				t.Error(res.StatusCode, got, res.Header)
			}
			if (set[TxCookieName] != nil) != c.cleared {
				t.Error("cleared:", set[TxCookieName])
			}
			if c.status == 302 && res.Header.Get("Location") != "/login" {
				t.Error(res.Header.Get("Location"))
			}
			if c.cleared || c.name == "expired" {
				return
			}
			// What did not end the sign-in leaves it good, and it leads home.
			s.used.Fail(nil)
			if res := s.callback("idp?code=good&state="+state, tx); res.StatusCode != 302 || res.Header.Get("Location") != "/home" {
				t.Error("afterwards:", res.StatusCode, res.Header)
			}
		})
	}
}

func TestFlowConfig(t *testing.T) {
	for name, c := range map[string]struct {
		config FlowConfig
		want   []string
	}{
		"basic": {FlowConfig{Settings: Settings{Mode: ModeBasic, PostLoginRedirect: "x"}}, []string{"Sessions", "VerifyPassword", "BasicUsers", "PostLoginRedirect"}},
		"oidc":  {FlowConfig{Settings: Settings{Mode: ModeOIDC}}, []string{"Sessions", "OIDC is missing", "Used", "OIDCProviders"}},
		"saml":  {FlowConfig{Settings: Settings{Mode: "saml"}}, []string{"Mode"}},
	} {
		_, err := NewFlow(c.config)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s is not in: %v", name, want, err)
			}
		}
	}
	// Without sign-in there is no secret, and the page can still ask.
	f, err := NewFlow(FlowConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"GET config": `{"mode":"none","providers":[]}`, "POST login": `{"detail":"basic login disabled"}`, "GET login/x": `{"detail":"oidc not enabled"}`,
		"GET me": `{"detail":"Authentication required"}`, "POST logout": `{"detail":"Authentication required"}`} {
		method, rest, _ := strings.Cut(path, " ")
		if got := body(t, serve(f.Handler(), request(method, AuthPath+rest, ""))); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
	config := body(t, serve(newSite(t, oidc, nil), request("GET", AuthPath+"config", "")))
	if !json.Valid([]byte(config)) || config != `{"mode":"oidc","providers":[{"id":"idp","display_name":"IdP","login_url":"/api/v1/auth/login/idp?next=/"},{"id":"other","display_name":"Other","login_url":"/api/v1/auth/login/other?next=/"}]}` {
		t.Error(config)
	}
}

func TestAPIKeyOptions(t *testing.T) {
	long := strings.Repeat("k", 32)
	keys, err := ParseAPIKeys("ops:"+long, false)
	if err != nil {
		t.Fatal(err)
	}
	token := strings.Repeat("t", MinStreamToken)
	spent := 0
	serves := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		label, _ := APIKeyLabel(r.Context())
		io.WriteString(w, label)
	})
	strict := APIKeyAuth{Keys: keys, Header: "X-Key"}.Handler(serves)
	open := APIKeyAuth{Keys: keys, Header: "X-Key", Development: true, DangerouslySameOrigin: true,
		StreamToken: func(_ *http.Request, got string) bool { spent++; return got == token && spent == 1 }}.Handler(serves)
	for _, c := range []struct {
		name, path   string
		headers      []string
		strict, open int
		body         string
	}{
		{"label", "/api/v1/x", []string{"X-Key", long}, 200, 200, "ops"},
		{"other-header", "/api/v1/x", []string{"X-API-Key", long}, 401, 401, `{"detail":"Missing API key. Provide a valid key in the 'X-Key' header."}`},
		{"wrong", "/api/v1/x", []string{"X-Key", "x"}, 401, 401, `{"detail":"Invalid API key"}`},
		{"wrong-from-own", "/api/v1/x", []string{"X-Key", "x", "Sec-Fetch-Site", "same-origin"}, 401, 401, `{"detail":"Invalid API key"}`},
		{"own", "/api/v1/x", []string{"Sec-Fetch-Site", "same-origin"}, 401, 200, ""},
		{"development", "/api/dev/monitoring/x", nil, 401, 200, ""},
		{"not-development", "/api/dev/other", nil, 401, 401, ""},
		{"stream", "/api/v1/jobs/1/stream?token=" + token, nil, 401, 200, ""},
		{"stream-again", "/api/v1/jobs/1/stream?token=" + token, nil, 401, 401, ""},
		{"short-token", "/api/v1/jobs/1/stream?token=" + token[1:], nil, 401, 401, ""},
		{"two-tokens", "/api/v1/jobs/1/stream?token=" + token + "&token=" + token, nil, 401, 401, ""},
		{"no-stream", "/api/v1/jobs/1/streams?token=" + token, nil, 401, 401, ""},
	} {
		for i, h := range []http.Handler{strict, open} {
			res := serve(h, request("GET", c.path, "", c.headers...))
			if got := body(t, res); res.StatusCode != []int{c.strict, c.open}[i] || c.body != "" && got != c.body {
				t.Errorf("%s, %d: %d %s", c.name, i, res.StatusCode, got)
			}
		}
	}
	if spent != 2 {
		t.Errorf("%d tokens were looked at", spent)
	}
}

func TestClientIP(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:5"
	for _, c := range []struct{ name, value, want string }{{"", "", "192.0.2.1"}, {"X-Real-IP", "192.0.2.2", "192.0.2.2"}, {"X-Forwarded-For", " 192.0.2.3 , 192.0.2.4", "192.0.2.3"}} {
		if c.name != "" {
			r.Header.Set(c.name, c.value)
		}
		if got := ClientIP(r); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
