package reflow

import (
	"errors"
	"net/http"

	"github.com/latchkey-go/latchkey/compat/pyjson"
)

// HTTPError is a refusal with the original's status and detail. The errors below are
// the ones there are.
type HTTPError struct {
	Status int
	Detail string

	header, value string // to be answered with it
}

// Error implements error.
func (e *HTTPError) Error() string { return "reflow: " + e.Detail }

// The refusals, in the original's words where it has some. The last four of the
// transaction are one to the client.
var (
	ErrNoIdentity      = &HTTPError{http.StatusUnauthorized, "Authentication required", "WWW-Authenticate", "Cookie"}
	ErrCrossOrigin     = &HTTPError{Status: http.StatusForbidden, Detail: "cross-origin request rejected"}
	ErrUnmarkedRequest = &HTTPError{Status: http.StatusForbidden, Detail: "missing or non-same-origin request"}
	ErrCSRF            = &HTTPError{Status: http.StatusForbidden, Detail: "csrf mismatch"}
	ErrAPIKey          = &HTTPError{http.StatusUnauthorized, "Invalid API key", "WWW-Authenticate", apiKeyChallenge}

	ErrBasicDisabled   = &HTTPError{Status: http.StatusNotFound, Detail: "basic login disabled"}
	ErrOIDCDisabled    = &HTTPError{Status: http.StatusNotFound, Detail: "oidc not enabled"}
	ErrUnknownProvider = &HTTPError{Status: http.StatusNotFound, Detail: "unknown provider"}
	ErrCredentials     = &HTTPError{Status: http.StatusUnauthorized, Detail: "invalid credentials"}
	ErrCallback        = &HTTPError{Status: http.StatusBadRequest, Detail: "callback missing code or state"}

	ErrTxMissing      = &HTTPError{Status: http.StatusBadRequest, Detail: "missing oauth tx cookie"}
	ErrTxExpired      = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx expired"}
	ErrTxInvalid      = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx invalid"}
	ErrTxMalformed    = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx malformed"}
	ErrTxProvider     = &HTTPError{Status: http.StatusBadRequest, Detail: authenticationFailed}
	ErrTxState        = &HTTPError{Status: http.StatusBadRequest, Detail: authenticationFailed}
	ErrTxUsed         = &HTTPError{Status: http.StatusBadRequest, Detail: authenticationFailed}
	ErrAuthentication = &HTTPError{Status: http.StatusBadRequest, Detail: authenticationFailed} // the code or the ID token

	// Of the server.
	ErrUnavailable = &HTTPError{http.StatusServiceUnavailable, "temporarily unavailable", "Retry-After", "2"}
	ErrTooMany     = &HTTPError{Status: http.StatusTooManyRequests, Detail: "too many requests"}
)

const (
	authenticationFailed = "authentication failed"
	apiKeyChallenge      = `ApiKey realm="API", charset="UTF-8"`
)

// WriteError answers with the JSON object {"detail": ...} of an error of this package,
// and with status 500 for any other, of which nothing is told.
func WriteError(w http.ResponseWriter, err error) {
	e := &HTTPError{Status: http.StatusInternalServerError, Detail: "Internal Server Error"}
	_ = errors.As(err, &e)
	if e.header != "" {
		w.Header().Set(e.header, e.value)
	}
	writeJSON(w, e.Status, pyjson.Object{{Name: "detail", Value: e.Detail}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := pyjson.Marshal(pyjson.Compact, v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"detail":"Internal Server Error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone is told nothing
}
