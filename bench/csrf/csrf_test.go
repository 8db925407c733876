// Package csrf measures the check of a same-origin POST by a handler called directly:
// Latchkey beside the peers, in one run.
package csrf

import (
	"bytes"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/csrf"
	"github.com/justinas/nosurf"

	"github.com/latchkey-go/latchkey/csrf"
	"github.com/latchkey-go/latchkey/keyring"
)

const (
	address = "https://app.example.com/v1/me/revoke-others"
	session = "__Host-session=lk_"
	id      = "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"
)

// subject is a protection around a handler, and a POST that it lets through. Every
// one gets the request that suits it best: peers their token in a header, where it is
// found first.
type subject struct {
	name    string
	handler http.Handler
	request *http.Request
}

// post is what a browser of today sends, with a session cookie.
func post() *http.Request {
	r := httptest.NewRequest(http.MethodPost, address, nil)
	r.URL = &url.URL{Path: r.URL.Path} // as a server sees it
	r.Header.Set("Cookie", session+strings.Repeat("A", 88))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "https://app.example.com")
	return r
}

// reached is the handler behind every protection.
var reached = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// page gives the token of a visitor in a page, as peers hand it out.
func page(b *testing.B, protect func(http.Handler) http.Handler, token func(*http.Request) string) *http.Request {
	b.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.URL = &url.URL{Path: r.URL.Path}
	var text string
	protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { text = html.UnescapeString(token(r)) })).ServeHTTP(w, r)
	out := post()
	for _, c := range w.Result().Cookies() {
		out.AddCookie(c)
	}
	if text == "" {
		b.Fatal("the page has no token")
	}
	out.Header.Set("X-CSRF-Token", text)
	return out
}

func protection(b *testing.B, cfg csrf.Config) *csrf.Protection {
	b.Helper()
	cfg.CookieName = "__Host-session"
	p, err := csrf.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func subjects(b *testing.B) []subject {
	b.Helper()
	list := []subject{{"none", reached, post()}}
	list = append(list, subject{"latchkey", protection(b, csrf.Config{}).Handler(reached), post()})

	keys, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	tokens := protection(b, csrf.Config{Keys: keys, RequireToken: true, SessionID: func(*http.Request) string { return id }})
	token, err := tokens.TokenFor(id)
	if err != nil {
		b.Fatal(err)
	}
	r := post()
	r.Header.Set(csrf.HeaderName, token)
	list = append(list, subject{"latchkey_token", tokens.Handler(reached), r})

	list = append(list, subject{"stdlib", http.NewCrossOriginProtection().Handler(reached), post()})

	guard := gorilla.Protect(bytes.Repeat([]byte{7}, 32))
	list = append(list, subject{"gorilla_csrf", guard(reached), page(b, guard, gorilla.Token)})

	nosurfed := func(next http.Handler) http.Handler { return nosurf.New(next) }
	list = append(list, subject{"nosurf", nosurfed(reached), page(b, nosurfed, nosurf.Token)})
	return list
}

// writer is a ResponseWriter that costs nothing and keeps nothing.
type writer struct {
	header http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) WriteHeader(status int)      { w.status = status }

func BenchmarkCSRF(b *testing.B) {
	for _, s := range subjects(b) {
		b.Run(s.name, func(b *testing.B) {
			w := &writer{header: make(http.Header)}
			s.handler.ServeHTTP(w, s.request)
			if w.status != http.StatusNoContent {
				b.Fatalf("the request is answered with %d", w.status)
			}
			w.status = 0
			b.ReportAllocs()
			for b.Loop() {
				if len(w.header) > 0 { // peers add to it each time
					clear(w.header)
				}
				s.handler.ServeHTTP(w, s.request)
			}
			if w.status != http.StatusNoContent {
				b.Fatalf("the request is answered with %d", w.status)
			}
		})
	}
}
