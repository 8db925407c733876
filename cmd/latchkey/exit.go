package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
)

// The exit statuses; scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // bad usage or configuration
	exitNoSession   = 3 // there is no such session
	exitUnavailable = 4 // the store gave no answer
)

// failure is an error with an exit status and, often, what to do about it. Its
// texts are shown to the user and hold no secret.
type failure struct {
	status   int
	problems []string // at least one; each is a line
	hint     string
	cause    error
}

func (f *failure) Error() string { return strings.Join(f.problems, "; ") }

func (f *failure) Unwrap() error { return f.cause }

// failed is a failure of status 1.
func failed(hint, format string, args ...any) error {
	return &failure{status: exitFailed, problems: []string{fmt.Sprintf(format, args...)}, hint: hint}
}

// usage is bad usage or configuration, with every problem; nil when there is none.
func usage(problems ...string) error {
	if len(problems) == 0 {
		return nil
	}
	return &failure{status: exitUsage, problems: problems}
}

// explain says how an error is told: its status, its lines and a hint.
func explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if k, ok := errors.AsType[*keyring.Error](err); ok {
		// A keyring that is missing or no good is a matter of configuration.
		status := exitUsage
		if k.Kind == keyring.KindExists || k.Kind == keyring.KindRefused || k.Kind == keyring.KindIO {
			status = exitFailed
		}
		return &failure{status: status, problems: []string{keyringText(k)}}
	}
	if errors.Is(err, context.Canceled) {
		return &failure{status: exitFailed, problems: []string{"interrupted"}}
	}
	f := &failure{status: exitFailed}
	if e, ok := errors.AsType[*latchkey.Error](err); ok {
		switch e.Code {
		case latchkey.CodeNoSuchSession:
			f.status = exitNoSession
			f.problems = []string{"no such session"}
			f.hint = "`latchkey session list --state all` shows the sessions that are kept"
			return f
		case latchkey.CodeStoreUnavailable:
			f.status = exitUnavailable
		case latchkey.CodeInvalidRequest:
			f.status = exitUsage
			for _, field := range e.Fields {
				f.problems = append(f.problems, flagOf(field.Field)+": "+inUnits(field.Detail))
			}
		}
		if len(f.problems) == 0 {
			f.problems = []string{withCause(e)}
		}
		return f
	}
	f.problems = []string{err.Error()}
	return f
}

// keyringText is what is wrong with a keyring, and which one. A name or path that
// nothing is found under may be a key given in its place.
func keyringText(err *keyring.Error) string {
	text := inUnits(strings.Join(err.Problems, "; "))
	switch {
	case err.Source == "":
		return "keyring: " + text
	case strings.HasPrefix(err.Source, "env:") && err.Kind == keyring.KindMissing:
		return "keyring env: " + text
	case strings.HasPrefix(err.Source, "env:"):
		return "keyring " + err.Source + ": " + text
	}
	return "keyring " + shownPath(err.Source) + ": " + text
}

// inUnits writes Go durations in a text as people would: 48h0m0s is 2d.
func inUnits(text string) string {
	return regexp.MustCompile(`\b(\d+h)?\d+m\d+(\.\d+)?s\b`).ReplaceAllStringFunc(text, func(s string) string {
		if d, err := time.ParseDuration(s); err == nil {
			return formatDuration(d)
		}
		return s
	})
}

// withCause is a store's public message and its cause: whoever runs a command on
// the store's own machine is its operator.
func withCause(e *latchkey.Error) string {
	text := strings.TrimPrefix(e.Message, "latchkey: ")
	if text == "" {
		text = string(e.Code)
	}
	cause := e.Unwrap()
	if cause == nil || isSchemaError(cause) { // which the message says
		return text
	}
	why := strings.TrimPrefix(cause.Error(), "latchkey: ")
	if strings.Contains(text, why[:min(len(why), 64)]) { // stores quote the beginning of a long one
		return text
	}
	return text + ": " + why
}

// flagOf names the flag that sets a field of the library's configuration or of
// a request, so that messages speak the user's words.
func flagOf(field string) string {
	known := map[string]string{
		"Cookie.Name": "--cookie-name", "Cookie.Domain": "--cookie-domain", "ServeStale": "--serve-stale",
		"Preset": "--preset", "Idle": "--idle", "Absolute": "--absolute", "Limit": "--limit", "Privacy": "--privacy",
		"ttl_seconds": "--ttl", "idle_seconds": "--session-idle", "roles": "--role", "methods": "--method",
		"Staleness": "--staleness", "Prefix": "--prefix", "PublicURL": "--public-url", "Store": "--store", "URL": "--store", "FeedURL": "--feed-url", "Keys": "--keys",
	}
	if flag, ok := known[field]; ok {
		return flag
	}
	return "--" + strings.ReplaceAll(field, "_", "-")
}

// report writes an error to standard error and returns the exit status.
func report(w io.Writer, err error) int {
	f := explain(err)
	if len(f.problems) == 1 {
		fmt.Fprintf(w, "latchkey: %s\n", oneLine(f.problems[0]))
	} else {
		fmt.Fprintf(w, "latchkey: %d problems with the command line or configuration:\n", len(f.problems))
		for _, p := range f.problems {
			fmt.Fprintf(w, "  %s\n", oneLine(p))
		}
	}
	if f.hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", oneLine(f.hint))
	}
	return f.status
}

// message writes one line to standard error.
func message(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "latchkey: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// texts is every problem that errors hold, each behind prefix; nil errors hold none.
func texts(prefix string, errs ...error) (out []string) {
	for _, err := range errs {
		if e, ok := errors.AsType[*latchkey.Error](err); ok && len(e.Fields) > 0 {
			out = append(out, explain(err).problems...)
		} else if err != nil {
			out = append(out, prefix+err.Error())
		}
	}
	return out
}
