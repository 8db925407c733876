package main

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// hidden stands where a secret was.
const hidden = "[redacted]"

// Bounds of how much of a wrong value, and of a path, a message repeats, and the
// length from which a word may be a key.
const (
	maxShown     = 32
	maxShownPath = 200
	keyLike      = 24
)

// shown quotes a value of the user's for a message: what may be a secret in it is
// hidden, control characters are escaped and the length is bounded. A value put in
// the wrong place may be a key, so long words are hidden unless they are plainly
// a URL, a host or an address.
func shown(s string) string {
	s = redact(s)
	for word := range strings.FieldsSeq(s) {
		if len(word) >= keyLike && !plainWord(word) {
			return strconv.Quote(hidden)
		}
	}
	return bounded(s, maxShown)
}

// shownPath is shown for the path of a file, of which the user wants to see more.
func shownPath(s string) string {
	rooted := strings.HasPrefix(s, "/") || strings.Contains(s, ".") || strings.Contains(s, `:\`)
	switch {
	case strings.Contains(s, "lk_"), strings.HasPrefix(s, "eyJ"), len(s) >= keyLike && !rooted:
		return strconv.Quote(hidden)
	case strings.Contains(s, "://"), hasLogin(s):
		return shown(s)
	}
	return bounded(s, maxShownPath)
}

// shownWord quotes what stands where a command's name should, and says nothing of
// what is no plain word.
func shownWord(s string) string {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '-' {
			return ""
		}
	}
	if s == "" || len(s) > 16 {
		return ""
	}
	return " " + strconv.Quote(s)
}

// bounded quotes at most so many bytes.
func bounded(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// plainWord reports whether a long word is a URL, a host, an address or a list of
// such, without anything in it that is long enough for a key.
func plainWord(s string) bool {
	run, hostLike, netLike := 0, true, true
	for i := range len(s) {
		c := s[i]
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		alnum := hex || c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z'
		if run++; strings.IndexByte(".:/,@?&", c) >= 0 {
			run = 0
		}
		if run >= keyLike {
			return false
		}
		hostLike = hostLike && (alnum || strings.IndexByte(".:,-[]", c) >= 0)
		netLike = netLike && (hex || strings.IndexByte(".:,/[]", c) >= 0)
	}
	return strings.Contains(s, "://") || (hostLike || netLike) && strings.ContainsAny(s, ".:")
}

// hasLogin reports whether a part of a path looks like the user:password@host of a URL.
func hasLogin(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if login, _, ok := strings.Cut(part, "@"); ok && strings.Contains(login, ":") {
			return true
		}
	}
	return false
}

// redact hides what may be secret in a value that is or holds a URL: the password of the user
// information and every query value whose name sounds like a secret. Of what looks
// like a URL but cannot be parsed only the scheme is left. A session token is hidden too.
func redact(s string) string {
	if strings.Contains(s, "lk_") {
		return hidden
	}
	if path, ok := strings.CutPrefix(s, "sqlite:"); ok && !strings.HasPrefix(path, "//") && !hasLogin(path) {
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
	if err != nil || u.Opaque != "" || strings.Contains(u.Path, "@") {
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
