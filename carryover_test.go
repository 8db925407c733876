package latchkey_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// A sign-in that keeps the data carries over what is stored by then, not what its
// request saw when it began.
func TestKeepDataSeesChangeOfOtherRequest(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "ann")
	signingIn, other := lookup(t, m, token), lookup(t, m, token)
	if err := visits.Set(signingIn, 7); err != nil {
		t.Fatal(err)
	}
	saveMotto(t, other, "bought")
	keepData(t, signingIn)
	holds(t, lookup(t, m, signingIn.Token()), "bought", 7)
}

// The same when the change comes after the data was read: the store refuses to
// replace a session that is no longer the one that was read.
func TestKeepDataLosesNoChangeMeanwhile(t *testing.T) {
	var store *storetest.Faulty
	m, _, _ := setup(t, func(c *latchkey.Config) {
		store = storetest.NewFaulty(c.Store)
		c.Store = store
	})
	token := issue(t, m, "ann")
	signingIn, other := lookup(t, m, token), lookup(t, m, token)
	if err := visits.Set(signingIn, 7); err != nil {
		t.Fatal(err)
	}
	var creates atomic.Int64
	store.Fail(storetest.Only(storetest.MethodCreate, func(op storetest.Op) (bool, error) {
		if op.Create.ReplacesVersion == 0 {
			t.Error("the session to replace is not held to a version")
		}
		if creates.Add(1) == 1 {
			saveMotto(t, other, "bought")
		}
		return true, nil
	}))
	keepData(t, signingIn)
	store.Fail(nil)
	if n := creates.Load(); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
	refused(t, m, token)
	holds(t, lookup(t, m, signingIn.Token()), "bought", 7)
	if infos, err := signingIn.Sessions(context.Background()); err != nil || len(infos) != 1 {
		t.Errorf("%d sessions, %v", len(infos), err)
	}
}

// A store that keeps the session to be replaced elsewhere ends it in a second step.
// Where that fails, or the answer to both is lost, no token stands beside the old one.
func TestSignInReplacesOrFails(t *testing.T) {
	for name, half := range map[string]bool{"OnlyTheFirstStep": true, "OnlyTheAnswerIsLost": false} {
		t.Run(name, func(t *testing.T) {
			var store *storetest.Faulty
			m, _, _ := setup(t, func(c *latchkey.Config) {
				store = storetest.NewFaulty(c.Store)
				c.Store = store
			})
			token := issue(t, m, "ann")
			s := lookup(t, m, token)
			store.Fail(storetest.Only(storetest.MethodCreate, func(op storetest.Op) (bool, error) {
				if half {
					op.Create.Replaces, op.Create.ReplacesVersion = latchkey.ID{}, 0
				}
				return true, storetest.ErrLost
			}))
			err := s.SignIn(t.Context(), latchkey.SignIn{Subject: "bob"})
			store.Fail(nil)
			infos, _, listErr := m.List(t.Context(), latchkey.ListQuery{})
			if listErr != nil || len(infos) != 1 {
				t.Fatalf("%d sessions are live, %v", len(infos), listErr)
			}
			if half {
				if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable || infos[0].Subject != "ann" {
					t.Errorf("signed in with %v beside the session of %s", err, infos[0].Subject)
				}
				lookup(t, m, token)
				return
			}
			if err != nil || infos[0].Subject != "bob" {
				t.Errorf("%v, and %s is signed in", err, infos[0].Subject)
			}
			refused(t, m, token)
			lookup(t, m, s.Token())
		})
	}
}

func saveMotto(t *testing.T, s latchkey.Session, value string) {
	t.Helper()
	if err := motto.Set(s, value); err != nil {
		t.Error(err)
	}
	if err := s.Commit(context.Background()); err != nil {
		t.Error(err)
	}
}

func keepData(t *testing.T, s latchkey.Session) {
	t.Helper()
	if err := s.SignIn(context.Background(), latchkey.SignIn{Subject: "ann", KeepData: true}); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, s latchkey.Session, wantMotto string, wantVisits int) {
	t.Helper()
	if v, err := motto.Get(s); v != wantMotto || err != nil {
		t.Errorf("motto %q, %v", v, err)
	}
	if n, err := visits.Get(s); n != wantVisits || err != nil {
		t.Errorf("visits %d, %v", n, err)
	}
}
