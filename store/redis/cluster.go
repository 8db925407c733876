package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

const (
	slots = 1 << 14 // of a cluster
	asked = 5       // how many servers are asked for the state of the cluster at once
)

var errUncovered = errors.New("the cluster has no primary for some of its slots; wait for a failover, or check its state")

// slotOf is the slot of a tag: CRC-16/XMODEM of it, as the cluster specification says.
func slotOf(tag string) int {
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}

// tagSlots are the slots of all tags.
var tagSlots = sync.OnceValue(func() *[tags]int {
	list := new([tags]int)
	for i := range list {
		list[i] = slotOf(tagText(uint16(i)))
	}
	return list
})

// claimed is who says that a slot is theirs. Of several the highest epoch is right.
type claimed struct {
	addr  string
	epoch int64
}

// askCluster asks servers who has which tag.
func (s *Store) askCluster(ctx context.Context) (owners [tags]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.Timeout, time.Second))
	defer cancel()
	addrs := s.knownAddrs()
	type answer struct {
		text string
		from string
		err  error
	}
	answers := make(chan answer, len(addrs))
	for _, addr := range addrs {
		go func() { // bounded by ctx
			text, err := s.askNodes(ctx, addr)
			answers <- answer{text, addr, err}
		}()
	}
	claims := make([]claimed, slots)
	for range addrs {
		a := <-answers
		if a.err == nil {
			a.err = readNodes(a.text, a.from, claims)
		}
		if a.err != nil {
			err = a.err
		}
	}
	for i, slot := range tagSlots() {
		if owners[i] = claims[slot].addr; owners[i] == "" {
			if err == nil {
				err = errUncovered
			}
			return owners, err
		}
	}
	return owners, nil
}

// knownAddrs are some servers to ask: those in use, and those of the configuration.
func (s *Store) knownAddrs() []string {
	var addrs []string
	if v := s.view.Load(); v != nil {
		for _, n := range v.nodes {
			addrs = append(addrs, n.addr)
		}
	}
	s.asks++
	for i := range s.cfg.Addrs { // another one first each time
		addrs = append(addrs, s.cfg.Addrs[(i+s.asks)%len(s.cfg.Addrs)])
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	if len(addrs) > asked {
		at := s.asks % len(addrs)
		addrs = append(addrs[at:], addrs[:at]...)[:asked]
	}
	return addrs
}

func (s *Store) askNodes(ctx context.Context, addr string) (string, error) {
	c, err := s.cfg.dialRaw(ctx, addr, s.cfg.Username, s.cfg.Password, 0)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	v, err := c.ask("CLUSTER", "NODES")
	return v.text, err
}

// readNodes reads an answer to CLUSTER NODES, a line for each server:
// id host:port@bus[,name] flags primary ping pong epoch link slot…
func readNodes(text, from string, claims []claimed) error {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 {
			return errProtocol
		}
		flags := strings.Split(f[2], ",")
		if !slices.Contains(flags, "master") || slices.Contains(flags, "fail") || slices.Contains(flags, "noaddr") {
			continue
		}
		addr, _, _ := strings.Cut(f[1], "@")
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			cut := strings.LastIndexByte(addr, ':') // IPv6 stands there without brackets
			if cut < 0 {
				return errProtocol
			}
			host, port = addr[:cut], addr[cut+1:]
		}
		if host == "" { // a server that does not know its own address has the one it was asked by
			host, _, _ = net.SplitHostPort(from)
		}
		epoch, err := strconv.ParseInt(f[6], 10, 64)
		if err != nil {
			return errProtocol
		}
		addr = net.JoinHostPort(host, port)
		for _, span := range f[8:] {
			if strings.HasPrefix(span, "[") {
				continue // on its way to another server, but here still
			}
			first, last, ok := strings.Cut(span, "-")
			if !ok {
				last = first
			}
			lo, err1 := strconv.Atoi(first)
			hi, err2 := strconv.Atoi(last)
			if err1 != nil || err2 != nil || lo < 0 || hi >= len(claims) {
				return errProtocol
			}
			for i := lo; i <= hi; i++ {
				if claims[i].addr == "" || epoch > claims[i].epoch {
					claims[i] = claimed{addr, epoch}
				}
			}
		}
	}
	return nil
}

// beginCluster finds the primaries, and starts what runs until the store is closed.
func (s *Store) beginCluster(ctx context.Context) error {
	if err := s.checkMode(ctx); err != nil {
		return err
	}
	owners, err := s.askCluster(ctx)
	if err != nil {
		return refused(s.cfg.where(), err)
	}
	v, err := s.viewOf(ctx, &owners, nil)
	if err != nil {
		return refused(s.cfg.where(), err)
	}
	s.view.Store(v)
	first := v.at("000")
	if err := s.describe(ctx, first.client()); err != nil {
		return refused(first.addr, err)
	}
	s.scripts = newScripts(&s.cfg, s.name)
	if err := s.makeReady(ctx); err != nil {
		return refused(s.cfg.where(), err)
	}
	s.setOffset()
	for _, n := range v.nodes {
		n.start()
	}
	s.work.Go(s.watch)
	for _, n := range v.nodes {
		if err := n.line.await(ctx); err != nil {
			return refused(n.addr, err)
		}
	}
	return nil
}

// checkMode tells a server that is not one of a cluster from one that does not answer.
func (s *Store) checkMode(ctx context.Context) error {
	var last error
	for _, addr := range s.cfg.Addrs {
		client, err := s.cfg.newClient(addr)
		if err == nil {
			var f facts
			if f, err = askFacts(ctx, client); err == nil {
				f.role = "master" // any of them may tell of the cluster
				err = f.check(&s.cfg)
			}
		}
		if client != nil {
			client.Close()
		}
		if err == nil {
			return nil
		}
		last = refused(addr, err)
	}
	return last
}

// viewOf makes a view, out of the nodes of another one and of new ones.
func (s *Store) viewOf(ctx context.Context, owners *[tags]string, last *view) (*view, error) {
	v := &view{owners: new([tags]*node), gone: make(chan struct{})}
	byAddr := make(map[string]*node)
	mine := make(map[string][]string)
	for i, addr := range owners {
		mine[addr] = append(mine[addr], tagText(uint16(i)))
	}
	if last != nil {
		for _, n := range last.nodes {
			byAddr[n.addr] = n
		}
	}
	for addr, list := range mine {
		n := byAddr[addr]
		// A line has the channels of its tags, so that with others there is another line.
		if n == nil || !slices.Equal(n.line.tags, list) {
			made, err := s.connect(ctx, addr, false)
			if err != nil {
				v.closeBut(last)
				return nil, err
			}
			made.line.tags = list
			n = made
			byAddr[addr] = n
		}
		v.nodes = append(v.nodes, n)
	}
	for i, addr := range owners {
		v.owners[i] = byAddr[addr]
	}
	return v, nil
}

// closeBut closes nodes that were never started: all that are not in another view.
func (v *view) closeBut(last *view) {
	for _, n := range v.nodes {
		if last == nil || !last.has(n) {
			n.client().Close()
		}
	}
}

// makeReady gives every tag its generation, where the store is new or its making was
// broken off. A counter that is missing later is an error and not a new beginning.
func (s *Store) makeReady(ctx context.Context) error {
	if s.ready {
		return nil
	}
	err := eachTag(ctx, func(ctx context.Context, tag string) error {
		c := s.view.Load().at(tag).client()
		return c.Do(ctx, c.B().Setnx().Key(s.generationKey(tag)).Value(s.generation).Build()).Error()
	})
	if err != nil {
		return err
	}
	c := s.view.Load().at("000").client()
	if err := c.Do(ctx, c.B().Hset().Key(s.metaKey()).FieldValue().FieldValue("ready", "1").Build()).Error(); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// lookAtCluster asks who has which slot, and follows.
func (s *Store) lookAtCluster(ctx context.Context) error {
	owners, err := s.askCluster(ctx)
	if err != nil {
		return err
	}
	last := s.view.Load()
	same := true
	for i, addr := range owners {
		same = same && last.owners[i].addr == addr
	}
	if same {
		return nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	next, err := s.viewOf(ctx, &owners, last)
	if err != nil {
		return err
	}
	s.replace(next)
	return nil
}

// subscribeAll subscribes to the channels of all tags that the primary has. Each has
// to be asked for by itself: no two are of one slot.
func (s *Store) subscribeAll(l *line, c *rawConn) error {
	channels := make([]string, 0, len(l.tags)+1)
	for _, tag := range l.tags {
		channels = append(channels, s.common(tag)+"feed:"+s.name)
	}
	channels = append(channels, l.beatChannel())
	var out []byte
	for _, channel := range channels {
		out = appendCommand(out, "SSUBSCRIBE", channel)
	}
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	// Written while the answers are read, or both sides could wait for each other.
	written := make(chan error, 1)
	go func() { // ends with the connection at the latest
		_, err := c.Write(out)
		written <- err
	}()
	err := subscribed(c, "ssubscribe", len(channels))
	if err != nil {
		_ = c.Close()
	}
	if werr := <-written; err == nil {
		err = werr
	}
	return err
}

// subscribed reads the answers to n subscriptions, of that kind. What is published on
// those that stand already is passed over: nobody follows the line before its first beat.
func subscribed(c *rawConn, kind string, n int) error {
	for n > 0 {
		v, err := readValue(c.r, 0)
		if err == nil {
			err = v.err()
		}
		if err != nil {
			return err
		}
		switch {
		case v.kind != '>' || len(v.list) != 3:
			return errProtocol
		case v.list[0].text == kind:
			n--
		}
	}
	return nil
}

// tagsWith are the tags of a cluster under which there is a key of a name.
func (s *Store) tagsWith(ctx context.Context, name string) ([]string, error) {
	var mu sync.Mutex
	var found []string
	err := each(ctx, s.primaries(), func(ctx context.Context, n *node) (err error) {
		defer caught(&err)
		if err := n.usable(); err != nil {
			return err
		}
		c := n.client()
		commands := make([]rueidis.Completed, len(n.line.tags))
		for i, tag := range n.line.tags {
			commands[i] = c.B().Exists().Key(s.common(tag) + name).Build()
		}
		for i, r := range c.DoMulti(ctx, commands...) {
			there, err := r.AsInt64()
			if err != nil && !moved(err) {
				return unavailable(err)
			}
			if err != nil || there != 0 { // one that was moved is looked at where it is
				mu.Lock()
				found = append(found, n.line.tags[i])
				mu.Unlock()
			}
		}
		return n.usable()
	})
	return found, err
}

// eachTag runs f for all tags, many at once, and returns the first error.
func eachTag(ctx context.Context, f func(ctx context.Context, tag string) error) error {
	list := make([]string, tags)
	for i := range list {
		list[i] = tagText(uint16(i))
	}
	return each(ctx, list, f)
}

// atOnce is how many trips one call makes at a time.
const atOnce = 128

func each[T any](ctx context.Context, list []T, f func(ctx context.Context, one T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var workers sync.WaitGroup
	var once sync.Once
	var failed error
	for range min(atOnce, len(list)) {
		workers.Go(func() {
			for one := range work {
				if ctx.Err() != nil {
					continue
				}
				if err := f(ctx, one); err != nil {
					once.Do(func() { failed = err })
					cancel(err)
				}
			}
		})
	}
	for _, one := range list {
		work <- one
	}
	close(work)
	workers.Wait()
	if failed == nil && ctx.Err() != nil {
		return brokenOff(ctx)
	}
	return failed
}

// target is the generation that a revocation of everything raises to. It is drawn
// before the tags are raised, so that of two revocations the later one raises higher.
func (s *Store) target(ctx context.Context, raise int64) (generation int64, err error) {
	defer caught(&err)
	for try := 0; ; try++ {
		v := s.view.Load()
		n := v.at("000")
		if err := n.usable(); err != nil {
			return 0, err
		}
		if raise == 0 {
			generation, err = n.read(ctx, func(b rueidis.Builder) rueidis.Completed {
				return b.Hget().Key(s.metaKey()).Field("generation").Build()
			}).AsInt64()
		} else {
			c := n.client()
			generation, err = c.Do(ctx, c.B().Hincrby().Key(s.metaKey()).Field("generation").Increment(raise).Build()).AsInt64()
		}
		switch {
		case rueidis.IsRedisNil(err):
			return 0, unavailable(errGone)
		case err == nil && generation <= 0:
			return 0, unavailable(errForeign)
		case err == nil:
			return generation, n.usable()
		case !moved(err) || try == maxMoves:
			return 0, unavailable(fmt.Errorf("the generation: %w", err))
		}
		if err := s.awaitView(ctx, v); err != nil {
			return 0, err
		}
	}
}
