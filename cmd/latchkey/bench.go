package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
)

// Bounds of a measurement.
const (
	benchProvider    = "latchkey-bench"
	benchIdentities  = 256
	maxBenchSessions = 100_000
	maxBenchCallers  = 1024
	leastBenchTime   = 10 * time.Millisecond
	maxBenchTime     = time.Minute
	benchCleaning    = 10 * time.Minute // at most, for erasing
	benchErasers     = 32
)

const benchLong = `Measure this deployment: the store and the near cache, with these settings, from this
machine. Sessions of the provider latchkey-bench are made, looked up, changed, touched
and ended, each for --duration by --concurrency callers; and after the answer to a
revocation a second node in this process is asked until it refuses. The sessions are
erased in the end, also after an interruption; if that fails, the next run does it.

Their events stay in the audit trail, without names, for --retention: a measurement is
a load like any other. On a store that has live sessions it needs --yes.`

// bench is one measurement.
type bench struct {
	p        *program
	s        *settings
	callers  int
	duration time.Duration
	most     int // sessions
	yes      bool
	asJSON   bool

	here  *latchkey.Manager // without a cache: each lookup is a trip
	store latchkey.Store
	there *node // with a near cache of its own

	reserved atomic.Int64 // sessions made or being made

	mu       sync.Mutex
	sessions []benchSession
	steps    []benchStep
	step     atomic.Pointer[string]
	hits     float64 // ns that a near-cache hit costs; 0 when not measured
	first    error   // the first failure
}

// benchSession is a session to measure with.
type benchSession struct {
	id    latchkey.ID
	token string
}

// benchStep is what was measured of one kind of operation.
type benchStep struct {
	Step       string         `json:"step"`
	Callers    int            `json:"callers"`
	Operations uint64         `json:"operations"`
	Seconds    float64        `json:"seconds"`
	PerSecond  float64        `json:"per_second"`
	P50        int64          `json:"p50_ns"`
	P99        int64          `json:"p99_ns"`
	P999       int64          `json:"p999_ns"`
	Errors     map[string]int `json:"errors"` // by code
}

// benchSummary is a measurement in JSON.
type benchSummary struct {
	Store       string      `json:"store"`
	Concurrency int         `json:"concurrency"`
	Duration    float64     `json:"duration_seconds"`
	Sessions    int         `json:"sessions"`
	Steps       []benchStep `json:"steps"`
	Hit         *float64    `json:"near_cache_hit_ns"` // null when not measured
	Interrupted bool        `json:"interrupted"`
}

func (p *program) benchCommand() *cobra.Command {
	s := &settings{}
	b := &bench{p: p, s: s}
	return p.cobra(s, command{
		use: "bench", short: "Measure this deployment, and leave nothing behind",
		long: benchLong,
		example: `  latchkey bench
  latchkey bench --config /etc/latchkey.yaml --concurrency 64 --duration 10s --yes --json`,
		settings: append([]string{"staleness"}, storeOptions...),
		own: []option{
			{name: "concurrency", kind: "number", def: "16", into: &b.callers, local: true, help: "callers at a time, 1 to 1024"},
			{name: "duration", kind: "duration", def: "3s", into: &b.duration, local: true, help: "for each kind of operation, 10ms to 1m"},
			{name: "sessions", kind: "number", def: "20000", into: &b.most, local: true, help: "how many sessions are made at most, 1 to 100000"},
			{name: "yes", kind: "bool", def: "false", into: &b.yes, local: true, help: "measure although the store has live sessions"},
			jsonOption(&b.asJSON),
		},
		check: func([]string) (problems []string) {
			if b.callers < 1 || b.callers > maxBenchCallers {
				problems = append(problems, fmt.Sprintf("--concurrency: %d is not between 1 and %d", b.callers, maxBenchCallers))
			}
			if b.duration < leastBenchTime || b.duration > maxBenchTime {
				problems = append(problems, fmt.Sprintf("--duration: %s is not between %s and %s", formatDuration(b.duration), leastBenchTime, formatDuration(maxBenchTime)))
			}
			if b.most < 1 || b.most > maxBenchSessions {
				problems = append(problems, fmt.Sprintf("--sessions: %d is not between 1 and %d", b.most, maxBenchSessions))
			}
			return append(problems, s.checkStore()...)
		},
		do: func(ctx context.Context, _ []string) error { return b.run(ctx) },
	})
}

// run measures, and erases what it made.
func (b *bench) run(ctx context.Context) (err error) {
	here, err := openNode(ctx, b.s, nil, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, here.close(context.WithoutCancel(ctx))) }()
	b.here, b.store = here.m, here.store
	if err := b.clear(ctx); err != nil {
		return err
	}
	if err := b.refuseBusy(ctx); err != nil {
		return err
	}
	if b.there, err = openNode(ctx, b.s, here.ring, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.there.close(context.WithoutCancel(ctx))) }()

	// The first signal ends the measurement, and what it made is erased; a second one
	// ends the program at once.
	measuring, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(measuring, stop)
	erase := b.p.showing(true, b.progress)
	err = b.measure(measuring)
	b.say("erasing the sessions")
	cerr := b.erase(context.WithoutCancel(ctx))
	erase()
	if perr := b.print(measuring.Err() != nil); err == nil {
		err = perr
	}
	switch {
	case cerr != nil:
		message(b.p.err, "sessions of the provider %s are left; the next `latchkey bench` erases them", benchProvider)
		return cerr
	case measuring.Err() != nil:
		return failed("", "interrupted; the sessions have been erased")
	case err == nil && b.first != nil:
		return b.failures()
	}
	return err
}

// failures is the error of a measurement in which operations failed.
func (b *bench) failures() error {
	n := 0
	for _, s := range b.steps {
		for _, of := range s.Errors {
			n += of
		}
	}
	f := explain(b.first)
	return &failure{status: f.status, problems: []string{plural(n, "operation", "operations") + " failed, the first: " + f.problems[0]}, cause: b.first}
}

// refuseBusy refuses a store that has live sessions, unless that is wanted.
func (b *bench) refuseBusy(ctx context.Context) error {
	if b.yes {
		return nil
	}
	infos, _, err := b.here.List(ctx, latchkey.ListQuery{AnyProvider: true, Limit: 1})
	if err != nil {
		return err
	}
	if len(infos) > 0 {
		return failed("a store of its own shows the same; --yes measures here all the same", "the store has live sessions, and a measurement is a load that their users would feel")
	}
	return nil
}

func benchIdentity(i int) latchkey.Identity {
	return latchkey.Identity{Provider: benchProvider, Subject: fmt.Sprintf("bench-%03d", i%benchIdentities)}
}

// clear erases what a measurement left that was killed: at its first instants sessions
// of any of the identities.
func (b *bench) clear(ctx context.Context) error {
	var left atomic.Bool
	err := b.each(ctx, func(ctx context.Context, i int) error {
		who := benchIdentity(i)
		infos, _, err := b.here.List(ctx, latchkey.ListQuery{Provider: who.Provider, Subject: who.Subject, State: latchkey.AnyState, Limit: 1})
		if len(infos) > 0 {
			left.Store(true)
		}
		return err
	})
	if err != nil || !left.Load() {
		return err
	}
	message(b.p.err, "erasing what a measurement has left that was killed")
	return b.erase(ctx)
}

// erase ends and removes the sessions of all identities.
func (b *bench) erase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchCleaning)
	defer cancel()
	return b.each(ctx, b.eraseOne)
}

// each calls do for all identities, a few at a time, until one fails.
func (b *bench) each(ctx context.Context, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	errs := make([]error, benchErasers)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= benchIdentities {
					return
				}
				errs[i] = do(ctx, n)
			}
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}

func (b *bench) eraseOne(ctx context.Context, i int) error {
	_, err := b.here.Purge(ctx, latchkey.Purge{Erase: benchIdentity(i),
		Event: audit.Event{Time: b.here.Now(), Action: audit.Purge, Actor: actor(), Outcome: audit.Done, Reason: "bench"}})
	return err
}

// say names the step for the progress line.
func (b *bench) say(step string) { b.step.Store(&step) }

func (b *bench) progress() string {
	if step := b.step.Load(); step != nil {
		return "measuring: " + *step
	}
	return "measuring"
}

// print prints what was measured.
func (b *bench) print(interrupted bool) error {
	if b.asJSON {
		sum := benchSummary{Store: redact(b.s.store), Concurrency: b.callers, Duration: b.duration.Seconds(), Sessions: len(b.sessions),
			Steps: append([]benchStep{}, b.steps...), Interrupted: interrupted}
		if b.hits > 0 {
			sum.Hit = &b.hits
		}
		return printJSON(b.p.out, sum)
	}
	rows := [][]string{{"STEP", "CALLERS", "OPERATIONS", "PER SECOND", "P50", "P99", "P99.9", "ERRORS"}}
	for _, s := range b.steps {
		errs := ""
		for _, code := range slices.Sorted(maps.Keys(s.Errors)) {
			errs += fmt.Sprintf("%d %s ", s.Errors[code], code)
		}
		rows = append(rows, []string{s.Step, fmt.Sprint(s.Callers), fmt.Sprint(s.Operations), fmt.Sprintf("%.0f", s.PerSecond),
			briefly(s.P50), briefly(s.P99), briefly(s.P999), dash(errs)})
	}
	if err := table(b.p.out, rows); err != nil {
		return err
	}
	if b.hits > 0 {
		_, err := fmt.Fprintf(b.p.out, "a hit of the near cache costs one caller %.0f ns\n", b.hits)
		return err
	}
	return nil
}

// briefly is a duration with three digits.
func briefly(ns int64) string {
	d := time.Duration(ns)
	for unit := time.Nanosecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(10 * time.Millisecond).String()
}
