package latchkey_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/audit"
	"github.com/latchkey-go/latchkey/internal/needs"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/latchkeytest"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/store/memory"
)

// example is the worked example of docs/formats.md.
type example map[string]string

// readExample reads the "vector" blocks of the page: "name: value", long values
// continued on indented lines.
func readExample(t *testing.T) example {
	t.Helper()
	page, err := os.ReadFile("docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	v := example{}
	for i, part := range strings.Split(string(page), "```vector\n") {
		if i == 0 {
			continue
		}
		block, _, _ := strings.Cut(part, "```")
		last := ""
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "  ") {
				v[last] += strings.TrimSpace(line)
				continue
			}
			name, value, ok := strings.Cut(line, ":")
			if !ok || v[name] != "" {
				t.Fatalf("docs/formats.md: %q is no new value", line)
			}
			last = name
			v[name] = strings.TrimSpace(value)
		}
	}
	return v
}

func (v example) bytes(t *testing.T, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(v[name])
	if err != nil || len(b) == 0 {
		t.Fatalf("docs/formats.md: %s is not hexadecimal", name)
	}
	return b
}

func (v example) time(t *testing.T, name string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.000000Z", v[name])
	if err != nil {
		t.Fatalf("docs/formats.md: %s: %v", name, err)
	}
	return at
}

func (v example) seconds(t *testing.T, name string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(v[name])
	if err != nil {
		t.Fatalf("docs/formats.md: %s: %v", name, err)
	}
	return time.Duration(n) * time.Second
}

// is compares a value of the page with what the program made.
func (v example) is(t *testing.T, name, got string) {
	t.Helper()
	if v[name] == "" || v[name] != got {
		t.Errorf("%s:\n got  %s\n page %s", name, got, v[name])
	}
}

// TestFormatsExample signs in, rotates and presents the successor with the page's
// inputs, by way of the Manager, and finds the page's every value.
func TestFormatsExample(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("FIPS 140 mode forbids nonces of one's own")
	}
	v := readExample(t)
	clock := latchkeytest.NewClock(v.time(t, "created"))
	store, err := memory.New(memory.Config{Clock: clock, Rand: bytes.NewReader(v.bytes(t, "placement key"))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ring := v.ring(t)

	// What is drawn, in this order: at sign-in, at the rotation, and for the change
	// that starts the grace.
	var draws []byte
	for _, name := range []string{"secret", "id random", "data key", "wrap nonce", "data nonce", "rotate nonce", "rotated wrap nonce"} {
		draws = append(draws, v.bytes(t, name)...)
	}
	draws = append(append(draws, make([]byte, 16)...), v.bytes(t, "rotated patch id")...)
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Clock: clock, Rand: bytes.NewReader(draws),
		RotateEvery: v.time(t, "rotated").Sub(v.time(t, "created"))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()

	issued := v.signIn(t, m)
	v.checkSession(t, store, issued)
	v.checkRotation(t, m, store, clock, issued)
}

// TestFormatsSealedToken makes the page's session as a stateless one.
func TestFormatsSealedToken(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("FIPS 140 mode forbids nonces of one's own")
	}
	v := readExample(t)
	clock := latchkeytest.NewClock(v.time(t, "created"))
	store, err := memory.New(memory.Config{Clock: clock, Rand: bytes.NewReader(v.bytes(t, "placement key"))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	cache, err := nearcache.New(nearcache.Config{Store: store, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	var draws []byte
	for _, name := range []string{"secret", "id random", "data key", "wrap nonce", "data nonce", "token nonce"} {
		draws = append(draws, v.bytes(t, name)...)
	}
	ring := v.ring(t)
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Clock: clock, Rand: bytes.NewReader(draws), Cache: cache, Stateless: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()
	issued := v.signIn(t, m)
	id, _ := ring.Active(v.time(t, "created"))
	key, _ := ring.Derive(id, string(keyring.PurposeSealed))
	v.is(t, "sealing key", hex.EncodeToString(key[:]))
	v.is(t, "session id", issued.Record.ID.String())
	v.is(t, "sealed token", issued.Token)
	s, err := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := s.Data(); err != nil || string(data) != v["data"] {
		t.Errorf("data: %s, %v", data, err)
	}
}

// ring is the page's keyring, by way of its file.
func (v example) ring(t *testing.T) *keyring.Ring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("latchkey-keyring/v1\n"+v["keyring line"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(path, keyring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := ring.Active(v.time(t, "created"))
	v.is(t, "key id", strconv.Itoa(int(id)))
	same, err := keyring.New(keyring.NewKey(id, [32]byte(v.bytes(t, "key")), v.time(t, "created")))
	if err != nil {
		t.Fatal(err)
	}
	for purpose, name := range map[keyring.Purpose]string{keyring.PurposeToken: "token key", keyring.PurposeRotate: "rotate key"} {
		fromFile, _ := ring.Derive(id, string(purpose))
		fromBytes, _ := same.Derive(id, string(purpose))
		v.is(t, name, hex.EncodeToString(fromFile[:]))
		v.is(t, name, hex.EncodeToString(fromBytes[:]))
	}
	return ring
}

func (v example) signIn(t *testing.T, m *latchkey.Manager) latchkey.Issued {
	t.Helper()
	var data map[string]json.RawMessage
	if err := json.Unmarshal([]byte(v["data"]), &data); err != nil {
		t.Fatal(err)
	}
	issued, err := m.Issue(context.Background(), latchkey.SignIn{Provider: v["provider"], Subject: v["subject"], Email: v["email"],
		Name: v["name"], Roles: strings.Split(v["roles"], ","), Methods: strings.Split(v["methods"], ","), Assurance: v["assurance"],
		AuthTime: v.time(t, "auth time"), SID: v["sid"], Idle: v.seconds(t, "idle"), Lifetime: v.seconds(t, "lifetime"), Data: data,
		IP: "192.0.2.77", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"})
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func (v example) checkSession(t *testing.T, store *memory.Store, issued latchkey.Issued) {
	t.Helper()
	rec, err := store.Get(context.Background(), issued.Record.ID)
	if err != nil {
		t.Fatal(err)
	}
	v.is(t, "session id", rec.ID.String())
	v.is(t, "placement", fmt.Sprintf("%03x", rec.ID.Placement()))
	v.is(t, "token", issued.Token)
	v.is(t, "mac", macOf(t, issued.Token))
	v.is(t, "set-cookie", issued.SetCookie)
	v.is(t, "expires", rec.ExpiresAt.Format("2006-01-02T15:04:05.000000Z"))
	v.is(t, "ip", rec.IP)
	v.is(t, "user agent", rec.UserAgent)
	v.is(t, "stored hash", hex.EncodeToString(rec.SecretHash[:]))
	v.is(t, "wrap", hex.EncodeToString(rec.Wrap))
	v.is(t, "sealed data", hex.EncodeToString(rec.Data))
	v.is(t, "record", hex.EncodeToString(latchkey.AppendRecord(nil, rec)))

	page, err := store.Audit(context.Background(), audit.Query{})
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%d events, %v", len(page.Events), err)
	}
	event, err := json.Marshal(page.Events[0])
	if err != nil {
		t.Fatal(err)
	}
	v.is(t, "audit event", string(event))
}

func (v example) checkRotation(t *testing.T, m *latchkey.Manager, store *memory.Store, clock *latchkeytest.Clock, issued latchkey.Issued) {
	t.Helper()
	clock.Advance(v.time(t, "rotated").Sub(clock.Time()))
	s, err := m.Lookup(context.Background(), latchkey.Lookup{Token: issued.Token, Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	v.is(t, "successor token", s.Token())
	clock.Advance(2 * time.Second)
	if s, err = m.Lookup(context.Background(), latchkey.Lookup{Token: s.Token(), Passive: true}); err != nil {
		t.Fatal(err)
	}
	if data, err := s.Data(); err != nil || string(data) != v["data"] {
		t.Errorf("data under the successor: %s, %v", data, err)
	}
	rec, err := store.Get(context.Background(), s.ID())
	if err != nil {
		t.Fatal(err)
	}
	v.is(t, "successor", hex.EncodeToString(rawOf(t, v["successor token"])[18:50]))
	v.is(t, "successor hash", hex.EncodeToString(rec.SecretHash[:]))
	v.is(t, "rotated wrap", hex.EncodeToString(rec.Wrap))
	v.is(t, "grace end", rec.GraceEnd.Format("2006-01-02T15:04:05.000000Z"))
	v.is(t, "rotated record", hex.EncodeToString(latchkey.AppendRecord(nil, rec)))
}

// rawOf is a token's 66 bytes.
func rawOf(t *testing.T, token string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(token, "lk_"))
	if err != nil || len(raw) != 66 {
		t.Fatalf("token of %d bytes, %v", len(raw), err)
	}
	return raw
}

func macOf(t *testing.T, token string) string { return hex.EncodeToString(rawOf(t, token)[50:]) }

// TestFormatsSecondImplementation has the Python implementation compute the example.
func TestFormatsSecondImplementation(t *testing.T) {
	python := needs.Python(t, "cryptography")
	cmd := exec.Command(python, "testdata/formats.py", "docs/formats.md")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
