package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// pttl is for how long the server keeps a key.
func pttl(t *testing.T, s *Store, key string) time.Duration {
	t.Helper()
	c := s.one().client()
	ms, err := c.Do(t.Context(), c.B().Pttl().Key(key).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ms) * time.Millisecond
}

// within checks a length of time to a minute.
func within(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got > want+time.Minute || got < want-time.Minute {
		t.Errorf("%s is kept for %v, want %v", what, got, want)
	}
}

// The server removes by itself what nobody needs any more, and never sooner.
func TestExpiryByServer(t *testing.T) {
	const retention = 48 * time.Hour
	s := mustOpen(t, Config{Retention: retention})
	c := session(s)
	c.Record.SID = "sid"
	if _, err := s.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	id := c.Record.ID
	identity := s.identityRef(c.Record.Identity())
	p := s.cfg.Prefix
	index := p + "{" + identity[:3] + "}i:" + identity[3:]
	subject := subjectRef("ann")
	names := p + "{" + subject[:3] + "}u:" + subject[3:]
	sid := sidRef("idp", "sid")
	bySID := p + "{" + sid[:3] + "}d:" + sid[3:]
	for what, key := range map[string]string{"row": s.rowKey(id), "index": index, "subject": names, "sid": bySID} {
		within(t, what, pttl(t, s, key), time.Hour+retention)
	}
	within(t, "trail", pttl(t, s, p+"a:0"), retention)

	// A longer limit keeps all of them longer.
	r := c.Record
	r.Version, r.ExpiresAt = 1, r.ExpiresAt.Add(10*time.Hour)
	if err := s.Patch(t.Context(), latchkey.Patch{Record: r}); err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]string{"row": s.rowKey(id), "index": index, "subject": names, "sid": bySID} {
		within(t, what, pttl(t, s, key), 11*time.Hour+retention)
	}
	if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
		t.Fatal(err)
	}
	within(t, "revoked row", pttl(t, s, s.rowKey(id)), retention)
	if left := pttl(t, s, p+"{"+identity[:3]+"}e:"+identity[3:]); left < retention {
		t.Errorf("the index of what has ended is kept for %v, less than the row", left)
	}
}

// Indexes lose what the server has removed.
func TestIndexesCleanThemselves(t *testing.T) {
	s := mustOpen(t, Config{})
	var ids []latchkey.ID
	for range 10 {
		ids = append(ids, add(t, s))
	}
	for _, id := range ids[:3] {
		if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		do(t, s, "DEL", s.rowKey(id)) // as the server does when their time is over
	}
	for _, q := range []latchkey.ListQuery{{State: latchkey.AnyState}, {Provider: "idp", Subject: "ann", State: latchkey.AnyState}} {
		if page, err := s.List(t.Context(), q); err != nil || len(page.Records) != 0 {
			t.Errorf("%d sessions listed, %v", len(page.Records), err)
		}
	}
	var last latchkey.ID
	for range 6 {
		c := session(s)
		c.Limit = 1
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		last = c.Record.ID
	}
	if n, err := s.Purge(t.Context(), latchkey.Purge{EndedBefore: time.Now().Add(time.Hour)}); err != nil || n != 5 {
		t.Errorf("purged %d, %v; want the five that were evicted", n, err)
	}
	client := s.one().client()
	members, err := client.Do(t.Context(), client.B().Zrange().Key(s.cfg.Prefix+"all").Min("0").Max("-1").Build()).AsStrSlice()
	if err != nil || len(members) != 1 || members[0] != last.String() {
		t.Errorf("the list of all holds %v, %v", members, err)
	}
	if _, err := s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: "ann"}}); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Do(t.Context(), client.B().Keys().Pattern(s.cfg.Prefix+"{*").Build()).AsStrSlice()
	if err != nil || len(keys) != 0 {
		t.Errorf("left of an erased identity: %v, %v", keys, err)
	}
}

// An erased name is nowhere on the server.
func TestErasedNameIsGone(t *testing.T) {
	s := mustOpen(t, Config{})
	c := session(s)
	const canary = "kanarienvogel"
	c.Record.Subject, c.Event.Subject, c.Event.IP = canary, canary, "192.0.2.77"
	c.Record.Email, c.Record.Name = canary+"@example.com", canary
	if _, err := s.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	find := func() (found []string) {
		client := s.one().client()
		keys, err := client.Do(t.Context(), client.B().Keys().Pattern(s.cfg.Prefix+"*").Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			dump, err := client.Do(t.Context(), client.B().Dump().Key(key).Build()).ToString()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(key+dump, canary) || strings.Contains(dump, "192.0.2.77") {
				found = append(found, key)
			}
		}
		return found
	}
	if len(find()) == 0 {
		t.Fatal("the search finds nothing while there is something")
	}
	n, err := s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: canary},
		Event: audit.Event{Action: audit.Purge, Actor: "admin:x", Provider: "idp", Subject: canary}})
	if err != nil || n != 1 {
		t.Fatalf("purged %d, %v", n, err)
	}
	if found := find(); len(found) != 0 {
		t.Errorf("the name is left in %v", found)
	}
}

// With very many sessions everything is ended first and counted afterwards.
func TestRevokeAllOfMany(t *testing.T) {
	s := mustOpen(t, Config{})
	const total = 10_050
	work := make(chan latchkey.Create, total)
	for range total {
		work <- session(s)
	}
	close(work)
	done := make(chan error, 64)
	for range cap(done) {
		go func() {
			for c := range work {
				if _, err := s.Create(t.Context(), c); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	result, err := s.Revoke(t.Context(), latchkey.Revocation{All: true, By: "admin:x", Event: audit.Event{Action: audit.RevokeAll, Actor: "admin:x"}})
	if err != nil || result.Count != total {
		t.Fatalf("counted %d, %v; want %d", result.Count, err, total)
	}
	page, err := s.Audit(t.Context(), audit.Query{Limit: 1})
	if err != nil || len(page.Events) != 1 || page.Events[0].Action != audit.RevokeAll || page.Events[0].Count != total {
		t.Errorf("the trail tells %v, %v", page.Events, err)
	}
	// Lists pass by any number of sessions in another state.
	live := add(t, s)
	c := session(s)
	c.Record.CreatedAt = c.Record.CreatedAt.Add(-time.Hour)
	if _, err := s.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	list, err := s.List(t.Context(), latchkey.ListQuery{})
	if err != nil || len(list.Records) != 2 || list.Records[0].ID != live || list.Records[1].ID != c.Record.ID || !list.Next.IsZero() {
		t.Errorf("listed %d of 2 live sessions, %v", len(list.Records), err)
	}
	counts, err := s.Count(t.Context())
	if want := (latchkey.Counts{Live: 2, Identities: 1, Ended: total}); err != nil || counts != want {
		t.Errorf("counted %+v, %v; want %+v", counts, err, want)
	}
}
