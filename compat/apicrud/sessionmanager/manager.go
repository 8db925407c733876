package sessionmanager

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/compat/apicrud"
	"github.com/latchkey-go/latchkey/compat/pyjson"
	"github.com/latchkey-go/latchkey/internal/respguard"
)

// NewSession is what Create makes a session of. UID is required.
type NewSession struct {
	// UID is the user, without a colon.
	UID string
	// Roles are the session's, without colons.
	Roles []string
	// KeyID stands in the Redis key in place of UID, as an API key's does.
	KeyID string
	// Token is the session's jti, of MinToken to MaxToken printable ASCII characters;
	// empty has one made. Whoever has the token has the session: one that a client
	// chose is no secret.
	Token string
	// TTL is how long it lives, in whole seconds; Config.TTL when zero.
	TTL time.Duration
	// Extra is further members, none of them auth, exp, iss, jti or sub: the original
	// lets such replace what it was told.
	Extra pyjson.Object
}

// Ref names a session and proves it.
type Ref struct {
	UID   string // the user
	Token string // the session's jti
	KeyID string // where Create had one
}

// reserved are the members of every session.
var reserved = []string{"auth", "exp", "iss", "jti", "sub"}

// tries bounds how often a changed session is read again, and a taken key evaded.
const tries = 64

// Create makes a session. Its content is also what the JWT for the client claims:
// apicrud.JWT.Sign(s.Object()). Errors: ErrExists, only when the token was given or
// the user has very many sessions; ErrUnavailable, when a session that nobody knows
// may have been made, to end by itself; invalid_request.
func (m *Manager) Create(ctx context.Context, n NewSession) (apicrud.Session, error) {
	if n.TTL == 0 {
		n.TTL = m.cfg.TTL
	}
	if err := n.check(); err != nil {
		return apicrud.Session{}, err
	}
	owner := n.UID
	if n.KeyID != "" {
		owner = n.KeyID
	}
	token := n.Token
	for range tries {
		now := m.cfg.Now()
		if n.Token == "" {
			var err error
			if token, err = apicrud.NewID(m.cfg.Random, now, apicrud.TokenLength, ""); err != nil {
				return apicrud.Session{}, latchkey.NewError(latchkey.CodeInternal, "apicrud: no randomness", err)
			}
		}
		s := apicrud.Session{Roles: slices.Clone(n.Roles), Exp: apicrud.Exp(now, n.TTL), Issuer: m.cfg.Issuer, Token: token, UID: n.UID, Extra: slices.Clone(n.Extra)}
		value, err := m.seal(s.Object())
		if err != nil {
			return apicrud.Session{}, err
		}
		var made bool
		err = m.trip(ctx, func(ctx context.Context, c rueidis.Client) error {
			answer := c.Do(ctx, c.B().Set().Key(apicrud.Key(owner, token)).Value(value).Nx().ExSeconds(int64(n.TTL/time.Second)).Build())
			made = !rueidis.IsRedisNil(answer.Error())
			if !made {
				return nil
			}
			text, err := answer.ToString()
			if err == nil && text != "OK" {
				err = respguard.ErrProtocol
			}
			return err
		})
		switch {
		case err != nil:
			return apicrud.Session{}, err
		case made:
			return s, nil
		case n.Token != "":
			return apicrud.Session{}, ErrExists
		}
	}
	return apicrud.Session{}, ErrExists
}

func (n *NewSession) check() error {
	var p problems
	if !named(n.UID) {
		p.add("UID", "needs 1 to %d bytes of UTF-8 without colons and control characters", MaxText)
	}
	if n.KeyID != "" && !named(n.KeyID) {
		p.add("KeyID", "may have up to %d bytes of UTF-8 without colons and control characters", MaxText)
	}
	if slices.ContainsFunc(n.Roles, func(role string) bool { return !named(role) }) {
		p.add("Roles", "a role has 1 to %d bytes of UTF-8 without colons and control characters", MaxText)
	}
	if n.Token != "" && (len(n.Token) < MinToken || !isToken(n.Token)) {
		p.add("Token", "needs %d to %d printable ASCII characters", MinToken, MaxToken)
	}
	checkTTL(&p, n.TTL)
	for i, member := range n.Extra {
		if slices.Contains(reserved, member.Name) {
			p.add("Extra", "must not have a member called %s", member.Name)
		}
		if _, again := n.Extra[:i].Get(member.Name); again {
			p.add("Extra", "has a member twice")
		}
	}
	return p.err()
}

// seal encrypts a content that fits.
func (m *Manager) seal(content pyjson.Object) (string, error) {
	value, err := m.cfg.Cipher.Seal(content)
	switch {
	case errors.Is(err, pyjson.ErrUnwritable):
		var p problems
		p.add("Extra", "holds a value that JSON in Python's style cannot have")
		return "", p.err()
	case err != nil:
		return "", latchkey.NewError(latchkey.CodeInternal, "apicrud: the session could not be encrypted", err)
	case len(value) > m.cfg.Cipher.MaxValue():
		return "", latchkey.NewError(latchkey.CodeDataTooLarge, "apicrud: the session would be larger than "+strconv.Itoa(m.cfg.Cipher.MaxValue())+" bytes", nil)
	}
	return value, nil
}

// Get returns the session that ref names and proves. The error is of code
// invalid_session, or ErrUnavailable.
func (m *Manager) Get(ctx context.Context, ref Ref) (apicrud.Session, error) {
	_, _, s, err := m.read(ctx, ref)
	return s, err
}

// Authenticate is Get by the credentials of a request as the original's clients send
// them: HTTP Basic, the user and in place of a password the token.
func (m *Manager) Authenticate(r *http.Request) (apicrud.Session, error) {
	uid, token, ok := r.BasicAuth()
	if !ok || len(r.Header["Authorization"]) != 1 {
		return apicrud.Session{}, errInvalid
	}
	return m.Get(r.Context(), Ref{UID: uid, Token: token})
}

// read returns the key of a session, its value in Redis, and what is in it.
func (m *Manager) read(ctx context.Context, ref Ref) (key, value string, s apicrud.Session, err error) {
	if !named(ref.UID) || !isToken(ref.Token) || ref.KeyID != "" && !named(ref.KeyID) {
		return "", "", s, errInvalid
	}
	owner := ref.UID
	if ref.KeyID != "" {
		owner = ref.KeyID
	}
	key = apicrud.Key(owner, ref.Token)
	most := int64(m.cfg.Cipher.MaxValue())
	err = m.trip(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		// No more than can be a session, of whatever is there; nothing is no session either.
		value, err = c.Do(ctx, c.B().Getrange().Key(key).Start(0).End(most).Build()).ToString()
		return err
	})
	if err != nil {
		return "", "", s, err
	}
	content, err := m.cfg.Cipher.Open(value, ref.Token)
	if err != nil {
		return "", "", s, errInvalid
	}
	// A value copied from another user's key has that user's sub.
	if s, err = apicrud.ParseSession(content); err != nil || s.UID != ref.UID {
		return "", "", apicrud.Session{}, errInvalid
	}
	return key, value, s, nil
}

// Update sets a member of a session and returns the session as it was written. The
// time to live stays. The members exp, iss, jti and sub cannot be set, and auth only to
// roles joined with colons. Updates of Go programs are never lost; one of a Python
// program may overwrite what came between its reading and its writing. Errors: of
// code invalid_session, invalid_request, data_too_large; ErrBusy, ErrUnavailable.
func (m *Manager) Update(ctx context.Context, ref Ref, name string, value any) (apicrud.Session, error) {
	if name != "auth" && slices.Contains(reserved, name) {
		var p problems
		p.add("name", "%s cannot be changed", name)
		return apicrud.Session{}, p.err()
	}
	if name == "auth" {
		text, ok := value.(string)
		if !ok || text != "" && slices.ContainsFunc(strings.Split(text, ":"), func(role string) bool { return !named(role) }) {
			var p problems
			p.add("auth", "must be roles joined with colons")
			return apicrud.Session{}, p.err()
		}
	}
	for range tries {
		key, old, s, err := m.read(ctx, ref)
		if err != nil {
			return s, err
		}
		if name == "auth" {
			s.Roles = nil
			if text, _ := value.(string); text != "" {
				s.Roles = strings.Split(text, ":")
			}
		} else {
			s.Extra = s.Extra.Set(name, value)
		}
		next, err := m.seal(s.Object())
		if err != nil {
			return apicrud.Session{}, err
		}
		if done, err := m.eval(ctx, updateScript, key, old, next); err != nil || done {
			return s, err
		}
	}
	return apicrud.Session{}, ErrBusy
}

// Delete ends a session; one that is gone is no error. The whole token is needed: a
// session whose token only ends alike is left alone, with an error of code
// invalid_session. Further errors: ErrBusy, ErrUnavailable.
func (m *Manager) Delete(ctx context.Context, ref Ref) error {
	for range tries {
		key, old, _, err := m.read(ctx, ref)
		if key == "" && errors.Is(err, errInvalid) {
			return m.absent(ctx, ref)
		}
		if err != nil {
			return err
		}
		if done, err := m.eval(ctx, deleteScript, key, old); err != nil || done {
			return err
		}
	}
	return ErrBusy
}

// absent tells a session that is gone from one that is not the token's.
func (m *Manager) absent(ctx context.Context, ref Ref) error {
	owner := ref.UID
	if ref.KeyID != "" {
		owner = ref.KeyID
	}
	if !named(owner) || !named(ref.UID) || !isToken(ref.Token) {
		return errInvalid
	}
	var there bool
	err := m.trip(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		there, err = c.Do(ctx, c.B().Exists().Key(apicrud.Key(owner, ref.Token)).Build()).AsBool()
		return err
	})
	if err == nil && there {
		err = errInvalid
	}
	return err
}

// DeleteAll ends all sessions kept under a user, or a key ID, and returns how many
// there were: after a change of the password, which the original has nothing for. It
// looks through all keys of the Redis. A session that is made meanwhile may survive.
// The error is ErrUnavailable, with how many were ended before it, or of code
// invalid_request.
func (m *Manager) DeleteAll(ctx context.Context, uid string) (int, error) {
	if !named(uid) {
		var p problems
		p.add("uid", "needs 1 to %d bytes of UTF-8 without colons and control characters", MaxText)
		return 0, p.err()
	}
	prefix := "ses:" + uid + ":"
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "^", `\^`).Replace(prefix) + "*"
	ended, cursor := 0, uint64(0)
	for {
		var page rueidis.ScanEntry
		err := m.trip(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
			page, err = c.Do(ctx, c.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
			return err
		})
		if err != nil {
			return ended, err
		}
		keys := slices.DeleteFunc(page.Elements, func(key string) bool {
			end, ok := strings.CutPrefix(key, prefix)
			return !ok || utf8.RuneCountInString(end) > 3 // another user's, with a colon in his name
		})
		if len(keys) > 0 {
			var n int64
			err := m.trip(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
				n, err = c.Do(ctx, c.B().Del().Key(keys...).Build()).AsInt64()
				return err
			})
			ended += int(n)
			if err != nil {
				return ended, err
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			return ended, nil
		}
	}
}

// The scripts act on a session only while it is as it was read. KEYS key; ARGV the
// value read, the next value. KEEPTTL is why Redis 6 is needed.
const (
	updateScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1`
	deleteScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1`
)

func (m *Manager) eval(ctx context.Context, script, key string, args ...string) (done bool, err error) {
	err = m.trip(ctx, func(ctx context.Context, c rueidis.Client) error {
		n, err := c.Do(ctx, c.B().Eval().Script(script).Numkeys(1).Key(key).Arg(args...).Build()).ToInt64()
		if done = n == 1; err == nil && n != 0 && n != 1 {
			err = respguard.ErrProtocol
		}
		return err
	})
	return done && err == nil, err
}

// trip runs f within the timeout. Its error is ErrUnavailable, or of code
// invalid_session when the key holds no text: somebody else's.
func (m *Manager) trip(ctx context.Context, f func(context.Context, rueidis.Client) error) (err error) {
	defer func() {
		if reply, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(reply.Error(), "WRONGTYPE") {
			err = errInvalid
		} else if err != nil {
			err = unavailable(err)
		}
	}()
	defer respguard.Caught(&err)
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	return f(ctx, m.cfg.Client)
}
