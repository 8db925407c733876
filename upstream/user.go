package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey"
)

// Upstream is whoever knows which tokens are sessions. NewCheck, NewIntrospection
// and NewUserInfo make the usual ones.
type Upstream interface {
	// Validate returns the user that the token stands for now. An error for which
	// errors.Is(err, latchkey.ErrInvalidSession) holds says that it stands for
	// nobody; any other error says that nothing is known. No error may hold the token.
	// The token has 1 to MaxToken bytes from 0x21 to 0x7E. Validate is called from several goroutines.
	Validate(ctx context.Context, token string) (User, error)
}

// Bounds of what is taken from an upstream or a Redis, in bytes.
const (
	// MaxToken bounds the tokens that are looked up at all; longer ones are invalid.
	MaxToken = 8 << 10
	// MaxText bounds ID, Email, Name and Tier of a User, each.
	MaxText = 512
	// MaxClaims bounds Claims of a User.
	MaxClaims = 16 << 10
)

// User is what the upstream says about a session. Its strings may share memory with
// the cache, which stays as it is while they are in use; clone what is kept for long.
type User struct {
	// ID is the upstream's lasting name for the user, never empty.
	ID string
	// Email and Name are as the upstream has them; empty is unknown. Control
	// characters are removed from Name and refused elsewhere.
	Email, Name string
	// EmailVerified tells that the upstream has made sure of Email.
	EmailVerified bool
	// Tier is the user's plan or rank, in the upstream's words.
	Tier string
	// Claims is a JSON object of whatever else was asked for, or empty.
	Claims string
	// CreatedAt and UpdatedAt are the account's times; zero is unknown.
	CreatedAt, UpdatedAt time.Time
	// ExpiresAt is when the session ends; zero is unknown. It is never served later.
	ExpiresAt time.Time
	// CheckedAt is when the upstream was asked. Lookup sets it.
	CheckedAt time.Time
	// Stale tells that the upstream could not be asked and Config.ServeStale let
	// this answer through. Lookup sets it.
	Stale bool
}

// MarshalJSON writes the members id, email, name, email_verified, tier, claims,
// created_at, updated_at, expires_at, checked_at and stale, all of them always.
// Times are RFC 3339 in UTC with six digits of fraction; unknown ones are null.
func (u User) MarshalJSON() ([]byte, error) {
	at := func(t time.Time) *string {
		if t.IsZero() {
			return nil
		}
		s := t.UTC().Format("2006-01-02T15:04:05.000000Z")
		return &s
	}
	claims := json.RawMessage(u.Claims)
	if u.Claims == "" {
		claims = json.RawMessage("{}")
	}
	return json.Marshal(struct {
		ID            string          `json:"id"`
		Email         string          `json:"email"`
		Name          string          `json:"name"`
		EmailVerified bool            `json:"email_verified"`
		Tier          string          `json:"tier"`
		Claims        json.RawMessage `json:"claims"`
		CreatedAt     *string         `json:"created_at"`
		UpdatedAt     *string         `json:"updated_at"`
		ExpiresAt     *string         `json:"expires_at"`
		CheckedAt     *string         `json:"checked_at"`
		Stale         bool            `json:"stale"`
	}{u.ID, u.Email, u.Name, u.EmailVerified, u.Tier, claims, at(u.CreatedAt), at(u.UpdatedAt), at(u.ExpiresAt), at(u.CheckedAt), u.Stale})
}

// errUser is why a user is not taken. It holds nothing of the user.
var errUser = errors.New("upstream: the user's ID is missing, or a member is too long or has control characters")

// check bounds a user and removes control characters from the name, which users
// choose themselves: a refusal would be a fault of ours in their hands.
func (u *User) check() error {
	if hasControl(u.Name) {
		u.Name = strings.Map(func(r rune) rune {
			if isControl(r) || r == utf8.RuneError {
				return -1
			}
			return r
		}, u.Name)
	}
	if u.ID == "" {
		return errUser
	}
	for _, s := range [...]string{u.ID, u.Email, u.Name, u.Tier} {
		if len(s) > MaxText || hasControl(s) {
			return errUser
		}
	}
	if u.Claims != "" && (len(u.Claims) > MaxClaims || u.Claims[0] != '{' || !json.Valid([]byte(u.Claims))) {
		return errUser
	}
	for _, t := range [...]time.Time{u.CreatedAt, u.UpdatedAt, u.ExpiresAt} {
		if !t.IsZero() && (t.Year() < 1 || t.Year() > 9999) {
			return errUser
		}
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

func hasControl(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, isControl)
}

// plausible reports whether a token has the shape that any upstream's has.
func plausible(token string) bool {
	if token == "" || len(token) > MaxToken {
		return false
	}
	for i := range len(token) {
		if token[i] < 0x21 || token[i] > 0x7e {
			return false
		}
	}
	return true
}

// invalid and unavailable make the two errors of a lookup.
func invalid(cause error) error {
	return latchkey.NewError(latchkey.CodeInvalidSession, "no valid session", cause)
}

func unavailable(message string, cause error) error {
	return latchkey.NewError(latchkey.CodeStoreUnavailable, message, cause)
}

// errRefused is the one refusal, made once: it is the answer to every junk token.
var errRefused = invalid(nil)

const (
	sayNoUpstream = "the service that keeps the sessions gave no answer"
	sayClosed     = "the session cache is closed"
)
