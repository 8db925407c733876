package edge_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/edge"
)

// journey: unknown visitors are sent to sign in, known ones arrive with their
// identity and without the cookie, and an ended session is out.
func (f *front) journey() {
	res := f.get("/page?a=1", navigation)
	f.want("navigation", res, 302, false)
	if got := res.Header.Get("Location"); got != "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fpage%3Fa%3D1" {
		f.t.Errorf("sent to %q", got)
	}
	f.want("fetch", f.get("/page", "Sec-Fetch-Mode: cors"), 401, false)
	f.want("websocket", f.get("/page", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Accept: text/html"), 401, false)
	f.want("role", f.get("/admin/x", sessionCookie+f.alice().Token, navigation), 403, false)

	i := f.alice()
	s := f.want("signed in", f.get("/page?a=%20b", "Cookie: theme=dark; __Host-session="+i.Token+"; lang=en"), 200, true)
	if got := identityOf(s); got != f.describe(i) {
		f.t.Errorf("the service sees %q", got)
	}
	if s.URI != "/page?a=%20b" || strings.Join(s.Header["Cookie"], "|") != "theme=dark; lang=en" {
		f.t.Errorf("the service is asked for %q with cookies %q", s.URI, s.Header["Cookie"])
	}
	if s := f.want("only cookie", f.get("/page", sessionCookie+i.Token), 200, true); len(strings.Join(s.Header["Cookie"], "")) > 0 {
		f.t.Errorf("cookies %q", s.Header["Cookie"])
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		res := f.request(method, "/page", sessionCookie+i.Token, "Content-Length: 0")
		if s := f.want(method, res, 200, true); s.Method != method {
			f.t.Errorf("%s came as %s", method, s.Method)
		}
	}
	if all := f.send("POST /page HTTP/1.1\r\nHost: app.example.com\r\n" + sessionCookie + i.Token + "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"); len(all) != 1 || f.want("body", all[0], 200, true).Body != "hello" {
		f.t.Error("the body is lost")
	}
	// A service's own 401 is its own affair.
	if res := f.get("/own-401", sessionCookie+i.Token, navigation); res.StatusCode != 401 || res.Header.Get("X-Own") != "401" {
		f.t.Errorf("the service's own 401 became %d", res.StatusCode)
	}
	f.echo.take()
	if s := f.want("public", f.get("/public/x"), 200, true); identityOf(s) != "" {
		f.t.Errorf("a stranger on a public page is %q", identityOf(s))
	}
	if s := f.want("public, signed in", f.get("/public/x", sessionCookie+i.Token), 200, true); identityOf(s) != f.describe(i) {
		f.t.Errorf("%q", identityOf(s))
	}
	_, err := f.b.m.Revoke(f.t.Context(), latchkey.Revocation{ID: i.Record.ID})
	must(f.t, err)
	f.want("ended", f.get("/page", sessionCookie+i.Token, navigation), 302, false)
}

// spoofedIdentity: what clients claim to be never reaches the service, in no spelling.
func (f *front) spoofedIdentity() {
	var spoofed []string
	for _, sign := range []string{".", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "~"} {
		spoofed = append(spoofed, "X"+sign+"Auth"+sign+"Subject: root", "X-Auth"+sign+"Roles: root")
	}
	for _, name := range []string{"Subject", "Provider", "Email", "Name", "Roles", "Session", "Assertion"} {
		lower := strings.ToLower(name)
		for _, spelling := range []string{"X-Auth-" + name, "x-auth-" + lower, "X-AUTH-" + strings.ToUpper(name), "X_Auth_" + name, "X-Auth_" + name, "X_Auth-" + name, "x_auth_" + lower} {
			spoofed = append(spoofed, spelling+": root")
		}
	}
	if s := f.want("public", f.get("/public/x", spoofed...), 200, true); identityOf(s) != "" {
		f.t.Errorf("a stranger is %q", identityOf(s))
	}
	// A session that lacks e-mail and name: an empty header must not let a client's through.
	i := f.b.signIn(latchkey.SignIn{Provider: "corp", Subject: "bare"})
	want := fmt.Sprintf("Subject=bare Provider=corp Session=%s Assertion=signed", i.Record.ID)
	if s := f.want("signed in", f.get("/page", append(spoofed, sessionCookie+i.Token)...), 200, true); identityOf(s) != want {
		f.t.Errorf("the service sees %q, want %q", identityOf(s), want)
	}
	// Headers that a client calls its connection's own are dropped on the way: not these.
	for _, line := range []string{"Connection: " + strings.Join(edge.IdentityHeaders(), ", "), "connection: close, x-auth-subject,X-AUTH-ROLES", "Proxy-Connection: X-Auth-Subject", "Keep-Alive: X-Auth-Subject"} {
		if s := f.want(line, f.get("/page", line, sessionCookie+i.Token), 200, true); identityOf(s) != want {
			f.t.Errorf("%s: the service sees %q, want %q", line, identityOf(s), want)
		}
	}
	for _, line := range spoofed {
		s := f.want(line, f.get("/page", line, line, sessionCookie+i.Token), 200, true)
		if identityOf(s) != want {
			f.t.Errorf("%s: the service sees %q", line, identityOf(s))
		}
	}
}

// spoofedQuestions: what clients say of the request that is asked about is not believed.
func (f *front) spoofedQuestions() {
	i := f.alice()
	lies := []string{"X-Original-URL: https://app.example.com/public/x", "X-Original-Method: OPTIONS", "X-Forwarded-Uri: /public/x", "X-Forwarded-Host: other.example.com", "X-Forwarded-Proto: http",
		"X-Forwarded-Method: OPTIONS", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Prefix: /public", "Forwarded: for=127.0.0.1;host=other.example.com", "X-Rewrite-Url: /public/x", "X_Original_URL: https://app.example.com/public/x", "X-Real-Ip: 127.0.0.1"}
	for _, lie := range append(lies, "") {
		lines := lies
		if lie != "" {
			lines = []string{lie, lie}
		}
		if name, _, _ := strings.Cut(lie, ":"); lie != "" { // drop what the proxy itself says
			if res := f.get("/admin/x", "Connection: "+name, sessionCookie+i.Token); f.reached() != nil || res.StatusCode != 403 {
				f.t.Errorf("without %s: %d", name, res.StatusCode)
			}
		}
		f.want("stranger, "+lie, f.get("/page", lines...), 401, false)
		f.want("role, "+lie, f.get("/admin/x", append(lines, sessionCookie+i.Token)...), 403, false)
		res := f.get("/page", append(lines, navigation)...)
		f.want("location, "+lie, res, 302, false)
		if got := res.Header.Get("Location"); got != "https://auth.example.com/login?rd=https%3A%2F%2Fapp.example.com%2Fpage" {
			f.t.Errorf("%s: sent to %q", lie, got)
		}
	}
}

// paths: no spelling of a protected path passes as a public one.
func (f *front) paths() {
	for _, target := range []string{
		"/public/../admin/x", "/public/%2e%2e/admin/x", "/public/..%2fadmin/x", "/public%2f..%2fadmin/x", "/public//../admin/x", "//admin/x", "/./admin/x", "/public/..;/admin/x", "/public/%5c../admin/x",
		`/public\..\admin\x`, "/public/.%2e/admin/x", "/%2e%2e/admin/x", "/%61dmin/x", "/admin;x/x", "/admin%2fx", "/public/%252e%252e/admin/x", "/public/%00/../admin/x", "/public/x#/../../admin/x", "/public%3f/../../admin/x",
		"https://app.example.com/admin/x", "https://other.example.com/public/x", "/admin", "/admin?/public/x",
	} {
		res := f.get(target)
		// Caddy's 200 for a host that it does not know is empty; Traefik tidies paths up before it asks.
		if s := f.reached(); s != nil && !plainly(s.URI, "/public") || s == nil && res.Header.Get("X-Service") != "" {
			f.t.Errorf("%s: %d, and the service is asked for %+v", target, res.StatusCode, s)
		}
	}
	for _, target := range []string{"/public/x?a=/../%2f", "/public/%C3%A9", "/public/a%20b"} {
		if s := f.want(target, f.get(target), 200, true); s.URI != target {
			f.t.Errorf("%s came as %s", target, s.URI)
		}
	}
}

// smuggling: one request in front is one request behind, or none.
func (f *front) smuggling() {
	i := f.alice()
	inner := "GET /admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
	head := "POST /public/x HTTP/1.1\r\nHost: app.example.com\r\n"
	upgrade := "GET /public/x HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
	for name, raw := range map[string]string{
		"cl-te":               head + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s", len(inner)+5, inner),
		"te-cl":               head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(inner), inner),
		"te-te":               head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + inner,
		"te-odd":              head + fmt.Sprintf("Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"te-space":            head + fmt.Sprintf("Transfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n%s", len(inner)+5, inner),
		"cl-cl":               head + fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"cl-comma":            head + fmt.Sprintf("Content-Length: 0, %d\r\n\r\n%s", len(inner), inner),
		"cl-plus":             head + fmt.Sprintf("Content-Length: +%d\r\n\r\n%s", len(inner), inner),
		"get-with-body":       fmt.Sprintf("GET /public/x HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"two-hosts":           "GET /public/x HTTP/1.1\r\nHost: app.example.com\r\nHost: other.example.com\r\n\r\n",
		"no-host":             "GET /public/x HTTP/1.1\r\n\r\n",
		"absolute-other-host": "GET https://other.example.com/page HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"absolute-own-host":   "GET https://app.example.com/admin/x HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
		"host-with-path":      "GET /public/x HTTP/1.1\r\nHost: app.example.com/admin\r\n\r\n",
		"folded":              "GET /public/x HTTP/1.1\r\nHost: app.example.com\r\nX-A: b\r\n X-Auth-Subject: root\r\n\r\n",
		"bare-cr":             "GET /public/x HTTP/1.1\r\nHost: app.example.com\r\nX-A: b\rX-Auth-Subject: root\r\n\r\n",
		"line-in-target":      "GET /public/x HTTP/1.1\r\nX-Auth-Subject: root HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"http09":              "GET /admin/x\r\n\r\n",
		"connect":             "CONNECT /admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"asterisk":            "OPTIONS * HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"upgrade-h2c":         upgrade + "Upgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"upgrade-odd":         upgrade + "Upgrade: H2C\r\nUpgrade: websocket\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"upgrade-two":         upgrade + "Upgrade: websocket\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"upgrade-list":        upgrade + "Upgrade: websocket, h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.echo.take()
		answers := f.send(strings.Replace(raw, "\r\n", "\r\nConnection: close\r\n"+odd+sessionCookie+i.Token+"\r\n", 1))
		for _, s := range f.echo.take() {
			// What passes is what was asked about: public, and who alice is.
			if !strings.HasPrefix(s.URI, "/public/x") && s.URI != "/page" || s.Host == "other.example.com" || identityOf(&s) != f.describe(i) {
				f.t.Errorf("%s: the service is asked for %s %s of %q by %q", name, s.Method, s.URI, s.Host, identityOf(&s))
			}
		}
		if len(answers) > 0 && answers[0].StatusCode == http.StatusSwitchingProtocols {
			f.t.Errorf("%s: the protocol is switched", name)
		}
		if len(answers) > 1 && answers[1].StatusCode < 300 {
			f.t.Errorf("%s: %d answers", name, len(answers))
		}
	}
}

// bombs: headers without end are refused by the proxy or by the edge, and what is
// within bounds works.
func (f *front) bombs() {
	i := f.alice()
	bigCookie := "Cookie: a=" + strings.Repeat("x", 3000) + "; __Host-session=" + i.Token + "; b=" + strings.Repeat("y", 3000)
	if s := f.want("6 KB of cookies", f.get("/page", bigCookie), 200, true); len(s.Header.Get("Cookie")) != len(bigCookie)-len("Cookie: ; __Host-session=")-len(i.Token) {
		f.t.Errorf("cookies of %d bytes arrive", len(s.Header.Get("Cookie")))
	}
	for name, line := range map[string]string{"one": "X-Bomb: " + strings.Repeat("x", 2<<20), "cookie": "Cookie: __Host-session=" + strings.Repeat("x", 2<<20), "many": strings.Repeat("X-Bomb: x\r\n", 100_000) + "X-End: x"} {
		all := f.send("GET /page HTTP/1.1\r\nHost: app.example.com\r\n" + line + "\r\nConnection: close\r\n\r\n")
		if s := f.reached(); s != nil || len(all) > 0 && all[0].StatusCode < 400 {
			f.t.Errorf("%s: the service is reached: %v", name, s != nil)
		}
	}
	f.want("afterwards", f.get("/page", sessionCookie+i.Token), 200, true)
}

// slowClient: who sends a request byte by byte holds nobody else up.
func (f *front) slowClient() {
	i := f.alice()
	request := "GET /page HTTP/1.1\r\nHost: app.example.com\r\n" + sessionCookie + i.Token + "\r\nConnection: close\r\n\r\n"
	var slow []*tls.Conn
	for range 50 {
		conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: "app.example.com", NextProtos: []string{"http/1.1"}})
		must(f.t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, request[:len(request)/2])
		must(f.t, err)
		slow = append(slow, conn)
	}
	f.want("beside slow ones", f.get("/page", sessionCookie+i.Token), 200, true)
	must(f.t, slow[0].SetDeadline(time.Now().Add(30*time.Second)))
	_, err := io.WriteString(slow[0], request[len(request)/2:])
	must(f.t, err)
	answer, _ := io.ReadAll(slow[0])
	if !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		f.t.Errorf("the slow one gets %.40q", answer)
	}
	f.echo.take()
}

// storeDown: nobody passes, nobody is signed out, and public pages stay.
func (f *front) storeDown() {
	i := f.alice()
	for _, fault := range []interface{ Store(bool) }{&f.b.store.down, &f.b.store.hangs} {
		fault.Store(true)
		res := f.get("/page", sessionCookie+i.Token, navigation)
		if s := f.reached(); s != nil || res.StatusCode != 503 && res.StatusCode != 500 || len(res.Header["Set-Cookie"]) > 0 {
			f.t.Errorf("%d %v, reached %v", res.StatusCode, res.Header, s != nil)
		}
		f.want("public", f.get("/public/x", sessionCookie+i.Token), 200, true)
		fault.Store(false)
	}
	f.want("afterwards", f.get("/page", sessionCookie+i.Token), 200, true)
}

// outside: the edge's own routes are not to be had through the proxy.
func (f *front) outside() {
	i := f.alice()
	for _, target := range []string{"/auth/nginx", "/auth/forward", "/auth/envoy/x", "//auth/forward", "/x/../auth/forward", "/%61uth/forward", "/auth%2fforward", "/AUTH/forward", "/auth/./forward", "/auth;x/forward", "/auth//forward", "https://auth.example.com/auth/forward"} {
		raw := "GET " + target + " HTTP/1.1\r\nHost: auth.example.com\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: /page\r\nX-Original-URL: https://app.example.com/page\r\nX-Original-Method: GET\r\n" + sessionCookie + i.Token + "\r\nConnection: close\r\n\r\n"
		for _, res := range f.send(raw) {
			if res.StatusCode < 300 || res.Header.Get("X-Auth-Subject") != "" {
				f.t.Errorf("%s: %d %v", target, res.StatusCode, res.Header)
			}
		}
	}
	if s := f.reached(); s != nil {
		f.t.Errorf("the service is asked for %s", s.URI)
	}
}

// renewedCookie: after a change of keys the new token reaches the browser where the
// proxy can hand it on, and the old one goes on being good.
func (f *front) renewedCookie(handedOn bool) {
	i := f.alice()
	f.b.rotateKeys()
	res := f.get("/page", sessionCookie+i.Token)
	f.want("after the rotation", res, 200, true)
	if got := res.Header["Set-Cookie"]; handedOn != (len(got) == 1 && strings.HasPrefix(got[0], "__Host-session=lk_") && !strings.Contains(got[0], i.Token)) {
		f.t.Errorf("cookies %q", got)
	}
	f.want("the old token", f.get("/page", sessionCookie+i.Token), 200, true)
	res = f.get("/admin/x", sessionCookie+i.Token)
	f.want("refused", res, 403, false)
}
