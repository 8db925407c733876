// Package paired measures things against each other in one run. Every subject gets
// a short turn in each of many rounds, so that whatever else the machine does falls
// on all of them alike; what is reported of each is its median, and the median of
// its ratios to the first subject, round by round.
//
// The output is that of `go test -bench`, one line for each subject:
//
//	BenchmarkX/peer-2  1000000000  8710 ns/op  16.3 x-latchkey
//
// where x-latchkey says how many times the time of the subject "latchkey" it took, and
// p99-x-latchkey, where operations were timed apart, the same of their 99th percentile.
package paired

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Subject is one of the things compared.
type Subject struct {
	// Name is the subject's in the output.
	Name string
	// Turn works for about d and returns how much was done in how much time.
	Turn func(d time.Duration) (Done, error)
}

// Done is what a turn did.
type Done struct {
	N    int
	Took time.Duration
	// Allocs and Bytes are what was allocated for each of N; NaN where nobody counted.
	Allocs, Bytes float64
	// Latencies holds the time of each operation, where they were taken apart.
	Latencies []time.Duration
	// Elsewhere is the processor time that another process needed for it; 0 where
	// nobody counted.
	Elsewhere time.Duration
}

// Plan says how long to measure.
type Plan struct {
	Rounds int           // 21 unless set
	Turn   time.Duration // 50 ms unless set
}

func (p Plan) withDefaults() Plan {
	if p.Rounds == 0 {
		p.Rounds = 21
	}
	if p.Turn == 0 {
		p.Turn = 50 * time.Millisecond
	}
	return p
}

// epoch is what wall clocks here count from.
var epoch = time.Now()

// Loop is a subject that one caller in this process does over and over; i counts
// from 0 over all turns. Its allocations are counted.
func Loop(name string, op func(i int) error) Subject {
	return loop(name, op, func() time.Duration { return time.Since(epoch) })
}

// Compute is a Loop that waits for nothing, and whose processor time is measured, so
// that other programs do not count. What the collector does on another thread does
// not either, as it would not by the wall clock.
func Compute(name string, op func(i int) error) Subject { return loop(name, op, threadTime) }

func loop(name string, op func(i int) error, clock func() time.Duration) Subject {
	next := 0
	return Subject{name, func(d time.Duration) (Done, error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		runtime.GC() // the garbage of the subject before is not this one's
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, chunk, start := 0, 1, clock()
		var took time.Duration
		for last := time.Duration(0); took < d; last = took {
			for range chunk {
				if err := op(next); err != nil {
					return Done{}, err
				}
				next++
			}
			n += chunk
			if took = clock() - start; took-last < 50*time.Microsecond {
				chunk *= 2 // so that reading the clock does not count
			}
		}
		runtime.ReadMemStats(&after)
		return Done{N: n, Took: took, Allocs: math.Floor(float64(after.Mallocs-before.Mallocs) / float64(n)),
			Bytes: math.Floor(float64(after.TotalAlloc-before.TotalAlloc) / float64(n))}, nil
	}}
}

// Callers is a subject that many callers in this process do at the same time, each
// the next operation as soon as its last one is done. op is told the caller's number
// and how many it has done.
func Callers(name string, callers int, op func(caller, i int) error) Subject {
	done := make([]int, callers)
	return Subject{name, func(d time.Duration) (Done, error) {
		runtime.GC()
		var mu sync.Mutex
		var failed error
		var all []time.Duration
		var work sync.WaitGroup
		start := time.Now()
		for c := range callers {
			work.Go(func() {
				var mine []time.Duration
				at := time.Now()
				for at.Sub(start) < d {
					if err := op(c, done[c]); err != nil {
						mu.Lock()
						failed = err
						mu.Unlock()
						return
					}
					done[c]++
					now := time.Now()
					mine = append(mine, now.Sub(at))
					at = now
				}
				mu.Lock()
				all = append(all, mine...)
				mu.Unlock()
			})
		}
		work.Wait()
		return Done{N: len(all), Took: time.Since(start), Allocs: math.NaN(), Latencies: all}, failed
	}}
}

// Compare measures the subjects in turns and reports each as a sub-benchmark.
func Compare(b *testing.B, plan Plan, subjects ...Subject) {
	b.Helper()
	plan = plan.withDefaults()
	for _, s := range subjects { // warm
		if _, err := s.Turn(plan.Turn / 4); err != nil {
			b.Fatal(s.Name, ": ", err)
		}
	}
	took := make([][]float64, len(subjects)) // ns for each operation, by round
	allocs, bytes := make([][]float64, len(subjects)), make([][]float64, len(subjects))
	latencies := make([][]time.Duration, len(subjects))
	tails := make([][]float64, len(subjects)) // the 99th percentile of each round
	elsewhere := make([][]float64, len(subjects))
	for round := range plan.Rounds {
		for k := range subjects {
			i := (k + round) % len(subjects) // nobody always follows the same one
			d, err := subjects[i].Turn(plan.Turn)
			if err != nil || d.N == 0 {
				b.Fatal(subjects[i].Name, ": ", err)
			}
			took[i] = append(took[i], float64(d.Took.Nanoseconds())/float64(d.N))
			allocs[i], bytes[i] = append(allocs[i], d.Allocs), append(bytes[i], d.Bytes)
			latencies[i] = append(latencies[i], d.Latencies...)
			tails[i] = append(tails[i], float64(Quantile(d.Latencies, 0.99)))
			elsewhere[i] = append(elsewhere[i], d.Elsewhere.Seconds()*1e6/float64(d.N))
		}
	}
	for i, s := range subjects {
		b.Run(s.Name, func(b *testing.B) {
			report(b, s.Name, subjects[0].Name, took[i], took[0], latencies[i])
			if len(latencies[i]) > 0 && i > 0 {
				b.ReportMetric(Median(ratios(tails[i], tails[0])), "p99-x-"+subjects[0].Name)
			}
			if a := Median(allocs[i]); !math.IsNaN(a) {
				b.ReportAllocs()
				b.ReportMetric(a, "allocs/op")
				b.ReportMetric(Median(bytes[i]), "B/op")
			}
			if us := Median(elsewhere[i]); us > 0 {
				b.ReportMetric(us, "cpu-us/op")
			}
		})
	}
}

// Alternate times single operations of the subjects, n of each, in bursts that take
// turns, and reports medians and their ratios. It is for round trips, whose times lie
// in two heaps on some machines, by whether both ends meet on one core: the median of
// long turns would be that of which heap a turn fell into. A burst is short beside
// that, and long enough that most operations meet the caches as their own kind left
// them, as those of a caller that does nothing else would.
func Alternate(b *testing.B, n int, names []string, ops []func(i int) error) {
	b.Helper()
	const rounds, burst = 20, 20
	latencies := make([][]time.Duration, len(ops))
	medians := make([][]float64, len(ops))
	for round := range rounds {
		var mine = make([][]time.Duration, len(ops))
		for turn := range n / rounds / burst {
			for k := range ops {
				o := (k + turn) % len(ops)
				for i := range burst {
					start := time.Now()
					err := ops[o](round*(n/rounds) + turn*burst + i)
					mine[o] = append(mine[o], time.Since(start))
					if err != nil {
						b.Fatal(names[o], ": ", err)
					}
				}
			}
		}
		for o := range ops {
			medians[o] = append(medians[o], float64(Quantile(mine[o], 0.5).Nanoseconds()))
			latencies[o] = append(latencies[o], mine[o]...)
		}
	}
	for o, name := range names {
		b.Run(name, func(b *testing.B) { report(b, name, names[0], medians[o], medians[0], latencies[o]) })
	}
}

func report(b *testing.B, name, first string, took, base []float64, latencies []time.Duration) {
	b.Helper()
	median := Median(took)
	b.ReportMetric(median, "ns/op")
	if len(latencies) > 0 {
		b.ReportMetric(1e9/median, "ops/s")
		b.ReportMetric(float64(Quantile(latencies, 0.5).Nanoseconds())/1e3, "p50-us")
		b.ReportMetric(float64(Quantile(latencies, 0.99).Nanoseconds())/1e3, "p99-us")
	}
	if name == first {
		return
	}
	by := ratios(took, base)
	b.ReportMetric(Median(by), "x-"+first)
	if b.N == 1 { // once, not each time that N is raised
		slices.Sort(by)
		fmt.Printf("# %s: %.3g to %.3g times %s, by round\n", strings.TrimPrefix(b.Name(), "Benchmark"), by[0], by[len(by)-1], first)
	}
}

// ratios divides what was measured by what the first subject took, round by round.
func ratios(took, base []float64) []float64 {
	by := make([]float64, len(took))
	for i := range took {
		by[i] = took[i] / base[i]
	}
	return by
}

// Median of v, which is not changed; NaN of nothing.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// Quantile of v, which is sorted in place; 0 of nothing.
func Quantile(v []time.Duration, q float64) time.Duration {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(int(q*float64(len(v))), len(v)-1)]
}
