package nearcache_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

var motto = latchkey.NewKey[string]("motto")

// silent cuts the feed, so that the cache is vouched for up to now.
func (f *fixture) silent() {
	f.set(func(g *gated) { close(g.cut) })
	for f.cache.Stats().FeedBreaks == 0 {
		time.Sleep(time.Millisecond)
	}
}

// An old answer is for callers who asked for no newer one.
func TestAskStoreIsNeverServedStale(t *testing.T) {
	f := setup(t, func(cfg *latchkey.Config) { cfg.ServeStale = time.Minute })
	token, _ := f.signIn(t)
	f.grants(t, token, 1)
	f.silent()
	f.set(func(g *gated) { g.fail = latchkey.ErrUnavailable })
	f.clock.Advance(100 * time.Millisecond)
	for name, l := range map[string]latchkey.Lookup{
		"ask-store": {AskStore: true},
		"tighter":   {Within: time.Millisecond},
	} {
		l.Token = token
		if _, err := f.m.Lookup(t.Context(), l); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.clock.Advance(10 * time.Second)
	if err := f.lookup(token); err != nil {
		t.Errorf("not served stale: %v", err)
	}
	if n := f.m.Stats().ServedStale; n != 1 {
		t.Errorf("%d served stale", n)
	}
}

// A caller can ask for a newer answer than the configured staleness, not for an older one.
func TestWithinIsAtMostTheStaleness(t *testing.T) {
	f := setup(t, nil)
	token, id := f.signIn(t)
	f.grants(t, token, 1)
	f.silent()
	if _, err := f.store.Revoke(t.Context(), latchkey.Revocation{ID: id, By: "admin:x"}); err != nil {
		t.Fatal(err)
	}
	look := func() error {
		_, err := f.m.Lookup(t.Context(), latchkey.Lookup{Token: token, Within: time.Hour})
		return err
	}
	if err := look(); err != nil { // the feed was cut: nothing is known of it within the staleness
		t.Fatal(err)
	}
	f.clock.Advance(f.cache.Staleness() + time.Millisecond)
	if err := look(); latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
		t.Errorf("granted beyond the staleness: %v", err)
	}
}

// Sealed data that another request's renewal has put out of reach is no damage:
// that session of the old token has ended.
func TestSealedDataAfterChangeElsewhere(t *testing.T) {
	for name, change := range map[string]func(f *fixture, other latchkey.Session) error{
		"renew": func(_ *fixture, other latchkey.Session) error {
			_, err := other.Renew(t.Context(), latchkey.Renewal{})
			return err
		},
		"revoke": func(f *fixture, other latchkey.Session) error {
			_, err := f.m.Revoke(t.Context(), latchkey.Revocation{ID: other.ID(), By: "admin:x"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, func(cfg *latchkey.Config) { cfg.SealedCache = true })
			in := latchkey.SignIn{Subject: "alice", Data: map[string]json.RawMessage{"motto": json.RawMessage(`"m"`)}}
			issued, err := f.m.Issue(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			f.grants(t, issued.Token, 1)
			var held [3]latchkey.Session
			for i := range held { // of hits, which hold no row
				if held[i], err = f.m.Lookup(t.Context(), latchkey.Lookup{Token: issued.Token}); err != nil {
					t.Fatal(err)
				}
			}
			if v, err := motto.Get(held[0]); v != "m" || err != nil {
				t.Errorf("before: %q, %v", v, err)
			}
			if err := change(f, held[1]); err != nil {
				t.Fatal(err)
			}
			if v, err := motto.Get(held[2]); v != "" || latchkey.CodeOf(err) != latchkey.CodeInvalidSession {
				t.Errorf("after: %q, %v", v, err)
			}
		})
	}
}
