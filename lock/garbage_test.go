package lock_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey/lock"
)

// madServer answers each connection's first command with hello and every further one
// with answer.
func madServer(t *testing.T, hello, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for first := true; ; first = false {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if line[0] != '*' {
						continue // within a command
					}
					if first {
						_, err = io.WriteString(conn, hello)
					} else {
						_, err = io.WriteString(conn, answer)
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// What listens is something else, or has gone mad: the client says so, and neither
// the process nor anybody's wait breaks.
func TestNotARedis(t *testing.T) {
	t.Parallel()
	const hello = "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
	for _, c := range []struct{ name, hello, answer string }{
		{"http", "HTTP/1.1 400 Bad Request\r\n\r\n", ""},
		{"negative", "$-7\r\n", ""},
		{"huge", "*99999999999\r\n", ""},
		{"wrong-types", "%2\r\n:5\r\n:3\r\n$7\r\nversion\r\n*1\r\n:1\r\n", ""},
		{"negative-later", hello, "$-7\r\n"},
		{"huge-later", hello, "$99999999999\r\n"},
		{"surplus", hello, strings.Repeat("+PONG\r\n", 50)},
		{"pushes", hello, ">3\r\n+subscribe\r\n+a\r\n:1\r\n"},
		{"number", hello, ":7\r\n"},
		{"word", hello, "$5\r\nmaybe\r\n"},
		{"minus", hello, "$2\r\n-1\r\n"},
		{"list", hello, "*1\r\n+1\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := madServer(t, c.hello, c.answer)
			client, err := lock.NewRedisClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true, ConnWriteTimeout: time.Second})
			if err != nil {
				wantErr(t, err, lock.ErrUnavailable)
				return
			}
			defer client.Close()
			k, err := lock.NewRedis(lock.RedisConfig{Client: client, Notify: true})
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.Acquire(t.Context(), "name", lock.Options{TTL: time.Second, Wait: 100 * time.Millisecond})
			wantErr(t, err, lock.ErrUnavailable)
		})
	}
}
