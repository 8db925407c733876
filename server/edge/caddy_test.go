package edge_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startCaddy runs a Caddy with the configuration of its page. pairs are further
// changes to that.
func startCaddy(t *testing.T, bin string, pairs ...string) *front {
	f := newFront(t)
	dir := t.TempDir()
	cert, key := f.certificate(dir)
	port := freePort(t)
	f.addr = "127.0.0.1:" + port
	tls := " {\n\tbind 127.0.0.1\n\ttls " + cert + " " + key
	global := "{\n\tadmin off\n\tauto_https off\n\thttps_port " + port + "\n\tstorage file_system " + dir + "\n}\n"
	text := replaced(t, global+fence(t, "caddy.md", "caddyfile", 0), append(pairs,
		"127.0.0.1:8420", f.b.web.Listener.Addr().String(),
		"127.0.0.1:3000", f.echo.Listener.Addr().String(),
		"\napp.example.com {", "\napp.example.com"+tls,
		"\nauth.example.com {", "\nauth.example.com"+tls)...)
	path := filepath.Join(dir, "Caddyfile")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	f.run(bin, "run", "--config", path, "--adapter", "caddyfile")
	return f
}

// Debian's Caddy is one of 2022.
func TestCaddy(t *testing.T) {
	everyCaddy(t, program(t, "caddy"), "{http.reverse_proxy.header.X-Auth-Email}")
}

func TestCaddyCurrent(t *testing.T) {
	bin := built(t, "caddy")
	everyCaddy(t, bin, "")
	t.Run("bounded-sockets", func(t *testing.T) {
		t.Parallel()
		f := startCaddy(t, bin, "\treverse_proxy 127.0.0.1:3000\n", strings.Replace(fence(t, "caddy.md", "caddyfile", 1), "10m", "1s", 1))
		f.liven()
		f.bounded(true, false)
	})
}

// A WebSocket over HTTP/2 is a CONNECT for Caddy, and a GET for the service.
func TestCaddyCurrentExtendedConnect(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1") // over HTTP/3 Caddy does without
	f := startCaddy(t, built(t, "caddy"))
	f.liven()
	for _, c := range []struct{ path, token, want string }{
		{"/live/never", f.alice().Token, "200"},
		{"/live/never", "", "401"},
		{"/live/guarded/never", f.alice().Token, "403"},
	} {
		var frame bytes.Buffer
		must(t, writeFrame(&frame, opText, []byte("hello"), true))
		status := f.http2([][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":authority", "app.example.com"}, {":path", c.path},
			{"sec-websocket-version", "13"}, {"cookie", "__Host-session=" + c.token}}, frame.String())
		if status != c.want {
			t.Errorf("%s: %s, want %s: %s", c.path, status, c.want, f.log())
		}
	}
}

// everyCaddy tests one. absent is what the service gets for a header that the answer
// lacks: the name of a placeholder in 2.6.2; the client's own, in the versions after it
// up to 2.11.1 (GHSA-7r4p-vjf4-gxv4).
func everyCaddy(t *testing.T, bin, absent string) {
	f := startCaddy(t, bin)
	everyProxy(t, f)
	t.Run("renewed-cookie", func(t *testing.T) { f.in(t).renewedCookie(false) })
	t.Run("absent", func(t *testing.T) { f.in(t).absentHeaders(absent) })
	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		f := startCaddy(t, bin, "X-Auth-Assertion Cookie", "X-Auth-Assertion")
		f.liven()
		everyStream(t, f)
	})
	t.Run("bounded-events", func(t *testing.T) {
		t.Parallel()
		f := startCaddy(t, bin, "\tadmin off\n", "\tadmin off\n"+strings.Replace(inner(fence(t, "caddy.md", "caddyfile", 2)), "10m", "1s", 1))
		f.liven()
		f.bounded(false, true)
	})
}

// inner is what stands between a block's first and last brace.
func inner(block string) string {
	return block[strings.IndexByte(block, '{')+1 : strings.LastIndexByte(block, '}')]
}
