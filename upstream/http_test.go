package upstream_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/upstream"
)

// kinds makes each Upstream in each of its ways.
func kinds(t *testing.T, a *accounts) map[string]upstream.Upstream {
	t.Helper()
	out := make(map[string]upstream.Upstream)
	add := func(name string, u upstream.Upstream, err error) {
		if err != nil {
			t.Fatal(name, err)
		}
		out[name] = u
	}
	u, err := upstream.NewCheck(upstream.CheckConfig{URL: a.URL + "/v1/account", Header: "x-appwrite-session"})
	add("header", u, err)
	u, err = upstream.NewCheck(upstream.CheckConfig{URL: a.URL + "/userinfo", Header: "Authorization", Prefix: "Bearer "})
	add("prefix", u, err)
	u, err = upstream.NewCheck(upstream.CheckConfig{URL: a.URL + "/cookie", Cookie: "a_session_game"})
	add("cookie", u, err)
	u, err = upstream.NewUserInfo(upstream.UserInfoConfig{URL: a.URL + "/userinfo"})
	add("userinfo", u, err)
	for name, cfg := range map[string]upstream.IntrospectionConfig{
		"basic": {ClientID: "cl:ient", ClientSecret: "client%secret"}, "post": {ClientID: "cl:ient", ClientSecret: "client%secret", Auth: upstream.ClientSecretPost},
		"bearer": {ClientSecret: "client%secret", Auth: upstream.ClientBearer, Hint: "access_token"},
	} {
		cfg.URL = a.URL + "/introspect"
		u, err = upstream.NewIntrospection(cfg)
		add(name, u, err)
	}
	return out
}

func TestKinds(t *testing.T) {
	a := newAccounts(t)
	user := player("u1", "Zoë")
	for name, value := range map[string]any{"active": true, "sub": "u1", "email_verified": "true", "exp": start.Add(time.Hour).Unix(), "updated_at": 1767323045.5} {
		user[name] = value
	}
	a.set(token(1), user)
	for name, u := range kinds(t, a) {
		t.Run(name, func(t *testing.T) {
			got, err := u.Validate(context.Background(), token(1))
			if err != nil || got.ID != "u1" || got.Name != "Zoë" || got.Email != "u1@example.com" || !got.EmailVerified {
				t.Fatalf("%+v %v", got, err)
			}
			if introspected := strings.Contains("basic post bearer", name); introspected == got.ExpiresAt.IsZero() {
				t.Error("ends", got.ExpiresAt)
			}
			if _, err := u.Validate(context.Background(), token(2)); !errors.Is(err, latchkey.ErrInvalidSession) {
				t.Error(err)
			}
			for what, answer := range badAnswers(a) {
				a.behave(answer)
				calls := a.calls.Load()
				_, err := u.Validate(context.Background(), token(1))
				if err == nil || errors.Is(err, latchkey.ErrInvalidSession) || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), a.URL) {
					t.Errorf("%s: %v", what, err)
				}
				if what == "redirect" && a.calls.Load() != calls+1 {
					t.Error("a redirect was followed")
				}
			}
			a.behave(nil)
		})
	}
	wantCookie, err := upstream.NewCheck(upstream.CheckConfig{URL: a.URL + "/cookie", Cookie: "c"})
	if err != nil {
		t.Fatal(err)
	}
	calls := a.calls.Load()
	if _, err := wantCookie.Validate(context.Background(), `a;admin=1`); !errors.Is(err, latchkey.ErrInvalidSession) || a.calls.Load() != calls {
		t.Error("two cookies in one:", err)
	}
}

// badAnswers are none: not yes, not no.
func badAnswers(a *accounts) map[string]http.HandlerFunc {
	with := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		}
	}
	ok := `{"active":true,"sub":"u1","$id":"u1"`
	return map[string]http.HandlerFunc{
		"500": broken, "429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", a.URL+"/userinfo")
			w.WriteHeader(http.StatusFound)
		},
		"html": with("text/html", ok+"}"), "jwt": with("application/jwt", "e30.e30."), "garbage": with("application/json", "\x00\xff"+canary),
		"empty": with("application/json", ""), "null": with("application/json", "null"), "list": with("application/json", "[]"),
		"cut": with("application/json", ok), "two": with("application/json", ok+"}{}"), "nobody": with("application/json", `{"active":true,"sub":"","$id":null}`),
		"deep": with("application/json", strings.Repeat("[", 60000)), "10MB": with("application/json", ok+`,"x":"`+strings.Repeat("x", 10<<20)+`"}`),
		"just-too-long": with("application/json", ok+"}"+strings.Repeat(" ", upstream.MaxBody)),
		"hangs-up":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
}

func TestSlowUpstream(t *testing.T) {
	a := newAccounts(t)
	a.set(token(1), player("u1", "A"))
	c, _ := newCache(t, a, func(cfg *upstream.Config) { cfg.UpstreamTimeout = 50 * time.Millisecond })
	a.hold()
	_, err := c.Lookup(context.Background(), token(1))
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	a.release()
	a.Server.CloseClientConnections()
	lookup(t, c, token(1))
}

func TestIntrospectionIsForUs(t *testing.T) {
	answer := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	u, err := upstream.NewIntrospection(upstream.IntrospectionConfig{URL: server.URL, ClientID: "c", ClientSecret: "s", Audience: "us", Issuer: "https://idp", Scopes: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer string
		code   latchkey.Code
	}{
		"all":           {`{"active":true,"sub":"u","iss":"https://idp","aud":"us","scope":"b a c"}`, ""},
		"among":         {`{"active":true,"sub":"u","iss":"https://idp","aud":["x","us"],"scope":"a b"}`, ""},
		"other-client":  {`{"active":true,"sub":"u","iss":"https://idp","aud":["x"],"scope":"a b"}`, latchkey.CodeInvalidSession},
		"no-audience":   {`{"active":true,"sub":"u","iss":"https://idp","scope":"a b"}`, latchkey.CodeInvalidSession},
		"other-issuer":  {`{"active":true,"sub":"u","iss":"https://idp2","aud":"us","scope":"a b"}`, latchkey.CodeInvalidSession},
		"scope-missing": {`{"active":true,"sub":"u","iss":"https://idp","aud":"us","scope":"ab a"}`, latchkey.CodeInvalidSession},
		"inactive":      {`{"active":false,"sub":"u","iss":"https://idp","aud":"us","scope":"a b"}`, latchkey.CodeInvalidSession},
		"active-text":   {`{"active":"true","sub":"u","iss":"https://idp","aud":"us","scope":"a b"}`, latchkey.CodeInternal},
		"bad-expiry":    {`{"active":true,"sub":"u","iss":"https://idp","aud":"us","scope":"a b","exp":"soon"}`, latchkey.CodeInternal},
		"negative-exp":  {`{"active":true,"sub":"u","iss":"https://idp","aud":"us","scope":"a b","exp":-5}`, latchkey.CodeInternal},
	} {
		answer = c.answer
		if _, err := u.Validate(context.Background(), token(1)); latchkey.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpstreamProblemsTogether(t *testing.T) {
	_, err := upstream.NewCheck(upstream.CheckConfig{URL: "http://u:" + canary + "@accounts.example/", Header: "a b", Cookie: "c", Prefix: "\n",
		Extra: http.Header{"": {"x"}}, Fields: upstream.Fields{Email: "e"}, Invalid: []int{500}})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	for _, field := range []string{"URL:", "Header:", "Prefix:", "Fields.ID:", "Invalid:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not told: %v", field, err)
		}
	}
	_, err = upstream.NewIntrospection(upstream.IntrospectionConfig{URL: "http://accounts.example/", Auth: 9})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	for _, field := range []string{"URL:", "Auth:", "ClientID:", "ClientSecret:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not told: %v", field, err)
		}
	}
	for _, url := range []string{"", "accounts", "ftp://accounts.example", "https://accounts.example/#x", "http://127.0.0.1.example/"} {
		_, err = upstream.NewUserInfo(upstream.UserInfoConfig{URL: url})
		wantCode(t, err, latchkey.CodeInvalidRequest)
	}
	if _, err = upstream.NewUserInfo(upstream.UserInfoConfig{URL: "http://accounts.example", DangerouslyPlainHTTP: true}); err != nil {
		t.Error(err)
	}
}
