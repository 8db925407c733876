// Package respguard reads along on a connection to a Redis and breaks it off before
// the client library sees an answer that no Redis gives: a length that is negative
// or beyond what was asked for, deep nesting, an answer to nothing. The library
// (rueidis) allocates what a length says and panics on a surplus answer, in a
// goroutine of its own where nobody can catch it; a server that went mad, or a port
// that is not a Redis at all, must not be able to stop the process.
//
// It knows RESP2 and RESP3 as far as plain commands need them. Pushes, attributes and
// streamed values are refused: they come only to clients that asked for them.
package respguard

import (
	"errors"
	"net"
	"sync/atomic"
)

// Limits bounds one answer.
type Limits struct {
	Bulk  int64 // bytes of one string
	Items int64 // elements of one array or map, and of the maps and arrays within it together
	Line  int   // bytes of a line: a simple string, an error, a number
	Depth int   // arrays within arrays
}

// Default bounds answers that hold at most one entry of a cache. An array's items
// cover the answer to HELLO, which is the longest.
func Default() Limits { return Limits{Bulk: 128 << 10, Items: 256, Line: 4 << 10, Depth: 8} }

// ErrProtocol is what reading ends with when the other side is no Redis. It holds
// nothing of what was read.
var ErrProtocol = errors.New("respguard: the answer is none of a Redis, or is larger than allowed")

// Wrap returns conn with a guard on what is read from it. Reads are not safe for
// concurrent use with each other, nor writes with each other, as with a client
// library that has one reader and one writer.
func Wrap(conn net.Conn, limits Limits) net.Conn {
	g := &guarded{Conn: conn}
	g.in = scanner{limits: limits}
	// Commands are ours: they are counted, not judged.
	g.out = scanner{limits: Limits{Bulk: 1 << 40, Items: 1 << 40, Line: 1 << 20, Depth: 2}}
	return g
}

type guarded struct {
	net.Conn
	in, out scanner
	sent    atomic.Int64 // commands written
	failed  atomic.Bool
}

// Write counts the commands before they leave, so that no answer comes before its command counts.
func (g *guarded) Write(b []byte) (int, error) {
	if !g.out.scan(b) {
		return 0, g.fail()
	}
	g.sent.Store(g.out.values)
	return g.Conn.Write(b)
}

func (g *guarded) Read(b []byte) (int, error) {
	if g.failed.Load() {
		return 0, ErrProtocol
	}
	n, err := g.Conn.Read(b)
	if n > 0 && (!g.in.scan(b[:n]) || g.in.values > g.sent.Load()) {
		return 0, g.fail()
	}
	return n, err
}

func (g *guarded) fail() error {
	g.failed.Store(true)
	_ = g.Conn.Close() // whatever it says, nobody listens to this connection any more
	return ErrProtocol
}

// scanner follows a stream of RESP values across reads.
type scanner struct {
	limits Limits
	values int64 // whole values at the top level so far

	state   state
	kind    byte    // type of the value whose line is read
	line    int     // bytes of the line so far
	number  int64   // what the line says, when it is a length
	minus   bool    // the length is negative
	digits  bool    // the length has a digit
	skip    int64   // bytes of a string still to come, with its CR LF
	items   int64   // elements announced within the top-level value
	pending []int64 // elements still to come, for each open array
}

type state byte

const (
	atType state = iota
	inLine
	atLF // the CR was seen
	inBulk
)

// scan takes the next bytes and reports whether all is well.
func (s *scanner) scan(b []byte) bool {
	for len(b) > 0 {
		if s.state == inBulk {
			n := min(s.skip, int64(len(b)))
			b = b[n:]
			if s.skip -= n; s.skip == 0 {
				s.done()
			}
			continue
		}
		c := b[0]
		b = b[1:]
		if !s.step(c) {
			return false
		}
	}
	return true
}

func (s *scanner) step(c byte) bool {
	switch s.state {
	case atType:
		switch c {
		case '$', '=', '!', '*', '~', '%', '+', '-', ':', '_', ',', '#', '(':
		default:
			return false
		}
		s.kind, s.line, s.number, s.minus, s.digits, s.state = c, 0, 0, false, false, inLine
		return true
	case inLine:
		if c == '\r' {
			s.state = atLF
			return true
		}
		if s.line++; c == '\n' || s.line > s.limits.Line {
			return false
		}
		return !s.counted() || s.digit(c)
	case atLF:
		return c == '\n' && s.endLine()
	}
	return false
}

// counted reports whether the line is a length.
func (s *scanner) counted() bool {
	switch s.kind {
	case '$', '=', '!', '*', '~', '%':
		return true
	}
	return false
}

func (s *scanner) digit(c byte) bool {
	if c == '-' && s.line == 1 {
		s.minus = true
		return true
	}
	if c < '0' || c > '9' || s.line > 18 {
		return false
	}
	s.number, s.digits = s.number*10+int64(c-'0'), true
	return true
}

func (s *scanner) endLine() bool {
	if !s.counted() {
		return s.plain()
	}
	if !s.digits || s.minus && (s.number != 1 || s.kind != '$' && s.kind != '*') {
		return false
	}
	if s.minus { // the null of RESP2
		s.done()
		return true
	}
	switch s.kind {
	case '$', '=', '!':
		if s.number > s.limits.Bulk || s.kind == '=' && s.number < 4 {
			return false
		}
		s.skip, s.state = s.number+2, inBulk
		return true
	case '%':
		s.number *= 2
	}
	if s.items += s.number; s.number > s.limits.Items || s.items > s.limits.Items || len(s.pending) >= s.limits.Depth {
		return false
	}
	if s.number == 0 {
		s.done()
		return true
	}
	s.pending = append(s.pending, s.number)
	s.state = atType
	return true
}

// plain ends a value that is a line. The library skips what it expects of a null and
// of a boolean without a look, so those must have their exact length.
func (s *scanner) plain() bool {
	switch s.kind {
	case '_':
		if s.line != 0 {
			return false
		}
	case '#':
		if s.line != 1 {
			return false
		}
	case ':':
		if s.line == 0 {
			return false
		}
	}
	s.done()
	return true
}

// done ends a value, and the arrays that it completes.
func (s *scanner) done() {
	s.state = atType
	for len(s.pending) > 0 {
		last := len(s.pending) - 1
		if s.pending[last]--; s.pending[last] > 0 {
			return
		}
		s.pending = s.pending[:last]
	}
	s.items = 0
	s.values++
}
