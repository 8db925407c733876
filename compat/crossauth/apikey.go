package crossauth

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/compat/engine"
	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// Defaults of API keys.
const (
	DefaultAPIKeyScheme = "ApiKey"     // APIKEY_AUTHSCHEME
	DefaultAPIKeyLength = 16           // APIKEY_LENGTH, in bytes
	DefaultAPIKeyPrefix = PrefixAPIKey // APIKEY_PREFIX
)

// APIKeyConfig describes [APIKeys]. Storage and Secret are required.
type APIKeyConfig struct {
	_ [0]func() // no unkeyed literals, no comparison

	// Storage keeps the keys, with a column name: the original's table ApiKey.
	Storage KeyStorage
	// Secret signs keys, at least MinSecret bytes.
	Secret string
	// Scheme is that of the Authorization header, DefaultAPIKeyScheme when empty.
	Scheme string
	// Length is of the random part, DefaultAPIKeyLength when 0; at least that.
	Length int
	// Prefix is what stored values begin with, DefaultAPIKeyPrefix when empty.
	Prefix string
	// Now is the clock, time.Now when nil; Random the source of randomness,
	// crypto/rand when nil.
	Now    func() time.Time
	Random io.Reader

	// DangerouslyShortSecret accepts a secret of any length.
	DangerouslyShortSecret bool
}

// APIKeys makes and checks API keys: signed random values, of which the storage has
// the hash. It is safe for concurrent use. Errors are *Error, but for those of the
// randomness.
type APIKeys struct {
	config APIKeyConfig
	signer *Signer
}

// NewAPIKeys checks c. The error is of code Configuration and lists every problem.
func NewAPIKeys(c APIKeyConfig) (*APIKeys, error) {
	if c.Scheme == "" {
		c.Scheme = DefaultAPIKeyScheme
	}
	if c.Length == 0 {
		c.Length = DefaultAPIKeyLength
	}
	if c.Prefix == "" {
		c.Prefix = DefaultAPIKeyPrefix
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	var problems []string
	if c.Storage == nil {
		problems = append(problems, "Storage is missing; use a KeyTable or MemoryKeys")
	}
	if len(c.Secret) < MinSecret && !c.DangerouslyShortSecret {
		problems = append(problems, "Secret is too short; use at least 32 bytes")
	}
	if c.Length < DefaultAPIKeyLength || c.Length > 1024 {
		problems = append(problems, "Length is out of range; use 16 to 1024 bytes")
	}
	if c.Prefix == PrefixSession {
		problems = append(problems, "Prefix is that of sessions")
	}
	if len(problems) > 0 {
		return nil, newError(Configuration, strings.Join(problems, "; "))
	}
	return &APIKeys{c, DangerouslyNewSigner(c.Secret)}, nil
}

// Create makes a key of a user, named uniquely among the user's, and returns its text,
// which cannot be had again. expires is never when zero. A name that is taken is KeyExists.
func (a *APIKeys) Create(ctx context.Context, user UserID, name string, expires time.Time) (string, Key, error) {
	if user.Anonymous() || name == "" {
		return "", Key{}, newError(BadRequest, "An API key has a user and a name")
	}
	others, err := a.config.Storage.GetAllForUser(ctx, user)
	if err != nil {
		return "", Key{}, err
	}
	for i := range others {
		if n, ok := others[i].field("name"); ok && n == engine.TextValue(name) {
			return "", Key{}, newError(KeyExists, "")
		}
	}
	id, err := RandomValue(a.config.Random, a.config.Length)
	if err != nil {
		return "", Key{}, err
	}
	salt, err := RandomValue(a.config.Random, SaltLength)
	if err != nil {
		return "", Key{}, err
	}
	now := microseconds(a.config.Now())
	text, err := a.signer.Sign(pyjson.Object{{Name: "v", Value: id}}, salt, now)
	if err != nil {
		return "", Key{}, err
	}
	key := Key{Value: a.config.Prefix + Hash(id), UserID: user, Created: now, Expires: microseconds(expires),
		Extra: []Field{{Name: "name", Value: engine.TextValue(name)}}}
	if err := a.config.Storage.SaveKey(ctx, key); err != nil {
		return "", Key{}, err
	}
	return text, key, nil
}

func (k *Key) field(name string) (engine.Value, bool) {
	if i := k.extra(name); i >= 0 {
		return k.Extra[i].Value, true
	}
	return engine.Value{}, false
}

// Validate returns the key of an Authorization header. The error is InvalidKey, for
// whatever is no key of ours, Expired, or a failure.
func (a *APIKeys) Validate(ctx context.Context, authorization string) (Key, error) {
	scheme, text, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, a.config.Scheme) || len(text) > maxCookie {
		return Key{}, newError(InvalidKey, "")
	}
	payload, err := a.signer.Unsign(text, 0, a.config.Now())
	if err != nil {
		return Key{}, err
	}
	id, ok := payload.Text("v")
	if !ok || id == "" {
		return Key{}, newError(InvalidKey, "")
	}
	key, err := a.config.Storage.GetKey(ctx, a.config.Prefix+Hash(id))
	if err != nil {
		return Key{}, err
	}
	if key.UserID.Anonymous() {
		return Key{}, newError(InvalidKey, "")
	}
	if !key.Expires.IsZero() && microseconds(a.config.Now()).After(key.Expires) {
		return Key{}, newError(Expired, "")
	}
	return key, nil
}

// DefaultTokenExpiry is how long the tokens of e-mails are good: VERIFY_EMAIL_EXPIRES
// and PASSWORD_RESET_EXPIRES.
const DefaultTokenExpiry = 24 * time.Hour

// EmailTokens makes and redeems the tokens that are sent by e-mail: random values, of
// which the storage has the hash. Its zero value lacks Storage and Prefix.
type EmailTokens struct {
	Storage KeyStorage
	Prefix  string           // PrefixEmailVerification or PrefixPasswordReset
	Expires time.Duration    // DefaultTokenExpiry when 0
	Now     func() time.Time // time.Now when nil
	Random  io.Reader        // crypto/rand when nil
}

func (e *EmailTokens) now() time.Time {
	if e.Now == nil {
		return microseconds(time.Now())
	}
	return microseconds(e.Now())
}

// Create makes a token of a user. data is the new e-mail address or whatever the
// program wants back, as a JSON object, or "". Tokens of the purpose that the user had
// before end.
func (e *EmailTokens) Create(ctx context.Context, user UserID, data string) (string, error) {
	if user.Anonymous() || e.Prefix == "" {
		return "", newError(BadRequest, "A token has a user and a purpose")
	}
	if _, err := DecodeData(data); err != nil {
		return "", err
	}
	random, expires := e.Random, e.Expires
	if random == nil {
		random = rand.Reader
	}
	if expires == 0 {
		expires = DefaultTokenExpiry
	}
	token, err := RandomValue(random, SessionIDLength)
	if err != nil {
		return "", err
	}
	if err := e.Storage.DeleteAllForUser(ctx, user, e.Prefix, ""); err != nil {
		return "", err
	}
	now := e.now()
	return token, e.Storage.SaveKey(ctx, Key{Value: e.Prefix + Hash(token), UserID: user, Created: now, Expires: now.Add(expires), Data: data})
}

// Redeem returns the key of a token and ends it: of any number that try at once, one
// has it. The error is InvalidKey, Expired or a failure.
func (e *EmailTokens) Redeem(ctx context.Context, token string) (Key, error) {
	if !isSessionID(token) || e.Prefix == "" {
		return Key{}, newError(InvalidKey, "")
	}
	value := e.Prefix + Hash(token)
	key, err := e.Storage.GetKey(ctx, value)
	if err != nil {
		return Key{}, err
	}
	now := e.now()
	if key.Expires.IsZero() || now.After(key.Expires) {
		return Key{}, newError(Expired, "")
	}
	// The storage cannot tell who deleted a key. Who saves the mark is the only one
	// between here and its deletion, and has the token if that is still there.
	mark := Key{Value: value + ":redeemed", UserID: key.UserID, Created: now, Expires: key.Expires}
	if err := e.Storage.SaveKey(ctx, mark); err != nil {
		var exists *Error
		if errors.As(err, &exists) && exists.Code == KeyExists {
			return Key{}, newError(InvalidKey, "")
		}
		return Key{}, err
	}
	if key, err = e.Storage.GetKey(ctx, value); err == nil {
		err = e.Storage.DeleteKey(ctx, value)
	}
	if gone := e.Storage.DeleteKey(ctx, mark.Value); err == nil {
		err = gone
	}
	if err != nil {
		return Key{}, err
	}
	return key, nil
}
