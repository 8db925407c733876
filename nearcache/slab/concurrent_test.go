package slab

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// history is what a key's only writer did to it, for readers to judge what they see.
// Step n of a key is a Delete if n is a multiple of 4, else a Put of version n.
type history struct {
	begun, done atomic.Int64
}

func isDelete(step int64) bool { return step%4 == 0 }

// deleteIn reports whether one of the steps from..to is a Delete.
func deleteIn(from, to int64) bool { return to/4*4 >= from }

// versioned is a value that names its key and version all over.
func versioned(dst []byte, key uint64, version int64) {
	for i := 0; i+16 <= len(dst); i += 16 {
		binary.LittleEndian.PutUint64(dst[i:], key)
		binary.LittleEndian.PutUint64(dst[i+8:], uint64(version))
	}
}

// versionIn returns the version in a value, or false if it is not all of one
// version of that key.
func versionIn(value []byte, key uint64) (version int64, ok bool) {
	if len(value) < 16 || len(value)%16 != 0 {
		return 0, false
	}
	version = int64(binary.LittleEndian.Uint64(value[8:]))
	for i := 0; i < len(value); i += 16 {
		if binary.LittleEndian.Uint64(value[i:]) != key || int64(binary.LittleEndian.Uint64(value[i+8:])) != version {
			return version, false
		}
	}
	return version, len(value) == versionedSize(key, version)
}

func versionedSize(key uint64, version int64) int {
	return 16 * (1 + int(key+uint64(version)*7)%12)
}

// TestHammer lets writers and readers loose on few keys, while the index grows and
// shrinks and chunks are reclaimed under them. A reader must never see another key's
// value, one older than the last Put or Delete that returned before it asked, one
// not yet begun, or (where nothing is evicted) nothing where there is something.
func TestHammer(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg    Config
		evicts bool
		clears bool
	}{
		"growth":  {Config{MaxBytes: 16 << 20, Shards: 1, ChunkSize: 2 << 10}, false, false},
		"evict":   {Config{MaxBytes: minMaxBytes, Shards: 1, ChunkSize: 2 << 10}, true, false},
		"clear":   {Config{MaxBytes: 16 << 20, Shards: 2, ChunkSize: 4 << 10}, true, true},
		"collide": {Config{MaxBytes: 1 << 20, Shards: 1, ChunkSize: 4 << 10}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hammer{t: t, c: mustNew(t, tc.cfg), evicts: tc.evicts, keyOf: testKey}
			if name == "collide" {
				h.keyOf = func(n uint64) [16]byte { return collidingKey(h.c, n) }
			}
			var writers, others sync.WaitGroup
			for w := range uint64(2) {
				writers.Go(func() { h.write(w, 2) })
			}
			for r := range uint64(3) {
				others.Go(func() { h.read(r) })
			}
			others.Go(h.fillAndDrain)
			if tc.clears {
				others.Go(func() {
					for !h.stop.Load() {
						h.c.Clear()
						runtime.Gosched()
					}
				})
			}
			writers.Wait()
			h.stop.Store(true)
			others.Wait()
			verify(t, h.c)
			if h.hits.Load() == 0 || !tc.clears && h.c.Stats().Compactions+h.c.Stats().Evictions == 0 {
				t.Errorf("nothing happened: %d hits, %+v", h.hits.Load(), h.c.Stats())
			}
		})
	}
}

const hammerKeys = 64

type hammer struct {
	t      *testing.T
	c      *Cache
	keyOf  func(uint64) [16]byte
	keys   [hammerKeys]history
	evicts bool
	stop   atomic.Bool
	hits   atomic.Int64
}

// write makes the steps of its share of the keys, and more of them on a machine so
// busy that the readers have seen nothing yet.
func (h *hammer) write(first, stride uint64) {
	steps := int64(3000)
	if testing.Short() || underRace {
		steps = 500
	}
	for step := int64(1); step <= steps || h.hits.Load() < 100 && step < 20*steps; step++ {
		for n := first; n < hammerKeys; n += stride {
			key, hist := h.keyOf(n), &h.keys[n]
			hist.begun.Store(step)
			if isDelete(step) {
				h.c.Delete(&key)
			} else {
				h.c.PutFunc(&key, versionedSize(n, step), step, func(dst []byte) { versioned(dst, n, step) })
			}
			hist.done.Store(step)
		}
	}
}

func (h *hammer) read(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := 0; !h.stop.Load(); i++ {
		if i%64 == 0 {
			runtime.Gosched() // with few cores, readers that spin starve the writers
		}
		n := rng.Uint64N(hammerKeys)
		key, hist := h.keyOf(n), &h.keys[n]
		done := hist.done.Load()
		value, mark, ok := h.c.Get(&key)
		begun := hist.begun.Load()
		if !ok {
			// Step 0 stands for the time before the first Put.
			if !h.evicts && !deleteIn(done, begun) {
				h.t.Errorf("key %d: nothing, with step %d done and %d begun", n, done, begun)
				return
			}
			continue
		}
		h.hits.Add(1)
		version, whole := versionIn(value, n)
		if !whole || version < done || version > begun || isDelete(version) || mark != version {
			h.t.Errorf("key %d: version %d (whole: %v), mark %d, with step %d done and %d begun", n, version, whole, mark, done, begun)
			return
		}
	}
}

// fillAndDrain makes the index grow and shrink, and chunks die bit by bit. It goes
// round twice at least, however short the rest is.
func (h *hammer) fillAndDrain() {
	const first, count = 1 << 20, 3000
	value := make([]byte, 64)
	for round := 0; round < 2 || !h.stop.Load(); round++ {
		for n := range uint64(count) {
			key := testKey(first + n)
			h.c.Put(&key, value, 1)
		}
		for n := range uint64(count) {
			key := testKey(first + n*977%count)
			h.c.Delete(&key)
		}
	}
}

// TestAdvanceIsNotLost: a mark that was raised is there in every later Get, although the
// entry is moved all the time.
func TestAdvanceIsNotLost(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 1 << 20, Shards: 1, ChunkSize: 2 << 10})
	const keys = 32
	var names [keys][16]byte
	for n := range names {
		names[n] = testKey(uint64(n))
		c.Put(&names[n], []byte("value"), 0)
	}
	var stop atomic.Bool
	var churn, callers sync.WaitGroup
	churn.Go(func() {
		value := make([]byte, 64)
		rng := rand.New(rand.NewPCG(1, 2))
		for !stop.Load() {
			key := testKey(keys + rng.Uint64N(200))
			c.Put(&key, value, 1)
		}
	})
	rounds := int64(200_000)
	if testing.Short() {
		rounds = 20_000
	}
	var raised [keys]atomic.Int64
	for w := range int64(2) {
		callers.Go(func() {
			for i := range rounds {
				n := uint64(i) % keys
				key, mark := names[n], i*2+w
				c.Advance(&key, mark)
				for {
					old := raised[n].Load()
					if old >= mark || raised[n].CompareAndSwap(old, mark) {
						break
					}
				}
				floor := raised[n].Load()
				if _, got, ok := c.Get(&key); !ok || got < floor {
					t.Errorf("key %d: mark %d (%v), was %d", n, got, ok, floor)
					return
				}
			}
		})
	}
	callers.Wait()
	stop.Store(true)
	churn.Wait()
	verify(t, c)
	if st := c.Stats(); st.Compactions < 10 {
		t.Errorf("little was moved: %+v", st)
	}
}

// TestAdvanceDuringMove plays the one order of events that TestAdvanceIsNotLost may
// not meet: the mark is raised at the old place after it was copied to the new one.
func TestAdvanceDuringMove(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: minMaxBytes, Shards: 1})
	key := testKey(1)
	c.Put(&key, []byte("value"), 1)
	s := &c.shards[0]
	k0, k1 := halves(&key)
	h := c.seed.hash(k0, k1)

	s.mu.Lock()
	at, _ := s.slotFor(h, k0, k1)
	loc := s.index.Load().slots[at].Load()
	old := s.entryOf(loc)
	old.meta.Or(flagFrozen)
	returned := make(chan struct{})
	go func() {
		c.Advance(&key, 100)
		close(returned)
	}()
	for old.mark.Load() != 100 {
		runtime.Gosched()
	}
	select {
	case <-returned:
		t.Error("Advance did not wait for the move")
	default:
	}
	old.mark.Store(1) // so this is what is copied
	old.meta.And(^uint64(flagFrozen))
	s.move(at, h, old, old.words(), flagUsed)
	s.bury(loc)
	if old.meta.Load()&flagFrozen == 0 {
		t.Error("a moved entry is not marked so")
	}
	s.mu.Unlock()
	<-returned
	if value, mark, ok := c.Get(&key); !ok || mark != 100 || string(value) != "value" {
		t.Errorf("after the move: %q, %d, %v", value, mark, ok)
	}
	if _, _, e := c.find(&key); e == old || e.meta.Load()&flagFrozen != 0 {
		t.Error("the entry was not moved, or is still marked so")
	}
	verify(t, c)
}

// TestClearDuringPuts: after Clear returns, nothing put before it began is left.
func TestClearDuringPuts(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 4 << 20, Shards: 4, ChunkSize: 4 << 10})
	const keys = 256
	var done [keys]atomic.Int64
	var stop atomic.Bool
	var writers sync.WaitGroup
	for w := range uint64(2) {
		writers.Go(func() {
			for version := int64(1); !stop.Load(); version++ {
				for n := w; n < keys; n += 2 {
					key := testKey(n)
					c.Put(&key, []byte("value"), version)
					done[n].Store(version)
				}
			}
		})
	}
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for range rounds {
		var before [keys]int64
		for n := range before {
			before[n] = done[n].Load()
		}
		c.Clear()
		for n := range uint64(keys) {
			key := testKey(n)
			if _, version, ok := c.Get(&key); ok && version <= before[n] {
				t.Fatalf("key %d: version %d survived, %d was put before", n, version, before[n])
			}
		}
	}
	stop.Store(true)
	writers.Wait()
	c.Clear()
	verify(t, c)
	if st := c.Stats(); st.Entries != 0 {
		t.Errorf("%+v", st)
	}
}
