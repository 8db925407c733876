package apicrud

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Environment looks a variable up, as os.LookupEnv does. nil is an empty environment.
type Environment func(name string) (string, bool)

// Settings are the original's about sessions, under its names. The zero value is not
// useful; [LoadSettings] makes one.
type Settings struct {
	RedisHost string        // REDIS_HOST, "redis"
	RedisPort int           // REDIS_PORT, 6379
	TTL       time.Duration // REDIS_TTL in seconds, 1200; at most 43200
	AESSecret string        // REDIS_AES_SECRET, 16 to 50 characters in the original
	Issuer    string        // JWT_ISSUER, "dev.example.com"
	JWTSecret string        // JWT_SECRET

	// SessionLimit and AdminLimit are how long a sign-in lasts: LOGIN_SESSION_LIMIT and
	// LOGIN_ADMIN_LIMIT in seconds, 7200 and 900.
	SessionLimit, AdminLimit time.Duration

	TokenSecret  string        // TOKEN_SECRET, of confirmations
	TokenSalt    string        // TOKEN_SALT, of confirmations
	TokenTimeout time.Duration // TOKEN_TIMEOUT in seconds, 43200
}

// shipped are the secrets and the salt that the original comes with, in public. They
// work in production where nobody has replaced them.
var shipped = []string{"5bj27gMy6Kbb37A7P", "PY07l0g0FSqeKsyx", "6OoN6JYPp3t80BMf"}

const shippedSalt = "YI31A26j6f4&0#X*8&7QBNF"

// LoadSettings reads the original's variables. The error lists every problem and
// repeats no secret. The three secrets have no default here, and those that the
// original ships, and ones of fewer than MinSecret bytes, are refused unless
// dangerously is true.
//
// Outside APP_ENV=prod the original makes both limits a day or the admin limit. Here
// they are what they say.
func LoadSettings(env Environment, dangerously bool) (Settings, error) {
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	var problems []error
	text := func(name, otherwise string) string {
		if v, ok := env(name); ok && v != "" {
			return v
		}
		return otherwise
	}
	number := func(name string, otherwise, most int) int {
		n, err := strconv.Atoi(text(name, strconv.Itoa(otherwise)))
		if err != nil || n < 1 || n > most {
			problems = append(problems, fmt.Errorf("apicrud: %s is no whole number from 1 to %d", name, most))
		}
		return n
	}
	seconds := func(name string, otherwise, most int) time.Duration {
		return time.Duration(number(name, otherwise, most)) * time.Second
	}
	secret := func(name string) string {
		v := text(name, "")
		switch {
		case v == "":
			problems = append(problems, fmt.Errorf("apicrud: %s is required; the original's own value is public", name))
		case slices.Contains(shipped, v) && !dangerously:
			problems = append(problems, fmt.Errorf("apicrud: %s is what apicrud ships, which is public; choose another", name))
		case len(v) < MinSecret && !dangerously:
			problems = append(problems, fmt.Errorf("apicrud: %s has %d bytes; use at least %d", name, len(v), MinSecret))
		}
		return v
	}
	const halfDay, month = 43200, 30 * 86400
	s := Settings{
		RedisHost: text("REDIS_HOST", "redis"), RedisPort: number("REDIS_PORT", 6379, 65535), TTL: seconds("REDIS_TTL", 1200, halfDay),
		AESSecret: secret("REDIS_AES_SECRET"), Issuer: text("JWT_ISSUER", "dev.example.com"), JWTSecret: secret("JWT_SECRET"),
		SessionLimit: seconds("LOGIN_SESSION_LIMIT", 7200, month), AdminLimit: seconds("LOGIN_ADMIN_LIMIT", 900, month),
		TokenSecret: secret("TOKEN_SECRET"), TokenSalt: text("TOKEN_SALT", shippedSalt), TokenTimeout: seconds("TOKEN_TIMEOUT", halfDay, month),
	}
	return s, errors.Join(problems...)
}

// Lifetime is how long the original lets a sign-in with these roles last: the
// shortest of what the roles pwchange (5 minutes, to change the password),
// mfarequired (5 minutes), pendingtotp (2 minutes) and admin (AdminLimit) allow, and
// SessionLimit with none of them.
func (s *Settings) Lifetime(roles []string) time.Duration {
	least := s.SessionLimit
	for role, limit := range map[string]time.Duration{"pwchange": 5 * time.Minute, "mfarequired": 5 * time.Minute,
		"pendingtotp": 2 * time.Minute, "admin": s.AdminLimit} {
		if slices.Contains(roles, role) {
			least = min(least, limit)
		}
	}
	return least
}
