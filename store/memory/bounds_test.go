package memory_test

import (
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

func TestAuditIsBounded(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	s := open(t, memory.Config{Clock: clock, MaxAudit: 3})
	for n := range byte(10) {
		add(t, s, clock, n+1)
	}
	page, err := s.Audit(t.Context(), audit.Query{Ascending: true})
	if err != nil || len(page.Events) != 3 || page.Events[0].Seq != 8 || page.Events[2].Seq != 10 {
		t.Errorf("kept %v, %v; want the latest three", page.Events, err)
	}
	// A reader that comes back behind what was forgotten goes on with what is left.
	page, err = s.Audit(t.Context(), audit.Query{Ascending: true, After: 2})
	if err != nil || len(page.Events) != 3 {
		t.Errorf("behind a forgotten event: %v, %v", page.Events, err)
	}
	page, err = s.Audit(t.Context(), audit.Query{After: 8})
	if err != nil || len(page.Events) != 0 || page.Next != 0 {
		t.Errorf("before the oldest: %v, %v", page, err)
	}
}

func TestNewRefusesBadConfiguration(t *testing.T) {
	if _, err := memory.New(memory.Config{MaxAudit: -1}); !errors.Is(err, latchkey.ErrInvalidRequest) {
		t.Errorf("negative bound: %v", err)
	}
	if _, err := memory.New(memory.Config{Rand: iotest.ErrReader(io.ErrUnexpectedEOF)}); latchkey.CodeOf(err) != latchkey.CodeInternal {
		t.Errorf("no randomness: %v", err)
	}
}

func TestPlacementKeysDiffer(t *testing.T) {
	first, err := open(t, memory.Config{}).PlacementKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := open(t, memory.Config{}).PlacementKey(t.Context())
	if err != nil || first == second {
		t.Errorf("two stores share a placement key, or %v", err)
	}
}

// The store's time goes by the monotonic clock only.
func TestStoreTime(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	s := open(t, memory.Config{Clock: clock})
	start := s.StoreTime(clock.Now())
	if want := clock.Time().UnixMicro(); start != want {
		t.Errorf("store time begins at %d, want the wall clock's %d", start, want)
	}
	clock.StepWall(-24 * time.Hour)
	if got := s.StoreTime(clock.Now()); got != start {
		t.Errorf("a stepped wall clock moved the store's time by %d µs", got-start)
	}
	clock.Advance(time.Minute)
	if got := s.StoreTime(clock.Now()) - start; got != time.Minute.Microseconds() {
		t.Errorf("after a minute the store's time is %d µs on", got)
	}
}

// Rows that are gone leave the indexes, too: what was purged costs nothing.
func TestPurgedRowsAreForgotten(t *testing.T) {
	clock := latchkeytest.NewClock(time.Time{})
	s := open(t, memory.Config{Clock: clock})
	for round := range 50 {
		for n := range byte(20) {
			add(t, s, clock, n)
		}
		n, err := s.Purge(t.Context(), latchkey.Purge{Erase: latchkey.Identity{Provider: "p", Subject: "ann"}, Batch: 7})
		if err != nil || n != 20 {
			t.Fatalf("round %d: purged %d, %v", round, n, err)
		}
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{State: latchkey.AnyState})
	if err != nil || len(page.Records) != 0 {
		t.Errorf("%d rows are left, %v", len(page.Records), err)
	}
}
