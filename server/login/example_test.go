package login_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/store/memory"
)

// A program puts the sign-in pages beside its own. The provider need not be there yet.
func Example() {
	keys, err := keyring.Generate(time.Now())
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	manager, err := latchkey.New(latchkey.Config{Store: store, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	site, err := page.New(page.Config{FormTargets: []string{"https:"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	corp, err := oidc.New(oidc.Config{ID: "corp", Name: "Example Corporation", Issuer: "https://id.example.com", ClientID: "app",
		RedirectURL: "https://app.example.com/callback/corp", Claims: oidc.Claims{Roles: []string{"groups"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	pages, err := login.New(login.Config{Manager: manager, Site: site, Keys: keys, Spender: store, Providers: []*oidc.Provider{corp}})
	if err != nil {
		fmt.Println(err)
		return
	}
	protection, err := csrf.New(csrf.Config{CookieName: "__Host-session", OnError: site.WriteError})
	if err != nil {
		fmt.Println(err)
		return
	}
	inner := http.NewServeMux()
	site.Register(inner)
	pages.Register(inner)
	mux := http.NewServeMux()
	mux.Handle("/", protection.Handler(inner))
	for _, path := range pages.OpenPaths() {
		mux.Handle(path, inner) // the provider's own requests, which prove themselves
	}

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/login?rd=/reports", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "Continue with <bdi>Example Corporation</bdi>"))
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("POST", "/backchannel-logout/corp", strings.NewReader("")))
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	// Output:
	// 200 true
	// 400 {"error":"invalid_request","error_description":"the request is not a form with one logout_token"}
}
