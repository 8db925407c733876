package mysql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// certificate makes one for 127.0.0.1 that is its own authority, and returns the
// files of it and of its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "database"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLS(t *testing.T) {
	cert, key := certificate(t)
	other, _ := certificate(t)
	server := servers.StartMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key)
	dsn := newURL(t, server)
	for name, c := range map[string]struct{ options, say, version string }{
		"verified":        {"?tls=verify&ca=" + cert, "", "TLSv1.3"},
		"any-certificate": {"?tls=require", "", "TLSv1.3"},
		"off":             {"?tls=off", "", ""},
		"loopback":        {"", "", ""},
		"other-authority": {"?tls=verify&ca=" + other, "not one for this host", ""},
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
