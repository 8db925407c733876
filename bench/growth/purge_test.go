package growth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
)

const (
	readers = 8
	// lookups a second, of all readers together. They come at a rate and not one after
	// the other: a closed loop would keep both processors busy by itself, and tell how
	// the system shares them out rather than whom a purge keeps waiting.
	lookups = 2000
	creates = 50               // a second
	quiet   = 10 * time.Second // before and after the purge
)

// purge ends all sessions, adds a tenth as many, and measures lookups of those without
// a purge, and while the ended ones are purged as the daemon does it.
func purge(b *testing.B, kind fleet.Kind, n *fleet.Node, size int) {
	ctx := context.Background()
	began := time.Now()
	if _, err := n.Revoke(ctx, latchkey.Revocation{All: true, Reason: "measured"}); err != nil {
		b.Fatal(err)
	}
	live := make([]int, size/10)
	for i := range live {
		live[i] = size + i/perPerson
	}
	var ids []latchkey.ID
	for _, issued := range n.Fill(b, callers, live) {
		ids = append(ids, issued.Record.ID)
	}
	fmt.Printf("# %s: %d sessions ended and %d added in %v\n", kind.Name, size, len(ids), time.Since(began).Round(time.Second))
	time.Sleep(rest(size)) // what the server does afterwards is not the purge's

	before := watch(b, n, ids, func() { time.Sleep(quiet) })
	removed, took := 0, time.Duration(0)
	during := watch(b, n, ids, func() {
		start := time.Now()
		var err error
		removed, err = n.Purge(ctx, latchkey.Purge{EndedBefore: n.Now()})
		took = time.Since(start)
		if err != nil {
			b.Error("purge: ", err)
		}
	})
	after := watch(b, n, ids, func() { time.Sleep(quiet) })
	if b.Failed() {
		return
	}
	if removed < size {
		b.Fatalf("%d of %d ended sessions were purged", removed, size)
	}
	fmt.Printf("# %s: %d sessions purged in %v; lookups' p99: %v before, %v during, %v after\n", kind.Name, removed, took.Round(time.Millisecond),
		paired.Quantile(before.got, 0.99), paired.Quantile(during.got, 0.99), paired.Quantile(after.got, 0.99))
	alone := watched{append(before.got, after.got...), append(before.made, after.made...)}
	keep(b, kind.Name, alone, during)
	report := func(name string, metrics func(b *testing.B)) {
		b.Run(name+"/"+strconv.Itoa(size), metrics)
	}
	report("purge", func(b *testing.B) {
		b.ReportMetric(float64(took.Nanoseconds())/float64(removed), "ns/op")
		b.ReportMetric(float64(removed)/took.Seconds(), "sessions/s")
		b.ReportMetric(took.Seconds(), "s/all")
	})
	report("get_without_purge", func(b *testing.B) { quantiles(b, alone.got, nil) })
	report("get_while_purged", func(b *testing.B) { quantiles(b, during.got, alone.got) })
	report("create_without_purge", func(b *testing.B) { quantiles(b, alone.made, nil) })
	report("create_while_purged", func(b *testing.B) { quantiles(b, during.made, alone.made) })
}

// rest is how long a server is left alone after so many changes.
func rest(size int) time.Duration { return time.Duration(size/100_000+1) * time.Second }

// watched is what lookups and sign-ins took.
type watched struct{ got, made []time.Duration }

// watch looks live sessions up in the store and signs people in, each at its rate,
// until work returns.
func watch(b *testing.B, n *fleet.Node, ids []latchkey.ID, work func()) (w watched) {
	b.Helper()
	done := make(chan struct{})
	got := make([][]time.Duration, readers)
	var all sync.WaitGroup
	for r := range readers {
		all.Go(func() {
			got[r] = arrivals(b, done, lookups/readers, func(rng *rand.Rand) error {
				_, err := n.Store.Get(context.Background(), ids[rng.IntN(len(ids))])
				return err
			})
		})
	}
	all.Go(func() {
		w.made = arrivals(b, done, creates, func(rng *rand.Rand) error {
			_, err := n.Issue(context.Background(), fleet.SignIn(10_000_000+rng.IntN(10_000_000)))
			return err
		})
	})
	work()
	close(done)
	all.Wait()
	for _, list := range got {
		w.got = append(w.got, list...)
	}
	return w
}

// arrivals does something at random instants, so many times a second, and returns how
// long each took, counted from when it was due where those before it would have kept it
// waiting. That a sleeper awakes late is not the store's doing, and does not count.
func arrivals(b *testing.B, done <-chan struct{}, rate float64, op func(rng *rand.Rand) error) (took []time.Duration) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	due := time.Now()
	free := due // when those before are through, had each begun when it could
	for {
		due = due.Add(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		select {
		case <-done:
			return took
		default:
		}
		start := time.Now()
		if err := op(rng); err != nil {
			b.Error(err)
			return took
		}
		if free.Before(due) {
			free = due
		}
		free = free.Add(time.Since(start))
		took = append(took, free.Sub(due))
	}
}

// quantiles reports times, and how many times the 99th percentile of others theirs is.
func quantiles(b *testing.B, list, others []time.Duration) {
	p50, p99 := paired.Quantile(list, 0.5), paired.Quantile(list, 0.99)
	b.ReportMetric(float64(p50.Nanoseconds()), "ns/op")
	b.ReportMetric(float64(p50.Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(p99.Nanoseconds())/1e3, "p99-us")
	if others != nil {
		b.ReportMetric(float64(p99)/float64(paired.Quantile(others, 0.99)), "x-p99")
	}
}

// keep writes the distributions of lookups for package plot: quantile, microseconds
// without a purge and during it.
func keep(b *testing.B, store string, alone, during watched) {
	b.Helper()
	var s strings.Builder
	for _, q := range []float64{0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999} {
		fmt.Fprintf(&s, "%g\t%.1f\t%.1f\n", q, float64(paired.Quantile(alone.got, q).Nanoseconds())/1e3, float64(paired.Quantile(during.got, q).Nanoseconds())/1e3)
	}
	dir := filepath.Join("..", "out")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "purge-"+store+".tsv"), []byte(s.String()), 0o644); err != nil {
		b.Fatal(err)
	}
}
