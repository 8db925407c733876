package redis

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/storetest"
)

// placedBySuite is how the suite places the sessions of an identity.
func placedBySuite(who latchkey.Identity) uint16 {
	sum := uint16(0)
	for _, c := range who.Provider + "\x00" + who.Subject {
		sum = sum*31 + uint16(c)
	}
	var id latchkey.ID
	binary.BigEndian.PutUint16(id[6:], sum)
	return id.Placement()
}

// The whole suite takes long in a cluster: lists of everybody ask 4,096 tags.
func TestClusterConformance(t *testing.T) {
	if os.Getenv("LATCHKEY_CHAOS_ROUNDS") == "" {
		t.Skip("runs for minutes; make chaos runs it")
	}
	group := servers.StartRedisCluster(t, 3, 1)
	cfg, err := ParseURL(group.URL)
	if err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, prefix string, clock latchkey.Clock) *Store {
		own := cfg
		own.Prefix, own.Clock, own.test = prefix, clock, turned(clock)
		if !strings.Contains(t.Name(), "/Manager/") { // a Manager places by the store's key
			own.test.placement = placedBySuite
		}
		return mustOpen(t, own)
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T, o storetest.Options) latchkey.Store { return open(t, newPrefix(), o.Clock) },
		Reopen: func(t *testing.T, s latchkey.Store, o storetest.Options) latchkey.Store {
			return open(t, s.(*Store).cfg.Prefix, o.Clock)
		},
		Durable:  true,
		Sessions: 1000,
	})
}

// person is a Create of a session of somebody of many.
func person(s *Store, n int) latchkey.Create {
	c := session(s)
	r := &c.Record
	r.Subject = fmt.Sprint("person", n)
	c.Event.Subject = r.Subject
	placement := s.placementOf(r.Identity())
	r.ID[6], r.ID[7] = 0x70|byte(placement>>8), byte(placement)
	c.Event.Session = r.ID.String()
	return c
}

// people creates a session for each of many, so that all primaries have some.
func people(t *testing.T, s *Store, n int) (ids []latchkey.ID) {
	t.Helper()
	for i := range n {
		c := person(s, i)
		c.Record.SID = fmt.Sprint("sid", i%3)
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		ids = append(ids, c.Record.ID)
	}
	return ids
}

// readable reports whether all sessions can be read.
func readable(t *testing.T, s *Store, ids []latchkey.ID) bool {
	for _, id := range ids {
		if _, err := s.Get(t.Context(), id); err != nil {
			return false
		}
	}
	return true
}

func TestCluster(t *testing.T) {
	group := servers.StartRedisCluster(t, 3, 1)
	url := group.URL + "?lease=20s" // nothing fails here, and a busy machine may pause for long
	s, other := openURL(t, url), openURL(t, url)
	ids := people(t, s, 60)
	f := follow(t, other)
	f.Await(t, "a proof", func(b latchkey.Batch) bool { return b.Sent != (latchkey.Moment{}) })
	for _, id := range ids[:20] {
		if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		f.Await(t, "the revocation", func(b latchkey.Batch) bool { return slices.Contains(b.IDs, id) })
	}
	result, err := s.Revoke(t.Context(), latchkey.Revocation{Provider: "idp", SID: "sid1", By: "x"})
	if err != nil || result.Count != 13 {
		t.Errorf("revoked %d by sid, %v; want the 13 that were live", result.Count, fixture.Chain(err))
	}
	counts, err := other.Count(t.Context())
	if want := (latchkey.Counts{Live: 27, Identities: 27, Ended: 33}); err != nil || counts != want {
		t.Errorf("counted %+v, %v; want %+v", counts, fixture.Chain(err), want)
	}
	list, err := other.List(t.Context(), latchkey.ListQuery{Limit: 10})
	if err != nil || len(list.Records) != 10 || list.Next.IsZero() || list.Records[0].ID != ids[59] {
		t.Errorf("listed %d, %v", len(list.Records), fixture.Chain(err))
	}
	if result, err = s.Revoke(t.Context(), latchkey.Revocation{All: true, By: "x"}); err != nil || result.Count != 27 {
		t.Errorf("revoked %d of everybody, %v; want 27", result.Count, fixture.Chain(err))
	}
	f.Await(t, "the end of everything", func(b latchkey.Batch) bool { return b.All })
	for _, id := range ids {
		if rec, err := other.Get(t.Context(), id); err != nil || rec.RevokedAt.IsZero() {
			t.Fatalf("%+v, %v after everything was ended", rec, fixture.Chain(err))
		}
	}
}

// A primary that dies is replaced by its replica, and only its sessions are
// unavailable meanwhile.
func TestClusterFailover(t *testing.T) {
	group := servers.StartRedisCluster(t, 3, 1, "--appendonly", "yes")
	s := openURL(t, group.URL+"?timeout=2s")
	ids := people(t, s, 30)
	f := follow(t, s)
	victim := group.Primaries[1]
	var safe, hit []latchkey.ID
	for _, id := range ids {
		if s.view.Load().at(tagText(id.Placement())).addr == victim.Addr {
			hit = append(hit, id)
		} else {
			safe = append(safe, id)
		}
	}
	if len(safe) == 0 || len(hit) == 0 {
		t.Fatal("the sessions are all in one place")
	}
	if _, err := s.Revoke(t.Context(), fixture.Revocation(hit[0])); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	victim.Kill(t)
	if err := f.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	if !readable(t, s, safe) {
		t.Error("sessions of other primaries cannot be read")
	}
	// The lone replica has nobody to confirm what it does; the old primary comes back as its replica.
	victim.Restart(t)
	fixture.Eventually(t, "the sessions", func() bool { return readable(t, s, ids) })
	if rec, err := s.Get(t.Context(), hit[0]); err != nil || rec.RevokedAt.IsZero() {
		t.Errorf("a confirmed revocation after the failover: %+v, %v", rec, fixture.Chain(err))
	}
	proven(t, s)
	if _, err := s.Revoke(t.Context(), fixture.Revocation(hit[1])); err != nil {
		t.Errorf("Revoke after the failover: %v", fixture.Chain(err))
	}
}

// A slot that is moved to another server takes its sessions and its feed along.
func TestClusterSlotMove(t *testing.T) {
	group := servers.StartRedisCluster(t, 2, 0)
	s := openURL(t, group.URL+"?wait=0")
	if _, err := Open(t.Context(), Config{Mode: Cluster, Addrs: []string{group.Primaries[0].Addr}, Timeout: time.Second}); err == nil {
		t.Error("a cluster without replicas was opened although one is to confirm")
	}
	ids := people(t, s, 10)
	id := ids[0]
	tag := tagText(id.Placement())
	slot := slotOf(tag)
	from, to := group.Primaries[0], group.Primaries[1]
	if s.view.Load().at(tag).addr == to.Addr {
		from, to = to, from
	}
	f := follow(t, s)
	group.MoveSlot(t, slot, from, to)
	if err := f.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	fixture.Eventually(t, "the sessions", func() bool { return readable(t, s, ids) })
	if got := s.view.Load().at(tag).addr; got != to.Addr {
		t.Errorf("the slot is believed to be at %s, it is at %s", got, to.Addr)
	}
	f = follow(t, s)
	if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	if !f.Saw(id) {
		t.Error("the revocation was not published where the slot is now")
	}
}

// A cluster that cannot be used is refused in one line, and leaves nothing behind.
func TestClusterRefuses(t *testing.T) {
	group := servers.StartRedisCluster(t, 2, 0)
	running := goleak.IgnoreCurrent()
	refuses := func(cfg Config, say string) {
		t.Helper()
		cfg.Mode, cfg.Addrs, cfg.Wait = Cluster, []string{group.Primaries[0].Addr}, 0
		s, err := Open(t.Context(), cfg)
		if err == nil {
			s.Close()
		}
		wantUnavailable(t, "Open", err, say)
		goleak.VerifyNone(t, running)
	}
	refuses(Config{MustExist: true}, "there is no store")
	s := openURL(t, group.URL+"?wait=0")
	c := s.view.Load().at("000").client()
	if err := c.Do(t.Context(), c.B().Arbitrary("HSET", s.metaKey(), "schema", "9", "oldest", "9").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refuses(Config{Prefix: s.cfg.Prefix}, "use a newer latchkey")
}

// A sign-in that is under way during an erasure of its identity makes a session that a
// revocation of the subject finds.
func TestClusterEraseDuringSignIn(t *testing.T) {
	group := servers.StartRedisCluster(t, 2, 0)
	s := openURL(t, group.URL+"?wait=0")
	c := person(s, 1)
	for range 2 { // the second one finds it announced, perhaps unconfirmed, and writes all the same
		before := written(t, s)
		if err := s.announce(t.Context(), &c.Record, 0); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		if written(t, s) <= before {
			t.Error("nothing was written")
		}
	}
	if _, err := s.Purge(t.Context(), latchkey.Purge{Erase: c.Record.Identity()}); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	if _, err := s.create(t.Context(), &c); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	result, err := s.Revoke(t.Context(), latchkey.Revocation{Subject: c.Record.Subject, AnyProvider: true, By: "x"})
	if err != nil || result.Count != 1 {
		t.Errorf("revoked %d sessions of the subject, %v; want 1", result.Count, fixture.Chain(err))
	}
}
