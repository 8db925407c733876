package login_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/optest"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server/internal/pagetest"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

// refreshRig is a rig whose sessions keep tokens that live ten minutes.
func refreshRig(t *testing.T) (*rig, *latchkeytest.Clock, *oidc.Config) {
	t.Helper()
	clock := latchkeytest.NewClock(time.Now())
	var cfg oidc.Config
	r := newRig(t, rigOptions{op: optest.Config{AccessTokenSeconds: 600}, page: pagetest.Options{Clock: clock},
		oidc: func(c *oidc.Config) { c.Scopes = []string{"openid", "offline_access"}; cfg = *c; c.Clock = clock }})
	cfg.KeepTokens, cfg.Clock = true, clock
	return r, clock, &cfg
}

// lookup is a request's hold on the browser's session.
func (v *visitor) lookup() latchkey.Session {
	v.t.Helper()
	s, err := v.rig.Manager.Lookup(v.t.Context(), latchkey.Lookup{Token: v.Cookie(), AskStore: true})
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// knows asks the provider's userinfo endpoint who an access token is for.
func (r *rig) knows(t *testing.T, token oidc.AccessToken) bool {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.op.Issuer+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", token.Type+" "+token.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// TestRefreshOnce: a hundred requests on two nodes meet an access token that expired.
// The refresh token is good for one use, and the provider ends them all if it is used
// twice.
func TestRefreshOnce(t *testing.T) {
	r, clock, cfg := refreshRig(t)
	other, err := oidc.New(*cfg) // another node's
	if err != nil {
		t.Fatal(err)
	}
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	first, err := r.provider.AccessToken(t.Context(), v.lookup())
	if err != nil || !r.knows(t, first) {
		t.Fatal(first, err)
	}
	for round := range 3 {
		clock.Advance(595 * time.Second)
		var all sync.WaitGroup
		var mu sync.Mutex
		got := make(map[string]int)
		for i := range 100 {
			s := v.lookup()
			all.Go(func() {
				p := []*oidc.Provider{r.provider, other}[i%2]
				token, err := p.AccessToken(context.Background(), s)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[token.Token]++
			})
		}
		all.Wait()
		if len(got) != 1 || got[first.Token] > 0 || r.op.Refreshes(t) != round+1 {
			t.Fatalf("%d tokens, %d refreshes in round %d", len(got), r.op.Refreshes(t), round)
		}
		if first, err = r.provider.AccessToken(t.Context(), v.lookup()); err != nil || got[first.Token] == 0 || !r.knows(t, first) {
			t.Fatalf("%v (%v) is stored", first, err)
		}
	}
}

// TestRefreshFails: what the provider refuses is forgotten, and one that is away is
// asked again.
func TestRefreshFails(t *testing.T) {
	r, clock, _ := refreshRig(t)
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	clock.Advance(595 * time.Second)
	r.op.Stop(t)
	// It is good for five seconds yet, and then it is not.
	if _, err := r.provider.AccessToken(t.Context(), v.lookup()); err != nil {
		t.Error(err)
	}
	clock.Advance(10 * time.Second)
	if _, err := r.provider.AccessToken(t.Context(), v.lookup()); !oidc.IsAway(err) || latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Error(err)
	}
	r.op.Restart(t, false) // it has forgotten everybody
	for range 2 {
		_, err := r.provider.AccessToken(t.Context(), v.lookup())
		if latchkey.CodeOf(err) != latchkey.CodeDenied {
			t.Error(err)
		}
	}
	if n := r.op.Refreshes(t); n != 0 || !v.lookup().Live() {
		t.Errorf("%d refreshes", n)
	}
}

// gateway stands before a provider and answers its token endpoint itself.
type gateway struct {
	status int
	page   string
}

func (g gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return http.DefaultTransport.RoundTrip(r)
	}
	return &http.Response{StatusCode: g.status, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(g.page)), Request: r}, nil
}

// TestRefreshIntercepted: what answers in the provider's place is no refusal of it, and
// the refresh token is not forgotten.
func TestRefreshIntercepted(t *testing.T) {
	r, clock, cfg := refreshRig(t)
	v := r.visitor(t)
	wantRedirect(t, v.signIn("ada", ""), "/account")
	clock.Advance(601 * time.Second)
	for _, g := range []gateway{{http.StatusForbidden, "<html>not from here</html>"}, {http.StatusNotFound, ""}, {http.StatusOK, "<html>maintenance</html>"}} {
		behind := *cfg
		behind.Transport = g
		p, err := oidc.New(behind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AccessToken(t.Context(), v.lookup()); !oidc.IsAway(err) || latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%d: %v", g.status, err)
		}
	}
	if token, err := r.provider.AccessToken(t.Context(), v.lookup()); err != nil || !r.knows(t, token) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNoTokensKept(t *testing.T) {
	r := newRig(t, rigOptions{oidc: func(c *oidc.Config) { c.LocalLogout = true }})
	v := r.visitor(t)
	wantRedirect(t, v.arrive(v.atProvider(v.begin(url.Values{}), "ada")), "/account")
	if _, err := r.provider.AccessToken(t.Context(), v.lookup()); oidc.ReasonOf(err) != oidc.NoTokens {
		t.Error(err)
	}
	data, err := v.lookup().Data()
	if err != nil || string(data) != "{}" {
		t.Errorf("data %s (%v)", data, err)
	}
}
