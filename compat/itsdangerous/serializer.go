package itsdangerous

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/internal/py"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Untimed makes and reads tokens without a time: they never expire. It is safe for
// concurrent use.
type Untimed struct{ s serializer }

// Timed makes and reads tokens that hold the second they were signed at. It is safe
// for concurrent use.
type Timed struct{ s serializer }

// NewUntimed checks c and returns its serializer. The error lists every problem.
func NewUntimed(c Config) (*Untimed, error) {
	s, err := newSerializer(c)
	if err != nil {
		return nil, err
	}
	return &Untimed{s}, nil
}

// NewTimed checks c and returns its serializer. The error lists every problem.
func NewTimed(c Config) (*Timed, error) {
	s, err := newSerializer(c)
	if err != nil {
		return nil, err
	}
	return &Timed{s}, nil
}

// WithSalt returns a serializer of another namespace and otherwise the same: the
// salt argument of the original's dumps and loads. Keep it; deriving keys is not free.
func (u *Untimed) WithSalt(salt string) *Untimed { return &Untimed{u.s.withSalt(salt)} }

// WithSalt returns a serializer of another namespace and otherwise the same: the
// salt argument of the original's dumps and loads. Keep it; deriving keys is not free.
func (t *Timed) WithSalt(salt string) *Timed { return &Timed{t.s.withSalt(salt)} }

// serializer is what both kinds are made of.
type serializer struct {
	config  Config
	keys    keys
	buffers *buffers // shared by the serializers that WithSalt makes
}

func newSerializer(c Config) (serializer, error) {
	c, err := c.checked()
	if err != nil {
		return serializer{}, err
	}
	return serializer{c, newKeys(&c), newBuffers()}, nil
}

func (s *serializer) withSalt(salt string) serializer {
	c := s.config
	c.Salt = salt
	return serializer{c, newKeys(&c), s.buffers}
}

// Dumps returns the token of v, which may be whatever [pyjson.Append] takes.
func (u *Untimed) Dumps(v any) (string, error) {
	doc, err := pyjson.Marshal(pyjson.Compact, v)
	if err != nil {
		return "", err
	}
	return u.s.finish(u.s.buffers.append(nil, doc)), nil
}

// Dumps returns the token of v, which may be whatever [pyjson.Append] takes, signed
// now. Years before 1970 are refused.
func (t *Timed) Dumps(v any) (string, error) {
	doc, err := pyjson.Marshal(pyjson.Compact, v)
	if err != nil {
		return "", err
	}
	now := t.s.config.Now().Unix()
	if now < 0 { // the original's format has no sign
		return "", errors.New("itsdangerous: a time before 1970 cannot be signed")
	}
	return t.s.finish(appendTimestamp(append(t.s.buffers.append(nil, doc), t.s.config.Separator...), now)), nil
}

// finish signs what was written so far.
func (s *serializer) finish(signed []byte) string {
	return string(s.keys[0].sign(append(signed, s.config.Separator...), signed))
}

// appendTimestamp writes seconds without leading zero bytes; 0 is no byte at all.
func appendTimestamp(dst []byte, seconds int64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(seconds))
	i := 0
	for i < len(b) && b[i] == 0 {
		i++
	}
	return py.RawURL.AppendEncode(dst, b[i:])
}

// parseTimestamp reads what appendTimestamp writes, and only that.
func parseTimestamp(text string) (int64, bool) {
	if len(text) > 11 || !py.IsAlphabet(text) {
		return 0, false
	}
	var in [11]byte
	var b [8]byte
	n, err := py.RawURL.Decode(b[:], in[:copy(in[:], text)])
	if err != nil || n > 0 && b[0] == 0 {
		return 0, false
	}
	var v uint64
	for _, c := range b[:n] {
		v = v<<8 | uint64(c)
	}
	return int64(v), v <= lastSecond
}

// lastSecond is the end of the year 9999, beyond which Python has no dates.
const lastSecond = 253402300799

// Unchecked as a max age means that tokens of any age pass, those of the future
// included.
const Unchecked time.Duration = math.MinInt64

// Loads checks a token and returns its payload as [pyjson.Parse] does. Errors are
// *Error.
func (u *Untimed) Loads(token string) (any, error) {
	doc, err := u.open(nil, token)
	if err != nil {
		return nil, err
	}
	return parse(doc)
}

// LoadsJSON checks a token and appends the JSON text of its payload to dst, number
// text and all. Errors are *Error.
func (u *Untimed) LoadsJSON(dst []byte, token string) ([]byte, error) {
	doc, err := u.open(dst, token)
	return checkJSON(dst, doc, err)
}

func (u *Untimed) open(dst []byte, token string) ([]byte, error) {
	body, err := u.s.verified(token)
	if err != nil {
		return dst, err
	}
	return u.s.buffers.read(dst, body, &u.s.config)
}

// Loads checks a token that must not be older than maxAge and returns its payload
// as [pyjson.Parse] does, with the time of signing. Ages are whole seconds: a token
// passes while its age is at most maxAge, and never when it is of the future. There
// is no leeway for clocks that differ. Errors are *Error.
func (t *Timed) Loads(token string, maxAge time.Duration) (any, time.Time, error) {
	doc, signed, err := t.open(nil, token, maxAge)
	if err != nil {
		return nil, signed, err
	}
	v, err := parse(doc)
	return v, signed, err
}

// LoadsJSON is [Timed.Loads] that appends the JSON text of the payload to dst,
// number text and all. With room in dst an uncompressed token costs no allocation.
func (t *Timed) LoadsJSON(dst []byte, token string, maxAge time.Duration) ([]byte, time.Time, error) {
	doc, signed, err := t.open(dst, token, maxAge)
	doc, err = checkJSON(dst, doc, err)
	return doc, signed, err
}

// LoadsString is [Timed.Loads] for payloads that must be a string.
func (t *Timed) LoadsString(token string, maxAge time.Duration) (string, time.Time, error) {
	v, signed, err := t.Loads(token, maxAge)
	if err != nil {
		return "", signed, err
	}
	s, ok := v.(string)
	if !ok {
		return "", signed, bad(ErrBadPayload, "not a string")
	}
	return s, signed, nil
}

// DangerouslyLoadsUnverified returns the payload of a token whatever its signature
// and age, and whether it is valid: the original's loads_unsafe. The payload is nil
// when it cannot be read. It is for looking at tokens, never for trusting them.
func (t *Timed) DangerouslyLoadsUnverified(token string, maxAge time.Duration) (payload any, valid bool) {
	v, _, err := t.Loads(token, maxAge)
	if err == nil {
		return v, true
	}
	body, _, ok := t.s.cut(token)
	if before, _, timed := t.s.cut(body); timed {
		body = before
	}
	return t.s.unverified(token, body, ok, err), false
}

// DangerouslyLoadsUnverified returns the payload of a token whatever its signature,
// and whether it is valid. It is for looking at tokens, never for trusting them.
func (u *Untimed) DangerouslyLoadsUnverified(token string) (payload any, valid bool) {
	v, err := u.Loads(token)
	if err == nil {
		return v, true
	}
	body, _, ok := u.s.cut(token)
	return u.s.unverified(token, body, ok, err), false
}

func (s *serializer) unverified(token, payload string, separated bool, err error) any {
	if !separated || len(token) > s.config.MaxToken || !errors.Is(err, ErrBadSignature) {
		return nil
	}
	doc, err := s.buffers.read(nil, payload, &s.config)
	if err != nil {
		return nil
	}
	v, _ := parse(doc)
	return v
}

func (t *Timed) open(dst []byte, token string, maxAge time.Duration) ([]byte, time.Time, error) {
	body, err := t.s.verified(token)
	if err != nil {
		return dst, time.Time{}, t.dated(token, err)
	}
	payload, stamp, ok := t.s.cut(body)
	if !ok {
		return dst, time.Time{}, bad(ErrBadTimeSignature, "timestamp missing")
	}
	seconds, ok := parseTimestamp(stamp)
	if !ok {
		return dst, time.Time{}, bad(ErrBadTimeSignature, "malformed timestamp")
	}
	signed := time.Unix(seconds, 0).UTC()
	// The original compares whole seconds, so a fraction of maxAge is cut, and age 0
	// is valid under a maximum of 0.
	if maxAge != Unchecked {
		age := t.s.config.Now().Unix() - seconds
		if maxAge < 0 || age > int64(maxAge/time.Second) {
			return dst, signed, &Error{ErrSignatureExpired, "older than the maximum age", signed}
		}
		if age < 0 {
			return dst, signed, &Error{ErrSignatureExpired, "signed in the future", signed}
		}
	}
	doc, err := t.s.buffers.read(dst, payload, &t.s.config)
	return doc, signed, err
}

// dated makes the error of a bad signature one of a bad time signature when the
// token looks like a timed one, as the original does.
func (t *Timed) dated(token string, err error) error {
	body, _, _ := t.s.cut(token)
	_, stamp, ok := t.s.cut(body)
	if !ok || len(token) > t.s.config.MaxToken {
		return err
	}
	e := &Error{Class: ErrBadTimeSignature, Detail: "signature does not match"}
	if seconds, ok := parseTimestamp(stamp); ok {
		e.DateSigned = time.Unix(seconds, 0).UTC()
	}
	return e
}

// verified returns what stands before the signature of a token, once that is checked.
func (s *serializer) verified(token string) (string, error) {
	if len(token) > s.config.MaxToken {
		return "", bad(ErrBadSignature, "the token is too long")
	}
	body, signature, ok := s.cut(token)
	if !ok {
		return "", bad(ErrBadSignature, "no separator")
	}
	if !s.keys.verify(body, signature) {
		return "", bad(ErrBadSignature, "signature does not match")
	}
	return body, nil
}

// cut splits text at its last separator.
func (s *serializer) cut(text string) (before, after string, ok bool) {
	i := strings.LastIndex(text, s.config.Separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(s.config.Separator):], true
}

func parse(doc []byte) (any, error) {
	v, err := pyjson.Parse(doc)
	if err != nil {
		return nil, bad(ErrBadPayload, "not JSON")
	}
	return v, nil
}

func checkJSON(dst, doc []byte, err error) ([]byte, error) {
	if err != nil {
		return dst, err
	}
	if pyjson.Check(doc[len(dst):]) != nil {
		return dst, bad(ErrBadPayload, "not JSON")
	}
	return doc, nil
}
