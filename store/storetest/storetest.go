// Package storetest is the conformance suite of latchkey.Store. A store that
// passes Run may be used with any Manager, with the near cache and without:
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, storetest.Harness{
//			Open: func(t *testing.T, o storetest.Options) latchkey.Store { … },
//		})
//	}
//
// The suite holds a test for every sentence of the contract that is written at
// latchkey.Store, runs random histories against a small model of it, and then
// attacks a Manager over the store: sessions must not come back from the dead,
// no change of one request may undo another's, and whatever step fails, whether
// it was persisted or not, the user is told the truth.
//
// [Faulty] makes a store fail at will and is of use to other tests, too.
package storetest

import (
	"testing"

	"github.com/latchkey-go/latchkey"
)

// Harness tells the suite how to get at a store. Open is required.
type Harness struct {
	// Open returns an empty store that takes its time from o.Clock, as a store
	// does that was just set up. The suite closes it, and may close it twice.
	Open func(t *testing.T, o Options) latchkey.Store

	// Reopen opens what s keeps once more, after s was closed. It is required of a
	// durable store and nil for others.
	Reopen func(t *testing.T, s latchkey.Store, o Options) latchkey.Store
	// Durable says that what was acknowledged survives Close.
	Durable bool

	// NoFeed, NoAudit, NoCount, NoPlacement, NoChanges and NoSpend name the
	// capabilities that the store does not offer. What is neither offered nor named
	// fails the suite; what is named is listed in the log of the subtest Capabilities.
	NoFeed, NoAudit, NoCount, NoPlacement, NoChanges, NoSpend bool

	// Sessions is how many sessions of one identity are revoked at once: 10,000
	// unless set. Fewer than a store changes in one go leave its seams untested.
	Sessions int
	// Histories is how many random histories are compared with the model: as many as
	// the flag -rapid.checks says, which is 100 by default, unless set. The flag goes
	// over it.
	Histories int
}

// Options are what a store of the suite is opened with.
type Options struct {
	// Clock is a clock that the suite turns by hand. Where the store's time is that
	// of a server, the harness makes it follow this clock.
	Clock latchkey.Clock
}

// Run runs the whole suite as subtests of t.
func Run(t *testing.T, h Harness) {
	if h.Open == nil {
		t.Fatal("storetest: Harness.Open is required")
	}
	if h.Durable != (h.Reopen != nil) {
		t.Fatal("storetest: Harness.Reopen is required of a durable store, and of no other")
	}
	if h.Sessions == 0 {
		h.Sessions = 10_000
	}
	for _, part := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Capabilities", testCapabilities},
		{"Create", testCreate},
		{"Limits", testLimits},
		{"Get", testGet},
		{"Patch", testPatch},
		{"Touch", testTouch},
		{"Revoke", testRevoke},
		{"Marks", testMarks},
		{"Generation", testGeneration},
		{"List", testList},
		{"Purge", testPurge},
		{"Audit", testAudit},
		{"Feed", testFeed},
		{"Count", testCount},
		{"Changed", testChanged},
		{"Spend", testSpend},
		{"Context", testContext},
		{"Close", testClose},
		{"Reopen", testReopen},
		{"Model", testModel},
		{"Manager", testManager},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, h) })
	}
}

// group runs named tests, each with a store of its own.
func group(t *testing.T, h Harness, tests map[string]func(*env)) {
	for name, run := range tests {
		t.Run(name, func(t *testing.T) { run(open(t, h)) })
	}
}

// testCapabilities checks that the store offers what the harness does not except.
func testCapabilities(t *testing.T, h Harness) {
	e := open(t, h)
	for _, c := range []struct {
		name     string
		excepted bool
		offered  bool
	}{
		{"feed (latchkey.Feed)", h.NoFeed, e.feed() != nil},
		{"audit trail (audit.Reader)", h.NoAudit, e.reader() != nil},
		{"count (latchkey.Counter)", h.NoCount, e.counter() != nil},
		{"placement key (latchkey.PlacementKeeper)", h.NoPlacement, e.placer() != nil},
		{"list of changed stateless sessions (latchkey.ChangeLister)", h.NoChanges, e.lister() != nil},
		{"what is used once (latchkey.Spender)", h.NoSpend, e.spender() != nil},
	} {
		switch {
		case c.offered && c.excepted:
			t.Errorf("%s: offered, although the harness excepts it", c.name)
		case !c.offered && !c.excepted:
			t.Errorf("%s: not offered; implement it or except it in the harness", c.name)
		case c.excepted:
			t.Logf("%s: not offered, not tested", c.name)
		}
	}
	if !h.Durable {
		t.Log("durability: not offered, not tested")
	}
}
