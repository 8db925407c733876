package storetest

import (
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func testSpend(t *testing.T, h Harness) {
	if h.NoSpend {
		t.Skip("the harness excepts what is used once")
	}
	group(t, h, map[string]func(*env){
		"Once":     spendOnce,
		"Race":     spendRace,
		"Expires":  spendExpires,
		"Bounds":   spendBounds,
		"Kept":     spendKept,
		"Reopened": spendReopened,
	})
}

// newKey draws a key, a hash of what is used once.
func newKey() (key [32]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

// spend uses a key until a time from now.
func (e *env) spend(key [32]byte, ahead time.Duration) error {
	return e.spender().Spend(e.t.Context(), key, e.now().Add(ahead))
}

// A key is good once. Others, however alike, have nothing to do with it.
func spendOnce(e *env) {
	key := newKey()
	wantCode(e.t, e.spend(key, time.Minute), "")
	wantCode(e.t, e.spend(key, time.Minute), latchkey.CodeConflict)
	wantCode(e.t, e.spend(key, time.Hour), latchkey.CodeConflict)
	for _, at := range []int{0, 15, 31} {
		other := key
		other[at] ^= 1
		wantCode(e.t, e.spend(other, time.Minute), "")
		wantCode(e.t, e.spend(other, time.Minute), latchkey.CodeConflict)
	}
	wantCode(e.t, e.spend([32]byte{}, time.Minute), "")
	wantCode(e.t, e.spend([32]byte{}, time.Minute), latchkey.CodeConflict)
}

// Of any number of callers one gets nil.
func spendRace(e *env) {
	for range 10 {
		key, other := newKey(), newKey()
		var won, others atomic.Int32
		parallel(64, func(i int) {
			if i%4 == 0 {
				if e.spend(other, time.Minute) == nil {
					others.Add(1)
				}
				return
			}
			switch err := e.spend(key, time.Minute); {
			case err == nil:
				won.Add(1)
			default:
				wantCode(e.t, err, latchkey.CodeConflict)
			}
		})
		if won.Load() != 1 || others.Load() != 1 {
			e.t.Fatalf("%d and %d callers used a key that is good once", won.Load(), others.Load())
		}
	}
}

// A key is forgotten at its time, by the store's clock, and may be used anew then.
func spendExpires(e *env) {
	key, long := newKey(), newKey()
	wantCode(e.t, e.spend(key, 10*time.Minute), "")
	wantCode(e.t, e.spend(long, 20*time.Hour), "")
	e.clock.Advance(9 * time.Minute)
	e.clock.StepWall(time.Hour) // nothing to the store
	// A later attempt neither prolongs the time nor cuts it short.
	wantCode(e.t, e.spend(key, time.Hour), latchkey.CodeConflict)
	wantCode(e.t, e.spend(long, time.Second), latchkey.CodeConflict)
	e.clock.Advance(2 * time.Minute)
	wantCode(e.t, e.spend(key, time.Minute), "")
	wantCode(e.t, e.spend(key, time.Minute), latchkey.CodeConflict)
	wantCode(e.t, e.spend(long, time.Minute), latchkey.CodeConflict)

	// Of many who come at once when it was forgotten, one gets nil again.
	e.clock.Advance(2 * time.Minute)
	var won atomic.Int32
	parallel(64, func(int) {
		if e.spend(key, time.Minute) == nil {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		e.t.Errorf("%d callers used a key that had been forgotten", won.Load())
	}
}

// A time that has passed, or is more than a day ahead, is refused: what is
// forgotten at once could be used again at once.
func spendBounds(e *env) {
	key := newKey()
	for _, ahead := range []time.Duration{24*time.Hour + time.Minute, 400 * 24 * time.Hour, 0, -time.Minute} {
		wantCode(e.t, e.spend(key, ahead), latchkey.CodeInvalidRequest)
	}
	wantCode(e.t, e.spender().Spend(e.t.Context(), key, time.Time{}), latchkey.CodeInvalidRequest)
	// None of these has used it.
	wantCode(e.t, e.spend(key, 24*time.Hour-time.Minute), "")
	wantCode(e.t, e.spend(key, time.Minute), latchkey.CodeConflict)
}

// Nothing that becomes of sessions forgets a key.
func spendKept(e *env) {
	key := newKey()
	wantCode(e.t, e.spend(key, 20*time.Hour), "")
	e.add(ann)
	e.revoke(latchkey.Revocation{All: true})
	e.clock.Advance(10 * time.Hour)
	e.purge(latchkey.Purge{EndedBefore: e.now().Add(100 * lifetime)})
	e.purge(latchkey.Purge{Erase: ann})
	wantCode(e.t, e.spend(key, time.Minute), latchkey.CodeConflict)
	e.clock.Advance(11 * time.Hour)
	e.purge(latchkey.Purge{EndedBefore: e.now()})
	wantCode(e.t, e.spend(key, time.Minute), "")
}

func spendReopened(e *env) {
	if !e.h.Durable {
		e.t.Skip("the store is not durable")
	}
	key, short := newKey(), newKey()
	wantCode(e.t, e.spend(key, time.Hour), "")
	wantCode(e.t, e.spend(short, time.Minute), "")
	e.clock.Advance(2 * time.Minute)
	e.reopen()
	wantCode(e.t, e.spend(key, time.Minute), latchkey.CodeConflict)
	wantCode(e.t, e.spend(short, time.Minute), "")
}
