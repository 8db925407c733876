package slab

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestModel runs random calls on a cache and on a map. Where there is room for
// all keys the two agree; where there is not, the cache may have forgotten a key, and then
// must not find it again.
func TestModel(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg     Config
		keys    int
		longest int
		evicts  bool
	}{
		"roomy":       {Config{MaxBytes: 8 << 20, Shards: 2, ChunkSize: 2 << 10}, 300, 400, false},
		"tight":       {Config{MaxBytes: minMaxBytes, Shards: 1, ChunkSize: 2 << 10}, 600, 400, true},
		"tight_large": {Config{MaxBytes: minMaxBytes, Shards: 1, ChunkSize: 4 << 10}, 60, 20_000, true},
		"tight_tiny":  {Config{MaxBytes: minMaxBytes, Shards: 2, ChunkSize: 2 << 10}, 4000, 8, true},
	} {
		t.Run(name, func(t *testing.T) {
			evicted := false
			rapid.Check(t, func(t *rapid.T) {
				c, err := New(tc.cfg)
				if err != nil {
					t.Fatal(err)
				}
				m := model{t: t, c: c, entries: make(map[uint64]modelEntry), evicts: tc.evicts, longest: tc.longest}
				// Single draws are slow; each step is a burst of calls.
				for range rapid.IntRange(1, 60).Draw(t, "bursts") {
					m.burst(rapid.SampledFrom(burstKinds).Draw(t, "kind"),
						uint64(rapid.IntRange(0, tc.keys).Draw(t, "first")),
						uint64(rapid.IntRange(1, tc.keys/2).Draw(t, "count")),
						rapid.IntRange(0, tc.longest).Draw(t, "size"))
				}
				m.compareAll(uint64(tc.keys * 2))
				verify(t, c)
				evicted = evicted || c.Stats().Evictions > 0
			})
			if evicted != tc.evicts {
				t.Errorf("evicted: %v, want %v", evicted, tc.evicts)
			}
		})
	}
}

var burstKinds = []string{"put", "put", "put", "put", "overwrite", "get", "advance", "delete", "delete", "clear"}

type modelEntry struct {
	value []byte
	mark  int64
}

type model struct {
	t       *rapid.T
	c       *Cache
	entries map[uint64]modelEntry
	evicts  bool
	longest int
	serial  int64
}

func (m *model) burst(kind string, first, count uint64, size int) {
	if kind == "clear" {
		m.c.Clear()
		clear(m.entries)
		return
	}
	for n := first; n < first+count; n++ {
		m.serial++
		switch kind {
		case "put":
			m.put(n, (size+int(n)*13)%(m.longest+1))
		case "overwrite":
			m.put(first, size)
		case "get":
			m.compare(n)
		case "advance":
			key := testKey(n)
			m.compare(n)
			mark := m.serial % 7 * 1000
			m.c.Advance(&key, mark)
			if e, ok := m.entries[n]; ok {
				e.mark = max(e.mark, mark)
				m.entries[n] = e
			}
			m.compare(n)
		case "delete":
			key := testKey(n)
			_, held := m.entries[n]
			if deleted := m.c.Delete(&key); deleted && !held || !deleted && held && !m.evicts {
				m.t.Fatalf("Delete(%d) = %v, model %v", n, deleted, held)
			}
			delete(m.entries, n)
		}
	}
}

func (m *model) put(n uint64, size int) {
	key, value := testKey(n), bytes.Repeat([]byte{byte(m.serial)}, size)
	if m.c.Put(&key, value, m.serial) != (size <= m.c.MaxValue()) {
		m.t.Fatalf("Put of %d bytes", size)
	}
	delete(m.entries, n)
	if size <= m.c.MaxValue() {
		m.entries[n] = modelEntry{value, m.serial}
	}
	// An entry just put is there, full or not.
	if _, _, ok := m.c.Get(&key); ok != (size <= m.c.MaxValue()) {
		m.t.Fatalf("Get(%d) after Put: %v", n, ok)
	}
}

func (m *model) compare(n uint64) {
	key := testKey(n)
	got, mark, ok := m.c.Get(&key)
	want, held := m.entries[n]
	switch {
	case ok && !held:
		m.t.Fatalf("Get(%d) found what was removed", n)
	case !ok && held && !m.evicts:
		m.t.Fatalf("Get(%d) lost it", n)
	case !ok:
		delete(m.entries, n)
	case !bytes.Equal(got, want.value) || mark != want.mark:
		m.t.Fatalf("Get(%d) = %d bytes, mark %d; want %d bytes, mark %d", n, len(got), mark, len(want.value), want.mark)
	}
}

func (m *model) compareAll(keys uint64) {
	for n := range keys {
		m.compare(n)
	}
	if st := m.c.Stats(); st.Entries != int64(len(m.entries)) || st.Bytes > st.MaxBytes {
		m.t.Fatalf("%d entries held, %d counted; %d bytes of %d", len(m.entries), st.Entries, st.Bytes, st.MaxBytes)
	}
}
