package main

import (
	"io"
	"log"
	"log/slog"
	"strings"
)

// newLogger logs to w: text when a person reads it, JSON otherwise. What looks
// like a token is hidden, in case an error of some library repeats one.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(withoutTokens(a.Value.String()))
		case slog.KindAny:
			if err, ok := a.Value.Any().(error); ok {
				a.Value = slog.StringValue(withoutTokens(fullText(err)))
			}
		}
		return a
	}}
	if terminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// fullText is an error with the private causes that its public text leaves out.
func fullText(err error) string {
	text := err.Error()
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return text
		}
		if err = u.Unwrap(); err == nil {
			return text
		}
		if cause := err.Error(); !strings.Contains(text, cause) {
			text += ": " + cause
		}
	}
}

// withoutTokens hides session tokens in a text.
func withoutTokens(s string) string {
	if !strings.Contains(s, "lk_") {
		return s
	}
	words := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n\"'=;,", r) })
	for _, w := range words {
		if i := strings.Index(w, "lk_"); i >= 0 && len(w)-i > 12 {
			s = strings.ReplaceAll(s, w[i:], hidden)
		}
	}
	return s
}

// lineLogger hands lines that the HTTP server writes to the structured log.
type lineLogger struct{ log *slog.Logger }

func (l lineLogger) Write(b []byte) (int, error) {
	l.log.Debug("http", "message", strings.TrimSpace(string(b)))
	return len(b), nil
}

// httpErrors is the HTTP server's own log. Its lines tell of clients that speak TLS or
// HTTP badly, which anybody can make it write, so they are logged at debug.
func httpErrors(l *slog.Logger) *log.Logger { return log.New(lineLogger{l}, "", 0) }
