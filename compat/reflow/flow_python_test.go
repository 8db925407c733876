package reflow

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
)

// original is the original's application in Python, with the same secret and clock as
// a site.
type original struct {
	*databasetest.Original
	t     *testing.T
	clock *clockAt
}

type originalAnswer struct {
	Status    int               `json:"status"`
	Detail    string            `json:"detail"`
	Sub       *string           `json:"sub"`
	Name      *string           `json:"name"`
	ExpiresAt string            `json:"expires_at"`
	Tx        map[string]string `json:"tx"`
	SetCookie []string          `json:"set_cookie"`
}

func startOriginal(t *testing.T, s *site) *original {
	t.Helper()
	return &original{databasetest.StartOriginal(t, "itsdangerous", nil, "testdata/reflow.py", secret, "28800"), t, s.clock}
}

func (o *original) ask(op string, more map[string]any) (a originalAnswer) {
	o.t.Helper()
	if more == nil {
		more = make(map[string]any)
	}
	more["op"], more["now"] = op, float64(o.clock.now.UnixMicro())/1e6
	o.Ask(o.t, more, &a)
	return a
}

// set reads Set-Cookie lines, and their text without the values.
func set(t *testing.T, lines []string) (values map[string]string, form string) {
	t.Helper()
	values = make(map[string]string)
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		values[c.Name] = c.Value
		form += strings.Replace(line, "="+c.Value, "=", 1) + "\n"
	}
	return values, form
}

// visit asks for me with a session cookie.
func (s *site) visit(session string) *http.Response {
	return serve(s, request("GET", AuthPath+"me", session))
}

func (s *site) logout(session, csrf string) *http.Response {
	return serve(s, request("POST", AuthPath+"logout", session, own, mine, CSRFHeader, csrf))
}

// TestJourneyBegunHere signs in here, and goes on in Python and here by turns.
func TestJourneyBegunHere(t *testing.T) {
	s := newSite(t, basic, nil)
	python := startOriginal(t, s)
	res := serve(s, post("login", `{"username":"alice","password":"right"}`, own, mine))
	here, form := set(t, res.Header["Set-Cookie"])
	if _, theirs := set(t, python.ask("login", map[string]any{"sub": "alice"}).SetCookie); form != theirs {
		t.Errorf("cookies are written\n%sthere\n%s", form, theirs)
	}
	session := here[DefaultCookieName]
	a := python.ask("request", map[string]any{"session": session})
	if a.Sub == nil || *a.Sub != "alice" || *a.Name != "alice" || a.ExpiresAt != "2026-01-02T11:04:05.678901+00:00" || len(a.SetCookie) != 0 {
		t.Fatalf("%+v", a)
	}
	// Python re-issues, at exactly half not, and here is read what it wrote.
	s.clock.now = s.clock.now.Add(4 * time.Hour)
	if a := python.ask("request", map[string]any{"session": session}); len(a.SetCookie) != 0 {
		t.Error("re-issued at half")
	}
	if res := s.visit(session); res.StatusCode != 200 || len(res.Cookies()) != 0 {
		t.Error("re-issued at half here:", res.Header)
	}
	s.clock.now = s.clock.now.Add(time.Second)
	a = python.ask("request", map[string]any{"session": session})
	values, theirs := set(t, a.SetCookie)
	if theirs != form {
		t.Errorf("re-issued there as\n%s", theirs)
	}
	if res := s.visit(values[DefaultCookieName]); res.StatusCode != 200 || len(res.Cookies()) != 0 {
		t.Error(res.StatusCode, res.Header)
	}
	// So does here, and Python reads that.
	res = s.visit(session)
	values, ours := set(t, res.Header["Set-Cookie"])
	if ours != form || res.Header.Get(SentinelHeader) != "1" {
		t.Errorf("re-issued here as\n%s", ours)
	}
	session = values[DefaultCookieName]
	if a := python.ask("request", map[string]any{"session": session}); a.Sub == nil || *a.Sub != "alice" || len(a.SetCookie) != 0 {
		t.Errorf("%+v", a)
	}
	// The logout there takes the CSRF value from here.
	if a := python.ask("logout", map[string]any{"session": session, "csrf": here[DefaultCookieName+CSRFSuffix]}); a.Status != 403 {
		t.Errorf("the CSRF value of before the re-issue: %+v", a)
	}
	a = python.ask("logout", map[string]any{"session": session, "csrf": values[DefaultCookieName+CSRFSuffix]})
	_, theirs = set(t, a.SetCookie)
	if a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	res = s.logout(session, values[DefaultCookieName+CSRFSuffix])
	if _, ours := set(t, res.Header["Set-Cookie"]); res.StatusCode != 200 || ours != theirs {
		t.Errorf("%d, cleared by\n%sthere\n%s", res.StatusCode, ours, theirs)
	}
}

// TestJourneyBegunThere signs in in Python.
func TestJourneyBegunThere(t *testing.T) {
	s := newSite(t, basic, nil)
	python := startOriginal(t, s)
	for _, name := range []string{"alice", "Zoë \"quoted\" \\ \u2028 <&>", strings.Repeat("long", 500)} {
		values, _ := set(t, python.ask("login", map[string]any{"sub": name}).SetCookie)
		session, csrf := values[DefaultCookieName], values[DefaultCookieName+CSRFSuffix]
		res := s.visit(session)
		id, err := s.sessions.config.Codec.Decode(session)
		if res.StatusCode != 200 || err != nil || id.Subject != name || *id.Name != name || id.Email != nil {
			t.Fatal(res.StatusCode, err, id)
		}
		if res := s.logout(session, strings.Repeat("0", 64)); res.StatusCode != 403 {
			t.Error("a wrong CSRF value:", res.StatusCode)
		}
		start := s.clock.now
		s.clock.now = start.Add(5 * time.Hour)
		res = s.visit(session)
		renewed, _ := set(t, res.Header["Set-Cookie"])
		if a := python.ask("request", map[string]any{"session": renewed[DefaultCookieName]}); a.Sub == nil || *a.Sub != name || len(a.SetCookie) != 0 {
			t.Errorf("%+v", a)
		}
		if res := s.logout(session, csrf); res.StatusCode != 200 {
			t.Error("logout with Python's pair:", res.StatusCode, body(t, res))
		}
		if res := s.logout(renewed[DefaultCookieName], renewed[DefaultCookieName+CSRFSuffix]); res.StatusCode != 200 {
			t.Error("logout with the renewed pair:", res.StatusCode)
		}
		// Both forget it at the same second.
		s.clock.now = start.Truncate(time.Second).Add(8*time.Hour + time.Second)
		if a := python.ask("request", map[string]any{"session": session}); a.Sub != nil {
			t.Errorf("%+v", a)
		}
		if res := s.visit(session); res.StatusCode != 401 {
			t.Error(res.StatusCode)
		}
		s.clock.now = start
	}
}

// TestTransactionsWithPython begins a sign-in at one and finishes it at the other.
func TestTransactionsWithPython(t *testing.T) {
	s := newSite(t, oidc, nil)
	python := startOriginal(t, s)
	tx := s.begin(t, "login/idp?next=/docs")
	state := s.idp.sent.Get("state")
	a := python.ask("callback", map[string]any{"tx": tx, "provider": "idp", "state": state})
	if a.Status != 302 || a.Tx["next_path"] != "/docs" || PKCES256(a.Tx["verifier"]) != s.idp.sent.Get("code_challenge") || a.Tx["nonce"] != s.idp.sent.Get("nonce") {
		t.Errorf("%+v", a)
	}
	for provider, state := range map[string]string{"other": state, "idp": strings.Repeat("A", 43)} {
		if a := python.ask("callback", map[string]any{"tx": tx, "provider": provider, "state": state}); a.Detail != authenticationFailed {
			t.Errorf("%+v", a)
		}
	}
	b := python.ask("begin", map[string]any{"provider": "idp", "next": "/from/there"})
	values, theirs := set(t, b.SetCookie)
	if _, ours := set(t, []string{s.sessions.config.Codec.TxCookie("x")}); theirs != ours {
		t.Errorf("the transaction cookie is written %s, there %s", ours, theirs)
	}
	s.idp.sent = url.Values{"code_challenge": {PKCES256(b.Tx["verifier"])}, "nonce": {b.Tx["nonce"]}, "redirect_uri": {"http://example.com/api/v1/auth/callback/idp"}}
	for _, want := range []string{"/from/there", ""} {
		res := s.callback("idp?code=good&state="+b.Tx["state"], values[TxCookieName])
		if res.Header.Get("Location") != want {
			t.Error(res.StatusCode, res.Header)
		}
	}
	s.clock.now = s.clock.now.Add(TxMaxAge + time.Second)
	a = python.ask("callback", map[string]any{"tx": tx, "provider": "idp", "state": state})
	res := s.callback("idp?code=good&state="+state, tx)
	if got := body(t, res); a.Detail != "oauth tx expired" || got != `{"detail":"`+a.Detail+`"}` {
		t.Errorf("%s, there %+v", got, a)
	}
}
