package page_test

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/page"
)

func newSite(t *testing.T, prefix string) *page.Site {
	t.Helper()
	site, err := page.New(page.Config{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func TestPrefix(t *testing.T) {
	for _, good := range []string{"", "/auth", "/a/b", "/a.b_c~d-e", "/.well-known/x"} {
		if _, err := page.New(page.Config{Prefix: good}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"/", "auth", "/auth/", "//auth", "/a//b", "/..", "/./a", "/{x}", "/a b", "/a?b", "/a#b", "/ü", "/%41", "https://x", `/a\b`} {
		if _, err := page.New(page.Config{Prefix: bad}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "Prefix") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// render shows a page whose template is main and returns what came.
func render(t *testing.T, site *page.Site, main string, v page.View) *httptest.ResponseRecorder {
	t.Helper()
	p, err := site.Page(fstest.MapFS{"x.html": {Data: []byte(main)}}, "x.html")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	site.Render(w, httptest.NewRequest("GET", "/", nil), http.StatusOK, p, v)
	return w
}

func TestStaticFilesAreImmutable(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		site := newSite(t, prefix)
		mux := http.NewServeMux()
		site.Register(mux)
		body := render(t, site, `{{define "main"}}<h1>x</h1>{{end}}`, page.View{Title: "x"}).Body.String()
		for _, kind := range []struct{ contentType, before, after string }{
			{"text/css; charset=utf-8", `rel="stylesheet" href="`, `"`}, {"image/svg+xml", `rel="icon" href="`, `"`}} {
			_, rest, _ := strings.Cut(body, kind.before)
			path, _, _ := strings.Cut(rest, kind.after)
			if !strings.HasPrefix(path, prefix+"/static/") {
				t.Fatalf("path %q", path)
			}
			w := httptest.NewRecorder()
			http.StripPrefix(prefix, mux).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != http.StatusOK || w.Body.Len() == 0 || w.Header().Get("Content-Type") != kind.contentType ||
				w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: status %d, headers %v", path, w.Code, w.Header())
			}
			w = httptest.NewRecorder()
			http.StripPrefix(prefix, mux).ServeHTTP(w, httptest.NewRequest("GET", strings.Replace(path, ".", ".0", 1), nil))
			if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("another hash: status %d, headers %v", w.Code, w.Header())
			}
		}
	}
}

// TestStaticFilesAreInert: the style sheet loads nothing and the logo runs nothing.
func TestStaticFilesAreInert(t *testing.T) {
	for file, forbidden := range map[string][]string{
		"static/style.css":    {"@import", "url(", "//", "expression("},
		"static/latchkey.svg": {"<script", "<style", "style=", "href", " on", "<foreignObject", "<!ENTITY"},
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range forbidden {
			if strings.Contains(string(content), f) {
				t.Errorf("%s holds %q", file, f)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	site := newSite(t, "/auth")
	main := `{{define "main"}}<h1>{{.}}</h1>{{end}}`
	visitor := render(t, site, main, page.View{Title: "T", Body: "B"}).Body.String()
	if err := htmlcheck.Check(visitor, htmlcheck.Sound, htmlcheck.In("title", htmlcheck.HasExactText("T · Latchkey")), htmlcheck.In("main h1", htmlcheck.HasExactText("B")),
		htmlcheck.NotIn("nav"), htmlcheck.NotIn("form"), htmlcheck.NotIn("meta[http-equiv]"), htmlcheck.In("header a.brand", htmlcheck.HasAttr("href", "/auth/login"))); err != nil {
		t.Error(err)
	}
	member := render(t, site, main, page.View{Title: "T", User: `<b>Ada</b>`, Current: "/status", Refresh: "/auth/status?passive=1", RefreshSeconds: 5, Body: "B"}).Body.String()
	if err := htmlcheck.Check(member, htmlcheck.Sound, htmlcheck.In("nav a[aria-current=page]", htmlcheck.HasExactText("Status"), htmlcheck.HasAttr("href", "/auth/status")),
		htmlcheck.In("header form[method=post]", htmlcheck.HasAttr("action", "/auth/logout")), htmlcheck.In("header bdi", htmlcheck.HasExactText("<b>Ada</b>")),
		htmlcheck.In("meta[http-equiv=refresh]", htmlcheck.HasAttr("content", "5; url=/auth/status?passive=1"))); err != nil {
		t.Error(err)
	}
}

func TestPageNeedsMain(t *testing.T) {
	site := newSite(t, "")
	for name, text := range map[string]string{"no_main": `{{define "other"}}{{end}}`, "broken": `{{define "main"}}{{`, "unknown_function": `{{define "main"}}{{nope}}{{end}}`} {
		if _, err := site.Page(fstest.MapFS{"x.html": {Data: []byte(text)}}, "x.html"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestNoHalfPage: a template that fails midway sends none of what it had written.
func TestNoHalfPage(t *testing.T) {
	w := render(t, newSite(t, ""), `{{define "main"}}<h1>begun</h1>{{index .Body 3}}{{end}}`, page.View{Body: []int{1}})
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "begun") || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %v: %s", w.Code, w.Header(), w.Body)
	}
}

// codes are all codes of errors.
var codes = []latchkey.Code{latchkey.CodeMalformed, latchkey.CodeInvalidSession, latchkey.CodeAdminKey, latchkey.CodeCSRFRefused, latchkey.CodeDenied,
	latchkey.CodeNoSuchSession, latchkey.CodeNotFound, latchkey.CodeConflict, latchkey.CodeLimitReached, latchkey.CodeBodyTooLarge, latchkey.CodeContentType,
	latchkey.CodeMisdirected, latchkey.CodeInvalidRequest, latchkey.CodeTokenRequired, latchkey.CodeDataTooLarge, latchkey.CodeRateLimited,
	latchkey.CodeStoreUnavailable, latchkey.CodeInternal}

func TestErrorPages(t *testing.T) {
	site := newSite(t, "/auth")
	for _, code := range codes {
		t.Run(string(code), func(t *testing.T) {
			err := latchkey.NewError(code, "message-of-the-error", errors.New("cause-of-the-error"))
			r := httptest.NewRequest("GET", "/auth/status?x=%22", nil)
			r.Header.Set("Accept", "text/html")
			w := httptest.NewRecorder()
			site.WriteError(w, r, err)
			if problem := htmlcheck.Check(w.Body.String(), htmlcheck.Sound, htmlcheck.In("p.fine", htmlcheck.HasText(string(code)))); w.Code != code.Status() || problem != nil {
				t.Errorf("status %d: %v", w.Code, problem)
			}
			if strings.Contains(w.Body.String(), "of-the-error") {
				t.Error("the page shows what the error says")
			}
			if (w.Header().Get("Retry-After") != "") != (code == latchkey.CodeStoreUnavailable) || w.Header().Get("Set-Cookie") != "" {
				t.Errorf("headers %v", w.Header())
			}
			r.Header.Set("Sec-Fetch-Mode", "cors")
			w = httptest.NewRecorder()
			site.WriteError(w, r, err)
			if w.Code != code.Status() || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("to a program: status %d, %v", w.Code, w.Header())
			}
		})
	}
}

func TestTryAgain(t *testing.T) {
	site := newSite(t, "/auth")
	for method, href := range map[string]string{"GET": "/auth/status?a=b", "POST": "/auth/account"} {
		r := httptest.NewRequest(method, "/auth/status?a=b", nil)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		w := httptest.NewRecorder()
		site.WriteError(w, r, latchkey.ErrUnavailable)
		if err := htmlcheck.Check(w.Body.String(), htmlcheck.In("a.button", htmlcheck.HasAttr("href", href))); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestIsNavigation(t *testing.T) {
	for _, tc := range []struct {
		mode, accept string
		want         bool
	}{{"navigate", "", true}, {"navigate", "application/json", true}, {"cors", "text/html", false}, {"same-origin", "text/html", false}, {"no-cors", "*/*", false},
		{"", "text/html,*/*;q=0.8", true}, {"", "*/*", false}, {"", "application/json", false}, {"", "", false}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", tc.accept)
		if tc.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", tc.mode)
		}
		if got := page.IsNavigation(r); got != tc.want {
			t.Errorf("mode %q, accept %q: %v", tc.mode, tc.accept, got)
		}
	}
}

func TestLoginPath(t *testing.T) {
	site := newSite(t, "/auth")
	if got := site.LoginPath(""); got != "/auth/login" {
		t.Error(got)
	}
	if got := site.LoginPath("/a?b=c&d"); got != "/auth/login?rd=%2Fa%3Fb%3Dc%26d" {
		t.Error(got)
	}
}

// luminance is a colour's relative luminance (WCAG 2.2), from its "#rrggbb" form.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 24)
	if err != nil || len(colour) != 7 {
		t.Fatalf("%q is not a colour", colour)
	}
	channel := func(shift int) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

// TestContrast: each text can be read on each ground it stands on, by day and by
// night: at least 4.5 to 1 (WCAG 2.2, success criterion 1.4.3).
func TestContrast(t *testing.T) {
	style, err := os.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	schemes := regexp.MustCompile(`(?s):root \{.*?\}`).FindAllString(string(style), 2)
	if len(schemes) != 2 {
		t.Fatal("the style sheet does not begin with two sets of variables")
	}
	for i, name := range []string{"light", "dark"} {
		colours := make(map[string]string)
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(schemes[i], -1) {
			colours[m[1]] = m[2]
		}
		for _, pair := range [][2]string{{"ink", "paper"}, {"ink", "card"}, {"ink", "good-wash"}, {"ink", "danger-wash"}, {"soft", "paper"}, {"soft", "card"},
			{"accent", "paper"}, {"accent", "card"}, {"accent", "accent-wash"}, {"accent-ink", "accent"}, {"danger", "card"}, {"danger", "danger-wash"}} {
			a, b := luminance(t, colours[pair[0]]), luminance(t, colours[pair[1]])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f", name, pair[0], pair[1], ratio)
			}
		}
	}
}

// TestFaultsAreLogged: with their cause, once, and nothing else is.
func TestFaultsAreLogged(t *testing.T) {
	for _, mode := range []string{"navigate", "cors"} {
		var out strings.Builder
		site, err := page.New(page.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range codes {
			r := httptest.NewRequest("GET", "/status?secret=query", nil)
			r.Header.Set("Sec-Fetch-Mode", mode)
			site.WriteError(httptest.NewRecorder(), r, latchkey.NewError(code, "told", errors.New("not told")))
		}
		if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, `cause="not told"`) || strings.Contains(log, "query") {
			t.Errorf("%s: %s", mode, log)
		}
		out.Reset()
		p, err := site.Page(fstest.MapFS{"x.html": {Data: []byte(`{{define "main"}}{{index .Body 3}}{{end}}`)}}, "x.html")
		if err != nil {
			t.Fatal(err)
		}
		site.Render(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), 200, p, page.View{Body: []int{1}})
		if !strings.Contains(out.String(), "cannot be shown") {
			t.Errorf("a broken page is logged as %q", out.String())
		}
	}
}
