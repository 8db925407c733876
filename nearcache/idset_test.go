package nearcache

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey"
)

// ids makes IDs of several kinds: as they are drawn, counting up from either end,
// and such as are none.
func someIDs(r *rand.Rand, n int) []latchkey.ID {
	ids := make([]latchkey.ID, n)
	for i := range ids {
		id := &ids[i]
		switch i % 4 {
		case 0:
			binary.BigEndian.PutUint64(id[:8], r.Uint64())
			binary.BigEndian.PutUint64(id[8:], r.Uint64())
		case 1:
			binary.BigEndian.PutUint64(id[:8], uint64(i))
			id[8] = 0x80
		case 2:
			id[8] = 0x80
			binary.BigEndian.PutUint32(id[12:], uint32(i))
		default:
			binary.BigEndian.PutUint64(id[:8], uint64(i)<<40)
		}
	}
	return ids
}

func TestIDSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ids := someIDs(r, 40_000)
	var s idSet
	if s.has(&ids[0]) {
		t.Error("an empty set has an ID")
	}
	for i := range ids {
		if s.has(&ids[i]) {
			t.Fatalf("%v is there before it is added", ids[i])
		}
		s.add(&ids[i])
		s.add(&ids[i])
		if !s.has(&ids[i]) || s.n != i+1 {
			t.Fatalf("after %d additions there are %d, the last one: %v", i+1, s.n, s.has(&ids[i]))
		}
	}
	for i := range ids {
		if !s.has(&ids[i]) {
			t.Fatalf("%v is lost", ids[i])
		}
	}
	// No kind of ID makes the runs of used slots long.
	for p := range s.parts {
		table, run, longest := s.parts[p].Load(), 0, 0
		for i := range table.slots {
			if run++; table.slots[i].low.Load() == 0 {
				run = 0
			}
			longest = max(longest, run)
		}
		if longest > 80 {
			t.Errorf("part %d has a run of %d slots in use of %d", p, longest, len(table.slots))
		}
	}
}

// Readers see what was added before they began, while others are added.
func TestIDSetReadersAndWriter(t *testing.T) {
	ids := someIDs(rand.New(rand.NewPCG(3, 4)), 20_000)
	var s idSet
	var mu sync.Mutex
	added := 0
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for i := 0; i < len(ids); {
				mu.Lock()
				until := added
				mu.Unlock()
				for ; i < until; i++ {
					if !s.has(&ids[i]) {
						t.Errorf("ID %d is not found", i)
						return
					}
				}
			}
		})
	}
	for i := range ids {
		s.add(&ids[i])
		mu.Lock()
		added = i + 1
		mu.Unlock()
	}
	readers.Wait()
}

func BenchmarkIDSetMiss(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		r := rand.New(rand.NewPCG(7, 8))
		draw := func() (id latchkey.ID) {
			binary.BigEndian.PutUint64(id[:8], r.Uint64())
			binary.BigEndian.PutUint64(id[8:], r.Uint64())
			return id
		}
		var s idSet
		for range n {
			id := draw()
			s.add(&id)
		}
		ids := make([]latchkey.ID, 1<<16)
		for i := range ids {
			ids[i] = draw()
		}
		size := 0
		for p := range s.parts {
			size += 16 * len(s.parts[p].Load().slots)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for i := range b.N {
				if s.has(&ids[i&(len(ids)-1)]) {
					b.Fatal("found what was never added")
				}
			}
			b.ReportMetric(float64(size)/float64(n), "B/entry")
		})
	}
}
