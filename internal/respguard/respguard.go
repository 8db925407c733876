// Package respguard reads along on a connection to a Redis and breaks it off before
// the client library sees an answer that no Redis gives: a length that is negative
// or beyond what was asked for, deep nesting, an answer to nothing. The library
// (rueidis) allocates what a length says and panics on a surplus answer, in a
// goroutine of its own where nobody can catch it; a server that went mad, or a port
// that is not a Redis at all, must not be able to stop the process.
//
// It knows RESP2 and RESP3 as far as plain commands and subscriptions need them.
// Attributes and streamed values are refused, and pushes before a subscription: they
// come only to clients that asked for them.
package respguard

import (
	"errors"
	"net"
	"sync"
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
	g.in = scanner{limits: limits, pushes: true, whole: g.answer}
	// Commands are ours: they are noted, not judged.
	g.out = scanner{limits: Limits{Bulk: 1 << 40, Items: 1 << 40, Line: 1 << 20, Depth: 2}, whole: g.command}
	return g
}

type guarded struct {
	net.Conn
	in, out scanner
	failed  atomic.Bool

	// sent is how many commands were written, waiting how many of them, not yet
	// answered, are in odd.
	sent, waiting atomic.Int64
	mu            sync.Mutex
	odd           []odd
	subscribed    atomic.Bool // pushes were asked for

	// Of the reader alone.
	answered int64 // commands answered
	more     int   // further confirmations of the subscription that was answered last
	pong     bool  // the next answer belongs to the PING behind an UNSUBSCRIBE
}

// Write notes the commands before they leave, so that no answer comes before its command is known.
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
	if n > 0 && !g.in.scan(b[:n]) {
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
	pushes bool             // pushes are known at the top level
	whole  func(value) bool // judges each whole value at the top level; nil takes all
	values int64            // whole values at the top level so far
	top    value            // the one under way
	head   [maxHead]byte    // the beginning of top's text

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

// value is what is known of a value at the top level.
type value struct {
	kind  byte
	items int64 // elements of an array or push
	// text is the line of a value that is one, or the first element of an array or
	// push when that is a string; cut says that there is more.
	text []byte
	cut  bool
}

// maxHead is more than the longest command that matters, and than Redis' refusals.
const maxHead = 256

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
			if s.first() {
				s.note(b[:min(n, max(s.skip-2, 0))]) // without CR LF
			}
			b = b[n:]
			if s.skip -= n; s.skip == 0 && !s.done() {
				return false
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
		case '>':
			if !s.pushes || len(s.pending) > 0 {
				return false
			}
		default:
			return false
		}
		if len(s.pending) == 0 {
			s.top = value{kind: c, text: s.head[:0]}
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
		if !s.counted() {
			if len(s.pending) == 0 || s.first() {
				s.note([]byte{c})
			}
			return true
		}
		return s.digit(c)
	case atLF:
		return c == '\n' && s.endLine()
	}
	return false
}

// first reports that the value under way is the first element of a whole array or
// push and a string, which names commands and pushes.
func (s *scanner) first() bool {
	return len(s.pending) == 1 && s.pending[0] == s.top.items && (s.top.kind == '*' || s.top.kind == '>') && (s.kind == '$' || s.kind == '+')
}

// note keeps what fits of the text.
func (s *scanner) note(b []byte) {
	room := maxHead - len(s.top.text)
	if len(b) > room {
		s.top.cut, b = true, b[:room]
	}
	s.top.text = append(s.top.text, b...)
}

// counted reports whether the line is a length.
func (s *scanner) counted() bool {
	switch s.kind {
	case '$', '=', '!', '*', '~', '%', '>':
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
		return s.done()
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
	if len(s.pending) == 0 {
		s.top.items = s.number
	}
	if s.number == 0 {
		return s.done()
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
	return s.done()
}

// done ends a value, and the arrays that it completes.
func (s *scanner) done() bool {
	s.state = atType
	for len(s.pending) > 0 {
		last := len(s.pending) - 1
		if s.pending[last]--; s.pending[last] > 0 {
			return true
		}
		s.pending = s.pending[:last]
	}
	s.items = 0
	s.values++
	return s.whole == nil || s.whole(s.top)
}
