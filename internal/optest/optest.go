// Package optest starts a certified OpenID Connect provider for tests: the npm package
// oidc-provider, pinned by op/package-lock.json, on loopback.
package optest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-go/latchkey/internal/needs"
)

//go:embed op
var files embed.FS

// patience bounds the provider's start and the installation of the package.
const (
	patience = time.Minute
	download = 5 * time.Minute
)

// Client is a relying party, as the provider registers it.
type Client struct {
	ID             string   `json:"client_id"`
	Secret         string   `json:"client_secret"`
	RedirectURIs   []string `json:"redirect_uris"`
	PostLogoutURIs []string `json:"post_logout_redirect_uris,omitempty"`
	BackChannel    string   `json:"backchannel_logout_uri,omitempty"`
	BackChannelSID bool     `json:"backchannel_logout_session_required,omitempty"`
	GrantTypes     []string `json:"grant_types,omitempty"`
	Algorithm      string   `json:"id_token_signed_response_alg,omitempty"`
	Auth           string   `json:"token_endpoint_auth_method,omitempty"`
	MaxAge         int      `json:"default_max_age,omitempty"`
	RequireTime    bool     `json:"require_auth_time,omitempty"`
}

// Config says how the provider differs from the usual one.
type Config struct {
	Clients []Client `json:"clients"`
	// Accounts are claims of users beyond the usual ones: any name signs in.
	Accounts map[string]map[string]any `json:"accounts,omitempty"`
	// Algorithm is of the key that signs: RS256, ES256 or EdDSA; RS256 unless set.
	Algorithm string `json:"-"`
	// AccessTokenSeconds is how long access tokens live; an hour unless set.
	AccessTokenSeconds int `json:"accessTokenSeconds,omitempty"`
	// ClaimsInIDToken puts the claims of the scopes into the ID token, and not only
	// behind the userinfo endpoint.
	ClaimsInIDToken bool `json:"claimsInIDToken,omitempty"`

	Port int                `json:"port,omitempty"`
	JWKS jose.JSONWebKeySet `json:"jwks"`
}

// Provider is a running provider.
type Provider struct {
	Issuer string

	cfg   Config
	dir   string
	cmd   *exec.Cmd
	input io.Closer
	done  chan struct{}
}

// Start starts a provider, which ends with the test. Where node or npm is missing the
// test is skipped, but under CI=true it fails.
func Start(t testing.TB, cfg Config) *Provider {
	t.Helper()
	p := &Provider{cfg: cfg, dir: install(t)}
	p.cfg.JWKS = newKeys(t, cfg.Algorithm)
	p.run(t)
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Stop ends the provider: its port answers nothing.
func (p *Provider) Stop(t testing.TB) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.input.Close()
	_ = p.cmd.Process.Kill() // it may have gone with its input
	<-p.done
	p.cmd = nil
}

// Restart starts the provider again at the same address, with new keys if told so. What
// it knew of sessions and codes is gone.
func (p *Provider) Restart(t testing.TB, rotate bool) {
	t.Helper()
	p.Stop(t)
	if rotate {
		p.cfg.JWKS = newKeys(t, p.cfg.Algorithm)
	}
	p.run(t)
}

// SignKey is the private key that the provider signs with, for tokens that it would not
// make.
func (p *Provider) SignKey() jose.JSONWebKey { return p.cfg.JWKS.Keys[0] }

// Refreshes is how often refresh tokens were used since the start.
func (p *Provider) Refreshes(t testing.TB) int {
	t.Helper()
	res, err := http.Get(p.Issuer + "/count")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var count struct{ Refreshes int }
	if err := json.NewDecoder(res.Body).Decode(&count); err != nil {
		t.Fatal(err)
	}
	return count.Refreshes
}

func (p *Provider) run(t testing.TB) {
	t.Helper()
	text, err := json.Marshal(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "op.mjs")
	cmd.Dir = p.dir
	var said tail
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd, p.input, p.done = cmd, in, make(chan struct{})
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		lines.Scan()
		first <- lines.Text()
		for lines.Scan() {
		}
		_ = cmd.Wait() // it was killed
		close(p.done)
	}()
	if _, err := in.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Issuer string }
	select {
	case line := <-first:
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			t.Fatalf("the provider did not start: %q\n%s", line, said.String())
		}
	case <-time.After(patience):
		t.Fatalf("the provider does not answer:\n%s", said.String())
	}
	p.Issuer = answer.Issuer
	u, err := url.Parse(p.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if p.cfg.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the provider said:\n%s", said.String())
		}
	})
}

// newKeys makes the provider's key set.
func newKeys(t testing.TB, algorithm string) jose.JSONWebKeySet {
	t.Helper()
	var key any
	var err error
	switch algorithm {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		algorithm = "RS256"
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: rand.Text(), Algorithm: algorithm, Use: "sig"}}}
}

// install puts the provider's program and its packages into a folder of the user's
// cache, unless they are there, and returns it. The folder's name changes with what is
// in it.
func install(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			needs.Missing(t, "%s", program+" is not on the PATH; on Debian, apt-get install nodejs npm")
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	hash := sha256.New()
	entries, err := files.ReadDir("op")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := files.ReadFile("op/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", e.Name(), len(text), text)
	}
	dir := filepath.Join(cache, "latchkey", "oidc-provider-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	for _, e := range entries {
		text, err := files.ReadFile("op/" + e.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(temp, e.Name()), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), download)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev")
	npm.Dir = temp
	if out, err := npm.CombinedOutput(); err != nil {
		needs.Missing(t, "%s", fmt.Sprintf("npm ci: %v: %s", err, out))
	}
	// Two tests may do this at once: the first one's stays.
	if err := os.Rename(temp, dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tail keeps the last of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text = append(w.text, p...); len(w.text) > 16<<10 {
		w.text = w.text[len(w.text)-8<<10:]
	}
	return len(p), nil
}

// String is what was kept.
func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}

// Login answers the provider's question at address as a person does who gives a name
// ("" cancels), with the cookies of client, and returns the address of the callback that
// follows. client must not follow redirects by itself. A provider that knows the person
// already asks nothing.
func (p *Provider) Login(t testing.TB, client *http.Client, address, name string, more url.Values) string {
	t.Helper()
	callback, err := p.login(client, address, name, more)
	if err != nil {
		t.Fatal(err)
	}
	return callback
}

func (p *Provider) login(client *http.Client, address, name string, more url.Values) (string, error) {
	for range 10 {
		if !strings.HasPrefix(address, p.Issuer+"/") {
			return address, nil
		}
		res, err := client.Get(address)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return "", err
		}
		if res.StatusCode == http.StatusOK {
			form := url.Values{"login": {name}, "acr": {"urn:test:password"}, "amr": {"pwd"}}
			for k, v := range more {
				form[k] = v
			}
			if name == "" {
				form = url.Values{"cancel": {"1"}}
			}
			if res, err = client.PostForm(address, form); err != nil {
				return "", err
			}
			res.Body.Close()
		}
		next, err := res.Location()
		if err != nil {
			return "", fmt.Errorf("status %d: %s", res.StatusCode, body)
		}
		address = next.String()
	}
	return "", errors.New("the provider redirects for ever")
}
