package sessionmanager_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/apicrud/sessionmanager"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/internal/servers"
)

func create(t testing.TB, m *sessionmanager.Manager, n sessionmanager.NewSession) (apicrud.Session, sessionmanager.Ref) {
	t.Helper()
	s, err := m.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return s, sessionmanager.Ref{UID: n.UID, Token: s.Token, KeyID: n.KeyID}
}

func TestConfig(t *testing.T) {
	_, err := sessionmanager.New(sessionmanager.Config{TTL: time.Millisecond, Timeout: time.Hour})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	for _, field := range []string{"Client", "Cipher", "Issuer", "TTL", "Timeout"} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s is not told of: %v", field, err)
		}
	}
	m := open(t, redis.Addr, nil)
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "a:b", KeyID: "\n", Roles: []string{"x:y"}, Token: "short", TTL: -1,
		Extra: pyjson.Object{{Name: "jti", Value: "mine"}, {Name: "x", Value: 1}, {Name: "x", Value: 2}}})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	for _, field := range []string{"UID", "KeyID", "Roles", "Token", "TTL", "Extra"} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s is not told of: %v", field, err)
		}
	}
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u", Extra: pyjson.Object{{Name: "x", Value: make(chan int)}}})
	wantCode(t, err, latchkey.CodeInvalidRequest)
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u", Extra: pyjson.Object{{Name: "x", Value: strings.Repeat("x", 16<<10)}}})
	wantCode(t, err, latchkey.CodeDataTooLarge)
	if n, _ := command(t, connect(t, redis.Addr), "EXISTS", "ses:u:").AsInt64(); n != 0 {
		t.Error("refused, and written")
	}
}

func TestTokens(t *testing.T) {
	client := connect(t, redis.Addr)
	now := time.Date(2026, 1, 2, 3, 4, 5, 999, time.UTC)
	// Every first token ends alike: the second is evaded to.
	random := io.MultiReader(bytes.NewReader(make([]byte, 48)), bytes.NewReader(bytes.Repeat([]byte{1}, 24)))
	m := open(t, redis.Addr, func(cfg *sessionmanager.Config) {
		cfg.Now, cfg.Random, cfg.TTL = func() time.Time { return now }, random, time.Hour
	})
	one, _ := create(t, m, sessionmanager.NewSession{UID: "u-tokens"})
	two, ref := create(t, m, sessionmanager.NewSession{UID: "u-tokens"})
	if one.Token == two.Token || len(one.Token) != apicrud.TokenLength || one.Exp != "1767326645" || one.Roles != nil {
		t.Errorf("%+v %+v", one, two)
	}
	if got, err := m.Get(t.Context(), ref); err != nil || got.Token != two.Token {
		t.Error(got, err)
	}
	if ttl := ttlOf(t, client, apicrud.Key("u-tokens", two.Token)); ttl > time.Hour || ttl < time.Hour-time.Minute {
		t.Errorf("it lives %v", ttl)
	}
	_, err := m.Create(t.Context(), sessionmanager.NewSession{UID: "u-tokens"})
	wantCode(t, err, latchkey.CodeInternal) // no randomness left
	m = open(t, redis.Addr, func(cfg *sessionmanager.Config) { cfg.Random = zeros{} })
	create(t, m, sessionmanager.NewSession{UID: "u-zeros"})
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u-zeros"})
	if !errors.Is(err, sessionmanager.ErrExists) {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Whoever has a part of what is needed gets nothing, and changes and ends nothing.
func TestStrangers(t *testing.T) {
	m, client := open(t, redis.Addr, nil), connect(t, redis.Addr)
	s, ref := create(t, m, sessionmanager.NewSession{UID: "u-mine", Roles: []string{"user"}, Token: "abcdefgh-secret"})
	key := apicrud.Key(ref.UID, ref.Token)
	value := textOf(t, client, key)
	command(t, client, "SET", apicrud.Key("u-root", s.Token), value, "EX", "60") // by whoever can write to Redis
	for name, stranger := range map[string]sessionmanager.Ref{
		"ends-alike":    {UID: "u-mine", Token: "ABCDEFGH-secret"},
		"the-end-alone": {UID: "u-mine", Token: "ret"},
		"other-user":    {UID: "u-other", Token: s.Token},
		"copied":        {UID: "u-root", Token: s.Token},
		"by-key-id":     {UID: "u-other", KeyID: "u-mine", Token: s.Token},
		"no-token":      {UID: "u-mine"},
		"no-user":       {Token: s.Token},
		"colon":         {UID: "u-mine:", Token: s.Token},
		"line-break":    {UID: "u-mine", Token: s.Token + "\n"},
		"long":          {UID: "u-mine", Token: strings.Repeat("x", 10<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Get(t.Context(), stranger)
			wantCode(t, err, latchkey.CodeInvalidSession)
			_, err = m.Update(t.Context(), stranger, "x", "y")
			wantCode(t, err, latchkey.CodeInvalidSession)
			if err := m.Delete(t.Context(), stranger); err != nil {
				wantCode(t, err, latchkey.CodeInvalidSession)
			} else if name != "other-user" { // there is nothing of another user's to end
				t.Error("it was ended")
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error(err)
			}
		})
	}
	if textOf(t, client, key) != value {
		t.Error("the session was changed")
	}
	wrong := open(t, redis.Addr, func(cfg *sessionmanager.Config) { cfg.Cipher = newCipher(t, "another secret, also of 32 bytes") })
	_, err := wrong.Get(t.Context(), ref)
	wantCode(t, err, latchkey.CodeInvalidSession)
	for _, reserved := range []string{"exp", "iss", "jti", "sub"} {
		_, err := m.Update(t.Context(), ref, reserved, "x")
		wantCode(t, err, latchkey.CodeInvalidRequest)
	}
	for _, auth := range []any{1, nil, "a::b", ":"} {
		_, err := m.Update(t.Context(), ref, "auth", auth)
		wantCode(t, err, latchkey.CodeInvalidRequest)
	}
	if s, err := m.Update(t.Context(), ref, "auth", ""); err != nil || s.Roles != nil {
		t.Error(s, err)
	}
	if err := m.Delete(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if err := m.Delete(t.Context(), ref); err != nil {
		t.Error("ended already:", err)
	}
}

// Foreign and damaged values are no sessions; they stay as they are.
func TestGarbageValues(t *testing.T) {
	m, client, cipher := open(t, redis.Addr, nil), connect(t, redis.Addr), newCipher(t, aesSecret)
	sealed := func(text string) string {
		v, err := cipher.Encrypt(text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const token = "abcdefgh"
	good := `{"auth": "user", "exp": "1", "iss": "i", "jti": "abcdefgh", "sub": "u-bad"}`
	cut, _ := base64.StdEncoding.DecodeString(sealed(good))
	key := apicrud.Key("u-bad", token)
	ref := sessionmanager.Ref{UID: "u-bad", Token: token}
	command(t, client, "SET", key, sealed(good))
	if _, err := m.Get(t.Context(), ref); err != nil {
		t.Fatal("the text that the others are made of:", err)
	}
	for name, write := range map[string][]string{
		"text":          {"SET", key, "garbage"},
		"empty":         {"SET", key, ""},
		"clear":         {"SET", key, good},
		"huge":          {"SET", key, strings.Repeat("A", 10<<20)},
		"list":          {"LPUSH", key, sealed(good)},
		"hash":          {"HSET", key, "a", "b"},
		"cut":           {"SET", key, base64.StdEncoding.EncodeToString(cut[:len(cut)-16])},
		"line-break":    {"SET", key, sealed(good) + "\n"},
		"no-json":       {"SET", key, sealed("hello")},
		"nested":        {"SET", key, sealed(strings.Repeat("[", 10000))},
		"a-list":        {"SET", key, sealed("[]")},
		"no-roles":      {"SET", key, sealed(strings.Replace(good, `"auth": "user", `, "", 1))},
		"no-sub":        {"SET", key, sealed(strings.Replace(good, `, "sub": "u-bad"`, "", 1))},
		"number-exp":    {"SET", key, sealed(strings.Replace(good, `"1"`, "1", 1))},
		"list-of-roles": {"SET", key, sealed(strings.Replace(good, `"user"`, `["user"]`, 1))},
		"null-jti":      {"SET", key, sealed(strings.Replace(good, `"abcdefgh"`, "null", 1))},
	} {
		t.Run(name, func(t *testing.T) {
			command(t, client, "DEL", key)
			command(t, client, write...)
			before, err := command(t, client, "DUMP", key).ToString()
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.Get(t.Context(), ref)
			wantCode(t, err, latchkey.CodeInvalidSession)
			_, err = m.Update(t.Context(), ref, "x", "y")
			wantCode(t, err, latchkey.CodeInvalidSession)
			wantCode(t, m.Delete(t.Context(), ref), latchkey.CodeInvalidSession)
			_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u-bad", Token: token})
			if !errors.Is(err, sessionmanager.ErrExists) {
				t.Error(err)
			}
			if after, _ := command(t, client, "DUMP", key).ToString(); after != before {
				t.Error("the value was changed")
			}
		})
	}
}

// Updates of many at once are all there in the end, and the time to live is as it was.
func TestParallelUpdates(t *testing.T) {
	m, client := open(t, redis.Addr, nil), connect(t, redis.Addr)
	_, ref := create(t, m, sessionmanager.NewSession{UID: "u-many", TTL: 2 * time.Hour})
	const writers = 16
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for try := 0; ; try++ {
				_, err := m.Update(context.Background(), ref, fmt.Sprintf("m%d", i), i)
				if errors.Is(err, sessionmanager.ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	all.Wait()
	s, err := m.Get(t.Context(), ref)
	if err != nil || len(s.Extra) != writers {
		t.Fatalf("%d of %d updates are there, %v", len(s.Extra), writers, err)
	}
	for i := range writers {
		if n, _ := s.Extra.Get(fmt.Sprintf("m%d", i)); n != json.Number(fmt.Sprint(i)) {
			t.Errorf("m%d is %v", i, n)
		}
	}
	if ttl := ttlOf(t, client, apicrud.Key(ref.UID, ref.Token)); ttl < 2*time.Hour-time.Minute || ttl > 2*time.Hour {
		t.Errorf("it lives %v", ttl)
	}
}

func TestDeleteAll(t *testing.T) {
	server := servers.StartRedis(t)
	m := open(t, server.Addr, nil)
	var mine, others []sessionmanager.Ref
	for range 50 {
		_, ref := create(t, m, sessionmanager.NewSession{UID: "u*[a]?"})
		mine = append(mine, ref)
		_, ref = create(t, m, sessionmanager.NewSession{UID: "uxa?"})
		others = append(others, ref)
	}
	_, ref := create(t, m, sessionmanager.NewSession{UID: "u*[a]?", KeyID: "k-1"})
	others = append(others, ref)
	command(t, connect(t, server.Addr), "SET", "ses:u*[a]?:b:xyz", "another user's, with a colon in his name")
	if n, err := m.DeleteAll(t.Context(), "u*[a]?"); n != len(mine) || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	for _, ref := range mine {
		_, err := m.Get(t.Context(), ref)
		wantCode(t, err, latchkey.CodeInvalidSession)
	}
	for _, ref := range others {
		if _, err := m.Get(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
	if n, err := m.DeleteAll(t.Context(), "u*[a]?"); n != 0 || err != nil {
		t.Error(n, err)
	}
	_, err := m.DeleteAll(t.Context(), "")
	wantCode(t, err, latchkey.CodeInvalidRequest)
}

func TestRedisAway(t *testing.T) {
	server := servers.StartRedis(t)
	m := open(t, server.Addr, func(cfg *sessionmanager.Config) { cfg.Timeout = 200 * time.Millisecond })
	_, ref := create(t, m, sessionmanager.NewSession{UID: "u"})
	server.Stop(t)
	began := time.Now()
	_, err := m.Get(t.Context(), ref)
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("told after %v", took)
	}
	server.Continue(t)
	server.Kill(t)
	every(t, m, ref)
}

// every asks for each operation and wants it to be unavailable.
func every(t *testing.T, m *sessionmanager.Manager, ref sessionmanager.Ref) {
	t.Helper()
	_, err := m.Get(t.Context(), ref)
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	_, err = m.Update(t.Context(), ref, "x", "y")
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	_, err = m.Create(t.Context(), sessionmanager.NewSession{UID: "u"})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	wantCode(t, m.Delete(t.Context(), ref), latchkey.CodeStoreUnavailable)
	_, err = m.DeleteAll(t.Context(), "u")
	wantCode(t, err, latchkey.CodeStoreUnavailable)
	if strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

// What listens has gone mad: an error, not a panic, and not a session.
func TestGarbageServer(t *testing.T) {
	const hello = "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
	for name, answer := range map[string]string{
		"negative": "$-7\r\n", "huge": "$99999999999\r\n", "array": "*3\r\n:1\r\n:1\r\n:1\r\n", "surplus": strings.Repeat("+PONG\r\n", 50),
		"push": ">3\r\n+message\r\n+a\r\n+b\r\n", "number": ":7\r\n", "map": "%1\r\n+a\r\n+b\r\n", "http": "HTTP/1.1 400 Bad Request\r\n\r\n", "error": "-ERR CANARY\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
					go answerAll(conn, hello, answer)
				}
			}()
			client, err := sessionmanager.NewClient(rueidis.ClientOption{InitAddress: []string{l.Addr().String()}, DisableCache: true, ForceSingleClient: true, DisableRetry: true})
			if err != nil {
				wantCode(t, err, latchkey.CodeStoreUnavailable)
				return
			}
			defer client.Close()
			m, err := sessionmanager.New(sessionmanager.Config{Client: client, Cipher: newCipher(t, aesSecret), Issuer: issuer})
			if err != nil {
				t.Fatal(err)
			}
			every(t, m, sessionmanager.Ref{UID: "u", Token: "abcdefgh"})
		})
	}
	_, err := sessionmanager.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}, DisableCache: true})
	wantCode(t, err, latchkey.CodeStoreUnavailable)
}

// answerAll answers a connection's first command with hello and the others with answer.
func answerAll(conn net.Conn, hello, answer string) {
	defer conn.Close()
	b := make([]byte, 64<<10)
	for first := true; ; {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		for range bytes.Count(b[:n], []byte("*")) {
			text := answer
			if first {
				text, first = hello, false
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}
