package transaction_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
	"github.com/latchkey-go/latchkey/transaction"
)

// site is a program with sign-ins.
type site struct {
	*transaction.Keeper
	t     testing.TB
	clock *latchkeytest.Clock
	keys  *keyring.Ring
	store *storetest.Faulty
}

// untimed is a Spender that tells nothing of its time, so that the site's clock counts.
type untimed struct{ latchkey.Spender }

// newSite makes a program over a store in memory; change may replace anything.
func newSite(t testing.TB, change func(*transaction.Config)) *site {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	inner, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Generate(clock.Time())
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, clock: clock, keys: keys, store: storetest.NewFaulty(inner)}
	cfg := transaction.Config{Keys: keys, Spender: untimed{s.store}, Clock: clock}
	if change != nil {
		change(&cfg)
	}
	if s.Keeper, err = transaction.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// browser holds cookies as browsers do, as far as this package needs it: by name, in
// the order in which they were made.
type browser struct {
	names  []string
	values map[string]string
}

func (b *browser) set(name, value string) {
	if b.values == nil {
		b.values = make(map[string]string)
	}
	if _, known := b.values[name]; !known {
		b.names = append(b.names, name)
	}
	b.values[name] = value
}

// take applies the Set-Cookie lines of an answer.
func (b *browser) take(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	for _, line := range w.Header()["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if c.MaxAge < 0 { // net/http's word for Max-Age=0
			b.names = slices.DeleteFunc(b.names, func(n string) bool { return n == c.Name })
			delete(b.values, c.Name)
			continue
		}
		b.set(c.Name, c.Value)
	}
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequest("GET", "https://app.example/callback", nil)
	var pairs []string
	for _, n := range b.names {
		pairs = append(pairs, n+"="+b.values[n])
	}
	if len(pairs) > 0 {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	return r
}

func (s *site) begin(b *browser, p transaction.Params) transaction.Transaction {
	s.t.Helper()
	w := httptest.NewRecorder()
	t, err := s.Begin(w, b.request(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		s.t.Error("an answer with a cookie may be cached")
	}
	b.take(s.t, w)
	return t
}

func (s *site) finish(b *browser, provider, state string) (transaction.Transaction, error) {
	s.t.Helper()
	w := httptest.NewRecorder()
	t, err := s.Finish(s.t.Context(), w, b.request(), provider, state)
	if latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable && len(w.Header()) > 0 {
		s.t.Errorf("the store is away, and the answer has %v", w.Header())
	}
	b.take(s.t, w)
	return t, err
}

// refused checks that a sign-in is refused, for the reason given, and that the client
// is told the same as of any other.
func refused(t testing.TB, what string, err error, want transaction.Reason) {
	t.Helper()
	if latchkey.CodeOf(err) != latchkey.CodeDenied || transaction.ReasonOf(err) != want {
		t.Errorf("%s: %v (%v), want %v", what, err, transaction.ReasonOf(err), want)
		return
	}
	if p := latchkey.ProblemOf(err); p.Status != 403 || p.Detail != "this sign-in cannot be finished; it took too long, was finished before or began elsewhere: start it again" {
		t.Errorf("%s: the client is told %+v", what, p)
	}
}
