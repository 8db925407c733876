//go:build unix

package login_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/optest"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login/oidc"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/postgres"
	"github.com/latchkey-go/latchkey/store/redis"
	"github.com/latchkey-go/latchkey/store/sqlite"
)

// realStores start what they need, and return where the store is.
var realStores = map[string]func(t *testing.T) string{
	"redis": func(t *testing.T) string {
		return servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always").URL
	},
	"postgres": func(t *testing.T) string { return servers.StartPostgres(t).URL },
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "sessions.db") },
}

func openStore(t *testing.T, where string) latchkey.Store {
	t.Helper()
	var store latchkey.Store
	var err error
	ctx := context.Background()
	if path, ok := strings.CutPrefix(where, "sqlite:"); ok {
		store, err = sqlite.Open(sqlite.Config{Path: path})
	} else if strings.HasPrefix(where, "postgres") {
		store, err = postgres.Open(ctx, postgres.Config{URL: where})
	} else {
		var cfg redis.Config
		if cfg, err = redis.ParseURL(where); err == nil {
			store, err = redis.Open(ctx, cfg)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// node is a process of a fleet as far as refreshing is concerned: a store, near cache and
// Manager of its own, and its own side of the provider.
type node struct {
	manager  *latchkey.Manager
	provider *oidc.Provider
}

func newNode(t *testing.T, where, keys string, cfg oidc.Config) *node {
	t.Helper()
	store := openStore(t, where)
	ring, err := keyring.Open(keys, keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	cache.Start()
	t.Cleanup(cache.Stop)
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	p, err := oidc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &node{m, p}
}

// accessToken is one request that holds the session's token.
func (n *node) accessToken(token string) (oidc.AccessToken, error) {
	s, err := n.manager.Lookup(context.Background(), latchkey.Lookup{Token: token})
	if err != nil {
		return oidc.AccessToken{}, err
	}
	return n.provider.AccessToken(context.Background(), s)
}

// fleet is a rig over a real store, with somebody signed in.
type fleet struct {
	*rig
	where, keys, token string
	cfg                oidc.Config // with its own clock, by which access tokens expire
	clock              *latchkeytest.Clock
}

func newFleet(t *testing.T, where string) *fleet {
	t.Helper()
	f := &fleet{where: where, keys: filepath.Join(t.TempDir(), "keys"), clock: latchkeytest.NewClock(time.Now())}
	ring, err := keyring.Open(f.keys, keyring.Options{CreateIfMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	f.rig = newRig(t, rigOptions{op: optest.Config{AccessTokenSeconds: 600},
		page: pagetest.Options{Store: func(*memory.Store) latchkey.Store { return openStore(t, where) }, Change: func(c *latchkey.Config) { c.Keys = ring }},
		oidc: func(c *oidc.Config) { c.Scopes, c.Clock, f.cfg = []string{"openid", "offline_access"}, f.clock, *c }})
	f.cfg.Scopes, f.cfg.Clock = []string{"openid", "offline_access"}, f.clock
	v := f.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	f.token = v.Cookie()
	return f
}

func TestRefreshOnRealStores(t *testing.T) {
	for name, start := range realStores {
		t.Run(name, func(t *testing.T) {
			where := start(t)
			t.Run("once", func(t *testing.T) { refreshedOnce(t, where) })
			t.Run("killed", func(t *testing.T) { refresherKilled(t, where) })
		})
	}
}

// refreshedOnce: fifty requests on two nodes meet an access token that is about to expire.
// One of them refreshes it; a second use of the refresh token would have the provider
// revoke them all. Then the provider is away, and the session goes on.
func refreshedOnce(t *testing.T, where string) {
	f := newFleet(t, where)
	var away atomic.Bool
	down := f.cfg
	down.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if away.Load() {
			return nil, errors.New("the line is cut")
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	nodes := []*node{newNode(t, f.where, f.keys, down), newNode(t, f.where, f.keys, down)}
	first, err := nodes[0].accessToken(f.token)
	if err != nil || !f.knows(t, first) {
		t.Fatal(first, err)
	}
	for round := range 2 {
		f.clock.Advance(595 * time.Second)
		var all sync.WaitGroup
		var got sync.Map
		for i := range 50 {
			all.Go(func() {
				token, err := nodes[i%2].accessToken(f.token)
				if err != nil {
					t.Error(err)
				}
				got.Store(token.Token, true)
			})
		}
		all.Wait()
		found := 0
		got.Range(func(any, any) bool { found++; return true })
		if n := f.op.Refreshes(t); found != 1 || n != round+1 {
			t.Fatalf("%d tokens, %d refreshes in round %d", found, n, round)
		}
		next, err := nodes[1].accessToken(f.token)
		if err != nil || next.Token == first.Token || !f.knows(t, next) {
			t.Fatalf("%v (%v) is stored", next, err)
		}
		first = next
	}

	away.Store(true)
	f.clock.Advance(610 * time.Second)
	for _, n := range nodes {
		if _, err := n.accessToken(f.token); !oidc.IsAway(err) {
			t.Error(err)
		}
		if s, err := n.manager.Lookup(t.Context(), latchkey.Lookup{Token: f.token, AskStore: true}); err != nil || !s.Live() {
			t.Errorf("the session ended with the provider: %v", err)
		}
	}
	away.Store(false) // and what was kept is good still
	if token, err := nodes[1].accessToken(f.token); err != nil || !f.knows(t, token) || f.op.Refreshes(t) != 3 {
		t.Errorf("%v (%v), %d refreshes", token, err, f.op.Refreshes(t))
	}
}

// halting is a transport that never comes to the token endpoint.
type halting struct{ at func() }

// RoundTrip implements http.RoundTripper.
func (h halting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		h.at()
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// hasty is a clock that goes six seconds forward whenever somebody looks.
type hasty struct{ *latchkeytest.Clock }

// Now implements latchkey.Clock.
func (h hasty) Now() latchkey.Moment {
	h.Advance(6 * time.Second)
	return h.Clock.Now()
}

const childVariable = "LATCHKEY_TEST_REFRESHER"

// child is what TestRefresherChild is told.
type child struct {
	Where, Keys, Token, Issuer, RedirectURL string
	Now                                     time.Time
}

// TestRefresherChild is the node that is killed; it does nothing by itself.
func TestRefresherChild(t *testing.T) {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, c.Where, c.Keys, oidc.Config{ID: "op", Issuer: c.Issuer, ClientID: "app", ClientSecret: clientSecret, RedirectURL: c.RedirectURL,
		Scopes: []string{"openid", "offline_access"}, Clock: latchkeytest.NewClock(c.Now), Transport: halting{func() { fmt.Println("refreshing") }}})
	_, err := n.accessToken(c.Token)
	t.Fatalf("it was not killed: %v", err)
}

// refresherKilled: a process that has the lease is killed before it comes to the
// provider. Another one takes over once the lease has lapsed, and not before.
func refresherKilled(t *testing.T, where string) {
	f := newFleet(t, where)
	f.clock.Advance(595 * time.Second)
	text, err := json.Marshal(child{f.where, f.keys, f.token, f.cfg.Issuer, f.cfg.RedirectURL, f.clock.Time()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRefresherChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run, err := servers.Spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "refreshing\n" {
		t.Fatalf("the child says %q (%v)\n%s", line, err, run.Output())
	}
	run.Kill()
	// Its lease stands: whoever looks meanwhile waits.
	began, cfg := f.clock.Time(), f.cfg
	cfg.Clock = hasty{f.clock}
	token, err := newNode(t, f.where, f.keys, cfg).accessToken(f.token)
	if err != nil || !f.knows(t, token) || f.op.Refreshes(t) != 1 {
		t.Errorf("%v (%v), %d refreshes", token, err, f.op.Refreshes(t))
	}
	if waited := f.clock.Time().Sub(began); waited <= 30*time.Second {
		t.Errorf("it took over after %v", waited)
	}
}
