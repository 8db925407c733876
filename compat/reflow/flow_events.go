package reflow

import (
	"net"
	"net/http"
	"strings"
)

// Event is what the original writes into its log with the category auth_event. It never
// holds a name that somebody tried to sign in with, nor a password.
type Event struct {
	Action   Action
	Provider string
	Subject  string // of who is signed in; "" otherwise
	Reason   Failure
}

// Action is the kind of an event.
type Action string

// The actions. The original has two more, session_expired and session_invalid, and
// never writes them.
const (
	LoginSuccess Action = "login_success"
	LoginFailure Action = "login_failure"
	LoggedOut    Action = "logout"
)

// Failure is why a sign-in or a logout failed; "" where none did.
type Failure string

// The reasons. The original's invalid_password stands for unknown users too.
const (
	InvalidPassword    Failure = "invalid_password"
	CSRFMismatch       Failure = "csrf_mismatch"
	ProviderError      Failure = "provider_error"
	MissingCredentials Failure = "missing_credentials"
	RateLimited        Failure = "rate_limited"
)

// tell reports an event; the identity of the request is filled in.
func (s *Sessions) tell(r *http.Request, e Event) {
	if s.config.OnEvent == nil {
		return
	}
	if id, ok := FromContext(r.Context()); ok && e.Provider == "" {
		e.Provider, e.Subject = id.Provider, id.Subject
	}
	s.config.OnEvent(r, e)
}

// ClientIP is the address that the original logs: the first of X-Forwarded-For, else
// X-Real-IP, else the peer's. Clients write both headers as they please unless a proxy
// replaces them: never decide anything by it.
func ClientIP(r *http.Request) string {
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		first, _, _ := strings.Cut(forwarded, ",")
		return strings.TrimSpace(first)
	}
	if real := r.Header.Get("X-Real-IP"); real != "" {
		return real
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
