package histories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// Fault is something that goes wrong and is put right again.
type Fault struct {
	Name        string
	Break, Heal func()
	// Loses is for a failover: while the fault lasts, changes that nobody was told had
	// been made may be seen, and undone later.
	Loses bool
	// Apart are the nodes that are out of touch with the others while it lasts. They are
	// laid an ambush: sessions that they have in memory are ended elsewhere, and they are
	// asked for them.
	Apart []int
}

// Host is where nodes live; see [Processes].
type Host interface {
	// open returns the nodes.
	open(t testing.TB, cfg *Config) []node
}

// Config describes a run. Open or Host is required; what is zero has a default.
type Config struct {
	// Open opens the store once more, for one node of this process. The run closes it.
	Open func(t testing.TB, node int) latchkey.Store
	// Host has the nodes elsewhere.
	Host Host
	// Nodes is how many there are, 3 unless set; Callers how many work at a time, 6 unless set.
	Nodes, Callers int
	// Staleness is that of the nodes' near caches; 0 asks the store each time.
	Staleness time.Duration
	// Stateless makes sessions whose token tells of them; it needs a Staleness.
	Stateless bool
	// Gentle callers change less than they look up.
	Gentle bool
	// Faults strike in turn, each for FaultFor (300 ms unless set).
	Faults   []Fault
	FaultFor time.Duration
	// Calm is called when there are to be no more faults, if it is set.
	Calm func()
	// For is how long callers work, 3 seconds unless set. Where Strikes is set they work
	// until so many faults are over instead.
	For     time.Duration
	Strikes int
	// Seed decides what the callers do; 0 takes that of LATCHKEY_CHAOS_SEED, or draws one.
	Seed uint64
}

const (
	callTimeout = 2 * time.Second
	slots       = 6 // sessions in use at a time
	identities  = 3
	provider    = "local" // of all identities
	former      = 48      // sessions that are out of use and are asked about all the same
	longest     = 40      // events after which a session is ended, to keep its history checkable
	checkFor    = time.Minute
)

var counter = latchkey.NewKey[int]("count")

// Run runs the callers and the faults, and fails t if no order of events explains
// what the callers were told. When the faults are over every node must serve again.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Callers == 0 {
		cfg.Callers = 6
	}
	if cfg.For == 0 {
		cfg.For = 3 * time.Second
	}
	if cfg.FaultFor == 0 {
		cfg.FaultFor = 300 * time.Millisecond
	}
	if cfg.Seed == 0 {
		cfg.Seed = Seed(t)
	}
	t.Logf("seed %d", cfg.Seed)
	r := &run{cfg: cfg, began: time.Now(), sessions: make(map[int]*session)}
	for _, f := range cfg.Faults {
		r.fragile = r.fragile || f.Loses
	}
	r.open(t)
	defer r.close(t)

	ctx, cancel := context.WithTimeout(context.Background(), cfg.For)
	if cfg.Strikes > 0 {
		ctx, cancel = context.WithCancel(context.Background())
	}
	defer cancel()
	var work sync.WaitGroup
	for i := range cfg.Callers {
		c := &caller{run: r, id: i, node: r.nodes[i%len(r.nodes)], rnd: rand.New(rand.NewPCG(cfg.Seed, uint64(i)))}
		work.Go(func() { c.work(ctx) })
	}
	work.Go(func() {
		r.strike(ctx)
		cancel()
	})
	work.Wait()
	r.aside.Wait()
	if cfg.Calm != nil {
		cfg.Calm()
	}
	r.serveAgain(t)
	r.lookAtAll()
	r.judge(t)
}

// Seed is that of LATCHKEY_CHAOS_SEED, or a new one.
func Seed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("LATCHKEY_CHAOS_SEED")
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seed == 0 {
		t.Fatalf("LATCHKEY_CHAOS_SEED=%q is no seed", text)
	}
	return seed
}

// session is one that was made, and what is known of it.
type session struct {
	number   int
	id       latchkey.ID
	identity latchkey.Identity
	events   int
	over     bool  // nobody acts on it any more
	made     int64 // when whoever asked for it had been told
	endedBy  int64 // when its first revocation that was told to be done had been
	last     held  // with its latest token
}

// event is one line of a session's history.
type event struct {
	session int
	porcupine.Operation
}

type run struct {
	cfg   Config
	began time.Time
	nodes []node
	// fragile runs have a fault that undoes changes which were not confirmed.
	fragile bool
	aside   sync.WaitGroup // what is asked besides the callers

	mu       sync.Mutex
	slots    [slots]held
	former   []held // the latest that were taken out of use
	bait     []held // those that nodes which a fault put apart may have in memory
	kept     []held // those made for the next such fault
	losses   []loss
	sessions map[int]*session // every one
	events   []event
	wide     []wide
	tokens   int
	counts   [3]int // of outcomes
}

// held is a session in use, with the token that is thought to be current.
type held struct {
	*session
	token  string
	number int
	tired  bool // its history is long enough
}

// loss is a time in which changes may have been undone.
type loss struct{ from, to int64 }

func (r *run) open(t testing.TB) {
	t.Helper()
	if r.cfg.Host != nil {
		r.nodes = r.cfg.Host.open(t, &r.cfg)
		return
	}
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.cfg.Nodes {
		n, err := newLocal(r.cfg.Open(t, i), ring, settings{Staleness: r.cfg.Staleness, Stateless: r.cfg.Stateless})
		if err != nil {
			t.Fatal(err)
		}
		r.nodes = append(r.nodes, n)
	}
}

func (r *run) close(t testing.TB) {
	for i, n := range r.nodes {
		if err := n.close(); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
}

// strike lets the faults happen, one after the other, with a pause between them.
func (r *run) strike(ctx context.Context) {
	if len(r.cfg.Faults) == 0 {
		<-ctx.Done()
	}
	pause := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		}
	}
	for i := 0; pause(r.cfg.FaultFor); i++ {
		f := r.cfg.Faults[i%len(r.cfg.Faults)]
		from := r.at()
		r.prepare(&f)
		f.Break()
		r.lure(&f)
		stop := make(chan struct{})
		r.aside.Go(func() { r.nag(&f, stop) })
		on := pause(r.cfg.FaultFor)
		f.Heal()
		close(stop)
		if f.Loses {
			r.mu.Lock()
			r.losses = append(r.losses, loss{from, r.at()})
			r.mu.Unlock()
		}
		if !on || i+1 == r.cfg.Strikes && pause(r.cfg.FaultFor) {
			return
		}
	}
}

// serveAgain checks that every node recovers without a restart.
func (r *run) serveAgain(t testing.TB) {
	t.Helper()
	for i, n := range r.nodes {
		var err error
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			var token string
			if _, token, err = n.issue(ctx, "after"); err == nil {
				_, err = n.lookup(ctx, token, false)
			}
			cancel()
			if err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("node %d serves no more: %v", i, err)
		}
	}
}

// lookAtAll asks every node for every session there was, and the store too, so that one
// which was lost or came back is noticed although nobody used it any more.
func (r *run) lookAtAll() {
	r.mu.Lock()
	var all []held
	for _, s := range r.sessions {
		all = append(all, s.last)
	}
	r.mu.Unlock()
	var work sync.WaitGroup
	for i := range r.cfg.Callers {
		c := &caller{run: r, id: i, node: r.nodes[i%len(r.nodes)]}
		work.Go(func() {
			for k := i / len(r.nodes); k < len(all); k += max(1, r.cfg.Callers/len(r.nodes)) {
				if r.cfg.Staleness > 0 {
					c.glance(all[k], false)
				}
				if k%len(r.nodes) == i%len(r.nodes) {
					c.glance(all[k], true)
				}
			}
		})
	}
	work.Wait()
}

// judge checks each session's history.
func (r *run) judge(t *testing.T) {
	t.Helper()
	end := r.at()
	histories := make(map[int][]porcupine.Operation)
	for _, e := range r.events {
		op := e.Operation
		if op.Output.(output).outcome == unknown {
			op.Return = end // it may yet happen
		}
		histories[e.session] = append(histories[e.session], op)
	}
	for _, l := range r.losses {
		for number := range histories {
			if by := r.sessions[number].endedBy; by != 0 && by < l.from {
				continue
			}
			histories[number] = append(histories[number], porcupine.Operation{ClientId: r.cfg.Callers, Input: input{action: failover}, Output: output{}, Call: l.from, Return: l.to})
		}
	}
	t.Logf("%d sessions, %d events: %d done, %d refused, %d unknown", len(histories), len(r.events), r.counts[done], r.counts[refused], r.counts[unknown])
	if r.counts[done] == 0 {
		t.Error("nothing was done")
	}
	undecided := 0
	for number, history := range histories {
		result, info := porcupine.CheckOperationsVerbose(model(), condense(history, r.losses), checkFor)
		switch result {
		case porcupine.Unknown:
			undecided++
		case porcupine.Illegal:
			path := filepath.Join(os.TempDir(), fmt.Sprintf("latchkey-history-%d-%d.html", r.cfg.Seed, number))
			_ = porcupine.VisualizePath(model(), info, path)
			t.Errorf("seed %d, session %d: no order of events explains this (drawn in %s):\n%s", r.cfg.Seed, number, path, describe(history))
		}
	}
	if undecided > 0 {
		t.Errorf("%d histories were too long to be judged", undecided)
	}
}

func describe(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var b strings.Builder
	for _, op := range history {
		in, out := op.Input.(input), op.Output.(output)
		fmt.Fprintf(&b, "  %10.3f to %10.3f ms  caller %d: %s(token %d) -> %s %d\n", float64(op.Call)/1e6, float64(op.Return)/1e6,
			op.ClientId, actionNames[in.action], in.token, outcomeNames[out.outcome], out.value)
	}
	return b.String()
}

// at is the time since the run began, in nanoseconds.
func (r *run) at() int64 { return int64(time.Since(r.began)) }
