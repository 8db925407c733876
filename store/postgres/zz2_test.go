package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
)

func TestZZMany(t *testing.T) {
	url := newURL(t)
	s := mustOpen(t, Config{URL: url, Timeout: time.Minute})
	ctx := context.Background()
	ids := make([]latchkey.ID, 20000)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < len(ids); i += 32 {
				ids[i] = add(t, s, fmt.Sprint("ann", i))
			}
		})
	}
	wg.Wait()
	tamper(t, pg.URL, "VACUUM ANALYZE")
	rs := []int{1, 2, 3, 4, 8}
	var stores []*Store
	for _, r := range rs {
		stores = append(stores, mustOpen(t, Config{URL: url, Timeout: time.Minute, Readers: r}))
	}
	for _, n := range []int{16, 64, 256} {
		got := make([][]int64, len(rs))
		for range 12 {
			for k, s := range stores {
				var done atomic.Int64
				stop := time.Now().Add(300 * time.Millisecond)
				for range n {
					wg.Go(func() {
						for time.Now().Before(stop) {
							if _, err := s.Get(ctx, ids[rand.IntN(len(ids))]); err != nil {
								t.Error(chain(err))
							}
							done.Add(1)
						}
					})
				}
				wg.Wait()
				got[k] = append(got[k], done.Load()*10/3)
			}
		}
		for k := range rs {
			slices.Sort(got[k])
			fmt.Println("callers", n, "readers", rs[k], "median", got[k][6], "max", got[k][11])
		}
	}
}
