package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// pages follows next_cursor to the end and returns what was listed under name, and how many pages it took.
func (h *harness) pages(path, member, name string) (got []string, n int) {
	h.tb.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor := ""; ; {
		p := path
		if cursor != "" {
			p += sep + "cursor=" + cursor
		}
		o := h.object(h.admin("GET", p, ""), 200)
		for _, item := range o[member].([]any) {
			got = append(got, fmt.Sprint(item.(map[string]any)[name]))
		}
		n++
		next, more := o["next_cursor"].(string)
		if !more {
			if o["next_cursor"] != nil || len(o) != 2 {
				h.tb.Errorf("%v", o)
			}
			return got, n
		}
		if n > 100 {
			h.tb.Fatal("the list does not end")
		}
		cursor = next
	}
}

func TestList(t *testing.T) {
	h := start(t, nil)
	for n := range 7 {
		h.issue(fmt.Sprintf("u%d", n%2), fmt.Sprintf(`,"name":"s%d","provider":"p%d"`, n, n%3))
		h.clock.Advance(time.Second)
	}
	ended := h.issue("u0", `,"name":"gone","provider":"p0"`)
	h.admin("DELETE", "/v1/sessions/"+ended.id, "")
	for query, want := range map[string]string{
		"":                             "s6 s5 s4 s3 s2 s1 s0",
		"?limit=3":                     "s6 s5 s4 s3 s2 s1 s0",
		"?limit=1&state=all":           "gone s6 s5 s4 s3 s2 s1 s0",
		"?state=ended":                 "gone",
		"?state=live&subject=u0":       "s6 s4 s2 s0",
		"?subject=u0&provider=p0":      "s6 s0",
		"?subject=u0&state=all":        "gone s6 s4 s2 s0",
		"?provider=p0":                 "s6 s3 s0",
		"?provider=p0&limit=1":         "s6 s3 s0",
		"?provider=p0&state=all":       "gone s6 s3 s0",
		"?provider=none":               "",
		"?subject=nobody":              "",
		"?subject=&provider=&cursor=":  "s6 s5 s4 s3 s2 s1 s0",
		"?subject=u1&provider=p1":      "s1",
		"?subject=u1&limit=2&state=":   "s5 s3 s1",
		"?limit=500&subject=u1":        "s5 s3 s1",
		"?limit=7":                     "s6 s5 s4 s3 s2 s1 s0",
		"?provider=p0&limit=3":         "s6 s3 s0",
		"?subject=u1%20&state=all":     "",
		"?subject=u1&provider=p%31":    "s1",
		"?state=ended&subject=u0":      "gone",
		"?state=ended&provider=p0":     "gone",
		"?state=ended&subject=u1":      "",
		"?state=ended&limit=1":         "gone",
		"?subject=u0&provider=nowhere": "",
	} {
		got, _ := h.pages("/v1/sessions"+query, "sessions", "name")
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	if _, n := h.pages("/v1/sessions?limit=3", "sessions", "name"); n != 3 {
		t.Errorf("%d pages", n)
	}
	a := h.admin("GET", "/v1/sessions?subject=nobody", "")
	if strings.TrimSpace(string(a.body)) != `{"sessions":[],"next_cursor":null}` {
		t.Errorf("%s", a.body)
	}
	checkSession(t, h.object(h.admin("GET", "/v1/sessions?limit=1", ""), 200)["sessions"].([]any)[0].(map[string]any))
}

func TestListRefuses(t *testing.T) {
	h := start(t, nil)
	cursor := func() string {
		h.issue("a", "")
		h.issue("a", "")
		return h.object(h.admin("GET", "/v1/sessions?limit=1", ""), 200)["next_cursor"].(string)
	}()
	for query, want := range map[string]string{
		"limit=0": "limit", "limit=501": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=%2b1": "limit", "limit=01": "limit", "limit=99999999999999999999": "limit",
		"state=dead": "state", "state=Live": "state", "cursor=x": "cursor", "cursor=" + cursor + "A": "cursor", "cursor=" + cursor[:31] + "%0a": "cursor",
		"cursor=" + strings.Repeat("A", 32): "cursor", "who=me": "who", "subject=%00": "subject", "subject=%ff": "subject", "passive=1": "passive",
		"limit=0&state=x&cursor=y": "state,limit,cursor", "Subject=a": "Subject",
	} {
		a := h.admin("GET", "/v1/sessions?"+query, "")
		if a.status != 422 || a.code() != "invalid_request" || a.fields() != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	for _, query := range []string{"subject=a&subject=b", "%zz=1", "subject=%", "a;b"} {
		h.problem(h.admin("GET", "/v1/sessions?"+query, ""), 400, "malformed")
	}
}

func TestRevokeBySelector(t *testing.T) {
	h := start(t, nil)
	fresh := func() map[string]issued {
		h.admin("DELETE", "/v1/sessions?all=true", "")
		return map[string]issued{"a1": h.issue("a", `,"provider":"p","sid":"x"`), "a2": h.issue("a", `,"provider":"q","sid":"x"`),
			"a3": h.issue("a", `,"provider":"p"`), "b1": h.issue("b", `,"provider":"p","sid":"x"`)}
	}
	for query, gone := range map[string]string{"subject=a": "a1 a2 a3", "subject=a&provider=p": "a1 a3", "subject=a&except=A1": "a2 a3",
		"subject=a&provider=p&except=A1": "a3", "provider=p&sid=x": "a1 b1", "all=true": "a1 a2 a3 b1", "subject=nobody": "", "provider=p&sid=y": ""} {
		s := fresh()
		query = strings.ReplaceAll(query, "A1", s["a1"].id)
		a := h.admin("DELETE", "/v1/sessions?"+query, "")
		o := h.object(a, 200)
		want := strings.Fields(gone)
		if fmt.Sprint(o["revoked"]) != fmt.Sprint(len(want)) || len(o) != 1 {
			t.Errorf("%s: %v", query, o)
		}
		for name, i := range s {
			if status := h.lookup(i.token).status; (status == 401) != slices.Contains(want, name) {
				t.Errorf("%s: %s answers %d", query, name, status)
			}
		}
	}
	s := fresh()
	for query, want := range map[string]string{
		"": "subject", "provider=p": "subject", "sid=x": "provider", "subject=": "subject", "subject=a&except=": "except", "all=false": "all", "all=1": "all",
		"all=": "all", "subject=a&all=true": "subject", "subject=a&sid=x&provider=p": "subject", "all=true&provider=p": "provider",
		"all=true&except=" + s["a1"].id: "except", "subject=a&except=xyz": "except", "except=" + s["a1"].id: "subject,except", "subject=a&exept=x": "exept",
		"provider=p&sid=x&except=" + s["a1"].id: "except", "subject=a&state=live": "state", "subject=%0a": "subject",
	} {
		a := h.admin("DELETE", "/v1/sessions?"+query, "")
		if a.status != 422 || a.fields() != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	h.problem(h.admin("DELETE", "/v1/sessions?subject=a&subject=b", ""), 400, "malformed")
	for name, i := range s {
		if h.lookup(i.token).status != 200 {
			t.Errorf("a refused revocation ended %s", name)
		}
	}
}

func TestAudit(t *testing.T) {
	h := start(t, nil)
	a, b := h.issue("a", `,"ip":"203.0.113.9"`), h.issue("b", "")
	h.do(call{method: "DELETE", path: "/v1/sessions/" + a.id, bearer: opsKey})
	h.admin("DELETE", "/v1/sessions?subject=b", "")
	got, n := h.pages("/v1/audit?limit=1", "events", "action")
	if strings.Join(got, " ") != "session.revoke_identity session.revoke session.create session.create" || n != 4 {
		t.Error(got, n)
	}
	got, _ = h.pages("/v1/audit?subject=a", "events", "actor")
	if !slices.Equal(got, []string{"admin:ops", "admin:root"}) {
		t.Error(got)
	}
	got, _ = h.pages("/v1/audit?session="+b.id, "events", "action")
	if len(got) == 0 || got[len(got)-1] != "session.create" {
		t.Error(got)
	}
	// The API's form of an event is the same as that of sinks.
	page := h.object(h.admin("GET", "/v1/audit?session="+a.id+"&limit=1", ""), 200)
	event := page["events"].([]any)[0].(map[string]any)
	mem, err := h.store.Audit(t.Context(), auditQuery(a.id))
	if err != nil || len(mem.Events) == 0 {
		t.Fatal(err)
	}
	line, err := json.Marshal(mem.Events[0])
	if err != nil {
		t.Fatal(err)
	}
	var sink map[string]any
	if err := json.Unmarshal(line, &sink); err != nil {
		t.Fatal(err)
	}
	if len(sink) != len(event) {
		t.Errorf("%v\n%v", sink, event)
	}
	for name, v := range sink {
		if fmt.Sprint(event[name]) != fmt.Sprint(v) {
			t.Errorf("%s: %v, sinks get %v", name, event[name], v)
		}
	}
	for query, want := range map[string]string{"limit=501": "limit", "cursor=zz": "cursor", "cursor=AAAAAAAAAAA": "cursor", "cursor=__________8": "cursor", "cursor=AAAAAAAAAAR": "cursor", "session=x": "session", "actor=x": "actor"} {
		a := h.admin("GET", "/v1/audit?"+query, "")
		if a.status != 422 || a.fields() != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

func TestIntrospect(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", `,"provider":"corp","sid":"s1","roles":["x"],"methods":["pwd"],"assurance":"aal2","data":{"secret":1}`)
	ask := func(body string) answer {
		return h.do(call{path: "/v1/introspect", body: body, ctype: "application/x-www-form-urlencoded", bearer: adminKey})
	}
	h.clock.Advance(30 * time.Minute)
	o := h.object(ask("token="+i.token+"&token_type_hint=access_token"), 200)
	want := map[string]string{"active": "true", "sub": "alice", "iss": "corp", "sid": "s1", "jti": i.id, "iat": "1767268800", "exp": "1767355200",
		"auth_time": "1767268800", "token_type": "Bearer", "roles": "[x]", "amr": "[pwd]", "acr": "aal2"}
	for name, v := range want {
		if fmt.Sprint(o[name]) != v {
			t.Errorf("%s: %v, want %s", name, o[name], v)
		}
	}
	if len(o) != len(want) {
		t.Error(o)
	}
	seen := h.object(h.admin("GET", "/v1/sessions/"+i.id, ""), 200)["session"].(map[string]any)["last_seen_at"]
	if seen != "2026-01-01T12:00:00.000000Z" {
		t.Errorf("introspection counts as activity: %v", seen)
	}
	for _, body := range []string{"token=", "token=lk_x", "token=" + adminKey} {
		if a := ask(body); a.status != 200 || strings.TrimSpace(string(a.body)) != `{"active":false}` {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	h.problem(ask("x=1"), 422, "invalid_request")
	h.problem(ask("token=a&token=b"), 400, "malformed")
	h.problem(ask("token=%zz"), 400, "malformed")
	h.problem(ask("token=%0a"), 422, "invalid_request")
	h.problem(ask("token="+strings.Repeat("x", 1<<20)), 413, "body_too_large")
	h.admin("DELETE", "/v1/sessions/"+i.id, "")
	if a := ask("token=" + i.token); strings.TrimSpace(string(a.body)) != `{"active":false}` {
		t.Errorf("%s", a.body)
	}
}
