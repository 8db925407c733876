//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// dialRaw opens a connection to the daemon that a test writes on by itself.
func (p *process) dialRaw() net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(4 * readTimeout))
	return conn
}

// Headers beyond the bound are answered 431, whichever way they are too many, also on
// the routes that proxies ask.
func TestHeaderBombs(t *testing.T) {
	p := start(t, prepare(t), "--public-url", "https://auth.example.com", "--trusted-proxies", "127.0.0.1", "--protected-hosts", "app.example.com")
	token, _ := p.issue("alice")
	question := "GET /auth/nginx HTTP/1.1\r\nHost: x\r\nX-Original-URL: https://app.example.com/\r\nX-Original-Method: GET\r\nConnection: close\r\nCookie: __Host-session=" + token + "\r\n"
	for name, c := range map[string]struct{ lines, status string }{
		"none":    {"", "204"},
		"many":    {strings.Repeat("X-Bomb: "+strings.Repeat("x", 8000)+"\r\n", 100), "431"},
		"small":   {strings.Repeat("X: y\r\n", 200_000), "431"},
		"one":     {"X-Bomb: " + strings.Repeat("x", 1<<20) + "\r\n", "431"},
		"cookies": {strings.Repeat("Cookie: a="+strings.Repeat("x", 4000)+"\r\n", 100), "431"},
	} {
		conn := p.dialRaw()
		go func() { _, _ = io.WriteString(conn, question+c.lines+"\r\n") }() // the daemon does not read to the end
		head := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(conn, head); err != nil || string(head[9:]) != c.status {
			t.Errorf("%s: %q %v, want %s", name, head, err, c.status)
		}
	}
}

// Clients that trickle their requests, and those that say nothing, are cut off, and
// hold nobody else up until then. It waits for the daemon's own bounds.
func TestChaosSlowClients(t *testing.T) {
	if os.Getenv("LATCHKEY_CHAOS_ROUNDS") == "" {
		t.Skip("make chaos runs this: it waits for the daemon's timeouts")
	}
	p := start(t, prepare(t), "--public-url", "https://auth.example.com", "--trusted-proxies", "127.0.0.1", "--protected-hosts", "app.example.com")
	token, _ := p.issue("alice")
	ended := make(chan error, 200)
	for n := range cap(ended) {
		conn := p.dialRaw()
		began, limit := time.Now(), readHeaderTimeout
		request := "GET /auth/nginx HTTP/1.1\r\nHost: x\r\n" // and a header that does not end
		if n%2 == 1 {
			limit = readTimeout
			request = "POST /login HTTP/1.1\r\nHost: auth.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 100000\r\n\r\n"
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		go func() { // a byte every second until it fails
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for range ticker.C {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		go func() {
			answer, err := io.ReadAll(conn)
			conn.Close()
			// A connection that is reset has ended too.
			if took := time.Since(began); took > limit+readTimeout/2 || strings.HasPrefix(string(answer), "HTTP/1.1 2") {
				err = fmt.Errorf("ended after %v with %q, %v", took, answer, err)
			} else {
				err = nil
			}
			ended <- err
		}()
	}
	for left := cap(ended); left > 0; {
		select {
		case err := <-ended:
			if left--; err != nil {
				t.Error(err)
			}
		case <-time.After(500 * time.Millisecond):
			if status := p.me(token); status != http.StatusOK {
				t.Errorf("beside slow clients: %d", status)
			}
		}
	}
}
