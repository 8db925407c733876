package redis

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// statelessOf creates a stateless session of somebody of many.
func statelessOf(t *testing.T, s *Store, n int) latchkey.Create {
	t.Helper()
	c := person(s, n)
	c.Record.Stateless = true
	if _, err := s.Create(t.Context(), c); err != nil {
		t.Fatal(fixture.Chain(err))
	}
	return c
}

// crowd gives somebody a revoked session, and one among those that expired long ago,
// so that all lists of the identity are there.
func crowd(t *testing.T, s *Store, n int) {
	t.Helper()
	for _, kind := range []string{"e", "x"} {
		c := person(s, n)
		if _, err := s.Create(t.Context(), c); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		id, ref := c.Record.ID, s.identityRef(c.Record.Identity())
		if kind == "e" {
			if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
				t.Fatal(fixture.Chain(err))
			}
			continue
		}
		list := s.cfg.Prefix + "{" + ref[:3] + "}x:" + ref[3:]
		client := s.view.Load().at(ref[:3]).client()
		if err := client.Do(t.Context(), client.B().Arbitrary("ZADD", list, decimal(microOf(c.Record.CreatedAt)), id.String()).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// listed reports whether a session is told of as changed.
func listed(t *testing.T, s *Store, id latchkey.ID) bool {
	t.Helper()
	page, err := s.Changed(t.Context(), latchkey.ID{}, 0)
	if err != nil {
		t.Fatal(fixture.Chain(err))
	}
	return slices.Contains(page.IDs, id)
}

// While a slot is on its way a script breaks off at the first key that is not there,
// and what it wrote before stays. The list of changed sessions must not miss what an
// operation did that broke off: its repetition may find nothing left to do.
func TestClusterBrokenOff(t *testing.T) {
	group := servers.StartRedisCluster(t, 2, 0)
	s := openURL(t, group.URL+"?wait=0&timeout=1s")
	// setslot runs CLUSTER SETSLOT on the server that has a tag.
	setslot := func(t *testing.T, tag string, state ...string) {
		t.Helper()
		c := s.view.Load().at(tag).client()
		command := append([]string{"CLUSTER", "SETSLOT", strconv.Itoa(slotOf(tag))}, state...)
		if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
			t.Fatalf("%v: %v", command, err)
		}
	}
	elsewhere := func(t *testing.T, tag string) string {
		t.Helper()
		v := s.view.Load()
		n := v.nodes[0]
		if n == v.at(tag) {
			n = v.nodes[1]
		}
		c := n.client()
		id, err := c.Do(t.Context(), c.B().Arbitrary("CLUSTER", "MYID").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	operations := map[string]struct {
		run    func(t *testing.T, c *latchkey.Create) error
		action audit.Action
	}{
		"Revoke": {func(t *testing.T, c *latchkey.Create) error {
			_, err := s.Revoke(t.Context(), fixture.Revocation(c.Record.ID))
			return err
		}, audit.Revoke},
		"RevokeIdentity": {func(t *testing.T, c *latchkey.Create) error {
			_, err := s.Revoke(t.Context(), latchkey.Revocation{Provider: c.Record.Provider, Subject: c.Record.Subject, By: "x",
				Event: audit.Event{Action: audit.Revoke, Actor: "x", Session: c.Record.ID.String()}})
			return err
		}, audit.Revoke},
		"Patch": {func(t *testing.T, c *latchkey.Create) error {
			r := c.Record
			r.Version, r.Roles = 1, []string{"none"}
			err := s.Patch(t.Context(), latchkey.Patch{Record: r,
				Event: &audit.Event{Action: audit.Renew, Actor: "x", Session: c.Record.ID.String(), Outcome: audit.Done}})
			if latchkey.CodeOf(err) == latchkey.CodeConflict {
				return nil // it was done the first time
			}
			return err
		}, audit.Renew},
		"Erase": {func(t *testing.T, c *latchkey.Create) error {
			// As Purge does behind the events on their way, which wait for the slot too.
			p := &purge{Purge: &latchkey.Purge{Erase: c.Record.Identity()}, s: s, batch: strconv.Itoa(maxBatch)}
			return p.erase(t.Context())
		}, ""},
	}
	n := 1000
	for name, op := range operations {
		for _, others := range []bool{false, true} { // whether the lists are there before
			t.Run(name+strconv.FormatBool(others), func(t *testing.T) {
				n++
				c := statelessOf(t, s, n)
				id := c.Record.ID
				tag := tagText(id.Placement())
				if others {
					base := s.common(tag)
					client := s.view.Load().at(tag).client()
					limit := decimal(microOf(time.Now().Add(time.Hour)))
					for _, command := range [][]string{{"ZADD", base + "changed", "0", session(s).Record.ID.String()},
						{"ZADD", base + "changedby", limit, session(s).Record.ID.String()}} {
						if err := client.Do(t.Context(), client.B().Arbitrary(command...).Build()).Error(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if name == "Erase" {
					crowd(t, s, n)
				}
				setslot(t, tag, "MIGRATING", elsewhere(t, tag))
				if err := op.run(t, &c); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
					t.Logf("while the slot is on its way: %v", err) // nothing was missing
				}
				setslot(t, tag, "STABLE")
				if err := op.run(t, &c); err != nil {
					t.Fatalf("once more: %v", fixture.Chain(err))
				}
				if !listed(t, s, id) {
					t.Error("the session is not on the list of those that changed")
				}
				if op.action == "" {
					if _, err := s.Get(t.Context(), id); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
						t.Errorf("an erased session: %v", err)
					}
					return
				}
				page, err := s.Audit(t.Context(), audit.Query{Session: id.String()})
				if err != nil || !slices.ContainsFunc(page.Events, func(e audit.Event) bool { return e.Action == op.action }) {
					t.Errorf("the trail does not tell of it: %v, %v", page.Events, fixture.Chain(err))
				}
			})
		}
	}
}

// A session that is revoked already is listed by another revocation, should it not be.
func TestRevokedAgainIsListed(t *testing.T) {
	s := mustOpen(t, Config{})
	c := statelessOf(t, s, 1)
	for range 2 {
		if _, err := s.Revoke(t.Context(), fixture.Revocation(c.Record.ID)); err != nil {
			t.Fatal(fixture.Chain(err))
		}
		if !listed(t, s, c.Record.ID) {
			t.Fatal("a revoked session is not on the list of those that changed")
		}
		do(t, s, "DEL", s.cfg.Prefix+"changed", s.cfg.Prefix+"changedby")
	}
}
