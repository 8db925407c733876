package slab

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

func mustNew(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify recounts what the shards keep count of. Nothing else may use the cache.
func verify(t interface{ Fatalf(string, ...any) }, c *Cache) {
	for n := range c.shards {
		s := &c.shards[n]
		ix := s.index.Load()
		held := int64(unsafe.Sizeof(*s)) + ix.bytes() + int64(len(s.ring))*int64(unsafe.Sizeof(chunkRef{})+unsafe.Sizeof(chunkInfo{}))
		var written int64
		for i := range s.ring {
			present := s.ring[i].seq.Load() != noChunk
			if present != (s.info[i].size > 0) || present != (s.ring[i].base.Load() != nil) {
				t.Fatalf("shard %d: ring place %d is half empty", n, i)
			}
			held += int64(s.info[i].size) * wordBytes
			written += int64(s.info[i].used)
		}
		perChunk := make(map[uint64]uint32)
		var entries, tombs, empty int
		var live int64
		for i := range ix.slots {
			switch loc := ix.slots[i].Load(); loc {
			case locEmpty:
				empty++
			case locTomb:
				tombs++
			default:
				entries++
				e := s.entryOf(loc)
				if s.refOf(s.seqOf(loc)).seq.Load() != locSeq(loc) {
					t.Fatalf("shard %d: slot %d points at a dropped chunk", n, i)
				}
				h := s.seed.hash(e.k0, e.k1)
				if at := s.slotHolding(h, loc); at != i || &c.shards[h>>tagBits&c.mask] != s {
					t.Fatalf("shard %d: slot %d is not where its key leads (%d)", n, i, at)
				}
				perChunk[s.seqOf(loc)] += e.words()
				live += int64(e.words())
			}
		}
		for seq, words := range perChunk {
			if s.infoOf(seq).live != words {
				t.Fatalf("shard %d: chunk %d counts %d live words, has %d", n, seq, s.infoOf(seq).live, words)
			}
		}
		if s.entries != entries || s.tombs != tombs || s.live != live || s.written != written || s.held != held || empty == 0 {
			t.Fatalf("shard %d counts entries %d tombs %d live %d written %d held %d; has %d %d %d %d %d and %d empty slots",
				n, s.entries, s.tombs, s.live, s.written, s.held, entries, tombs, live, written, held, empty)
		}
		if s.held > s.limit {
			t.Fatalf("shard %d holds %d bytes, limit %d", n, s.held, s.limit)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want []string
	}{
		"negative_bytes": {Config{MaxBytes: -1}, []string{"MaxBytes is -1"}},
		"too_few_bytes":  {Config{MaxBytes: 100}, []string{"at least 65536"}},
		"shards_odd":     {Config{Shards: 3}, []string{"Shards is 3"}},
		"shards_many":    {Config{Shards: 2048}, []string{"Shards is 2048"}},
		"chunk_small":    {Config{ChunkSize: 8}, []string{"ChunkSize is 8"}},
		"chunk_large":    {Config{ChunkSize: 1 << 20}, []string{"ChunkSize is 1048576"}},
		"chunk_uneven":   {Config{ChunkSize: 4097}, []string{"ChunkSize is 4097"}},
		"all_at_once":    {Config{MaxBytes: 1, Shards: -2, ChunkSize: 1}, []string{"MaxBytes", "Shards", "ChunkSize"}},
		"thin_shards":    {Config{MaxBytes: 1 << 20, Shards: 1024}, []string{"eight chunks"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(tc.cfg)
			if err == nil || c != nil {
				t.Fatalf("New(%+v) = %v, %v", tc.cfg, c, err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{MaxBytes: minMaxBytes},
		{MaxBytes: minMaxBytes, Shards: 4}, // as thin as shards get
		{MaxBytes: 2 << 20, Shards: 1, ChunkSize: maxChunkBytes},
		{MaxBytes: 100 << 20, ChunkSize: minChunkBytes},
		{Shards: 1},
	} {
		c := mustNew(t, cfg)
		verify(t, c)
		value := make([]byte, c.MaxValue())
		for i := range uint64(40) {
			key := testKey(i)
			if !c.Put(&key, value, 1) {
				t.Fatalf("%+v: a value of MaxValue %d was refused", cfg, c.MaxValue())
			}
			if got, _, ok := c.Get(&key); !ok || len(got) != c.MaxValue() {
				t.Fatalf("%+v: it is not held", cfg)
			}
		}
		verify(t, c)
	}
}

// TestShardLayout: what readers load shares no cache line with what writers change.
func TestShardLayout(t *testing.T) {
	var s shard
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sized for 64-bit platforms")
	}
	if at := unsafe.Offsetof(s.mu); at != 64 {
		t.Errorf("the mutex is at %d", at)
	}
	// 8 spare bytes at the end: the allocator may put a header before the first shard.
	if size, end := unsafe.Sizeof(s), unsafe.Offsetof(s.clears)+8; size%64 != 0 || size-end < 8 {
		t.Errorf("the size is %d, %d of it used", size, end)
	}
}

func TestBasics(t *testing.T) {
	c := mustNew(t, Config{})
	key, other := testKey(1), testKey(2)
	if _, _, ok := c.Get(&key); ok {
		t.Fatal("an empty cache holds something")
	}
	if c.Delete(&key) {
		t.Fatal("deleted nothing")
	}
	c.Advance(&key, 5)
	if !c.Put(&key, []byte("one"), 10) || !c.Put(&other, nil, -3) {
		t.Fatal("refused")
	}
	want := func(key [16]byte, value string, mark int64) {
		t.Helper()
		if got, m, ok := c.Get(&key); !ok || string(got) != value || m != mark || cap(got) != len(got) {
			t.Fatalf("Get = %q (cap %d), %d, %v; want %q, %d", got, cap(got), m, ok, value, mark)
		}
	}
	want(key, "one", 10)
	want(other, "", -3)
	c.Advance(&key, 9)
	want(key, "one", 10)
	c.Advance(&key, 11)
	want(key, "one", 11)
	c.Put(&key, []byte("two"), 7)
	want(key, "two", 7)
	if !c.Delete(&key) || c.Delete(&key) {
		t.Fatal("Delete reports the wrong thing")
	}
	want(other, "", -3)
	c.Clear()
	if _, _, ok := c.Get(&other); ok {
		t.Fatal("held after Clear")
	}
	if st := c.Stats(); st.Entries != 0 || st.LiveBytes != 0 || st.DeadBytes != 0 || st.Clears != 1 {
		t.Fatalf("after Clear: %+v", st)
	}
	verify(t, c)
}

// TestRefusedPutRemoves: a value that is too long must not leave an older one behind.
func TestRefusedPutRemoves(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 1 << 20})
	key := testKey(1)
	c.Put(&key, []byte("old"), 1)
	if c.Put(&key, make([]byte, c.MaxValue()+1), 1) {
		t.Fatal("took more than MaxValue")
	}
	if _, _, ok := c.Get(&key); ok {
		t.Fatal("the older value is still held")
	}
	if c.PutFunc(&key, -1, 0, func([]byte) { t.Error("fill called") }) {
		t.Fatal("took a negative size")
	}
}

func TestFillPanics(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: minMaxBytes})
	key := testKey(1)
	c.Put(&key, []byte("old"), 1)
	for _, size := range []int{3, c.MaxValue()} {
		func() {
			defer func() { _ = recover() }()
			c.PutFunc(&key, size, 2, func(dst []byte) { dst[0] = 'x'; panic("fill") })
		}()
		if got, mark, ok := c.Get(&key); !ok || string(got) != "old" || mark != 1 {
			t.Fatalf("after a panic: %q, %d, %v", got, mark, ok)
		}
	}
	for i := range uint64(5000) {
		key := testKey(i)
		c.Put(&key, []byte("more"), 1)
	}
	verify(t, c)
}

// TestCollisions uses keys that all hash to 0: with the second half equal to the
// seed's the product is zero. All share a shard, a slot and a tag, so only the
// comparison of keys tells them apart.
func TestCollisions(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: 4 << 20})
	keys := make([][16]byte, 500)
	for i := range keys {
		keys[i] = collidingKey(c, uint64(i))
		if k0, k1 := halves(&keys[i]); c.seed.hash(k0, k1) != 0 {
			t.Fatal("the key does not collide")
		}
		c.Put(&keys[i], fmt.Append(nil, "value ", i), int64(i))
	}
	for i := range keys {
		if i%3 == 0 {
			c.Delete(&keys[i])
		}
	}
	for i := range keys {
		got, mark, ok := c.Get(&keys[i])
		if ok != (i%3 != 0) || ok && (string(got) != fmt.Sprint("value ", i) || mark != int64(i)) {
			t.Fatalf("key %d: %q, %d, %v", i, got, mark, ok)
		}
	}
	verify(t, c)
}

func collidingKey(c *Cache, n uint64) (key [16]byte) {
	for i := range 8 {
		key[i], key[8+i] = byte(n>>(8*i)), byte(c.seed[1]>>(8*i))
	}
	return key
}

// TestHashSpreads: UUIDv7 keys made in order spread evenly over shards, slots and tags.
func TestHashSpreads(t *testing.T) {
	c := mustNew(t, Config{})
	const keys, buckets = 1 << 16, 64
	var shards, slots, tags [buckets]int
	for i := range uint64(keys) {
		key := testKey(i)
		k0, k1 := halves(&key)
		h := c.seed.hash(k0, k1)
		shards[h>>tagBits%buckets]++
		slots[slotOf(h, buckets)]++
		tags[tagOf(h)%buckets]++
	}
	for name, counts := range map[string][buckets]int{"shards": shards, "slots": slots, "tags": tags} {
		for _, n := range counts {
			// The mean is 1024, the standard deviation 32.
			if n < 1024-8*32 || n > 1024+8*32 {
				t.Errorf("%s: %d of %d keys in one of %d", name, n, keys, buckets)
			}
		}
	}
}

// TestValueStays: what was handed out is not rewritten by anything that follows.
func TestValueStays(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: minMaxBytes})
	type copied struct{ got, want []byte }
	var handed []copied
	for i := range uint64(3000) {
		key := testKey(i % 400)
		c.Put(&key, bytes.Repeat([]byte{byte(i)}, int(i%300)), 1)
		if i%10 == 0 {
			got, _, _ := c.Get(&key)
			handed = append(handed, copied{got, bytes.Clone(got)})
		}
		if i%700 == 0 {
			c.Clear()
		}
	}
	for i, h := range handed {
		if !bytes.Equal(h.got, h.want) {
			t.Fatalf("value %d changed", i)
		}
	}
}

func TestAllocations(t *testing.T) {
	c := mustNew(t, Config{})
	key, absent, value := testKey(1), testKey(2), make([]byte, 200)
	c.Put(&key, value, 1)
	var mark int64
	for name, f := range map[string]func(){
		"get":     func() { c.Get(&key) },
		"miss":    func() { c.Get(&absent) },
		"advance": func() { mark++; c.Advance(&key, mark) },
		"delete":  func() { c.Delete(&absent) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestSequenceWraps: sequence numbers pass the bits a loc has for them.
func TestSequenceWraps(t *testing.T) {
	c := mustNew(t, Config{MaxBytes: minMaxBytes, Shards: 1})
	s := &c.shards[0]
	s.next = seqMask - 20
	s.tail = s.next
	value := make([]byte, 300)
	for i := range uint64(5000) {
		key := testKey(i % 1000)
		value[0] = byte(i)
		c.Put(&key, value, int64(i))
		if got, mark, ok := c.Get(&key); !ok || got[0] != byte(i) || mark != int64(i) {
			t.Fatalf("put %d: %v, %d, %v", i, got, mark, ok)
		}
	}
	if s.next <= seqMask {
		t.Fatal("did not wrap")
	}
	verify(t, c)
}
