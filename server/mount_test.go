package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/page"
)

// pages are a router as the daemon makes it, and where it is mounted.
func pages() (list []server.Page) {
	mux := http.NewServeMux()
	for _, pattern := range []string{"GET /{$}", "GET /login", "POST /login", "GET /account", "POST /account/sessions/{id}/end", "POST /account/revoke-others", "GET /static/{file}", "GET /files/{rest...}", "/any"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Method, " ", r.URL.Path, " ", r.PathValue("id"))
		})
	}
	for _, path := range []string{"/{$}", "/login", "/account", "/account/", "/static/", "/files/{rest...}", "/any"} {
		list = append(list, server.Page{Path: path, Handler: mux})
	}
	return append(list, server.Page{Path: "/plain/", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
}

// A path or method that a page has not is answered as the API answers it.
func TestPagesAreNotFoundLikeRoutes(t *testing.T) {
	for _, prefix := range []string{"", "/auth", "/a/b"} {
		h := start(t, func(_ *latchkey.Config, s *server.Config) { s.Prefix, s.Pages = prefix, pages() })
		token := h.issue("alice", "").token
		for r, allow := range map[string]string{
			"PUT /login": "GET, HEAD, POST", "OPTIONS /login": "GET, HEAD, POST", "BREW /login": "GET, HEAD, POST", "DELETE /account": "GET, HEAD", "POST /": "GET, HEAD",
			"GET /account/revoke-others": "POST", "HEAD /account/revoke-others": "POST", "GET /account/sessions/x/end": "POST", "GET /account/nothing": "", "GET /account/": "",
			"POST /static/x": "GET, HEAD", "GET /static": "", "GET /static/": "", "GET /files": "", "GET /plain": "", "GET /account/sessions/x/end/": "", "POST /static": "",
		} {
			method, path, _ := strings.Cut(r, " ")
			for _, cookies := range [][]string{nil, {token}} { // what leads nowhere does so before anything else is judged
				a := h.do(call{method: method, path: prefix + path, cookies: cookies})
				if a.status != 404 || method != "HEAD" && a.code() != "not_found" || a.header.Get("Content-Type") != "application/problem+json" ||
					a.header.Get("Allow") != allow || a.header.Get("Location") != "" {
					t.Errorf("%s below %q: %d %s %v", r, prefix, a.status, a.body, a.header)
				}
			}
		}
		for r, want := range map[string]string{"GET /": "GET / ", "GET /login": "GET /login ", "POST /account/sessions/x/end": "POST /account/sessions/x/end x",
			"GET /files/a/b": "GET /files/a/b ", "GET /files/": "GET /files/ ", "BREW /any": "BREW /any ", "GET /plain/x/": ""} {
			method, path, _ := strings.Cut(r, " ")
			if a := h.do(call{method: method, path: prefix + path, header: sameOrigin}); a.status != 200 || string(a.body) != want {
				t.Errorf("%s below %q: %d %s", r, prefix, a.status, a.body)
			}
		}
		if prefix != "" {
			for _, path := range []string{prefix, "/%61" + prefix[2:] + "/login", "/", "/login", "/static", "/plain"} {
				h.problem(h.do(call{path: path}), 404, "not_found")
			}
		}
	}
}

// People see the pages' own not-found page, programs the problem.
func TestPagesOwnNotFound(t *testing.T) {
	site, err := page.New(page.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, func(_ *latchkey.Config, s *server.Config) { s.Pages, s.PageError = pages(), site.WriteError })
	for mode, want := range map[string]string{"navigate": "text/html; charset=utf-8", "cors": "application/problem+json"} {
		a := h.do(call{method: "PUT", path: "/login", header: map[string]string{"Sec-Fetch-Mode": mode}})
		if a.status != 404 || a.header.Get("Content-Type") != want || a.header.Get("Allow") != "GET, HEAD, POST" || !strings.Contains(string(a.body), "not_found") {
			t.Errorf("%s: %d %v %s", mode, a.status, a.header, a.body)
		}
	}
}

// A route has one name in the log and in the metrics: method and pattern.
func TestRoutesHaveOneName(t *testing.T) {
	for _, prefix := range []string{"", "/auth"} {
		h := start(t, func(_ *latchkey.Config, s *server.Config) { s.Prefix, s.Pages = prefix, pages() })
		i := h.issue("alice", "")
		before := len(h.logs.String())
		want := []string{"GET /v1/me", "GET /v1/me", "DELETE /v1/me/sessions/{id}", "POST " + prefix + "/logout", "GET " + prefix + "/login", "GET " + prefix + "/login",
			"POST " + prefix + "/account/sessions/{id}/end", "GET " + prefix + "/{$}", "other " + prefix + "/any", "GET " + prefix + "/plain/", "none", "none", "none", "none"}
		for _, c := range []call{{path: "/v1/me", bearer: i.token}, {method: "HEAD", path: "/v1/me", bearer: i.token}, {method: "DELETE", path: "/v1/me/sessions/x", bearer: i.token},
			{method: "POST", path: prefix + "/logout"}, {path: prefix + "/login"}, {method: "HEAD", path: prefix + "/login"}, {method: "POST", path: prefix + "/account/sessions/x/end"},
			{path: prefix + "/"}, {method: "BREW", path: prefix + "/any"}, {path: prefix + "/plain/x"}, {method: "PUT", path: "/v1/me"}, {method: "PUT", path: prefix + "/login"},
			{path: prefix + "/static"}, {path: "/canary-path"}} {
			h.do(c)
		}
		var got []string
		for line := range strings.Lines(h.logs.String()[before:]) {
			var entry struct{ Msg, Route string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Msg == "request" {
				got = append(got, entry.Route)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		text := string(h.do(call{path: "/metrics"}).body)
		for _, m := range regexp.MustCompile(`route="([^"]*)"`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^(none|([A-Z]+|other) /.*)$`).MatchString(m[1]) {
				t.Errorf("route %q", m[1])
			}
		}
		if !strings.Contains(text, `route="POST `+prefix+`/account/sessions/{id}/end"`) {
			t.Error("the page's route is not in the metrics")
		}
	}
}
