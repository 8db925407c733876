package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/store/memory"
)

const (
	adminKey   = "canary-admin-key-0123456789abcdefghij"
	opsKey     = "canary-ops-key-0123456789abcdefghijkl"
	cookieName = "__Host-session"
)

// faulty is a real store that can be cut off: its calls then fail as a lost
// connection does, before they reach it.
type faulty struct {
	*memory.Store
	down       atomic.Bool
	revokeDown atomic.Bool // of Revoke alone
}

var errDown = errors.New("connection refused")

func (f *faulty) Create(ctx context.Context, c latchkey.Create) (latchkey.Created, error) {
	if f.down.Load() {
		return latchkey.Created{}, errDown
	}
	return f.Store.Create(ctx, c)
}

func (f *faulty) Get(ctx context.Context, id latchkey.ID) (*latchkey.Record, error) {
	if f.down.Load() {
		return nil, errDown
	}
	return f.Store.Get(ctx, id)
}

func (f *faulty) Patch(ctx context.Context, p latchkey.Patch) error {
	if f.down.Load() {
		return errDown
	}
	return f.Store.Patch(ctx, p)
}

func (f *faulty) Touch(ctx context.Context, t []latchkey.Touch) error {
	if f.down.Load() {
		return errDown
	}
	return f.Store.Touch(ctx, t)
}

func (f *faulty) Revoke(ctx context.Context, r latchkey.Revocation) (latchkey.RevokeResult, error) {
	if f.down.Load() || f.revokeDown.Load() {
		return latchkey.RevokeResult{}, errDown
	}
	return f.Store.Revoke(ctx, r)
}

func (f *faulty) List(ctx context.Context, q latchkey.ListQuery) (latchkey.ListPage, error) {
	if f.down.Load() {
		return latchkey.ListPage{}, errDown
	}
	return f.Store.List(ctx, q)
}

func (f *faulty) Audit(ctx context.Context, q audit.Query) (audit.Page, error) {
	if f.down.Load() {
		return audit.Page{}, errDown
	}
	return f.Store.Audit(ctx, q)
}

// output gathers what the server logs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// harness is a server over real HTTP, with a store in memory and a clock to turn.
type harness struct {
	tb    testing.TB
	m     *latchkey.Manager
	store *faulty
	clock *latchkeytest.Clock
	ring  *keyring.Ring
	key   keyring.Key
	srv   *server.Server
	web   *httptest.Server
	logs  *output
	doc   map[string]map[string]operation // by path and method
}

type operation struct {
	Responses map[string]struct {
		Description string                     `json:"description"`
		Content     map[string]json.RawMessage `json:"content"`
	} `json:"responses"`
}

// start runs a server. adjust, when set, changes the configurations first.
func start(tb testing.TB, adjust func(*latchkey.Config, *server.Config)) *harness {
	tb.Helper()
	h := &harness{tb: tb, clock: latchkeytest.NewClock(time.Time{}), logs: &output{}}
	mem, err := memory.New(memory.Config{Clock: h.clock})
	if err != nil {
		tb.Fatal(err)
	}
	h.store = &faulty{Store: mem}
	if h.key, err = keyring.GenerateKey(1, h.clock.Time(), nil); err != nil {
		tb.Fatal(err)
	}
	if h.ring, err = keyring.New(h.key); err != nil {
		tb.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mcfg := latchkey.Config{Store: h.store, Keys: h.ring, Clock: h.clock, Privacy: latchkey.PrivacyFull, Logger: logger}
	scfg := server.Config{AdminKeys: []server.AdminKey{{Name: "root", Key: adminKey}, {Name: "ops", Key: opsKey}}, Logger: logger, Version: "test"}
	if adjust != nil {
		adjust(&mcfg, &scfg)
	}
	if h.m, err = latchkey.New(mcfg); err != nil {
		tb.Fatal(err)
	}
	scfg.Manager, scfg.Store, scfg.Keys = h.m, mcfg.Store, mcfg.Keys
	if h.srv, err = server.New(scfg); err != nil {
		tb.Fatal(err)
	}
	h.web = httptest.NewServer(h.srv.Handler())
	h.web.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	tb.Cleanup(func() {
		h.web.Close()
		h.store.down.Store(false)
		if err := h.m.Close(context.Background()); err != nil {
			tb.Error(err)
		}
		if err := mem.Close(); err != nil {
			tb.Error(err)
		}
	})
	if !scfg.Demo {
		a := h.do(call{path: "/openapi.json"})
		var doc struct {
			Paths map[string]map[string]operation `json:"paths"`
		}
		if err := json.Unmarshal(a.body, &doc); err != nil {
			tb.Fatal(err)
		}
		h.doc = doc.Paths
	}
	return h
}

// call is one request. Without a method it is a GET, with a body a POST.
type call struct {
	method, path string
	body, ctype  string
	bearer       string
	cookies      []string
	header       map[string]string
	host         string
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (h *harness) do(c call) answer {
	h.tb.Helper()
	if c.method == "" {
		c.method = "GET"
		if c.body != "" {
			c.method = "POST"
		}
	}
	req, err := http.NewRequest(c.method, h.web.URL+c.path, strings.NewReader(c.body))
	if err != nil {
		h.tb.Fatal(err)
	}
	if c.host != "" {
		req.Host = c.host
	}
	if c.body != "" && c.ctype == "" {
		c.ctype = "application/json"
	}
	if c.ctype != "" {
		req.Header.Set("Content-Type", c.ctype)
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	for _, v := range c.cookies {
		req.Header.Add("Cookie", cookieName+"="+v)
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.tb.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, body}
	h.declared(c, a)
	return a
}

// declared fails the test when a documented route gives an answer that its
// document does not have: neither may drift from the other.
func (h *harness) declared(c call, a answer) {
	h.tb.Helper()
	path, _, _ := strings.Cut(c.path, "?")
	for _, base := range []string{"/v1/sessions/", "/v1/me/sessions/"} {
		if rest, ok := strings.CutPrefix(path, base); ok && rest != "lookup" && rest != "renew" {
			path = base + "{id}"
		}
	}
	op, ok := h.doc[path][strings.ToLower(c.method)]
	if !ok {
		return
	}
	r, ok := op.Responses[fmt.Sprint(a.status)]
	if !ok {
		h.tb.Errorf("%s %s answered %d, which the document does not have", c.method, path, a.status)
		return
	}
	if code := a.code(); code != "" && !strings.Contains(r.Description, code) {
		h.tb.Errorf("%s %s answered %d %s; the document says %s", c.method, path, a.status, code, r.Description)
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	if len(a.body) > 0 && r.Content[media] == nil {
		h.tb.Errorf("%s %s answered %d with %q, which the document does not have", c.method, path, a.status, media)
	}
}

// code is the problem's code, "" when the answer is no problem.
func (a answer) code() string {
	if a.header.Get("Content-Type") != "application/problem+json" {
		return ""
	}
	var p latchkey.Problem
	if json.Unmarshal(a.body, &p) != nil || p.Status != a.status || p.Type != "about:blank" || p.Title == "" {
		return "not-a-problem"
	}
	return string(p.Code)
}

// fields lists the wrong fields of a problem.
func (a answer) fields() string {
	var p latchkey.Problem
	_ = json.Unmarshal(a.body, &p)
	var names []string
	for _, f := range p.Errors {
		names = append(names, f.Field)
	}
	return strings.Join(names, ",")
}

// object decodes the answer, which must have the status.
func (h *harness) object(a answer, status int) map[string]any {
	h.tb.Helper()
	if a.status != status {
		h.tb.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		h.tb.Fatalf("%v: %s", err, a.body)
	}
	return out
}

// problem fails unless the answer is that problem, and touches no cookie where none may be.
func (h *harness) problem(a answer, status int, code string) {
	h.tb.Helper()
	if a.status != status || a.code() != code {
		h.tb.Errorf("got %d %s (%s), want %d %s", a.status, a.code(), a.body, status, code)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		h.tb.Errorf("Cache-Control %q", a.header.Get("Cache-Control"))
	}
	if (status == 401 || status == 403 || status == 503) && a.header.Get("Set-Cookie") != "" {
		h.tb.Errorf("%d touches the cookie: %s", status, a.header.Get("Set-Cookie"))
	}
	if (status == 503) != (a.header.Get("Retry-After") != "") {
		h.tb.Errorf("%d with Retry-After %q", status, a.header.Get("Retry-After"))
	}
}

// admin makes a request with an admin key.
func (h *harness) admin(method, path, body string) answer {
	h.tb.Helper()
	return h.do(call{method: method, path: path, body: body, bearer: adminKey})
}

type issued struct{ id, token, cookie string }

// issue makes a session by the API. members go behind the subject.
func (h *harness) issue(subject string, members string) issued {
	h.tb.Helper()
	o := h.object(h.admin("POST", "/v1/sessions", `{"subject":`+quote(subject)+members+`}`), 201)
	return issued{o["session"].(map[string]any)["id"].(string), o["token"].(string), o["set_cookie"].(string)}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func (h *harness) lookup(token string) answer {
	h.tb.Helper()
	return h.admin("POST", "/v1/sessions/lookup", `{"token":`+quote(token)+`}`)
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
