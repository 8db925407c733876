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

// The refusals, in the original's words where it has some.
var (
	ErrNoIdentity      = &HTTPError{http.StatusUnauthorized, "Authentication required", "WWW-Authenticate", "Cookie"}
	ErrCrossOrigin     = &HTTPError{Status: http.StatusForbidden, Detail: "cross-origin request rejected"}
	ErrUnmarkedRequest = &HTTPError{Status: http.StatusForbidden, Detail: "missing or non-same-origin request"}
	ErrCSRF            = &HTTPError{Status: http.StatusForbidden, Detail: "csrf mismatch"}
	ErrAPIKey          = &HTTPError{http.StatusUnauthorized, "Invalid or missing API key", "WWW-Authenticate", `ApiKey realm="API", charset="UTF-8"`}
	ErrTxMissing       = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx missing"}
	ErrTxExpired       = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx expired"}
	ErrTxInvalid       = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx invalid"}
	ErrTxUsed          = &HTTPError{Status: http.StatusBadRequest, Detail: "oauth tx already used"}
	ErrUnavailable     = &HTTPError{Status: http.StatusServiceUnavailable, Detail: "temporarily unavailable"}
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
