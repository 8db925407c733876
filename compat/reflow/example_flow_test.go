package reflow_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/latchkey-go/latchkey/compat/reflow"
)

// The original's application with users from the environment.
func ExampleFlow() {
	variables := map[string]string{
		"AUTH_MODE":        "basic",
		"AUTH_SECRET_KEY":  "AUTH_SECRET_KEY, 32 characters or more",
		"AUTH_BASIC_USERS": "alice:$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
	}
	settings, err := reflow.Environment{Lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok }}.Settings()
	if err != nil {
		fmt.Println(err)
		return
	}
	codec, err := reflow.New(settings.Config())
	if err != nil {
		fmt.Println(err)
		return
	}
	sessions, err := reflow.NewSessions(reflow.SessionsConfig{Codec: codec, Origins: []string{"https://app.example.com"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A program verifies the hash here, with golang.org/x/crypto/argon2.
	verify := func(_ context.Context, hash, password string) (bool, error) { return password == "right", nil }
	flow, err := reflow.NewFlow(reflow.FlowConfig{Sessions: sessions, Settings: settings, VerifyPassword: verify})
	if err != nil {
		fmt.Println(err)
		return
	}
	app := sessions.Handler(reflow.APIKeyAuth{Keys: settings.APIKeys, Header: settings.APIKeyHeader}.Handler(flow.Handler()))

	ask := func(r *http.Request) *http.Response {
		r.Header.Set("Origin", "https://app.example.com")
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.Split(w.Body.String(), `,"expires_at"`)[0])
		return w.Result()
	}
	login := httptest.NewRequest("POST", "/api/v1/auth/login", strings.NewReader(`{"username":"alice","password":"right"}`))
	login.Header.Set("Content-Type", "application/json")
	pair := ask(login).Cookies()
	me := httptest.NewRequest("GET", "/api/v1/auth/me", nil)
	me.AddCookie(pair[0])
	ask(me)
	logout := httptest.NewRequest("POST", "/api/v1/auth/logout", nil)
	logout.AddCookie(pair[0])
	ask(logout)
	logout.Header.Set(reflow.CSRFHeader, pair[1].Value)
	ask(logout)
	// Output:
	// 200 {"sub":"alice","email":null,"name":"alice","provider_id":"basic"
	// 200 {"sub":"alice","email":null,"name":"alice","provider_id":"basic"
	// 403 {"detail":"csrf mismatch"}
	// 200 {"logout_url":null}
}
