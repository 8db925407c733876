package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// errNoPrimary is when no sentinel that answers knows the primary.
var errNoPrimary = errors.New("no sentinel names a primary; check the name, and that the sentinels run")

// askSentinels asks all sentinels for the primary's address. They may differ for a
// while after a failover; the one of the highest configuration epoch is right.
func (s *Store) askSentinels(ctx context.Context) (string, error) {
	type answer struct {
		addr  string
		epoch int64
		err   error
	}
	answers := make(chan answer, len(s.cfg.Addrs))
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.Timeout, time.Second))
	defer cancel()
	for _, addr := range s.cfg.Addrs {
		go func() { // bounded by ctx
			primary, epoch, err := s.askSentinel(ctx, addr)
			answers <- answer{primary, epoch, err}
		}()
	}
	best, failed := answer{epoch: -1}, errNoPrimary
	for range s.cfg.Addrs {
		a := <-answers
		switch {
		case a.err != nil:
			failed = fmt.Errorf("%w: %w", errNoPrimary, a.err)
		case a.epoch > best.epoch:
			best = a
		}
	}
	if best.epoch < 0 {
		return "", failed
	}
	return best.addr, nil
}

func (s *Store) askSentinel(ctx context.Context, addr string) (primary string, epoch int64, err error) {
	c, err := s.cfg.dialRaw(ctx, addr, s.cfg.SentinelUsername, s.cfg.SentinelPassword, 0)
	if err != nil {
		return "", 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	v, err := c.ask("SENTINEL", "MASTER", s.cfg.Master)
	if err != nil {
		return "", 0, err
	}
	for i := 0; i+1 < len(v.list); i += 2 {
		if v.list[i].text == "config-epoch" {
			epoch, err = strconv.ParseInt(v.list[i+1].text, 10, 64)
		}
	}
	if err != nil || epoch < 0 {
		return "", 0, errProtocol
	}
	// During a failover the address in the former answer is the old one still.
	if v, err = c.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.cfg.Master); err != nil {
		return "", 0, err
	}
	if len(v.list) != 2 || v.list[0].text == "" {
		return "", 0, errProtocol
	}
	if port, err := strconv.ParseUint(v.list[1].text, 10, 16); err != nil || port == 0 {
		return "", 0, errProtocol
	}
	return net.JoinHostPort(v.list[0].text, v.list[1].text), epoch, nil
}

// hurryLook has the servers looked at anew, soon.
func (s *Store) hurryLook() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// watch follows the primary until the store is closed.
func (s *Store) watch() {
	every := s.cfg.Lease / 2
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-s.running.Done():
			return
		case <-s.look:
		case <-timer.C:
		}
		timer.Reset(every)
		_ = s.lookAgain(s.running) // what fails is tried again, and the lines tell what is wrong
	}
}

// lookAgain asks where the primary is, and goes there.
func (s *Store) lookAgain(ctx context.Context) error {
	if s.cfg.Mode == Cluster {
		return s.lookAtCluster(ctx)
	}
	addr, err := s.askSentinels(ctx)
	if err != nil || addr == s.one().addr {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	n, err := s.connect(ctx, addr, false)
	if err != nil {
		return err
	}
	s.replace(&view{nodes: []*node{n}, gone: make(chan struct{})})
	return nil
}

// replace puts a view in the place of the present one. Followers end, since what was
// published meanwhile did not reach them.
func (s *Store) replace(next *view) {
	last := s.view.Swap(next)
	for _, n := range next.nodes {
		if n.stop == nil {
			n.start()
		}
	}
	s.setOffset()
	for _, n := range last.nodes {
		if next.has(n) {
			n.line.dismiss(errMoved)
		} else {
			n.shut()
		}
	}
	close(last.gone)
}

func (v *view) has(n *node) bool {
	for _, other := range v.nodes {
		if other == n {
			return true
		}
	}
	return false
}

// where names the servers for messages.
func (cfg *Config) where() string { return strings.Join(cfg.Addrs, ",") }
