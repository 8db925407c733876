package csrf_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/csrf"
)

const (
	host    = "app.example.com"
	same    = "https://app.example.com"
	other   = "https://evil.example"
	own     = "https://public.example.com"
	trusted = "https://partner.example"
	cookie  = "__Host-session"
)

func newProtection(t testing.TB) *csrf.Protection {
	t.Helper()
	p, err := csrf.New(csrf.Config{CookieName: cookie, OwnOrigins: []string{own}, TrustedOrigins: []string{trusted}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// want is the rule as the documentation words it, written apart from the code.
func want(method, site, origin string, hasCookie, hasAuth bool) bool {
	switch {
	case method == "GET" || method == "HEAD" || method == "OPTIONS":
		return true
	case hasAuth && !hasCookie:
		return true
	case hasCookie && site == "" && origin == "":
		return false
	case site == "same-origin" || site == "none":
		return true
	case origin == trusted:
		return true
	case site != "":
		return false
	}
	return origin == "" || origin == same || origin == own
}

func TestEveryCombination(t *testing.T) {
	p := newProtection(t)
	passed, refused := 0, 0
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		for _, site := range []string{"same-origin", "same-site", "cross-site", "none", ""} {
			for _, origin := range []string{same, other, own, own + ":444", trusted, "null", ""} {
				for _, hasCookie := range []bool{false, true} {
					for _, hasAuth := range []bool{false, true} {
						r := httptest.NewRequest(method, "http://"+host+"/v1/me", nil)
						set(r, "Sec-Fetch-Site", site)
						set(r, "Origin", origin)
						if hasCookie {
							r.Header.Set("Cookie", "a=b; "+cookie+"=lk_x")
						}
						if hasAuth {
							r.Header.Set("Authorization", "Bearer lk_x")
						}
						expect := want(method, site, origin, hasCookie, hasAuth)
						rec := httptest.NewRecorder()
						reached := false
						p.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })).ServeHTTP(rec, r)
						if reached != expect || expect != (p.Check(r) == nil) {
							t.Errorf("%s site=%q origin=%q cookie=%v auth=%v: reached %v, want %v", method, site, origin, hasCookie, hasAuth, reached, expect)
						}
						if expect {
							passed++
							continue
						}
						refused++
						if rec.Code != 403 || !strings.Contains(rec.Body.String(), `"code":"csrf_refused"`) || rec.Header().Get("Set-Cookie") != "" {
							t.Errorf("refusal: %d %s %v", rec.Code, rec.Body, rec.Header())
						}
					}
				}
			}
		}
	}
	if passed == 0 || refused == 0 {
		t.Errorf("%d passed, %d refused: the table does not tell them apart", passed, refused)
	}
}

func set(r *http.Request, name, value string) {
	if value != "" {
		r.Header.Set(name, value)
	}
}

func TestCookieIsSeenHoweverItIsWritten(t *testing.T) {
	p := newProtection(t)
	for name, lines := range map[string][]string{
		"alone": {cookie + "=x"}, "empty": {cookie + "="}, "second": {"a=b;" + cookie + "=x"},
		"spaces": {"a=b; \t " + cookie + "=x"}, "second-line": {"a=b", cookie + "=x"}, "broken-neighbour": {"=;;\"; " + cookie + "=\"x"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://"+host+"/logout", nil)
			r.Header["Cookie"] = lines
			if err := p.Check(r); !errors.Is(err, &latchkey.Error{Code: latchkey.CodeCSRFRefused}) {
				t.Errorf("got %v", err)
			}
			r.Header.Set("Authorization", "Bearer x")
			if p.Check(r) == nil {
				t.Error("Authorization beside the cookie exempted the request")
			}
		})
	}
	for name, line := range map[string]string{"other": "session=x", "prefix": cookie + "2=x", "value": "a=" + cookie + "=x", "bare": cookie} {
		t.Run("not-"+name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "http://"+host+"/logout", nil)
			r.Header.Set("Cookie", line)
			if err := p.Check(r); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := csrf.New(csrf.Config{OwnOrigins: []string{"https://ok.example", "https://a.example/path"}, TrustedOrigins: []string{"https://ok.example", "example.com"}})
	var e *latchkey.Error
	if !errors.As(err, &e) || e.Code != latchkey.CodeInvalidRequest {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Field)
	}
	if got := strings.Join(fields, " "); got != "CookieName OwnOrigins[1] TrustedOrigins[1]" {
		t.Error(got)
	}
}

func TestOnErrorAnswers(t *testing.T) {
	p, err := csrf.New(csrf.Config{CookieName: cookie, OnError: func(w http.ResponseWriter, _ *http.Request, err error) {
		w.WriteHeader(latchkey.CodeOf(err).Status() + 100)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "http://"+host+"/", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	rec := httptest.NewRecorder()
	p.Handler(http.NotFoundHandler()).ServeHTTP(rec, r)
	if rec.Code != 503 {
		t.Errorf("got %d", rec.Code)
	}
}

func sameOriginPost() *http.Request {
	r := httptest.NewRequest("POST", "http://"+host+"/v1/me/revoke-others", nil)
	r.Header.Set("Cookie", "theme=dark; "+cookie+"=lk_"+strings.Repeat("A", 88))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "https://"+host)
	return r
}

func TestSameOriginPostAllocatesNothing(t *testing.T) {
	p, r := newProtection(t), sameOriginPost()
	if n := testing.AllocsPerRun(100, func() { _ = p.Check(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSameOriginPost(b *testing.B) {
	p, r := newProtection(b), sameOriginPost()
	h := p.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("POST", "same-origin", same, cookie+"=x", "")
	f.Add("DELETE", "", "null", "a=b", "Bearer x")
	f.Add("POST", "cross-site", own, cookie+"=x", "")
	p := newProtection(f)
	f.Fuzz(func(t *testing.T, method, site, origin, cookies, auth string) {
		r := httptest.NewRequest("GET", "http://"+host+"/", nil)
		r.Method = method
		r.Header = http.Header{"Sec-Fetch-Site": {site}, "Origin": {origin}, "Cookie": {cookies}}
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		err := p.Check(r)
		unsafe := method != "GET" && method != "HEAD" && method != "OPTIONS"
		if err == nil && unsafe && strings.HasPrefix(cookies, cookie+"=") && (site == "cross-site" || site == "" && origin == "") && origin != trusted {
			t.Errorf("passed: %q %q %q %q", method, site, origin, cookies)
		}
		if err != nil && latchkey.CodeOf(err) != latchkey.CodeCSRFRefused {
			t.Errorf("code %s", latchkey.CodeOf(err))
		}
	})
}
