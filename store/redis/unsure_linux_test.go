package redis

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// A change that no replica has is in effect on a primary that may be none any more, and
// a Manager which reads it there after the lost answer is not to take it for made.
func TestSentinelUnsure(t *testing.T) {
	group := servers.StartRedisSentinelApart(t, 2)
	s := openURL(t, group.URL+"?timeout=2s&lease=5s")
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	m, err := latchkey.New(latchkey.Config{Store: s, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	issued, err := m.Issue(t.Context(), latchkey.SignIn{Subject: "ann"})
	if err != nil {
		t.Fatal(fixture.Chain(err))
	}
	session, err := m.Lookup(t.Context(), latchkey.Lookup{Token: issued.Token})
	if err != nil {
		t.Fatal(fixture.Chain(err))
	}
	group.Isolate(group.Primary(t))
	impatient, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	key := latchkey.NewKey[int]("count")
	if err = key.Set(session, 1); err == nil {
		err = session.Commit(impatient)
	}
	wantUnavailable(t, "Commit", err, "")
	impatient, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = m.Issue(impatient, latchkey.SignIn{Subject: "ann"})
	wantUnavailable(t, "Issue", err, "")

	group.Rejoin()
	fixture.Eventually(t, "a confirmed change", func() bool {
		session, err := m.Lookup(t.Context(), latchkey.Lookup{Token: issued.Token})
		return err == nil && key.Set(session, 2) == nil && session.Commit(t.Context()) == nil
	})
}
