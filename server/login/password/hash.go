package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/latchkey-go/latchkey"
)

// Bounds of passwords. NIST SP 800-63B-4 asks for fifteen characters where nothing is
// asked for besides.
const (
	MinPassword     = 8    // characters
	AdvisedPassword = 15   // characters
	MaxPassword     = 1024 // bytes
)

// Parameters of new hashes (RFC 9106, 4, the second recommended option).
const (
	memory  = 64 << 10 // KiB
	passes  = 3
	lanes   = 4
	saltLen = 16
	keyLen  = 32
)

// Bounds of hashes that were made elsewhere. A file with greater ones could stop a
// machine.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 16
	maxLanes  = 16
)

// params are what a hash was made with.
type params struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

var base64std = base64.RawStdEncoding.Strict()

// normal is the form in which a password is hashed: two keyboards may send the same
// characters in two ways (SP 800-63B-4, 3.1.1.2).
func normal(password string) []byte { return norm.NFKC.Bytes([]byte(password)) }

// Check says what is wrong with a password that is to be set, or "".
func Check(password string) string {
	switch {
	case !utf8.ValidString(password):
		return "the password is not UTF-8"
	case len(password) > MaxPassword:
		return fmt.Sprintf("the password is longer than %d bytes", MaxPassword)
	case utf8.RuneCountInString(password) < MinPassword:
		return fmt.Sprintf("the password is shorter than %d characters", MinPassword)
	case strings.ContainsFunc(password, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "the password holds control characters"
	}
	return ""
}

// NewHash returns the hash of a password in the usual text form:
// $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH. It takes about a tenth of a second.
func NewHash(password string) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := rand.Read(salt); err != nil {
		return "", latchkey.NewError(latchkey.CodeInternal, "no randomness from the system", err)
	}
	key := argon2.IDKey(normal(password), salt, passes, memory, lanes, keyLen)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes, base64std.EncodeToString(salt), base64std.EncodeToString(key)), nil
}

// parse reads a hash, strictly.
func parse(text string) (p params, ok bool) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, false
	}
	var m, t, l uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &l); n != 3 || err != nil || fmt.Sprintf("m=%d,t=%d,p=%d", m, t, l) != parts[3] {
		return p, false
	}
	salt, err := base64std.DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return p, false
	}
	key, err := base64std.DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > 64 {
		return p, false
	}
	if l < 1 || l > maxLanes || t < 1 || t > maxPasses || m < 8*l || m > maxMemory {
		return p, false
	}
	return params{m, t, uint8(l), salt, key}, true
}

// nobody is what the password of an unknown name is compared with, so that it takes as
// long as that of a known one.
var nobody = params{memory, passes, lanes, make([]byte, saltLen), make([]byte, keyLen)}

// Verifier compares passwords, a few at a time: each takes 64 MiB and much of a
// processor. Make one with NewVerifier.
type Verifier struct {
	slots chan struct{} // those that compare
	queue chan struct{} // those and the ones that wait
}

// waiting is how many may wait for each that compares.
const waiting = 16

// NewVerifier makes a Verifier for as many at a time as there are processors.
func NewVerifier() *Verifier {
	n := max(1, runtime.GOMAXPROCS(0))
	return &Verifier{slots: make(chan struct{}, n), queue: make(chan struct{}, n*(1+waiting))}
}

// Verify reports whether a password is that of a hash. With an empty or unusable hash it
// compares all the same, and the answer is no. The error is of code CodeRateLimited when
// too many wait already, or ctx ended while waiting.
func (v *Verifier) Verify(ctx context.Context, hash, password string) (bool, error) {
	busy := latchkey.NewError(latchkey.CodeRateLimited, "too many people are signing in at once; wait a little", nil)
	select {
	case v.queue <- struct{}{}:
		defer func() { <-v.queue }()
	default:
		return false, busy
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return false, busy
	}
	p, known := parse(hash)
	if !known {
		p = nobody
	}
	if len(password) > MaxPassword {
		password, known = "", false
	}
	key := argon2.IDKey(normal(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(key, p.key) == 1 && known, nil
}
