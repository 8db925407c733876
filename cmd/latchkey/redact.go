package main

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// hidden stands where a secret was.
const hidden = "[redacted]"

// maxShown bounds how much of a wrong value a message repeats.
const maxShown = 80

// shown quotes a value of the user's for a message: what may be a secret in it is
// hidden, control characters are escaped and the length is bounded.
func shown(s string) string {
	s = redact(s)
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return strconv.Quote(s)
}

// redact hides what may be secret in a value that is or holds a URL: the password of the user
// information and every query value whose name sounds like a secret. Of what looks
// like a URL but cannot be parsed only the scheme is left. A session token is hidden too.
func redact(s string) string {
	if strings.Contains(s, "lk_") {
		return hidden
	}
	if strings.HasPrefix(s, "sqlite:") && !strings.HasPrefix(s, "sqlite://") {
		return s // a path
	}
	scheme, _, isURL := strings.Cut(s, "://")
	if !isURL {
		// "postgres:user:password@host" or a DSN: nothing tells where the secret begins.
		if strings.Contains(s, "@") {
			if scheme, _, ok := strings.Cut(s, ":"); ok && isScheme(scheme) {
				return scheme + ":" + hidden
			}
			return hidden
		}
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		if !isScheme(scheme) {
			return hidden
		}
		return scheme + "://" + hidden
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "redacted")
		} else {
			u.User = url.User("redacted") // may be a token
		}
	}
	query := u.Query()
	for name := range query {
		if soundsSecret(name) {
			query.Set(name, "redacted")
		}
	}
	if len(query) > 0 {
		u.RawQuery = query.Encode()
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

func isScheme(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '+' && r != '-' && (r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 24
}

func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"pass", "pwd", "secret", "token", "key", "auth", "cred"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// oneLine makes text safe to print on a terminal: control characters, which could move the
// cursor or recolour the screen, are replaced, and it stays on its line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
