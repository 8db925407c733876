package server_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
)

var sessionMembers = []string{"assurance", "auth_time", "created_at", "email", "expires_at", "id", "idle_expires_at", "ip", "last_seen_at",
	"methods", "name", "provider", "revoked_at", "revoked_reason", "roles", "sid", "state", "subject", "user_agent", "version"}

var sixDigits = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

func checkSession(t *testing.T, s map[string]any, extra ...string) {
	t.Helper()
	if got, want := slices.Sorted(maps.Keys(s)), slices.Sorted(slices.Values(append(extra, sessionMembers...))); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	for _, name := range []string{"created_at", "last_seen_at", "idle_expires_at", "expires_at"} {
		if text, ok := s[name].(string); !ok || !sixDigits.MatchString(text) {
			t.Errorf("%s is %v", name, s[name])
		}
	}
}

func TestCreateGivesEveryMember(t *testing.T) {
	h := start(t, nil)
	a := h.admin("POST", "/v1/sessions", `{"subject":"alice","provider":"corp","email":"a@example.com","name":"Älice","roles":["x","y"],
		"methods":["pwd","otp"],"assurance":"aal2","auth_time":"2026-01-01T12:30:00.1234567+01:00","sid":"s-1","ip":"203.0.113.9","user_agent":"curl/8",
		"data":{"cart":{"n":1.50}},"ttl_seconds":7200,"idle_seconds":600}`)
	o := h.object(a, 201)
	s := o["session"].(map[string]any)
	checkSession(t, s)
	want := map[string]any{"subject": "alice", "provider": "corp", "email": "a@example.com", "name": "Älice", "assurance": "aal2",
		"auth_time": "2026-01-01T11:30:00.123456Z", "sid": "s-1", "state": "live", "created_at": "2026-01-01T12:00:00.000000Z",
		"last_seen_at": "2026-01-01T12:00:00.000000Z", "idle_expires_at": "2026-01-01T12:10:00.000000Z",
		"expires_at": "2026-01-01T14:00:00.000000Z", "revoked_at": nil, "revoked_reason": nil, "ip": "203.0.113.9", "user_agent": "curl/8"}
	for name, v := range want {
		if s[name] != v {
			t.Errorf("%s is %v, want %v", name, s[name], v)
		}
	}
	if fmt.Sprintf("%v %v %v", s["roles"], s["methods"], s["version"]) != "[x y] [pwd otp] 1" {
		t.Error(s["roles"], s["methods"], s["version"])
	}
	token := o["token"].(string)
	if want := cookieName + "=" + token + "; Path=/; Max-Age=7200; HttpOnly; Secure; SameSite=Lax"; o["set_cookie"] != want {
		t.Errorf("set_cookie %v, want %s", o["set_cookie"], want)
	}
	if len(token) != 91 || len(o) != 3 || a.header.Get("Set-Cookie") != "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v %v", len(token), len(o), a.header)
	}
	looked := h.lookup(token)
	if !strings.Contains(string(looked.body), `"data":{"cart":{"n":1.50}}`) {
		t.Errorf("data: %s", looked.body)
	}
}

func TestCreateDefaults(t *testing.T) {
	h := start(t, nil)
	a := h.admin("POST", "/v1/sessions", `{"subject":"bob","email":null,"roles":null,"data":null}`)
	s := h.object(a, 201)["session"].(map[string]any)
	checkSession(t, s)
	if s["provider"] != "api" || s["auth_time"] != "2026-01-01T12:00:00.000000Z" {
		t.Error(s["provider"], s["auth_time"])
	}
	if text := string(a.body); !strings.Contains(text, `"roles":[]`) || !strings.Contains(text, `"methods":[]`) || !strings.Contains(text, `"email":""`) {
		t.Error(text)
	}
	if o := h.object(h.lookup(h.issue("bob", "").token), 200); fmt.Sprint(o["data"]) != "map[]" {
		t.Error(o["data"])
	}
}

func TestCreateRefuses(t *testing.T) {
	h := start(t, nil)
	long := strings.Repeat("a", 300)
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		fields string
	}{
		"empty-body":         {" ", 400, "malformed", ""},
		"not-json":           {"{", 400, "malformed", ""},
		"trailing":           {`{"subject":"a"} x`, 400, "malformed", ""},
		"two-objects":        {`{"subject":"a"}{}`, 400, "malformed", ""},
		"duplicate":          {`{"subject":"a","subject":"b"}`, 400, "malformed", ""},
		"duplicate-escaped":  {`{"subject":"a","s\u0075bject":"b"}`, 400, "malformed", ""},
		"duplicate-deep":     {`{"subject":"a","data":{"x":[{"y":1,"y":2}]}}`, 400, "malformed", ""},
		"half-surrogate":     {`{"subject":"\ud800"}`, 400, "malformed", ""},
		"half-surrogate-low": {`{"subject":"a\\\udc00"}`, 400, "malformed", ""},
		"not-utf8":           {"{\"subject\":\"\xff\"}", 400, "malformed", ""},
		"list":               {`[]`, 422, "invalid_request", ""},
		"null":               {`null`, 422, "invalid_request", ""},
		"no-subject":         {`{}`, 422, "invalid_request", "subject"},
		"unknown":            {`{"subject":"a","ttl":1,"zz":2}`, 422, "invalid_request", "ttl,zz"},
		"other-case":         {`{"Subject":"a"}`, 422, "invalid_request", "Subject"},
		"types": {`{"subject":1,"roles":"x","data":[],"ttl_seconds":1.5,"auth_time":"yesterday"}`, 422, "invalid_request",
			"subject,roles,auth_time,data,ttl_seconds"},
		"control":         {`{"subject":"a\u0000","name":"x\u0085"}`, 422, "invalid_request", "subject,name"},
		"control-data":    {`{"subject":"a","data":{"x":["\n"]}}`, 422, "invalid_request", "data"},
		"control-name":    {`{"subject":"a","data":{"\u0007":1}}`, 422, "invalid_request", "data"},
		"data-name-empty": {`{"subject":"a","data":{"":1}}`, 422, "invalid_request", "data"},
		"data-name-long":  {`{"subject":"a","name":"b","data":{"` + long + `":1,"":2}}`, 422, "invalid_request", "data"},
		"data-deep":       {`{"subject":"a","data":{"email":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `}}`, 422, "invalid_request", "data"},
		"twice-wrong":     {`{"subject":"a\u0000","roles":["\n",1],"x\u0000":"\n"}`, 422, "invalid_request", "subject,roles,x"},
		"withheld":        {`{"subject":"a","` + long + `":1,"a lk_b":2,"A":3}`, 422, "invalid_request", "A,(name withheld)"},
		"withheld-at":     {`{"subject":"a","` + strings.Repeat("n", 31) + `":1,"` + strings.Repeat("o", 32) + `":1}`, 422, "invalid_request", strings.Repeat("n", 31) + ",(name withheld)"},
		"control-roles":   {`{"subject":"a","roles":["a\nb"]}`, 422, "invalid_request", "roles"},
		"comma-role":      {`{"subject":"a","roles":["a,b"]}`, 422, "invalid_request", "roles"},
		"empty-role":      {`{"subject":"a","roles":[null]}`, 422, "invalid_request", "roles"},
		"long":            {`{"subject":"` + long + `","sid":"` + long + `"}`, 422, "invalid_request", "subject,sid"},
		"ttl-zero":        {`{"subject":"a","ttl_seconds":0}`, 422, "invalid_request", "ttl_seconds"},
		"ttl-above":       {`{"subject":"a","ttl_seconds":86401}`, 422, "invalid_request", "ttl_seconds"},
		"ttl-overflow":    {`{"subject":"a","ttl_seconds":9223372036854775807}`, 422, "invalid_request", "ttl_seconds"},
		"ttl-wraps":       {`{"subject":"a","ttl_seconds":18446744075}`, 422, "invalid_request", "ttl_seconds"},
		"ttl-huge":        {`{"subject":"a","ttl_seconds":1e99}`, 422, "invalid_request", "ttl_seconds"},
		"idle-above":      {`{"subject":"a","idle_seconds":3601}`, 422, "invalid_request", "idle_seconds"},
		"idle-negative":   {`{"subject":"a","idle_seconds":-1}`, 422, "invalid_request", "idle_seconds"},
		"auth-future":     {`{"subject":"a","auth_time":"2027-01-01T00:00:00Z"}`, 422, "invalid_request", "auth_time"},
		"auth-before-era": {`{"subject":"a","auth_time":"1969-01-01T00:00:00Z"}`, 422, "invalid_request", "auth_time"},
		"ip":              {`{"subject":"a","ip":"nowhere"}`, 422, "invalid_request", "ip"},
		"data-too-large":  {`{"subject":"a","data":{"x":"` + strings.Repeat("x", 70000) + `"}}`, 422, "data_too_large", ""},
		"body-too-large":  {`{"subject":"a","data":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`, 413, "body_too_large", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.admin("POST", "/v1/sessions", c.body)
			h := *h
			h.tb = t
			h.problem(a, c.status, c.code)
			if a.fields() != c.fields {
				t.Errorf("fields %s, want %s", a.fields(), c.fields)
			}
		})
	}
	if h.m.Stats().Created != 0 {
		t.Error("a refused request made a session")
	}
}

func TestBodyLimitIsExact(t *testing.T) {
	h := start(t, nil)
	body := `{"subject":"a"}`
	body += strings.Repeat(" ", 1<<20-len(body))
	if a := h.admin("POST", "/v1/sessions", body); a.status != 201 {
		t.Errorf("1 MiB: %d %s", a.status, a.body)
	}
	h.problem(h.admin("POST", "/v1/sessions", body+" "), 413, "body_too_large")

	// A client that sends its all before it reads gets the answer too, and may go on.
	for name, framing := range map[string]string{"length": "Content-Length: 3145728\r\n\r\n", "chunks": "Transfer-Encoding: chunked\r\n\r\n300000\r\n"} {
		conn, err := net.Dial("tcp", h.web.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s%s", adminKey, framing, strings.Repeat(" ", 3<<20))
		if name == "chunks" {
			fmt.Fprint(conn, "\r\n0\r\n\r\n")
		}
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		answers := bufio.NewReader(conn)
		for _, want := range []int{413, 200} {
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("%s: %v %v, want %d", name, res, err, want)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	}
}

// Unusual shapes within the bounds are served; beyond the depth that is read they are malformed.
func TestShapesOfBodies(t *testing.T) {
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.MaxData = 1 << 20 })
	var b strings.Builder
	for n := range 4000 {
		fmt.Fprintf(&b, `%s"k%d":1`, map[bool]string{true: ","}[n > 0], n)
	}
	for _, body := range []string{`{"subject":"a","data":{` + b.String() + `}}`, `{"subject":"a","data":{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}`} {
		if a := h.admin("POST", "/v1/sessions", body); a.status != 201 {
			t.Errorf("%d %s", a.status, a.body[:min(len(a.body), 300)])
		}
	}
	if a := h.admin("POST", "/v1/sessions", strings.Repeat("[", 1<<20)); a.status != 400 {
		t.Errorf("deep: %d", a.status)
	}
}

func TestContentType(t *testing.T) {
	h := start(t, nil)
	for ctype, want := range map[string]int{"application/json": 201, "application/json; charset=utf-8": 201, "Application/JSON;charset=UTF-8": 201,
		"text/plain": 415, "application/json; charset=latin1": 415, "application/x-www-form-urlencoded": 415, ";;": 415, "application/problem+json": 415} {
		if a := h.do(call{path: "/v1/sessions", body: `{"subject":"a"}`, ctype: ctype, bearer: adminKey}); a.status != want {
			t.Errorf("%s: %d %s", ctype, a.status, a.body)
		}
	}
	a := h.do(call{path: "/v1/sessions", body: `{"subject":"a"}`, bearer: adminKey, header: map[string]string{"Content-Encoding": "gzip"}})
	h.problem(a, 415, "content_type")
	h.problem(h.do(call{method: "POST", path: "/v1/sessions/lookup", bearer: adminKey}), 415, "content_type")
	for name, lines := range map[string][]string{"Content-Type": {"application/json", "application/json"}, "Content-Encoding": {"", "gzip"}} {
		r := request("POST", "/v1/sessions", `{"subject":"a"}`)
		r.Header = http.Header{"Authorization": {"Bearer " + adminKey}, "Content-Type": {"application/json"}}
		r.Header[name] = lines
		if w := h.serve(t, r); w.Code != 415 {
			t.Errorf("two %s headers: %d %s", name, w.Code, w.Body)
		}
	}
	h.problem(h.do(call{path: "/v1/introspect", body: `{"token":"x"}`, bearer: adminKey}), 415, "content_type")
}

func TestLimits(t *testing.T) {
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.Limit, m.LimitPolicy = 1, latchkey.RefuseNew })
	h.issue("alice", "")
	h.problem(h.admin("POST", "/v1/sessions", `{"subject":"alice"}`), 409, "limit_reached")
	h.issue("bob", "")
}

func TestAdminKey(t *testing.T) {
	h := start(t, nil)
	routes := []call{{method: "POST", path: "/v1/sessions", body: `{"subject":"a"}`}, {method: "GET", path: "/v1/sessions"}, {method: "DELETE", path: "/v1/sessions?all=true"},
		{path: "/v1/sessions/lookup", body: `{}`}, {path: "/v1/sessions/renew", body: `{}`}, {path: "/v1/sessions/x"}, {method: "PATCH", path: "/v1/sessions/x", body: "{}"},
		{method: "DELETE", path: "/v1/sessions/x"}, {path: "/v1/audit"}, {method: "POST", path: "/v1/introspect"}, {method: "POST", path: "/v1/keys/reload"}}
	token := h.issue("alice", "").token
	for _, c := range routes {
		for name, auth := range map[string]string{"none": "", "wrong": "Bearer " + adminKey + "x", "prefix": "Bearer " + adminKey[:36], "basic": "Basic " + adminKey,
			"bare": adminKey, "empty": "Bearer ", "session": "Bearer " + token, "two": "Bearer " + adminKey + ", Bearer x"} {
			c.header = map[string]string{"Authorization": auth}
			if auth == "" {
				c.header = nil
			}
			c.cookies = []string{token}
			a := h.do(c)
			if a.status != 403 || a.code() != "admin_key" {
				t.Errorf("%s %s with %s: %d %s", c.method, c.path, name, a.status, a.body)
			}
		}
	}
	for _, auth := range []string{"bearer " + adminKey, "Bearer   " + opsKey, "BEARER " + opsKey} {
		if a := h.do(call{path: "/v1/sessions", header: map[string]string{"Authorization": auth}}); a.status != 200 {
			t.Errorf("%s: %d", auth[:7], a.status)
		}
	}
	off := start(t, func(_ *latchkey.Config, s *server.Config) { s.AdminKeys = nil })
	for _, c := range routes {
		c.bearer = adminKey
		off.problem(off.do(c), 404, "not_found")
	}
}

func TestLookup(t *testing.T) {
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.RotateEvery = time.Minute })
	i := h.issue("alice", `,"data":{"a":1}`)
	h.clock.Advance(10 * time.Minute)
	o := h.object(h.admin("POST", "/v1/sessions/lookup", `{"token":"`+i.token+`","passive":true}`), 200)
	checkSession(t, o["session"].(map[string]any))
	if s := o["session"].(map[string]any); s["last_seen_at"] != "2026-01-01T12:00:00.000000Z" || s["id"] != i.id || len(o) != 2 {
		t.Error(o)
	}
	for range 2 { // a rotation would be due; the old token would be refused after it
		if a := h.lookup(i.token); a.status != 200 || a.header.Get("Set-Cookie") != "" {
			t.Error(a.status, a.header)
		}
	}
	seen := h.object(h.admin("GET", "/v1/sessions/"+i.id, ""), 200)["session"].(map[string]any)["last_seen_at"]
	if seen != "2026-01-01T12:10:00.000000Z" {
		t.Errorf("activity: %v", seen)
	}
	for name, token := range map[string]string{"empty": "", "garbage": "lk_x", "forged": i.token[:90] + flip(i.token[90:]), "long": i.token + "A", "admin": adminKey} {
		a := h.lookup(token)
		if a.status != 401 || a.code() != "invalid_session" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	a := h.admin("POST", "/v1/sessions/lookup", `{}`)
	h.problem(a, 422, "invalid_request")
	if a.fields() != "token" {
		t.Error(a.fields())
	}
	h.clock.Advance(time.Hour)
	h.problem(h.lookup(i.token), 401, "invalid_session")
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func TestRenew(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", `,"roles":["x"],"methods":["pwd"],"data":{"k":"v"}`)
	h.clock.Advance(30 * time.Minute)
	o := h.object(h.admin("POST", "/v1/sessions/renew", `{"token":"`+i.token+`","roles":[],"assurance":"aal3","auth_time":"2026-01-01T12:30:00Z"}`), 200)
	s, token := o["session"].(map[string]any), o["token"].(string)
	checkSession(t, s)
	if s["id"] != i.id || fmt.Sprintf("%v %v %v %v", s["roles"], s["methods"], s["assurance"], s["version"]) != "[] [pwd] aal3 2" || s["expires_at"] != "2026-01-02T12:30:00.000000Z" || token == i.token {
		t.Error(s)
	}
	if want := cookieName + "=" + token + "; Path=/; Max-Age=86400;"; !strings.HasPrefix(o["set_cookie"].(string), want) {
		t.Error(o["set_cookie"])
	}
	if a := h.lookup(token); !strings.Contains(string(a.body), `{"k":"v"}`) {
		t.Errorf("%s", a.body)
	}
	h.problem(h.lookup(i.token), 401, "invalid_session")
	h.problem(h.admin("POST", "/v1/sessions/renew", `{"token":"`+i.token+`"}`), 401, "invalid_session")
	h.problem(h.admin("POST", "/v1/sessions/renew", `{}`), 422, "invalid_request")
	h.problem(h.admin("POST", "/v1/sessions/renew", `{"token":"`+token+`","auth_time":"2026-01-01T13:30:00Z"}`), 422, "invalid_request")
	h.problem(h.admin("POST", "/v1/sessions/renew", `{"token":"`+token+`","roles":["a,b"]}`), 422, "invalid_request")
	h.problem(h.admin("POST", "/v1/sessions/renew", `{"token":"`+token+`","subject":"eve"}`), 422, "invalid_request")
}

func TestPatch(t *testing.T) {
	h := start(t, func(m *latchkey.Config, _ *server.Config) { m.MaxData = 1024 })
	i, other := h.issue("alice", `,"data":{"a":1,"b":2}`), h.issue("bob", "")
	path := "/v1/sessions/" + i.id
	body := func(rest string) string { return `{"token":"` + i.token + `"` + rest + `}` }
	o := h.object(h.admin("PATCH", path, body(`,"set":{"c":{"d":[1, 2]},"a":null},"delete":["b","none"]`)), 200)
	checkSession(t, o["session"].(map[string]any))
	if fmt.Sprint(o["data"]) != "map[a:<nil> c:map[d:[1 2]]]" || fmt.Sprint(o["session"].(map[string]any)["version"]) != "2" {
		t.Error(o)
	}
	// The cap is for the result: two values may trade places.
	if a := h.admin("PATCH", path, body(`,"set":{"x":"`+strings.Repeat("x", 800)+`","y":1}`)); a.status != 200 {
		t.Fatal(a.status)
	}
	if a := h.admin("PATCH", path, body(`,"set":{"y":"`+strings.Repeat("x", 800)+`","x":1}`)); a.status != 200 {
		t.Error(a.status)
	}
	if a := h.admin("PATCH", path, body("")); a.status != 200 {
		t.Error(a.status)
	}
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"no-token":     {path, `{"set":{"a":1}}`, 422, "token_required"},
		"null-token":   {path, `{"token":null}`, 422, "token_required"},
		"empty-token":  {path, `{"token":""}`, 422, "token_required"},
		"bad-token":    {path, `{"token":"lk_x"}`, 401, "invalid_session"},
		"other-token":  {path, `{"token":"` + other.token + `"}`, 404, "no_such_session"},
		"other-id":     {"/v1/sessions/" + other.id, body(""), 404, "no_such_session"},
		"no-id":        {"/v1/sessions/xyz", body(""), 404, "no_such_session"},
		"too-large":    {path, body(`,"set":{"z":"` + strings.Repeat("x", 1100) + `"}`), 422, "data_too_large"},
		"unknown":      {path, body(`,"data":{}`), 422, "invalid_request"},
		"duplicate":    {path, body(`,"set":{"a":1,"a":2}`), 400, "malformed"},
		"wrong-type":   {path, body(`,"set":[]`), 422, "invalid_request"},
		"query":        {path + "?x=1", body(""), 422, "invalid_request"},
		"broken-query": {path + "?%zz", body(""), 400, "malformed"},
	} {
		a := h.admin("PATCH", c.path, c.body)
		if a.status != c.status || a.code() != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, c.status, c.code)
		}
	}
	for rest, field := range map[string]string{
		`,"set":{"a":1},"delete":["a"]`: "delete", `,"set":{"":1}`: "set", `,"delete":["` + strings.Repeat("n", 200) + `"]`: "delete", `,"set":{"a":"\u001b"}`: "set",
		`,"set":{"a\u001b":1}`: "set", `,"delete":["\u001b"]`: "delete", `,"set":{"` + strings.Repeat("n", 129) + `":1}`: "set", `,"delete":[""]`: "delete",
	} {
		if a := h.admin("PATCH", path, body(rest)); a.status != 422 || a.code() != "invalid_request" || a.fields() != field {
			t.Errorf("%s: %d %s, want field %s", rest, a.status, a.body, field)
		}
	}
	if a := h.admin("DELETE", path, ""); a.status != 204 {
		t.Error(a.status)
	}
	h.problem(h.admin("PATCH", path, body("")), 401, "invalid_session")
}

// The answer holds what other requests saved, and needs no reading of the row
// beside the one that found it.
func TestPatchAnswersWhatIsStored(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", "")
	const writers = 20
	versions := make(chan string, writers)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			a := h.admin("PATCH", "/v1/sessions/"+i.id, fmt.Sprintf(`{"token":%q,"set":{"k%d":[%d]}}`, i.token, n, n))
			if a.status != 200 || !strings.Contains(string(a.body), fmt.Sprintf(`"k%d":[%d]`, n, n)) {
				t.Errorf("%d %s", a.status, a.body)
			}
			_, version, _ := strings.Cut(string(a.body), `"version":`)
			version, _, _ = strings.Cut(version, "}")
			versions <- fmt.Sprint(version, " ", strings.Count(string(a.body), `"k`))
		})
	}
	all.Wait()
	close(versions)
	seen := make(map[string]string)
	for v := range versions {
		version, keys, _ := strings.Cut(v, " ")
		if before, ok := seen[version]; ok && before != keys {
			t.Errorf("version %s is told with %s and with %s values", version, before, keys)
		}
		seen[version] = keys
	}
	o := h.object(h.lookup(i.token), 200)
	last := fmt.Sprint(o["session"].(map[string]any)["version"])
	if data := o["data"].(map[string]any); len(data) != writers || seen[last] != fmt.Sprint(writers) {
		t.Errorf("version %s has %d values, and was told with %s", last, len(data), seen[last])
	}
}

// What is wrong is said exactly.
func TestDetails(t *testing.T) {
	h := start(t, nil)
	for want, a := range map[string]answer{
		`"detail":"a JSON object is required"`:                                h.admin("POST", "/v1/sessions", " \n"),
		`"field":"subject","detail":"is not UTF-8"`:                           h.admin("GET", "/v1/sessions?subject=%ff", ""),
		`"field":"subject","detail":"control characters are not allowed"`:     h.admin("GET", "/v1/sessions?subject=%01", ""),
		`"field":"id","detail":"is not UTF-8"`:                                h.admin("GET", "/v1/sessions/%ff", ""),
		`"field":"all","detail":"is empty"`:                                   h.admin("DELETE", "/v1/sessions?all=", ""),
		`"field":"(name withheld)","detail":"there is no such parameter"`:     h.admin("GET", "/v1/sessions?lk_x=1", ""),
		`"field":"data","detail":"a data name is 1 to 128 bytes of text with`: h.admin("POST", "/v1/sessions", `{"subject":"a","data":{"":1}}`),
		`"field":"token","detail":"is not UTF-8"`:                             h.do(call{path: "/v1/introspect", body: "token=%ff", ctype: "application/x-www-form-urlencoded", bearer: adminKey}),
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("%d %s, want %s", a.status, a.body, want)
		}
	}
}

func TestGetAndRevokeOne(t *testing.T) {
	h := start(t, nil)
	i := h.issue("alice", "")
	for range 2 { // an ended row too
		if a := h.admin("DELETE", "/v1/sessions/"+i.id, ""); a.status != 204 || len(a.body) != 0 {
			t.Errorf("%d %s", a.status, a.body)
		}
		h.clock.Advance(time.Second)
	}
	s := h.object(h.admin("GET", "/v1/sessions/"+i.id, ""), 200)["session"].(map[string]any)
	checkSession(t, s)
	if s["state"] != "revoked" || s["revoked_at"] != "2026-01-01T12:00:00.000000Z" || s["revoked_reason"] != "revoked by admin" {
		t.Error(s)
	}
	for _, id := range []string{"019b7c00-0000-7000-8000-000000000000", "1b4e28ba-2fa1-41d2-883f-0016d3cca427", "xyz", strings.ToUpper(i.id), "a%2fb"} {
		h.problem(h.admin("GET", "/v1/sessions/"+id, ""), 404, "no_such_session")
		h.problem(h.admin("DELETE", "/v1/sessions/"+id, ""), 404, "no_such_session")
	}
	h.problem(h.admin("GET", "/v1/sessions/a%00b", ""), 422, "invalid_request")
	expired := h.issue("bob", `,"ttl_seconds":60`)
	h.clock.Advance(time.Minute)
	if s := h.object(h.admin("GET", "/v1/sessions/"+expired.id, ""), 200)["session"].(map[string]any); s["state"] != "expired" || s["revoked_at"] != nil {
		t.Error(s)
	}
}
