//go:build unix

package histories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/keyring"
)

// Processes are nodes that are processes: the test program in another role (see
// [Serve]), so that they can be stopped and killed. A value is for one run. The
// methods are for faults; a node that is stopped is to be continued, and one that was
// killed to be started.
type Processes struct {
	// Store is what each node is to open, in words that the test's own Serve knows.
	Store func(node int) string
	// Idle is the nodes' idle limit, the Manager's own unless set.
	Idle time.Duration

	settings settings
	nodes    []*process
}

// open implements Host: it starts the processes and waits until all of them serve.
func (p *Processes) open(t testing.TB, cfg *Config) (nodes []node) {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if _, err := keyring.Create(keys, keyring.Options{}); err != nil {
		t.Fatal(err)
	}
	p.settings = settings{Keys: keys, Staleness: cfg.Staleness, Stateless: cfg.Stateless, Idle: p.Idle}
	for i := range cfg.Nodes {
		n := &process{of: p, index: i}
		p.nodes, nodes = append(p.nodes, n), append(nodes, n)
		t.Cleanup(func() { p.Kill(i) }) // should the run not have come to its end
		p.Start(i)
	}
	for i, n := range p.nodes {
		l := n.now()
		if l == nil {
			t.Fatalf("node %d does not start: %v", i, n.err)
		}
		select {
		case <-l.serves:
		case <-l.ended:
			t.Fatalf("node %d ended:\n%s", i, l.child.Output())
		case <-time.After(time.Minute):
			t.Fatalf("node %d does not serve:\n%s", i, l.child.Output())
		}
	}
	return nodes
}

// Stop halts a node by SIGSTOP.
func (p *Processes) Stop(node int) {
	if l := p.nodes[node].now(); l != nil {
		l.child.Stop()
	}
}

// Continue undoes Stop.
func (p *Processes) Continue(node int) {
	if l := p.nodes[node].now(); l != nil {
		l.child.Continue()
	}
}

// Kill ends a node by SIGKILL and returns when it is gone.
func (p *Processes) Kill(node int) {
	n := p.nodes[node]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return
	}
	n.life.child.Kill()
	<-n.life.ended
	n.life.in.Close()
	if said := n.life.child.Output(); strings.Contains(said, "panic:") || strings.Contains(said, "DATA RACE") {
		n.err = errors.New(said)
	}
	n.life = nil
}

// Start starts a node that was killed. It serves as soon as its store can be opened.
func (p *Processes) Start(node int) {
	n := p.nodes[node]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		var err error
		n.life, err = begin(p.settings, p.Store(node))
		n.err = errors.Join(n.err, err)
	}
}

// process is a node by way of its process.
type process struct {
	of    *Processes
	index int

	mu   sync.Mutex
	life *life // nil between a kill and a start
	err  error // why it did not start, or what it died of
}

// life is a process from its start to its end.
type life struct {
	child  *servers.Child
	in     *os.File
	serves chan struct{} // closed when the node serves
	ended  chan struct{} // closed when everything that it said is read

	mu      sync.Mutex
	last    int
	pending map[int]chan answer
}

// now is the present life; one that ended before it began when there is none.
func (n *process) now() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// begin starts a process.
func begin(s settings, store string) (*life, error) {
	s.Store = store
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer childOut.Close()
	cmd := exec.Command(own)
	cmd.Env = append(os.Environ(), nodeVariable+"="+string(text))
	cmd.Stdin, cmd.Stdout = childIn, childOut
	l := &life{in: in, serves: make(chan struct{}), ended: make(chan struct{}), pending: make(map[int]chan answer)}
	if l.child, err = servers.Spawn(cmd); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	go l.listen(out) // until the process has ended
	return l, nil
}

// listen hands answers to those who wait for them.
func (l *life) listen(out *os.File) {
	defer out.Close()
	defer close(l.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue // half a line, of a node that was killed
		}
		if a.Number == 0 {
			close(l.serves)
			continue
		}
		l.mu.Lock()
		waiting := l.pending[a.Number]
		delete(l.pending, a.Number)
		l.mu.Unlock()
		if waiting != nil {
			waiting <- a
		}
	}
}

// errGone is when a node was killed while it was asked, or is silent.
var errGone = latchkey.NewError(latchkey.CodeStoreUnavailable, "the node gave no answer", nil)

// ask asks the node. It waits longer than a node that serves may take, for one that is
// stopped answers when it goes on.
func (n *process) ask(ctx context.Context, q question) (answer, error) {
	l := n.now()
	if l == nil {
		return answer{}, errNothing
	}
	select {
	case <-l.serves:
	default:
		return answer{}, errNothing
	}
	if deadline, ok := ctx.Deadline(); ok {
		q.Patience = time.Until(deadline)
	}
	waiting := make(chan answer, 1)
	l.mu.Lock()
	l.last++
	q.Number = l.last
	l.pending[q.Number] = waiting
	line, _ := json.Marshal(q)
	_, err := l.in.Write(append(line, '\n')) // what is under way at a time fits the pipe
	l.mu.Unlock()
	if err != nil {
		return answer{}, errGone
	}
	timer := time.NewTimer(4 * callTimeout)
	defer timer.Stop()
	select {
	case a := <-waiting:
		return a, a.err()
	case <-l.ended:
	case <-timer.C:
	}
	select {
	case a := <-waiting: // among the last that it said
		return a, a.err()
	default:
		return answer{}, errGone
	}
}

func (a *answer) err() error {
	switch {
	case a.Nothing:
		return errNothing
	case a.Lookup:
		return atLookup{latchkey.NewError(latchkey.Code(a.Code), a.Text, nil)}
	case a.Code != "":
		return latchkey.NewError(latchkey.Code(a.Code), a.Text, nil)
	case a.Text != "":
		return errors.New(a.Text)
	}
	return nil
}

func (n *process) issue(ctx context.Context, subject string) (latchkey.ID, string, error) {
	a, err := n.ask(ctx, question{Do: "issue", Subject: subject})
	if err != nil {
		return latchkey.ID{}, "", err
	}
	id, err := latchkey.ParseID(a.ID)
	return id, a.Token, err
}

func (n *process) lookup(ctx context.Context, token string, ask bool) (int, error) {
	a, err := n.ask(ctx, question{Do: "lookup", Token: token, Ask: ask})
	return a.Value, err
}

func (n *process) update(ctx context.Context, token string) (int, error) {
	a, err := n.ask(ctx, question{Do: "update", Token: token})
	return a.Value, err
}

func (n *process) renew(ctx context.Context, token string) (string, error) {
	a, err := n.ask(ctx, question{Do: "renew", Token: token})
	return a.Token, err
}

func (n *process) revoke(ctx context.Context, r latchkey.Revocation) error {
	q := question{Do: "revoke", Subject: r.Subject, All: r.All}
	if !r.ID.IsZero() {
		q.ID = r.ID.String()
	}
	_, err := n.ask(ctx, q)
	return err
}

// close ends the node in good order, and reports one that did not leave so, or that
// did not before it was killed.
func (n *process) close() error {
	if l := n.now(); l != nil {
		l.in.Close()
		if !l.child.Wait(30 * time.Second) {
			return fmt.Errorf("node %d did not end well:\n%s", n.index, l.child.Output())
		}
		n.of.Kill(n.index)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}
