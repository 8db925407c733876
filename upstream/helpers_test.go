package upstream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/upstream"
)

// canary is part of every token of these tests, and must turn up nowhere else.
const canary = "CANARY-9f8e7d6c"

func token(n int) string { return fmt.Sprintf("%s-session-%d", canary, n) }

// accounts is an account service: it knows sessions and answers in three dialects.
type accounts struct {
	*httptest.Server
	calls atomic.Int64 // requests that came in

	mu       sync.Mutex
	sessions map[string]map[string]any
	answer   http.HandlerFunc // instead of the sessions, when set
	entered  chan struct{}    // told of each request, when set
	gate     chan struct{}    // requests read the sessions, then wait for this, when set
	inside   int              // requests under way
	most     int              // and the most there were
}

func newAccounts(t testing.TB) *accounts {
	a := &accounts{sessions: make(map[string]map[string]any)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/account", func(w http.ResponseWriter, r *http.Request) {
		a.tell(w, r.Header.Get("X-Appwrite-Session"), false)
	})
	mux.HandleFunc("GET /cookie", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("a_session_game")
		if err != nil {
			http.Error(w, "no cookie", http.StatusTeapot)
			return
		}
		a.tell(w, c.Value, false)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		a.tell(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), false)
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id == "" {
			id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
		}
		if r.Header.Get("Authorization") != "Bearer client%secret" && (id != "cl%3Aient" && id != "cl:ient" || secret != "client%25secret" && secret != "client%secret") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		a.tell(w, r.PostFormValue("token"), true)
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		a.release()
		a.Close()
	})
	return a
}

func (a *accounts) tell(w http.ResponseWriter, token string, introspected bool) {
	a.calls.Add(1)
	a.mu.Lock()
	user, entered, gate, answer := a.sessions[token], a.entered, a.gate, a.answer
	a.inside++
	a.most = max(a.most, a.inside)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.inside--
		a.mu.Unlock()
	}()
	if entered != nil {
		entered <- struct{}{}
	}
	if gate != nil {
		<-gate
	}
	if answer != nil {
		answer(w, nil)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if user == nil && introspected {
		_, _ = w.Write([]byte(`{"active":false}`))
		return
	}
	if user == nil {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"message":"User (role: guests) missing scope (account)","code":401}`))
		return
	}
	_ = json.NewEncoder(w).Encode(user)
}

func (a *accounts) set(token string, user map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if user == nil {
		delete(a.sessions, token)
	} else {
		a.sessions[token] = user
	}
}

func (a *accounts) behave(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// hold makes requests wait for release, once they have read the session; each is reported.
func (a *accounts) hold() (entered chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entered, a.gate = make(chan struct{}, 4096), make(chan struct{})
	return a.entered
}

// release lets the waiting requests go on, and later ones not wait.
func (a *accounts) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gate != nil {
		close(a.gate)
	}
	a.entered, a.gate = nil, nil
}

func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }

// player is an account as Appwrite has it.
func player(id, name string) map[string]any {
	return map[string]any{"$id": id, "email": id + "@example.com", "name": name, "emailVerification": true,
		"prefs": map[string]any{"tier": "premium"}, "labels": []string{"admin"},
		"$createdAt": "2025-11-14T12:00:00.000+00:00", "$updatedAt": "2025-11-15T12:00:00.123+00:00"}
}

// check is an Upstream that asks a like Appwrite.
func (a *accounts) check(t testing.TB) upstream.Upstream {
	t.Helper()
	fields := upstream.AppwriteFields()
	fields.ExpiresAt = "expire"
	fields.Claims = map[string]string{"labels": "labels"}
	u, err := upstream.NewCheck(upstream.CheckConfig{URL: a.URL + "/v1/account", Header: "X-Appwrite-Session", Fields: fields,
		Extra: http.Header{"X-Appwrite-Project": {"game"}}})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var start = time.Now().UTC().Truncate(time.Second)

// newCache makes a cache over a, with a clock to turn.
func newCache(t testing.TB, a *accounts, edit func(*upstream.Config)) (*upstream.Cache, *latchkeytest.Clock) {
	t.Helper()
	clock := latchkeytest.NewClock(start)
	cfg := upstream.Config{Upstream: a.check(t), Clock: clock}
	if edit != nil {
		edit(&cfg)
	}
	c, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, clock
}

func lookup(t testing.TB, c *upstream.Cache, token string) upstream.User {
	t.Helper()
	u, err := c.Lookup(context.Background(), token)
	if err != nil {
		t.Fatalf("lookup: %v, %v", err, errors.Unwrap(err))
	}
	return u
}

func wantCode(t testing.TB, err error, code latchkey.Code) {
	t.Helper()
	if latchkey.CodeOf(err) != code {
		t.Fatalf("%v (%v), want %s", err, errors.Unwrap(err), code)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.Contains(err.Error(), canary) {
			t.Fatal("the error holds the token:", err)
		}
	}
}

func refusedLookup(t testing.TB, c *upstream.Cache, token string) {
	t.Helper()
	_, err := c.Lookup(context.Background(), token)
	wantCode(t, err, latchkey.CodeInvalidSession)
}

func wantCalls(t testing.TB, a *accounts, want int64) {
	t.Helper()
	if got := a.calls.Load(); got != want {
		t.Fatalf("%d calls of the upstream, want %d", got, want)
	}
}

// eventually waits for another goroutine's doing, not for a clock.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatal("never came: ", what)
		}
		time.Sleep(time.Millisecond)
	}
}
