package redis

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/store/internal/trips"
	"github.com/latchkey-go/latchkey/store/internal/unsure"
)

// The interfaces that a Store implements.
var (
	_ latchkey.Store           = (*Store)(nil)
	_ latchkey.Feed            = (*Store)(nil)
	_ latchkey.PlacementKeeper = (*Store)(nil)
	_ latchkey.Counter         = (*Store)(nil)
	_ latchkey.Timekeeper      = (*Store)(nil)
	_ latchkey.ChangeLister    = (*Store)(nil)
	_ latchkey.Spender         = (*Store)(nil)
	_ audit.Reader             = (*Store)(nil)
)

// schema is the version of the layout of keys that this program writes. A store
// says which is the oldest one whose programs may use it.
const schema = 1

// ErrSchema is the cause of what Open answers to a store of another schema, because
// it is newer; compare by [errors.Is].
var ErrSchema = errors.New("the schema of the store is not one that this program uses")

// Store keeps sessions in Redis. Make one with Open; it is safe for concurrent use.
type Store struct {
	cfg        Config
	name       string // of the store on the server: random, made with it
	mark       string
	placement  [32]byte
	origin     string // how this Store knows its own publications
	confirm    int    // replicas that are to confirm each change
	scripts    *scripts
	ready      bool                 // the tags of the cluster have their generations
	generation string               // the first one, where they have not
	view       atomic.Pointer[view] // the servers there are at present
	gets       *trips.Lanes[latchkey.ID, found, struct{}]

	unsure unsure.Set // sessions with changes that a failover may undo

	changes atomic.Uint64 // scripts that may publish, so far
	offset  atomic.Int64  // of the servers' clock to the node's monotonic one, in microseconds
	raises  sync.Map      // generation (uint64) to ended: how it was ended, which never changes

	closed  atomic.Bool
	running context.Context // ends with Close
	stop    context.CancelFunc
	work    sync.WaitGroup // the watcher and what it stops
	look    chan struct{}  // capacity 1: the servers are to be looked at anew
	asks    int            // of the watcher: how often servers of a cluster were asked
}

// Open connects to the servers and makes the store where there is none.
//
// A wrong Config is CodeInvalidRequest. Everything that keeps the servers from being
// used is CodeStoreUnavailable, with a message of one line that names the address
// and what to do. No message repeats a password.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	var id [8]byte
	if _, err := io.ReadFull(cfg.Rand, id[:]); err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	s := &Store{cfg: cfg, origin: hex.EncodeToString(id[:]), look: make(chan struct{}, 1)}
	s.gets = trips.New(mostReads, make([]struct{}, lanes), s.carry)
	if cfg.Mode != Standalone {
		s.confirm = cfg.Wait
	}
	s.running, s.stop = context.WithCancel(context.Background())
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if err := s.begin(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// begin finds the servers, and starts what runs until the store is closed.
func (s *Store) begin(ctx context.Context) error {
	if s.cfg.Mode == Cluster {
		return s.beginCluster(ctx)
	}
	addr := s.cfg.Addrs[0]
	if s.cfg.Mode == Sentinel {
		var err error
		if addr, err = s.askSentinels(ctx); err != nil {
			return refused(s.cfg.where(), err)
		}
	}
	n, err := s.connect(ctx, addr, true)
	if err != nil {
		return refused(addr, err)
	}
	s.view.Store(&view{nodes: []*node{n}, gone: make(chan struct{})})
	s.setOffset()
	n.start()
	if s.cfg.Mode == Standalone {
		return nil
	}
	s.work.Go(s.watch)
	if err := n.line.await(ctx); err != nil {
		return refused(addr, err)
	}
	return nil
}

// connect makes a node of a server that the store can use. The first one tells what
// the store is, and is where it is made.
func (s *Store) connect(ctx context.Context, addr string, first bool) (*node, error) {
	client, err := s.cfg.newClient(addr)
	if err == nil {
		var n *node
		if n, err = s.inspect(ctx, addr, client, first); err == nil {
			return n, nil
		}
	}
	if client != nil {
		client.Close()
	}
	return nil, err
}

func (s *Store) inspect(ctx context.Context, addr string, client rueidis.Client, first bool) (*node, error) {
	f, err := askFacts(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := f.check(&s.cfg); err != nil {
		return nil, err
	}
	if first {
		if err := s.describe(ctx, client); err != nil {
			return nil, err
		}
		s.scripts = newScripts(&s.cfg, s.name)
	}
	n := &node{s: s, addr: addr, warn: f.warnings(addr)}
	n.commands.Store(&client)
	n.line = newLine(n, s.origin)
	if err := s.firstTime(ctx, n); err != nil {
		return nil, err
	}
	return n, nil
}

// firstTime reads the server's clock, before the first beat does.
func (s *Store) firstTime(ctx context.Context, n *node) (err error) {
	defer caught(&err)
	sent := s.cfg.Clock.Now()
	list, err := n.client().Do(ctx, n.client().B().Time().Build()).ToArray()
	if err != nil {
		return err
	}
	received := s.cfg.Clock.Now()
	if len(list) != 2 {
		return errAnswer
	}
	seconds, err := list[0].AsInt64()
	if err != nil {
		return err
	}
	micros, err := list[1].AsInt64()
	if err != nil {
		return err
	}
	n.line.clock.sample(sent, received, seconds*1_000_000+micros)
	return nil
}

// describe reads what the store is, and makes it where there is none.
func (s *Store) describe(ctx context.Context, c rueidis.Client) (err error) {
	defer caught(&err)
	random := make([]byte, 40)
	if _, err := io.ReadFull(s.cfg.Rand, random); err != nil {
		return latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	keys := []string{s.metaKey()}
	if s.cfg.Mode != Cluster {
		keys = append(keys, s.cfg.Prefix+"gen:")
	}
	mustExist := "0"
	if s.cfg.MustExist {
		mustExist = "1"
	}
	list, err := texts(c.Do(ctx, c.B().Eval().Script(bare(luaInit)).Numkeys(int64(len(keys))).Key(keys...).
		Arg(hex.EncodeToString(random[:8]), base64.RawURLEncoding.EncodeToString(random[8:]), strconv.Itoa(schema), s.cfg.Mark, mustExist).Build()))
	if rueidis.IsRedisNil(err) || errors.Is(err, errAnswer) {
		return fmt.Errorf("%w: %s is no description of a store", errForeign, keys[0])
	}
	if err != nil {
		return err
	}
	if len(list) == 1 {
		return fmt.Errorf("there is no store under %s*; check the address, the database and the prefix, or run `latchkey serve` or `latchkey migrate`, which make it", s.cfg.Prefix)
	}
	if len(list) != 7 {
		return errAnswer
	}
	made, err1 := strconv.Atoi(list[0])
	oldest, err2 := strconv.Atoi(list[1])
	key, err3 := base64.RawURLEncoding.DecodeString(list[3])
	if err := errors.Join(err1, err2, err3); err != nil || len(key) != len(s.placement) || notName(list[2]) {
		return fmt.Errorf("%w: %s is no description of a store", errForeign, keys[0])
	}
	if oldest > schema {
		return latchkey.NewError(latchkey.CodeStoreUnavailable, fmt.Sprintf("redis store %s: its schema is %d, which programs of schema %d and later can use; this program has %d, use a newer latchkey",
			s.cfg.Addrs[0], made, oldest, schema), ErrSchema)
	}
	s.name, s.mark = list[2], list[4]
	copy(s.placement[:], key)
	if s.ready = list[6] == "1"; !s.ready {
		s.generation = list[5]
	}
	return nil
}

// metaKey is where the description of the store is.
func (s *Store) metaKey() string { return s.common("000") + "meta" }

// notName reports whether a text is not the name of a store: it becomes part of scripts.
func notName(text string) bool {
	return len(text) != 16 || strings.ContainsFunc(text, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

// Warnings tell what is not durable about the primaries as they are set up, a line
// each; there are none when everything that was acknowledged survives.
func (s *Store) Warnings() (lines []string) {
	for _, n := range s.primaries() {
		lines = append(lines, n.warn...)
	}
	if s.cfg.Mode != Standalone && s.confirm == 0 {
		lines = append(lines, "redis store "+s.cfg.where()+": no replica is to confirm changes: a failover can revive what was revoked")
	}
	slices.Sort(lines)
	return lines
}

// Marked returns the name that the store was made with, "" when there is none.
func (s *Store) Marked(context.Context) (string, error) { return s.mark, nil }

// PlacementKey implements latchkey.PlacementKeeper. The key was made with the store.
func (s *Store) PlacementKey(ctx context.Context) ([32]byte, error) {
	if err := s.open(ctx); err != nil {
		return [32]byte{}, err
	}
	return s.placement, nil
}

// open refuses calls to a store that is closed, and calls whose context has ended.
func (s *Store) open(ctx context.Context) error {
	if s.closed.Load() {
		return unavailable(errClosed)
	}
	if ctx.Err() != nil {
		return brokenOff(ctx)
	}
	return nil
}

// bound gives a call an end where it comes without one.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// Close implements latchkey.Store. It ends all followers. Closing twice is no error.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.stop()
	s.work.Wait()
	if v := s.view.Load(); v != nil {
		for _, n := range v.nodes {
			n.shut()
		}
	}
	return nil
}
