package nearcache_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

// tracked is a node with a list of n entries, whose lease does not lapse.
func tracked(tb testing.TB, n int) (*nearcache.Cache, []latchkey.ID, latchkey.Moment) {
	tb.Helper()
	s, err := memory.New(memory.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	c, err := nearcache.New(nearcache.Config{Store: s, Staleness: time.Minute})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	c.Start()
	if err := c.Track(); err != nil {
		tb.Fatal(err)
	}
	for !c.Stats().ChangedLoaded || c.Stats().LeaseAge < 0 {
		time.Sleep(time.Millisecond)
	}
	r := rand.New(rand.NewPCG(5, 6))
	draw := func() (id latchkey.ID) {
		for i := range id {
			id[i] = byte(r.Uint32())
		}
		return id
	}
	for range n {
		c.Drop(draw())
	}
	ids := make([]latchkey.ID, 4096)
	for i := range ids {
		ids[i] = draw()
	}
	return c, ids, latchkey.SystemClock().Now()
}

func TestUnchangedAllocatesNothing(t *testing.T) {
	c, ids, now := tracked(t, 1000)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if i++; !c.Unchanged(ids[i%len(ids)], 1, now, time.Minute) {
			t.Error("not vouched for")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkUnchanged(b *testing.B) {
	for _, entries := range []int{0, 1000, 15_000} {
		c, ids, now := tracked(b, entries)
		b.Run(fmt.Sprintf("%d/one", entries), func(b *testing.B) {
			for i := range b.N {
				c.Unchanged(ids[i%len(ids)], 1, now, time.Minute)
			}
		})
		b.Run(fmt.Sprintf("%d/cores", entries), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.Unchanged(ids[i%len(ids)], 1, now, time.Minute)
				}
			})
		})
	}
}
