package latchkey_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

// hanging is a real store that answers no read.
type hanging struct{ latchkey.Store }

func (hanging) Get(ctx context.Context, _ latchkey.ID) (*latchkey.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A reader who cannot wait is told that nothing is known, and the cookie stays.
func TestReadWithin(t *testing.T) {
	m, _, _ := setup(t, func(c *latchkey.Config) { c.Store = hanging{c.Store} })
	token := issue(t, m, "alice")
	w := httptest.NewRecorder()
	s, err := m.ReadWithin(w, request(token), time.Millisecond)
	if latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable || s.Live() || len(w.Header()) != 0 {
		t.Errorf("%v, live %v, %v", err, s.Live(), w.Header())
	}
	if s, err := m.ReadWithin(w, request(token[:len(token)-1]+"!"), time.Millisecond); err != nil || s.Live() {
		t.Errorf("what is no token needs no store: %v", err)
	}
	m, _, _ = setup(t, nil)
	if s, err := m.ReadWithin(w, request(issue(t, m, "bob")), time.Minute); err != nil || s.Subject() != "bob" {
		t.Errorf("%v, %q", err, s.Subject())
	}
}

func TestAppended(t *testing.T) {
	m, _, _ := setup(t, nil)
	issued, err := m.Issue(context.Background(), latchkey.SignIn{Subject: "alice", Roles: []string{"staff", "größe"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Read(httptest.NewRecorder(), request(issued.Token))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.AppendRoles([]byte("a\n"), ',')); got != "a\nstaff,größe" {
		t.Errorf("roles: %q", got)
	}
	if got := (latchkey.Session{}).AppendRoles(nil, ','); len(got) != 0 {
		t.Errorf("no roles: %q", got)
	}
	if got, err := s.ID().AppendText([]byte("id ")); err != nil || string(got) != "id "+s.ID().String() {
		t.Errorf("%q, %v", got, err)
	}
}
