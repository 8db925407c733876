package edge

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
)

// The peer that most proxies ask today. It is built from its module's source.
const oauth2Proxy = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.6.0"

// oauth2Users is how many sessions each of its stores holds: fewer than the others,
// because each is made by a sign-in. More would not make it faster.
const oauth2Users = 256

// oauth2ProxyCheckers run oauth2-proxy with sessions in cookies, and with sessions in
// Redis, and sign users in. There are none where its source cannot be had.
func oauth2ProxyCheckers(b *testing.B) []checker {
	b.Helper()
	program, err := buildOAuth2Proxy(b.TempDir())
	if err != nil {
		b.Log("oauth2-proxy is left out: ", err)
		return nil
	}
	op := newIssuer(b)
	redis := servers.StartRedis(b)
	return []checker{
		startOAuth2Proxy(b, program, op, "oauth2proxy_cookie"),
		startOAuth2Proxy(b, program, op, "oauth2proxy_redis", "--session-store-type=redis", "--redis-connection-url=redis://"+redis.Addr),
	}
}

// buildOAuth2Proxy builds the module's program with the versions that it asks for
// itself, not with ours.
func buildOAuth2Proxy(dir string) (program string, err error) {
	out, err := exec.Command("go", "mod", "download", "-json", oauth2Proxy).Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); err == nil {
		err = jsonErr
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, module.Error)
	}
	program = filepath.Join(dir, "oauth2-proxy")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = module.Dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return program, nil
}

// startOAuth2Proxy runs it as its documentation has it for auth_request, with what it
// would log turned off.
func startOAuth2Proxy(b *testing.B, program string, op *issuer, name string, more ...string) checker {
	b.Helper()
	c := checker{name: name, address: freeAddress(b), path: "/oauth2/auth", headers: []string{"x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username"}}
	cmd := exec.Command(program, append([]string{"--http-address=" + c.address, "--provider=oidc", "--oidc-issuer-url=" + op.URL, "--client-id=bench", "--client-secret=bench",
		"--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false", "--email-domain=*", "--insecure-oidc-allow-unverified-email=true", "--set-xauthrequest", "--reverse-proxy=true", "--upstream=static://202",
		"--redirect-url=http://" + c.address + "/oauth2/callback", "--request-logging=false", "--auth-logging=false", "--standard-logging=false"}, more...)...)
	background(b, cmd)
	c.pid = cmd.Process.Pid
	waitFor(b, c.address)
	for i := range oauth2Users {
		c.cookies = append(c.cookies, signInToOAuth2Proxy(b, c.address, fmt.Sprintf("user-%07d", i)))
	}
	return c
}

// signInToOAuth2Proxy makes the round trip of a browser, and returns its cookies.
func signInToOAuth2Proxy(b *testing.B, address, user string) string {
	b.Helper()
	jar, err := cookiejar.New(nil)
	must(b, err)
	browser := http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	to := func(address string) string {
		resp, err := browser.Get(address)
		must(b, err)
		must(b, resp.Body.Close())
		if resp.StatusCode != http.StatusFound {
			b.Fatalf("%s: %s", address, resp.Status)
		}
		return resp.Header.Get("Location")
	}
	site := "http://" + address
	at, err := url.Parse(to(site + "/oauth2/start?rd=%2Fpage"))
	must(b, err)
	q := at.Query()
	code := base64.RawURLEncoding.EncodeToString([]byte(user + " " + q.Get("nonce"))) // the issuer's page would say so
	to(site + "/oauth2/callback?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode())
	here, err := url.Parse(site + "/page")
	must(b, err)
	list := []string{"theme=dark"}
	for _, cookie := range jar.Cookies(here) {
		list = append(list, cookie.Name+"="+cookie.Value)
	}
	if len(list) < 2 {
		b.Fatal("oauth2-proxy set no cookie")
	}
	return strings.Join(list, "; ")
}

// issuer is as much of an OpenID provider as a sign-in needs. Its codes say who signs
// in, and the nonce.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(b *testing.B) *issuer {
	b.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(b, err)
	op := &issuer{key: key}
	mux := http.NewServeMux()
	tell := func(path string, value func(r *http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(value(r))
		})
	}
	tell("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{"issuer": op.URL, "authorization_endpoint": op.URL + "/auth", "token_endpoint": op.URL + "/token", "jwks_uri": op.URL + "/jwks",
			"userinfo_endpoint": op.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"}}
	})
	tell("/jwks", func(*http.Request) any {
		return map[string]any{"keys": []any{map[string]string{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}}}
	})
	tell("/token", func(r *http.Request) any {
		code, _ := base64.RawURLEncoding.DecodeString(r.PostFormValue("code"))
		user, nonce, _ := strings.Cut(string(code), " ")
		return map[string]any{"access_token": strings.Repeat("a", 40), "token_type": "Bearer", "expires_in": 86400, "id_token": op.token(user, nonce)}
	})
	op.Server = httptest.NewServer(mux)
	b.Cleanup(op.Close)
	return op
}

// token is an ID token of about the size that providers make.
func (op *issuer) token(user, nonce string) string {
	now := time.Now().Unix()
	body, _ := json.Marshal(map[string]any{"iss": op.URL, "sub": user, "aud": "bench", "iat": now, "exp": now + 86400, "nonce": nonce, "email": "user@example.com", "email_verified": true,
		"name": "User", "preferred_username": user, "groups": []string{"staff", "editor"}}) // strings and numbers have an encoding
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, op.key, crypto.SHA256, sum[:])
	if err != nil {
		return "" // which nobody takes for a token
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
