package unsure

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func TestSet(t *testing.T) {
	var u Set
	id := func(n int) latchkey.ID { return latchkey.ID{0: byte(n >> 8), 1: byte(n)} }
	if u.Has(id(1)) {
		t.Error("nothing was noted")
	}
	u.Add(id(1))
	if !u.Has(id(1)) || u.Has(id(2)) {
		t.Error("one was noted, and not the other")
	}
	if u.Settle(id(1)); !u.Has(id(1)) {
		t.Error("what is so recent is not settled")
	}
	u.since[id(1)] = time.Now().Add(-2 * lasts)
	if u.Settle(id(1)); u.Has(id(1)) || u.some.Load() {
		t.Error("what is sure is settled")
	}
	for n := range most + 1 {
		u.Add(id(n))
	}
	if len(u.since) != most || !u.Has(id(most)) || !u.Has(id(2*most)) {
		t.Errorf("with %d noted, all are to count", len(u.since))
	}
	for n := range u.since {
		u.since[n] = time.Now().Add(-2 * lasts)
	}
	u.all = u.all.Add(-2 * lasts)
	u.Add(id(1))
	if len(u.since) != 1 || u.Has(id(2)) {
		t.Errorf("%d are noted, want the latest only", len(u.since))
	}
}
