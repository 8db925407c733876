package transaction_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/storetest"
	"github.com/latchkey-go/latchkey/transaction"
)

func TestConfig(t *testing.T) {
	_, err := transaction.New(transaction.Config{Lifetime: time.Second, MaxAttempts: 17, CookieName: "__Host-a b", Path: "x;y", AllowedHosts: []string{"ok.example", "https://Up.example/"}})
	var e *latchkey.Error
	if !errors.As(err, &e) || e.Code != latchkey.CodeInvalidRequest {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Field)
	}
	if got := fmt.Sprint(fields); got != "[Keys Spender Lifetime MaxAttempts AllowedHosts[1] CookieName CookieName Path]" {
		t.Error(got)
	}
	s := newSite(t, nil)
	for name, change := range map[string]func(*transaction.Config){
		"host-with-path":     func(c *transaction.Config) { c.CookieName, c.Path = "__host-x", "/x" },
		"host-insecure":      func(c *transaction.Config) { c.CookieName, c.DangerouslyInsecure = "__Host-x", true },
		"secure-insecure":    func(c *transaction.Config) { c.CookieName, c.DangerouslyInsecure = "__Secure-x", true },
		"long-name":          func(c *transaction.Config) { c.CookieName = strings.Repeat("a", 65) },
		"half-second":        func(c *transaction.Config) { c.Lifetime = 90*time.Second + time.Second/2 },
		"path-of-other-host": func(c *transaction.Config) { c.Path = "//x" },
	} {
		cfg := transaction.Config{Keys: s.keys, Spender: s.store}
		change(&cfg)
		if _, err := transaction.New(cfg); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParams(t *testing.T) {
	s := newSite(t, nil)
	many := make(map[string]string)
	for i := range 9 {
		many[fmt.Sprint(i)] = ""
	}
	for name, p := range map[string]transaction.Params{
		"no-provider":   {},
		"long-provider": {Provider: strings.Repeat("p", 256)},
		"many-pairs":    {Provider: "p", Extra: many},
		"empty-name":    {Provider: "p", Extra: map[string]string{"": "x"}},
		"long-name":     {Provider: "p", Extra: map[string]string{strings.Repeat("n", 65): ""}},
		"large-extra":   {Provider: "p", Extra: map[string]string{"n": strings.Repeat("v", 512)}},
	} {
		w := httptest.NewRecorder()
		if _, err := s.Begin(w, httptest.NewRequest("GET", "/", nil), p); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest || len(w.Header()) > 0 {
			t.Errorf("%s: %v, %v", name, err, w.Header())
		}
	}
	empty, err := transaction.New(transaction.Config{Keys: new(keyring.Ring), Spender: s.store})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if _, err := empty.Begin(w, httptest.NewRequest("GET", "/", nil), transaction.Params{Provider: "p"}); latchkey.CodeOf(err) != latchkey.CodeInternal || len(w.Header()) > 0 {
		t.Error("without a key:", err, w.Header())
	}
}

// TestSilence: neither a printed Transaction nor an error holds a secret.
func TestSilence(t *testing.T) {
	s, b := newSite(t, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme", Extra: map[string]string{"hint": "canary-extra"}})
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", mine)
		fmt.Fprintf(&out, verb+"\n", &mine)
		fmt.Fprintf(&out, verb+"\n", []any{mine, struct{ T transaction.Transaction }{mine}})
	}
	log.Info("x", "tx", mine, "keeper", s.Keeper)
	text, err := json.Marshal(mine)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	value := b.values[b.names[0]]
	b.set(b.names[0], value[:len(value)-4])
	_, err = s.finish(b, "acme", mine.State)
	for ; err != nil; err = errors.Unwrap(err) {
		fmt.Fprintf(&out, "%v %+v\n", err, err)
	}
	for _, canary := range []string{mine.State, mine.Nonce, mine.Verifier, "canary-extra", value} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s is printed in %s", canary, out.String())
		}
	}
	if !strings.Contains(out.String(), "acme") {
		t.Error("nothing is printed at all")
	}
}

// FuzzFinish: whatever a request carries, it is refused without a store trip and
// without a panic, and the answer's lines are well formed.
func FuzzFinish(f *testing.F) {
	s, b := newSite(f, nil), &browser{}
	mine := s.begin(b, transaction.Params{Provider: "acme", ReturnTo: "/a", Extra: map[string]string{"k": "v"}})
	good := b.names[0] + "=" + b.values[b.names[0]]
	f.Add(good, mine.State, "evil")
	f.Add(good[:len(good)-1], mine.State, "acme")
	f.Add(b.names[0]+"=", mine.State, "acme")
	f.Add("; ;=;"+good+";;"+good, mine.State, "acme")
	f.Add("__Host-signin-AAAAAAAAAAAA=AQEAAAAAAAAAAA", strings.Repeat("A", 43), "")
	s.store.Fail(func(storetest.Op) (bool, error) { return false, storetest.ErrLost })
	f.Fuzz(func(t *testing.T, cookies, state, provider string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{cookies}
		w := httptest.NewRecorder()
		_, err := s.Finish(t.Context(), w, r, provider, state)
		known := strings.Contains(cookies, good) && state == mine.State && provider == "acme"
		if err == nil || !known && latchkey.CodeOf(err) != latchkey.CodeDenied {
			t.Fatal(err)
		}
		if _, err := s.Begin(w, r, transaction.Params{Provider: "acme", ReturnTo: cookies}); err != nil {
			t.Fatal(err)
		}
		for _, line := range w.Header()["Set-Cookie"] {
			if c, err := http.ParseSetCookie(line); err != nil || !strings.HasPrefix(c.Name, "__Host-signin-") || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("%q: %v", line, err)
			}
		}
	})
}
