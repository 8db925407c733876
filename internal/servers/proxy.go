//go:build unix

package servers

import (
	"net"
	"sync"
)

// Proxy is a TCP proxy before a server, to cut and to stall connections. Its
// methods are safe for concurrent use.
type Proxy struct {
	// Addr is host:port of the proxy.
	Addr string

	target string
	listen net.Listener
	work   sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	refuse  bool
	flowing chan struct{} // closed while bytes may pass
}

// StartProxy listens on a free port and forwards to target (host:port) until the test ends.
func StartProxy(t TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listen: l, conns: make(map[net.Conn]struct{})}
	p.flowing = make(chan struct{})
	close(p.flowing)
	p.work.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Resume()
		p.Cut()
		p.work.Wait()
	})
	return p
}

// Cut closes every connection and refuses new ones until Resume.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for c := range p.conns {
		c.Close()
	}
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

// Resume undoes Cut and Stall. What was held back goes on its way.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
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
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	refuse := p.refuse
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
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

// pipe forwards one direction; its end ends the other too.
func (p *Proxy) pipe(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			p.mu.Lock()
			flowing := p.flowing
			p.mu.Unlock()
			<-flowing
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return // a half-closed connection is closed whole
		}
	}
}
