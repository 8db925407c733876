package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
)

// Secrets are planted everywhere a client can put one, in requests that succeed,
// fail, meet an outage and panic; then everything that is told is searched.
func TestNoSecretIsTold(t *testing.T) {
	const data = "canary-data-value"
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.MaxData = 256 })
	i := h.issue("alice", `,"data":{"secret":"`+data+`"}`)
	other := h.issue("alice", "")
	forged := i.token[:90] + flip(i.token[90:])
	secrets := []string{i.token, i.token[3:20], other.token, forged, data, adminKey, adminKey[:32], opsKey, "canary-member", "canary-wrong-key"}
	told := map[string]string{}
	long := strings.Repeat(data, 20)

	calls := []call{
		{path: "/v1/sessions/lookup?token=" + i.token, body: `{"token":"` + i.token + `"}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":"` + i.token + `","x":1}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":"` + forged + `"}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":"` + i.token + `","token":"` + data + `"}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":["` + i.token + `"]}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":"` + i.token, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: `{"token":"` + i.token + `\u0000"}`, bearer: adminKey},
		{path: "/v1/sessions/lookup", body: i.token, ctype: "text/" + data, bearer: adminKey},
		{path: "/v1/sessions", body: `{"subject":"a","data":{"k":"` + long + `"}}`, bearer: adminKey},
		{path: "/v1/sessions", body: `{"subject":"a","ttl_seconds":"` + data + `"}`, bearer: adminKey},
		{path: "/v1/sessions", body: `{"subject":"` + data + "\x00" + `"}`, bearer: adminKey},
		{path: "/v1/sessions?limit=" + i.token, bearer: opsKey}, {path: "/v1/sessions?cursor=" + i.token, bearer: opsKey},
		{path: "/v1/sessions/" + i.token, bearer: adminKey}, {path: "/v1/sessions", bearer: "canary-wrong-key"}, {path: "/v1/sessions", bearer: i.token},
		{method: "PATCH", path: "/v1/sessions/" + other.id, body: `{"token":"` + i.token + `","set":{"x":"` + data + `"}}`, bearer: adminKey},
		{method: "PATCH", path: "/v1/sessions/" + i.id, body: `{"token":"` + i.token + `","set":{"x":"` + long + `"}}`, bearer: adminKey},
		{path: "/v1/introspect", body: "token=" + i.token + "&token=" + data, ctype: "application/x-www-form-urlencoded", bearer: adminKey},
		{path: "/v1/introspect", body: "token=" + i.token + "%zz", ctype: "application/x-www-form-urlencoded", bearer: adminKey},
		{path: "/v1/audit?session=" + i.token, bearer: adminKey},
		{path: "/v1/sessions", body: `{"` + i.token + `":1,"` + i.token[:20] + `":1,"` + i.token[3:35] + `":2,"LK_` + i.token[3:25] + `":3,"` + adminKey[:32] + `":4}`, bearer: adminKey},
		{path: "/v1/sessions", body: `{"subject":"a","data":{"` + i.token + i.token + `":1}}`, bearer: adminKey},
		{path: "/v1/sessions", body: `{"subject":"a","data":{"` + i.token + `":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `}}`, bearer: adminKey},
		{path: "/v1/sessions?" + i.token + "=1&" + i.token[:12] + "=2", bearer: adminKey}, {path: "/v1/me?" + i.token, cookies: []string{i.token}},
		{path: "/v1/sessions?l%00k_" + i.token[3:25] + "=1", bearer: adminKey},
		{method: "PATCH", path: "/v1/sessions/" + i.id, body: `{"token":"` + i.token + `","set":{"` + other.token + `":1},"delete":["` + other.token + `"]}`, bearer: adminKey},
		{method: "PATCH", path: "/v1/sessions/" + i.id, body: `{"token":"` + i.token + `","delete":["` + other.token + other.token + `"]}`, bearer: adminKey},
		{path: "/v1/me?passive=" + i.token, cookies: []string{i.token}}, {path: "/v1/me", cookies: []string{i.token}, bearer: other.token},
		{path: "/v1/me", cookies: []string{forged}}, {path: "/v1/" + i.token}, {method: "POST", path: "/logout?rd=" + i.token, cookies: []string{i.token}},
		{method: "DELETE", path: "/v1/me/sessions/" + other.token, cookies: []string{i.token}, header: sameOrigin},
	}
	for _, down := range []bool{false, true} {
		h.store.down.Store(down)
		for n, c := range calls {
			a := h.do(c)
			if a.status < 300 && !strings.Contains(c.path, "/logout") {
				t.Errorf("%d (%s): %d; this is to fail", n, c.path[:min(len(c.path), 20)], a.status)
			}
			told[fmt.Sprintf("answer %d down=%v", n, down)] = string(a.body) + fmt.Sprint(a.header)
		}
		if !down { // and what succeeds
			h.lookup(i.token)
			h.do(call{path: "/v1/me", cookies: []string{i.token}})
			h.do(call{path: "/v1/introspect", body: "token=" + i.token, ctype: "application/x-www-form-urlencoded", bearer: adminKey})
			told["list"] = string(h.admin("GET", "/v1/sessions?state=all", "").body)
			told["trail"] = string(h.admin("GET", "/v1/audit?limit=500", "").body)
		}
	}
	h.store.down.Store(false)
	told["logs"], told["metrics"] = h.logs.String(), string(h.do(call{path: "/metrics"}).body)
	if !strings.Contains(told["logs"], `"route":"POST /v1/sessions/lookup"`) || !strings.Contains(told["trail"], "session.create") {
		t.Fatal("the search has nothing to search")
	}
	for where, text := range told {
		for n, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("secret %d is told in %s: %s", n, where, text)
			}
		}
	}
}
