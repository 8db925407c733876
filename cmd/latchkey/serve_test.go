package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/store/memory"
)

// stuck is a store that has stopped answering: writes and Close wait for ever.
type stuck struct {
	latchkey.Store
	free chan struct{} // closed to end the test
}

func (s stuck) Touch(ctx context.Context, _ []latchkey.Touch) error {
	select {
	case <-ctx.Done():
	case <-s.free:
	}
	return errors.New("no answer")
}

func (s stuck) Close() error {
	<-s.free
	return s.Store.Close()
}

// newDaemon is a daemon without ports over a store in memory.
func newDaemon(t *testing.T, clock latchkey.Clock, log *bytes.Buffer, wrap func(latchkey.Store) latchkey.Store) *daemon {
	t.Helper()
	ring, err := keyring.Generate(clock.Now().Time())
	if err != nil {
		t.Fatal(err)
	}
	store, err := memory.New(memory.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{s: &settings{retention: 90 * 24 * time.Hour}, log: newLogger(log, slog.LevelDebug), clock: clock, ring: ring, store: wrap(store)}
	if d.manager, err = latchkey.New(latchkey.Config{Store: d.store, Keys: ring, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	return d
}

// A stop gives a store that does not answer up after less than five seconds.
func TestStopDespiteStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		clock := latchkeytest.NewClock(time.Now())
		var log bytes.Buffer
		d := newDaemon(t, clock, &log, func(s latchkey.Store) latchkey.Store { return stuck{s, free} })
		issued, err := d.manager.Issue(t.Context(), latchkey.SignIn{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		clock.Advance(10 * time.Minute)
		if _, err := d.manager.Lookup(t.Context(), latchkey.Lookup{Token: issued.Token}); err != nil {
			t.Fatal(err) // and now activity waits to be written
		}
		began := time.Now()
		d.stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if !strings.Contains(log.String(), "could not be written") {
			t.Errorf("the log says %s", log.String())
		}
		close(free)
	})
}

// The daemon removes what ended before the retention, and nothing else.
func TestPurgeLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := latchkeytest.NewClock(time.Now())
		var log bytes.Buffer
		d := newDaemon(t, clock, &log, func(s latchkey.Store) latchkey.Store { return s })
		var ids []latchkey.ID
		for _, wait := range []time.Duration{60 * 24 * time.Hour, 40 * 24 * time.Hour} {
			issued, err := d.manager.Issue(t.Context(), latchkey.SignIn{Subject: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, issued.Record.ID)
			clock.Advance(wait)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tick := make(chan time.Time)
		d.background.Go(func() { d.purgeLoop(ctx, tick) })
		tick <- time.Time{}
		synctest.Wait()
		if _, err := d.store.Get(ctx, ids[0]); latchkey.CodeOf(err) != latchkey.CodeNoSuchSession {
			t.Errorf("a session that ended 99 days ago: %v", err)
		}
		if _, err := d.store.Get(ctx, ids[1]); err != nil {
			t.Errorf("a session that ended 39 days ago: %v", err)
		}
		if !strings.Contains(log.String(), `"sessions":1`) {
			t.Errorf("the log says %s", log.String())
		}
		cancel()
		d.stop()
	})
}

func TestPublicURL(t *testing.T) {
	for _, c := range []struct{ listen, bound, cert, given, want string }{
		{"127.0.0.1:8420", "", "", "", "http://127.0.0.1:8420"},
		{"127.0.0.1:0", "127.0.0.1:1234", "", "", "http://127.0.0.1:1234"},
		{"localhost:0", "127.0.0.1:1234", "", "", "http://localhost:1234"},
		{"[::1]:80", "[::1]:80", "", "", "http://[::1]"},
		{":443", "[::]:443", "c.pem", "", "https://localhost"},
		{"0.0.0.0:8420", "", "c.pem", "", "https://localhost:8420"},
		{"127.0.0.1:8420", "", "", "https://Auth.example.com/", "https://auth.example.com"},
	} {
		s := &settings{listen: c.listen, tlsCert: c.cert, publicURL: c.given}
		if problems := s.checkPublic(); len(problems) > 0 {
			t.Errorf("%+v: %v", c, problems)
		}
		if got := s.publicOr(c.bound).String(); got != c.want {
			t.Errorf("%+v gives %s", c, got)
		}
	}
	for _, text := range []string{"auth.example.com", "https://", "https://u@a.test", "https://a.test/x", "https://a.test?x", "https://a.test:0", "https://a.test:99999", "javascript:x", "https://a b"} {
		if u, err := parsePublic(text); err == nil {
			t.Errorf("%q became %v", text, u)
		}
	}
}

func TestWarnings(t *testing.T) {
	s := &settings{public: &url.URL{Scheme: "http", Host: "auth.example.com"}, store: "memory:", serveStale: time.Minute}
	if got := s.warnings(); len(got) != 3 || !strings.Contains(got[0], "plain http") {
		t.Errorf("warnings are %q", got)
	}
	s = &settings{public: &url.URL{Scheme: "http", Host: "127.0.0.1"}, store: defaultStore, insecure: true, listen: "127.0.0.1:8420"}
	if got := s.warnings(); len(got) != 0 {
		t.Errorf("warnings are %q", got)
	}
	if s.listen = "0.0.0.0:8420"; !strings.Contains(strings.Join(s.warnings(), ""), "beyond this machine") {
		t.Errorf("an insecure cookie for everybody: %q", s.warnings())
	}
	for domain, want := range map[string]int{"example.com": 0, "Example.com": 0, "auth.example.com": 0, "ample.com": 1, "x.auth.example.com": 1, "other.test": 1} {
		s = &settings{public: &url.URL{Scheme: "https", Host: "auth.example.com:8443"}, store: defaultStore, cookieDomain: domain}
		if got := s.warnings(); len(got) != want {
			t.Errorf("--cookie-domain %s: warnings are %q", domain, got)
		}
	}
}

// The log hides what looks like a token, wherever it stands, and keeps the causes of errors.
func TestLogHidesTokens(t *testing.T) {
	const token = "lk_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
	var log bytes.Buffer
	l := newLogger(&log, slog.LevelDebug)
	cause := fmt.Errorf("dial: %w", errors.New("cookie __Host-session="+token+"; refused"))
	l.Info("x", "error", latchkey.NewError(latchkey.CodeStoreUnavailable, "no answer", cause), "text", "a "+token, "nested", slog.GroupValue(slog.String("t", token)))
	if _, err := (lineLogger{l}).Write([]byte("http: bad " + token + "\n")); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if strings.Contains(text, "AbCdEf") || !strings.Contains(text, "no answer: dial: cookie") || !strings.Contains(text, hidden) {
		t.Errorf("the log says %s", text)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		text   string
	}{
		{"no_such_session", latchkey.ErrNoSuchSession, 3, "no such session"},
		{"unavailable", latchkey.NewError(latchkey.CodeStoreUnavailable, "no answer", errors.New("disk is full")), 4, "no answer: disk is full"},
		{"limit", latchkey.NewError(latchkey.CodeLimitReached, "as many sessions as allowed", nil), 1, "as many sessions as allowed"},
		{"fields", &latchkey.Error{Code: latchkey.CodeInvalidRequest, Fields: []latchkey.FieldError{{Field: "ttl_seconds", Detail: "is too long"}}}, 2, "--ttl: is too long"},
		{"other", errors.New("odd\nthing\x1b[2J"), 1, "odd thing\uFFFD[2J"},
		{"wrapped", fmt.Errorf("x: %w", usage("wrong")), 2, "wrong"},
		{"interrupted", context.Canceled, 1, "interrupted"},
		{"bare", latchkey.ErrConflict, 1, "conflict"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if status := report(&out, c.err); status != c.status || !strings.HasPrefix(out.String(), "latchkey: "+c.text+"\n") {
				t.Errorf("status %d, %q", status, out.String())
			}
		})
	}
}
