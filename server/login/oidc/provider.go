package oidc

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/latchkey-go/latchkey"
)

// How long what a provider publishes counts, and how often it is asked.
const (
	metadataFresh = time.Hour      // then it is asked for again
	metadataStale = 24 * time.Hour // and so long it counts when there is no answer
	firstPause    = time.Second    // between attempts that failed, doubling
	longestPause  = 30 * time.Second
	providerTrip  = 5 * time.Second  // bounds one request to the provider
	tokenTrip     = 10 * time.Second // and one to its token endpoint, which may ask others
	maxSkew       = time.Minute      // between the provider's clock and ours
)

// Provider is a client at a provider. Make one with New; it is safe for concurrent
// use, starts no goroutine and needs no closing.
type Provider struct {
	cfg    Config
	clock  latchkey.Clock
	client *http.Client
	meta   cached[*metadata]
	keys   keySet
	fresh  refreshes
	counts counters
}

// metadata is what discovery told of a provider.
type metadata struct {
	provider   *gooidc.Provider // for userinfo
	endpoint   oauth2.Endpoint
	endSession string // "" when it publishes none
	keysURL    string
	issuerSent bool // it promises iss in its responses (RFC 9207)
	userInfo   bool
}

// New checks cfg. It asks the provider nothing: that comes with the first sign-in.
func New(cfg Config) (*Provider, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = cfg.ID
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = DefaultAlgorithm
	}
	if cfg.Clock == nil {
		cfg.Clock = latchkey.SystemClock()
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{gooidc.ScopeOpenID, "profile", "email"}
	} else if !slices.Contains(cfg.Scopes, gooidc.ScopeOpenID) {
		cfg.Scopes = append([]string{gooidc.ScopeOpenID}, cfg.Scopes...)
	}
	cfg.KeepTokens = cfg.KeepTokens || slices.Contains(cfg.Scopes, gooidc.ScopeOfflineAccess)
	p := &Provider{cfg: cfg, clock: cfg.Clock, client: newClient(cfg.Transport)}
	p.meta = cached[*metadata]{clock: cfg.Clock, turn: make(chan struct{}, 1), fetch: counted(p, stepDiscovery, p.discover)}
	p.keys = keySet{cached: cached[[]signingKey]{clock: cfg.Clock, turn: make(chan struct{}, 1), fetch: counted(p, stepKeys, p.fetchKeys)}}
	return p, nil
}

// ID is what the provider is called in paths and sessions.
func (p *Provider) ID() string { return p.cfg.ID }

// Name is what the sign-in page calls the provider.
func (p *Provider) Name() string { return p.cfg.Name }

// Issuer is the provider's exact issuer.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// now is the time by this node's clock.
func (p *Provider) now() time.Time { return p.clock.Now().Time() }

// Ready asks the provider for what it publishes unless that is known, and returns an
// error when it gives no usable answer. Sign-ins do so by themselves.
func (p *Provider) Ready(ctx context.Context) error {
	if _, err := p.meta.get(ctx); err != nil {
		return err
	}
	_, err := p.keys.get(ctx)
	return err
}

// discover reads the provider's configuration (OpenID Connect Discovery, 4).
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	found, err := gooidc.NewProvider(gooidc.ClientContext(ctx, p.client), p.cfg.Issuer)
	var mismatch *gooidc.IssuerMismatchError
	switch {
	case errors.As(err, &mismatch):
		return nil, &Away{Step: "discovery", Detail: "its configuration is another issuer's; the issuer must be written exactly as the provider does"}
	case err != nil:
		return nil, &Away{Step: "discovery", Detail: failure(err)}
	}
	var doc struct {
		JWKS       string   `json:"jwks_uri"`
		EndSession string   `json:"end_session_endpoint"`
		IssuerSent bool     `json:"authorization_response_iss_parameter_supported"`
		Auth       []string `json:"token_endpoint_auth_methods_supported"`
		PKCE       []string `json:"code_challenge_methods_supported"`
	}
	if err := found.Claims(&doc); err != nil {
		return nil, &Away{Step: "discovery", Detail: "its configuration cannot be read"}
	}
	m := &metadata{provider: found, endpoint: found.Endpoint(), endSession: doc.EndSession, keysURL: doc.JWKS,
		issuerSent: doc.IssuerSent, userInfo: found.UserInfoEndpoint() != ""}
	for name, address := range map[string]string{"authorization_endpoint": m.endpoint.AuthURL, "token_endpoint": m.endpoint.TokenURL, "jwks_uri": m.keysURL} {
		if why := p.cfg.unfit(address); why != "" {
			return nil, &Away{Step: "discovery", Detail: name + " " + why}
		}
	}
	if m.endSession != "" && p.cfg.unfit(m.endSession) != "" {
		m.endSession = ""
	}
	if m.userInfo && p.cfg.unfit(found.UserInfoEndpoint()) != "" {
		m.userInfo = false
	}
	m.endpoint.AuthStyle = p.authStyle(doc.Auth)
	return m, nil
}

// authStyle decides how the secret is sent. It is never tried out: a code that was
// refused for its sender is spent.
func (p *Provider) authStyle(known []string) oauth2.AuthStyle {
	basic := len(known) == 0 || slices.Contains(known, "client_secret_basic") || !slices.Contains(known, "client_secret_post")
	if p.cfg.ClientSecret == "" || p.cfg.ClientAuth == AuthPost || p.cfg.ClientAuth == AuthAuto && !basic {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// cached is something that the provider publishes. One caller at a time asks for it.
type cached[T any] struct {
	clock latchkey.Clock
	fetch func(context.Context) (T, error)
	turn  chan struct{} // holds one value while somebody asks, or looks

	value  T
	have   bool
	at     int64 // when it was fetched, by the monotonic clock
	tried  int64 // when it was last asked for
	failed int   // attempts that failed since
	err    error // why the last one did

	fresh atomic.Pointer[freshly[T]] // what needs no turn to be taken
}

// freshly is what was fetched, and when.
type freshly[T any] struct {
	value T
	at    int64
}

// get returns what is known, and asks when that is too old or nothing is.
func (c *cached[T]) get(ctx context.Context) (value T, err error) {
	if f := c.fresh.Load(); f != nil && c.clock.Now().Mono-f.at < int64(metadataFresh) {
		return f.value, nil
	}
	if err := c.lock(ctx); err != nil {
		return value, err
	}
	defer c.unlock()
	now := c.clock.Now().Mono
	if c.have && now-c.at < int64(metadataFresh) {
		return c.value, nil
	}
	if c.failed == 0 || now-c.tried >= int64(c.pause()) {
		c.renew(ctx)
	}
	if c.have && c.clock.Now().Mono-c.at < int64(metadataStale) {
		return c.value, nil
	}
	return value, c.err
}

// again asks anew unless that was done within the pause, and reports whether it
// brought something.
func (c *cached[T]) again(ctx context.Context, pause time.Duration) (value T, renewed bool, err error) {
	if err := c.lock(ctx); err != nil {
		return value, false, err
	}
	defer c.unlock()
	if now := c.clock.Now().Mono; (c.have || c.failed > 0) && now-c.tried < int64(max(pause, c.pause())) {
		return c.value, false, c.err
	}
	renewed = c.renew(ctx)
	return c.value, renewed, c.err
}

func (c *cached[T]) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return away(ctx.Err())
	}
}

func (c *cached[T]) unlock() { <-c.turn }

// pause is how long to wait after so many failures.
func (c *cached[T]) pause() time.Duration {
	if c.failed == 0 {
		return 0
	}
	return min(firstPause<<min(c.failed-1, 10), longestPause)
}

// renew asks, twice at most: a connection that was kept may be dead.
func (c *cached[T]) renew(ctx context.Context) bool {
	// Whoever asked may give up, and has asked all the same: or anybody could make
	// this ask again and again.
	trip, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerTrip)
	defer cancel()
	value, err := c.fetch(trip)
	if err != nil && trip.Err() == nil {
		value, err = c.fetch(trip)
	}
	now := c.clock.Now().Mono
	if err != nil {
		c.err, c.tried = away(err), now
		c.failed++
		return false
	}
	c.value, c.have, c.at, c.tried, c.failed, c.err = value, true, now, now, 0, nil
	c.fresh.Store(&freshly[T]{value, now})
	return true
}

// failure describes an error of a request without what either side wrote in it.
func failure(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, errTooLarge):
		return errTooLarge.Error()
	case errors.Is(err, errRedirected):
		return errRedirected.Error()
	}
	var net interface{ Timeout() bool }
	if errors.As(err, &net) {
		if net.Timeout() {
			return "no answer in time"
		}
		return "no connection"
	}
	if status, _, ok := strings.Cut(err.Error(), ":"); ok && len(status) > 3 && status[0] >= '1' && status[0] <= '5' && strings.Trim(status[:3], "0123456789") == "" {
		return "status " + status[:3]
	}
	return "the answer cannot be read"
}
