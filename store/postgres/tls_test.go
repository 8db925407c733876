package postgres

import (
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// Over TLS the server's certificate is verified as the URL asks for, on every
// connection: that of the listener too.
func TestTLS(t *testing.T) {
	server := servers.StartPostgres(t)
	own, other := servers.NewCertificate(t, server.Dir, time.Hour, "localhost"), servers.NewCertificate(t, t.TempDir(), time.Hour)
	if os.Geteuid() == 0 { // the server runs as another user
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		for _, file := range []string{own.Cert, own.Key} {
			if err := os.Chown(file, uid, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, set := range []string{"ssl_cert_file = '" + own.Cert + "'", "ssl_key_file = '" + own.Key + "'", "ssl = on"} {
		tamper(t, server.URL, "ALTER SYSTEM SET "+set)
	}
	tamper(t, server.URL, "SELECT pg_reload_conf()")
	fixture.Eventually(t, "TLS", func() bool {
		return query(t, server.URL, "SELECT count(*) FROM pg_settings WHERE name = 'ssl' AND setting = 'on'") == 1
	})
	byName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for name, c := range map[string]struct{ url, say string }{
		"verified":          {server.URL + "?sslmode=verify-full&sslrootcert=" + own.Cert, ""},
		"by-name":           {byName + "?sslmode=verify-full&sslrootcert=" + own.Cert, ""},
		"any-certificate":   {server.URL + "?sslmode=require", ""},
		"another-authority": {server.URL + "?sslmode=verify-full&sslrootcert=" + other.Cert, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), Config{URL: c.url, Timeout: time.Minute})
			if c.say != "" {
				fixture.Unavailable(t, err, c.say)
				return
			}
			if err != nil {
				t.Fatal(fixture.Chain(err))
			}
			defer s.Close()
			f := fixture.Follow(t, s, often)
			f.Proven(t)
			fixture.Get(t, s, add(t, s, "ann"))
			fixture.Eventually(t, "the listener", s.hears.Load)
			if n := query(t, server.URL, "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'latchkey' AND NOT ssl"); n != 0 {
				t.Errorf("%d connections are in the clear", n)
			}
		})
	}
}
