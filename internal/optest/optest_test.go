package optest

import (
	"net/http"
	"testing"
)

// TestStart: the provider can be installed and started here; scripts/setup runs it to
// have the package at hand.
func TestStart(t *testing.T) {
	p := Start(t, Config{Clients: []Client{{ID: "app", Secret: "a secret for tests only, long enough", RedirectURIs: []string{"http://127.0.0.1:1/callback"}}}})
	for range 2 {
		res, err := http.Get(p.Issuer + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("status %d", res.StatusCode)
		}
		p.Restart(t, true)
	}
}
