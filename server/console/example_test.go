package console_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/store/memory"
)

// The pages in a program of one's own: the site first, because the Manager's errors
// are to be pages too, then the Manager, then the pages behind the cross-site check.
func Example() {
	store, err := memory.New(memory.Config{})
	check(err)
	keys, err := keyring.Generate(time.Now())
	check(err)
	site, err := page.New(page.Config{})
	check(err)
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: keys, OnError: site.WriteError, Passive: console.Passive})
	check(err)
	defer m.Close(context.Background())

	signIn, err := login.New(login.Config{Manager: m, Site: site, DangerouslyDemo: true})
	check(err)
	account, err := console.New(console.Config{Manager: m, Site: site, Counter: store})
	check(err)
	mux := http.NewServeMux()
	site.Register(mux)
	signIn.Register(mux)
	account.Register(mux)
	protection, err := csrf.New(csrf.Config{CookieName: "__Host-session", OnError: site.WriteError})
	check(err)
	handler := protection.Handler(mux)

	// A visitor asks for the account page, is sent to sign in, and comes back.
	r := httptest.NewRequest("GET", "/account", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))

	form := url.Values{"name": {"Ada"}, "rd": {"/account"}}
	r = httptest.NewRequest("POST", "/login", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))

	// Output:
	// 303 /login?rd=%2Faccount
	// 303 /account
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
