//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/servers"
)

const (
	upstreamToken  = "canary-upstream-token-0123456789"
	upstreamClient = "canary-client-secret"
)

// account is who keeps the sessions: an account endpoint and an introspection endpoint.
type account struct {
	*httptest.Server
	calls atomic.Int64
	down  atomic.Bool
}

func startAccount(t *testing.T) *account {
	a := &account{}
	user := func(w http.ResponseWriter, member map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(member)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/account", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("a_session")
		switch a.calls.Add(1); {
		case a.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case err != nil || c.Value != upstreamToken || r.Header.Get("X-Appwrite-Project") != "game" || r.Header.Get("X-Key") != upstreamClient:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			user(w, map[string]any{"$id": "u1", "name": "Zo", "plan": "gold", "labels": []string{"vip"}})
		}
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		id, secret, _ := r.BasicAuth()
		switch {
		case id != "latchkey" || secret != upstreamClient:
			w.WriteHeader(http.StatusUnauthorized)
		case r.PostFormValue("token") != upstreamToken:
			user(w, map[string]any{"active": false})
		default:
			user(w, map[string]any{"active": true, "sub": "u2", "aud": "shop", "scope": "a b", "iss": "https://id.example.com", "exp": time.Now().Add(time.Hour).Unix()})
		}
	})
	mux.HandleFunc("GET /anybody", func(w http.ResponseWriter, r *http.Request) { user(w, map[string]any{"$id": "root"}) })
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

// lookup asks the daemon about a token of the upstream's.
func (p *process) lookup(token string) (status int, user map[string]any) {
	p.t.Helper()
	resp, body := p.call("POST", "/v1/upstream/lookup", `{"token":"`+token+`"}`, "Authorization", "Bearer "+adminSecret, "Content-Type", "application/json")
	var out struct{ User map[string]any }
	if resp.StatusCode == 200 {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			p.t.Fatal(err)
		}
	}
	return resp.StatusCode, out.User
}

// Two daemons in front of one account service share answers and invalidations.
func TestUpstreamDaemons(t *testing.T) {
	a, redis := startAccount(t), servers.StartRedis(t)
	dir := prepare(t)
	headers := filepath.Join(dir, "headers")
	if err := os.WriteFile(headers, []byte("X-Appwrite-Project: game\n\nX-Key: "+upstreamClient+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "upstream-url: " + a.URL + "/v1/account\nupstream-send-as: cookie:a_session\nupstream-headers: file:" + headers +
		"\nupstream-fields: [id=$id, tier=plan, claims.groups=labels]\nupstream-redis: " + redis.URL + "\nupstream-ttl: 10m\n"
	if err := os.WriteFile(filepath.Join(dir, "latchkey.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	one := start(t, dir, "--config", "latchkey.yaml")
	two := start(t, dir, "--config", "latchkey.yaml", "--upstream-process-ttl", "1ms")

	for _, p := range []*process{one, two} {
		status, user := p.lookup(upstreamToken)
		groups, _ := json.Marshal(user["claims"])
		if status != 200 || user["id"] != "u1" || user["tier"] != "gold" || string(groups) != `{"groups":["vip"]}` {
			t.Fatalf("%d %v", status, user)
		}
		if status, _ := p.lookup("another"); status != 401 {
			t.Errorf("an unknown token: %d", status)
		}
	}
	if n := a.calls.Load(); n != 3 { // one for both of the user, one by each of the junk
		t.Errorf("%d calls", n)
	}
	a.down.Store(true)
	if status, _ := two.lookup("unknown"); status != 503 {
		t.Errorf("nobody can say: %d", status)
	}
	if resp, _ := two.call("GET", "/readyz", ""); resp.StatusCode != 200 {
		t.Errorf("/readyz is %d without the upstream", resp.StatusCode)
	}
	if _, text := two.call("GET", "/metrics", ""); !strings.Contains(text, "latchkey_upstream_down 1\n") || !strings.Contains(text, "latchkey_upstream_redis_away 0\n") {
		t.Error("the metrics do not say that the upstream is away")
	}
	a.down.Store(false)
	// A logout at one daemon is one at the other.
	resp, _ := one.call("POST", "/v1/upstream/invalidate", `{"token":"`+upstreamToken+`"}`, "Authorization", "Bearer "+adminSecret, "Content-Type", "application/json")
	if resp.StatusCode != 204 {
		t.Fatal(resp.StatusCode)
	}
	for began := time.Now(); ; {
		if status, _ := two.lookup(upstreamToken); status == 401 {
			break
		}
		if time.Since(began) > patience {
			t.Fatal("the other daemon grants it still")
		}
	}
	redis.Stop(t) // an absent Redis does not hold up the stop
	one.stop()
	two.stop()
	for _, p := range []*process{one, two} {
		if log := p.all(); strings.Contains(log, "canary-") || !strings.Contains(log, `"upstream":"`+a.URL+`"`) {
			t.Errorf("the log holds a secret, or not the upstream:\n%s", log)
		}
	}
}

func TestUpstreamIntrospection(t *testing.T) {
	a := startAccount(t)
	dir := prepare(t)
	base := []string{"--upstream-kind", "introspection", "--upstream-url", a.URL + "/introspect"}
	t.Setenv("LATCHKEY_UPSTREAM_CLIENT", "latchkey:"+upstreamClient)
	p := start(t, dir, append(base, "--upstream-audience", "shop", "--upstream-scopes", "a,b", "--upstream-issuer", "https://id.example.com")...)
	if status, user := p.lookup(upstreamToken); status != 200 || user["id"] != "u2" || user["expires_at"] == nil {
		t.Errorf("%d %v", status, user)
	}
	p.stop()
	p = start(t, dir, append(base, "--upstream-audience", "bank")...)
	if status, _ := p.lookup(upstreamToken); status != 401 {
		t.Errorf("another service's token: %d", status)
	}
	p.stop()
	t.Setenv("LATCHKEY_UPSTREAM_CLIENT", "latchkey:canary-wrong")
	p = start(t, dir, append(base, "--upstream-audience", "shop")...)
	if status, _ := p.lookup(upstreamToken); status != 503 {
		t.Errorf("with a wrong client secret: %d", status)
	}
	p.stop()
	if strings.Contains(p.all(), "canary-") {
		t.Errorf("a secret is in the log:\n%s", p.all())
	}
}

// The doctor asks about a token that nobody has.
func TestUpstreamDoctor(t *testing.T) {
	a, redis := startAccount(t), servers.StartRedis(t)
	dir := prepare(t)
	t.Setenv("LATCHKEY_ADMIN_KEY", "ops:"+adminSecret)
	doctor := func(want int, args ...string) map[string]string {
		t.Helper()
		out := cli(t, dir, want, append([]string{"doctor", "--json"}, args...)...)
		var list struct {
			Checks []struct{ Check, Status, Detail string }
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatal(err)
		}
		found := make(map[string]string)
		for _, c := range list.Checks {
			found[c.Check] = c.Status + " " + c.Detail
		}
		return found
	}
	url := []string{"--upstream-url", a.URL + "/v1/account", "--upstream-redis", redis.URL}
	got := doctor(0, url...)
	if !strings.HasPrefix(got["upstream"], "ok ") || !strings.HasPrefix(got["upstream Redis"], "ok ") {
		t.Errorf("%q", got)
	}
	if got := doctor(1, "--upstream-url", a.URL+"/anybody"); !strings.Contains(got["upstream"], "fail") || !strings.Contains(got["upstream"], "made up") || got["upstream Redis"] != "" {
		t.Errorf("%q", got)
	}
	redis.Kill(t)
	a.down.Store(true)
	if got := doctor(1, url...); !strings.HasPrefix(got["upstream"], "fail ") || !strings.Contains(got["upstream"], "502") || !strings.HasPrefix(got["upstream Redis"], "warn ") {
		t.Errorf("%q", got)
	}
	if got := doctor(0); got["upstream"] != "" {
		t.Errorf("%q", got)
	}
}
