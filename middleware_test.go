package latchkey_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

var (
	visits = latchkey.NewKey[int]("visits")
	motto  = latchkey.NewKey[string]("motto")
)

// setup returns a Manager over a fresh store, and the clock of both.
func setup(t testing.TB, change func(*latchkey.Config)) (*latchkey.Manager, *memory.Store, *latchkeytest.Clock) {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	store, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Generate(clock.Time().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cfg := latchkey.Config{Store: store, Keys: ring, Clock: clock}
	if change != nil {
		change(&cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Close(context.Background())
		_ = store.Close()
	})
	return m, store, clock
}

func issue(t testing.TB, m *latchkey.Manager, subject string) string {
	t.Helper()
	issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: subject})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Token
}

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if token != "" {
		r.Header.Set("Cookie", "__Host-session="+token)
	}
	return r
}

func mustSession(t testing.TB, r *http.Request) latchkey.Session {
	t.Helper()
	s, err := latchkey.FromContext(r.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whichever way the first byte leaves, the session is saved before it.
func TestCommitBeforeFirstByte(t *testing.T) {
	ways := map[string]func(w http.ResponseWriter){
		"write":              func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) },
		"write-string":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
		"write-header":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
		"read-from":          func(w http.ResponseWriter) { _, _ = w.(io.ReaderFrom).ReadFrom(strings.NewReader("x")) },
		"copy":               func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("x")) },
		"flush":              func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller-flush":   func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"early-hints-before": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(http.StatusOK) },
		"hijack": func(w http.ResponseWriter) {
			conn, rw, err := w.(http.Hijacker).Hijack()
			hijacked(conn, rw, err)
		},
		"controller-hijack": func(w http.ResponseWriter) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			hijacked(conn, rw, err)
		},
		"nothing": func(http.ResponseWriter) {},
	}
	for name, leave := range ways {
		t.Run(name, func(t *testing.T) {
			m, store, _ := setup(t, nil)
			token := issue(t, m, "alice")
			id := lookup(t, m, token).ID()
			before := make(chan uint64, 1)
			srv := httptest.NewServer(m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := mustSession(t, r)
				if err := visits.Set(s, 1); err != nil {
					t.Error(err)
				}
				leave(w)
				rec, err := store.Get(context.Background(), id)
				if err != nil {
					t.Error(err)
				}
				before <- rec.Version
				if name != "nothing" {
					if err := visits.Set(s, 2); !errors.Is(err, latchkey.ErrCommitted) {
						t.Errorf("set after the first byte: %v", err)
					}
				}
			})))
			defer srv.Close()
			req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", "__Host-session="+token)
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Fatal(err)
			}
			if v := <-before; name != "nothing" && v != 2 {
				t.Errorf("version %d when the first byte left", v)
			}
			if v, err := visits.Get(lookup(t, m, token)); v != 1 || err != nil {
				t.Errorf("visits %d, %v", v, err)
			}
		})
	}
}

func hijacked(conn net.Conn, rw *bufio.ReadWriter, err error) {
	if err != nil {
		panic(err)
	}
	_, _ = rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	_ = rw.Flush()
	_ = conn.Close()
}

func lookup(t testing.TB, m *latchkey.Manager, token string) latchkey.Session {
	t.Helper()
	s, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token, Passive: true, AskStore: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refused(t testing.TB, m *latchkey.Manager, token string) {
	t.Helper()
	if _, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token}); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("token is not refused: %v", err)
	}
}

func TestPanicCommitsNothing(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "alice")
	h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := visits.Set(mustSession(t, r), 1); err != nil {
			t.Error(err)
		}
		panic("boom")
	}))
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), request(token))
		t.Error("the panic did not get through")
	}()
	if _, found, _ := visits.Lookup(lookup(t, m, token)); found {
		t.Error("a panicking handler's change was saved")
	}
}

func TestNoMiddleware(t *testing.T) {
	s, err := latchkey.FromContext(context.Background())
	if !errors.Is(err, latchkey.ErrNoMiddleware) {
		t.Errorf("err %v", err)
	}
	if s.Live() || s.Subject() != "" || s.Roles() != nil || !s.ID().IsZero() {
		t.Error("zero session is somebody")
	}
	if err := visits.Set(s, 1); !errors.Is(err, latchkey.ErrReadOnly) {
		t.Errorf("set: %v", err)
	}
	if _, err := visits.Get(s); err != nil {
		t.Errorf("get: %v", err)
	}
}

func TestSignInRenewsAndOldTokenEnds(t *testing.T) {
	m, _, _ := setup(t, nil)
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := motto.Set(mustSession(t, r), "before"); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, request(""))
	anonymous := cookieOf(t, w)
	if s := lookup(t, m, anonymous); s.SignedIn() || !s.Live() {
		t.Fatal("no anonymous session was made")
	}

	w = httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := mustSession(t, r)
		if err := s.SignIn(r.Context(), latchkey.SignIn{Subject: "alice", Roles: []string{"admin"}, KeepData: true}); err != nil {
			t.Error(err)
		}
		if s.Subject() != "alice" || !s.HasRole("admin") || s.HasRole("adm") {
			t.Error("the handler does not see the new session")
		}
		if err := visits.Set(s, 3); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, request(anonymous))
	token := cookieOf(t, w)
	refused(t, m, anonymous)
	s := lookup(t, m, token)
	if v, _ := motto.Get(s); v != "before" || s.Subject() != "alice" {
		t.Errorf("motto %q subject %q", v, s.Subject())
	}
	if v, _ := visits.Get(s); v != 3 {
		t.Errorf("visits %d", v)
	}

	issued, err := s.Renew(context.Background(), latchkey.Renewal{Roles: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, m, token)
	again := lookup(t, m, issued.Token)
	if v, _ := motto.Get(again); v != "before" || len(again.Roles()) != 0 || again.ID() != s.ID() {
		t.Errorf("renewed session lost something: %q %v", v, again.Roles())
	}
}

func cookieOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies: %v", len(cookies), w.Header()["Set-Cookie"])
	}
	return cookies[0].Value
}

func TestCookieForms(t *testing.T) {
	for name, c := range map[string]struct {
		cookie latchkey.Cookie
		want   string
	}{
		"default":  {latchkey.Cookie{}, "__Host-session=T; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		"domain":   {latchkey.Cookie{Domain: "example.com"}, "__Secure-session=T; Path=/; Domain=example.com; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		"insecure": {latchkey.Cookie{DangerouslyInsecure: true}, "session=T; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		"browser":  {latchkey.Cookie{Temporary: true}, "__Host-session=T; Path=/; HttpOnly; Secure; SameSite=Lax"},
		"strict":   {latchkey.Cookie{SameSite: http.SameSiteStrictMode}, "__Host-session=T; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Strict"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, func(cfg *latchkey.Config) { cfg.Cookie = c.cookie })
			issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Replace(issued.SetCookie, issued.Token, "T", 1); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDuplicateCookiesAreNobody(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "alice")
	for name, lines := range map[string][]string{
		"one-line":  {"__Host-session=" + token + "; __Host-session=" + token},
		"two-lines": {"__Host-session=" + token, "__Host-session=" + token},
		"other":     {"__Host-session=" + token + "; __Host-session=planted"},
	} {
		r := request("")
		r.Header["Cookie"] = lines
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if mustSession(t, r).Live() {
				t.Errorf("%s: a duplicate cookie is somebody", name)
			}
		})).ServeHTTP(w, r)
		if c := w.Header()["Set-Cookie"]; c != nil {
			t.Errorf("%s: cookie touched: %v", name, c)
		}
		if s, err := m.Read(w, r); s.Live() || err != nil {
			t.Errorf("%s: Read: %v", name, err)
		}
	}
}

func TestConfigReportsEverything(t *testing.T) {
	_, err := latchkey.New(latchkey.Config{Idle: time.Millisecond, Absolute: -1, Limit: -1, MaxData: -1, RotateEvery: time.Second,
		Privacy: "some", Preset: "aal9", Cookie: latchkey.Cookie{Name: "a b", SameSite: http.SameSiteNoneMode, Domain: "localhost"}})
	var e *latchkey.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range e.Fields {
		seen[f.Field] = true
	}
	for _, field := range []string{"Store", "Keys", "Idle", "Absolute", "Limit", "MaxData", "RotateEvery", "Privacy", "Preset",
		"Cookie.Name", "Cookie.SameSite", "Cookie.Domain"} {
		if !seen[field] {
			t.Errorf("%s is not reported: %v", field, err)
		}
	}
}

// A session that can only be read still serves its holder's own list.
func TestReadOnlySession(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "alice")
	issue(t, m, "alice")
	s, err := m.Read(httptest.NewRecorder(), request(token))
	if err != nil || !s.SignedIn() {
		t.Fatal(err)
	}
	if err := visits.Set(s, 1); latchkey.CodeOf(err) != latchkey.CodeInternal {
		t.Errorf("set: %v", err)
	}
	if err := s.End(context.Background()); latchkey.CodeOf(err) != latchkey.CodeInternal {
		t.Errorf("end: %v", err)
	}
	if list, err := s.Sessions(context.Background()); err != nil || len(list) != 2 {
		t.Errorf("%d sessions, %v", len(list), err)
	}
	if n, err := s.RevokeOthers(context.Background()); err != nil || n != 1 {
		t.Errorf("%d revoked, %v", n, err)
	}
	if err := s.RevokeOne(context.Background(), s.ID()); err != nil {
		t.Error(err)
	}
	refused(t, m, token)
}
