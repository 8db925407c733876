package itsdangerous

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// Salts that the original uses when none is given. A salt is a namespace: it keeps
// tokens of one purpose from passing as those of another. It is no secret.
const (
	DefaultSalt       = "itsdangerous"        // of the serializers
	DefaultSignerSalt = "itsdangerous.Signer" // of a serializer made with salt=None
)

// DefaultSeparator stands between the parts of a token.
const DefaultSeparator = "."

// Limits that hold where [Config] leaves them zero.
const (
	// MinSecret is the shortest secret in bytes.
	MinSecret = 32
	// DefaultMaxToken is the longest token in bytes.
	DefaultMaxToken = 64 << 10
	// DefaultMaxExpanded is what a compressed payload may expand to, in bytes.
	DefaultMaxExpanded = 1 << 20
)

// Digest is the hash function of a signer, for the derivation of its key and its HMAC.
type Digest uint8

// The digests. SHA1 is the original's default; HMAC-SHA1 is not known to be broken.
const (
	SHA1 Digest = iota
	SHA256
	SHA384
	SHA512
)

func (d Digest) new() func() hash.Hash {
	switch d {
	case SHA256:
		return sha256.New
	case SHA384:
		return sha512.New384
	case SHA512:
		return sha512.New
	}
	return sha1.New
}

// KeyDerivation is how a signer makes its key of secret and salt.
type KeyDerivation uint8

// The derivations, by the original's names django-concat (its default), concat,
// hmac and none. NoDerivation ignores the salt: tokens of all purposes pass as one
// another's.
const (
	DjangoConcat KeyDerivation = iota // digest(salt + "signer" + secret)
	Concat                            // digest(salt + secret)
	HMAC                              // HMAC(digest, key = secret, salt)
	NoDerivation                      // the secret itself
)

// Signer is how tokens are signed. The zero value is the original's default.
type Signer struct {
	Digest        Digest
	KeyDerivation KeyDerivation
}

func (s Signer) valid() bool { return s.Digest <= SHA512 && s.KeyDerivation <= NoDerivation }

// derive returns the key for one secret.
func (s Signer) derive(secret, salt string) []byte {
	h := s.Digest.new()()
	switch s.KeyDerivation {
	case DjangoConcat:
		h.Write([]byte(salt + "signer" + secret))
	case Concat:
		h.Write([]byte(salt + secret))
	case HMAC:
		h = hmac.New(s.Digest.new(), []byte(secret))
		h.Write([]byte(salt))
	case NoDerivation:
		return []byte(secret)
	}
	return h.Sum(nil)
}

// Config describes a serializer. Secrets is required; the zero value of the rest is
// the original's default, bounded.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Secrets is the list of keys, oldest first. The last one signs; all of them are
	// accepted, newest first. Each is at least MinSecret bytes long.
	Secrets []string
	// Salt is the namespace, DefaultSalt when empty.
	Salt string
	// Signer signs, and is tried first when reading.
	Signer Signer
	// Fallbacks are tried after Signer, each with every secret: for tokens signed
	// before Signer was changed.
	Fallbacks []Signer
	// Separator stands between the parts of a token, DefaultSeparator when empty. It has
	// no character of URL-safe base64 and no "=".
	Separator string
	// MaxToken is the longest token that is read, in bytes.
	MaxToken int
	// MaxExpanded is the most that a compressed payload may expand to, in bytes.
	MaxExpanded int
	// Now is the clock, time.Now when nil.
	Now func() time.Time

	// DangerouslyShortSecrets accepts secrets shorter than MinSecret bytes, which
	// can be guessed by whoever holds one token.
	DangerouslyShortSecrets bool
	// DangerouslyEmptySalt makes an empty Salt mean the empty salt.
	DangerouslyEmptySalt bool
	// DangerouslyTrailingBytes ignores bytes after the zlib stream of a payload, as the
	// original does. A payload then has any number of spellings.
	DangerouslyTrailingBytes bool
}

// checked returns c with its defaults filled in, or every problem of it.
func (c Config) checked() (Config, error) {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("itsdangerous: "+format, args...))
	}
	if len(c.Secrets) == 0 {
		problem("Secrets is empty; give at least one secret")
	}
	for i, s := range c.Secrets {
		if len(s) < MinSecret && !c.DangerouslyShortSecrets {
			problem("Secrets[%d] has %d bytes; use at least %d", i, len(s), MinSecret)
		}
	}
	for i, s := range append([]Signer{c.Signer}, c.Fallbacks...) {
		if !s.valid() {
			problem("signer %d has an unknown Digest or KeyDerivation", i)
		}
	}
	if c.MaxToken < 0 || c.MaxExpanded < 0 {
		problem("MaxToken and MaxExpanded must not be negative")
	}
	if c.Salt == "" && !c.DangerouslyEmptySalt {
		c.Salt = DefaultSalt
	}
	if c.Separator == "" {
		c.Separator = DefaultSeparator
	}
	if strings.ContainsFunc(c.Separator, func(r rune) bool { return r == '=' || r < 0x80 && py.IsAlphabet(string(r)) }) {
		problem("Separator is %.20q; use none of A-Z a-z 0-9 - _ =", c.Separator)
	}
	if c.MaxToken == 0 {
		c.MaxToken = DefaultMaxToken
	}
	if c.MaxExpanded == 0 {
		c.MaxExpanded = DefaultMaxExpanded
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Secrets, c.Fallbacks = slices.Clone(c.Secrets), slices.Clone(c.Fallbacks)
	return c, errors.Join(problems...)
}
