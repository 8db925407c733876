package redis

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
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
	cfg       Config
	name      string // of the store on the server: random, made with it
	mark      string
	placement [32]byte
	origin    string // how this Store knows its own publications
	confirm   int    // replicas that are to confirm each change
	scripts   *scripts
	single    *node // where all sessions are
	warn      []string

	changes atomic.Uint64 // scripts that may publish, so far
	offset  atomic.Int64  // of the servers' clock to the node's monotonic one, in microseconds
	raises  sync.Map      // generation (uint64) to ended: how it was ended, which never changes

	closed atomic.Bool
	stop   context.CancelFunc
	work   sync.WaitGroup
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
	s := &Store{cfg: cfg, origin: hex.EncodeToString(id[:])}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	where := cfg.Addrs[0]
	client, err := cfg.newClient(where)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, refused(where, err)
	}
	if err := s.begin(ctx, where, client); err != nil {
		client.Close()
		return nil, refused(where, err)
	}
	return s, nil
}

// begin checks the server, reads what the store is, and starts its line.
func (s *Store) begin(ctx context.Context, where string, client rueidis.Client) error {
	f, err := askFacts(ctx, client)
	if err != nil {
		return err
	}
	if err := f.check(&s.cfg); err != nil {
		return err
	}
	s.warn = f.warnings(where)
	if err := s.describe(ctx, client); err != nil {
		return err
	}
	s.scripts = newScripts(&s.cfg, s.name)
	n := &node{s: s, addr: where, client: client}
	n.line = newLine(n, s.origin)
	s.single = n
	if err := s.firstTime(ctx, n); err != nil {
		return err
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { n.line.run(run) })
	return nil
}

// firstTime reads the server's clock, before the first beat does.
func (s *Store) firstTime(ctx context.Context, n *node) (err error) {
	defer caught(&err)
	sent := s.cfg.Clock.Now()
	list, err := n.client.Do(ctx, n.client.B().Time().Build()).ToArray()
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
	n.line.sampleClock(sent, received, seconds*1_000_000+micros)
	return nil
}

// describe reads what the store is, and makes it where there is none.
func (s *Store) describe(ctx context.Context, c rueidis.Client) (err error) {
	defer caught(&err)
	random := make([]byte, 40)
	if _, err := io.ReadFull(s.cfg.Rand, random); err != nil {
		return latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	keys := []string{s.cfg.Prefix + "meta"}
	if s.cfg.Mode != Cluster {
		keys = append(keys, s.cfg.Prefix+"gen:")
	}
	list, err := texts(c.Do(ctx, c.B().Eval().Script(bare(luaInit)).Numkeys(int64(len(keys))).Key(keys...).
		Arg(hex.EncodeToString(random[:8]), base64.RawURLEncoding.EncodeToString(random[8:]), strconv.Itoa(schema), s.cfg.Mark).Build()))
	if rueidis.IsRedisNil(err) || errors.Is(err, errAnswer) {
		return fmt.Errorf("%w: %s is no description of a store", errForeign, keys[0])
	}
	if err != nil {
		return err
	}
	if len(list) != 5 {
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
	return nil
}

// notName reports whether a text is not the name of a store: it becomes part of scripts.
func notName(text string) bool {
	return len(text) != 16 || strings.ContainsFunc(text, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
}

// Warnings tell what is not durable about the servers as they are set up, a line
// each; there are none when everything that was acknowledged survives.
func (s *Store) Warnings() []string { return append([]string(nil), s.warn...) }

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

// primaries are the servers that sessions are on.
func (s *Store) primaries() []*node { return []*node{s.single} }

// Close implements latchkey.Store. It ends all followers. Closing twice is no error.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.stop()
	s.work.Wait()
	for _, n := range s.primaries() {
		n.client.Close()
	}
	return nil
}
