//go:build unix

package histories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// nodeVariable makes the test program a node: its settings, as JSON.
const nodeVariable = "LATCHKEY_HISTORIES_NODE"

// question is what a node is asked: one line of JSON on its standard input. Questions
// are worked on side by side.
type question struct {
	Number  int    `json:"n"`
	Do      string `json:"do"`
	Token   string `json:"token,omitempty"`
	Subject string `json:"subject,omitempty"`
	ID      string `json:"id,omitempty"`
	All     bool   `json:"all,omitempty"`
	Ask     bool   `json:"ask,omitempty"`
	// Patience is the caller's, from when the node begins with it.
	Patience time.Duration `json:"patience"`
}

// answer is a line of its standard output. That of number 0 says that the node serves.
type answer struct {
	Number  int    `json:"n"`
	Code    string `json:"code,omitempty"` // of the error
	Text    string `json:"text,omitempty"`
	Nothing bool   `json:"nothing,omitempty"` // errNothing
	Lookup  bool   `json:"lookup,omitempty"`  // atLookup
	ID      string `json:"id,omitempty"`
	Token   string `json:"token,omitempty"`
	Value   int    `json:"value,omitempty"`
}

// IsNode reports whether the test program was started as a node; then TestMain is to
// exit with what Serve returns.
func IsNode() bool { return os.Getenv(nodeVariable) != "" }

// Serve is a node of a run with Config.Processes, until its standard input ends. open
// opens its store, and is tried again until it can. The result is the program's exit
// status: not 0 when the node did not close in order, or left a goroutine behind.
func Serve(open func(ctx context.Context, store string) (latchkey.Store, error)) int {
	if err := serve(open); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	return 0
}

// server is a node in a process of its own.
type server struct {
	node atomic.Pointer[local] // nil until it is open
	out  sync.Mutex
	work sync.WaitGroup
}

func serve(open func(ctx context.Context, store string) (latchkey.Store, error)) error {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(nodeVariable)), &s); err != nil {
		return err
	}
	ring, err := keyring.Open(s.Keys, keyring.Options{})
	if err != nil {
		return err
	}
	v := &server{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v.work.Go(func() { v.open(ctx, open, ring, s) })
	err = v.listen(os.Stdin)
	cancel()
	v.work.Wait()
	if n := v.node.Load(); n != nil {
		err = errors.Join(err, n.close())
	}
	return errors.Join(err, goleak.Find())
}

// open opens the node as soon as its store can be.
func (v *server) open(ctx context.Context, open func(ctx context.Context, store string) (latchkey.Store, error), ring *keyring.Ring, s settings) {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		store, err := open(ctx, s.Store)
		if err != nil {
			fmt.Fprintln(os.Stderr, "node: not open yet:", err)
			continue
		}
		n, err := newLocal(store, ring, s)
		if err != nil {
			fmt.Fprintln(os.Stderr, "node: not open yet:", err)
			_ = store.Close()
			continue
		}
		v.node.Store(n)
		v.tell(answer{})
		return
	}
}

// listen reads questions until there are no more.
func (v *server) listen(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		v.work.Go(func() { v.tell(v.answer(q)) })
	}
	return lines.Err()
}

func (v *server) tell(a answer) {
	line, _ := json.Marshal(a) // there is nothing in it that could fail
	v.out.Lock()
	defer v.out.Unlock()
	_, _ = os.Stdout.Write(append(line, '\n'))
}

func (v *server) answer(q question) answer {
	a := answer{Number: q.Number}
	n := v.node.Load()
	if n == nil {
		a.Nothing = true
		return a
	}
	ctx, cancel := context.WithTimeout(context.Background(), q.Patience)
	defer cancel()
	var err error
	switch q.Do {
	case "issue":
		var id latchkey.ID
		id, a.Token, err = n.issue(ctx, q.Subject)
		a.ID = id.String()
	case "lookup":
		a.Value, err = n.lookup(ctx, q.Token, q.Ask)
	case "update":
		a.Value, err = n.update(ctx, q.Token)
	case "renew":
		a.Token, err = n.renew(ctx, q.Token)
	case "revoke":
		r := latchkey.Revocation{Subject: q.Subject, All: q.All, By: "test"}
		if q.Subject != "" {
			r.Provider = provider
		}
		if q.ID != "" {
			r.ID, err = latchkey.ParseID(q.ID)
		}
		if err == nil {
			err = n.revoke(ctx, r)
		}
	default:
		err = fmt.Errorf("no such question: %q", q.Do)
	}
	if a.Nothing = errors.Is(err, errNothing); !a.Nothing && err != nil {
		var first atLookup
		a.Code, a.Text, a.Lookup = string(latchkey.CodeOf(err)), err.Error(), errors.As(err, &first)
	}
	return a
}
