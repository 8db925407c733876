package cb_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/compat/cb"
	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/internal/databasetest"
	"github.com/latchkey-go/latchkey/compat/itsdangerous"
)

func create(t testing.TB, s *cb.Service, user int64) (cb.Session, string) {
	t.Helper()
	session, cookie, err := s.Create(t.Context(), user, "203.0.113.9", "Firefox")
	if err != nil {
		t.Fatal(err)
	}
	return session, cookie
}

func TestLifecycle(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		c := databasetest.NewClock()
		s := made(t, db.DB, c.Now)
		ctx := t.Context()
		session, value := create(t, s, 7)
		if !same(session.CreatedAt, c.Now().UTC()) || !same(session.ExpiresAt, c.Now().UTC().AddDate(0, 0, 30)) || session.ID == 0 {
			t.Error(session)
		}
		got, err := s.Lookup(ctx, value)
		if err != nil || got != session {
			t.Errorf("%+v %v, made %+v", got, err, session)
		}
		for _, bad := range []string{"", value + "x", value[:len(value)-1], cookie, strings.Repeat("x", 10<<20)} {
			if _, err := s.Lookup(ctx, bad); !isInvalid(err) {
				t.Errorf("%.20q: %v", bad, err)
			}
		}
		c.Turn(time.Second)
		at := cb.FormatTime(c.Now())
		for range 2 { // the second changes nothing
			if err := s.Revoke(ctx, session); err != nil {
				t.Fatal(err)
			}
			c.Turn(time.Second)
		}
		if _, err := s.Lookup(ctx, value); !isInvalid(err) {
			t.Error("revoked, and", err)
		}
		if n := databasetest.Execute(t, db.DB, "UPDATE sessions SET ip = ip WHERE id = ?1 AND revoked_at = ?2", engine.IntValue(session.ID), text("%s", at)); n != 1 {
			t.Error("the row is gone, or the time of its revocation was changed")
		}
		if err := s.Revoke(ctx, cb.Session{ID: 1 << 40}); err != nil {
			t.Error(err)
		}
	})
}

// The signature's age and the row's expiry both count, the one that ends first.
func TestBothClocks(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		c := databasetest.NewClock()
		s := made(t, db.DB, c.Now)
		session, value := create(t, s, 7)
		set := func(expires time.Time) {
			databasetest.Execute(t, db.DB, "UPDATE sessions SET expires_at = ?1", text("%s", cb.FormatTime(expires)))
		}
		holds := func(want bool) {
			t.Helper()
			if _, err := s.Lookup(t.Context(), value); (err == nil) != want || err != nil && !isInvalid(err) {
				t.Error(err)
			}
		}
		c.Turn(30*24*time.Hour - time.Microsecond)
		holds(true)
		c.Turn(time.Microsecond) // expires_at > now is strict
		holds(false)
		set(session.ExpiresAt.AddDate(1, 0, 0))
		holds(true) // the age is exactly 30 days, in whole seconds
		c.Turn(time.Second)
		holds(false)
		c.Turn(-24 * time.Hour)
		holds(true)
		set(c.Now())
		holds(false)
	})
}

func TestOfAUser(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		c := databasetest.NewClock()
		s := made(t, db.DB, c.Now)
		ctx := t.Context()
		one, oneValue := create(t, s, 7)
		two, _ := create(t, s, 7)
		three, _ := create(t, s, 7)
		other, otherValue := create(t, s, 8)
		list, err := s.List(ctx, 7)
		if err != nil || len(list) != 3 || list[0] != three || list[1] != two || list[2] != one {
			t.Errorf("%+v %v", list, err)
		}
		if n, err := s.RevokeAll(ctx, 7, one, other); n != 2 || err != nil {
			t.Error(n, err)
		}
		if n, err := s.RevokeAll(ctx, 7, one); n != 0 || err != nil {
			t.Error("again:", n, err)
		}
		for _, value := range []string{oneValue, otherValue} {
			if _, err := s.Lookup(ctx, value); err != nil {
				t.Error(err)
			}
		}
		if list, err := s.List(ctx, 7); err != nil || len(list) != 1 || list[0] != one {
			t.Errorf("%+v %v", list, err)
		}
		if n, err := s.RevokeAll(ctx, 7); n != 1 || err != nil {
			t.Error(n, err)
		}
		if list, err := s.List(ctx, 9); err != nil || len(list) != 0 {
			t.Error(list, err)
		}
		c.Turn(31 * 24 * time.Hour)
		if list, err := s.List(ctx, 8); err != nil || len(list) != 0 {
			t.Error("expired:", list, err)
		}
	})
}

func TestPurge(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		c := databasetest.NewClock()
		s := made(t, db.DB, c.Now)
		ctx := t.Context()
		for range 5 {
			create(t, s, 1)
		}
		revoked, _ := create(t, s, 1)
		live, _ := create(t, s, 2)
		databasetest.Execute(t, db.DB, "UPDATE sessions SET expires_at = '2020-01-01T00:00:00+00:00' WHERE user_id = 1 AND id <> ?1", engine.IntValue(revoked.ID))
		databasetest.Execute(t, db.DB, "INSERT INTO sessions (user_id, token_hash, created_at, expires_at, ip, user_agent) VALUES (3, 'h', '', '', '', '')")
		if err := s.Revoke(ctx, revoked); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Purge(ctx, c.Now(), 2); n != 5 || err != nil {
			t.Error(n, err)
		}
		c.Turn(time.Microsecond)
		if n, err := s.Purge(ctx, c.Now(), 100); n != 1 || err != nil {
			t.Error("the revoked one:", n, err)
		}
		if n := databasetest.Execute(t, db.DB, "UPDATE sessions SET ip = ip WHERE id = ?1 OR token_hash = 'h'", engine.IntValue(live.ID)); n != 2 {
			t.Error("of the live one and the one that cannot be judged, there are", n)
		}
		for _, batch := range []int{-1, 0, 10_001} {
			if _, err := s.Purge(ctx, c.Now(), batch); err == nil {
				t.Error("a batch of", batch)
			}
		}
	})
}

// A row that somebody else wrote is an error that names the column, and no session.
func TestHostileRows(t *testing.T) {
	test := func(t *testing.T, db database) {
		c := databasetest.NewClock()
		codec, _ := cb.New(cb.Config{Secrets: []string{secret}, Days: 30, Now: c.Now})
		value, _ := codec.Cookie(raw)
		var log bytes.Buffer
		s := newService(t, db.DB, c.Now, func(config *cb.ServiceConfig) { config.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		columns := []string{"id", "user_id", "token_hash", "created_at", "expires_at", "ip", "user_agent", "revoked_at"}
		values := []string{"1", "7", "'" + cb.TokenHash(raw) + "'", "'2026-01-01T00:00:00+00:00'", "'2027-01-01T00:00:00+00:00'", "''", "''", "NULL"}
		for _, h := range []struct{ name, column, value, typ string }{
			{"good", "", "", ""},
			{"no-id", "id", "-", ""}, {"no-user", "user_id", "-", ""}, {"no-created", "created_at", "-", ""}, {"no-expiry", "expires_at", "-", ""},
			{"no-ip", "ip", "-", ""}, {"no-agent", "user_agent", "-", ""}, {"no-revocation", "revoked_at", "-", ""},
			{"user-null", "user_id", "NULL", ""}, {"user-text", "user_id", "'7x'", "TEXT"}, {"user-real", "user_id", "7.5", "REAL"},
			{"created-null", "created_at", "NULL", ""}, {"expiry-null", "expires_at", "NULL", ""}, {"expiry-never", "expires_at", "'never'", ""},
			{"expiry-naive", "expires_at", "'2027-01-01T00:00:00'", ""}, {"expiry-number", "expires_at", "1893456000", "BIGINT"},
			{"ip-null", "ip", "NULL", ""}, {"agent-number", "user_agent", "5", "BIGINT"}, {"revoked-empty", "revoked_at", "''", ""},
			{"agent-huge", "user_agent", "'" + strings.Repeat("x", engine.MaxText+1) + "'", ""},
		} {
			t.Run(h.name, func(t *testing.T) {
				var define, insert []string
				for i, name := range columns {
					typ, v := "TEXT", values[i]
					if i < 2 {
						typ = "BIGINT"
					}
					if name == h.column {
						if v = h.value; h.typ != "" {
							typ = h.typ
						}
					}
					if typ == "TEXT" && db.IsMariaDB() {
						typ = "LONGTEXT" // of more than 64 KiB
					}
					if v != "-" {
						define, insert = append(define, name+" "+typ), append(insert, v)
					}
				}
				databasetest.Execute(t, db.DB, "DROP TABLE IF EXISTS sessions")
				databasetest.Execute(t, db.DB, "CREATE TABLE sessions ("+strings.Join(define, ", ")+")")
				databasetest.Execute(t, db.DB, "INSERT INTO sessions VALUES ("+strings.Join(insert, ", ")+")")
				session, err := s.Lookup(t.Context(), value)
				var row *cb.RowError
				switch {
				case h.column == "":
					if err != nil || session.UserID != 7 {
						t.Error(session, err)
					}
				case session != cb.Session{} || !errors.Is(err, cb.ErrInvalid) || !errors.As(err, &row) || row.Column != h.column || !strings.Contains(err.Error(), h.column):
					t.Error(session, err)
				}
			})
		}
		if got := log.String(); !strings.Contains(got, "session_row_unreadable") || strings.Contains(got, raw) || strings.Contains(got, cb.TokenHash(raw)) {
			t.Errorf("log: %.300s", got)
		}
		databasetest.Execute(t, db.DB, "INSERT INTO sessions SELECT * FROM sessions")
		if _, err := s.Lookup(t.Context(), value); !errors.Is(err, cb.ErrInvalid) {
			t.Error("two rows:", err)
		}
		databasetest.Execute(t, db.DB, "DROP TABLE sessions")
		if _, err := s.Lookup(t.Context(), value); !errors.Is(err, cb.ErrUnavailable) || errors.Is(err, cb.ErrInvalid) {
			t.Error("no table:", err)
		}
	}
	databases.EachOfOneConnection(t, test)
}

func TestUnreadableInList(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, databasetest.NewClock().Now)
		good, _ := create(t, s, 7)
		bad, _ := create(t, s, 7)
		databasetest.Execute(t, db.DB, "UPDATE sessions SET expires_at = 'never' WHERE id = ?1", engine.IntValue(bad.ID))
		list, err := s.List(t.Context(), 7)
		var row *cb.RowError
		if len(list) != 1 || list[0] != good || !errors.As(err, &row) || row.Column != "expires_at" {
			t.Error(list, err)
		}
	})
}

// What a client says of itself never keeps it from signing in.
func TestClientText(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, databasetest.NewClock().Now)
		for _, c := range []struct{ in, want string }{
			{"", ""}, {"a\x00b\r\nc\x7f", "abc"}, {"\xff\xfeZoë", "Zoë"},
			{strings.Repeat("é", 400), strings.Repeat("é", 256)}, {"x" + strings.Repeat("é", 400), "x" + strings.Repeat("é", 255)},
			{strings.Repeat("x", 10<<20), strings.Repeat("x", 512)}, {"'; DROP TABLE sessions; --?1$1", "'; DROP TABLE sessions; --?1$1"},
		} {
			session, value, err := s.Create(t.Context(), 1, c.in, c.in)
			if err != nil || session.UserAgent != c.want || len(session.IP) > cb.MaxIP {
				t.Errorf("%.20q: %.30q %v", c.in, session.UserAgent, err)
			}
			if got, err := s.Lookup(t.Context(), value); err != nil || got != session {
				t.Errorf("%.20q: %v", c.in, err)
			}
		}
	})
}

// Payloads that make the original raise out of lookup.
func TestForeignPayloadInLookup(t *testing.T) {
	c := databasetest.NewClock()
	var log bytes.Buffer
	s := newService(t, databases.SQLite(t, 4).DB, c.Now, func(config *cb.ServiceConfig) { config.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	config := itsdangerous.Config{Secrets: []string{secret}, Salt: "session", Now: c.Now}
	serializer, _ := itsdangerous.NewTimed(config)
	for _, v := range []any{nil, 1, []any{raw}, map[string]any{"x": 1}} {
		token, _ := serializer.Dumps(v)
		if _, err := s.Lookup(t.Context(), token); !isInvalid(err) { // there is no table: it is not asked
			t.Errorf("%v: %v", v, err)
		}
	}
	if _, err := s.Lookup(t.Context(), ""); !isInvalid(err) || strings.Count(log.String(), "session_cookie_bad_signature") != 4 {
		t.Error(err, log.String())
	}
	token, _ := serializer.Dumps(raw)
	c.Turn(31 * 24 * time.Hour)
	if _, err := s.Lookup(t.Context(), token); !isInvalid(err) || !strings.Contains(log.String(), "session_cookie_expired") || strings.Contains(log.String(), token) {
		t.Error(err, log.String())
	}
}

func TestTwoWriters(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, time.Now)
		var wg sync.WaitGroup
		var ended [2]int64
		for w := range 2 {
			wg.Go(func() {
				for range 20 {
					session, value, err := s.Create(t.Context(), 7, "", "")
					if err != nil {
						t.Error(err)
						return
					}
					n, err := s.RevokeAll(t.Context(), 7, session)
					if err != nil {
						t.Error(err)
					}
					ended[w] += n
					if _, err := s.Lookup(t.Context(), value); err != nil && !isInvalid(err) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n, err := s.RevokeAll(t.Context(), 7)
		if err != nil || ended[0]+ended[1]+n != 40 {
			t.Error("each session is ended once:", ended, n, err)
		}
	})
}

func TestUnavailable(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, time.Now)
		session, value := create(t, s, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, lookup := s.Lookup(ctx, value)
		_, _, creating := s.Create(ctx, 1, "", "")
		_, all := s.RevokeAll(ctx, 1)
		_, list := s.List(ctx, 1)
		_, purge := s.Purge(ctx, time.Now(), 1)
		for i, err := range []error{lookup, creating, all, list, purge, s.Revoke(ctx, session), s.CreateTable(ctx)} {
			if !errors.Is(err, cb.ErrUnavailable) || errors.Is(err, cb.ErrInvalid) || !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "interrupt") {
				t.Error(i, err)
			}
		}
		if _, err := s.Lookup(t.Context(), value); err != nil {
			t.Error(err)
		}
	})
}

func TestServiceConfig(t *testing.T) {
	_, err := cb.NewService(cb.ServiceConfig{Table: "a b"})
	for _, want := range []string{"Codec", "DB", "Table"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	s := newService(t, databases.SQLite(t, 4).DB, time.Now, func(c *cb.ServiceConfig) { c.Table = "admin_sessions2" })
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, value := create(t, s, 1)
	if _, err := s.Lookup(t.Context(), value); err != nil {
		t.Error(err)
	}
	if got := s.Cookie("v").String(); got != "cb_session=v; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax" {
		t.Error(got)
	}
	if got := s.Clear().String(); got != "cb_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Error(got)
	}
	if c := s.Cookie("v"); c.SameSite != http.SameSiteLaxMode {
		t.Error(c)
	}
}

func TestSettings(t *testing.T) {
	read := func(env map[string]string) (cb.Settings, error) {
		return cb.SettingsFromEnvironment(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	}
	for env, insecure := range map[string]bool{"production": false, "": false, "staging": false, "Development": false, "prod": false, "development": true} {
		got, err := read(map[string]string{"SECRET_KEY": secret, "SESSION_MAX_DAYS": "14", "APP_ENV": env})
		if err != nil {
			t.Fatal(err)
		}
		c := got.Config()
		if c.InsecureCookies != insecure || c.Days != 14 || c.Secrets[0] != secret {
			t.Errorf("%q: %v", env, c.InsecureCookies)
		}
	}
	for _, days := range []string{"", "0", "-1", "x", "14.0", "36501", "99999999999999999999"} {
		if _, err := read(map[string]string{"SECRET_KEY": secret, "SESSION_MAX_DAYS": days}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", days, err)
		}
	}
	_, err := read(nil)
	if err == nil || !strings.Contains(err.Error(), "SECRET_KEY") || !strings.Contains(err.Error(), "SESSION_MAX_DAYS") {
		t.Error(err)
	}
}

// The original in Python and this service on one table.
func TestInterop(t *testing.T) {
	databases.Each(t, func(t *testing.T, db database) {
		s := made(t, db.DB, time.Now)
		modules := "itsdangerous, sqlite3"
		switch {
		case db.IsPostgreSQL():
			modules += ", psycopg2"
		case db.IsMariaDB():
			modules += ", pymysql"
		}
		python := databasetest.StartOriginal(t, modules, nil, "testdata/cb_session.py", db.URL, secret, "30")
		ctx := t.Context()

		var theirs string
		python.Ask(t, object{"op": "create", "user_id": 5, "ip": "198.51.100.7", "user_agent": "Zoë’s"}, &theirs)
		session, err := s.Lookup(ctx, theirs)
		if err != nil || session.UserID != 5 || session.IP != "198.51.100.7" || session.UserAgent != "Zoë’s" || session.ExpiresAt.Sub(session.CreatedAt) != 30*24*time.Hour {
			t.Fatalf("%+v %v", session, err)
		}
		type answer struct {
			ID            int64
			UserID        int64 `json:"user_id"`
			Created       string
			Days          int
			IP, UserAgent string
		}
		made, ours := create(t, s, 6)
		var got *answer
		python.Ask(t, object{"op": "lookup", "cookie": ours}, &got)
		if got == nil || got.ID != made.ID || got.UserID != 6 || got.Days != 30 || got.Created != cb.FormatTime(made.CreatedAt) {
			t.Fatalf("%+v", got)
		}

		python.Ask(t, object{"op": "revoke", "id": made.ID}, new(any))
		if _, err := s.Lookup(ctx, ours); !isInvalid(err) {
			t.Error("revoked there:", err)
		}
		if err := s.Revoke(ctx, session); err != nil {
			t.Fatal(err)
		}
		python.Ask(t, object{"op": "lookup", "cookie": theirs}, &got)
		if got != nil {
			t.Error("revoked here, and there it holds")
		}
	})
}

func FuzzRow(f *testing.F) {
	f.Add(`{"id":1,"user_id":7,"token_hash":"h","created_at":"2026-01-02T03:04:05+00:00","expires_at":"2026-02-01T03:04:05.678901+00:00","ip":"","user_agent":"","revoked_at":null}`)
	f.Add(`{"ID":1.5,"user_id":null,"created_at":5,"expires_at":"never","ip":[],"revoked_at":""}`)
	f.Fuzz(func(t *testing.T, text string) {
		row, err := engine.ParseRow(text)
		if err != nil {
			return
		}
		session, err := cb.DecodeRow(&row)
		var bad *cb.RowError
		if err != nil && (!errors.As(err, &bad) || !errors.Is(err, cb.ErrInvalid) || session != cb.Session{}) {
			t.Fatal(session, err)
		}
		if v, ok := row.Get("revoked_at"); err == nil && (!ok || v.Kind() != engine.Null && session.RevokedAt.IsZero() && v != engine.TextValue("0001-01-01T00:00:00+00:00")) {
			t.Fatal("a revocation is lost")
		}
	})
}
