// Package redismon counts what clients send to a Redis. MONITOR shows each command,
// and marks those that a script or a function of the server made, which cost no
// trip; INFO's counters do not tell the two apart.
package redismon

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// Monitor is a connection that watches a server, for one goroutine.
type Monitor struct {
	tb    testing.TB
	conn  net.Conn
	lines *bufio.Reader
	tries int
}

// Start watches the server at addr (host:port) until the benchmark ends.
func Start(tb testing.TB, addr string) *Monitor {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	m := &Monitor{tb: tb, conn: conn, lines: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		tb.Fatal(err)
	}
	if line, err := m.lines.ReadString('\n'); err != nil || line != "+OK\r\n" {
		tb.Fatalf("MONITOR: %q %v", line, err)
	}
	return m
}

// Commands returns what clients sent while f ran, one command to a line. Each that
// f waited for before it sent the next one was a trip.
func (m *Monitor) Commands(f func()) []string {
	m.tb.Helper()
	_ = m.conn.SetDeadline(time.Now().Add(time.Minute))
	m.mark()
	m.read(func(string) {})
	f()
	m.mark()
	var list []string
	m.read(func(command string) { list = append(list, command) })
	return list
}

// mark has another connection send something by which to know where the list ends.
func (m *Monitor) mark() {
	m.tries++
	conn, err := net.Dial("tcp", m.conn.RemoteAddr().String())
	if err != nil {
		m.tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(conn, "ECHO redismon:%d\r\n", m.tries); err != nil {
		m.tb.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		m.tb.Fatal(err)
	}
}

// read hands over the commands up to the mark: +time [db address] "command" "argument"…
func (m *Monitor) read(each func(string)) {
	m.tb.Helper()
	for {
		line, err := m.lines.ReadString('\n')
		if err != nil {
			m.tb.Fatal("MONITOR: ", err)
		}
		_, rest, _ := strings.Cut(line, "[")
		from, command, ok := strings.Cut(rest, "] ")
		switch {
		case strings.Contains(command, fmt.Sprintf(`"redismon:%d"`, m.tries)):
			return
		case ok && !strings.HasSuffix(from, " lua"):
			each(strings.TrimSpace(command))
		}
	}
}
