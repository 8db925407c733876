package redis

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/servers"
	"github.com/latchkey-go/latchkey/store/internal/fixture"
)

// session is a Create of a session of ann that begins now and lives for an hour.
func session(s *Store) latchkey.Create {
	c := fixture.SignIn(time.UnixMicro(s.StoreTime(s.cfg.Clock.Now())).UTC(), "ann")
	placement := s.placementOf(latchkey.Identity{Provider: c.Record.Provider, Subject: c.Record.Subject})
	id := &c.Record.ID
	id[6], id[7] = 0x70|byte(placement>>8), byte(placement)
	c.Event.Session = id.String()
	c.Record.Lifetime, c.Record.ExpiresAt = time.Hour, c.Record.CreatedAt.Add(time.Hour)
	return c
}

func add(t *testing.T, s *Store) latchkey.ID {
	t.Helper()
	return fixture.Add(t, s, session(s))
}

// do runs a command on a store's server.
func do(t *testing.T, s *Store, command ...string) {
	t.Helper()
	c := s.one().client()
	if err := c.Do(t.Context(), c.B().Arbitrary(command...).Build()).Error(); err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

func wantUnavailable(t *testing.T, what string, err error, because string) {
	t.Helper()
	if told := fixture.Chain(err); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable || !strings.Contains(told, because) {
		t.Errorf("%s: %q, %s; want store_unavailable, and told of %q", what, latchkey.CodeOf(err), told, because)
	}
}

// Servers repeat what they do not understand. The password is not passed on.
func TestErrorsHideThePassword(t *testing.T) {
	addr := mad(t, "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 's3cret'\r\n")
	for _, mode := range []Config{{}, {Mode: Sentinel, Master: "main", SentinelPassword: "s3cret"}, {Mode: Cluster}} {
		mode.Addrs, mode.Password, mode.Timeout = []string{addr}, "s3cret", time.Second
		s, err := Open(t.Context(), mode)
		if err == nil {
			s.Close()
		}
		wantUnavailable(t, mode.Mode.String(), err, addr)
		if strings.Contains(fixture.Chain(err), "s3cret") {
			t.Errorf("%v: the error repeats the password: %s", mode.Mode, fixture.Chain(err))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	secured := servers.StartRedis(t, "--requirepass", "right")
	evicting := servers.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	clustered := servers.StartRedis(t, "--cluster-enabled", "yes")
	replica := servers.StartRedis(t, "--replicaof", strings.Replace(shared.Addr, ":", " ", 1))
	for name, c := range map[string]struct {
		cfg     Config
		because string
	}{
		"NoPassword":    {Config{Addrs: []string{secured.Addr}}, "password"},
		"WrongPassword": {Config{Addrs: []string{secured.Addr}, Password: "wr0ng"}, "password"},
		"Database":      {Config{Addrs: []string{shared.Addr}, DB: 99}, "DB index"},
		"Evicting":      {Config{Addrs: []string{evicting.Addr}}, "allow-eviction"},
		"Cluster":       {Config{Addrs: []string{clustered.Addr}}, "redis+cluster"},
		"NoCluster":     {Config{Addrs: []string{shared.Addr}, Mode: Cluster}, "redis://"},
		"Replica":       {Config{Addrs: []string{replica.Addr}}, "replica"},
		"Unreachable":   {Config{Addrs: []string{"127.0.0.1:1"}}, "reached"},
		"MustExist":     {Config{Addrs: []string{shared.Addr}, Prefix: newPrefix(), MustExist: true}, "there is no store"},
		"TLS":           {Config{Addrs: []string{shared.Addr}, TLS: tlsConfig()}, shared.Addr},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), c.cfg)
			if err == nil {
				s.Close()
			}
			wantUnavailable(t, name, err, c.because)
			if err != nil && (strings.Contains(fixture.Chain(err), "wr0ng") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v", fixture.Chain(err))
			}
		})
	}
	s := mustOpen(t, Config{Addrs: []string{evicting.Addr}, DangerouslyAllowEviction: true})
	if w := strings.Join(s.Warnings(), "\n"); !strings.Contains(w, "evict") || !strings.Contains(w, "nothing on disk") {
		t.Errorf("warnings: %v", w)
	}
	if w := mustOpen(t, Config{}).Warnings(); len(w) != 0 {
		t.Errorf("warnings of a durable server: %v", w)
	}
}

// What is not ours under our keys is never taken for a session or for none.
func TestForeignKeys(t *testing.T) {
	s := mustOpen(t, Config{})
	id := add(t, s)
	patch := latchkey.Patch{Record: latchkey.Record{ID: id, Version: 1}}
	calls := func(because string) {
		t.Helper()
		_, err := s.Get(t.Context(), id)
		wantUnavailable(t, "Get", err, because)
		_, err = s.Revoke(t.Context(), fixture.Revocation(id))
		wantUnavailable(t, "Revoke", err, because)
		wantUnavailable(t, "Patch", s.Patch(t.Context(), patch), because)
		_, err = s.List(t.Context(), latchkey.ListQuery{})
		wantUnavailable(t, "List", err, because)
	}
	key := s.rowKey(id)
	do(t, s, "COPY", key, s.cfg.Prefix+"kept")
	for _, foreign := range [][]string{{"SET", key, ""}, {"SET", key, "x"}, {"SET", key, strings.Repeat("\x01", headSize)}, {"DEL", key}} {
		do(t, s, foreign...)
		if foreign[0] == "DEL" || foreign[2] == "" {
			do(t, s, "DEL", key)
			do(t, s, "LPUSH", key, "x")
		}
		_, err := s.Get(t.Context(), id)
		wantUnavailable(t, "Get", err, "")
		if len(foreign) < 3 || len(foreign[2]) < headSize {
			calls("a key of the store holds something else")
		}
		do(t, s, "DEL", key)
	}
	do(t, s, "COPY", s.cfg.Prefix+"kept", key)
	if _, err := s.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	generation := s.generationKey("")
	do(t, s, "RENAME", generation, s.cfg.Prefix+"gone")
	calls("emptied")
	_, err := s.Create(t.Context(), session(s))
	wantUnavailable(t, "Create", err, "emptied")
	for _, foreign := range [][]string{{"SET", generation, "x"}, {"SET", generation, "0"}, {"LPUSH", generation, "1"}} {
		do(t, s, foreign...)
		_, err := s.Get(t.Context(), id)
		wantUnavailable(t, "Get", err, "")
		do(t, s, "DEL", generation)
	}
	do(t, s, "RENAME", s.cfg.Prefix+"gone", generation)
	if _, err := s.Get(t.Context(), id); err != nil {
		t.Errorf("with everything back in place: %v", err)
	}

	for _, foreign := range [][]string{{"SET", "meta", "x"}, {"HSET", "meta", "a", "b"},
		{"HSET", "meta", "schema", "1", "oldest", "1", "name", "');evil()", "placement", "AA", "mark", ""}} {
		prefix := newPrefix()
		foreign[1] = prefix + foreign[1]
		do(t, s, foreign...)
		_, err := Open(t.Context(), Config{Addrs: []string{shared.Addr}, Prefix: prefix})
		wantUnavailable(t, "Open", err, "use another prefix")
	}
	do(t, s, "HSET", s.cfg.Prefix+"meta", "schema", "9", "oldest", "9")
	if _, err := Open(t.Context(), Config{Addrs: []string{shared.Addr}, Prefix: s.cfg.Prefix}); !errors.Is(err, ErrSchema) {
		t.Errorf("a newer schema: %v", err)
	}
}

// A store that is gone vouches for nothing, and another one that is made there is none
// of this node's.
func TestStoreGone(t *testing.T) {
	server := servers.StartRedis(t)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}, Prefix: defaultPrefix})
	id := add(t, s)
	f := follow(t, s)
	do(t, s, "FLUSHALL")
	if err := f.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	next := mustOpen(t, Config{Addrs: []string{server.Addr}, Prefix: defaultPrefix})
	if next.name == s.name || next.placement == s.placement {
		t.Error("the store that was made anew is the old one")
	}
	add(t, next)
	_, err := s.Get(t.Context(), id)
	wantUnavailable(t, "Get", err, "emptied")
	_, err = s.Create(t.Context(), session(s))
	wantUnavailable(t, "Create", err, "emptied")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	wantUnavailable(t, "Follow", s.Follow(ctx, time.Second, func(latchkey.Batch) {}), "")
}

// A server that is killed and comes back has what was acknowledged; in between
// nothing is known.
func TestServerKilled(t *testing.T) {
	server := servers.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := mustOpen(t, Config{Addrs: []string{server.Addr}, Timeout: time.Second})
	live, ended := add(t, s), add(t, s)
	following := follow(t, s)
	if _, err := s.Revoke(t.Context(), fixture.Revocation(ended)); err != nil {
		t.Fatal(err)
	}
	server.Kill(t)
	if err := following.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	_, err := s.Get(t.Context(), live)
	wantUnavailable(t, "Get", err, "")
	_, err = s.Revoke(t.Context(), fixture.Revocation(live))
	wantUnavailable(t, "Revoke", err, "")
	server.Restart(t)
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), live); return err == nil })
	rec, err := s.Get(t.Context(), live)
	if err != nil || !rec.RevokedAt.IsZero() {
		t.Errorf("the live session: %+v, %v", rec, fixture.Chain(err))
	}
	if rec, err = s.Get(t.Context(), ended); err != nil || rec.RevokedAt.IsZero() {
		t.Errorf("the revoked session: %+v, %v", rec, fixture.Chain(err))
	}
	fixture.Eventually(t, "a proof", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return s.Follow(ctx, 10*time.Millisecond, func(b latchkey.Batch) {
			if b.Sent != (latchkey.Moment{}) {
				cancel()
			}
		}) == context.Canceled
	})
	// The scripts are gone with the server's memory.
	if _, err := s.Revoke(t.Context(), fixture.Revocation(live)); err != nil {
		t.Errorf("Revoke after the restart: %v", fixture.Chain(err))
	}
}

// A server that holds still answers nothing; callers with a deadline get their
// answer by then, others in a bounded time.
func TestServerStopped(t *testing.T) {
	server := servers.StartRedis(t)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}, Timeout: 300 * time.Millisecond})
	id := add(t, s)
	server.Stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Get(ctx, id)
	wantUnavailable(t, "Get", err, "")
	_, err = s.Revoke(ctx, fixture.Revocation(id))
	wantUnavailable(t, "Revoke", err, "")
	_, err = s.Get(context.Background(), id)
	wantUnavailable(t, "Get without a deadline", err, "")
	_, err = s.Create(context.Background(), session(s))
	wantUnavailable(t, "Create without a deadline", err, "")
	server.Continue(t)
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
}

// With the feed's connection cut there are no proofs; changes go on.
func TestFeedCut(t *testing.T) {
	proxy := servers.StartProxy(t, shared.Addr)
	s := mustOpen(t, Config{Addrs: []string{proxy.Addr}, Timeout: time.Second})
	id := add(t, s)
	f := follow(t, s)
	f.Await(t, "a proof", func(b latchkey.Batch) bool { return b.Sent != (latchkey.Moment{}) })
	proxy.Stall()
	// Nothing passes, so neither do beats; at last the line gives up.
	if err := f.Ended(); latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow ended with %v", err)
	}
	proxy.Cut()
	_, err := s.Get(t.Context(), id)
	wantUnavailable(t, "Get", err, "")
	proxy.Resume()
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
}

// A follower that never comes back from deliver is cut off, and neither the change
// nor other followers are lost to it.
func TestBlockedFollowerIsCutOff(t *testing.T) {
	s := mustOpen(t, Config{})
	id := add(t, s)
	release, begun := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Follow(t.Context(), time.Second, func(b latchkey.Batch) {
			if b.Reset {
				close(begun)
			}
			if len(b.IDs) > 0 {
				<-release
			}
		})
	}()
	<-begun
	good := follow(t, s)
	if _, err := s.Revoke(t.Context(), fixture.Revocation(id)); err != nil {
		t.Fatalf("Revoke with a blocked follower: %v", err)
	}
	if !good.Saw(id) {
		t.Error("the other follower was not told before Revoke returned")
	}
	close(release)
	if err := <-ended; latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("the blocked Follow returned %v", err)
	}
}

// Memory that is full refuses changes whole, and reads go on.
func TestMemoryFull(t *testing.T) {
	server := servers.StartRedis(t)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}})
	id := add(t, s)
	do(t, s, "CONFIG", "SET", "maxmemory", "1mb")
	_, err := s.Create(t.Context(), session(s))
	wantUnavailable(t, "Create", err, "memory is full")
	if _, err := s.Get(t.Context(), id); err != nil {
		t.Errorf("Get: %v", err)
	}
	page, err := s.List(t.Context(), latchkey.ListQuery{State: latchkey.AnyState})
	if err != nil || len(page.Records) != 1 {
		t.Errorf("%d sessions listed, %v", len(page.Records), err)
	}
	do(t, s, "CONFIG", "SET", "maxmemory", "0")
	if _, err := s.Create(t.Context(), session(s)); err != nil {
		t.Errorf("Create with memory again: %v", err)
	}
}

// A server that is made a replica while it is in use is not believed any more.
func TestDemoted(t *testing.T) {
	server := servers.StartRedis(t)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}})
	id := add(t, s)
	do(t, s, "REPLICAOF", "127.0.0.1", "1") // nobody: the data stays
	fixture.Eventually(t, "a refusal", func() bool { _, err := s.Get(t.Context(), id); return err != nil })
	_, err := s.Get(t.Context(), id)
	wantUnavailable(t, "Get", err, "replica")
	_, err = s.Revoke(t.Context(), fixture.Revocation(id))
	wantUnavailable(t, "Revoke", err, "replica")
	do(t, s, "REPLICAOF", "NO", "ONE")
	fixture.Eventually(t, "an answer", func() bool { _, err := s.Get(t.Context(), id); return err == nil })
}

func TestScriptsFlushed(t *testing.T) {
	s := mustOpen(t, Config{})
	first := add(t, s)
	do(t, s, "SCRIPT", "FLUSH")
	second := add(t, s)
	for _, id := range []latchkey.ID{first, second} {
		if _, err := s.Get(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// Close leaves no goroutine behind.
func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := mustOpen(t, Config{})
	add(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		done <- s.Follow(ctx, time.Second, func(b latchkey.Batch) {
			if b.Reset {
				close(begun)
			}
		})
	}()
	<-begun
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; latchkey.CodeOf(err) != latchkey.CodeStoreUnavailable {
		t.Errorf("Follow returned %v", err)
	}
	goleak.VerifyNone(t, before)
}

// The user that docs/redis.md describes may do all that the store does.
func TestUserWithoutMore(t *testing.T) {
	page, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(page), "ACL SETUSER latchkey on >PASSWORD ")
	rule, _, _ = strings.Cut(rule, "\n")
	if rule == "" {
		t.Fatal("the page has no rule")
	}
	server := servers.StartRedis(t)
	do(t, mustOpen(t, Config{Addrs: []string{server.Addr}}), append([]string{"ACL", "SETUSER", "latchkey", "on", ">pw"}, strings.Fields(rule)...)...)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}, Username: "latchkey", Password: "pw", Prefix: defaultPrefix})
	id := add(t, s)
	f := follow(t, s)
	r := latchkey.Record{ID: id, Version: 1, Provider: "idp", Subject: "ann", ExpiresAt: time.Now().Add(time.Hour)}
	_, gerr := s.Get(t.Context(), id)
	_, cerr := s.Count(t.Context())
	_, aerr := s.Audit(t.Context(), audit.Query{})
	_, lerr := s.List(t.Context(), latchkey.ListQuery{})
	_, herr := s.Changed(t.Context(), latchkey.ID{}, 0)
	_, rerr := s.Revoke(t.Context(), fixture.Revocation(id))
	_, perr := s.Purge(t.Context(), latchkey.Purge{EndedBefore: time.Now(), Erase: latchkey.Identity{Provider: "idp", Subject: "ann"}})
	for what, err := range map[string]error{"Get": gerr, "Count": cerr, "Audit": aerr, "List": lerr, "Changed": herr, "Revoke": rerr, "Purge": perr,
		"Patch": s.Patch(t.Context(), latchkey.Patch{Record: r}), "Touch": s.Touch(t.Context(), []latchkey.Touch{{ID: id, At: time.Now()}}),
		"Spend": s.Spend(t.Context(), [32]byte{1}, time.Now().Add(time.Minute))} {
		if what == "Patch" && latchkey.CodeOf(err) == latchkey.CodeNoSuchSession {
			continue // purged before
		}
		if err != nil {
			t.Errorf("%s: %v", what, fixture.Chain(err))
		}
	}
	if !f.Saw(id) {
		t.Error("nothing was published")
	}
	if len(s.Warnings()) == 0 {
		t.Error("no warnings of a server that keeps nothing")
	}
}

// written is how much was written to all servers so far.
func written(t *testing.T, s *Store) (sum int64) {
	t.Helper()
	for _, n := range s.primaries() {
		c := n.client()
		text, err := c.Do(t.Context(), c.B().Info().Section("persistence").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, "rdb_changes_since_last_save:")
		text, _, _ = strings.Cut(text, "\r")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// Whoever ends what has ended already writes, too: the first one may have been told
// that too few replicas have it, and WAIT waits for nothing where nothing was written.
func TestEndedAgainIsWritten(t *testing.T) {
	server := servers.StartRedis(t)
	s := mustOpen(t, Config{Addrs: []string{server.Addr}})
	revoked, raised := add(t, s), add(t, s)
	all := latchkey.Revocation{All: true, By: "x", Event: audit.Event{Action: audit.RevokeAll, Actor: "x"}}
	for _, r := range []latchkey.Revocation{fixture.Revocation(revoked), all} {
		if _, err := s.Revoke(t.Context(), r); err != nil {
			t.Fatal(fixture.Chain(err))
		}
	}
	erase := latchkey.Purge{Erase: latchkey.Identity{Provider: "idp", Subject: "ann"}}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"a revoked one", func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(revoked)); return err }},
		{"one of a generation that was raised", func() error { _, err := s.Revoke(t.Context(), fixture.Revocation(raised)); return err }},
		{"all", func() error { _, err := s.Revoke(t.Context(), all); return err }},
		{"those to erase", func() error { _, err := s.Purge(t.Context(), erase); return err }},
		{"those that were erased", func() error { _, err := s.Purge(t.Context(), erase); return err }},
	} {
		before := written(t, s)
		if err := step.run(); err != nil {
			t.Fatalf("%s: %v", step.name, fixture.Chain(err))
		}
		if after := written(t, s); after <= before {
			t.Errorf("%s: nothing was written", step.name)
		}
	}
}

// By a clock that is ahead for a while the limits of live sessions have passed. Once it
// is put right, those that were ended before or meanwhile are listed as changed again.
func TestChangedByAClockThatWasAhead(t *testing.T) {
	var ahead atomic.Int64
	clock := latchkey.SystemClock()
	right := turned(clock)
	s := mustOpen(t, Config{Clock: clock, test: &hooks{micros: func(at latchkey.Moment) int64 { return right.micros(at) + ahead.Load() }}})
	fixture.ChangedByAClockThatWasAhead(t, s, func() latchkey.Create { return session(s) }, func(by time.Duration) { ahead.Store(by.Microseconds()) })
}

// What is damaged keeps nobody else's session from being ended.
func TestDamagedAmongOthers(t *testing.T) {
	for name, r := range map[string]latchkey.Revocation{
		"Identity":    {Provider: "idp", Subject: "ann"},
		"AnyProvider": {Subject: "ann", AnyProvider: true},
		"SID":         {Provider: "idp", SID: "s1"},
		"All":         {All: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Config{})
			var ids []latchkey.ID
			for range 3 {
				c := session(s)
				c.Record.SID = "s1"
				ids = append(ids, fixture.Add(t, s, c))
			}
			key := s.rowKey(ids[1])
			do(t, s, "COPY", key, s.cfg.Prefix+"kept")
			do(t, s, "SET", key, "x")
			other := s.rowKey(add(t, s)) // of ann, too
			do(t, s, "DEL", other)
			do(t, s, "LPUSH", other, "x")
			r.By = "admin:ada"
			result, err := s.Revoke(t.Context(), r)
			if r.All {
				if err != nil || result.Count != 2 {
					t.Errorf("%d were ended, %v", result.Count, fixture.Chain(err))
				}
			} else {
				wantUnavailable(t, "Revoke", err, "something else")
			}
			for _, id := range []latchkey.ID{ids[0], ids[2]} {
				if fixture.Get(t, s, id).RevokedAt.IsZero() {
					t.Error("a session beside it was not ended")
				}
			}
			do(t, s, "COPY", s.cfg.Prefix+"kept", key, "REPLACE")
			do(t, s, "DEL", other)
			if _, err := s.Revoke(t.Context(), r); err != nil || fixture.Get(t, s, ids[1]).RevokedAt.IsZero() {
				t.Errorf("once it is mended: %s", fixture.Chain(err))
			}
		})
	}
}
