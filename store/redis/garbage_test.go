package redis

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// mad answers every connection in some way that no Redis does.
func mad(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 4096)
				for {
					if _, err := conn.Read(b); err != nil {
						return
					}
					if _, err := conn.Write([]byte(answer)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestOpenGarbage(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP":      "HTTP/1.1 400 Bad Request\r\n\r\n",
		"HugeBulk":  "$99999999999999\r\n",
		"HugeArray": "*2147483647\r\n",
		"Negative":  "*-7\r\n",
		"Surplus":   "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
		"Pushes":    ">2\r\n+message\r\n+x\r\n",
		"Maps":      "%1\r\n+proto\r\n+x\r\n",
		"Numbers":   ":1\r\n",
		"Nulls":     "_\r\n",
		"Errors":    "-ERR no\r\n",
		"Binary":    "\x00\x01\x02\xff\xfe",
		"Silence":   "",
	} {
		t.Run(name, func(t *testing.T) {
			addr := mad(t, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			s, err := Open(ctx, Config{Addrs: []string{addr}, Timeout: 500 * time.Millisecond})
			if err == nil {
				s.Close()
			}
			wantUnavailable(t, name, err, addr)
			if name == "Silence" && !strings.Contains(fixture.Chain(err), "did not answer in time") {
				t.Errorf("nothing says what is wrong: %s", fixture.Chain(err))
			}
			// The feed reads the protocol by itself.
			cfg := Config{Addrs: []string{addr}, Timeout: 200 * time.Millisecond}
			if c, err := cfg.dialRaw(ctx, addr, "", "", 0); err == nil {
				c.Close()
				if slices.Contains([]string{"HTTP", "HugeBulk", "HugeArray", "Negative", "Errors", "Binary", "Silence"}, name) {
					t.Error("the feed's handshake succeeded")
				}
			}
		})
	}
}
