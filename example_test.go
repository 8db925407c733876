package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

// program makes a Manager for the examples, over a store in memory and with a clock
// to turn by hand. A real program opens a keyring file and a durable store.
func program(change func(*latchkey.Config)) (*latchkey.Manager, *latchkeytest.Clock) {
	clock := latchkeytest.NewClock(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))
	store, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		panic(err)
	}
	keys, err := keyring.Generate(clock.Time())
	if err != nil {
		panic(err)
	}
	cfg := latchkey.Config{Store: store, Keys: keys, Clock: clock}
	if change != nil {
		change(&cfg)
	}
	m, err := latchkey.New(cfg)
	if err != nil {
		panic(err)
	}
	return m, clock
}

// browser is a client that keeps its session cookie.
type browser struct{ cookie string }

// get asks a handler for a path and returns the status and the body.
func (b *browser) get(h http.Handler, path string) string {
	r := httptest.NewRequest("GET", path, nil)
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if line := w.Header().Get("Set-Cookie"); line != "" {
		b.cookie, _, _ = strings.Cut(line, ";")
	}
	return strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body))
}

// session is the session of a request that passed through the middleware.
func session(r *http.Request) latchkey.Session {
	s, err := latchkey.FromContext(r.Context())
	if err != nil {
		panic(err)
	}
	return s
}

// The middleware finds the session; Require guards what needs somebody signed in.
func ExampleManager_Middleware() {
	m, _ := program(nil)
	defer m.Close(context.Background())

	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		// A real one is a POST, and checks a password or asks a provider first.
		if err := session(r).SignIn(r.Context(), latchkey.SignIn{Subject: "alice", Roles: []string{"editor"}}); err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		fmt.Fprint(w, "welcome")
	})
	mux.Handle("/articles", m.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session(r)
		fmt.Fprintf(w, "%s, editor: %v", s.Subject(), s.HasRole("editor"))
	})))
	site := m.Middleware(mux)

	var b browser
	fmt.Println(b.get(site, "/articles"))
	fmt.Println(b.get(site, "/login"))
	fmt.Println(b.get(site, "/articles"))
	// Output:
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"code":"invalid_session","detail":"no valid session"}
	// 200 welcome
	// 200 alice, editor: true
}

// A sign-in makes a new session with a new token. What the visitor held before is
// refused from then on, so that nobody can plant a token and wait (fixation).
func ExampleSession_SignIn() {
	m, _ := program(nil)
	defer m.Close(context.Background())
	site := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session(r)
		if r.URL.Path == "/login" {
			if err := s.SignIn(r.Context(), latchkey.SignIn{Subject: "alice", Methods: []string{"pwd"}}); err != nil {
				latchkey.WriteProblem(w, r, err)
				return
			}
		}
		fmt.Fprintf(w, "%q by %v", s.Subject(), s.Methods())
	}))

	var b browser
	fmt.Println(b.get(site, "/login"))
	before := b
	fmt.Println(b.get(site, "/login"))
	fmt.Println(before.get(site, "/"))
	fmt.Println(b.get(site, "/"))
	// Output:
	// 200 "alice" by [pwd]
	// 200 "alice" by [pwd]
	// 200 "" by []
	// 200 "alice" by [pwd]
}

// Session data is typed. Make keys once, as package variables.
func ExampleKey() {
	type Item struct {
		Name  string
		Count int
	}
	cart := latchkey.NewKey[[]Item]("cart")

	m, _ := program(nil)
	defer m.Close(context.Background())
	site := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session(r)
		items, err := cart.Get(s) // nil when there is none
		if err == nil && r.URL.Path == "/add" {
			items = append(items, Item{r.URL.Query().Get("name"), 1})
			err = cart.Set(s, items)
		}
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		fmt.Fprint(w, items) // the change is saved before this leaves
	}))

	// The visitor is not signed in: the first value makes an anonymous session.
	var b browser
	fmt.Println(b.get(site, "/"))
	fmt.Println(b.get(site, "/add?name=tea"))
	fmt.Println(b.get(site, "/add?name=cups"))
	fmt.Println(b.get(site, "/"))
	// Output:
	// 200 []
	// 200 [{tea 1}]
	// 200 [{tea 1} {cups 1}]
	// 200 [{tea 1} {cups 1}]
}

// Update is for read-modify-write: the function runs again on whatever is stored
// when the request commits, so that no concurrent request is undone.
func ExampleKey_Update() {
	visits := latchkey.NewKey[int]("visits")
	m, _ := program(nil)
	defer m.Close(context.Background())

	issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Two requests have read the session before either saves.
	one, _ := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token})
	two, _ := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token})
	for _, s := range []latchkey.Session{one, two} {
		err := visits.Update(s, func(n int) (int, error) { return n + 1, nil })
		if err == nil {
			err = s.Commit(context.Background())
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	s, _ := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token})
	fmt.Println(visits.Get(s))
	// Output: 2 <nil>
}

// Renew draws a new token when what the session may do changes.
func ExampleSession_Renew() {
	m, clock := program(nil)
	defer m.Close(context.Background())
	ctx := context.Background()

	issued, _ := m.Issue(ctx, latchkey.SignIn{Subject: "alice", Assurance: "aal1"})
	clock.Advance(30 * time.Minute)
	s, _ := m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	renewed, err := s.Renew(ctx, latchkey.Renewal{Assurance: "aal2", Methods: []string{"pwd", "otp"}, AuthTime: clock.Time()})
	fmt.Println(renewed.Record.Assurance, renewed.Record.ExpiresAt.Format(time.DateTime), err)

	_, err = m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	fmt.Println(err)
	// Output:
	// aal2 2026-01-03 12:30:00 <nil>
	// no valid session
}

// "Sign out everywhere else", for the account page.
func ExampleSession_RevokeOthers() {
	m, _ := program(nil)
	defer m.Close(context.Background())
	ctx := context.Background()

	var tokens []string
	for range 3 {
		issued, _ := m.Issue(ctx, latchkey.SignIn{Subject: "alice"})
		tokens = append(tokens, issued.Token)
	}
	here, _ := m.Lookup(ctx, latchkey.Lookup{Token: tokens[2]})
	n, err := here.RevokeOthers(ctx)
	fmt.Println(n, err)
	for _, token := range tokens {
		_, err := m.Lookup(ctx, latchkey.Lookup{Token: token})
		fmt.Println(err)
	}
	// Output:
	// 2 <nil>
	// no valid session
	// no valid session
	// <nil>
}

// Lookup is for programs that are not HTTP handlers.
func ExampleManager_Lookup() {
	m, clock := program(func(cfg *latchkey.Config) { cfg.Idle, cfg.Absolute = 30*time.Minute, 8*time.Hour })
	defer m.Close(context.Background())
	ctx := context.Background()

	issued, err := m.Issue(ctx, latchkey.SignIn{Provider: "corp", Subject: "alice"})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	fmt.Println(s.Identity(), err)

	clock.Advance(31 * time.Minute) // unseen for longer than the idle limit
	_, err = m.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
	fmt.Println(latchkey.CodeOf(err), errors.Is(err, latchkey.ErrInvalidSession))
	// Output:
	// {corp alice} <nil>
	// invalid_session true
}

// An administrator ends all sessions of a person, under every provider.
func ExampleManager_Revoke() {
	m, _ := program(nil)
	defer m.Close(context.Background())
	ctx := context.Background()

	for _, provider := range []string{"corp", "google", "corp"} {
		if _, err := m.Issue(ctx, latchkey.SignIn{Provider: provider, Subject: "alice"}); err != nil {
			fmt.Println(err)
		}
	}
	n, err := m.Revoke(ctx, latchkey.Revocation{Subject: "alice", AnyProvider: true, By: "admin:ops", Reason: "laptop stolen"})
	fmt.Println(n, err)
	// Output: 3 <nil>
}

// The filter can refuse a session that is otherwise good, for one request.
func ExampleConfig_filter() {
	maintenance := false
	m, _ := program(func(cfg *latchkey.Config) {
		cfg.Filter = func(s latchkey.Session) bool { return !maintenance || s.HasRole("operator") }
	})
	defer m.Close(context.Background())
	ctx := context.Background()

	alice, _ := m.Issue(ctx, latchkey.SignIn{Subject: "alice"})
	olga, _ := m.Issue(ctx, latchkey.SignIn{Subject: "olga", Roles: []string{"operator"}})
	for _, maintenance = range []bool{false, true} {
		_, errAlice := m.Lookup(ctx, latchkey.Lookup{Token: alice.Token})
		_, errOlga := m.Lookup(ctx, latchkey.Lookup{Token: olga.Token})
		fmt.Println(errAlice, errOlga)
	}
	// Output:
	// <nil> <nil>
	// no valid session <nil>
}

// With RotateEvery the token is replaced in mid-session. The old one stands for a
// short grace, because requests are on their way with it; after that it is refused.
func ExampleConfig_rotation() {
	m, clock := program(func(cfg *latchkey.Config) { cfg.RotateEvery, cfg.RotateGrace = 15*time.Minute, 10*time.Second })
	defer m.Close(context.Background())
	site := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q", session(r).Subject())
	}))
	issued, _ := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice"})
	b := browser{"__Host-session=" + issued.Token}

	clock.Advance(15 * time.Minute)
	old := b
	fmt.Println(b.get(site, "/"), b != old) // due: a new cookie
	fmt.Println(b.get(site, "/"))           // the successor comes; the grace begins
	fmt.Println((&browser{old.cookie}).get(site, "/"))
	clock.Advance(10 * time.Second)
	fmt.Println((&browser{old.cookie}).get(site, "/"))
	fmt.Println(b.get(site, "/"))
	// Output:
	// 200 "alice" true
	// 200 "alice"
	// 200 "alice"
	// 200 ""
	// 200 "alice"
}

// At most two sessions each; the oldest makes room.
func ExampleConfig_limit() {
	m, clock := program(func(cfg *latchkey.Config) { cfg.Limit = 2 })
	defer m.Close(context.Background())
	ctx := context.Background()

	var tokens []string
	for range 3 {
		issued, err := m.Issue(ctx, latchkey.SignIn{Subject: "alice"})
		if err != nil {
			fmt.Println(err)
			return
		}
		tokens = append(tokens, issued.Token)
		clock.Advance(time.Second)
	}
	for _, token := range tokens {
		_, err := m.Lookup(ctx, latchkey.Lookup{Token: token})
		fmt.Println(err)
	}
	// Output:
	// no valid session
	// <nil>
	// <nil>
}

// Incorrect use: once the response has begun the cookie and the data of the session
// cannot change any more, and an attempt is an error instead of a silent loss.
func ExampleSession_incorrectUse() {
	visits := latchkey.NewKey[int]("visits")
	m, _ := program(nil)
	defer m.Close(context.Background())
	site := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "too early") // the first byte: what was changed before is saved now
		err := visits.Set(session(r), 1)
		fmt.Println(errors.Is(err, latchkey.ErrCommitted), err)
	}))
	var b browser
	fmt.Println(b.get(site, "/"))
	// Output:
	// true latchkey: session changed after the response had begun; change it before the first write
	// 200 too early
}

// Read is for handlers that only look: it copies no context and wraps no writer.
func ExampleManager_Read() {
	m, _ := program(nil)
	defer m.Close(context.Background())
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := m.Read(w, r)
		if err != nil { // the store gave no answer
			latchkey.WriteProblem(w, r, err)
			return
		}
		fmt.Fprintf(w, "signed in: %v", s.SignedIn())
	})
	issued, _ := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice"})
	fmt.Println((&browser{"__Host-session=" + issued.Token}).get(page, "/"))
	fmt.Println(new(browser).get(page, "/"))
	// Output:
	// 200 signed in: true
	// 200 signed in: false
}

// A wrong configuration is told in one message, every problem of it.
func ExampleNew() {
	_, err := latchkey.New(latchkey.Config{Absolute: 500 * 24 * time.Hour, RotateEvery: time.Second})
	var e *latchkey.Error
	if errors.As(err, &e) {
		for _, f := range e.Fields {
			fmt.Printf("%s: %s\n", f.Field, f.Detail)
		}
	}
	// Output:
	// Store: required: memory.New or sqlite.Open makes one
	// Keys: required: keyring.Open makes one
	// Absolute: 12000h0m0s is not between 1s and 400 days
	// RotateEvery: 1s is below the least of a minute
}
