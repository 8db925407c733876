package lock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/lock"
)

// contend lets 64 goroutines over two clients hold one lock until each has held it
// rounds times, and checks that no two hold it at once.
func contend(t *testing.T, lockers []*lock.Locker, name string, ttl time.Duration, rounds int, meanwhile func(g *guard)) {
	t.Helper()
	const workers = 64
	var g guard
	var work sync.WaitGroup
	for i := range workers {
		work.Go(func() {
			k := lockers[i%len(lockers)]
			for held := 0; held < rounds; {
				l, err := k.Acquire(t.Context(), name, lock.Options{TTL: ttl, Wait: 2 * time.Minute})
				if err != nil {
					t.Errorf("worker %d: %v", i, err)
					return
				}
				if g.enter(l) {
					held++
				}
				g.leave(l) // before the release, after which the next holder may come at once
				if err := l.Release(t.Context()); err != nil && !errors.Is(err, lock.ErrLost) && !errors.Is(err, lock.ErrUnavailable) {
					t.Errorf("worker %d: %v", i, err)
				}
			}
		})
	}
	if meanwhile != nil {
		meanwhile(&g)
	}
	work.Wait()
	g.check(t)
	if g.granted() != workers*rounds {
		t.Errorf("%d grants", g.granted())
	}
}

func TestContention(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		o := options{retryMin: 2 * time.Millisecond, most: 20 * time.Millisecond, notify: true}
		contend(t, []*lock.Locker{mustOpen(t, kind, addr, o), mustOpen(t, kind, addr, o)}, t.Name(), 10*time.Second, 4, nil)
	})
}

// The server is killed and restarted, and halted for longer than a lease, while the
// lock goes from hand to hand.
func TestContentionServerDies(t *testing.T) {
	for _, kind := range []string{"redis", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, kind)
			o := options{retryMin: 2 * time.Millisecond, most: 20 * time.Millisecond}
			const ttl = time.Second
			watched := mustOpen(t, kind, s.Addr, o)
			contend(t, []*lock.Locker{mustOpen(t, kind, s.Addr, o), mustOpen(t, kind, s.Addr, o)}, t.Name(), ttl, 3, func(g *guard) {
				reach := func(n int) {
					for g.granted() < n {
						time.Sleep(time.Millisecond) // for other goroutines' progress
					}
				}
				reach(40)
				s.Kill(t)
				s.Restart(t)
				reach(80)
				l, err := watched.Acquire(t.Context(), t.Name(), lock.Options{TTL: ttl, Wait: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				s.Stop(t)
				lostSoon(t, l) // nobody renews it
				s.Continue(t)
				reach(120)
				s.Restart(t)
			})
		})
	}
}

// holderJob makes the test program a holder of a lock: "kind addr name ttl".
const holderJob = "LOCK_TEST_HOLDER"

func holder(job string) int {
	f := strings.Fields(job)
	ttl, err := time.ParseDuration(f[3])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	k, closeClient, err := open(f[0], f[1], options{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer closeClient()
	l, err := k.Acquire(context.Background(), f[2], lock.Options{TTL: ttl, Wait: time.Minute})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("token", l.Token())
	<-l.Context().Done()
	fmt.Println("lost", errors.Is(context.Cause(l.Context()), lock.ErrLost), errors.Is(l.Err(), lock.ErrLost), errors.Is(l.Release(context.Background()), lock.ErrLost))
	return 0
}

// startHolder runs a holder in a process of its own and returns its token and what it prints.
func startHolder(t *testing.T, kind, addr, name string, ttl time.Duration) (*os.Process, uint64, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", holderJob, kind, addr, name, ttl))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "token ")
	token, err2 := strconv.ParseUint(text, 10, 64)
	if err != nil || !ok || err2 != nil {
		t.Fatalf("the holder said %q", line)
	}
	return cmd.Process, token, lines
}

// A holder that was halted beyond its lease finds its lock lost, its token is lower
// than the next one's, and it frees nothing.
func TestHolderHalted(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		k := mustOpen(t, kind, addr, options{})
		process, token, lines := startHolder(t, kind, addr, t.Name(), 3*time.Second)
		_, err := k.Acquire(t.Context(), t.Name(), lock.Options{Wait: 4 * time.Second})
		wantErr(t, err, lock.ErrTimeout) // it lives, and renews
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		next := mustAcquire(t, k, t.Name(), lock.Options{Wait: time.Minute})
		if next.Token() <= token {
			t.Errorf("token %d after %d", next.Token(), token)
		}
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil && err != io.EOF || line != "lost true true true\n" {
			t.Errorf("the late holder said %q, %v", line, err)
		}
		isNil(t, next.Err())
		_, err = k.Acquire(t.Context(), t.Name(), lock.Options{})
		wantErr(t, err, lock.ErrTimeout)
		isNil(t, next.Release(t.Context()))
	})
}

// A holder that was killed blocks others for its TTL and no longer.
func TestHolderKilled(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		k := mustOpen(t, kind, addr, options{})
		process, token, _ := startHolder(t, kind, addr, t.Name(), time.Second)
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		next := mustAcquire(t, k, t.Name(), lock.Options{Wait: time.Minute})
		if next.Token() <= token {
			t.Errorf("token %d after %d", next.Token(), token)
		}
		isNil(t, next.Release(t.Context()))
	})
}

func TestConnectionCut(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		for _, how := range []string{"cut", "stalled"} {
			t.Run(how, func(t *testing.T) {
				p := servers.StartProxy(t, addr)
				near, far := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, p.Addr, options{})
				l := mustAcquire(t, far, t.Name(), lock.Options{TTL: time.Second})
				if how == "cut" {
					p.Cut()
				} else {
					p.Stall()
				}
				next := mustAcquire(t, near, t.Name(), lock.Options{Wait: time.Minute})
				if next.Token() <= l.Token() {
					t.Errorf("token %d after %d", next.Token(), l.Token())
				}
				wantErr(t, l.Err(), lock.ErrLost) // known before the other could have it
				lostSoon(t, l)
				p.Resume() // what was held back arrives late, and changes nothing
				_, err := far.Acquire(t.Context(), t.Name(), lock.Options{Wait: 2 * time.Second})
				wantErr(t, err, lock.ErrTimeout)
				isNil(t, next.Err())
				isNil(t, next.Release(t.Context()))
			})
		}
		t.Run("mended", func(t *testing.T) {
			p := servers.StartProxy(t, addr)
			near, far := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, p.Addr, options{})
			l := mustAcquire(t, far, t.Name(), lock.Options{TTL: 2 * time.Second})
			p.Cut()
			p.Resume()
			_, err := near.Acquire(t.Context(), t.Name(), lock.Options{Wait: 3 * time.Second})
			wantErr(t, err, lock.ErrTimeout)
			isNil(t, l.Err())
			isNil(t, l.Release(t.Context()))
		})
	})
}

// Questions to a server that does not answer end, and what was granted unheard is freed.
func TestServerSilent(t *testing.T) {
	eachBackend(t, func(t *testing.T, kind, addr string) {
		p := servers.StartProxy(t, addr)
		near, far := mustOpen(t, kind, addr, options{}), mustOpen(t, kind, p.Addr, options{})
		isNil(t, mustAcquire(t, far, t.Name()+"-first", lock.Options{}).Release(t.Context())) // connected

		l := mustAcquire(t, far, t.Name(), lock.Options{TTL: 10 * time.Second})
		p.Stall()
		begin := time.Now()
		_, err := far.Acquire(t.Context(), t.Name()+"-other", lock.Options{TTL: time.Second})
		wantErr(t, err, lock.ErrUnavailable)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("answered after %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wantErr(t, l.Release(ctx), lock.ErrUnavailable)
		wantErr(t, l.Err(), lock.ErrNotHeld)
		p.Resume()
		isNil(t, l.Release(t.Context())) // again
		wantErr(t, l.Release(t.Context()), lock.ErrNotHeld)
		isNil(t, mustAcquire(t, near, t.Name(), lock.Options{Wait: time.Second}).Release(t.Context()))

		p.Cut()
		_, err = far.Acquire(t.Context(), t.Name(), lock.Options{Wait: 100 * time.Millisecond})
		wantErr(t, err, lock.ErrUnavailable)
	})
}

// Whatever way a lock ends, nothing of it goes on running.
func TestNothingLeft(t *testing.T) {
	for _, kind := range []string{"redis", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			addr := map[string]string{"redis": redis.Addr, "postgres": postgres.Addr}[kind]
			k, closeClient, err := open(kind, addr, options{notify: true})
			if err != nil {
				t.Fatal(err)
			}
			released := mustAcquire(t, k, t.Name(), lock.Options{})
			_, err = k.Acquire(t.Context(), t.Name(), lock.Options{Wait: 50 * time.Millisecond})
			wantErr(t, err, lock.ErrTimeout)
			isNil(t, released.Release(t.Context()))
			l := mustAcquire(t, k, t.Name(), lock.Options{TTL: 200 * time.Millisecond, MaxHold: 200 * time.Millisecond})
			<-l.Lost() // and nobody releases it
			closeClient()
			goleak.VerifyNone(t, before)
		})
	}
}
