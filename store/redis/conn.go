package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"
)

// dial connects to a server, with TLS where it is wanted.
func (cfg *Config) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: cfg.Timeout, KeepAlive: time.Second}
	if cfg.TLS == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	t := cfg.TLS.Clone()
	if t.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		t.ServerName = host
	}
	return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
}

// rawConn is a connection without the client library.
type rawConn struct {
	net.Conn
	r       *bufio.Reader
	timeout time.Duration
}

// dialRaw connects, logs in and speaks RESP3 from then on. The connection is closed
// when ctx ends; stop ends that.
func (cfg *Config) dialRaw(ctx context.Context, addr, user, password string, db int) (c *rawConn, err error) {
	conn, err := cfg.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	c = &rawConn{Conn: conn, r: bufio.NewReaderSize(conn, 64<<10), timeout: cfg.Timeout}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	hello := []string{"HELLO", "3"}
	if password != "" {
		if user == "" {
			user = "default"
		}
		hello = append(hello, "AUTH", user, password)
	}
	if _, err := c.ask(hello...); err != nil {
		return nil, err
	}
	if db != 0 {
		if _, err := c.ask("SELECT", strconv.Itoa(db)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// ask sends a command and reads one value, which is the answer where nothing else is
// under way.
func (c *rawConn) ask(args ...string) (value, error) {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return value{}, err
	}
	if err := c.send(args...); err != nil {
		return value{}, err
	}
	v, err := readValue(c.r, 0)
	if err == nil {
		err = v.err()
	}
	return v, err
}

func (c *rawConn) send(args ...string) error {
	_, err := c.Write(appendCommand(nil, args...))
	return err
}
