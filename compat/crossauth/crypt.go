package crossauth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

func rawURL(b []byte) string { return py.RawURL.EncodeToString(b) }

// Defaults and bounds of password hashes. The bounds keep a stored hash from
// stopping the program.
const (
	DefaultIterations = 600_000 // PBKDF2_ITERATIONS
	MaxIterations     = 10_000_000
	DefaultKeyLength  = 32 // PBKDF2_KEYLENGTH, in bytes
	MaxKeyLength      = 1024
)

// PasswordHash is the stored form of a password:
// pbkdf2:DIGEST:KEYLENGTH:ITERATIONS:PEPPERED:SALT:HASH, the hash in URL-safe base64
// with padding. The salt's text is the salt.
type PasswordHash struct {
	Digest     string // sha1, sha224, sha256, sha384 or sha512
	KeyLength  int    // in bytes
	Iterations int
	// Peppered is the flag of that name. No hash of the original is: the option is
	// misspelled there, so that the flag changes nothing.
	Peppered bool
	Salt     string
	Hash     string
}

func digest(name string) func() hash.Hash {
	switch name {
	case "sha1":
		return sha1.New
	case "sha224":
		return sha256.New224
	case "sha256":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	}
	return nil
}

// MinIterations is the fewest that a new hash has: OWASP's advice for PBKDF2 with
// SHA-512 of 2023. Hashes that are there may have fewer.
const MinIterations = 210_000

// PasswordOptions are how passwords are hashed; what is zero is the default.
type PasswordOptions struct {
	Digest     string // sha256 by default; see PasswordHash
	Iterations int    // DefaultIterations, from MinIterations to MaxIterations
	KeyLength  int    // DefaultKeyLength, from 16 to MaxKeyLength bytes
	SaltLength int    // SaltLength, from 16 to 1024 bytes

	// DangerouslyFewIterations accepts any number of iterations.
	DangerouslyFewIterations bool
}

// checked returns o with its defaults filled in.
func (o PasswordOptions) checked() (PasswordOptions, error) {
	if o.Digest == "" {
		o.Digest = "sha256"
	}
	for _, d := range []struct {
		value     *int
		otherwise int
	}{{&o.Iterations, DefaultIterations}, {&o.KeyLength, DefaultKeyLength}, {&o.SaltLength, SaltLength}} {
		if *d.value == 0 {
			*d.value = d.otherwise
		}
	}
	var problems []string
	if digest(o.Digest) == nil {
		problems = append(problems, fmt.Sprintf("the digest is %.20q; use sha1, sha224, sha256, sha384 or sha512", o.Digest))
	}
	least := MinIterations
	if o.DangerouslyFewIterations {
		least = 1
	}
	for _, n := range []struct {
		what               string
		value, least, most int
	}{{"iterations", o.Iterations, least, MaxIterations}, {"bytes of the hash", o.KeyLength, 16, MaxKeyLength}, {"bytes of salt", o.SaltLength, 16, 1024}} {
		if n.value < n.least || n.value > n.most {
			problems = append(problems, fmt.Sprintf("%d %s; use %d to %d", n.value, n.what, n.least, n.most))
		}
	}
	if len(problems) > 0 {
		return o, newError(Configuration, strings.Join(problems, "; "))
	}
	return o, nil
}

// Hash hashes a password with a random salt. An option out of range is an error of
// code Configuration.
func (o PasswordOptions) Hash(random io.Reader, password string) (PasswordHash, error) {
	o, err := o.checked()
	if err != nil {
		return PasswordHash{}, err
	}
	salt, err := RandomValue(random, o.SaltLength)
	if err != nil {
		return PasswordHash{}, err
	}
	h := PasswordHash{Digest: o.Digest, KeyLength: o.KeyLength, Iterations: o.Iterations, Salt: salt}
	h.Hash, err = h.derive(password)
	return h, err
}

// HashPassword hashes a password with the defaults and a random salt.
func HashPassword(random io.Reader, password string) (PasswordHash, error) {
	return PasswordOptions{}.Hash(random, password)
}

// String returns the text form.
func (h PasswordHash) String() string {
	peppered := "0"
	if h.Peppered {
		peppered = "1"
	}
	return strings.Join([]string{"pbkdf2", h.Digest, strconv.Itoa(h.KeyLength), strconv.Itoa(h.Iterations), peppered, h.Salt, h.Hash}, ":")
}

// ParsePasswordHash reads the text form. The error is of code InvalidHash or
// UnsupportedAlgorithm.
func ParsePasswordHash(text string) (h PasswordHash, err error) {
	parts := strings.SplitN(text, ":", 8)
	if len(parts) != 7 {
		return h, newError(InvalidHash, "")
	}
	if parts[0] != "pbkdf2" || digest(parts[1]) == nil {
		return h, newError(UnsupportedAlgorithm, "")
	}
	keyLength, err1 := strconv.Atoi(parts[2])
	iterations, err2 := strconv.Atoi(parts[3])
	h = PasswordHash{parts[1], keyLength, iterations, parts[4] != "0", parts[5], parts[6]}
	if err1 != nil || err2 != nil || !h.bounded() {
		return PasswordHash{}, newError(InvalidHash, "")
	}
	return h, nil
}

func (h *PasswordHash) bounded() bool {
	return h.KeyLength > 0 && h.KeyLength <= MaxKeyLength && h.Iterations > 0 && h.Iterations <= MaxIterations && digest(h.Digest) != nil
}

func (h *PasswordHash) derive(password string) (string, error) {
	if !h.bounded() {
		return "", newError(InvalidHash, "")
	}
	key, err := pbkdf2.Key(digest(h.Digest), password, []byte(h.Salt), h.Iterations, h.KeyLength)
	if err != nil {
		return "", fmt.Errorf("crossauth: password: %w", err)
	}
	return base64.URLEncoding.EncodeToString(key), nil
}

// Matches reports whether h is the hash of password, in the time of its iterations.
func (h *PasswordHash) Matches(password string) bool {
	got, err := h.derive(password)
	return err == nil && hmac.Equal([]byte(got), []byte(h.Hash))
}

// SymmetricKey is a key of AES-256 in URL-safe base64, 43 characters.
type SymmetricKey struct{ block cipher.Block }

// NewSymmetricKey reads a key, which must be 32 bytes. The error is of code InvalidKey.
func NewSymmetricKey(text string) (*SymmetricKey, error) {
	key, err := strictBase64(strings.TrimRight(text, "="))
	if err != nil || len(key) != 32 {
		return nil, newError(InvalidKey, "")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, newError(InvalidKey, "")
	}
	return &SymmetricKey{block}, nil
}

// Encrypt returns IV and ciphertext of AES-256-CBC with PKCS #7 padding, each in
// URL-safe base64, with a dot between.
//
// There is no authentication: whoever can change the text can change what it
// decrypts to, and whoever is told which changes decrypt can read it. Store it where
// only the program writes, and tell nobody why decryption failed.
func (k *SymmetricKey) Encrypt(random io.Reader, plaintext string) (string, error) {
	iv, err := draw(random, aes.BlockSize)
	if err != nil {
		return "", err
	}
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	b := append(make([]byte, 0, len(plaintext)+pad), plaintext...)
	for range pad {
		b = append(b, byte(pad))
	}
	cipher.NewCBCEncrypter(k.block, iv).CryptBlocks(b, b)
	return rawURL(iv) + "." + rawURL(b), nil
}

// Decrypt returns what [SymmetricKey.Encrypt] encrypted. The one error, of code
// InvalidHash, does not tell what is wrong.
func (k *SymmetricKey) Decrypt(text string) (string, error) {
	fail := newError(InvalidHash, "Not AES-256-CBC ciphertext")
	left, right, ok := strings.Cut(text, ".")
	if !ok {
		return "", fail
	}
	iv, err1 := strictBase64(left)
	b, err2 := strictBase64(right)
	if err1 != nil || err2 != nil || len(iv) != aes.BlockSize || len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return "", fail
	}
	cipher.NewCBCDecrypter(k.block, iv).CryptBlocks(b, b)
	pad := int(b[len(b)-1])
	if pad == 0 || pad > aes.BlockSize {
		return "", fail
	}
	for _, c := range b[len(b)-pad:] {
		if int(c) != pad {
			return "", fail
		}
	}
	if b = b[:len(b)-pad]; !utf8.Valid(b) {
		return "", fail
	}
	return string(b), nil
}
