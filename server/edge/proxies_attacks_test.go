package edge_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/edge"
)

// passed fails for what reached the service by other ways than it was asked about:
// as alice what she may see, or as nobody what is public.
func (f *front) passed(what string, i latchkey.Issued) {
	f.t.Helper()
	for _, s := range f.echo.take() {
		who := identityOf(&s)
		if who != f.describe(i) && (who != "" || !plainly(s.URI, "/public")) || plainly(s.URI, "/admin") || !plainly(s.URI, "") || s.Host != "app.example.com" {
			f.t.Errorf("%s: the service is asked for %s %s of %q by %q", what, s.Method, s.URI, s.Host, who)
		}
		if strings.Contains(strings.Join(s.Header["Cookie"], ""), "lk_") {
			f.t.Errorf("%s: the service gets the session cookie", what)
		}
	}
}

// plainly reports whether a target is below a folder, for everybody who reads it.
func plainly(uri, folder string) bool {
	target, err := url.ParseRequestURI(uri)
	return err == nil && strings.HasPrefix(target.Path, folder+"/") && path.Clean(target.Path) == target.Path && !oddEscapes.MatchString(uri)
}

var oddEscapes = regexp.MustCompile(`(?i)%2f|%5c|%2e|%25|%[01]|\\|;`)

// framing is a body that ends for one and goes on for another.
func (f *front) framing() {
	i := f.alice()
	inner := "GET /admin/x HTTP/1.1\r\nHost: app.example.com\r\nX-Auth-Subject: root\r\n\r\n"
	chunked := "POST /public/x HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
	head := "GET /public/x HTTP/1.1\r\nHost: app.example.com\r\n"
	for name, raw := range map[string]string{
		"chunk-extension":      chunked + "5;a=b\r\nhello\r\n0;c\r\n\r\n" + inner,
		"chunk-extension-lf":   chunked + "5;a\nhello\r\n0\r\n\r\n" + inner,
		"chunk-extension-long": chunked + "5;" + strings.Repeat("a", 20_000) + "\r\nhello\r\n0\r\n\r\n" + inner,
		"chunk-two-lines":      chunked + fmt.Sprintf("2;\n\r\nxx\r\n%x\r\n0\r\n\r\n%s\r\n0\r\n\r\n", len(inner)+5, inner),
		"chunk-bare-lf":        chunked + "5\nhello\n0\n\n" + inner,
		"chunk-spilled":        chunked + "5\r\nhelloXX0\r\n\r\n" + inner,
		"chunk-hex":            chunked + "0x5\r\nhello\r\n0\r\n\r\n" + inner,
		"chunk-huge":           chunked + "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n" + inner,
		"chunk-minus":          chunked + "-1\r\nhello\r\n0\r\n\r\n" + inner,
		"chunk-space":          chunked + "5 \r\nhello\r\n0 \r\n\r\n" + inner,
		"trailer":              chunked + "5\r\nhello\r\n0\r\nX-Auth-Subject: root\r\nHost: other.example.com\r\nContent-Length: 0\r\n\r\n" + inner,
		"trailer-announced":    strings.Replace(chunked, "\r\n\r\n", "\r\nTrailer: X-Auth-Roles\r\n\r\n", 1) + "0\r\nX-Auth-Roles: admin\r\n\r\n",
		"te-tab":               strings.Replace(chunked, ": chunked", ":\tchunked\r\nContent-Length: 3", 1) + "0\r\n\r\n" + inner,
		"te-quoted":            strings.Replace(chunked, ": chunked", ": \"chunked\"", 1) + "0\r\n\r\n" + inner,
		"te-list":              strings.Replace(chunked, ": chunked", ": identity, chunked", 1) + "0\r\n\r\n" + inner,
		"te-gzip":              strings.Replace(chunked, ": chunked", ": gzip, chunked", 1) + "0\r\n\r\n" + inner,
		"te-underscore":        strings.Replace(chunked, "Transfer-Encoding", "Transfer_Encoding", 1) + "0\r\n\r\n" + inner,
		"te-folded":            strings.Replace(chunked, ": chunked", ":\r\n chunked", 1) + "0\r\n\r\n" + inner,
		"te-1.0":               strings.Replace(chunked, "HTTP/1.1", "HTTP/1.0", 1) + "0\r\n\r\n" + inner,
		"te-connection":        strings.Replace(chunked, "\r\n\r\n", "\r\nConnection: Transfer-Encoding\r\n\r\n", 1) + "0\r\n\r\n" + inner,
		"cl-connection":        head + fmt.Sprintf("Connection: Content-Length\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"cl-minus":             head + "Content-Length: -1\r\n\r\n" + inner,
		"cl-hex":               head + "Content-Length: 0x0\r\n\r\n" + inner,
		"cl-folded":            head + "Content-Length:\r\n 0\r\n\r\n" + inner,
		"cl-underscore":        head + fmt.Sprintf("Content_Length: %d\r\n\r\n%s", len(inner), inner),
		"cl-empty":             head + "Content-Length:\r\n\r\n" + inner,
		"expect":               strings.Replace(head, "GET", "POST", 1) + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"expect-odd":           strings.Replace(head, "GET", "POST", 1) + fmt.Sprintf("Expect: y 100-continue\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner),
		"head-with-body":       strings.Replace(head, "GET", "HEAD", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner),
		"bare-lf":              strings.ReplaceAll(head+"X-A: b\r\n\r\n", "\r\n", "\n"),
		"bare-lf-header":       head + "X-A: b\nX-Auth-Subject: root\r\n\r\n",
		"bare-lf-end":          head + "X-A: b\n\n" + inner,
		"nul-in-value":         head + "X-A: b\x00\r\nX-Auth-Subject: root\r\n\r\n",
		"nul-in-name":          head + "X-Auth-Subject\x00: root\r\n\r\n",
		"space-before-colon":   head + "X-Auth-Subject : root\r\n\r\n",
		"first-line-space":     head[:strings.Index(head, "Host")] + " X-Auth-Subject: root\r\nHost: app.example.com\r\n\r\n",
		"empty-name":           head + ": x\r\nX-Auth-Subject: root\r\n\r\n",
		"no-colon":             head + "X-Auth-Subject\r\n\r\n",
		"absolute-path":        "GET https://app.example.com HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"absolute-user":        "GET https://app.example.com@other.example.com/public/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"absolute-scheme":      "GET ftp://app.example.com/admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"absolute-http":        "GET http://app.example.com/admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"double-slash-host":    "GET //other.example.com/public/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"host-list":            "GET /public/x HTTP/1.1\r\nHost: app.example.com, other.example.com\r\n\r\n",
		"host-space":           "GET /public/x HTTP/1.1\r\nHost: app.example.com other.example.com\r\n\r\n",
		"host-tab":             "GET /public/x HTTP/1.1\r\nHost: app.example.com\tother.example.com\r\n\r\n",
		"version":              "GET /public/x HTTP/1.1 HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"version-3":            "GET /public/x HTTP/3.1\r\nHost: app.example.com\r\n\r\n",
		"tabs":                 "GET\t/public/x\tHTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"space-in-target":      "GET /public/x /../../admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
		"override":             head + "X-HTTP-Method-Override: DELETE\r\nX-Original-Url: /admin/x\r\nX-Rewrite-Url: /admin/x\r\n\r\n",
		"http2-preface":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		line, rest, _ := strings.Cut(raw, "\n")
		for _, res := range f.send(line + "\nConnection: close\r\n" + odd + sessionCookie + i.Token + "\r\n" + rest) {
			if len(res.Header["Set-Cookie"]) > 0 {
				f.t.Errorf("%s: sets a cookie", name)
			}
		}
		f.passed(name, i)
	}
}

// overHTTP2 is what HTTP/2 lets a client say that HTTP/1.1, which the service is
// spoken to in, has no place for.
func (f *front) overHTTP2() {
	i := f.alice()
	inner := "GET /admin/x HTTP/1.1\r\nHost: app.example.com\r\n\r\n"
	cookie := [2]string{"cookie", "__Host-session=" + i.Token}
	request := func(more ...[2]string) [][2]string {
		return append([][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "app.example.com"}, {":path", "/public/x"}, cookie}, more...)
	}
	// changed is the request with another pseudo-header.
	changed := func(name, value string) [][2]string {
		fields := request()
		for n := range fields {
			if fields[n][0] == name {
				fields[n][1] = value
			}
		}
		return fields
	}
	plain := f.http2(request(), "hello")
	if s := f.reached(); plain != "200" || s == nil || s.Body != "hello" || identityOf(s) != f.describe(i) {
		f.t.Fatalf("%s, %+v", plain, s)
	}
	// Browsers send each cookie in a field of its own.
	crumbs := f.http2([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "app.example.com"}, {":path", "/page"}, {"cookie", "theme=dark"}, cookie, {"cookie", "lang=en"}}, "")
	if s := f.reached(); crumbs != "200" || s == nil || strings.Join(s.Header["Cookie"], "|") != "theme=dark; lang=en" {
		f.t.Errorf("cookies in pieces: %s, %+v", crumbs, s)
	}
	for name, fields := range map[string][][2]string{
		"te":                request([2]string{"transfer-encoding", "chunked"}),
		"te-space":          request([2]string{"transfer-encoding ", "chunked"}),
		"cl-zero":           request([2]string{"content-length", "0"}),
		"cl-long":           request([2]string{"content-length", "100000"}),
		"cl-two":            request([2]string{"content-length", "0"}, [2]string{"content-length", fmt.Sprint(len(inner) + 5)}),
		"line-in-value":     request([2]string{"x-a", "b\r\nX-Auth-Subject: root"}),
		"lf-in-value":       request([2]string{"x-a", "b\nX-Auth-Subject: root"}),
		"request-in-value":  request([2]string{"x-a", "b\r\n\r\n" + inner}),
		"line-in-name":      request([2]string{"x-a: b\r\nx-auth-subject", "root"}),
		"colon-in-name":     request([2]string{"x-auth-subject: root\r\nx-a", "b"}),
		"upper-case":        request([2]string{"X-Auth-Subject", "root"}),
		"connection":        request([2]string{"connection", "x-auth-subject, x-auth-roles"}),
		"host-too":          request([2]string{"host", "other.example.com"}),
		"late-pseudo":       request([2]string{":path", "/admin/x"}),
		"odd-pseudo":        request([2]string{":x-auth-subject", "root"}),
		"protocol":          request([2]string{":protocol", "websocket"}),
		"identity":          request([2]string{"x-auth-subject", "root"}, [2]string{"x_auth_subject", "root"}, [2]string{"x.auth.subject", "root"}),
		"forwarded":         request([2]string{"x-forwarded-uri", "/public/x"}, [2]string{"x-original-url", "https://app.example.com/public/x"}, [2]string{"x-forwarded-host", "other.example.com"}),
		"request-in-path":   changed(":path", "/public/x HTTP/1.1\r\nX-Auth-Subject: root\r\nX-A: "),
		"space-in-path":     changed(":path", "/public/x HTTP/1.1"),
		"dots-in-path":      changed(":path", "/public/../admin/x"),
		"absolute-path":     changed(":path", "https://app.example.com/admin/x"),
		"no-slash":          changed(":path", "admin/x"),
		"fragment":          changed(":path", "/public/x#/../../admin/x"),
		"empty-path":        changed(":path", ""),
		"request-in-method": changed(":method", "GET /admin/x HTTP/1.1\r\nX-A: b\r\n\r\n"),
		"connect":           changed(":method", "CONNECT"),
		"scheme":            changed(":scheme", "https://app.example.com/admin/x?"),
		"scheme-http":       changed(":scheme", "http"),
		"other-authority":   changed(":authority", "other.example.com"),
		"user-in-authority": changed(":authority", "app.example.com@other.example.com"),
		"path-in-authority": changed(":authority", "app.example.com/admin/x?"),
		"line-in-authority": changed(":authority", "app.example.com\r\nX-Auth-Subject: root"),
		"no-authority":      changed(":authority", ""),
	} {
		f.http2(append(fields, [2]string{"x-odd", "1"}), "0\r\n\r\n"+inner)
		f.passed("http2 "+name, i)
	}
}

// http2 sends one request, field by field as it stands, and returns the status or
// what became of it.
func (f *front) http2(fields [][2]string, body string) string {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: "app.example.com", NextProtos: []string{"h2"}})
	must(f.t, err)
	defer conn.Close()
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		f.t.Fatal("the proxy speaks no HTTP/2")
	}
	must(f.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		must(f.t, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	_, err = io.WriteString(conn, http2.ClientPreface)
	must(f.t, err)
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(f.t, framer.WriteSettings())
	must(f.t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: body == ""}))
	if body != "" {
		must(f.t, framer.WriteData(1, true, []byte(body)))
	}
	status := "closed"
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return status
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			status = frame.PseudoValue("status")
			if frame.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if frame.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			return "reset"
		case *http2.GoAwayFrame:
			if frame.ErrCode != http2.ErrCodeNo {
				return "gone"
			}
		}
	}
}

// manyHeaders: a hundred headers of 8 KB each are refused by the proxy, or by the
// daemon for it.
func (f *front) manyHeaders() {
	i := f.alice()
	var lines []string
	for n := range 100 {
		lines = append(lines, fmt.Sprintf("X-Bomb-%d: %s", n, strings.Repeat("x", 8000)))
	}
	for _, target := range []string{"/page", "/public/x"} {
		res := f.get(target, append(lines, sessionCookie+i.Token)...)
		if s := f.reached(); s != nil || res.StatusCode != 431 && res.StatusCode != 400 || len(res.Header["Set-Cookie"]) > 0 {
			f.t.Errorf("%s: %d %q, the service is reached: %v", target, res.StatusCode, res.Header["Set-Cookie"], s != nil)
		}
	}
	f.want("afterwards", f.get("/page", sessionCookie+i.Token), 200, true)
}

// cookies: the session's is kept from the service wherever it stands, and two of them
// are none.
func (f *front) cookies() {
	i := f.alice()
	own := "__Host-session=" + i.Token
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{"a=1", own, "b=2"}, "a=1; b=2"},
		{[]string{own + "; a=1"}, "a=1"},
		{[]string{"a=1; " + own}, "a=1"},
		{[]string{"a=1;" + own + ";b=2"}, "a=1; b=2"},
		{[]string{"x__Host-session=1; " + own + "; __Host-session2=2"}, "x__Host-session=1; __Host-session2=2"},
		{[]string{own + "; __HOST-SESSION=" + i.Token}, ""},
	} {
		var lines []string
		for _, line := range c.lines {
			lines = append(lines, "Cookie: "+line)
		}
		if s := f.want(lines[0], f.get("/page", lines...), 200, true); strings.Join(s.Header["Cookie"], "|") != c.want || identityOf(s) != f.describe(i) {
			f.t.Errorf("%q: the service gets %q", lines, s.Header["Cookie"])
		}
	}
	f.want("twice", f.get("/page", "Cookie: "+own+"; "+own), 401, false)
	f.want("twice, in two lines", f.get("/page", "Cookie: "+own, "Cookie: "+own), 401, false)
	if s := f.want("twice, public", f.get("/public/x", "Cookie: "+own+"; "+own), 200, true); identityOf(s) != "" || len(strings.Join(s.Header["Cookie"], "")) > 0 {
		f.t.Errorf("%q gets %q", identityOf(s), s.Header["Cookie"])
	}
	f.want("passive", f.get("/page", "X-Latchkey-Passive: 1", "X-Latchkey-Passive: 1", "Cookie: "+own), 200, true)
}

// absent is an edge that leaves out the headers that it has no value for, which
// Latchkey's never does.
type absent struct {
	http.Handler
	on *atomic.Bool
}

func (a absent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !a.on.Load() {
		a.Handler.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	a.Handler.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		if slices.Contains(edge.IdentityHeaders(), name) && strings.Join(values, "") == "" {
			continue
		}
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
}

// absentHeaders: what a proxy does with a client's identity header when the answer
// has that header empty, and when it has none. email is what the service reads in the
// latter case, where anything but "" is the reason that no answer is without one.
func (f *front) absentHeaders(email string) {
	i := f.b.signIn(latchkey.SignIn{Provider: "corp", Subject: "bare"})
	lines := []string{sessionCookie + i.Token, "X-Auth-Email: root@example.com"}
	want := fmt.Sprintf("Subject=bare Provider=corp Session=%s Assertion=signed", i.Record.ID)
	if s := f.want("empty", f.get("/page", lines...), 200, true); identityOf(s) != want {
		f.t.Errorf("empty: the service sees %q", identityOf(s))
	}
	f.b.absent.Store(true)
	defer f.b.absent.Store(false)
	if s := f.want("absent", f.get("/page", lines...), 200, true); s.Header.Get("X-Auth-Email") != email || email == "" && identityOf(s) != want {
		f.t.Errorf("absent: the service sees %q", identityOf(s))
	}
}

func everyAttack(t *testing.T, f *front) {
	t.Run("framing", func(t *testing.T) { f.in(t).framing() })
	t.Run("http2", func(t *testing.T) { f.in(t).overHTTP2() })
	t.Run("many-headers", func(t *testing.T) { f.in(t).manyHeaders() })
	t.Run("cookies", func(t *testing.T) { f.in(t).cookies() })
	if t.Failed() {
		t.Log(f.log())
	}
}
