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

// asked is a request of the table, and the configuration that judges it.
type asked struct {
	site, origin          string
	hasCookie, hasAuth    bool
	token, header         string // "good", "bad" or ""
	keys, must, requested bool   // Keys, RequireToken, RequiredHeader
}

// reason is the documented rule, written apart from the code.
func (a asked) reason() csrf.Reason {
	if a.hasAuth && !a.hasCookie {
		return 0
	}
	plain := want("POST", a.site, a.origin, false, false)
	if !plain {
		return csrf.CrossOrigin
	}
	if a.requested && a.header != "good" {
		return csrf.MissingHeader
	}
	if !a.hasCookie {
		return 0
	}
	silent := a.site == "" && a.origin == ""
	if a.keys && (a.must || silent) && a.token != "good" {
		return csrf.BadToken
	}
	if silent && !a.keys && !a.requested {
		return csrf.Unmarked
	}
	return 0
}

func (a asked) request(p *csrf.Protection) *http.Request {
	r := httptest.NewRequest("POST", "http://"+host+"/v1/me", nil)
	set(r, "Sec-Fetch-Site", a.site)
	set(r, "Origin", a.origin)
	if a.hasCookie {
		r.Header.Set("Cookie", cookie+"=lk_x")
	}
	if a.hasAuth {
		r.Header.Set("Authorization", "Bearer lk_x")
	}
	switch a.token {
	case "good":
		token, _ := p.TokenFor(mine) // none without keys
		set(r, csrf.HeaderName, token)
	case "bad":
		r.Header.Set(csrf.HeaderName, strings.Repeat("A", csrf.TokenLength))
	}
	switch a.header {
	case "good":
		r.Header.Set("X-CSRF", "1")
	case "bad":
		r.Header.Set("X-CSRF", "0")
	}
	return r
}

func eachAsked(keys, must, requested bool, visit func(asked)) {
	for _, site := range []string{"same-origin", "same-site", "cross-site", "none", ""} {
		for _, origin := range []string{same, other, own, trusted, "null", ""} {
			for bits := range 4 {
				for _, token := range []string{"good", "bad", ""} {
					for _, header := range []string{"good", "bad", ""} {
						visit(asked{site, origin, bits&1 > 0, bits&2 > 0, token, header, keys, must, requested})
					}
				}
			}
		}
	}
}

// TestEveryCombinationOfProofs judges every request under every configuration, and
// the same again in report-only mode.
func TestEveryCombinationOfProofs(t *testing.T) {
	for name, c := range map[string][3]bool{
		"plain": {}, "tokens": {true}, "tokens-required": {true, true}, "header": {false, false, true},
		"tokens-and-header": {true, false, true}, "everything": {true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var reported csrf.Reason
			cfg := csrf.Config{CookieName: cookie, OwnOrigins: []string{own}, TrustedOrigins: []string{trusted}, RequireToken: c[1], SessionID: always(mine)}
			if c[0] {
				cfg.Keys = newRing(t)
			}
			if c[2] {
				cfg.RequiredHeader = "X-CSRF"
			}
			strict := protection(t, cfg)
			cfg.DangerouslyReportOnly = true
			cfg.OnReport = func(_ *http.Request, reason csrf.Reason) { reported = reason }
			lenient := protection(t, cfg)
			var expected [5]uint64
			eachAsked(c[0], c[1], c[2], func(a asked) {
				expect := a.reason()
				expected[expect]++
				err := strict.Check(a.request(strict))
				if got := csrf.ReasonOf(err); got != expect || (err == nil) != (expect == 0) {
					t.Errorf("%+v: %v, want %v", a, got, expect)
				}
				reported = 0
				if err := lenient.Check(a.request(lenient)); err != nil || reported != expect {
					t.Errorf("%+v: report-only gave %v and told %v, want %v", a, err, reported, expect)
				}
			})
			for _, p := range []*csrf.Protection{strict, lenient} {
				n := p.Counts()
				if got := [5]uint64{expected[0], n.CrossOrigin, n.MissingHeader, n.BadToken, n.Unmarked}; got != expected {
					t.Errorf("counted %v, want %v", got, expected)
				}
				if (n.PassedByToken > 0) != c[0] {
					t.Errorf("%d passed by token", n.PassedByToken)
				}
			}
			if expected[0] == 0 || expected[csrf.CrossOrigin] == 0 {
				t.Errorf("%v: the table does not tell them apart", expected)
			}
		})
	}
}

// TestNothingPassesWithProofsThatTheHeadersRefuse: whatever is configured besides, no
// request passes that the plain protection finds cross-origin.
func TestNothingPassesWithProofsThatTheHeadersRefuse(t *testing.T) {
	plain := newProtection(t)
	p := protection(t, csrf.Config{CookieName: cookie, OwnOrigins: []string{own}, TrustedOrigins: []string{trusted},
		Keys: newRing(t), SessionID: always(mine), RequiredHeader: "X-CSRF"})
	tried := 0
	eachAsked(true, false, true, func(a asked) {
		r := a.request(p)
		if csrf.ReasonOf(plain.Check(r)) != csrf.CrossOrigin {
			return
		}
		tried++
		if p.Check(r) == nil {
			t.Errorf("%+v passed", a)
		}
	})
	if tried == 0 {
		t.Error("nothing tried")
	}
}

func TestRequiredHeader(t *testing.T) {
	p := protection(t, csrf.Config{CookieName: cookie, RequiredHeader: "x-requested-with", RequiredValue: "XMLHttpRequest"})
	for name, c := range map[string]struct {
		lines  []string
		passes bool
	}{
		"good": {[]string{"XMLHttpRequest"}, true}, "none": {nil, false}, "empty": {[]string{""}, false},
		"twice": {[]string{"XMLHttpRequest", "XMLHttpRequest"}, false},
		// An Android WebView adds the header to every request, with its program's name.
		"webview": {[]string{"com.example.app"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, site := range []string{"same-origin", ""} {
				r := httptest.NewRequest("PUT", "http://"+host+"/", nil)
				r.Header.Set("Cookie", cookie+"=x")
				set(r, "Sec-Fetch-Site", site)
				r.Header["X-Requested-With"] = c.lines
				if got := p.Check(r) == nil; got != c.passes {
					t.Errorf("site %q: passed %v", site, got)
				}
				r.Method = "GET"
				if p.Check(r) != nil {
					t.Error("GET needs a header")
				}
			}
		})
	}
}

func TestRefusedAnswersVary(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  csrf.Config
		vary string
	}{
		"plain":  {csrf.Config{}, "Sec-Fetch-Site, Origin"},
		"header": {csrf.Config{RequiredHeader: "X-CSRF"}, "Sec-Fetch-Site, Origin, X-CSRF"},
		"tokens": {csrf.Config{Keys: newRing(t)}, "Sec-Fetch-Site, Origin, X-CSRF-Token"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.CookieName = cookie
			h := protection(t, c.cfg).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for method, vary := range map[string]string{"POST": c.vary, "GET": ""} {
				r := httptest.NewRequest(method, "http://"+host+"/", nil)
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				w := httptest.NewRecorder()
				w.Header().Add("Vary", "Accept")
				h.ServeHTTP(w, r)
				if got := strings.Join(w.Header().Values("Vary")[1:], "|"); got != vary {
					t.Errorf("%s: %q, want %q", method, got, vary)
				}
			}
		})
	}
}

func TestReasonsAreNotTold(t *testing.T) {
	p := protection(t, csrf.Config{CookieName: cookie, RequiredHeader: "X-CSRF"})
	bodies := map[string]bool{}
	for _, site := range []string{"cross-site", "same-origin"} {
		r := httptest.NewRequest("POST", "http://"+host+"/", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		p.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != 403 || strings.Contains(w.Body.String(), csrf.ReasonOf(p.Check(r)).String()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		bodies[w.Body.String()] = true
	}
	if len(bodies) != 1 {
		t.Errorf("the answers differ: %v", bodies)
	}
	if csrf.ReasonOf(nil) != 0 || csrf.ReasonOf(errors.New("other")) != 0 {
		t.Error("a reason out of nothing")
	}
}

// TestRequiredHeaderProvesSomething: what browsers and proxies send by themselves, or
// let any page send, proves nothing.
func TestRequiredHeaderProvesSomething(t *testing.T) {
	for name, fit := range map[string]bool{
		"X-CSRF": true, "x-requested-with": true, "X-My-App": true, "Accept": false, "Accept-Language": false, "Content-Type": false, "Range": false,
		"DPR": false, "Save-Data": false, "Sec-Fetch-Mode": false, "Proxy-Foo": false, "If-None-Match": false, "X-Forwarded-Host": false,
		"Access-Control-Request-Method": false, "Authorization": false, "Cookie": false, "Origin": false, "User-Agent": false, "Host": false,
		"Last-Event-ID": false, "Upgrade-Insecure-Requests": false, "Priority": false, "X-Request-ID": false, "X\n": false, "é": false,
	} {
		if _, err := csrf.New(csrf.Config{CookieName: cookie, RequiredHeader: name}); (err == nil) != fit {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNewRefusesUnfitSettings(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    csrf.Config
		fields string
	}{
		"required-without-keys": {csrf.Config{RequireToken: true}, "RequireToken"},
		"form-negative":         {csrf.Config{MaxFormBytes: -1}, "MaxFormBytes"},
		"form-huge":             {csrf.Config{MaxFormBytes: csrf.LargestMaxFormBytes + 1}, "MaxFormBytes"},
		"value-alone":           {csrf.Config{RequiredValue: "1"}, "RequiredValue"},
		"value-spaces":          {csrf.Config{RequiredHeader: "X-CSRF", RequiredValue: "1 "}, "RequiredValue"},
		"value-control":         {csrf.Config{RequiredHeader: "X-CSRF", RequiredValue: "a\x00b"}, "RequiredValue"},
		"safelisted":            {csrf.Config{RequiredHeader: "content-type"}, "RequiredHeader"},
		"hint":                  {csrf.Config{RequiredHeader: "Sec-CH-UA"}, "RequiredHeader"},
		"automatic":             {csrf.Config{RequiredHeader: "Referer"}, "RequiredHeader"},
		"proxy":                 {csrf.Config{RequiredHeader: "X-Forwarded-For"}, "RequiredHeader"},
		"not-a-name":            {csrf.Config{RequiredHeader: "X CSRF"}, "RequiredHeader"},
		"the-token's":           {csrf.Config{RequiredHeader: "x-csrf-token"}, "RequiredHeader"},
		"all":                   {csrf.Config{RequireToken: true, MaxFormBytes: -1, RequiredHeader: "Range"}, "RequireToken MaxFormBytes RequiredHeader"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.CookieName = cookie
			_, err := csrf.New(c.cfg)
			var e *latchkey.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			var fields []string
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
			}
			if got := strings.Join(fields, " "); got != c.fields {
				t.Errorf("%q, want %q", got, c.fields)
			}
		})
	}
}
