package edge_test

import (
	"os"
	"path/filepath"
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
	site := replaced(t, fence(t, "caddy.md", "caddyfile", 0), append(pairs,
		"127.0.0.1:8420", f.b.web.Listener.Addr().String(),
		"127.0.0.1:3000", f.echo.Listener.Addr().String(),
		"\napp.example.com {", "\napp.example.com"+tls,
		"\nauth.example.com {", "\nauth.example.com"+tls)...)
	global := "{\n\tadmin off\n\tauto_https off\n\thttps_port " + port + "\n\tstorage file_system " + dir + "\n}\n"
	path := filepath.Join(dir, "Caddyfile")
	must(t, os.WriteFile(path, []byte(global+site), 0o600))
	f.run(bin, "run", "--config", path, "--adapter", "caddyfile")
	return f
}

// Debian's Caddy is one of 2022.
func TestCaddy(t *testing.T) {
	everyCaddy(t, program(t, "caddy"), "{http.reverse_proxy.header.X-Auth-Email}")
}

func TestCaddyCurrent(t *testing.T) { everyCaddy(t, built(t, "caddy"), "") }

// everyCaddy tests one. absent is what the service gets for a header that the answer
// lacks: the name of a placeholder in 2.6.2; the client's own, in the versions after it
// up to 2.11.1 (GHSA-7r4p-vjf4-gxv4).
func everyCaddy(t *testing.T, bin, absent string) {
	f := startCaddy(t, bin)
	everyProxy(t, f)
	t.Run("renewed-cookie", func(t *testing.T) { f.in(t).renewedCookie(false) })
	t.Run("absent", func(t *testing.T) { f.in(t).absentHeaders(absent) })
	t.Run("streams", func(t *testing.T) {
		f := startCaddy(t, bin, "X-Auth-Assertion Cookie", "X-Auth-Assertion")
		f.liven()
		everyStream(t, f)
	})
}
