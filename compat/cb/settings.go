package cb

import (
	"errors"
	"fmt"
	"strconv"
)

// Development is the one app_env whose cookies go over plain HTTP.
const Development = "development"

// Settings are the original's: secret_key, session_max_days, app_env.
type Settings struct {
	SecretKey      string
	SessionMaxDays int
	AppEnv         string
}

// SettingsFromEnvironment reads SECRET_KEY, SESSION_MAX_DAYS and APP_ENV. Give it
// os.LookupEnv. The first two are required; the error lists every problem and holds
// no value but that of SESSION_MAX_DAYS.
func SettingsFromEnvironment(lookup func(name string) (string, bool)) (Settings, error) {
	var s Settings
	var problems []error
	s.SecretKey, _ = lookup("SECRET_KEY")
	if s.SecretKey == "" {
		problems = append(problems, errors.New("cb: SECRET_KEY is missing"))
	}
	if text, ok := lookup("SESSION_MAX_DAYS"); !ok {
		problems = append(problems, errors.New("cb: SESSION_MAX_DAYS is missing"))
	} else if n, err := strconv.Atoi(text); err != nil || n < 1 || n > MaxDays {
		problems = append(problems, fmt.Errorf("cb: SESSION_MAX_DAYS is %.20q; use 1 to %d", text, MaxDays))
	} else {
		s.SessionMaxDays = n
	}
	s.AppEnv, _ = lookup("APP_ENV")
	return s, errors.Join(problems...)
}

// Config returns the codec's configuration. Cookies are Secure unless AppEnv is
// exactly Development; the original's are only where it is exactly "production", so
// that a staging site, or a misspelled one, sends them in the clear.
func (s Settings) Config() Config {
	return Config{Secrets: []string{s.SecretKey}, Days: s.SessionMaxDays, InsecureCookies: s.AppEnv == Development}
}
