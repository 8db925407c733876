// Package propagation measures how long a session that one node has ended is still
// granted by another one, which has it in its near cache: idle, and while sixteen
// loaders read from the store as fast as they can.
package propagation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
)

const (
	loaders  = 16
	sessions = 20_000 // that the loaders read
	samples  = 1000
	patience = 15 * time.Second // for as many; but some in any case
	least    = 60
)

// sample is one revocation: how long after it was asked for, and after it was
// answered, the other node refused a lookup. The second is below 0 where that was first.
type sample struct{ asked, answered time.Duration }

func BenchmarkPropagation(b *testing.B) {
	for _, kind := range fleet.Kinds() {
		if kind.Nodes < 2 {
			continue
		}
		b.Run(kind.Name, func(b *testing.B) {
			f := kind.Start(b)
			here, there := f.Node(fleet.Setting{Cache: true}), f.Node(fleet.Setting{Cache: true})
			idle := revocations(b, here, there)
			stop := load(b, here, there)
			busy := revocations(b, here, there)
			rate := stop()
			show(b, kind.Name, "idle", idle, 0)
			show(b, kind.Name, "loaded", busy, rate)
		})
	}
}

// revocations ends sessions here, one after the other, that are looked up there.
func revocations(b *testing.B, here, there *fleet.Node) []sample {
	b.Helper()
	ctx := context.Background()
	var list []sample
	for i, began := 0, time.Now(); i < samples && (i < least || time.Since(began) < patience); i++ {
		issued, err := here.Issue(ctx, fleet.SignIn(1_000_000+i))
		if err != nil {
			b.Fatal(err)
		}
		// Into the cache: a fill may be dropped because of what goes on beside it.
		for before := there.Cache.Stats().Entries; there.Cache.Stats().Entries == before; {
			if _, err := there.Lookup(ctx, latchkey.Lookup{Token: issued.Token}); err != nil {
				b.Fatal(err)
			}
		}
		var looking sync.WaitGroup
		var looked atomic.Int64
		var refused time.Time
		var why error
		looking.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for {
				_, err := there.Lookup(ctx, latchkey.Lookup{Token: issued.Token})
				refused = time.Now()
				looked.Add(1)
				if err != nil {
					why = err
					return
				}
				nap()
			}
		})
		for looked.Load() < 2 {
			nap()
		}
		asked := time.Now()
		_, err = here.Revoke(ctx, latchkey.Revocation{ID: issued.Record.ID, Reason: "measured"})
		answered := time.Now()
		if err != nil {
			b.Fatal(err)
		}
		looking.Wait()
		if latchkey.CodeOf(why) != latchkey.CodeInvalidSession {
			b.Fatal(why)
		}
		list = append(list, sample{refused.Sub(asked), refused.Sub(answered)})
	}
	return list
}

// load has loaders read random sessions from the store, half of them by each node's
// connection. stop ends them and returns how many reads a second they made.
func load(b *testing.B, here, there *fleet.Node) (stop func() float64) {
	b.Helper()
	people := make([]int, sessions)
	for i := range people {
		people[i] = i
	}
	issued := here.Fill(b, 64, people)
	ctx, cancel := context.WithCancel(context.Background())
	var reads atomic.Int64
	var work sync.WaitGroup
	began := time.Now()
	for l := range loaders {
		store := here.Store
		if l%2 == 1 {
			store = there.Store
		}
		work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(l), 0))
			for ctx.Err() == nil {
				if _, err := store.Get(ctx, issued[rng.IntN(sessions)].Record.ID); err != nil && ctx.Err() == nil {
					b.Error(err)
					return
				}
				reads.Add(1)
			}
		})
	}
	return func() float64 {
		rate := float64(reads.Load()) / time.Since(began).Seconds()
		cancel()
		work.Wait()
		return rate
	}
}

// show reports a row, and writes the distribution for the plot.
func show(b *testing.B, store, name string, list []sample, rate float64) {
	b.Helper()
	asked, answered := make([]time.Duration, len(list)), make([]time.Duration, len(list))
	for i, s := range list {
		asked[i], answered[i] = s.asked, s.answered
	}
	us := func(v []time.Duration, q float64) float64 { return float64(paired.Quantile(v, q).Nanoseconds()) / 1e3 }
	ms := func(v []time.Duration, q float64) float64 { return us(v, q) / 1e3 }
	b.Run(name, func(b *testing.B) {
		b.ReportMetric(float64(len(list)), "samples")
		b.ReportMetric(float64(paired.Quantile(asked, 0.5).Nanoseconds()), "ns/op")
		b.ReportMetric(ms(asked, 0.5), "p50-ms")
		b.ReportMetric(ms(asked, 0.99), "p99-ms")
		b.ReportMetric(ms(asked, 1), "max-ms")
		b.ReportMetric(ms(answered, 0.5), "from-answer-p50-ms")
		b.ReportMetric(ms(answered, 0.99), "from-answer-p99-ms")
		if rate > 0 {
			b.ReportMetric(rate, "reads/s")
		}
	})
	var text strings.Builder
	for p := range 1000 {
		q := float64(p) / 1000
		fmt.Fprintf(&text, "%s/%s\t%g\t%.1f\t%.1f\n", store, name, q, us(asked, q), us(answered, q))
	}
	dir := filepath.Join("..", "out")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "propagation-"+store+"-"+name+".tsv"), []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
}
