package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Quantiles are those of the values themselves, to less than a percent.
func TestHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"nanoseconds": func() time.Duration { return time.Duration(r.IntN(100)) },
		"even":        func() time.Duration { return time.Duration(r.IntN(1_000_000)) },
		"wide":        func() time.Duration { return time.Duration(math.Exp(r.Float64() * 40)) },
		"one":         func() time.Duration { return 12_345 },
		"greatest":    func() time.Duration { return math.MaxInt64 },
		"negative":    func() time.Duration { return -5 },
	} {
		t.Run(name, func(t *testing.T) {
			var parts [2]histogram
			var all []time.Duration
			for i := range 10_000 {
				d := draw()
				parts[i%2].add(d)
				all = append(all, max(d, 0))
			}
			parts[0].merge(&parts[1])
			slices.Sort(all)
			for _, q := range []float64{0.0001, 0.5, 0.99, 0.999, 1} {
				want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
				got := parts[0].quantile(q)
				if got < want || float64(got-want) > 0.01*float64(want) {
					t.Errorf("quantile %v is %v, want %v", q, got, want)
				}
			}
		})
	}
	if d := (&histogram{}).quantile(0.5); d != 0 {
		t.Errorf("of nothing: %v", d)
	}
}

// Buckets follow each other without a gap or an overlap.
func TestHistogramBuckets(t *testing.T) {
	h := &histogram{}
	next := uint64(0)
	for b := range h.counts {
		most := mostOf(b)
		if bucketOf(next) != b || bucketOf(most) != b || most < next {
			t.Fatalf("bucket %d is from %d to %d, whose buckets are %d and %d", b, next, most, bucketOf(next), bucketOf(most))
		}
		if most == math.MaxUint64 {
			return
		}
		next = most + 1
	}
}

func TestBriefly(t *testing.T) {
	for ns, want := range map[int64]string{0: "0s", 7: "7ns", 999: "999ns", 1234: "1.23µs", 45_678: "45.7µs", 1_234_567: "1.23ms", 345_678_901: "346ms", 1_234_567_890: "1.23s", 61_234_567_890: "1m1.2s"} {
		if got := briefly(ns); got != want {
			t.Errorf("%d is %s, want %s", ns, got, want)
		}
	}
}
