package latchkey_test

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

// A function that panics at once panics in its handler, where net/http recovers it.
func TestPanicInUpdateIsTheHandlersOwn(t *testing.T) {
	m, _, _ := setup(t, nil)
	s := lookup(t, m, issue(t, m, "ann"))
	defer func() {
		if recover() == nil {
			t.Error("swallowed")
		}
	}()
	_ = visits.Update(s, func(int) (int, error) { panic("boom") })
}

// A function given to Update may read the session, also when it runs again
// because the session is renewed or replaced.
func TestUpdateReadsOtherKeyInExchange(t *testing.T) {
	for name, exchange := range map[string]func(latchkey.Session) error{
		"renew": func(s latchkey.Session) error {
			_, err := s.Renew(context.Background(), latchkey.Renewal{})
			return err
		},
		"keep-data": func(s latchkey.Session) error {
			return s.SignIn(context.Background(), latchkey.SignIn{Subject: "ann", KeepData: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, _ := setup(t, nil)
			s := lookup(t, m, issue(t, m, "ann"))
			if err := visits.Update(s, func(n int) (int, error) { _, err := motto.Get(s); return n + 1, err }); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- exchange(s) }()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("hangs")
			}
		})
	}
}

// Data that another request holds under a newer token is out of reach; that is no outage.
func TestKeepDataAfterRenewalElsewhere(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "ann")
	saveMotto(t, lookup(t, m, token), "x")
	a, b := lookup(t, m, token), lookup(t, m, token)
	if _, err := b.Renew(context.Background(), latchkey.Renewal{}); err != nil {
		t.Fatal(err)
	}
	if err := a.SignIn(context.Background(), latchkey.SignIn{Subject: "ann", KeepData: true}); latchkey.CodeOf(err) == latchkey.CodeStoreUnavailable {
		t.Error(err)
	}
}

// Data of a session that was ended elsewhere goes to nobody.
func TestEndedSessionsDataIsNotCarriedOver(t *testing.T) {
	m, _, _ := setup(t, nil)
	token := issue(t, m, "ann")
	saveMotto(t, lookup(t, m, token), "x")
	a, b := lookup(t, m, token), lookup(t, m, token)
	if err := b.End(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := a.SignIn(context.Background(), latchkey.SignIn{Subject: "bob", KeepData: true})
	if v, _ := motto.Get(a); err == nil && v != "" {
		t.Errorf("data of an ended session was carried over: %q", v)
	}
}
