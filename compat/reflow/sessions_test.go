package reflow

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func sessions(t testing.TB, change func(*SessionsConfig), codecs func(*Config)) (*Sessions, *clockAt) {
	t.Helper()
	c, clock := codec(t, codecs)
	config := SessionsConfig{Codec: c}
	if change != nil {
		change(&config)
	}
	s, err := NewSessions(config)
	if err != nil {
		t.Fatal(err)
	}
	return s, clock
}

// pair is the cookie pair of alice, made now.
func pair(t testing.TB, s *Sessions) (session, csrf string) {
	t.Helper()
	id := s.config.Codec.NewIdentity("alice", "basic", nil, nil)
	session, err := s.config.Codec.Encode(&id)
	if err != nil {
		t.Fatal(err)
	}
	return session, s.config.Codec.CSRF(session)
}

func request(method, target, session string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if session != "" {
		r.AddCookie(&http.Cookie{Name: DefaultCookieName, Value: session})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// Now is the clock as stores read it.
type storeClock struct{ *clockAt }

func (c storeClock) Now() latchkey.Moment {
	return latchkey.Moment{Wall: c.now.UnixNano(), Mono: c.now.UnixNano()}
}

// spender is a store in memory that remembers what was used.
func spender(t testing.TB, clock *clockAt) *storetest.Faulty {
	t.Helper()
	store, err := memory.New(memory.Config{Clock: storeClock{clock}})
	if err != nil {
		t.Fatal(err)
	}
	return storetest.NewFaulty(store)
}

func serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReissue(t *testing.T) {
	s, clock := sessions(t, nil, nil)
	session, _ := pair(t, s)
	began := clock.now
	for _, c := range []struct {
		name    string
		after   time.Duration
		handler http.HandlerFunc
		want    bool
	}{
		{"half", 4 * time.Hour, func(w http.ResponseWriter, _ *http.Request) {}, false},
		{"nothing-written", 4*time.Hour + 1000, func(w http.ResponseWriter, _ *http.Request) {}, true},
		{"written", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }, true},
		{"redirect", 5 * time.Hour, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) }, true},
		{"flushed", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, true},
		{"hint-first", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(404) }, false},
		{"not-found", 5 * time.Hour, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, false},
		{"failure", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, false},
		{"for-all", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "max-age=60, Public") }, false},
		{"for-proxies", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "s-maxage=60") }, false},
		{"for-one", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "private") }, true},
		{"signed-out", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { s.SignOut(w) }, false},
		{"late-sign-out", 5 * time.Hour, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(SentinelHeader, "1")
			io.WriteString(w, "x")
		}, false},
		{"expired", 8*time.Hour + time.Second, func(w http.ResponseWriter, r *http.Request) {
			if _, ok := FromContext(r.Context()); ok {
				t.Error("an identity past its end")
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock.now = began.Add(c.after)
			res := serve(s.Handler(c.handler), request("GET", "/", session))
			got := ""
			for _, cookie := range res.Cookies() {
				if cookie.Name == DefaultCookieName && cookie.Value != "" {
					got = cookie.Value
				}
			}
			if (got != "") != c.want {
				t.Fatal(res.Header)
			}
			if !c.want {
				return
			}
			id, err := s.config.Codec.Decode(got)
			if err != nil || id.Subject != "alice" || !id.SignedInAt.Equal(began.Truncate(time.Microsecond)) || len(res.Cookies()) != 2 || res.Header.Get(SentinelHeader) != "1" {
				t.Error(id, err, res.Header)
			}
		})
	}
}

// However often it is re-issued, an identity ends.
func TestMaxLifetime(t *testing.T) {
	s, clock := sessions(t, nil, func(c *Config) { c.MaxLifetime = 24 * time.Hour })
	began := clock.now
	session, _ := pair(t, s)
	hours := 0
	for h := s.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})); ; hours++ {
		clock.now = clock.now.Add(time.Hour)
		if _, err := s.config.Codec.Decode(session); err != nil {
			break
		}
		for _, cookie := range serve(h, request("GET", "/", session)).Cookies() {
			if cookie.Name == DefaultCookieName {
				session = cookie.Value
			}
		}
	}
	if hours != 23 {
		t.Errorf("it lasts %d hours", hours)
	}
	clock.now = began
	if _, err := New(Config{Secrets: []string{secret}, MaxLifetime: time.Hour}); err == nil || !strings.Contains(err.Error(), "MaxLifetime") {
		t.Error(err)
	}
	// The original ignores the member, and so does who does as it does.
	old, _ := codec(t, func(c *Config) { c.DangerouslyAsOriginal = true })
	id, ok := s.config.Codec.Renew(s.config.Codec.NewIdentity("a", "p", nil, nil))
	cookie, err := s.config.Codec.Encode(&id)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if got, err := old.Decode(cookie); err != nil || !got.SignedInAt.IsZero() {
		t.Error(got, err)
	}
	for _, text := range []string{"5", `"x"`, `null`, `"2026-01-02T03:04:05"`, `"2020-01-01T00:00:00Z"`} {
		bad := payload(t, `{"sub":"a","provider_id":"p","issued_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-02T11:04:05Z","signed_in_at":`+text+`}`)
		if _, err := s.config.Codec.Decode(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("signed_in_at %s: %v", text, err)
		}
		if _, err := old.Decode(bad); err != nil {
			t.Errorf("signed_in_at %s, there: %v", text, err)
		}
	}
}

func TestRevoked(t *testing.T) {
	var revoked bool
	var away error
	s, _ := sessions(t, func(c *SessionsConfig) {
		c.Revoked = func(_ context.Context, id Identity) (bool, error) { return revoked && id.Subject == "alice", away }
	}, nil)
	session, _ := pair(t, s)
	h := s.Handler(s.RequireIdentity(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	for _, c := range []struct {
		revoked bool
		away    error
		status  int
	}{{false, nil, 200}, {true, nil, 401}, {false, errors.New("away"), 503}, {true, errors.New("away"), 503}} {
		revoked, away = c.revoked, c.away
		if res := serve(h, request("GET", "/", session)); res.StatusCode != c.status || len(res.Cookies()) != 0 {
			t.Error(c, res.StatusCode, res.Header)
		}
	}
}

func TestRequireIdentity(t *testing.T) {
	s, _ := sessions(t, nil, nil)
	session, _ := pair(t, s)
	h := s.Handler(s.Me())
	res := serve(h, request("GET", "/me", session))
	if got := body(t, res); res.StatusCode != 200 || got != `{"sub":"alice","email":null,"name":null,"provider_id":"basic","expires_at":"2026-01-02T11:04:05.678901+00:00"}` {
		t.Error(res.StatusCode, got)
	}
	twice := request("GET", "/me", session)
	twice.AddCookie(&http.Cookie{Name: DefaultCookieName, Value: session})
	for name, r := range map[string]*http.Request{"none": request("GET", "/me", ""), "junk": request("GET", "/me", "x.y.z"), "long": request("GET", "/me", strings.Repeat("x", 10<<20)), "twice": twice} {
		res := serve(h, r)
		if got := body(t, res); res.StatusCode != 401 || got != `{"detail":"Authentication required"}` || res.Header.Get("WWW-Authenticate") != "Cookie" || len(res.Cookies()) != 0 {
			t.Error(name, res.StatusCode, got, res.Header)
		}
	}
}

func TestCheckOrigin(t *testing.T) {
	plain, _ := sessions(t, nil, nil)
	proxied, _ := sessions(t, func(c *SessionsConfig) { c.Origins = []string{"https://app.example.com", "http://localhost:8080"} }, nil)
	for _, c := range []struct {
		name    string
		s       *Sessions
		tls     bool
		headers []string
		want    error
	}{
		{"own", plain, false, []string{"Origin", "http://example.com"}, nil},
		{"own-tls", plain, true, []string{"Origin", "https://example.com"}, nil},
		{"case", plain, true, []string{"Origin", "https://Example.COM"}, nil},
		{"scheme", plain, true, []string{"Origin", "http://example.com"}, ErrCrossOrigin},
		{"port", plain, false, []string{"Origin", "http://example.com:81"}, ErrCrossOrigin},
		{"other", plain, false, []string{"Origin", "http://evil.com", "Sec-Fetch-Site", "same-origin"}, ErrCrossOrigin},
		{"null", plain, false, []string{"Origin", "null"}, ErrCrossOrigin},
		{"empty", plain, false, []string{"Origin", "", "Sec-Fetch-Site", "same-origin"}, ErrCrossOrigin},
		{"twice", plain, false, []string{"Origin", "http://example.com", "Origin", "http://example.com"}, ErrCrossOrigin},
		{"fetch", plain, false, []string{"Sec-Fetch-Site", "same-origin"}, nil},
		{"site", plain, false, []string{"Sec-Fetch-Site", "same-site"}, ErrUnmarkedRequest},
		{"user", plain, false, []string{"Sec-Fetch-Site", "none"}, ErrUnmarkedRequest},
		{"fetch-twice", plain, false, []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "same-origin"}, ErrUnmarkedRequest},
		{"nothing", plain, false, nil, ErrUnmarkedRequest},
		{"public", proxied, false, []string{"Origin", "https://app.example.com"}, nil},
		{"public-port", proxied, false, []string{"Origin", "http://localhost:8080"}, nil},
		{"behind", proxied, false, []string{"Origin", "http://example.com"}, ErrCrossOrigin},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request("POST", "/", "", c.headers...)
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			err := c.s.CheckOrigin(r)
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Error(err)
			}
		})
	}
	_, err := NewSessions(SessionsConfig{Origins: []string{"https://a.example/", "a.example", "ftp://a.example", "https://u@a.example"}})
	for _, want := range []string{"Codec", "Origins[0]", "Origins[1]", "Origins[2]", "Origins[3]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

func TestLogout(t *testing.T) {
	s, _ := sessions(t, nil, nil)
	session, csrf := pair(t, s)
	_, foreign := pair(t, func() *Sessions {
		other, _ := sessions(t, nil, func(c *Config) { c.Secrets = []string{strings.Repeat("y", 32)} })
		return other
	}())
	h := s.Handler(s.Logout())
	own := []string{"Origin", "http://example.com"}
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
		body   string
	}{
		{"good", request("POST", "/", session, append(own, CSRFHeader, csrf)...), 200, `{"logout_url":null}`},
		{"get", request("GET", "/", session, append(own, CSRFHeader, csrf)...), 405, `{"detail":"Method Not Allowed"}`},
		{"nobody", request("POST", "/", "", append(own, CSRFHeader, csrf)...), 401, `{"detail":"Authentication required"}`},
		{"elsewhere", request("POST", "/", session, "Origin", "http://evil.com", CSRFHeader, csrf), 403, `{"detail":"cross-origin request rejected"}`},
		{"unmarked", request("POST", "/", session, CSRFHeader, csrf), 403, `{"detail":"missing or non-same-origin request"}`},
		{"no-csrf", request("POST", "/", session, own...), 403, `{"detail":"csrf mismatch"}`},
		{"foreign-csrf", request("POST", "/", session, append(own, CSRFHeader, foreign)...), 403, `{"detail":"csrf mismatch"}`},
		{"csrf-twice", request("POST", "/", session, append(own, CSRFHeader, csrf, CSRFHeader, csrf)...), 403, `{"detail":"csrf mismatch"}`},
		{"csrf-upper", request("POST", "/", session, append(own, CSRFHeader, strings.ToUpper(csrf))...), 403, `{"detail":"csrf mismatch"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := serve(h, c.r)
			if got := body(t, res); res.StatusCode != c.status || got != c.body {
				t.Error(res.StatusCode, got)
			}
			if cleared := len(res.Cookies()) == 2 && res.Cookies()[0].MaxAge < 0; cleared != (c.status == 200) {
				t.Error(res.Header)
			}
		})
	}
}

func TestFinishTx(t *testing.T) {
	c, clock := codec(t, nil)
	tx, err := c.NewTx("idp", "/docs")
	if err != nil {
		t.Fatal(err)
	}
	cookie, _ := c.EncodeTx(&tx)
	other, _ := c.tx.Dumps([]any{1})
	partial, _ := c.tx.Dumps(pyjson.Object{{Name: "state", Value: tx.State}, {Name: "provider_id", Value: "idp"}})
	used := spender(t, clock)
	finish := func(cookie, provider, state string, used latchkey.Spender, want error) {
		t.Helper()
		got, err := c.FinishTx(t.Context(), cookie, provider, state, used)
		if want == nil && (err != nil || got != tx) || want != nil && (!errors.Is(err, want) || got != Tx{}) {
			t.Errorf("%+v %v, want %v", got, err, want)
		}
	}
	finish("", "idp", tx.State, used, ErrTxMissing)
	finish("x", "idp", tx.State, used, ErrTxInvalid)
	finish(other, "idp", tx.State, used, ErrTxMalformed)
	finish(partial, "idp", tx.State, used, ErrTxMalformed)
	finish(cookie, "other", tx.State, used, ErrTxProvider)
	finish(cookie, "idp", strings.Repeat("x", 43), used, ErrTxState)
	finish(cookie, "idp", "", used, ErrTxState)
	finish(cookie, "idp", tx.State, nil, ErrUnavailable)
	used.Fail(storetest.NotPersisted)
	finish(cookie, "idp", tx.State, used, ErrUnavailable)
	used.Fail(nil)
	finish(cookie, "idp", tx.State, used, nil)
	finish(cookie, "idp", tx.State, used, ErrTxUsed)
	clock.now = clock.now.Add(TxMaxAge)
	finish(cookie, "idp", tx.State, used, ErrTxUsed)
	clock.now = clock.now.Add(time.Second)
	finish(cookie, "idp", tx.State, used, ErrTxExpired)
	if w := httptest.NewRecorder(); true {
		WriteError(w, ErrTxExpired)
		if w.Code != 400 || w.Body.String() != `{"detail":"oauth tx expired"}` {
			t.Error(w.Code, w.Body)
		}
		w = httptest.NewRecorder()
		WriteError(w, errors.New("private"))
		if w.Code != 500 || strings.Contains(w.Body.String(), "private") {
			t.Error(w.Code, w.Body)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	long := strings.Repeat("k", 32)
	keys, err := ParseAPIKeys(" ops:"+long+"1 ,"+long+"2,, ci : "+long+"3", false)
	if err != nil {
		t.Fatal(err)
	}
	for key, label := range map[string]string{long + "1": "ops", long + "2": "key-ec1eed73", long + "3": "ci", long: "", "": "", "ops:" + long + "1": ""} {
		if got, ok := keys.Match(key); got != label || ok != (label != "") {
			t.Errorf("%s is %q", key, got)
		}
	}
	_, err = ParseAPIKeys("a:short-one,"+long+",:", false)
	if err == nil || !strings.Contains(err.Error(), "key 1") || !strings.Contains(err.Error(), "key 3") || strings.Contains(err.Error(), "short-one") {
		t.Error(err)
	}
	if keys, err := ParseAPIKeys("a:short-one", true); err != nil {
		t.Error(err)
	} else if label, ok := keys.Match("short-one"); !ok || label != "a" {
		t.Error(label)
	}
	s, _ := sessions(t, nil, nil)
	session, _ := pair(t, s)
	h := s.Handler(APIKeyAuth{Keys: keys}.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"page", request("GET", "/docs", ""), 200}, {"sign-in", request("GET", "/api/v1/auth/config", ""), 200}, {"identity", request("GET", "/api/v1/x", session), 200},
		{"key", request("GET", "/api/v1/x", "", DefaultAPIKeyHeader, long+"2"), 200}, {"nothing", request("GET", "/api/v1/x", ""), 401}, {"wrong", request("GET", "/api/v1/x", "", DefaultAPIKeyHeader, long), 401},
		{"junk-cookie", request("GET", "/api/v1/x", "junk"), 401}, {"twice", request("GET", "/api/v1/x", "", DefaultAPIKeyHeader, long+"2", DefaultAPIKeyHeader, long), 401},
		{"claims", request("GET", "/api/v1/x", "", "Sec-Fetch-Site", "same-origin"), 401}, {"dots", request("GET", "/api/v1/auth/../x", ""), 401}, {"slashes", request("GET", "//api//v1/x", ""), 401}, {"up", request("GET", "/x/../api/v1/x", ""), 401},
	} {
		if res := serve(h, c.r); res.StatusCode != c.status || (c.status == 401) != strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "ApiKey realm=") {
			t.Error(c.name, res.StatusCode, res.Header)
		}
	}
}
