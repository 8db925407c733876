package console_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/console"
	"github.com/latchkey-go/latchkey/server/internal/htmlcheck"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/store/memory"
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

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	edge    = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
)

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := console.New(console.Config{})
	if latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || !strings.Contains(err.Error(), "Manager") || !strings.Contains(err.Error(), "Site") {
		t.Errorf("error %v does not name Manager and Site", err)
	}
}

// routes are all routes of the console; {id} stands for a session's ID.
var routes = []struct{ name, method, path, back string }{
	{"root", "GET", "/", "/account"},
	{"account", "GET", "/account", "/account"},
	{"status", "GET", "/status", "/status"},
	{"status_refresh", "GET", "/status?passive=1", "/status"},
	{"end", "POST", "/account/sessions/{id}/end", "/account"},
	{"end_others", "POST", "/account/revoke-others", "/account"},
}

func TestVisitorsAreSentToSignIn(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		site := pagetest.New(t, pagetest.Options{Prefix: prefix})
		victim := site.Browser(t)
		id := victim.SignIn("ada").String()
		for _, route := range routes {
			t.Run(route.name+strings.ReplaceAll(prefix, "/", "_"), func(t *testing.T) {
				path := strings.Replace(route.path, "{id}", id, 1)
				login := prefix + "/login?rd=" + url.QueryEscape(prefix+route.back)
				form := url.Values(nil)
				if route.method == "POST" {
					form = url.Values{}
				}
				wantRedirect(t, site.Browser(t).Do(route.method, path, form, nil), login)

				ended := site.Browser(t) // its cookie stands for a session that has ended
				s := ended.SignIn("bob")
				if _, err := site.Manager.Revoke(t.Context(), latchkey.Revocation{ID: s, By: "admin:test", Reason: "test"}); err != nil {
					t.Fatal(err)
				}
				a := ended.Do(route.method, path, form, http.Header{"Sec-Fetch-Site": {"same-origin"}})
				wantRedirect(t, a, login)
				if a.Header.Get("Set-Cookie") != "" {
					t.Error("the cookie was touched")
				}

				program := site.Browser(t).Do(route.method, path, form, http.Header{"Sec-Fetch-Mode": {"cors"}})
				if program.Status != http.StatusUnauthorized || program.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(program.Body, "invalid_session") {
					t.Errorf("to a program: status %d: %s", program.Status, program.Body)
				}
			})
		}
		if !victim.Session().Live() {
			t.Error("somebody without a session ended one")
		}
	}
}

// basket gives visitors a session without an identity.
var basket = latchkey.NewKey[string]("basket")

func TestAnonymousSessionIsNotEnough(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	victim := site.Browser(t)
	id := victim.SignIn("ada").String()
	token := anonymous(t, site)
	for _, route := range routes {
		t.Run(route.name, func(t *testing.T) {
			form := url.Values(nil)
			if route.method == "POST" {
				form = url.Values{}
			}
			a := site.Browser(t).Do(route.method, strings.Replace(route.path, "{id}", id, 1), form,
				http.Header{"Cookie": {"session=" + token}, "Sec-Fetch-Site": {"same-origin"}})
			wantRedirect(t, a, "/login?rd="+url.QueryEscape(route.back))
		})
	}
	if !victim.Session().Live() {
		t.Error("an anonymous session ended another")
	}
}

// anonymous makes a session without an identity and returns its token.
func anonymous(t *testing.T, site *pagetest.Site) string {
	t.Helper()
	var token string
	w := newRecorder()
	site.Manager.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := latchkey.FromContext(r.Context())
		if err == nil {
			err = basket.Set(s, "apple")
		}
		if err == nil {
			err = s.Commit(r.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		token = s.Token()
	})).ServeHTTP(w, newRequest("GET", "/"))
	if token == "" {
		t.Fatal("no token")
	}
	return token
}

func TestRootLeadsToAccount(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		b := pagetest.New(t, pagetest.Options{Prefix: prefix}).Browser(t)
		b.SignIn("ada")
		wantRedirect(t, b.Get("/"), prefix+"/account")
	}
}

func TestAccountListsOwnSessions(t *testing.T) {
	clock := latchkeytest.NewClock(time.Date(2025, 11, 20, 14, 2, 3, 0, time.UTC))
	site := pagetest.New(t, pagetest.Options{Clock: clock, Prefix: "/auth", Change: func(c *latchkey.Config) { c.ClientIP = func(*http.Request) string { return "192.0.2.77" } }})
	laptop, phone, office, stranger := site.Browser(t), site.Browser(t), site.Browser(t), site.Browser(t)
	laptop.UserAgent, phone.UserAgent, office.UserAgent, stranger.UserAgent = firefox, safari, edge, ""
	first := office.SignIn("ada")
	clock.Advance(5 * time.Minute)
	second := phone.SignIn("ada")
	clock.Advance(3 * time.Minute)
	stranger.SignIn("bob")
	laptop.SignIn("ada")
	a := laptop.Get("/account")
	want(t, a, http.StatusOK,
		htmlcheck.In("h1", htmlcheck.HasExactText("Your sessions")), htmlcheck.Count("ul.sessions li", 3),
		htmlcheck.In("li.current", htmlcheck.In("h3", htmlcheck.HasExactText("Firefox on Linux This browser")), htmlcheck.NotIn("form"), htmlcheck.HasText("Network 192.0.2.0/24"), htmlcheck.HasText("Just now")),
		htmlcheck.In("h3#s-"+second.String(), htmlcheck.HasExactText("Safari on iPhone")),
		htmlcheck.In("h3#s-"+first.String(), htmlcheck.HasExactText("Edge on Windows")),
		htmlcheck.Count("time[datetime=2025-11-20T14:02:03Z]", 2), // first and last seen of the office
		htmlcheck.In("form[action=/auth/account/sessions/"+first.String()+"/end] button", htmlcheck.HasExactText("End session"), htmlcheck.HasAttr("aria-describedby", "s-"+first.String())),
		htmlcheck.In("form[action=/auth/account/revoke-others] button", htmlcheck.HasExactText("End all others")),
		htmlcheck.In("form[action=/auth/logout]"), htmlcheck.NotIn("p.note"))
	if i, j := strings.Index(a.Body, "Safari on iPhone"), strings.Index(a.Body, "Edge on Windows"); i > j {
		t.Error("what was seen last does not come first")
	}
	if !strings.Contains(a.Body, "8 minutes ago") || !strings.Contains(a.Body, "20 Nov 2025, 14:02 UTC") {
		t.Error("times are not shown in both ways")
	}
	for _, secret := range []string{laptop.Cookie(), phone.Cookie(), "192.0.2.77"} {
		if strings.Contains(a.Body, secret) {
			t.Errorf("the page holds %q", secret)
		}
	}
	want(t, stranger.Get("/account"), http.StatusOK, htmlcheck.Count("ul.sessions li", 1), htmlcheck.In("li.current h3", htmlcheck.HasText("Unknown device")),
		htmlcheck.In("p.empty", htmlcheck.HasText("only one")), htmlcheck.NotIn("form[action=/auth/account/revoke-others]"))
}

func TestSameNameOfOtherProviderIsAnotherIdentity(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	b := site.Browser(t)
	b.SignIn("ada")
	other, err := site.Manager.Issue(t.Context(), latchkey.SignIn{Provider: "api", Subject: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, b.Get("/account"), http.StatusOK, htmlcheck.Count("ul.sessions li", 1))
	want(t, b.Post("/account/sessions/"+other.Record.ID.String()+"/end", url.Values{}), http.StatusNotFound)
	wantRedirect(t, b.Post("/account/revoke-others", url.Values{}), "/account?done=none")
	if info, err := site.Manager.Get(t.Context(), other.Record.ID); err != nil || info.State != latchkey.Live {
		t.Errorf("state %q (%v)", info.State, err)
	}
}

func TestEndOne(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Prefix: "/auth"})
	laptop, phone := site.Browser(t), site.Browser(t)
	laptop.SignIn("ada")
	id := phone.SignIn("ada").String()
	a := laptop.Post("/account/sessions/"+id+"/end", url.Values{})
	wantRedirect(t, a, "/auth/account?done=ended")
	want(t, laptop.Follow(a), http.StatusOK, htmlcheck.In("p.note[role=status]", htmlcheck.HasText("The session has ended")), htmlcheck.Count("ul.sessions li", 1))
	wantRedirect(t, phone.Get("/account"), "/auth/login?rd=%2Fauth%2Faccount")
	// Twice is as good as once: the button may have been clicked on two pages.
	wantRedirect(t, laptop.Post("/account/sessions/"+id+"/end", url.Values{}), "/auth/account?done=ended")
	info, err := site.Manager.Get(t.Context(), mustID(t, id))
	if err != nil || info.State != latchkey.Revoked || info.RevokedBy != "user" {
		t.Errorf("state %q by %q (%v)", info.State, info.RevokedBy, err)
	}
}

func TestEndOwnSessionSignsOut(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	b := site.Browser(t)
	id := b.SignIn("ada").String()
	wantRedirect(t, b.Post("/account/sessions/"+id+"/end", url.Values{}), "/login")
	if b.Cookie() != "" {
		t.Error("the cookie is still there")
	}
}

func TestOthersSessionsDoNotExist(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	b, victim := site.Browser(t), site.Browser(t)
	b.SignIn("eve")
	others := victim.SignIn("ada").String()
	var bodies []string
	for _, id := range []string{others, "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f", "x", strings.ToUpper(others), "%00", "..%2f.."} {
		a := b.Post("/account/sessions/"+id+"/end", url.Values{})
		want(t, a, http.StatusNotFound, htmlcheck.In("h1", htmlcheck.HasExactText("No such session")), htmlcheck.In("header bdi", htmlcheck.HasExactText("eve")))
		bodies = append(bodies, a.Body)
	}
	for _, body := range bodies[1:] {
		if body != bodies[0] {
			t.Error("another's session and an unknown one can be told apart")
		}
	}
	if !victim.Session().Live() {
		t.Error("ended another identity's session")
	}
}

func TestEndOthers(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{})
	laptop, phone, office, stranger := site.Browser(t), site.Browser(t), site.Browser(t), site.Browser(t)
	for _, b := range []*pagetest.Browser{laptop, phone, office} {
		b.SignIn("ada")
	}
	stranger.SignIn("bob")
	a := laptop.Post("/account/revoke-others", url.Values{})
	wantRedirect(t, a, "/account?done=others")
	want(t, laptop.Follow(a), http.StatusOK, htmlcheck.In("p.note", htmlcheck.HasText("All other sessions have ended")), htmlcheck.Count("ul.sessions li", 1))
	if phone.Session().Live() || office.Session().Live() || !stranger.Session().Live() || !laptop.Session().Live() {
		t.Error("not exactly the others have ended")
	}
	a = laptop.Post("/account/revoke-others", url.Values{})
	want(t, laptop.Follow(a), http.StatusOK, htmlcheck.In("p.note", htmlcheck.HasText("no other session")))
}

func TestMessagesAreFixedTexts(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	b.SignIn("ada")
	for _, done := range []string{"", "x", "<script>", "Ended", "ended%00"} {
		want(t, b.Get("/account?done="+done), http.StatusOK, htmlcheck.NotIn("p.note"))
	}
	same := http.Header{"Sec-Fetch-Site": {"same-origin"}}
	want(t, b.Do("GET", "/account?done=ended", nil, same), http.StatusOK, htmlcheck.In("p.note"))
	want(t, b.Do("GET", "/account?done=ended", nil, http.Header{}), http.StatusOK, htmlcheck.In("p.note"))
	want(t, b.Do("GET", "/account?done=ended", nil, http.Header{"Sec-Fetch-Site": {"cross-site"}}), http.StatusOK, htmlcheck.NotIn("p.note"))
}

func TestOtherSitesForms(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Whole: true})
	b, phone := site.Browser(t), site.Browser(t)
	b.SignIn("ada")
	id := phone.SignIn("ada").String()
	if a := b.PostFrom("https://evil.example", "/logout", url.Values{}); a.Status != http.StatusForbidden {
		t.Errorf("logout: status %d", a.Status)
	}
	for _, path := range []string{"/account/sessions/" + id + "/end", "/account/revoke-others"} {
		want(t, b.PostFrom("https://evil.example", path, url.Values{}), http.StatusForbidden, htmlcheck.In("h1", htmlcheck.HasExactText("Request refused")))
	}
	for _, path := range []string{"/account/sessions/" + id + "/end", "/account/revoke-others"} {
		want(t, b.Get(path), http.StatusNotFound, htmlcheck.In("h1", htmlcheck.HasExactText("No such page")))
	}
	if !b.Session().Live() || !phone.Session().Live() {
		t.Error("another site's form ended a session")
	}
}

// injections are texts that break pages which put them together carelessly.
var injections = []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus='alert(1)`, `</title><script>x</script>`,
	`{{.Name}}`, "\u202Egnp.exe", `שלום עולם`, `<!--`, `&lt;b&gt;`, "a\u2028b"}

func TestInjection(t *testing.T) {
	for _, text := range injections {
		site := pagetest.New(t, pagetest.Options{Change: func(c *latchkey.Config) { c.Privacy = latchkey.PrivacyFull }})
		b, other := site.Browser(t), site.Browser(t)
		other.UserAgent = strings.NewReplacer("\u2028", "").Replace(text)
		b.SignIn(text)
		id := other.SignIn(text)
		shown := strings.Join(strings.Fields(text), " ")
		want(t, b.Get("/account"), http.StatusOK, htmlcheck.In("header span.who bdi", htmlcheck.HasExactText(shown)), htmlcheck.In("header.head bdi strong", htmlcheck.HasExactText(shown)), htmlcheck.In("h3#s-"+id.String()+" bdi"))
		want(t, b.Get("/status"), http.StatusOK, htmlcheck.In("header span.who bdi", htmlcheck.HasExactText(shown)))
		want(t, b.Post("/account/sessions/"+url.PathEscape(text)+"/end", url.Values{}), http.StatusNotFound, htmlcheck.In("header span.who bdi", htmlcheck.HasExactText(shown)))
	}
}

func TestUserAgentsInFull(t *testing.T) {
	site := pagetest.New(t, pagetest.Options{Change: func(c *latchkey.Config) { c.Privacy = latchkey.PrivacyFull }})
	b := site.Browser(t)
	b.UserAgent = "" // so that only the other's is shown in full
	b.SignIn("ada")
	for _, tc := range []struct{ userAgent, device, note string }{
		{firefox, "Firefox on Linux", firefox}, {safari, "Safari on iPhone", safari}, {edge, "Edge on Windows", edge},
		{"curl/8.7.1", "curl", "curl/8.7.1"}, {"Plain", "Plain", ""}, {"Mozilla/5.0 (Linux)", "Linux", "Mozilla/5.0 (Linux)"},
	} {
		other := site.Browser(t)
		other.UserAgent = tc.userAgent
		id := other.SignIn("ada").String()
		whole := htmlcheck.NotIn("dl.facts bdi")
		if tc.note != "" {
			whole = htmlcheck.In("dl.facts bdi", htmlcheck.HasExactText(tc.note))
		}
		want(t, b.Get("/account"), http.StatusOK, htmlcheck.In("h3#s-"+id, htmlcheck.HasExactText(tc.device)), whole)
		other.Post("/logout", url.Values{})
	}
}

func mustID(t *testing.T, text string) latchkey.ID {
	t.Helper()
	id, err := latchkey.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestPagesStayPrivate(t *testing.T) {
	apart, whole := pagetest.New(t, pagetest.Options{}).Browser(t), pagetest.New(t, pagetest.Options{Whole: true, Prefix: "/auth"}).Browser(t)
	apart.SignIn("ada")
	whole.SignIn("ada")
	for _, path := range []string{"/", "/account", "/status", "/account?done=ended"} {
		for _, b := range []*pagetest.Browser{apart, whole} {
			privateHeaders(t, path, b.Get(path).Header)
		}
	}
	privateHeaders(t, "unknown", apart.Post("/account/sessions/x/end", url.Values{}).Header)
	// The logout is the API's: an answer without a body.
	if a := whole.Post("/logout", url.Values{}); a.Header.Get("Location") != "/auth/login" || a.Header.Get("Cache-Control") != "no-store" || whole.Cookie() != "" {
		t.Errorf("logout: status %d, headers %v", a.Status, a.Header)
	}
}

func privateHeaders(t *testing.T, name string, h http.Header) {
	t.Helper()
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" ||
		h.Get("Content-Security-Policy") != "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'" {
		t.Errorf("%s: headers %v", name, h)
	}
}

// away is a store that stops answering once it is told to.
type away struct {
	latchkey.Store
	gone, blind *bool // no answer at all; lookups answer and the rest does not
}

func (a away) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if *a.gone {
		return nil, latchkey.ErrUnavailable
	}
	return a.Store.Get(ctx, id)
}

func (a away) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	if *a.gone || *a.blind {
		return latchkey.ListPage{}, latchkey.ErrUnavailable
	}
	return a.Store.List(ctx, q)
}

func (a away) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if *a.gone || *a.blind {
		return latchkey.RevokeResult{}, latchkey.ErrUnavailable
	}
	return a.Store.Revoke(ctx, r)
}

func TestStoreAway(t *testing.T) {
	gone, blind := new(bool), new(bool)
	site := pagetest.New(t, pagetest.Options{Store: func(s *memory.Store) latchkey.Store { return away{s, gone, blind} }})
	b := site.Browser(t)
	id := b.SignIn("ada").String()
	cookie := b.Cookie()
	*blind = true
	check := func(name string, a pagetest.Answer) {
		t.Helper()
		want(t, a, http.StatusServiceUnavailable, htmlcheck.In("h1", htmlcheck.HasExactText("One moment, please")))
		if a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: headers %v", name, a.Header)
		}
	}
	other := "01980f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"
	for range 2 {
		check("account", b.Get("/account"))
		check("end", b.Post("/account/sessions/"+other+"/end", url.Values{}))
		check("end own", b.Post("/account/sessions/"+id+"/end", url.Values{}))
		check("others", b.Post("/account/revoke-others", url.Values{}))
		*gone = true
	}
	check("status", b.Get("/status"))
	check("login", b.Get("/login"))
	*gone, *blind = false, false
	if b.Cookie() != cookie || !b.Session().Live() {
		t.Error("an outage signed somebody out")
	}
}

var anyTag = regexp.MustCompile(`<[^>]*>`)

// TestWorksAsText: what the account page says does not depend on its style sheet.
func TestWorksAsText(t *testing.T) {
	b := pagetest.New(t, pagetest.Options{}).Browser(t)
	b.SignIn("ada")
	text := strings.Join(strings.Fields(anyTag.ReplaceAllString(b.Get("/account").Body, " ")), " ")
	for _, part := range []string{"Signed in as ada", "Sign out", "This browser", "First seen", "Last seen", "Place Network 127.0.0.0/24"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
}
