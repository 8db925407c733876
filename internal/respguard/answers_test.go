package respguard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey/internal/servers"
)

func TestMain(m *testing.M) { os.Exit(servers.Main(m, func(servers.TB) {})) }

// wire writes a command as the library does.
func wire(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// pushed writes a push.
func pushed(words ...string) string { return ">" + wire(words...)[1:] }

func TestPushes(t *testing.T) {
	get, sub, unsub := wire("GET", "k"), wire("SUBSCRIBE", "a"), wire("UNSUBSCRIBE")+ping
	yes := ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
	no := ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"
	message := pushed("message", "a", "hello")
	for _, c := range []struct {
		name, commands, answer string
		ok                     bool
	}{
		{"confirmed", sub, yes, true},
		{"lower-case", wire("ssubscribe", "a"), pushed("ssubscribe", "a", "1"), true},
		{"messages", sub + get, yes + message + "$1\r\nv\r\n" + message + message, true},
		{"two-names", wire("PSUBSCRIBE", "a", "b") + get, pushed("psubscribe", "a", "1") + pushed("psubscribe", "b", "1") + "_\r\n", true},
		{"in-order", get + sub, "$1\r\nv\r\n" + yes, true},
		{"refused", sub + get, "-NOPERM no\r\n$1\r\nv\r\n", true},
		{"ended", sub + unsub + get, yes + no + "+PONG\r\n$1\r\nv\r\n", true},
		{"ended-by-the-server", sub, yes + pushed("sunsubscribe", "a", "0"), true},
		{"end-refused", sub + unsub + get, yes + "-NOPERM no\r\n+PONG\r\n$1\r\nv\r\n", true},
		{"end-and-ping-refused", sub + unsub + get, yes + "-NOPERM no\r\n-NOPERM no 'ping'\r\n$1\r\nv\r\n", true},
		{"unknown", sub, yes + pushed("surprise", "a"), true},
		{"before", sub, message, true}, // subscriptions of an earlier command, for all that is known
		{"unasked", get, message, false},
		{"unasked-confirmation", get, yes, false},
		{"confirmed-twice", sub, yes + yes, false},
		{"too-many-names", wire("SUBSCRIBE", "a", "b"), yes + yes + yes, false},
		{"confirmed-too-soon", get + sub, yes, false},
		{"value-for-confirmation", sub, "+OK\r\n", false},
		{"queued", sub, "+QUEUED\r\n", false},
		{"error-queued", sub, "-QUEUED\r\n", false},
		{"number-for-name", sub, yes + ">2\r\n:1\r\n:2\r\n", false},
		{"double-for-name", sub, yes + ">2\r\n,subscribe\r\n:2\r\n", false},
		{"within", sub, yes + "*1\r\n" + message, false},
		{"pong-is-all", sub + unsub, yes + no + "+PONG\r\n+PONG\r\n", false},
		{"no-pong", sub + unsub, yes + "+OK\r\n", false},
		{"no-pong-after-refusal", sub + unsub, yes + "-NOPERM no\r\n+OK\r\n", false},
		{"refused-as-the-ping-is", sub + unsub, yes + "-BUSY\r\n", false},
		{"long-refusal", sub + unsub, yes + "-" + strings.Repeat("x", 300) + "'ping'\r\n", false},
		{"confirmation-for-the-end", sub + unsub, yes + yes, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := &scripted{answer: strings.NewReader(c.answer)}
			g := Wrap(inner, Default())
			for b := c.commands; b != ""; b = b[min(7, len(b)):] {
				if _, err := g.Write([]byte(b[:min(7, len(b))])); err != nil {
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
		})
	}
}

// The library's own subscriptions, with a Redis: what it sends and gets is let through.
func TestSubscriptions(t *testing.T) {
	server := servers.StartRedis(t)
	option := rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, PipelineMultiplex: -1}
	Guard(&option, Default())
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	for range 3 { // each time the connection goes back to the pool, with UNSUBSCRIBE and the like
		dedicated, giveBack := client.Dedicate()
		got, names := make(chan string, 8), make(chan string, 8)
		ended := dedicated.SetPubSubHooks(rueidis.PubSubHooks{
			OnMessage:      func(m rueidis.PubSubMessage) { got <- m.Message },
			OnSubscription: func(s rueidis.PubSubSubscription) { names <- s.Kind },
		})
		do := func(words ...string) {
			t.Helper()
			if err := dedicated.Do(ctx, dedicated.B().Arbitrary(words...).Build()).Error(); err != nil {
				t.Fatal(words, err)
			}
		}
		if err := dedicated.Do(ctx, dedicated.B().Subscribe().Channel("a", "b").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if err := dedicated.Do(ctx, dedicated.B().Ssubscribe().Channel("s").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		do("PUBLISH", "a", "one")
		do("SPUBLISH", "s", "two")
		if m := <-got + <-got; m != "onetwo" && m != "twoone" {
			t.Fatal(m)
		}
		if err := dedicated.Do(ctx, dedicated.B().Unsubscribe().Channel("a").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if k := <-names + <-names + <-names + <-names; k != "subscribesubscribessubscribeunsubscribe" {
			t.Fatal(k)
		}
		do("ECHO", "still in step")
		giveBack()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}

	heard := make(chan string, 1)
	receiving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- client.Receive(receiving, client.B().Subscribe().Channel("c").Build(), func(m rueidis.PubSubMessage) { heard <- m.Message })
	}()
	for n := int64(0); n == 0; { // until the subscription is there
		if n, err = client.Do(ctx, client.B().Publish().Channel("c").Message("hello").Build()).AsInt64(); err != nil {
			t.Fatal(err)
		}
	}
	if m := <-heard; m != "hello" {
		t.Fatal(m)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s, err := client.Do(ctx, client.B().Echo().Message("x").Build()).ToString(); err != nil || s != "x" {
		t.Fatal(s, err)
	}
}

// FuzzGuard: whatever comes, the library does not panic and does not hang.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("%1\r\n+proto\r\n:3\r\n+OK\r\n+OK\r\n"))
	f.Add([]byte(">3\r\n+subscribe\r\n+a\r\n:1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		inner := &scripted{answer: strings.NewReader(string(b))}
		g := Wrap(inner, Default()).(*guarded)
		_, _ = g.Write([]byte(wire("GET", "k") + wire("SUBSCRIBE", "a", "b") + wire("UNSUBSCRIBE", "a") + ping))
		_, _ = io.ReadAll(g)
		if g.answered > g.sent.Load() {
			t.Fatalf("%q: %d answers to %d commands", b, g.answered, g.sent.Load())
		}
	})
}
