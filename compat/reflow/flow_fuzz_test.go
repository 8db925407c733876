package reflow

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzFlow: whatever is sent, the answer is no failure of the server, one line to each
// header, and hands out a session only to who has a password or a transaction.
func FuzzFlow(f *testing.F) {
	sites := []*site{newSite(f, basic, nil), newSite(f, oidc, nil)}
	tx, err := sites[1].sessions.config.Codec.NewTx("idp", "/")
	if err != nil {
		f.Fatal(err)
	}
	good, err := sites[1].sessions.config.Codec.EncodeTx(&tx)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", "login", "", `{"username":"alice","password":"wrong"}`, "")
	f.Add("POST", "login", "", `{"username":[],"password":{"a":1e999}}`, "x")
	f.Add("GET", "login/idp", "next=//evil.example", "", "")
	f.Add("GET", "callback/idp", "code=bad&state="+tx.State, "", TxCookieName+"="+good)
	f.Add("GET", "callback/idp", "error=x&state=%0a", "", TxCookieName+"="+good+"; "+DefaultCookieName+"=x.y.z")
	f.Add("POST", "logout", "", "", DefaultCookieName+"="+good)
	f.Add("GET", "me", ";", "", ";;=")
	f.Fuzz(func(t *testing.T, method, path, query, body, cookies string) {
		for i, s := range sites {
			s.events = nil
			r := httptest.NewRequest("GET", "/", strings.NewReader(body))
			r.Method, r.URL = method, &url.URL{Path: AuthPath + path, RawQuery: query}
			r.Header = http.Header{"Content-Type": {"application/json"}, "Origin": {"http://example.com"}, "Cookie": {cookies}}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Fatal(w.Code, w.Body)
			}
			if i == 0 && strings.Contains(body, `right`) {
				continue // it may have found the password
			}
			for name, lines := range w.Header() {
				for _, line := range lines {
					if strings.ContainsAny(line, "\r\n\x00") || name == "Set-Cookie" && strings.HasPrefix(line, DefaultCookieName+"=") && !strings.HasPrefix(line, DefaultCookieName+`="";`) {
						t.Fatalf("%s: %q", name, line)
					}
				}
			}
			if location := w.Header().Get("Location"); location != "" && location != "/login" && !strings.HasPrefix(location, "https://idp.example/authorize?") {
				t.Fatalf("sent to %q", location)
			}
		}
	})
}
