// Package python runs the Python libraries that Latchkey is compared with, in a
// process of the benchmark. It times itself: the pipe between the two is not what is
// compared.
package python

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/internal/needs"
)

//go:embed peer.py
var script string

// Peer is the process. Its methods are for one goroutine.
type Peer struct {
	tb    testing.TB
	in    io.WriteCloser
	lines *bufio.Scanner
}

// Start starts the process, which ends with the benchmark. A missing library skips
// the benchmark, or fails it where CI=true.
func Start(tb testing.TB) *Peer {
	tb.Helper()
	cmd := exec.Command(needs.Python(tb, "itsdangerous, redis"), "-c", script)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &Peer{tb: tb, in: in, lines: bufio.NewScanner(out)}
	p.lines.Buffer(nil, 16<<20)
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return p
}

// Ask calls a function of peer.py and decodes its answer, which nil drops.
func (p *Peer) Ask(answer any, function string, args ...any) {
	p.tb.Helper()
	if err := p.ask(answer, function, args...); err != nil {
		p.tb.Fatal("python: ", function, ": ", err)
	}
}

func (p *Peer) ask(answer any, function string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	if err := json.NewEncoder(p.in).Encode([]any{function, args}); err != nil {
		return err
	}
	if !p.lines.Scan() {
		return fmt.Errorf("the process is gone: %w", p.lines.Err())
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(p.lines.Bytes(), answer)
}

// Subject is a function of peer.py that is done over and over, timed by the wall.
func (p *Peer) Subject(name, function string) paired.Subject { return p.subject(name, function, false) }

// Compute is a Subject whose processor time is measured; see [paired.Compute].
func (p *Peer) Compute(name, function string) paired.Subject { return p.subject(name, function, true) }

func (p *Peer) subject(name, function string, compute bool) paired.Subject {
	return paired.Subject{Name: name, Turn: func(d time.Duration) (paired.Done, error) {
		var did struct {
			N               int
			Seconds, Worked float64
		}
		err := p.ask(&did, "turn", function, d.Seconds())
		took := did.Seconds
		if compute {
			took = did.Worked
		}
		return paired.Done{N: did.N, Took: time.Duration(took * 1e9), Allocs: math.NaN()}, err
	}}
}
