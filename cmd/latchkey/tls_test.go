//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate makes a certificate for 127.0.0.1 that ends so long from now.
func writeCertificate(t *testing.T, dir string, serial int64, lasts time.Duration) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(lasts),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{"cert.pem": certificate, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}

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
	pool := writeCertificate(t, dir, 1, time.Hour)
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
	pool = writeCertificate(t, dir, 2, time.Hour)
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
		writeCertificate(t, dir, 3, c.lasts)
		if out := cli(t, dir, c.status, "doctor", "--tls-cert", "cert.pem", "--tls-key", "key.pem"); !strings.Contains(strings.Join(strings.Fields(out), " "), c.want) {
			t.Errorf("a certificate of %v: want %q in\n%s", c.lasts, c.want, out)
		}
	}
}
