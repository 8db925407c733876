package apicrud

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/internal/py"
)

// MinSecret is the shortest passphrase in bytes. Its hash is the key, without
// stretching.
const MinSecret = 32

// DefaultMaxValue is the longest value that is decrypted, in bytes.
const DefaultMaxValue = 1 << 20

// ErrInvalid is what a value or token that does not hold is refused with. It does not
// tell why.
var ErrInvalid = errors.New("apicrud: not valid")

// ErrUnaligned is what text is refused with that has characters beyond ASCII: padding
// counts characters, so the original cannot encrypt it either, but by chance.
var ErrUnaligned = errors.New("apicrud: only ASCII text can be encrypted")

// Config describes the encryption of values. Secret is required.
type Config struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Secret is redis_aes_secret, at least MinSecret bytes.
	Secret string
	// Random is the source of IVs, crypto/rand when nil.
	Random io.Reader
	// MaxValue is the longest value that is decrypted, DefaultMaxValue when zero.
	MaxValue int

	// DangerouslyShortSecret accepts a passphrase of any length; the original's own
	// default has 17 characters and is public.
	DangerouslyShortSecret bool
	// DangerouslyAsOriginal believes the last byte about the padding and reads
	// base64 as Python does.
	DangerouslyAsOriginal bool
}

// Cipher encrypts and decrypts values. It is safe for concurrent use.
type Cipher struct {
	config Config
	block  cipher.Block
}

// NewCipher checks c. The error lists every problem.
func NewCipher(c Config) (*Cipher, error) {
	var problems []error
	if len(c.Secret) < MinSecret && !c.DangerouslyShortSecret {
		problems = append(problems, fmt.Errorf("apicrud: Secret has %d bytes; use at least %d", len(c.Secret), MinSecret))
	}
	if c.MaxValue < 0 {
		problems = append(problems, errors.New("apicrud: MaxValue must not be negative"))
	}
	if c.MaxValue == 0 {
		c.MaxValue = DefaultMaxValue
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	key := sha256.Sum256([]byte(c.Secret))
	block, err := aes.NewCipher(key[:])
	if err = errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	return &Cipher{c, block}, nil
}

// MaxValue is the longest value that is decrypted, in bytes.
func (c *Cipher) MaxValue() int { return c.config.MaxValue }

// Encrypt returns the value of text under a fresh IV. The error is ErrUnaligned, or
// of the source of randomness.
func (c *Cipher) Encrypt(text string) (string, error) {
	iv := make([]byte, aes.BlockSize)
	if _, err := io.ReadFull(c.config.Random, iv); err != nil {
		return "", fmt.Errorf("apicrud: randomness: %w", err)
	}
	return c.EncryptWith(iv, text)
}

// EncryptWith is [Cipher.Encrypt] with an IV that is given, 16 bytes that must not
// be used twice.
func (c *Cipher) EncryptWith(iv []byte, text string) (string, error) {
	if len(iv) != aes.BlockSize {
		return "", fmt.Errorf("apicrud: the IV has %d bytes, not %d", len(iv), aes.BlockSize)
	}
	pad := aes.BlockSize - utf8.RuneCountInString(text)%aes.BlockSize
	b := append(make([]byte, 0, len(iv)+len(text)+pad), iv...)
	b = append(append(b, text...), strings.Repeat(string(rune(pad)), pad)...)
	if len(b)%aes.BlockSize != 0 {
		return "", ErrUnaligned
	}
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(b[aes.BlockSize:], b[aes.BlockSize:])
	return base64.StdEncoding.EncodeToString(b), nil
}

// Decrypt returns the text of a value. The error is ErrInvalid. A wrong passphrase
// mostly shows in the padding, but not always: the text must be checked too, and
// nothing tells that it was not changed.
func (c *Cipher) Decrypt(value string) (string, error) {
	if len(value) > c.config.MaxValue {
		return "", ErrInvalid
	}
	var b []byte
	var err error
	if c.config.DangerouslyAsOriginal {
		b, err = py.LenientBase64(value)
	} else if b, err = base64.StdEncoding.Strict().DecodeString(value); strings.ContainsAny(value, "\r\n") {
		return "", ErrInvalid
	}
	if err != nil || len(b) < 2*aes.BlockSize || len(b)%aes.BlockSize != 0 {
		return "", ErrInvalid
	}
	iv, text := b[:aes.BlockSize], b[aes.BlockSize:]
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(text, text)
	text, ok := c.unpad(text)
	if !ok || !utf8.Valid(text) {
		return "", ErrInvalid
	}
	return string(text), nil
}

func (c *Cipher) unpad(text []byte) ([]byte, bool) {
	pad := int(text[len(text)-1])
	if c.config.DangerouslyAsOriginal {
		if pad == 0 || pad > len(text) { // what text[:-pad] is then
			return nil, true
		}
		return text[:len(text)-pad], true
	}
	if pad == 0 || pad > aes.BlockSize {
		return nil, false
	}
	for _, p := range text[len(text)-pad:] {
		if int(p) != pad {
			return nil, false
		}
	}
	return text[:len(text)-pad], true
}
