package sqlitedriver

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// callers is how many sign in at once, each waiting for its row.
const callers = 64

// result is one timed run.
type result struct {
	rate     float64 // creates a second
	p50, p99 time.Duration
}

type request struct {
	s    *session
	done chan error
}

// grouped has one goroutine commit whatever callers wait for, together.
func (w *writer) grouped(tb testing.TB, seed uint64, d time.Duration) result {
	queue := make(chan request, callers)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var reqs []request
		var group []*session
		for first := range queue {
			reqs, group = append(reqs[:0], first), append(group[:0], first.s)
			for {
				for len(queue) > 0 && len(reqs) < 256 {
					r := <-queue
					reqs, group = append(reqs, r), append(group, r.s)
				}
				if w.gather(len(queue)); len(queue) == 0 {
					break
				}
			}
			err := w.tx(group)
			w.groups++
			w.grouped_ += len(group)
			for _, r := range reqs {
				r.done <- err
			}
		}
	}()
	r := w.drive(tb, seed, d, func(r request) error {
		queue <- r
		return <-r.done
	})
	close(queue)
	<-stopped
	return r
}

// gather lets callers that can run do so, a few times: those answered by the
// last commit are about to ask again, and without it they would form a second
// cohort that waits while the first commits.
func (w *writer) gather(queued int) {
	if w.hasty {
		return
	}
	for range 4 {
		runtime.Gosched()
	}
}

// alone has each caller commit its own transaction, in turn.
func (w *writer) alone(tb testing.TB, seed uint64, d time.Duration) result {
	var mu sync.Mutex
	return w.drive(tb, seed, d, func(r request) error {
		mu.Lock()
		defer mu.Unlock()
		return w.tx([]*session{r.s})
	})
}

func (w *writer) tx(group []*session) error {
	if err := w.begin.exec(); err != nil {
		return err
	}
	if err := w.insert(group); err != nil {
		return err
	}
	if err := w.commit.exec(); err != nil {
		return err
	}
	return w.checkpointSome(len(group))
}

// checkpointSome has another connection move most of the log into the database
// while commits go on, and then this one the little that is left: only a log
// moved to its end is begun anew, which never happens while commits go on.
func (w *writer) checkpointSome(n int) error {
	if !w.background {
		return nil
	}
	w.rows += n
	select {
	case err := <-w.moved:
		w.moving = false
		return errors.Join(err, w.c.script("PRAGMA wal_checkpoint(PASSIVE)"))
	default:
	}
	if w.rows >= 8000 && !w.moving {
		w.rows, w.moving = 0, true
		go func() { w.moved <- w.mover.script("PRAGMA wal_checkpoint(PASSIVE)") }()
	}
	return nil
}

// drive runs the callers. The checkpoint at its end is part of the time: a run
// pays for what it left in the log.
func (w *writer) drive(tb testing.TB, seed uint64, d time.Duration, create func(request) error) result {
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			src := newSource(seed<<16 | uint64(i))
			done := make(chan error, 1)
			var mine []time.Duration
			for {
				at := time.Now()
				if at.Sub(start) > d {
					break
				}
				if err := create(request{src.next(at.UnixMilli()), done}); err != nil {
					tb.Error(err)
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	must(tb, w.c.script("PRAGMA wal_checkpoint(PASSIVE)"))
	total := time.Since(start)
	slices.Sort(took)
	return result{float64(len(took)) / total.Seconds(), took[len(took)/2], took[len(took)*99/100]}
}

// layouts are measured side by side.
var layouts = []layout{
	{name: "pk"},
	{name: "pk-rowid", rowid: true},
	{name: "identity-text", identity: "text"},
	{name: "identity-hash", identity: "hash"},
	{name: "identity-hash-unsorted", identity: "hash", unsorted: true},
	{name: "identity-hash-audit", identity: "hash", audit: "session"},
	{name: "identity-hash-auditseq", identity: "hash", audit: "seq"},
	{name: "all-wal1k", identity: "hash", audit: "session", checkpoint: 1000},
	{name: "all-wal4k", identity: "hash", audit: "session", checkpoint: 4000},
	{name: "all-wal16k", identity: "hash", audit: "session", checkpoint: 16000},
	{name: "all-wal64k", identity: "hash", audit: "session", checkpoint: 64000},
	{name: "all-wal16k-hasty", identity: "hash", audit: "session", checkpoint: 16000, hasty: true},
	{name: "all-wal16k-bg", identity: "hash", audit: "session", checkpoint: 16000, background: true},
	{name: "all-page2k-wal32k", pageSize: 2048, identity: "hash", audit: "session", checkpoint: 32000},
	{name: "all-page1k-rowid-wal64k", pageSize: 1024, rowid: true, identity: "hash", audit: "session", checkpoint: 64000},
	{name: "all-rowid-wal16k", rowid: true, identity: "hash", audit: "session", checkpoint: 16000},
	{name: "all-tiers-wal4k", identity: "tiers", audit: "session", checkpoint: 4000},
	{name: "all-tiers-wal16k", identity: "tiers", audit: "session", checkpoint: 16000},
	{name: "allsid-hash-wal16k", identity: "hash", sid: "hash", audit: "session", checkpoint: 16000},
	{name: "allsid-tiers-wal16k", identity: "tiers", sid: "tiers", audit: "session", checkpoint: 16000},
}

// BenchmarkCreate prints, for each layout, what 64 callers reach.
func BenchmarkCreate(b *testing.B) {
	d := drivers[2]
	for _, x := range drivers {
		if x.name == os.Getenv("LATCHKEY_BENCH_DRIVER") {
			d = x
		}
	}
	only := regexp.MustCompile(os.Getenv("LATCHKEY_BENCH_LAYOUTS"))
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_ROUNDS")); err == nil {
		rounds = n
	}
	dir := workDir(b)
	var writers []*writer
	for _, l := range layouts {
		if only.MatchString(l.name) {
			at := time.Now()
			path := l.load(b, d, dir)
			info, err := os.Stat(path)
			must(b, err)
			fmt.Printf("loaded %-28s %4.0f MB in %s\n", l.name, float64(info.Size())/1e6, time.Since(at).Round(time.Millisecond))
			w := l.open(b, d, path)
			defer w.c.close()
			writers = append(writers, w)
		}
	}
	rates := make([][4][]float64, len(writers))
	var appends, syncs []float64
	for round := range rounds {
		for i, w := range writers {
			f, over := fsyncRate(b, dir, 400*time.Millisecond)
			appends, syncs = append(appends, f), append(syncs, over)
			seed := uint64(round*100 + i + 10)
			g := w.grouped(b, seed, 1500*time.Millisecond)
			a := w.alone(b, seed+50, 700*time.Millisecond)
			for j, v := range []float64{g.rate, a.rate, float64(g.p50.Microseconds()), float64(g.p99.Microseconds())} {
				rates[i][j] = append(rates[i][j], v)
			}
		}
	}
	f := median(syncs)
	fmt.Printf("fdatasync of 4 KiB: over what is there %.0f/s (%.0f to %.0f), appended %.0f/s (%.0f to %.0f)\n",
		f, slices.Min(syncs), slices.Max(syncs), median(appends), slices.Min(appends), slices.Max(appends))
	for i, w := range writers {
		fmt.Printf("mean group %.1f ", float64(w.grouped_)/float64(w.groups))
		g, a := median(rates[i][0]), median(rates[i][1])
		fmt.Printf("%-28s grouped %7.0f/s = %5.2f fsync  alone %6.0f/s  grouped/alone %5.2f  p50 %6.0f us p99 %6.0f us\n",
			w.name, g, g/f, a, g/a, median(rates[i][2]), median(rates[i][3]))
	}
}
