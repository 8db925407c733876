package server_test

import (
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server/login/oidc"
)

// TestReservedData: Latchkey's own data values, such as an identity provider's tokens,
// are neither shown nor set by any route.
func TestReservedData(t *testing.T) {
	h := start(t, nil)
	s := h.issue("alice", `,"data":{"cart":1.50}`)
	session, err := h.m.Lookup(t.Context(), latchkey.Lookup{Token: s.token})
	if err != nil {
		t.Fatal(err)
	}
	if err := session.SetJSON(oidc.DataName, []byte(`{"refresh_token":"canary"}`)); err != nil {
		t.Fatal(err)
	}
	if err := session.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range []answer{h.lookup(s.token), h.do(call{method: "GET", path: "/v1/me", bearer: s.token}),
		h.admin("PATCH", "/v1/sessions/"+s.id, `{"token":`+quote(s.token)+`,"set":{"x":"latchkey."}}`)} {
		if h.object(a, 200); strings.Contains(string(a.body), "canary") || !strings.Contains(string(a.body), `"cart":1.50`) {
			t.Errorf("answer %s", a.body)
		}
	}
	h.problem(h.admin("PATCH", "/v1/sessions/"+s.id, `{"token":`+quote(s.token)+`,"set":{"latchkey.oidc":{}}}`), 422, "invalid_request")
	h.problem(h.admin("PATCH", "/v1/sessions/"+s.id, `{"token":`+quote(s.token)+`,"delete":["latchkey.oidc"]}`), 422, "invalid_request")
	h.problem(h.admin("POST", "/v1/sessions", `{"subject":"bob","data":{"latchkey.oidc":{}}}`), 422, "invalid_request")
}
