package apicrud

import (
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// DefaultTTL is redis_ttl, how long a session lasts unless it is told otherwise.
const DefaultTTL = 20 * time.Minute

// Key returns the Redis key of a session: the uid (or key id) and the last three
// characters of the token. Sessions of one uid whose tokens end alike share a key.
func Key(uid, token string) string {
	i := len(token)
	for range 3 {
		_, n := utf8.DecodeLastRuneInString(token[:i])
		i -= n
	}
	return "ses:" + uid + ":" + token[i:]
}

// Session is what a session's value holds.
type Session struct {
	Roles  []string // joined with colons in the text
	Exp    string   // Unix seconds in text; see [Exp]
	Issuer string
	Token  string // jti
	UID    string // sub
	// Extra is members behind these; one of the same name replaces the value.
	Extra pyjson.Object
}

// Exp returns the expiry text for a session that starts at now. The original's is off
// by the host's offset from UTC.
func Exp(now time.Time, ttl time.Duration) string {
	return strconv.FormatInt(now.Add(ttl).Unix(), 10)
}

// Object returns the session's content in the original's order: what is encrypted,
// and what the JWT claims.
func (s *Session) Object() pyjson.Object {
	o := pyjson.Object{{Name: "auth", Value: strings.Join(s.Roles, ":")}, {Name: "exp", Value: s.Exp},
		{Name: "iss", Value: s.Issuer}, {Name: "jti", Value: s.Token}, {Name: "sub", Value: s.UID}}
	for _, m := range s.Extra {
		o = o.Set(m.Name, m.Value)
	}
	return o
}

// ParseSession reads what [Session.Object] wrote: auth, exp, iss, jti and sub, each a
// text and each there, whatever their order, and further members. The error is ErrInvalid.
func ParseSession(content pyjson.Object) (Session, error) {
	var s Session
	var auth string
	into := map[string]*string{"auth": &auth, "exp": &s.Exp, "iss": &s.Issuer, "jti": &s.Token, "sub": &s.UID}
	for _, m := range content {
		field, known := into[m.Name]
		if !known {
			s.Extra = append(s.Extra, m)
			continue
		}
		text, ok := m.Value.(string)
		if !ok {
			return Session{}, ErrInvalid
		}
		*field = text
		delete(into, m.Name) // a name stands once in what is parsed, and twice nowhere
	}
	if len(into) > 0 {
		return Session{}, ErrInvalid
	}
	if auth != "" {
		s.Roles = strings.Split(auth, ":")
	}
	return s, nil
}

// HasRole reports whether the session has a role.
func (s *Session) HasRole(role string) bool { return slices.Contains(s.Roles, role) }

// Expires returns the time that Exp names, false when it is no number. Python hosts
// whose time zone is not UTC write it off by their offset, so nothing is judged by it:
// the session ends with its key in Redis.
func (s *Session) Expires() (time.Time, bool) {
	seconds, err := strconv.ParseInt(s.Exp, 10, 64)
	return time.Unix(seconds, 0).UTC(), err == nil
}

// Seal returns the Redis value of a session's content.
func (c *Cipher) Seal(content pyjson.Object) (string, error) {
	text, err := pyjson.Marshal(pyjson.Default, content)
	if err != nil {
		return "", err
	}
	return c.Encrypt(string(text))
}

// Open returns the content of a Redis value when it is the session of token. The
// error is ErrInvalid.
func (c *Cipher) Open(value, token string) (pyjson.Object, error) {
	text, err := c.Decrypt(value)
	if err != nil {
		return nil, err
	}
	content, err := pyjson.ParseObject([]byte(text))
	if err != nil {
		return nil, ErrInvalid
	}
	jti, ok := content.Text("jti")
	if !ok || subtle.ConstantTimeCompare([]byte(jti), []byte(token)) != 1 {
		return nil, ErrInvalid
	}
	return content, nil
}

// alphabet is that of identifiers, in ASCII order.
const alphabet = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

// NewID returns prefix and an identifier of length characters: three that tell the
// day (from 2019 to 2107) and random ones. A session's token has 8 and no prefix, a
// lock's signature 8 and "x-"; of 8 only 33 bits are random, so ask for [TokenLength]
// where others' programs allow it. Give it crypto/rand.Reader.
func NewID(random io.Reader, now time.Time, length int, prefix string) (string, error) {
	if length < 4 || length > 256 {
		return "", fmt.Errorf("apicrud: an identifier of %d characters; ask for 4 to 256", length)
	}
	b := make([]byte, length-2)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("apicrud: randomness: %w", err)
	}
	days := int64(now.Sub(time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)) / (24 * time.Hour))
	id := []byte(prefix)
	// The first random byte is the low three bits of the day's number.
	for shift, n := 12, days*8+int64(b[0]%8); shift >= 0; shift -= 6 {
		id = append(id, alphabet[n>>shift&63])
	}
	for _, r := range b[1:] {
		id = append(id, alphabet[r%64])
	}
	return string(id), nil
}

// TokenLength is a length of identifiers that leaves more than 128 bits random.
const TokenLength = 26
