package sqlitedriver

import (
	"cmp"
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
			w.members += len(group)
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

// layouts are measured side by side. Those without a note are the ladder that
// is printed unless LATCHKEY_BENCH_LAYOUTS says otherwise: what each index adds.
var layouts = []layout{
	{name: "pk"},
	{name: "identity", identity: "hash"},
	{name: "identity+audit", identity: "hash", audit: "seq"},
	{name: "identity+audit-by-session", identity: "hash", audit: "session"}, // what store/sqlite has, without sid
	{name: "all-with-sid", identity: "hash", sid: "hash", audit: "session"},
	{name: "all-with-sid-in-tiers", identity: "hash", sid: "tiers", audit: "session"},
	{name: "tiers", identity: "tiers", audit: "session"},

	// What else was tried.
	{name: "x-tiers-with-sid", identity: "tiers", sid: "tiers", audit: "session"},
	{name: "x-pk-rowid", rowid: true},
	{name: "x-rowid", rowid: true, identity: "hash", audit: "session"},
	{name: "x-identity-text", identity: "text"},
	{name: "x-audit-by-subject", identity: "hash", audit: "subject"},
	{name: "x-unsorted", identity: "hash", audit: "session", unsorted: true},
	{name: "x-hasty", identity: "hash", audit: "session", hasty: true},
	{name: "x-log1k", identity: "hash", audit: "session", checkpoint: 1000},
	{name: "x-log4k", identity: "hash", audit: "session", checkpoint: 4000},
	{name: "x-log64k", identity: "hash", audit: "session", checkpoint: 64000},
	{name: "x-log-moved-by-another", identity: "hash", audit: "session", background: true},
	{name: "x-page2k", pageSize: 2048, identity: "hash", audit: "session", checkpoint: 32000},
	{name: "x-page1k-rowid", pageSize: 1024, rowid: true, identity: "hash", audit: "session", checkpoint: 64000},
}

// BenchmarkCreate prints, for each layout, what 64 callers reach, as medians of
// rounds in which all layouts take turns. Each is compared with the disk, and with one
// transaction each, as they were in the same seconds.
func BenchmarkCreate(b *testing.B) {
	d := drivers[1]
	for _, x := range drivers {
		if x.name == os.Getenv("LATCHKEY_BENCH_DRIVER") {
			d = x
		}
	}
	only := regexp.MustCompile(cmp.Or(os.Getenv("LATCHKEY_BENCH_LAYOUTS"), "^[^x]"))
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
			defer w.close()
			writers = append(writers, w)
		}
	}
	rates := make([][6][]float64, len(writers))
	var appends, syncs []float64
	for round := range rounds {
		for i, w := range writers {
			f, over := fsyncRate(b, dir, 400*time.Millisecond)
			appends, syncs = append(appends, f), append(syncs, over)
			seed := uint64(round*100 + i + 10)
			g := w.grouped(b, seed, 1500*time.Millisecond)
			a := w.alone(b, seed+50, 700*time.Millisecond)
			for j, v := range []float64{g.rate, a.rate, float64(g.p50.Microseconds()), float64(g.p99.Microseconds()), g.rate / over, g.rate / a.rate} {
				rates[i][j] = append(rates[i][j], v)
			}
		}
	}
	fmt.Printf("fdatasync of 4 KiB: over what is there %.0f/s (%.0f to %.0f), appended %.0f/s (%.0f to %.0f)\n",
		median(syncs), slices.Min(syncs), slices.Max(syncs), median(appends), slices.Min(appends), slices.Max(appends))
	for i, w := range writers {
		w.check(b)
		m := rates[i]
		fmt.Printf("%-28s grouped %6.0f/s = %5.2f fsync, %5.2f alone (%4.0f/s); p50 %5.0f us p99 %6.0f us; group of %2.0f; read %4.1f us\n",
			w.name, median(m[0]), median(m[4]), median(m[5]), median(m[1]), median(m[2]), median(m[3]), float64(w.members)/float64(w.groups), w.lookup(b))
	}
}

// check sees to it that no layout is fast because it loses rows.
func (w *writer) check(tb testing.TB) {
	sessions, err := prepare(tb, w.c, "SELECT count(*) FROM session").number()
	must(tb, err)
	count := func(indexed string, tables ...string) {
		if indexed != "hash" && indexed != "tiers" {
			return
		}
		total := int64(0)
		for _, t := range tables {
			n, err := prepare(tb, w.c, "SELECT count(*) FROM "+t).number()
			must(tb, err)
			total += n
		}
		if total != sessions {
			tb.Errorf("%s: %d sessions, %d of them indexed in %v", w.name, sessions, total, tables)
		}
	}
	count(w.identity, "by_subject", "by_subject_new", "by_subject_run")
	count(w.sid, "by_sid", "by_sid_new", "by_sid_run")
}

// lookup returns the microseconds it takes to read one of the preloaded rows.
func (w *writer) lookup(tb testing.TB) float64 {
	src := newSource(3)
	ids := make([][16]byte, 0, preloaded/20)
	for i := range preloaded {
		if s := src.next(preloadStart + int64(i)*25); i%20 == 0 {
			ids = append(ids, s.id)
		}
	}
	src.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	get := prepare(tb, w.c, selectSession)
	buf := make([]byte, 0, 1024)
	start := time.Now()
	for _, id := range ids {
		_, err := get.blob(buf, id[:])
		must(tb, err)
	}
	return float64(time.Since(start).Microseconds()) / float64(len(ids))
}
