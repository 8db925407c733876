//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/optest"
)

// TestDaemonSignsIn: the program that people run, with a configuration file, at a
// certified provider and by password: sign-in, sign-out from both sides, and nothing
// secret in its log.
func TestDaemonSignsIn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // the daemon listens there next
	site := "http://" + address + "/auth"
	op := optest.Start(t, optest.Config{Clients: []optest.Client{{ID: "app", Secret: "canary-client-secret-0123456789abcdef", RedirectURIs: []string{site + "/callback/corp"},
		PostLogoutURIs: []string{site + "/login"}, BackChannel: "http://" + address + "/backchannel-logout/corp", BackChannelSID: true}}})
	dir := t.TempDir()
	files := map[string]string{"secret": "canary-client-secret-0123456789abcdef\n", "password": "canary horse battery staple\n", "c.yaml": fmt.Sprintf(`
prefix: /auth
insecure-cookie: true
users: latchkey.users
providers:
  - id: corp
    name: The Corporation
    issuer: %s
    client_id: app
    client_secret: file:secret
    claims: {roles: [groups], role_map: {everybody: [staff]}}
`, op.Issuer)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"key", "generate"}, {"user", "add", "bob", "--password-file", "password"}, {"doctor", "--config", "c.yaml"}} {
		if out, err := runBinary(dir, args...); err != nil && args[0] != "doctor" {
			t.Fatalf("%v: %v\n%s", args, err, out)
		} else if args[0] == "doctor" && !regexp.MustCompile(`(?m)^ok +provider corp +`+regexp.QuoteMeta(op.Issuer)).MatchString(out) {
			t.Errorf("doctor says\n%s", out)
		}
	}
	p := start(t, dir, "--config", "c.yaml", "--listen", address)
	visit := newClient(t)
	res := visit.post(t, site+"/login/corp?rd=/auth/status", nil)
	callback := op.Login(t, newClient(t).http, res.Header.Get("Location"), "ada", nil)
	if res = visit.get(t, callback); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/auth/status" {
		t.Fatalf("status %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	if me := visit.body(t, site+"/v1/me"); !strings.Contains(me, `"subject":"ada"`) || !strings.Contains(me, `"roles":["staff"]`) || strings.Contains(me, "eyJ") {
		t.Errorf("me is %s", me)
	}
	res = visit.post(t, site+"/logout", nil)
	if to := res.Header.Get("Location"); !strings.HasPrefix(to, op.Issuer+"/session/end?") || !strings.Contains(to, "id_token_hint=") {
		t.Errorf("logout leads to %q", to)
	}
	if status := visit.get(t, site+"/v1/me").StatusCode; status != http.StatusUnauthorized {
		t.Errorf("status %d after the logout", status)
	}
	res = visit.post(t, site+"/login", url.Values{"username": {"bob"}, "password": {"canary horse battery staple"}})
	if me := visit.body(t, site+"/v1/me"); res.StatusCode != http.StatusSeeOther || !strings.Contains(me, `"provider":"local"`) {
		t.Errorf("status %d, me is %s", res.StatusCode, me)
	}
	if res := visit.post(t, "http://"+address+"/backchannel-logout/corp", url.Values{"logout_token": {"canary.x.y"}}); res.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d for a bad logout token", res.StatusCode)
	}
	visit.get(t, callback) // again
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.log.String()
	code, _, _ := strings.Cut(strings.Split(callback, "code=")[1], "&")
	for _, secret := range []string{"canary-client", "canary horse", "canary.x", "lk_", "eyJ", code} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	if !strings.Contains(log, `"why":"transaction: missing"`) || !strings.Contains(log, `"why":"malformed"`) {
		t.Errorf("the log does not say why:\n%s", log)
	}
}

// client is a browser as far as these tests need one.
type client struct{ http *http.Client }

func newClient(t *testing.T) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &client{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (c *client) do(t *testing.T, method, address string, form url.Values) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func (c *client) get(t *testing.T, address string) *http.Response {
	t.Helper()
	res, _ := c.do(t, http.MethodGet, address, nil)
	return res
}

func (c *client) post(t *testing.T, address string, form url.Values) *http.Response {
	t.Helper()
	res, _ := c.do(t, http.MethodPost, address, form)
	return res
}

func (c *client) body(t *testing.T, address string) string {
	t.Helper()
	_, text := c.do(t, http.MethodGet, address, nil)
	return text
}

// runBinary runs the binary and returns what it printed.
func runBinary(dir string, args ...string) (string, error) {
	cmd := exec.Command(builtBinary, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestStepUpByPassword: a rule that asks for a recent sign-in has a user of the file type
// the password once more; one that asks for more than a password leads to no form.
func TestStepUpByPassword(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"password": "canary horse battery staple\n", "c.yaml": `
public-url: https://auth.example.com
trusted-proxies: 127.0.0.1
protected-hosts: [app.example.com]
cookie-domain: example.com
users: latchkey.users
rules:
  - {paths: /fresh, fresh: 1h, assurance: aal1}
  - {paths: /strong, assurance: aal2}
`}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cli(t, dir, 0, "key", "generate")
	cli(t, dir, 0, "user", "add", "bob", "--password-file", "password")
	p := start(t, dir, "--config", "c.yaml")
	old := fmt.Sprintf(`{"subject":"bob","provider":"local","assurance":"aal1","auth_time":%q}`, time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339))
	res, body := p.call("POST", "/v1/sessions", old, "Authorization", "Bearer "+adminSecret, "Content-Type", "application/json")
	var issued struct{ Token string }
	if err := json.Unmarshal([]byte(body), &issued); err != nil || res.StatusCode != 201 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	cookie := "__Secure-session=" + issued.Token
	ask := func(path string) (int, string) {
		res, _ := p.call("GET", "/auth/forward", "", "X-Forwarded-Method", "GET", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example.com", "X-Forwarded-Uri", path,
			"Sec-Fetch-Mode", "navigate", "Cookie", cookie)
		return res.StatusCode, strings.TrimPrefix(res.Header.Get("Location"), "https://auth.example.com")
	}
	if status, _ := ask("/plain"); status != 204 {
		t.Errorf("a page that asks for nothing: %d", status)
	}
	status, login := ask("/fresh")
	if status != 302 || !strings.HasPrefix(login, "/login?") {
		t.Fatalf("%d to %q", status, login)
	}
	page := func(path string) string {
		_, text := p.call("GET", path, "", "Sec-Fetch-Mode", "navigate", "Cookie", cookie)
		return text
	}
	fields := url.Values{"username": {"bob"}}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`).FindAllStringSubmatch(page(login), -1) {
		fields.Set(m[1], m[2])
	}
	if fields.Get("rd") != "https://app.example.com/fresh" || fields.Get("max_age") != "3600" || fields.Get("acr_values") != "aal1" {
		t.Fatalf("the form has %v", fields)
	}
	submit := func(password string) *http.Response {
		fields.Set("password", password)
		res, _ := p.call("POST", "/login", fields.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://auth.example.com", "Host", "auth.example.com",
			"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Cookie", cookie)
		return res
	}
	if res := submit("wrong"); res.StatusCode != 403 || len(res.Cookies()) > 0 {
		t.Errorf("a wrong password: %d, %v", res.StatusCode, res.Header)
	}
	if res = submit("canary horse battery staple"); res.StatusCode != 303 || res.Header.Get("Location") != "https://app.example.com/fresh" || len(res.Cookies()) != 1 {
		t.Fatalf("%d, %v", res.StatusCode, res.Header)
	}
	cookie = "__Secure-session=" + res.Cookies()[0].Value
	if status, location := ask("/fresh"); status != 204 {
		t.Errorf("after the sign-in: %d to %q", status, location)
	}
	status, login = ask("/strong")
	if text := page(login); status != 302 || strings.Contains(text, `name="password"`) || !strings.Contains(text, "strong enough") {
		t.Errorf("%d to %q: %s", status, login, text)
	}
	if status := p.me(issued.Token); status != 401 {
		t.Errorf("the session before: %d", status)
	}
	p.stop()
	if strings.Contains(p.all(), "canary horse") || strings.Contains(p.all(), "lk_") {
		t.Error("a secret is in the log")
	}
}
