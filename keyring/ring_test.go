package keyring

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testKey(id ID, from time.Duration) Key {
	return NewKey(id, [32]byte{byte(id), 1}, at(from))
}

func TestActive(t *testing.T) {
	retired := Key{ID: 4, ActiveFrom: at(3 * time.Hour), Retired: at(4 * time.Hour)}
	r, err := New(testKey(1, 0), testKey(5, time.Hour), testKey(3, 2*time.Hour), testKey(2, time.Hour), retired)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		now  time.Duration
		want ID
	}{
		{-time.Hour, 1}, // the clock was stepped back: the first to start
		{0, 1},
		{time.Hour - time.Microsecond, 1},
		{time.Hour, 5}, // of 2 and 5, the higher
		{2 * time.Hour, 3},
		{9 * time.Hour, 3}, // not the retired one
	} {
		if id, ok := r.Active(at(c.now)); id != c.want || !ok {
			t.Errorf("Active(%s) = %d, %v; want %d", c.now, id, ok, c.want)
		}
	}
	var zero Ring
	if id, ok := zero.Active(testTime); ok || id != 0 || zero.Version() != 0 || zero.Accepts(0) || len(zero.Keys(testTime)) != 0 {
		t.Error("the zero Ring has keys")
	}
}

// TestActiveIsTheLatest checks against the plain reading of the rule.
func TestActiveIsTheLatest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.ByteRange(1, 255), 1, 12, rapid.ID[byte]).Draw(t, "ids")
		var keys []Key
		for _, id := range ids {
			k := testKey(ID(id), time.Duration(rapid.IntRange(-3, 3).Draw(t, "from"))*time.Second)
			if len(keys) > 0 && rapid.Bool().Draw(t, "retired") {
				k.Retired, k.secret = testTime, nil
			}
			keys = append(keys, k)
		}
		r, err := New(keys...)
		if err != nil {
			t.Fatal(err)
		}
		now := at(time.Duration(rapid.IntRange(-4, 4).Draw(t, "now")) * time.Second)
		var best *Key
		for i, k := range keys {
			if k.acceptable() && !k.ActiveFrom.After(now) && (best == nil || k.ActiveFrom.After(best.ActiveFrom) ||
				k.ActiveFrom.Equal(best.ActiveFrom) && k.ID > best.ID) {
				best = &keys[i]
			}
		}
		id, ok := r.Active(now)
		if best != nil && id != best.ID || !ok || !r.Accepts(id) {
			t.Fatalf("Active = %d, %v; want %v", id, ok, best)
		}
		active := 0
		for _, i := range r.Keys(now) {
			if i.State == StateActive {
				active++
			}
			if r.Accepts(i.ID) == (i.State == StateRetired) {
				t.Fatalf("key %d is %s and Accepts is %v", i.ID, i.State, r.Accepts(i.ID))
			}
		}
		if active != 1 {
			t.Fatalf("%d active keys", active)
		}
	})
}

func TestNewRefusals(t *testing.T) {
	good := testKey(1, 0)
	twin := good
	twin.ID = 2
	undead := testKey(3, 0)
	undead.Retired = testTime
	for _, c := range []struct {
		name string
		keys []Key
		says []string
	}{
		{"none", nil, []string{"no acceptable key"}},
		{"only_retired", []Key{{ID: 1, Retired: testTime}}, []string{"no acceptable key"}},
		{"id_zero", []Key{testKey(0, 0)}, []string{"key 0: the key id must be 1 to 255"}},
		{"no_bytes", []Key{{ID: 7}}, []string{"key 7: an acceptable key needs its bytes"}},
		{"zeros", []Key{NewKey(7, [32]byte{}, testTime)}, []string{"key 7: the key is all zeros"}},
		{"retired_with_bytes", []Key{good, undead}, []string{"key 3: a retired key must not have its bytes"}},
		{"same_id", []Key{good, NewKey(1, [32]byte{9}, testTime)}, []string{"the same key id"}},
		{"same_bytes_and_more", []Key{good, twin, undead}, []string{"key 2: the same key bytes as key 1", "key 3: a retired"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.keys...)
			wantError(t, err, KindUsage, c.says...)
		})
	}
}

func TestSet(t *testing.T) {
	r, err := Generate(testTime)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := r.Active(testTime); id != 1 || !ok {
		t.Errorf("a generated ring has the active key %d, %v", id, ok)
	}
	step := func(wantChange bool, keys ...Key) {
		t.Helper()
		before := r.Version()
		changed, err := r.Set(keys...)
		if err != nil || changed != wantChange || (r.Version() > before) != wantChange {
			t.Errorf("Set = %v, %v with versions %d, %d; want %v", changed, err, before, r.Version(), wantChange)
		}
	}
	one, two := testKey(1, 0), testKey(2, 0)
	step(true, one, two)
	step(false, two, one) // the same set
	step(true, one)
	later := one
	later.ActiveFrom = at(time.Hour)
	step(true, later)
	version := r.Version()
	_, err = r.Set()
	wantError(t, err, KindUsage)
	if r.Version() != version || !r.Accepts(1) {
		t.Error("a refused Set changed the keys")
	}
	if changed, err := r.Reload(); changed || err != nil {
		t.Errorf("Reload of a ring in memory = %v, %v", changed, err)
	}
	fromFile, err := Open(newFile(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = fromFile.Set(one)
	wantError(t, err, KindReadOnly)
}

// TestChangeUnderReaders: readers during changes see one set or the other, and a
// version that tells which.
func TestChangeUnderReaders(t *testing.T) {
	one, two := testKey(1, 0), testKey(2, 0)
	r, err := New(one) // odd versions have key 1, even ones key 2
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				v := r.Version()
				id, ok := r.Active(testTime)
				_, okMAC := r.MAC(id, PurposeToken, []byte("m"))
				if v == r.Version() && (!ok || !okMAC || uint64(id)%2 != v%2) {
					t.Errorf("version %d, key %d, %v, %v", v, id, ok, okMAC)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 1000 {
		k := two
		if i%2 == 1 {
			k = one
		}
		if changed, err := r.Set(k); !changed || err != nil {
			t.Errorf("Set = %v, %v", changed, err)
		}
	}
	close(done)
	wg.Wait()
	if r.Version() != 1001 {
		t.Errorf("version %d after 1000 changes", r.Version())
	}
}
