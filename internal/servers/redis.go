//go:build unix

package servers

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

// StartRedis starts redis-server without persistence. settings are further
// arguments of its command line, such as "--appendonly", "yes", "--appendfsync",
// "always", and go over the defaults. URL is redis://host:port.
func StartRedis(t TB, settings ...string) *Server {
	t.Helper()
	bin := binary(t, "redis-server", "redis-server")
	return launch(t, func(s *Server, port int) {
		s.name, s.URL, s.Dir = "redis-server", "redis://"+s.Addr, tempDir(t, nil)
		s.argv = append([]string{bin, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.Dir,
			"--save", "", "--daemonize", "no"}, settings...)
		s.ready = func(ctx context.Context) bool { return redisReady(ctx, s.Addr) }
	})
}

// redisReady reports whether the server answers a PING: while it loads its files
// it accepts connections and refuses commands. A server that wants a password is ready.
func redisReady(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	return err == nil && (strings.HasPrefix(string(answer[:n]), "+PONG") || strings.HasPrefix(string(answer[:n]), "-NOAUTH"))
}
