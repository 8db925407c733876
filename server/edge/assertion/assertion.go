package assertion

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// MaxLifetime is the longest life of a token.
const MaxLifetime = time.Minute

// Config configures a Signer. Keys and Issuer are required. It is checked once, by New.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Keys is the Manager's keyring; the signing keys follow from it.
	Keys *keyring.Ring
	// Issuer is the iss claim: the daemon's public URL.
	Issuer string
	// Algorithm is ES256 unless set.
	Algorithm Algorithm
	// Lifetime is how long a token is good for, in whole seconds: MaxLifetime unless
	// set, and never more.
	Lifetime time.Duration
	// Entries bounds the tokens kept for reuse: 32,768 unless set, of about 700 bytes.
	Entries int
}

const defaultEntries = 32 << 10

// Signer signs assertions. It is safe for concurrent use, starts no goroutine and
// needs no closing.
type Signer struct {
	cfg    Config
	cache  *cache
	mu     sync.Mutex // held while keys are derived
	set    atomic.Pointer[keySet]
	signed atomic.Uint64
	reused atomic.Uint64
}

// New checks cfg and derives the keys. The error lists every problem.
func New(cfg Config) (*Signer, error) {
	var problems []latchkey.FieldError
	add := func(field, format string, args ...any) {
		problems = append(problems, latchkey.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	if cfg.Keys == nil {
		add("Keys", "is required")
	}
	if cfg.Issuer == "" {
		add("Issuer", "is required")
	}
	switch cfg.Algorithm {
	case "":
		cfg.Algorithm = ES256
	case ES256, EdDSA:
	default:
		add("Algorithm", "%.40q is none of ES256, EdDSA", string(cfg.Algorithm))
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = MaxLifetime
	}
	if cfg.Lifetime < 2*time.Second || cfg.Lifetime > MaxLifetime || cfg.Lifetime%time.Second != 0 {
		add("Lifetime", "%v is not a number of whole seconds from 2 to 60", cfg.Lifetime)
	}
	if cfg.Entries < 0 {
		add("Entries", "%d is negative", cfg.Entries)
	}
	if len(problems) > 0 {
		return nil, &latchkey.Error{Code: latchkey.CodeInvalidRequest, Message: "assertion: configuration", Fields: problems}
	}
	if cfg.Entries == 0 {
		cfg.Entries = defaultEntries
	}
	s := &Signer{cfg: cfg, cache: newCache(cfg.Entries)}
	_, err := s.keys(time.Now())
	return s, err
}

// keys returns the signing keys of the keyring as it is.
func (s *Signer) keys(now time.Time) (*keySet, error) {
	version := s.cfg.Keys.Version()
	if set := s.set.Load(); set != nil && set.version == version {
		return set, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.set.Load(); set != nil && set.version == version {
		return set, nil
	}
	set, err := newKeySet(s.cfg.Keys, s.cfg.Algorithm, now)
	if err != nil {
		return nil, latchkey.NewError(latchkey.CodeInternal, "assertion: keys", err)
	}
	s.set.Store(set)
	return set, nil
}

var errNoKey = latchkey.NewError(latchkey.CodeInternal, "assertion: the keyring has no active key", nil)

// active returns the key that signs now. The keyring may change between two looks at
// it, which is worth a second try.
func (s *Signer) active(now time.Time) (*key, error) {
	for range 2 {
		set, err := s.keys(now)
		if err != nil {
			return nil, err
		}
		if id, ok := s.cfg.Keys.Active(now); ok && set.keys[id] != nil {
			return set.keys[id], nil
		}
	}
	return nil, errNoKey
}

// Assertion returns a token for who is signed in, for a service. It is an earlier one
// where that will do, which costs no signature and no allocation.
func (s *Signer) Assertion(session latchkey.Session, audience string, now time.Time) (string, error) {
	k, err := s.active(now)
	if err != nil {
		return "", err
	}
	a := about{session: session.ID(), version: session.Version(), audience: audience, key: k.id}
	at := now.Unix()
	e := s.cache.get(&a)
	if e != nil && at < e.expires && at >= e.expires-int64(s.cfg.Lifetime/time.Second) {
		if at < e.renew || !e.renewing.CompareAndSwap(false, true) {
			s.reused.Add(1)
			return e.token, nil
		}
	}
	token, expires, err := s.sign(k, session, audience, now)
	if err != nil {
		return "", err
	}
	a.audience = s.cache.text(audience)
	s.cache.put(&a, &entry{token: token, renew: at + max((expires-at)/2, 1), expires: expires})
	s.signed.Add(1)
	return token, nil
}

// claims is what a token says, in the order of names.
type claims struct {
	ACR      string   `json:"acr,omitempty"`
	Audience string   `json:"aud"`
	AuthTime int64    `json:"auth_time,omitempty"`
	Email    string   `json:"email"`
	Expires  int64    `json:"exp"`
	Issued   int64    `json:"iat"`
	Issuer   string   `json:"iss"`
	ID       string   `json:"jti"`
	Name     string   `json:"name"`
	Provider string   `json:"provider"`
	Roles    []string `json:"roles"`
	SID      string   `json:"sid"`
	Subject  string   `json:"sub"`
}

// sign makes a new token. It does not outlive the session.
func (s *Signer) sign(k *key, session latchkey.Session, audience string, now time.Time) (token string, expires int64, err error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", 0, err
	}
	issued := now.Unix()
	expires = issued + int64(s.cfg.Lifetime/time.Second)
	if limit := session.ExpiresAt(); !limit.IsZero() {
		expires = min(expires, max(limit.Unix(), issued+1))
	}
	c := claims{ACR: session.Assurance(), Audience: audience, Email: session.Email(), Expires: expires, Issued: issued, Issuer: s.cfg.Issuer,
		ID: encode(id[:]), Name: session.Name(), Provider: session.Provider(), Roles: session.Roles(), SID: session.ID().String(), Subject: session.Subject()}
	if c.Roles == nil {
		c.Roles = []string{}
	}
	if t := session.AuthTime(); !t.IsZero() {
		c.AuthTime = t.Unix()
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", 0, latchkey.NewError(latchkey.CodeInternal, "assertion: claims", err)
	}
	if token, err = k.sign(body); err != nil {
		return "", 0, latchkey.NewError(latchkey.CodeInternal, "assertion: signature", err)
	}
	return token, expires, nil
}

// keySetAge is how long a service may keep the key set, in seconds. It is less than
// the time that a new key waits before it signs, by default ten minutes.
const keySetAge = 300

// KeySet serves the public keys as a JWK Set (RFC 7517 §5), for as long as the
// keyring accepts theirs.
func (s *Signer) KeySet() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		set, err := s.keys(time.Now())
		if err != nil {
			latchkey.WriteProblem(w, r, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/jwk-set+json")
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(keySetAge))
		h.Set("Content-Length", strconv.Itoa(len(set.json)))
		_, _ = w.Write(set.json) // the client may be gone
	})
}

// Stats are totals since New.
type Stats struct {
	Signed  uint64 // tokens signed
	Reused  uint64 // requests that an earlier token served
	Entries int    // tokens kept
}

// Stats returns the totals.
func (s *Signer) Stats() Stats {
	return Stats{Signed: s.signed.Load(), Reused: s.reused.Load(), Entries: s.cache.len()}
}
