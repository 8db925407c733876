package slab

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	million    = 1_000_000
	hotSet     = 4096
	benchValue = 200
)

// testKey has the shape of a UUIDv7: time first, then random bits.
func testKey(n uint64) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:8], (1_760_000_000_000+n/50)<<16|0x7000|n&0xfff)
	rng := rand.NewPCG(n, 7)
	binary.LittleEndian.PutUint64(key[8:], rng.Uint64())
	key[8] = key[8]&0x3f | 0x80
	return key
}

// resident is a cache of a million entries, made once for all benchmarks: they read
// it, and what they put replaces what it holds.
var resident = sync.OnceValue(func() (r struct {
	cache *Cache
	keys  [][16]byte
}) {
	r.cache, _ = New(Config{MaxBytes: 512 << 20})
	r.keys = make([][16]byte, million)
	var value [benchValue]byte
	for i := range r.keys {
		r.keys[i] = testKey(uint64(i))
		r.cache.Put(&r.keys[i], value[:], int64(i))
	}
	return r
})

func BenchmarkGetHot(b *testing.B) {
	r := resident()
	hot := make([][16]byte, hotSet)
	for i := range hot {
		hot[i] = r.keys[i*(million/hotSet)]
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, ok := r.cache.Get(&hot[i%hotSet]); !ok {
			b.Fatal("not held")
		}
		i++
	}
}

func BenchmarkGetHotParallel(b *testing.B) {
	r := resident()
	hot := make([][16]byte, hotSet)
	for i := range hot {
		hot[i] = r.keys[i*(million/hotSet)]
	}
	var worker atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := int(worker.Add(1)) * 1031
		for pb.Next() {
			if _, _, ok := r.cache.Get(&hot[i%hotSet]); !ok {
				b.Error("not held")
				return
			}
			i++
		}
	})
}

func BenchmarkGetUniform(b *testing.B) {
	r := resident()
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := r.cache.Get(&r.keys[rng.IntN(million)]); !ok {
			b.Fatal("not held")
		}
	}
}

func BenchmarkGetMiss(b *testing.B) {
	r := resident()
	absent := make([][16]byte, hotSet)
	for i := range absent {
		absent[i] = testKey(uint64(1)<<40 + uint64(i))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, ok := r.cache.Get(&absent[i%hotSet]); ok {
			b.Fatal("held")
		}
		i++
	}
}

func BenchmarkAdvance(b *testing.B) {
	r := resident()
	var mark int64 = million
	b.ReportAllocs()
	for b.Loop() {
		mark++
		r.cache.Advance(&r.keys[mark%hotSet], mark)
	}
}

// BenchmarkPut replaces entries: half of what is written is dead soon, so it
// includes compaction.
func BenchmarkPut(b *testing.B) {
	r := resident()
	rng := rand.New(rand.NewPCG(3, 4))
	var value [benchValue]byte
	b.ReportAllocs()
	for b.Loop() {
		r.cache.Put(&r.keys[rng.IntN(million)], value[:], 1)
	}
}

// BenchmarkPutEvict puts new keys into a full cache.
func BenchmarkPutEvict(b *testing.B) {
	c, err := New(Config{MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	var value [benchValue]byte
	var key [16]byte
	rng := rand.NewPCG(5, 6)
	put := func() {
		binary.LittleEndian.PutUint64(key[8:], rng.Uint64())
		c.Put(&key, value[:], 1)
	}
	for range 400_000 {
		put()
	}
	b.ReportAllocs()
	for b.Loop() {
		put()
	}
}

func BenchmarkPutDelete(b *testing.B) {
	c, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	var value [benchValue]byte
	key := testKey(1)
	b.ReportAllocs()
	for b.Loop() {
		c.Put(&key, value[:], 1)
		c.Delete(&key)
	}
}

// BenchmarkCollector is a full collection with a million entries resident; all of
// its time is the collector's, so ns/op is what the heap costs.
func BenchmarkCollector(b *testing.B) {
	r := resident()
	for b.Loop() {
		runtime.GC()
	}
	runtime.KeepAlive(r)
}

// collections returns the fastest and the median time of a full collection.
func collections() [2]time.Duration {
	var took [21]time.Duration
	for i := range took {
		start := time.Now()
		runtime.GC()
		took[i] = time.Since(start)
	}
	slices.Sort(took[:])
	return [2]time.Duration{took[0], took[len(took)/2]}
}

// TestMillion reports what a million entries of 200 bytes cost in memory and in a
// full collection. It asserts the memory, which does not depend on the machine.
func TestMillion(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("a quarter of a gigabyte, in -short or under the race detector")
	}
	c := mustNew(t, Config{MaxBytes: 512 << 20})
	empty := collections()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	value := make([]byte, benchValue)
	for i := range uint64(million) {
		key := testKey(i)
		if !c.Put(&key, value, 1) {
			t.Fatal("refused")
		}
	}
	st := c.Stats()
	if st.Entries != million {
		t.Fatalf("%d entries", st.Entries)
	}
	counted := float64(st.Bytes)/million - benchValue
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc-before.HeapAlloc)/million - benchValue
	t.Logf("overhead over the value: %.1f B an entry by Stats, %.1f B by the heap; index %.1f B an entry", counted, heap, float64(st.IndexBytes)/million)
	t.Logf("full collection, fastest and median of 21: %v; before, with an empty cache: %v", collections(), empty)
	if counted > 48 || heap > 50 {
		t.Errorf("overhead %.1f B (heap %.1f B) an entry, want at most 48", counted, heap)
	}
	runtime.KeepAlive(c)
}
