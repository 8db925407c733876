package redis

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// startTLS starts a server with a port for TLS beside the usual one, and returns the
// address of that.
func startTLS(t *testing.T, settings ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, port := l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	servers.StartRedis(t, append([]string{"--tls-port", strconv.Itoa(port)}, settings...)...)
	return addr
}

// Over TLS the server's certificate is verified, and one's own shown where it wants it.
func TestTLS(t *testing.T) {
	own, other := servers.NewCertificate(t, t.TempDir(), time.Hour, "redis.example.com"), servers.NewCertificate(t, t.TempDir(), time.Hour)
	files := []string{"--tls-cert-file", own.Cert, "--tls-key-file", own.Key, "--tls-ca-cert-file", own.Cert}
	open, mutual := startTLS(t, append(files, "--tls-auth-clients", "no")...), startTLS(t, append(files, "--requirepass", "s3cret")...)
	for name, c := range map[string]struct{ url, say string }{
		"verified":          {"rediss://" + open + "?ca=" + own.Cert, ""},
		"by-name":           {"rediss://" + open + "?server-name=redis.example.com&ca=" + own.Cert, ""},
		"another-name":      {"rediss://" + open + "?server-name=elsewhere.example.com&ca=" + own.Cert, "certificate"},
		"another-authority": {"rediss://" + open + "?ca=" + other.Cert, "certificate"},
		"of-the-system":     {"rediss://" + open, "certificate"},
		"without-tls":       {"redis://" + open, ""},
		"mutual":            {"rediss://:s3cret@" + mutual + "?ca=" + own.Cert + "&cert=" + own.Cert + "&key=" + own.Key, ""},
		"mutual-without":    {"rediss://:s3cret@" + mutual + "?ca=" + own.Cert, ""},
		"wrong-password":    {"rediss://:wr0ng@" + mutual + "?ca=" + own.Cert + "&cert=" + own.Cert + "&key=" + own.Key, "password"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := ParseURL(c.url)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Timeout = 5 * time.Second
			refused := c.say != "" || name == "without-tls" || name == "mutual-without"
			s, err := Open(t.Context(), cfg)
			if refused {
				if err == nil {
					s.Close()
				}
				wantUnavailable(t, name, err, c.say)
				return
			}
			if err != nil {
				t.Fatal(fixture.Chain(err))
			}
			defer s.Close()
			f := follow(t, s)
			id := add(t, s)
			fixture.Revoke(t, s, id)
			if !f.Saw(id) || fixture.Get(t, s, id).RevokedAt.IsZero() {
				t.Error("the revocation is not told, or not read")
			}
		})
	}
}
