package latchkey_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

// withCache puts a cache that is followed up before the Manager of setup.
func withCache(t *testing.T) func(*latchkey.Config) {
	return func(c *latchkey.Config) {
		cache, err := nearcache.New(nearcache.Config{Store: c.Store, Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		cache.Start()
		t.Cleanup(cache.Stop)
		for deadline := time.Now().Add(10 * time.Second); cache.Stats().LeaseAge < 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no lease")
			}
		}
		c.Cache = cache
	}
}

func nested(levels int) json.RawMessage {
	return json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))
}

// What could be written and not read again would lock the visitor out of every
// later request, so nesting is bounded well below what the decoder takes.
func TestDeepDataIsRefused(t *testing.T) {
	for name, change := range map[string]func(*latchkey.Config){"stored": nil, "cached": withCache(t)} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, change)
			ctx := context.Background()
			token := issue(t, m, "ann")
			s := lookup(t, m, token)
			for _, levels := range []int{1001, 9999, 10000} {
				if err := s.SetJSON("draft", nested(levels)); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
					t.Errorf("%d levels: %v", levels, err)
				}
				in := latchkey.SignIn{Subject: "bob", Data: map[string]json.RawMessage{"draft": nested(levels)}}
				if _, err := m.Issue(ctx, in); latchkey.CodeOf(err) != latchkey.CodeInvalidRequest {
					t.Errorf("%d levels at sign-in: %v", levels, err)
				}
			}
			// Brackets in a text are no nesting, not even behind an escaped quote.
			text := json.RawMessage(`"\"` + strings.Repeat("[", 5000) + `"`)
			if err := s.SetJSON("text", text); err != nil {
				t.Error(err)
			}
			if err := s.SetJSON("draft", nested(1000)); err != nil {
				t.Error(err)
			}
			if err := s.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			for range 2 { // read, and by the cache where there is one
				again, err := m.Lookup(ctx, latchkey.Lookup{Token: token})
				if err != nil {
					t.Fatal("the session is lost:", err)
				}
				data, err := again.Data()
				if want := `{"draft":` + string(nested(1000)) + `,"text":` + string(text) + `}`; string(data) != want || err != nil {
					t.Errorf("%d bytes, %v; want %d", len(data), err, len(want))
				}
			}
		})
	}
}

// sealedSize is the length of a session's data as it is stored, less the nonce of
// 12 bytes and the tag of 16.
func sealedSize(t *testing.T, store *memory.Store, id latchkey.ID) int {
	t.Helper()
	rec, err := store.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return len(rec.Data) - 12 - 16
}

// The cap is on the JSON object as it is stored, to the byte.
func TestDataCapIsExact(t *testing.T) {
	const most = 64 << 10
	for name, letter := range map[string]string{"letters": "x", "html": "<"} {
		t.Run(name, func(t *testing.T) {
			m, store, _ := setup(t, nil)
			token := issue(t, m, "ann")
			s := lookup(t, m, token)
			fits := json.RawMessage(`"` + strings.Repeat(letter, most-len(`{"a":""}`)) + `"`)
			over := json.RawMessage(`"` + letter + string(fits[1:]))
			if err := s.SetJSON("a", over); latchkey.CodeOf(err) != latchkey.CodeDataTooLarge {
				t.Errorf("a byte over the cap: %v", err)
			}
			if err := s.SetJSON("a", fits); err != nil {
				t.Fatal("just the cap:", err)
			}
			if err := s.Commit(context.Background()); err != nil {
				t.Fatal(err)
			}
			if n := sealedSize(t, store, s.ID()); n != most {
				t.Errorf("%d bytes are stored, want %d", n, most)
			}
			again := lookup(t, m, token)
			if err := again.SetJSON("b", json.RawMessage("1")); latchkey.CodeOf(err) != latchkey.CodeDataTooLarge {
				t.Errorf("a second value at the cap: %v", err)
			}
			if err := again.SetJSON("a", fits); err != nil {
				t.Error("the same again:", err)
			}
		})
	}
}

// Space in a JSON text from outside neither counts nor is stored.
func TestDataIsStoredCompact(t *testing.T) {
	m, store, _ := setup(t, nil)
	s := lookup(t, m, issue(t, m, "ann"))
	if err := s.SetJSON("a", json.RawMessage("[1,"+strings.Repeat(" ", 64<<10)+"2]")); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := sealedSize(t, store, s.ID()); n != len(`{"a":[1,2]}`) {
		t.Errorf("%d bytes are stored", n)
	}
}

// More values than a session can be packed with are refused before there is one.
func TestTooManyValuesAreRefused(t *testing.T) {
	const most = 1<<16 - 1
	m, _, _ := setup(t, func(c *latchkey.Config) { c.MaxData = 1 << 20 })
	ctx := context.Background()
	data := make(map[string]json.RawMessage)
	for i := range most + 1 {
		data[fmt.Sprintf("%x", i)] = json.RawMessage("1")
	}
	if _, err := m.Issue(ctx, latchkey.SignIn{Subject: "ann", Data: data}); latchkey.CodeOf(err) != latchkey.CodeDataTooLarge {
		t.Errorf("%d values: %v", len(data), err)
	}
	if infos, _, err := m.List(ctx, latchkey.ListQuery{}); len(infos) != 0 || err != nil {
		t.Errorf("%d sessions were made, %v", len(infos), err)
	}
	delete(data, "0")
	issued, err := m.Issue(ctx, latchkey.SignIn{Subject: "ann", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	s := lookup(t, m, issued.Token)
	if n, err := latchkey.NewKey[int](fmt.Sprintf("%x", most)).Get(s); n != 1 || err != nil {
		t.Errorf("the last value is %d, %v", n, err)
	}
	if err := visits.Set(s, 1); latchkey.CodeOf(err) != latchkey.CodeDataTooLarge {
		t.Errorf("one more: %v", err)
	}
}

// Activity is noted often enough for the least idle limit that is allowed.
func TestShortIdleLimitInConstantUse(t *testing.T) {
	for _, idle := range []time.Duration{time.Second, 1500 * time.Millisecond, 2 * time.Second, 3 * time.Second} {
		t.Run(idle.String(), func(t *testing.T) {
			m, _, clock := setup(t, func(c *latchkey.Config) { c.Idle = idle })
			token := issue(t, m, "ann")
			for i := range 40 {
				clock.Advance(300 * time.Millisecond)
				if _, err := m.Lookup(context.Background(), latchkey.Lookup{Token: token}); err != nil {
					t.Fatalf("out after %v with a request every 300 ms: %v", time.Duration(i+1)*300*time.Millisecond, err)
				}
			}
			clock.Advance(idle)
			refused(t, m, token)
		})
	}
}
