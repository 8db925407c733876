package edge_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/transaction"
)

// FuzzQuestion asks whatever a client can make a proxy ask. Nobody passes without a
// session where one is needed, nobody is sent to a host that is not listed, and there
// is no panic and no error of the server's.
func FuzzQuestion(f *testing.F) {
	b := newEdge(f, proxyRules)
	token := b.signIn(latchkey.SignIn{Subject: "alice"}).Token
	for _, target := range []string{"/", "/public/x", "/public/..%2fadmin", "/admin/x?y#z", "//evil.example.com", "/\\evil.example.com", "/public/..;/admin", "*", "https://evil.example.com/", "/%", "/a\x00b"} {
		f.Add("GET", "https", "app.example.com", target, "navigate", "__Host-session="+token, uint8(1))
	}
	f.Add("POST", "wss", "APP.example.com:443", "/x", "", "", uint8(0))
	f.Add("get", "http", "app.example.com.", "/x", "cors", "a=b; __Host-session=lk_", uint8(2))
	f.Add("GET", "https", "app.example.com@evil.example.com", "/x", "navigate", "__Host-session=", uint8(3))
	f.Fuzz(func(t *testing.T, method, scheme, host, target, mode, cookie string, which uint8) {
		r := &http.Request{Method: "GET", Header: http.Header{}, RemoteAddr: "127.0.0.1:1", Host: "latchkey"}
		r = r.WithContext(t.Context())
		set := func(name, value string) { r.Header[name] = []string{value} }
		set("Sec-Fetch-Mode", mode)
		set("Cookie", cookie)
		switch which % 3 {
		case 0:
			r.RequestURI = "/auth/nginx"
			set("X-Original-Url", scheme+"://"+host+target)
			set("X-Original-Method", method)
		case 1:
			r.RequestURI, r.Method = "/auth/forward", method
			set("X-Forwarded-Method", method)
			set("X-Forwarded-Proto", scheme)
			set("X-Forwarded-Host", host)
			set("X-Forwarded-Uri", target)
		case 2:
			r.RequestURI, r.Method, r.Host = "/auth/envoy"+target, method, host
			set("X-Forwarded-Proto", scheme)
		}
		w := httptest.NewRecorder()
		b.edge.ServeHTTP(w, r)
		h := w.Header()
		switch w.Code {
		case 200, 204:
			if !strings.Contains(cookie, token) && !strings.Contains(target, "/public") && !strings.Contains(target, "%") {
				t.Errorf("granted: %q %q", host, target)
			}
			for _, name := range edge.IdentityHeaders() {
				if len(h[name]) != 1 {
					t.Errorf("%d of %s", len(h[name]), name)
				}
			}
		case 302, 401:
			for _, name := range []string{"Location", "X-Auth-Location"} {
				location := h.Get(name)
				if location == "" {
					continue
				}
				rest, ok := strings.CutPrefix(location, "https://auth.example.com/login")
				if !ok || rest != "" && !strings.HasPrefix(rest, "?rd=https%3A%2F%2Fapp.example.com%2F") {
					t.Errorf("sent to %q", location)
				}
				if transaction.ReturnTo(location, []string{"auth.example.com"}) == "" {
					t.Errorf("sent to %q, which is no good address", location)
				}
			}
		case 403:
		default:
			t.Errorf("status %d", w.Code)
		}
		if w.Code >= 300 && len(h["Set-Cookie"]) > 0 || w.Body.Len() > 0 || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", w.Code, h)
		}
	})
}
