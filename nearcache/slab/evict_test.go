package slab

import (
	"container/list"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestBound fills caches of several shapes far beyond their bound, with values of all
// sizes, and checks the bound after each call.
func TestBound(t *testing.T) {
	for name, cfg := range map[string]Config{
		"smallest":   {MaxBytes: minMaxBytes},
		"one_shard":  {MaxBytes: 1 << 20, Shards: 1},
		"many":       {MaxBytes: 2 << 20, Shards: 32, ChunkSize: 4 << 10},
		"big_chunks": {MaxBytes: 4 << 20, Shards: 2, ChunkSize: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, cfg)
			rng := rand.New(rand.NewPCG(1, 1))
			value := make([]byte, c.MaxValue())
			var put int64
			for put < 8*c.maxBytes {
				size := rng.IntN(400)
				if rng.IntN(50) == 0 {
					size = rng.IntN(c.MaxValue() + 1)
				}
				key := testKey(rng.Uint64N(1 << 20))
				if !c.Put(&key, value[:size], 1) {
					t.Fatalf("%d bytes refused", size)
				}
				put += int64(size)
				key = testKey(rng.Uint64N(1 << 20))
				c.Get(&key)
				if st := c.Stats(); st.Bytes > c.maxBytes {
					t.Fatalf("%d bytes held, bound %d", st.Bytes, c.maxBytes)
				}
			}
			verify(t, c)
			// Room is used, not just kept free: what is neither live, dead nor index is the
			// ends of chunks and the room kept for a reclamation.
			if st := c.Stats(); st.Evictions == 0 || st.LiveBytes < c.maxBytes/3 {
				t.Errorf("poor use of %d bytes: %+v", c.maxBytes, st)
			}
		})
	}
}

// TestHeap: after a collection the process holds no more than Stats says.
func TestHeap(t *testing.T) {
	const bound = 32 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := mustNew(t, Config{MaxBytes: bound})
	value := make([]byte, 200)
	for i := range uint64(400_000) {
		key := testKey(i)
		c.Put(&key, value, 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	st := c.Stats()
	t.Logf("heap %d, Stats %d, bound %d", grown, st.Bytes, bound)
	if grown > bound || st.Bytes > bound || st.Bytes < bound*9/10 {
		t.Errorf("heap grew by %d, Stats says %d, bound %d", grown, st.Bytes, bound)
	}
	runtime.KeepAlive(c)
}

// TestAllInUse: with all entries in use, all of the time, each Put still returns, with
// bounded work, and its entry is there.
func TestAllInUse(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "own_chunks": 3000} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, Config{MaxBytes: 128 << 10, Shards: 1, ChunkSize: 4 << 10})
			value := make([]byte, size)
			const puts, window = 2000, 1500
			most := uint64(0)
			for i := range uint64(puts) {
				for n := max(i, window) - window; n < i; n++ {
					key := testKey(n)
					c.Get(&key)
				}
				before := c.Stats()
				key := testKey(i)
				if !c.Put(&key, value, 1) {
					t.Fatal("refused")
				}
				if _, _, ok := c.Get(&key); !ok {
					t.Fatal("not there")
				}
				after := c.Stats()
				most = max(most, after.Reinsertions-before.Reinsertions)
			}
			// patience rounds of at most a chunk each, for a chunk and for an index of one.
			if limit := uint64(4 * patience * max(1, (4<<10)/(headerBytes+size))); most == 0 || most > limit {
				t.Errorf("%d entries kept in one call, want 1 to %d", most, limit)
			}
			verify(t, c)
		})
	}
}

// TestReinsertion: an entry that is read outlives any number that are not.
func TestReinsertion(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 256 << 10, Shards: 1})
	hot, cold := testKey(0), testKey(1)
	c.Put(&hot, []byte("hot"), 7)
	c.Put(&cold, []byte("cold"), 7)
	value := make([]byte, 100)
	for i := range uint64(20_000) {
		key := testKey(10 + i)
		c.Put(&key, value, 1)
		if got, mark, ok := c.Get(&hot); !ok || string(got) != "hot" || mark != 7 {
			t.Fatalf("after %d puts: %q, %d, %v", i, got, mark, ok)
		}
	}
	if _, _, ok := c.Get(&cold); ok {
		t.Error("what was never read is still there")
	}
	if st := c.Stats(); st.Reinsertions == 0 || st.Evictions == 0 {
		t.Errorf("%+v", st)
	}
}

// TestDeadBytes: overwriting and deleting, far below the bound, does not leave memory
// behind.
func TestDeadBytes(t *testing.T) {
	value := make([]byte, 200)
	const keys, room = 1000, 64 << 20
	fill := func(c *Cache) {
		for i := range uint64(keys) {
			key := testKey(i)
			c.Put(&key, value, 1)
		}
	}
	for name, churn := range map[string]func(c *Cache){
		"overwrite": func(c *Cache) {
			for range 100 {
				fill(c)
			}
		},
		"put_delete": func(c *Cache) {
			fill(c)
			for i := range uint64(100_000) {
				key := testKey(keys + i)
				c.Put(&key, value, 1)
				c.Delete(&key)
			}
		},
		"delete_late": func(c *Cache) { // a tenth stays, spread over all chunks
			for i := range uint64(10 * keys) {
				key := testKey(keys + i)
				if i%10 == 0 {
					key = testKey(i / 10)
				}
				c.Put(&key, value, 1)
			}
			for i := range uint64(10 * keys) {
				key := testKey(keys + i)
				c.Delete(&key)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, Config{MaxBytes: room, Shards: 4, ChunkSize: 16 << 10})
			churn(c)
			verify(t, c)
			st := c.Stats()
			if st.Entries != keys || st.Evictions != 0 {
				t.Fatalf("%+v", st)
			}
			// Two chunks a shard may be dead, or a quarter.
			if allowed := max(st.LiveBytes/3, 4*2*(16<<10)) + (16 << 10); st.DeadBytes > allowed {
				t.Errorf("%d dead bytes beside %d live, allowed %d", st.DeadBytes, st.LiveBytes, allowed)
			}
			for i := range uint64(keys) {
				key := testKey(i)
				if _, _, ok := c.Get(&key); !ok {
					t.Fatalf("key %d lost", i)
				}
			}
			for i := range uint64(keys) {
				key := testKey(i)
				c.Delete(&key)
			}
			verify(t, c)
			if st := c.Stats(); st.Entries != 0 || st.LiveBytes != 0 || st.IndexBytes > 4*1024 || st.DeadBytes > 4*2*(16<<10) {
				t.Errorf("all deleted: %+v", st)
			}
		})
	}
}

// TestDeadChunkGoesAtOnce: a chunk does not wait for others to have dead entries too.
func TestDeadChunkGoesAtOnce(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 1 << 20, Shards: 1, ChunkSize: 16 << 10})
	before := c.Stats().Bytes
	key := testKey(1)
	c.Put(&key, make([]byte, 10<<10), 1)
	if c.Stats().Bytes < before+10<<10 {
		t.Fatalf("holds %d bytes more", c.Stats().Bytes-before)
	}
	c.Delete(&key)
	if after := c.Stats().Bytes; after != before {
		t.Errorf("%d bytes left", after-before)
	}
}

// lru is an exact one, of a number of entries.
type lru struct {
	size  int
	order *list.List
	at    map[uint64]*list.Element
}

func (l *lru) request(n uint64) (hit bool) {
	if e, ok := l.at[n]; ok {
		l.order.MoveToFront(e)
		return true
	}
	l.at[n] = l.order.PushFront(n)
	if len(l.at) > l.size {
		last := l.order.Back()
		delete(l.at, last.Value.(uint64))
		l.order.Remove(last)
	}
	return false
}

// TestHitRatio compares the cache with an exact LRU of as many entries on requests of
// sessions by a Zipf law, of sessions that come and go, and with a scan between.
func TestHitRatio(t *testing.T) {
	requests := uint64(600_000)
	if underRace {
		requests = 100_000
	}
	rng := rand.New(rand.NewPCG(11, 12))
	zipf := rand.NewZipf(rng, 1.1, 16, 200_000)
	mild := rand.NewZipf(rng, 1.01, 100, 200_000)
	for name, next := range map[string]func(i uint64) uint64{
		"zipf":      func(uint64) uint64 { return zipf.Uint64() },
		"zipf_mild": func(uint64) uint64 { return mild.Uint64() },
		"churn":     func(i uint64) uint64 { return i/20 + zipf.Uint64()%50_000 },
		"scan": func(i uint64) uint64 {
			if i%(requests/3) < requests/30 {
				return 1<<32 + i
			}
			return zipf.Uint64()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := mustNew(t, Config{MaxBytes: 2 << 20, Shards: 2})
			trace := make([]uint64, requests)
			value := make([]byte, 200)
			hits := 0
			for i := range trace {
				trace[i] = next(uint64(i))
				key := testKey(trace[i])
				if _, _, ok := c.Get(&key); ok {
					hits++
				} else {
					c.Put(&key, value, 1)
				}
			}
			st := c.Stats()
			exact := lru{size: int(st.Entries), order: list.New(), at: make(map[uint64]*list.Element)}
			exactHits := 0
			for _, n := range trace {
				if exact.request(n) {
					exactHits++
				}
			}
			ours, theirs := float64(hits)/float64(requests), float64(exactHits)/float64(requests)
			t.Logf("hit ratio %.4f, exact LRU of %d entries %.4f; %d reinsertions, %d evictions", ours, st.Entries, theirs, st.Reinsertions, st.Evictions)
			if ours < theirs-0.01 {
				t.Errorf("hit ratio %.4f, exact LRU %.4f", ours, theirs)
			}
		})
	}
}
