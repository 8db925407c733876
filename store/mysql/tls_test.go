package mysql

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

func TestTLS(t *testing.T) {
	own, other := servers.NewCertificate(t, t.TempDir(), time.Hour), servers.NewCertificate(t, t.TempDir(), time.Hour)
	server := servers.StartMariaDB(t, "--ssl-cert="+own.Cert, "--ssl-key="+own.Key)
	dsn := newURL(t, server)
	for name, c := range map[string]struct{ options, say, version string }{
		"verified":        {"?tls=verify&ca=" + own.Cert, "", "TLSv1.3"},
		"any-certificate": {"?tls=require", "", "TLSv1.3"},
		"off":             {"?tls=off", "", ""},
		"loopback":        {"", "", ""},
		"other-authority": {"?tls=verify&ca=" + other.Cert, "not one for this host", ""},
		"system":          {"?tls=verify", "not one for this host", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), Config{URL: dsn + c.options})
			if c.say != "" {
				fixture.Unavailable(t, err, c.say)
				return
			}
			if err != nil {
				t.Fatal(fixture.Chain(err))
			}
			defer s.Close()
			add(t, s, "ann")
			var variable, version string
			if err := s.work.QueryRow("SHOW STATUS LIKE 'Ssl_version'").Scan(&variable, &version); err != nil || version != c.version {
				t.Errorf("the connection is %q, %v; want %q", version, err, c.version)
			}
		})
	}
}

// A server that takes a connection and says nothing is given up.
func TestOpenStalled(t *testing.T) {
	dsn := newURL(t, shared)
	proxy := servers.StartProxy(t, shared.Addr)
	proxy.Stall()
	start := time.Now()
	_, err := Open(t.Context(), Config{URL: "mysql://latchkey:not-the-word@" + proxy.Addr + "/" + filepath.Base(dsn), Timeout: 200 * time.Millisecond})
	fixture.Unavailable(t, err, "does not answer")
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}
