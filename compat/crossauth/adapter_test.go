package crossauth_test

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/crossauth"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

// site is an adapter with a handler behind it, and a browser's cookies.
type site struct {
	*crossauth.Adapter
	handler http.HandlerFunc
	cookies map[string]string
	csrf    *crossauth.CSRF
}

func newSite(t testing.TB, sessions *crossauth.SessionCookie, change func(*crossauth.AdapterConfig)) *site {
	t.Helper()
	csrf := newCSRF(t, nil)
	config := crossauth.AdapterConfig{Sessions: sessions, CSRF: csrf}
	if change != nil {
		change(&config)
	}
	a, err := crossauth.NewAdapter(config)
	if err != nil {
		t.Fatal(err)
	}
	return &site{Adapter: a, csrf: csrf, cookies: make(map[string]string)}
}

// ask sends a request with the browser's cookies and keeps what comes back.
func (s *site) ask(method, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	for name, value := range s.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return s.send(r)
}

func (s *site) send(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.handler != nil {
			s.handler(w, r)
		}
	})).ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		if delete(s.cookies, c.Name); c.MaxAge >= 0 {
			s.cookies[c.Name] = c.Value
		}
	}
	return res
}

func (s *site) token(res *http.Response) string { return res.Header.Get(s.csrf.HeaderName()) }

func TestAdapterFlow(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		storage := made(t, db.DB, nil)
		sessions := newSessions(t, storage, databasetest.NewClock(), nil)
		s := newSite(t, sessions, nil)
		save(t, storage, crossauth.Key{Value: "p:reset", UserID: alice})
		header := s.csrf.HeaderName()

		res := s.ask("GET", "")
		first := s.token(res)
		if res.StatusCode != 200 || first == "" || len(s.cookies) != 1 || res.Header.Get("Vary") != "Cookie" {
			t.Fatal(res.StatusCode, res.Header)
		}
		if again := s.ask("GET", ""); s.token(again) == first || len(again.Cookies()) != 0 {
			t.Error("one mask twice, or a cookie again:", again.Header)
		}
		if res := s.ask("POST", ""); res.StatusCode != 401 {
			t.Error("without a token:", res.StatusCode)
		}

		// A visitor's session, then a sign-in.
		var state crossauth.State
		s.handler = func(w http.ResponseWriter, r *http.Request) {
			var err error
			if state, err = s.CreateAnonymous(w, r, `{"cart": 1}`); err != nil {
				t.Error(err)
			}
		}
		res = s.ask("POST", "", header, first)
		if res.StatusCode != 200 || len(s.cookies) != 2 || state.SessionID == "" || s.token(res) != state.CSRFToken {
			t.Fatal(res.StatusCode, res.Header, state)
		}
		visitor, old := state.SessionID, s.token(res)
		s.handler = func(w http.ResponseWriter, r *http.Request) {
			if seen := crossauth.FromContext(r.Context()); seen.SessionID != visitor || !seen.Key.UserID.Anonymous() || seen.CSRFToken == "" {
				t.Error(seen)
			}
			var err error
			if state, err = s.Login(w, r, alice, true); err != nil {
				t.Error(err)
			}
		}
		res = s.ask("POST", "csrfToken="+url.QueryEscape(old), "Content-Type", "application/x-www-form-urlencoded")
		for _, c := range res.Cookies() {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || (c.Name == crossauth.DefaultSessionCookie) == c.Expires.IsZero() {
				t.Error(c)
			}
		}
		if res.StatusCode != 200 || len(res.Cookies()) != 2 || state.Key.UserID != alice || state.Key.Data != `{"cart": 1}` {
			t.Fatal(res.StatusCode, res.Header, state)
		}
		holds(t, sessions, visitor, crossauth.InvalidKey)
		if _, err := storage.GetKey(t.Context(), "p:reset"); err == nil {
			t.Error("the reset token is there after the sign-in")
		}
		if res := s.ask("POST", "", header, old); res.StatusCode != 401 {
			t.Error("the token of before the sign-in:", res.StatusCode)
		}

		// Out, by POST.
		signedIn := state.SessionID
		s.handler = func(w http.ResponseWriter, r *http.Request) {
			if err := s.Logout(w, r); err != nil {
				t.Error(err)
			}
		}
		if res := s.ask("POST", "", header, s.token(res)); res.StatusCode != 200 || len(s.cookies) != 0 {
			t.Error(res.StatusCode, res.Header)
		}
		holds(t, sessions, signedIn, crossauth.InvalidKey)
	})
}

func TestAdapterTokens(t *testing.T) {
	sessions := newSessions(t, &crossauth.MemoryKeys{}, databasetest.NewClock(), nil)
	s := newSite(t, sessions, func(c *crossauth.AdapterConfig) { c.MaxBody = 1000 })
	var got string
	s.handler = func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if got = string(b); err != nil {
			t.Error(err)
		}
	}
	token := s.token(s.ask("GET", ""))
	form := func(pairs ...string) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == "file" {
				part, _ := w.CreateFormFile("csrfToken", "x")
				io.WriteString(part, pairs[i+1])
				continue
			}
			w.WriteField(pairs[i], pairs[i+1])
		}
		w.Close()
		return b.String(), w.FormDataContentType()
	}
	escaped := url.QueryEscape(token)
	urlencoded := "application/x-www-form-urlencoded"
	multi, multiType := form("a", "b", "csrf_token", token)
	both, bothType := form("csrf_token", "x", "csrfToken", token)
	file, fileType := form("file", token)
	huge, hugeType := form("csrfToken", strings.Repeat("x", 300))
	for _, c := range []struct {
		name, body, media, header string
		status                    int
	}{
		{"header", "hello", "", token, 200}, {"header-first", "csrfToken=" + escaped, urlencoded, "x.y", 401}, {"form", "a=b&csrf_token=" + escaped + "&c=d", urlencoded, "", 200},
		{"form-order", "csrf_token=x&csrfToken=" + escaped, urlencoded, "", 200}, {"form-charset", "csrfToken=" + escaped, urlencoded + "; charset=utf-8", "", 200}, {"form-bad", "csrfToken=%zz", urlencoded, "", 401},
		{"form-long", "csrfToken=" + escaped + "&x=" + strings.Repeat("x", 1000), urlencoded, "", 401}, {"json", `{"csrfToken":"` + token + `"}`, "application/json", "", 200}, {"json-second", `{"csrfToken":5,"csrf_token":"` + token + `"}`, "application/json", "", 200},
		{"json-list", `["` + token + `"]`, "application/json", "", 401}, {"json-deep", strings.Repeat("[", 900), "application/json", "", 401}, {"multipart", multi, multiType, "", 200}, {"multipart-both", both, bothType, "", 200},
		{"multipart-file", file, fileType, "", 401}, {"multipart-huge", huge, hugeType, "", 401}, {"multipart-none", multi, "multipart/form-data", "", 401}, {"text", "csrfToken=" + escaped, "text/plain", "", 401},
		{"no-type", "csrfToken=" + escaped, "", "", 401}, {"empty", "", urlencoded, "", 401}, {"nothing", "x", "", "", 401}, {"big-header", "", "", strings.Repeat("x", 1<<20), 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.media != "" {
				headers = append(headers, "Content-Type", c.media)
			}
			if c.header != "" {
				headers = append(headers, s.csrf.HeaderName(), c.header)
			}
			got = ""
			if res := s.ask("POST", c.body, headers...); res.StatusCode != c.status || c.status == 200 && got != c.body {
				t.Error(res.StatusCode, got)
			}
		})
	}
	// Cookies twice, of another secret, of a session.
	if res := s.ask("POST", "", s.csrf.HeaderName(), token, s.csrf.HeaderName(), token); res.StatusCode != 401 {
		t.Error(res.StatusCode)
	}
	r := httptest.NewRequest("POST", "/", nil)
	for range 2 {
		r.AddCookie(&http.Cookie{Name: crossauth.DefaultCSRFCookie, Value: s.cookies[crossauth.DefaultCSRFCookie]})
	}
	r.Header.Set(s.csrf.HeaderName(), token)
	if res := s.send(r); res.StatusCode != 401 {
		t.Error("two cookies:", res.StatusCode)
	}
	api := httptest.NewRequest("POST", "/", nil)
	api.Header.Set("Authorization", "ApiKey x")
	if res := s.send(api); res.StatusCode != 200 {
		t.Error("without cookies:", res.StatusCode)
	}
	if res := s.ask("POST", "", "Authorization", "ApiKey x"); res.StatusCode != 401 {
		t.Error("with a cookie:", res.StatusCode)
	}
}

// A pair that somebody planted does not go with the session.
func TestAdapterBinding(t *testing.T) {
	sessions := newSessions(t, &crossauth.MemoryKeys{}, databasetest.NewClock(), nil)
	for _, unbound := range []bool{false, true} {
		s := newSite(t, sessions, func(c *crossauth.AdapterConfig) { c.DangerouslyUnboundCSRF = unbound })
		id := newSession(t, sessions, alice, "")
		cookie, err := sessions.MakeCookie(crossauth.Key{Value: id})
		if err != nil {
			t.Fatal(err)
		}
		planted, _ := s.csrf.NewToken()
		mask, _ := s.csrf.Mask(planted)
		s.cookies[cookie.Name], s.cookies[crossauth.DefaultCSRFCookie] = cookie.Value, s.csrf.CookieValue(planted)
		want := 401
		if unbound {
			want = 200
		}
		if res := s.ask("POST", "", s.csrf.HeaderName(), mask); res.StatusCode != want {
			t.Errorf("unbound %v: %d", unbound, res.StatusCode)
		}
		good := s.token(s.ask("GET", "")) // a planted cookie is replaced
		if res := s.ask("POST", "", s.csrf.HeaderName(), good); res.StatusCode != 200 {
			t.Errorf("unbound %v: %d", unbound, res.StatusCode)
		}
		if err := s.csrf.Validate(s.cookies[crossauth.DefaultCSRFCookie], good); err != nil {
			t.Error("the original would refuse it:", err)
		}
	}
}

func TestAdapterSessions(t *testing.T) {
	c := databasetest.NewClock()
	storage := &taken{KeyStorage: &crossauth.MemoryKeys{}}
	sessions := newSessions(t, storage, c, func(c *crossauth.SessionCookieConfig) { c.IdleTimeout = time.Hour })
	refuse := error(nil)
	s := newSite(t, sessions, func(c *crossauth.AdapterConfig) {
		c.Validate = func(*http.Request, crossauth.Key, *crossauth.User) error { return refuse }
	})
	var state crossauth.State
	s.handler = func(_ http.ResponseWriter, r *http.Request) { state = crossauth.FromContext(r.Context()) }
	id := newSession(t, sessions, alice, "")
	cookie, _ := sessions.MakeCookie(crossauth.Key{Value: id})
	s.cookies[cookie.Name] = cookie.Value
	active := func() time.Time {
		key, err := storage.GetKey(t.Context(), crossauth.HashSessionID(id))
		if err != nil {
			t.Fatal(err)
		}
		return key.LastActive
	}
	began := active()
	for _, turn := range []struct {
		by      time.Duration
		written bool
	}{{30 * time.Second, false}, {30 * time.Second, true}, {59 * time.Minute, true}, {time.Second, false}} {
		before := active()
		c.Turn(turn.by)
		if s.ask("GET", ""); state.Key.UserID != alice || active().After(before) != turn.written {
			t.Error(turn, state.Key.UserID, before, active())
		}
	}
	if !active().After(began) {
		t.Error("activity is not written")
	}
	refuse = errors.New("no")
	if res := s.ask("GET", ""); res.StatusCode != 500 || strings.Contains(readAll(t, res), "no\"") {
		t.Error(res.StatusCode)
	}
	refuse = &crossauth.Error{Code: crossauth.InvalidKey}
	kept := s.cookies[cookie.Name]
	if res := s.ask("GET", ""); res.StatusCode != 200 || state.SessionID != "" || s.cookies[cookie.Name] != "" {
		t.Error(res.StatusCode, state, s.cookies)
	}
	refuse, s.cookies[cookie.Name] = nil, kept
	c.Turn(time.Hour + time.Second)
	if s.ask("GET", ""); state.SessionID != "" || s.cookies[cookie.Name] != "" {
		t.Error("idle for an hour:", state)
	}
	for _, junk := range []string{"x", "", strings.Repeat("x", 10<<20)} {
		s.cookies[cookie.Name] = junk
		if res := s.ask("GET", ""); res.StatusCode != 200 || state.SessionID != "" {
			t.Error(res.StatusCode)
		}
	}
	_, err := crossauth.NewAdapter(crossauth.AdapterConfig{MaxBody: -1})
	for _, want := range []string{"Sessions", "CSRF", "MaxBody"} {
		if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	_, err = crossauth.NewAdapter(crossauth.AdapterConfig{Sessions: sessions, CSRF: newCSRF(t, func(c *crossauth.CSRFConfig) { c.Secret, c.CookieName = longSecret, crossauth.DefaultSessionCookie })})
	if code(err) != crossauth.Configuration || !strings.Contains(err.Error(), "one secret") || !strings.Contains(err.Error(), "one cookie") {
		t.Error(err)
	}
}

// The storage is away: a failure, and the cookie stays.
func TestAdapterUnavailable(t *testing.T) {
	db := databases.SQLite(t, 1)
	sessions := newSessions(t, made(t, db.DB, nil), databasetest.NewClock(), nil)
	s := newSite(t, sessions, nil)
	cookie, _ := sessions.MakeCookie(crossauth.Key{Value: newSession(t, sessions, alice, "")})
	s.cookies[cookie.Name] = cookie.Value
	databasetest.Execute(t, db.DB, "DROP TABLE Key")
	if res := s.ask("GET", ""); res.StatusCode != 503 || s.cookies[cookie.Name] == "" || readAll(t, res) != `{"ok":false,"code":"Connection","error":"Connection failure"}` {
		t.Error(res.StatusCode, s.cookies)
	}
	databasetest.Execute(t, db.DB, "CREATE TABLE Key (value TEXT)")
	databasetest.Execute(t, db.DB, "INSERT INTO Key SELECT '"+crossauth.HashSessionID(strings.SplitN(cookie.Value, ".", 2)[0])+"'")
	if res := s.ask("GET", ""); res.StatusCode != 200 || s.cookies[cookie.Name] == "" {
		t.Error("a row that cannot be read:", res.StatusCode, s.cookies)
	}
}

func readAll(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
