package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
	"github.com/latchkey-go/latchkey/store/storetest"
)

func openFaulty(t *testing.T) (*storetest.Faulty, *memory.Store, *latchkeytest.Clock) {
	t.Helper()
	clock := latchkeytest.NewClock(time.Time{})
	s, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return storetest.NewFaulty(s), s, clock
}

func TestFaultyFailsAsDecided(t *testing.T) {
	for name, test := range map[string]struct {
		decide    storetest.Decide
		persisted bool
		code      latchkey.Code
	}{
		"Passes":          {nil, true, ""},
		"NotPersisted":    {storetest.NotPersisted, false, latchkey.CodeStoreUnavailable},
		"PersistedLost":   {storetest.PersistedLost, true, latchkey.CodeStoreUnavailable},
		"OtherMethod":     {storetest.Only(storetest.MethodRevoke, storetest.NotPersisted), true, ""},
		"NeverPretends":   {func(storetest.Op) (bool, error) { return false, nil }, false, latchkey.CodeStoreUnavailable},
		"ThisMethod":      {storetest.Only(storetest.MethodCreate, storetest.PersistedLost), true, latchkey.CodeStoreUnavailable},
		"AnswerWithACode": {func(storetest.Op) (bool, error) { return false, latchkey.ErrConflict }, false, latchkey.CodeConflict},
	} {
		t.Run(name, func(t *testing.T) {
			f, inner, clock := openFaulty(t)
			f.Fail(test.decide)
			id := latchkey.ID{6: 0x70, 8: 0x80, 15: 1}
			created, err := f.Create(t.Context(), latchkey.Create{Record: latchkey.Record{ID: id, ExpiresAt: clock.Time().Add(time.Hour)}})
			if latchkey.CodeOf(err) != test.code {
				t.Errorf("answered %v, want %q", err, test.code)
			}
			if err != nil && created.Generation != 0 {
				t.Error("an error came with an answer")
			}
			if _, err := inner.Get(t.Context(), id); (err == nil) != test.persisted {
				t.Errorf("persisted is %v, want %v", err == nil, test.persisted)
			}
		})
	}
}

// lean hides every capability of a store.
type lean struct{ latchkey.Store }

func TestFaultyOverALeanStore(t *testing.T) {
	_, inner, clock := openFaulty(t)
	f := storetest.NewFaulty(lean{inner})
	if err := f.Follow(t.Context(), time.Second, func(latchkey.Batch) { t.Error("delivered") }); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow: %v", err)
	}
	if _, err := f.Audit(t.Context(), audit.Query{}); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Audit: %v", err)
	}
	if _, err := f.Count(t.Context()); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Count: %v", err)
	}
	if _, err := f.Changed(t.Context(), latchkey.ID{}, 0); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Changed: %v", err)
	}
	if err := f.Spend(t.Context(), [32]byte{1}, clock.Time().Add(time.Minute)); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Spend: %v", err)
	}
	clock.StepWall(time.Hour)
	if got, want := f.StoreTime(clock.Now()), clock.Time().UnixMicro(); got != want {
		t.Errorf("store time %d, want the node's %d", got, want)
	}
	first, _ := f.PlacementKey(t.Context())
	if second, err := f.PlacementKey(t.Context()); err != nil || first != second || first == ([32]byte{}) {
		t.Errorf("placement key changes or is missing: %v", err)
	}
}

// timed is a lean store that goes by a clock of its own, as memory does.
type timed struct {
	latchkey.Store
	latchkey.Timekeeper
}

// The suite must run over a store that offers no more than the interface demands.
func TestSuiteOverALeanStore(t *testing.T) {
	storetest.Run(t, storetest.Harness{NoFeed: true, NoAudit: true, NoCount: true, NoPlacement: true, NoChanges: true, NoSpend: true, Sessions: 100,
		Open: func(t *testing.T, o storetest.Options) latchkey.Store {
			s, err := memory.New(memory.Config{Clock: o.Clock})
			if err != nil {
				t.Fatal(err)
			}
			return timed{s, s}
		}})
}

// lingering is a feed that delivers once more when it is ended.
type lingering struct{ latchkey.Store }

func (lingering) Follow(ctx context.Context, _ time.Duration, deliver func(latchkey.Batch)) error {
	deliver(latchkey.Batch{Reset: true})
	<-ctx.Done()
	deliver(latchkey.Batch{Sent: latchkey.Moment{Wall: 1, Mono: 1}})
	return ctx.Err()
}

// A stream that was cut delivers nothing more, the last beat before it is broken
// included: it would vouch for what was missed.
func TestFaultyMendingDeliversNothingOld(t *testing.T) {
	_, inner, _ := openFaulty(t)
	f := storetest.NewFaulty(lingering{inner})
	begun, ended := make(chan struct{}), make(chan error, 1)
	batches := 0
	go func() {
		ended <- f.Follow(t.Context(), time.Second, func(latchkey.Batch) {
			if batches++; batches == 1 {
				close(begun)
			}
		})
	}()
	<-begun
	f.CutFeed(true)
	f.CutFeed(false)
	if err := <-ended; !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Follow returned %v", err)
	}
	if batches != 1 {
		t.Errorf("%d batches were delivered, want the first one only", batches)
	}
}

// The capabilities fail as decided, like the methods.
func TestFaultyCapabilities(t *testing.T) {
	f, inner, clock := openFaulty(t)
	f.Fail(storetest.Only(storetest.MethodChanged, storetest.NotPersisted))
	if _, err := f.Changed(t.Context(), latchkey.ID{}, 0); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Changed: %v", err)
	}
	key, until := [32]byte{1}, clock.Time().Add(time.Minute)
	f.Fail(func(op storetest.Op) (bool, error) {
		if op.Method != storetest.MethodSpend || op.Spent != key || !op.Writes() {
			t.Errorf("asked about %+v", op)
		}
		return true, storetest.ErrLost
	})
	if err := f.Spend(t.Context(), key, until); !errors.Is(err, latchkey.ErrUnavailable) {
		t.Errorf("Spend: %v", err)
	}
	if err := inner.Spend(t.Context(), key, until); !errors.Is(err, latchkey.ErrConflict) {
		t.Errorf("what was spent with a lost answer may be used again: %v", err)
	}
	f.Fail(nil)
	if page, err := f.Changed(t.Context(), latchkey.ID{}, 0); err != nil || page.Generation != 1 {
		t.Errorf("Changed: %v, %v", page, err)
	}
}
