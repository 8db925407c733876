package edge_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/store/memory"
)

// silent is a ResponseWriter that allocates nothing.
type silent struct {
	header http.Header
	status int
}

func (w *silent) Header() http.Header         { return w.header }
func (w *silent) Write(p []byte) (int, error) { return len(p), nil }
func (w *silent) WriteHeader(status int)      { w.status = status }

// What a check costs beside the header that it fills: the values in it, and the texts
// that are made for the answer. Reading the question, finding the session, deciding and
// finding the assertion allocate nothing.
func TestAnswerAlloc(t *testing.T) {
	b := newEdge(t, func(c *config) {
		store, err := memory.New(memory.Config{}) // the machine's clock: this cache beats by itself
		must(t, err)
		cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: 10 * time.Second})
		must(t, err)
		ring, err := keyring.Generate(time.Now().Add(-time.Hour))
		must(t, err)
		cache.Start()
		t.Cleanup(func() {
			cache.Stop()
			must(t, store.Close())
		})
		c.manager.Store, c.manager.Cache, c.manager.Keys, c.manager.Clock = store, cache, ring, nil
		c.policy.Rules = []edge.Rule{{Paths: []string{"/static/*"}, Require: edge.RequirePublic}, {Roles: []string{"staff"}}}
		c.edge.Assertions, err = assertion.New(assertion.Config{Keys: c.manager.Keys, Issuer: "https://auth.example.com"})
		must(t, err)
	})
	granted := b.signIn(latchkey.SignIn{Subject: "alice", Roles: []string{"staff", "editor"}}).Token
	refused := b.signIn(latchkey.SignIn{Subject: "bob"}).Token
	for _, c := range []struct {
		name, path, token string
		status, most      int
	}{
		{"granted", "/page", granted, 204, 2},
		{"public", "/static/a.css", granted, 204, 2},
		{"denied", "/page", refused, 403, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/auth/nginx", nil)
			r.RemoteAddr = "127.0.0.1:1234"
			r.Header.Set("X-Original-URL", "https://app.example.com"+c.path)
			r.Header.Set("X-Original-Method", http.MethodGet)
			r.Header.Set("Cookie", "theme=dark; __Host-session="+c.token)
			w := &silent{header: make(http.Header, 16)}
			ask := func() {
				clear(w.header)
				b.edge.ServeHTTP(w, r)
			}
			for before := b.m.Stats().Hits; b.m.Stats().Hits == before; { // until the cache has it
				if ask(); w.status != c.status {
					t.Fatalf("status %d", w.status)
				}
			}
			if n := int(testing.AllocsPerRun(1000, ask)); n > c.most {
				t.Errorf("%d allocations, and %d are needed", n, c.most)
			}
		})
	}
}
