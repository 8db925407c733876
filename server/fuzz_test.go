package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// serve passes a request to the handler directly and fails on whatever no client
// may cause: a panic, and a 5xx other than 503.
func (h *harness) serve(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.srv.Handler().ServeHTTP(w, r)
	if w.Code >= 500 && w.Code != 503 {
		t.Errorf("%s %s: %d %s", r.Method, r.URL, w.Code, w.Body)
	}
	return w
}

func request(method, path, body string) *http.Request {
	return httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
}

func FuzzJSONBodies(f *testing.F) {
	h := start(f, nil)
	i := h.issue("alice", "")
	for n, seed := range []string{`{"subject":"a","roles":["x"],"data":{"a":1},"ttl_seconds":60,"auth_time":"2026-01-01T00:00:00Z"}`, `{"token":"` + i.token + `","passive":true}`,
		`{"token":"` + i.token + `","roles":[]}`, `{"token":"` + i.token + `","set":{"a":{"b":[1,2,{}]}},"delete":["c"]}`, `{"a":"\ud800"}`, `[[[[`, `{"a":1,"a":2}`, ``} {
		f.Add(uint8(n), seed)
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		path, method := []string{"/v1/sessions", "/v1/sessions/lookup", "/v1/sessions/renew", "/v1/sessions/" + i.id}[which%4], "POST"
		if which%4 == 3 {
			method = "PATCH"
		}
		r := request(method, path, body)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+adminKey)
		w := h.serve(t, r)
		if w.Code < 300 && strings.Contains(body, `\u0000`) && !strings.Contains(body, `\\u0000`) {
			t.Errorf("a control character was taken: %s", body)
		}
	})
}

func FuzzQueries(f *testing.F) {
	h := start(f, nil)
	h.issue("a", "")
	h.issue("a", "")
	next := h.object(h.admin("GET", "/v1/sessions?limit=1", ""), 200)["next_cursor"].(string)
	for n, seed := range []string{"subject=a&limit=1&state=all", "cursor=" + next, "subject=b&session=x", "provider=p&sid=x", "a=%zz", "passive=1"} {
		f.Add(uint8(n), seed)
	}
	f.Fuzz(func(t *testing.T, which uint8, query string) {
		r := request([]string{"GET", "GET", "DELETE", "GET"}[which%4], []string{"/v1/sessions", "/v1/audit", "/v1/sessions", "/v1/me"}[which%4], "")
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer "+adminKey)
		h.serve(t, r)
	})
}

func FuzzForms(f *testing.F) {
	h := start(f, nil)
	i := h.issue("alice", "")
	for _, seed := range []string{"token=" + i.token, "token=", "token=a&token=b", "%zz", "token=%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := request("POST", "/v1/introspect", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+adminKey)
		w := h.serve(t, r)
		form, err := url.ParseQuery(body)
		if active := strings.Contains(w.Body.String(), `"active":true`); active && (err != nil || form.Get("token") != i.token) {
			t.Errorf("%q is active", body)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	h := start(f, nil)
	i, other := h.issue("alice", ""), h.issue("bob", "")
	f.Add(cookieName+"="+i.token, "Bearer "+i.token, "/v1/me", "same-origin")
	f.Add(cookieName+"="+i.token+"; "+cookieName+"="+other.token, "", "/v1/me/sessions", "")
	f.Add("", "bearer "+i.token, "/v1/me/revoke-others", "")
	f.Add("a=b; "+cookieName+"=\"x\"", "Basic eDp5", "/logout", "cross-site")
	f.Add("", "Bearer "+adminKey, "/v1/sessions/"+i.id, "")
	f.Fuzz(func(t *testing.T, cookies, auth, path, site string) {
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		for _, method := range []string{"GET", "POST"} {
			r := request(method, "/", "")
			r.URL.Path = path
			r.Header["Cookie"] = []string{cookies}
			if auth != "" {
				r.Header["Authorization"] = []string{auth}
			}
			if site != "" {
				r.Header["Sec-Fetch-Site"] = []string{site}
			}
			w := h.serve(t, r)
			if w.Code == 401 || w.Code == 403 || w.Code == 503 {
				if w.Header().Get("Set-Cookie") != "" {
					t.Errorf("%d touches the cookie", w.Code)
				}
			}
			// Nobody gets in without a token, nor by two of them.
			if w.Code == 200 && strings.HasPrefix(path, "/v1/") && (strings.Count(cookies, cookieName+"=lk_") > 1 || !strings.Contains(cookies+auth, "lk_") && !strings.Contains(auth, "canary")) {
				t.Errorf("%s with %q and %q: %s", path, cookies, auth, w.Body)
			}
		}
	})
}
