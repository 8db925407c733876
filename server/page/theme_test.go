package page_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/page"
)

// TestTheme: the pages name a style sheet with the variables, after their own.
func TestTheme(t *testing.T) {
	site, err := page.New(page.Config{Prefix: "/auth", Theme: page.Theme{"accent": "#8a2be2", "dark-accent": "rgb(1 2 3 / 50%)", "radius": "4px", "sans": "Open Sans, sans-serif"}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	site.WriteErrorAs(w, httptest.NewRequest(http.MethodGet, "/x", nil), page.ErrNoPage, "")
	if err := htmlcheck.Check(w.Body.String(), htmlcheck.Count("link[rel=stylesheet]", 2), htmlcheck.Sound); err != nil {
		t.Error(err)
	}
	_, after, ok := strings.Cut(w.Body.String(), `href="/auth/static/theme.`)
	name, _, _ := strings.Cut(after, `"`)
	if !ok {
		t.Fatal(w.Body)
	}
	mux := http.NewServeMux()
	site.Register(mux)
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/static/theme."+name, nil))
	for _, want := range []string{":root {\n  --radius: 4px;\n  --sans: Open Sans, sans-serif;\n}", "not all and (prefers-color-scheme: dark) {\n:root {\n  --accent: #8a2be2;\n}", "@media (prefers-color-scheme: dark) {\n:root {\n  --accent: rgb(1 2 3 / 50%);\n}"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, w.Body)
		}
	}
}

func TestRefusedThemes(t *testing.T) {
	for name, value := range map[string]string{"acent": "red", "dark-radius": "1px", "dark-": "red", "accent": "red;}", "ink": "url(//evil.example)", "card": "U\\52L(x)", "paper": "", "soft": "</style>", "line": strings.Repeat("x", 201), "good": "a\nb"} {
		if _, err := page.New(page.Config{Theme: page.Theme{name: value}}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "Theme") {
			t.Errorf("%s=%q: %v", name, value, err)
		}
	}
}

// TestFormTargets: where forms may lead is part of the pages' policy.
func TestFormTargets(t *testing.T) {
	site, err := page.New(page.Config{FormTargets: []string{"https:", "http://127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	site.WriteErrorAs(w, httptest.NewRequest(http.MethodGet, "/x", nil), page.ErrNoPage, "")
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' https: http://127.0.0.1:9; frame-ancestors 'none'") {
		t.Errorf("policy %q", policy)
	}
	for _, bad := range []string{"", "https: x", "https:;script-src *", "a,b"} {
		if _, err := page.New(page.Config{FormTargets: []string{bad}}); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
