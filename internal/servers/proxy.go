//go:build unix

package servers

import (
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Proxy is a TCP proxy before a server, to cut, to stall and to delay connections. Its
// methods are safe for concurrent use.
type Proxy struct {
	// Addr is host:port of the proxy.
	Addr string

	target string
	listen net.Listener
	work   sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]string // with the host of the client
	refuse  func(host string) bool
	flowing chan struct{} // closed while bytes may pass
	delays  *rand.Rand
	// The bounds of delays; 0 and 0 when there are none.
	shortest, longest time.Duration
}

// StartProxy listens on a free port and forwards to target (host:port) until the test ends.
func StartProxy(t TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listen: l, conns: make(map[net.Conn]string)}
	p.flowing = make(chan struct{})
	close(p.flowing)
	p.work.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Delay(0, 0, 0)
		p.Resume()
		p.Cut()
		p.work.Wait()
	})
	return p
}

// Cut closes every connection and refuses new ones until Resume.
func (p *Proxy) Cut() { p.cut(func(string) bool { return true }) }

// lead gives the proxy a target after its start.
func (p *Proxy) lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// CutFrom is Cut for clients that connect from one of the hosts, such as 127.0.0.2.
func (p *Proxy) CutFrom(hosts ...string) {
	p.cut(func(host string) bool { return slices.Contains(hosts, host) })
}

func (p *Proxy) cut(refuse func(host string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
	for c, host := range p.conns {
		if refuse(host) {
			c.Close()
		}
	}
}

// Delay holds back whatever comes from now on, in each direction, each time for a
// random while between shortest and longest, of which most are near the shortest. What
// is sent later on the same connection waits, as it does with TCP. The seed decides the
// delays as far as what is sent does not depend on how the machine schedules. A longest
// of 0 ends it; what is held back keeps its time.
func (p *Proxy) Delay(seed uint64, shortest, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shortest, p.longest, p.delays = shortest, longest, rand.New(rand.NewPCG(seed, 0))
}

// Stall keeps connections open and accepts new ones, and forwards nothing until
// Resume: a network that swallows packets.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default:
	}
}

// Resume undoes Cut, CutFrom and Stall. What was held back goes on its way.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = nil
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	host, _, _ := net.SplitHostPort(client.RemoteAddr().String())
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	refuse := p.refuse != nil && p.refuse(host)
	p.conns[client], p.conns[server] = host, host
	p.mu.Unlock()
	if !refuse {
		var both sync.WaitGroup
		both.Go(func() { p.pipe(server, client) })
		both.Go(func() { p.pipe(client, server) })
		both.Wait()
	}
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// lot is bytes that go on their way at a time.
type lot struct {
	bytes []byte
	due   time.Time
}

// pipe forwards one direction; its end ends the other too.
func (p *Proxy) pipe(dst, src net.Conn) {
	lots := make(chan lot, 64)
	var forward sync.WaitGroup
	forward.Go(func() {
		defer dst.Close()
		defer src.Close()
		broken := false
		for l := range lots {
			if broken {
				continue // to its end, so that the reader never waits
			}
			if wait := time.Until(l.due); wait > 0 {
				time.Sleep(wait)
			}
			p.mu.Lock()
			flowing := p.flowing
			p.mu.Unlock()
			<-flowing
			if _, err := dst.Write(l.bytes); err != nil {
				broken = true
				src.Close()
			}
		}
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			lots <- lot{slices.Clone(buf[:n]), time.Now().Add(p.delay())}
		}
		if err != nil {
			break // a half-closed connection is closed whole
		}
	}
	close(lots)
	forward.Wait()
}

// delay draws how long something is held back: the cube of a uniform number makes
// short ones likely.
func (p *Proxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.longest <= 0 {
		return 0
	}
	u := p.delays.Float64()
	return p.shortest + time.Duration(u*u*u*float64(p.longest-p.shortest))
}
