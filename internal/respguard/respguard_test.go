package respguard

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// scripted is a connection that answers with a text, a few bytes at a time.
type scripted struct {
	net.Conn
	answer io.Reader
	closed bool
}

func (s *scripted) Read(b []byte) (int, error)  { return s.answer.Read(b[:min(3, len(b))]) }
func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }
func (s *scripted) Close() error                { s.closed = true; return nil }

const ping = "*1\r\n$4\r\nPING\r\n"

func TestGuard(t *testing.T) {
	deep := strings.Repeat("*1\r\n", 9) + ":1\r\n"
	for _, c := range []struct {
		name, answer string
		commands     int
		ok           bool
	}{
		{"simple", "+PONG\r\n", 1, true},
		{"error", "-ERR no\r\n", 1, true},
		{"bulk", "$5\r\na\r\nbc\r\n", 1, true},
		{"empty-bulk", "$0\r\n\r\n", 1, true},
		{"nulls", "$-1\r\n*-1\r\n_\r\n", 3, true},
		{"array", "*2\r\n$1\r\nx\r\n*1\r\n:5\r\n+OK\r\n", 2, true},
		{"empty-array", "*0\r\n+OK\r\n", 2, true},
		{"map", "%1\r\n+a\r\n,1.5\r\n#t\r\n", 2, true},
		{"verbatim", "=7\r\ntxt:abc\r\n", 1, true},
		{"unasked", "+OK\r\n", 0, false},
		{"surplus", "+OK\r\n+OK\r\n", 1, false},
		{"negative-bulk", "$-2\r\n", 1, false},
		{"negative-map", "%-1\r\n", 1, false},
		{"huge-bulk", "$99999999\r\n", 1, false},
		{"overflow", "$99999999999999999999\r\n", 1, false},
		{"huge-array", "*99999\r\n", 1, false},
		{"many-in-all", "*2\r\n" + "*200\r\n" + strings.Repeat(":1\r\n", 200) + "*200\r\n", 1, false},
		{"deep", deep, 1, false},
		{"push", ">1\r\n+x\r\n", 1, false},
		{"attribute", "|1\r\n+x\r\n+y\r\n+z\r\n", 1, false},
		{"streamed", "$?\r\n;1\r\nx\r\n", 1, false},
		{"http", "HTTP/1.1 400 Bad Request\r\n", 1, false},
		{"no-cr", "+OK\n", 1, false},
		{"long-line", "+" + strings.Repeat("x", 5000), 1, false},
		{"no-digits", "$\r\n", 1, false},
		{"long-null", "_x\r\n", 1, false},
		{"empty-number", ":\r\n", 1, false},
		{"short-verbatim", "=3\r\nabc\r\n", 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := &scripted{answer: strings.NewReader(c.answer)}
			g := Wrap(inner, Default())
			for range c.commands {
				if _, err := g.Write([]byte(ping)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := io.ReadAll(g)
			if c.ok && (err != nil || string(got) != c.answer) {
				t.Fatalf("%q %v", got, err)
			}
			if !c.ok && (!errors.Is(err, ErrProtocol) || !inner.closed) {
				t.Fatalf("%q %v, closed %v", got, err, inner.closed)
			}
			if !c.ok {
				if _, err := g.Read(make([]byte, 1)); !errors.Is(err, ErrProtocol) {
					t.Fatal("reads on after a breach:", err)
				}
			}
		})
	}
}

// FuzzScanner: however the bytes are cut, the verdict is the same.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\nx\r\n*1\r\n:5\r\n+OK\r\n"), uint8(3))
	f.Add([]byte("%1\r\n+a\r\n,1.5\r\n#t\r\n$-1\r\n_\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		whole := scanner{limits: Default()}
		want := whole.scan(b)
		parts := scanner{limits: Default()}
		got := true
		for r := bytes.NewReader(b); got && r.Len() > 0; {
			part := make([]byte, min(int(cut)+1, r.Len()))
			_, _ = r.Read(part)
			got = parts.scan(part)
		}
		if got != want || got && whole.values != parts.values {
			t.Fatalf("%q: %v %d whole, %v %d in parts", b, want, whole.values, got, parts.values)
		}
	})
}
