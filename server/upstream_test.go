package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/upstream"
)

// accounts is an account service as Appwrite's is.
type accounts struct {
	*httptest.Server
	calls atomic.Int64
	name  atomic.Value // of the one user
	down  atomic.Bool
}

const accountToken = "canary-upstream-token-0123456789"

func startAccounts(t *testing.T) *accounts {
	a := &accounts{}
	a.name.Store("Zoë <z>")
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case a.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.Header.Get("X-Appwrite-Session") != accountToken:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"$id": "u1", "email": "z@example.com", "name": a.name.Load(), "emailVerification": true,
				"prefs": map[string]any{"tier": "premium"}, "$createdAt": "2025-01-02T03:04:05.678+00:00", "labels": []string{"vip"}})
		}
	}))
	t.Cleanup(a.Close)
	return a
}

// cacheOf is a cache in front of a, with a Redis where there is one.
func cacheOf(t *testing.T, a *accounts, redis string) *upstream.Cache {
	t.Helper()
	fields := upstream.AppwriteFields()
	fields.Claims = map[string]string{"labels": "labels"}
	check, err := upstream.NewCheck(upstream.CheckConfig{URL: a.URL, Header: "X-Appwrite-Session", Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	cfg := upstream.Config{Upstream: check, ProcessTTL: time.Hour, TTL: time.Hour}
	cfg.Redis.URL = redis
	c, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (h *harness) upstream(what, body string) answer {
	h.tb.Helper()
	return h.admin("POST", "/v1/upstream/"+what, body)
}

func TestUpstreamLookup(t *testing.T) {
	a := startAccounts(t)
	redis := servers.StartRedis(t)
	cache := cacheOf(t, a, redis.URL)
	h := start(t, func(_ *latchkey.Config, cfg *server.Config) { cfg.Upstream = cache })
	ask := `{"token":"` + accountToken + `"}`

	user := h.object(h.upstream("lookup", ask), 200)["user"].(map[string]any)
	if user["id"] != "u1" || user["name"] != "Zoë <z>" || user["tier"] != "premium" || user["email_verified"] != true ||
		user["created_at"] != "2025-01-02T03:04:05.678000Z" || user["expires_at"] != nil || user["stale"] != false || user["claims"].(map[string]any)["labels"] == nil {
		t.Errorf("%v", user)
	}
	// The same members as the library writes.
	u, err := cache.Lookup(t.Context(), accountToken)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(u)
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for name, v := range want {
		got, ok := user[name]
		gotText, _ := json.Marshal(got)
		wantText, _ := json.Marshal(v)
		if !ok || string(gotText) != string(wantText) {
			t.Errorf("%s is %s, and %s in the library", name, gotText, wantText)
		}
	}
	if len(user) != len(want) || a.calls.Load() != 1 {
		t.Errorf("%d members for %d, %d calls", len(user), len(want), a.calls.Load())
	}

	// Refusals.
	refused := h.upstream("lookup", `{"token":"another"}`)
	h.problem(refused, 401, "invalid_session")
	if refused.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	h.problem(h.upstream("lookup", `{"token":""}`), 401, "invalid_session")
	for _, body := range []string{`{}`, `{"token":null}`, `{"token":7}`, `{"token":"a\u0000"}`, `{"token":"a","more":1}`} {
		h.problem(h.upstream("lookup", body), 422, "invalid_request")
	}
	h.problem(h.do(call{path: "/v1/upstream/lookup", body: ask, bearer: "wrong"}), 403, "admin_key")
	h.problem(h.do(call{path: "/v1/upstream/lookup", body: ask, bearer: accountToken}), 403, "admin_key")

	// Nobody can say, and the daemon is ready all the same.
	a.down.Store(true)
	h.problem(h.upstream("lookup", `{"token":"unknown"}`), 503, "store_unavailable")
	h.object(h.upstream("lookup", ask), 200) // from the process
	if got := h.do(call{path: "/readyz"}); got.status != 200 {
		t.Errorf("not ready without the upstream: %s", got.body)
	}
	metrics := string(h.do(call{path: "/metrics"}).body)
	for _, line := range []string{"latchkey_upstream_down 1", "latchkey_upstream_redis_away 0", `latchkey_upstream_lookups_total{by="process"} 2`,
		"latchkey_upstream_call_failures_total 1", "latchkey_upstream_entries 1"} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(h.logs.String()+metrics, "canary-upstream") {
		t.Error("the token is in the log or the metrics")
	}
}

func TestUpstreamInvalidate(t *testing.T) {
	a := startAccounts(t)
	redis := servers.StartRedis(t)
	h := start(t, func(_ *latchkey.Config, cfg *server.Config) { cfg.Upstream = cacheOf(t, a, redis.URL) })
	ask := `{"token":"` + accountToken + `"}`
	name := func() any {
		t.Helper()
		return h.object(h.upstream("lookup", ask), 200)["user"].(map[string]any)["name"]
	}
	name()
	a.name.Store("after")
	if got := name(); got == "after" {
		t.Fatal("nothing is cached")
	}
	for _, body := range []string{`{}`, `{"user":"u1","token":"x"}`, `{"user":""}`, `{"user":"` + strings.Repeat("u", 513) + `"}`, `{"user":"a\u0007"}`} {
		h.problem(h.upstream("invalidate", body), 422, "invalid_request")
	}
	if got := h.upstream("invalidate", `{"user":"u1"}`); got.status != 204 || len(got.body) != 0 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := name(); got != "after" {
		t.Errorf("after the invalidation it is %v", got)
	}
	// Redis away: in force here, and the caller is told.
	redis.Kill(t)
	a.name.Store("later")
	h.problem(h.upstream("invalidate", `{"user":"u1"}`), 503, "store_unavailable")
	if got := name(); got != "later" {
		t.Errorf("after the invalidation without Redis it is %v", got)
	}
	redis.Restart(t)
	// A logout: refused although the upstream would still grant it.
	for h.upstream("invalidate", ask).status != 204 { // until the Redis that came back is found
		if t.Context().Err() != nil {
			return
		}
	}
	h.problem(h.upstream("lookup", ask), 401, "invalid_session")
	if strings.Contains(h.logs.String(), "canary-upstream") {
		t.Error("the token is in the log")
	}
}

func TestUpstreamOff(t *testing.T) {
	h := start(t, nil)
	for what, body := range map[string]string{"lookup": `{"token":"x"}`, "invalidate": `{"user":"u"}`} {
		got := h.upstream(what, body)
		h.problem(got, 404, "not_found")
		if !strings.Contains(string(got.body), "--upstream-url") {
			t.Errorf("it does not say what is missing: %s", got.body)
		}
		if _, documented := h.doc["/v1/upstream/"+what]; documented {
			t.Errorf("the document has %s", what)
		}
	}
	if strings.Contains(string(h.do(call{path: "/metrics"}).body), "latchkey_upstream") {
		t.Error("metrics of an upstream that is not there")
	}
	on := start(t, func(_ *latchkey.Config, cfg *server.Config) { cfg.Upstream = cacheOf(t, startAccounts(t), "") })
	if _, documented := on.doc["/v1/upstream/lookup"]["post"]; !documented {
		t.Error("the document lacks the route")
	}
}
