// Package growth measures what a store's operations cost one caller as the table
// grows: ten thousand, a hundred thousand and a million sessions, ten of each person.
package growth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/fleet"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
)

const (
	perPerson = 10
	callers   = 64  // that fill the table
	samples   = 500 // of each operation
)

// sizes are the steps, up to LATCHKEY_BENCH_SESSIONS.
func sizes() (list []int) {
	most, err := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_SESSIONS"))
	if err != nil {
		most = 1_000_000
	}
	for n := 10_000; n <= most; n *= 10 {
		list = append(list, n)
	}
	return list
}

func BenchmarkGrowth(b *testing.B) {
	for _, kind := range fleet.Kinds() {
		b.Run(kind.Name, func(b *testing.B) { grow(b, kind) })
	}
}

// grow fills a store in steps and measures at each.
func grow(b *testing.B, kind fleet.Kind) {
	n := kind.Start(b).Node(fleet.Setting{})
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []latchkey.ID
	for _, size := range sizes() {
		var people []int
		for i := len(ids); i < size; i++ {
			people = append(people, i/perPerson)
		}
		rng.Shuffle(len(people), func(i, k int) { people[i], people[k] = people[k], people[i] })
		began := time.Now()
		for _, issued := range n.Fill(b, callers, people) {
			ids = append(ids, issued.Record.ID)
		}
		fmt.Printf("# %s: %d sessions added, %.0f a second\n", kind.Name, len(people), float64(len(people))/time.Since(began).Seconds())
		measure(b, n, rng, size, ids)
	}
	purge(b, kind, n, len(ids))
}

// measure times each operation alone, for one caller.
func measure(b *testing.B, n *fleet.Node, rng *rand.Rand, size int, ids []latchkey.ID) {
	ctx := context.Background()
	gone := rng.Perm(size / perPerson)[:samples] // whose sessions are ended, after all else
	for _, operation := range []struct {
		name string
		do   func(i int) error
	}{
		{"get", func(int) error {
			_, err := n.Store.Get(ctx, ids[rng.IntN(len(ids))])
			return err
		}},
		{"list", func(int) error {
			list, _, err := n.List(ctx, latchkey.ListQuery{Provider: "corp", Subject: fleet.SignIn(rng.IntN(size / perPerson)).Subject, State: latchkey.AnyState})
			if err == nil && len(list) != perPerson {
				err = fmt.Errorf("%d sessions are listed, not %d", len(list), perPerson)
			}
			return err
		}},
		{"create", func(int) error {
			_, err := n.Issue(ctx, fleet.SignIn(10_000_000+rng.IntN(10_000_000)))
			return err
		}},
		{"revoke_identity", func(i int) error {
			count, err := n.Revoke(ctx, latchkey.Revocation{Provider: "corp", Subject: fleet.SignIn(gone[i]).Subject, Reason: "measured"})
			if err == nil && count > perPerson {
				err = fmt.Errorf("%d sessions are ended", count)
			}
			return err
		}},
	} {
		took := make([]time.Duration, samples)
		for i := range took {
			start := time.Now()
			if err := operation.do(i); err != nil {
				b.Fatal(operation.name, ": ", err)
			}
			took[i] = time.Since(start)
		}
		b.Run(operation.name+"/"+strconv.Itoa(size), func(b *testing.B) {
			b.ReportMetric(float64(paired.Quantile(took, 0.5).Nanoseconds()), "ns/op")
			b.ReportMetric(float64(paired.Quantile(took, 0.5).Nanoseconds())/1e3, "p50-us")
			b.ReportMetric(float64(paired.Quantile(took, 0.99).Nanoseconds())/1e3, "p99-us")
		})
	}
}
