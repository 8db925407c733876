package login_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/transaction"
)

// want fails the test unless an answer has the status and its page holds what the
// checkers state, and nothing that no page may hold.
func want(t *testing.T, a pagetest.Answer, status int, checkers ...htmlcheck.Checker) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a.Body)
	}
	if err := htmlcheck.Check(a.Body, append(checkers, htmlcheck.Sound)...); err != nil {
		t.Fatalf("%v\n%s", err, a.Body)
	}
}

func wantRedirect(t *testing.T, a pagetest.Answer, target string) {
	t.Helper()
	if got := a.Header.Get("Location"); a.Status != http.StatusSeeOther || got != target {
		t.Fatalf("status %d to %q, want 303 to %q: %s", a.Status, got, target, a.Body)
	}
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := login.New(login.Config{})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "Manager") || !strings.Contains(err.Error(), "Site") {
		t.Errorf("error %v does not name Manager and Site", err)
	}
}

func TestSignIn(t *testing.T) {
	for _, prefix := range []string{"", "/auth", "/a/b"} {
		t.Run("prefix"+strings.ReplaceAll(prefix, "/", "_"), func(t *testing.T) {
			site := pagetest.New(t, pagetest.Options{Prefix: prefix})
			b := site.Browser(t)
			want(t, b.Get("/login"), http.StatusOK, htmlcheck.In("title", htmlcheck.HasExactText("Sign in · Latchkey")),
				htmlcheck.In("h1", htmlcheck.HasExactText("Sign in")), htmlcheck.In("form", htmlcheck.HasAttr("action", prefix+"/login")),
				htmlcheck.In("input[name=name]", htmlcheck.HasAttr("value", "")), htmlcheck.NotIn("input[name=rd]"), htmlcheck.NotIn("nav"))
			wantRedirect(t, b.Post("/login", url.Values{"name": {"  Ada Lovelace \n"}}), prefix+"/account")
			s := b.Session()
			if s.Provider() != "demo" || s.Subject() != "Ada Lovelace" || s.Name() != "Ada Lovelace" || strings.Join(s.Methods(), " ") != "demo" {
				t.Errorf("session of %q/%q named %q by %q", s.Provider(), s.Subject(), s.Name(), s.Methods())
			}
			wantRedirect(t, b.Get("/login"), prefix+"/account")
			wantRedirect(t, b.Get("/login?rd=%2Felsewhere%3Fx%3D1"), "/elsewhere?x=1")
		})
	}
}

func TestSignInKeepsTarget(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	want(t, b.Get("/login?rd=/reports%3Fyear%3D2025%26q%3D%22"), http.StatusOK, htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", `/reports?year=2025&q="`)),
		htmlcheck.In("section", htmlcheck.HasText("Please sign in to continue.")))
	// A mistake on the way must not lose it.
	want(t, b.Post("/login", url.Values{"name": {" "}, "rd": {"/reports?a=b"}}), http.StatusUnprocessableEntity,
		htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", "/reports?a=b")))
	wantRedirect(t, b.Post("/login", url.Values{"name": {"ada"}, "rd": {"/reports?a=b"}}), "/reports?a=b")
}

// The query can say where to go too, under the same rules; the form's word counts more.
func TestSignInTargetInQuery(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	for _, tc := range []struct {
		query string
		form  url.Values
		want  string
	}{
		{"?rd=/status", url.Values{}, "/status"}, {"?rd=%2Freports%3Fa%3Db", url.Values{}, "/reports?a=b"}, {"?rd=/status", url.Values{"rd": {"/reports"}}, "/reports"},
		{"?rd=/status", url.Values{"rd": {""}}, "/account"}, {"?rd=/status", url.Values{"rd": {"//evil.example"}}, "/account"}, {"?rd=/a&rd=/b", url.Values{}, "/a"},
		{"?rd=//evil.example", url.Values{}, "/account"}, {"?rd=https://evil.example", url.Values{}, "/account"}, {"?rd=/%5Cevil.example", url.Values{}, "/account"},
		{"?rd=/login", url.Values{}, "/account"}, {"?rd=/logout", url.Values{}, "/account"}, {"?rd=", url.Values{}, "/account"},
	} {
		tc.form.Set("name", "ada")
		wantRedirect(t, b.Post("/login"+tc.query, tc.form), tc.want)
	}
	want(t, b.Post("/login?rd=/status", url.Values{"name": {" "}}), http.StatusUnprocessableEntity, htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", "/status")))
}

func TestGetNeverSignsIn(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	want(t, b.Get("/login?name=ada&rd=/account"), http.StatusOK, htmlcheck.In("h1", htmlcheck.HasExactText("Sign in")))
	if b.Cookie() != "" {
		t.Error("a GET set a cookie")
	}
}

func TestSignInReplacesSession(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	b := site.Browser(t)
	first := b.SignIn("ada")
	if second := b.SignIn("bob"); second == first || b.Session().Subject() != "bob" {
		t.Errorf("session %v of %q follows %v", second, b.Session().Subject(), first)
	}
	info, err := site.Manager.Get(context.Background(), first)
	if err != nil || info.State != latchkey.Revoked {
		t.Errorf("the session before is %q (%v), want revoked", info.State, err)
	}
}

func TestRefusedNames(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	for _, tc := range []struct{ name, given, message, kept string }{
		{"empty", "", "Please enter a name", ""},
		{"blank", " \t ", "Please enter a name", " \t "},
		{"too_long", strings.Repeat("x", 256), "too long", strings.Repeat("x", 256)},
		{"too_long_in_bytes", strings.Repeat("ü", 128), "too long", strings.Repeat("ü", 128)},
		{"newline", "a\nb", "cannot be shown", "a\nb"},
		{"escape", "a\x1bb", "cannot be shown", "a\x1bb"},
		{"delete", "a\x7fb", "cannot be shown", "a\x7fb"},
		{"c1", "a\u0085b", "cannot be shown", "a\u0085b"},
		{"nul", "a\x00b", "cannot be shown", "a\uFFFDb"},
		{"not_utf8", "a\xffb", "cannot be shown", "a\uFFFDb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := site.Browser(t)
			want(t, b.Post("/login", url.Values{"name": {tc.given}}), http.StatusUnprocessableEntity,
				htmlcheck.In("p#name-error[role=alert]", htmlcheck.HasText(tc.message)), htmlcheck.In("title", htmlcheck.HasText("Error: ")),
				htmlcheck.In("input[aria-invalid=true][aria-describedby=name-error]", htmlcheck.HasAttr("value", tc.kept)))
			if b.Cookie() != "" {
				t.Error("a refused sign-in set a cookie")
			}
		})
	}
	want(t, site.Browser(t).Post("/login", url.Values{}), http.StatusUnprocessableEntity, htmlcheck.In("p#name-error"))
}

func TestLongestName(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	name := strings.Repeat("ü", 127) + "x"
	b.SignIn(name)
	if got := b.Session().Subject(); got != name {
		t.Errorf("subject %q", got)
	}
}

// injections are names that break pages which put them together from text.
var injections = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)`, `</title><script>x</script>`,
	`{{.Providers}}`, `javascript:alert(1)`, "\u202Egnp.exe", `שלום עולם`, `<!--`, `&lt;b&gt;`, "a\u2028b",
}

func TestInjection(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	for i, name := range injections {
		long := name + strings.Repeat("x", 256) // refused, so shown again
		for _, target := range []string{"/" + name, "/?q=" + name} {
			checks := []htmlcheck.Checker{htmlcheck.In("input[name=name]", htmlcheck.HasAttr("value", long)), htmlcheck.NotIn("input[name=rd]")}
			if good := transaction.ReturnTo(target, nil); good != "" {
				checks[1] = htmlcheck.In("input[name=rd]", htmlcheck.HasAttr("value", good))
			}
			want(t, site.Browser(t).Post("/login", url.Values{"name": {long}, "rd": {target}}), http.StatusUnprocessableEntity, checks...)
		}
		b := site.Browser(t)
		b.SignIn(name)
		if got := b.Session().Subject(); got != name {
			t.Errorf("injection %d: subject %q", i, got)
		}
	}
}

func TestOtherSitesForm(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	want(t, b.PostFrom("https://evil.example", "/login", url.Values{"name": {"eve"}}), http.StatusForbidden, htmlcheck.In("h1", htmlcheck.HasExactText("Request refused")))
	if b.Cookie() != "" {
		t.Error("another site's form signed in")
	}
}

func TestRefusedBodies(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	want(t, b.Post("/login", url.Values{"name": {strings.Repeat("x", 20<<10)}}), http.StatusRequestEntityTooLarge, htmlcheck.In("h1", htmlcheck.HasText("Too much")))
	for name, contentType := range map[string]string{"json": "application/json", "multipart": "multipart/form-data; boundary=x", "none": "", "unreadable": ";;"} {
		t.Run(name, func(t *testing.T) {
			a := b.Do(http.MethodPost, "/login", url.Values{"name": {"ada"}}, http.Header{"Content-Type": {contentType}, "Sec-Fetch-Site": {"same-origin"}})
			want(t, a, http.StatusUnsupportedMediaType, htmlcheck.In("h1", htmlcheck.HasText("not understood")))
		})
	}
	t.Run("two-types", func(t *testing.T) {
		types := []string{"application/x-www-form-urlencoded", "application/x-www-form-urlencoded"}
		want(t, b.Do(http.MethodPost, "/login", url.Values{"name": {"ada"}}, http.Header{"Content-Type": types, "Sec-Fetch-Site": {"same-origin"}}), http.StatusUnsupportedMediaType)
	})
	whole := pagetest.New(t, pagetest.Options{Whole: true}).Browser(t)
	want(t, whole.Do(http.MethodPut, "/login", nil, http.Header{"Sec-Fetch-Site": {"same-origin"}}), http.StatusNotFound, htmlcheck.In("h1", htmlcheck.HasExactText("No such page")))
	if b.Cookie() != "" {
		t.Error("a refused form signed in")
	}
}

func TestLimitReached(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Change: func(c *latchkey.Config) { c.Limit, c.LimitPolicy = 1, latchkey.RefuseNew }})
	site.Browser(t).SignIn("ada")
	want(t, site.Browser(t).Post("/login", url.Values{"name": {"ada"}}), http.StatusConflict,
		htmlcheck.In("p[role=alert]", htmlcheck.HasText("as many sessions as it may have")), htmlcheck.In("input[name=name]", htmlcheck.HasAttr("value", "ada")))
}

// away is a store that gives no answer to sign-ins.
type away struct{ latchkey.Store }

func (away) Create(context.Context, latchkey.Create) (latchkey.Created, error) {
	return latchkey.Created{}, latchkey.ErrUnavailable
}

func (away) Get(context.Context, latchkey.ID) (*latchkey.Record, error) {
	return nil, latchkey.ErrUnavailable
}

func TestStoreAway(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Store: func(s *memory.Store) latchkey.Store { return away{s} }})
	b := site.Browser(t)
	a := b.Post("/login", url.Values{"name": {"ada"}})
	want(t, a, http.StatusServiceUnavailable, htmlcheck.In("h1", htmlcheck.HasExactText("One moment, please")), htmlcheck.In("a.button", htmlcheck.HasAttr("href", "/account")))
	if a.Header.Get("Retry-After") == "" || a.Header.Values("Set-Cookie") != nil {
		t.Errorf("headers %v", a.Header)
	}
}

func TestNoProvider(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{NoLogin: true}).Browser(t)
	want(t, b.Get("/login"), http.StatusOK, htmlcheck.NotIn("form"), htmlcheck.In("section", htmlcheck.HasText("No way to sign in is configured")))
	want(t, b.Post("/login", url.Values{"name": {"ada"}}), http.StatusNotFound)
	if b.Cookie() != "" {
		t.Error("signed in where no way to is configured")
	}
}

func TestLoginAndLogoutAreNoTargets(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		b := pagetest.New(t, pagetest.Options{Prefix: prefix}).Browser(t)
		for _, rd := range []string{"/login", "/login?rd=/login", "/login#x", "/logout", "/logout?x"} {
			wantRedirect(t, b.Post("/login", url.Values{"name": {"ada"}, "rd": {prefix + rd}}), prefix+"/account")
			wantRedirect(t, b.Get("/login?rd="+url.QueryEscape(prefix+rd)), prefix+"/account")
		}
	}
}

func TestPagesStayPrivate(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	for name, a := range map[string]pagetest.Answer{"page": b.Get("/login"), "error": b.Post("/login", url.Values{}), "redirect": b.Post("/login", url.Values{"name": {"ada"}})} {
		if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
			a.Header.Get("Content-Security-Policy") != "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'" {
			t.Errorf("%s: headers %v", name, a.Header)
		}
	}
}
