package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// node is one primary: a client for commands, and a line for the feed and the beats.
type node struct {
	s    *Store
	addr string
	line *line
	stop context.CancelFunc // of the line
	warn []string           // what is not durable

	commands atomic.Pointer[rueidis.Client]
	mu       sync.Mutex
	retired  rueidis.Client // what commands was before; perhaps still in use
}

// client is for commands.
func (n *node) client() rueidis.Client { return *n.commands.Load() }

// renew connects anew, after the line had to. A connection on which nothing is under
// way is not known to be broken until somebody uses it.
func (n *node) renew() error {
	c, err := n.s.cfg.newClient(n.addr)
	if err != nil {
		if c != nil {
			c.Close()
		}
		return err
	}
	last := n.commands.Swap(&c)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.retired != nil {
		n.retired.Close()
	}
	n.retired = *last
	return nil
}

// start starts the line.
func (n *node) start() {
	var ctx context.Context
	ctx, n.stop = context.WithCancel(n.s.running)
	go n.line.run(ctx)
}

// shut ends the line, if it was started, and all connections.
func (n *node) shut() {
	if n.stop != nil {
		n.stop()
		<-n.line.done
	}
	n.client().Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.retired != nil {
		n.retired.Close()
	}
}

// view is which primaries there are. A view does not change; another one replaces it.
type view struct {
	nodes  []*node
	owners *[tags]*node  // by tag, in a cluster
	gone   chan struct{} // closed when there is another one
}

// maxMoves is how often a call follows keys that were moved to another server.
const maxMoves = 3

// awaitView waits for another view, which a server has said there is.
func (s *Store) awaitView(ctx context.Context, last *view) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	s.hurryLook()
	select {
	case <-last.gone:
		return nil
	case <-s.running.Done():
		return unavailable(errClosed)
	case <-ctx.Done():
		return unavailable(errMoved)
	}
}

// tags is how many there are.
const tags = 1 << 12

// at is the server that has the keys of a tag.
func (v *view) at(tag string) *node {
	if v.owners == nil {
		return v.nodes[0]
	}
	n, err := strconv.ParseUint(tag, 16, 12)
	if err != nil {
		n = 0
	}
	return v.owners[n]
}

// primaries are the servers that sessions are on.
func (s *Store) primaries() []*node { return s.view.Load().nodes }

// one is the server that everything is on, where it is not a cluster.
func (s *Store) one() *node { return s.view.Load().nodes[0] }

// limits bound one answer: a page of lists is the longest.
func limits() respguard.Limits {
	return respguard.Limits{Bulk: 512 << 20, Items: 1 << 16, Line: 64 << 10, Depth: 8}
}

// newClient connects to one server by the client library.
func (cfg *Config) newClient(addr string) (c rueidis.Client, err error) {
	defer caught(&err)
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, ForceSingleClient: true,
		Username: cfg.Username, Password: cfg.Password, SelectDB: cfg.DB,
		Dialer:            net.Dialer{Timeout: cfg.Timeout, KeepAlive: time.Second},
		ConnWriteTimeout:  cfg.Timeout,
		DisableRetry:      true, // what is not known to have failed must not be done twice
		DisableCache:      true, // sessions have a near cache of their own
		ClientSetInfo:     rueidis.DisableClientSetInfo,
		PipelineMultiplex: multiplex,
		BlockingPoolSize:  256, BlockingPoolCleanup: time.Minute,
		ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			conn, err := cfg.dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			return respguard.Wrap(conn, limits()), nil
		},
	})
}

// read runs a command that changes nothing. It is tried again where a connection turns
// out to have been closed meanwhile, of which there are a few.
func (n *node) read(ctx context.Context, command func(rueidis.Builder) rueidis.Completed) (r rueidis.RedisResult) {
	for range 1 + 1<<multiplex {
		c := n.client()
		r = c.Do(ctx, command(c.B()))
		if err := r.NonRedisError(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			break
		}
	}
	return r
}

// multiplex is the number of connections for commands, as a power of two.
const multiplex = 2

// usable refuses answers of a primary that may be none any more.
func (n *node) usable() error {
	if cause := n.line.doubt(); cause != nil {
		return unavailable(cause)
	}
	return nil
}

// run runs a script on this server.
func (n *node) run(ctx context.Context, sc *script, confirm int, keys, args []string) (answer []string, err error) {
	defer caught(&err)
	if err := n.usable(); err != nil {
		return nil, err
	}
	answer, err = sc.run(ctx, n.client(), confirm, keys, args)
	if err != nil {
		if ctx.Err() != nil {
			return nil, brokenOff(ctx)
		}
		return nil, err
	}
	// Its answer was under way: what vouched for it before may have lapsed meanwhile.
	if err := n.usable(); err != nil {
		return nil, err
	}
	return answer, nil
}

// call is a script to run where the keys of a tag are. The zero tag is for what
// belongs to no session where there is one primary.
type call struct {
	sc    *script
	tag   string
	keys  []string
	weak  bool // it changes nothing that a failover must not lose
	told  int  // the place in the answer that says whether it published; 0 when it never does
	among args
}

type args []string

// do runs a call. One that published returns when this store's followers have taken
// that in. A server that does not have the keys any more has done nothing: then
// whoever has them now is asked.
func (s *Store) do(ctx context.Context, c call) (*fields, error) {
	if c.keys == nil && s.cfg.Mode == Cluster {
		c.keys = []string{s.generationKey(c.tag)}
	}
	for try := 0; ; try++ {
		v := s.view.Load()
		f, err := s.doOnce(ctx, v.at(c.tag), &c)
		if err == nil {
			return f, nil
		}
		if !moved(err) || try == maxMoves {
			return nil, unavailable(err)
		}
		if err := s.awaitView(ctx, v); err != nil {
			return nil, err
		}
	}
}

func (s *Store) doOnce(ctx context.Context, n *node, c *call) (*fields, error) {
	confirm, note := s.confirm, ""
	if c.weak {
		confirm = 0
	}
	var claims []claim
	if c.told != 0 {
		number := s.changes.Add(1)
		note = s.origin + ":" + strconv.FormatUint(number, 10)
		claims = n.line.expect(number)
		defer func() {
			for _, c := range claims {
				c.f.forget(number)
			}
		}()
	}
	all := make([]string, 0, 3+len(c.among))
	all = append(append(all, s.scriptTime(), c.tag, note), c.among...)
	answer, err := n.run(ctx, c.sc, confirm, c.keys, all)
	if err != nil {
		return nil, err
	}
	f := &fields{list: answer}
	if c.told == 0 || answer[0] != "ok" || !f.flag(c.told) {
		return f, f.err()
	}
	return f, await(ctx, claims)
}

// waitMillis is for how long a server may wait for replicas.
func waitMillis(ctx context.Context) int64 {
	left := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return max(1, left.Milliseconds()*3/4)
}

// scriptTime is the time that a test gives to scripts; "" leaves it to the server.
func (s *Store) scriptTime() string {
	if s.cfg.test == nil || s.cfg.test.micros == nil {
		return ""
	}
	return strconv.FormatInt(s.cfg.test.micros(s.cfg.Clock.Now()), 10)
}

// StoreTime implements latchkey.Timekeeper: the server's clock, by how far it was
// ahead of the node's at the last beats. Half a round trip of a beat is the error.
// In a cluster it is the median of the primaries' clocks.
func (s *Store) StoreTime(at latchkey.Moment) int64 {
	if s.cfg.test != nil && s.cfg.test.micros != nil {
		return s.cfg.test.micros(at)
	}
	return at.Mono/1000 + s.offset.Load()
}

// offset is how far a server's clock is ahead of the node's monotonic one.
type offset struct {
	micros int64
	rtt    int64 // nanoseconds, of the sample it is from; the error is half of it
	at     int64 // monotonic, of that sample
	known  bool
}

// offsetLife is for how long a better sample stands against worse ones.
const offsetLife = int64(5 * time.Second)

// sample takes a reading of the server's clock, in microseconds. A worse one than the
// last is passed over, unless both cannot be right: one of the clocks stood still, or
// was set.
func (o *offset) sample(sent, received latchkey.Moment, server int64) {
	rtt := received.Mono - sent.Mono
	micros := server - (sent.Mono+rtt/2)/1000
	apart := max(micros-o.micros, o.micros-micros) * 1000
	if o.known && rtt > o.rtt && received.Mono-o.at < offsetLife && apart <= (rtt+o.rtt)/2+int64(time.Millisecond) {
		return
	}
	*o = offset{micros, rtt, received.Mono, true}
}
