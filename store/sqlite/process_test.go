package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
	"github.com/latchkey-go/latchkey/store/internal/migration"
)

// Variables that make the test binary a second process on a store.
const (
	childJob  = "LATCHKEY_SQLITE_CHILD"
	childPath = "LATCHKEY_SQLITE_PATH"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		if err := runChild(job, os.Getenv(childPath)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// runChild does a job until its standard input ends.
func runChild(job, path string) error {
	if job == "abandon" {
		return childAbandon(path)
	}
	s, err := Open(Config{Path: path, MustExist: job != "make"})
	if err != nil {
		return err
	}
	switch job {
	case "make":
		err = childMake(s)
	case "revoke":
		err = childRevoke(s)
	case "load":
		err = childLoad(s)
	case "pairs":
		err = childPairs(s)
	case "hold":
		err = childHold(path)
	default:
		err = fmt.Errorf("no such job: %s", job)
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// report writes one line for what was acknowledged, in one call, so that a line
// is there whole or not at all.
func report(what string, id latchkey.ID) { _, _ = fmt.Fprintf(os.Stdout, "%s %s\n", what, id) }

// childLoad creates and revokes with 16 callers until it is killed.
func childLoad(s *Store) error {
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				c := signIn(s, "subject-"+strconv.Itoa((i*7+n)%50))
				if _, err := s.Create(context.Background(), c); err != nil {
					errs <- err
					return
				}
				report("c", c.Record.ID)
				if n%2 == 0 {
					if _, err := s.Revoke(context.Background(), fixture.Revocation(c.Record.ID)); err != nil {
						errs <- err
						return
					}
					report("r", c.Record.ID)
				}
			}
		})
	}
	wg.Wait()
	return <-errs
}

// childPairs creates and revokes a session for each line it reads.
func childPairs(s *Store) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		c := signIn(s, "child")
		if _, err := s.Create(context.Background(), c); err != nil {
			return err
		}
		report("c", c.Record.ID)
		if _, err := s.Revoke(context.Background(), fixture.Revocation(c.Record.ID)); err != nil {
			return err
		}
		report("r", c.Record.ID)
	}
	return in.Err()
}

// childMake reports the placement key of the store that it made or found.
func childMake(s *Store) error {
	key, err := s.PlacementKey(context.Background())
	if err == nil {
		id := latchkey.ID(key[:16])
		id[6], id[8] = 0x70|id[6]&0x0f, 0x80|id[8]&0x3f
		report("k", id)
	}
	return err
}

// childRevoke revokes the session that each line names.
func childRevoke(s *Store) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		id, err := latchkey.ParseID(in.Text())
		if err != nil {
			return err
		}
		if _, err := s.Revoke(context.Background(), fixture.Revocation(id)); err != nil {
			return err
		}
		report("r", id)
	}
	return in.Err()
}

// childAbandon is killed while it makes a store of an empty file, with everything
// written to the file and nothing committed.
func childAbandon(path string) error {
	c, err := openConn(path, 2, 5*time.Second)
	if err != nil {
		return err
	}
	scripts, err := migration.Steps(migrations)
	if err != nil {
		return err
	}
	if err := c.script("PRAGMA cache_spill=1; PRAGMA cache_size=1; BEGIN IMMEDIATE; " + scripts[0] + "CREATE TABLE bulk AS SELECT randomblob(100000);"); err != nil {
		return err
	}
	report("held", latchkey.ID{})
	_, _ = io.Copy(io.Discard, os.Stdin)
	return errors.New("not killed")
}

// childHold holds the lock for writing until its input ends.
func childHold(path string) error {
	c, err := openConn(path, 2, 5*time.Second)
	if err != nil {
		return err
	}
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	report("held", latchkey.ID{})
	_, _ = io.Copy(io.Discard, os.Stdin)
	return closing(c.Conn, c.script("ROLLBACK"))
}

// child is a second process on a store.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T, job, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childJob+"="+job, childPath+"="+path, "GORACE=atexit_sleep_ms=10") // not a second at its end
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, in, bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unless it has ended
		_ = cmd.Wait()
	})
	return c
}

// line reads what the child acknowledged; ok is false when there is no more. A
// line without an end was not written in full.
func (c *child) line(t *testing.T) (what string, id latchkey.ID, ok bool) {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", id, false
	}
	what, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	if what != "held" {
		if id, err = latchkey.ParseID(text); err != nil {
			t.Fatalf("child wrote %q: %v", line, err)
		}
	}
	return what, id, true
}

// A process that is killed under load has lost nothing that it acknowledged.
func TestKillNine(t *testing.T) {
	rounds := 5
	if n, err := strconv.Atoi(os.Getenv("LATCHKEY_CHAOS_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	path := made(t)
	created, revoked := make(map[latchkey.ID]bool), make(map[latchkey.ID]bool)
	for round := range rounds {
		c := startChild(t, "load", path)
		lines, most := 0, 100+rand.IntN(servers.Sized(3000, 1000))
		for {
			what, id, ok := c.line(t)
			if !ok {
				break
			}
			if created[id] = true; what == "r" {
				revoked[id] = true
			}
			if lines++; lines == most {
				if err := c.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.cmd.Wait()
		if lines < most {
			t.Fatalf("round %d: the child ended by itself after %d lines", round, lines)
		}
		s, err := Open(Config{Path: path, MustExist: true})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for id := range created {
			rec, err := s.Get(t.Context(), id)
			if err != nil {
				t.Fatalf("round %d: an acknowledged session is lost: %v", round, err)
			}
			if revoked[id] && rec.RevokedAt.IsZero() {
				t.Fatalf("round %d: an acknowledged revocation is lost", round)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		intact(t, path)
	}
	t.Logf("%d sessions and %d revocations acknowledged in %d rounds", len(created), len(revoked), rounds)
}

// Two processes write to one file: neither loses anything, and each learns of
// the other's revocations.
func TestTwoProcesses(t *testing.T) {
	path := made(t)
	s := mustOpen(t, Config{Path: path})
	w := fixture.Follow(t, s, 50*time.Millisecond)
	c := startChild(t, "pairs", path)
	const pairs = 100
	var mine []latchkey.ID
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range pairs {
			in := signIn(s, "parent")
			if _, err := s.Create(context.Background(), in); err != nil {
				t.Errorf("Create: %v", err)
				return
			}
			mine = append(mine, in.Record.ID)
		}
	}()
	var theirs []latchkey.ID
	var slowest time.Duration
	for range pairs {
		if _, err := io.WriteString(c.in, "\n"); err != nil {
			t.Fatal(err)
		}
		_, created, _ := c.line(t)
		what, id, ok := c.line(t)
		if !ok || what != "r" || id != created {
			t.Fatalf("child: %q %v", what, id)
		}
		// It is in the file at once, and the feed tells before it next proves itself.
		acknowledged := s.clock.Now()
		if fixture.Get(t, s, id).RevokedAt.IsZero() {
			t.Fatal("an acknowledged revocation of another process is not seen")
		}
		w.ProvenSince(t, acknowledged)
		if !w.Saw(id) {
			t.Fatal("the feed proved itself alive without having told of a revocation before it")
		}
		slowest = max(slowest, time.Duration(s.clock.Now().Mono-acknowledged.Mono))
		theirs = append(theirs, id)
	}
	<-done
	if slowest > time.Second {
		t.Errorf("a revocation came %v late", slowest)
	}
	for _, id := range append(mine, theirs...) {
		fixture.Get(t, s, id)
	}
	if len(mine) != pairs {
		t.Errorf("%d sessions made here, want %d", len(mine), pairs)
	}
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("child: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	intact(t, path)
}

// A process that is stopped while it holds the lock keeps others from writing,
// but not from reading, and not for longer than they chose to wait.
func TestStoppedHolder(t *testing.T) {
	path := made(t)
	s := mustOpen(t, Config{Path: path, Wait: 300 * time.Millisecond})
	id := add(t, s, "ann")
	w := fixture.Follow(t, s, 20*time.Millisecond)
	c := startChild(t, "hold", path)
	if what, _, ok := c.line(t); !ok || what != "held" {
		t.Fatalf("child: %q", what)
	}
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	lost := signIn(s, "bob")
	_, err := s.Create(t.Context(), lost)
	fixture.Unavailable(t, err, "another program holds the database locked")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("answered after %v, want about 300ms", took)
	}
	fixture.Get(t, s, id)
	before := s.clock.Now()
	fixture.Eventually(t, "a proof while writing is blocked", func() bool { return w.Proof().Mono > before.Mono })
	// A caller with less patience takes its change back.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	impatient := signIn(s, "cid")
	_, err = s.Create(ctx, impatient)
	fixture.Unavailable(t, err, context.DeadlineExceeded.Error())

	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("child: %v", err)
	}
	add(t, s, "dora")
	for _, c := range []latchkey.Create{lost, impatient} {
		if _, err := s.Get(t.Context(), c.Record.ID); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
			t.Errorf("a change that was never begun is there: %v", err)
		}
	}
}
