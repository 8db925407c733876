//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// get asks over TLS and returns the answer with its body read.
func get(t *testing.T, url string, pool *x509.CertPool) *http.Response {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

// The daemon speaks HTTP/2 over TLS, and takes a new certificate on SIGHUP. Its
// metrics are on a port of their own.
func TestTLS(t *testing.T) {
	dir := prepare(t)
	pool := servers.NewCertificate(t, dir, time.Hour).Pool
	p := start(t, dir, "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--metrics-listen", "127.0.0.1:0")
	url := strings.Replace(p.url, "http:", "https:", 1) + "/healthz"
	resp := get(t, url, pool)
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || resp.TLS.Version < tls.VersionTLS12 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %d, %v", resp.Proto, resp.StatusCode, resp.Header)
	}
	metrics := get(t, "http://"+p.metrics+"/metrics", nil)
	if metrics.StatusCode != 200 || !strings.HasPrefix(metrics.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("metrics: %d, %v", metrics.StatusCode, metrics.Header)
	}
	pool = servers.NewCertificate(t, dir, time.Hour).Pool
	p.signal(syscall.SIGHUP)
	p.await("reading keyring and certificate again")
	for began := time.Now(); ; {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "http://"), &tls.Config{RootCAs: pool})
		if err == nil {
			conn.Close()
			break // the new one: the old is not in the pool
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
	}
	p.stop()
}

// The doctor tells of certificates that end.
func TestDoctorCertificate(t *testing.T) {
	dir := prepare(t)
	for _, c := range []struct {
		lasts  time.Duration
		status int
		want   string
	}{{30 * 24 * time.Hour, 0, "ok certificate"}, {time.Hour, 0, "warn certificate"}, {-time.Hour, 1, "fail certificate"}} {
		servers.NewCertificate(t, dir, c.lasts)
		if out := cli(t, dir, c.status, "doctor", "--tls-cert", "cert.pem", "--tls-key", "key.pem"); !strings.Contains(strings.Join(strings.Fields(out), " "), c.want) {
			t.Errorf("a certificate of %v: want %q in\n%s", c.lasts, c.want, out)
		}
	}
}
