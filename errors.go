package latchkey

import (
	"errors"
	"strings"
)

// Code names a kind of failure. The set is closed, and the same text stands in
// problem bodies, metrics, exit statuses and the audit trail.
type Code string

// The codes. The comment gives the HTTP status that the daemon answers with.
const (
	CodeMalformed        Code = "malformed"         // 400: the request cannot be read
	CodeInvalidSession   Code = "invalid_session"   // 401: no session, an unknown one, or one that has ended
	CodeAdminKey         Code = "admin_key"         // 403: the admin key is missing or wrong
	CodeCSRFRefused      Code = "csrf_refused"      // 403: the request may come from another site
	CodeDenied           Code = "denied"            // 403: a rule or filter stands against it
	CodeNoSuchSession    Code = "no_such_session"   // 404: no session has this ID
	CodeNotFound         Code = "not_found"         // 404: no such route or thing
	CodeConflict         Code = "conflict"          // 409: somebody else changed it first
	CodeLimitReached     Code = "limit_reached"     // 409: the identity has as many live sessions as it may
	CodeBodyTooLarge     Code = "body_too_large"    // 413
	CodeContentType      Code = "content_type"      // 415
	CodeMisdirected      Code = "misdirected"       // 421: the request is meant for another host
	CodeInvalidRequest   Code = "invalid_request"   // 422: readable, but a field is wrong
	CodeTokenRequired    Code = "token_required"    // 422: session data opens only with its token
	CodeDataTooLarge     Code = "data_too_large"    // 422: the data would exceed its cap
	CodeRateLimited      Code = "rate_limited"      // 429
	CodeStoreUnavailable Code = "store_unavailable" // 503: the store gave no answer; nothing is known
	CodeInternal         Code = "internal"          // 500
)

// FieldError points at one wrong field of a request or a configuration.
type FieldError struct {
	// Field is the name as the caller wrote it.
	Field string `json:"field"`
	// Detail says what is wrong with it and what is allowed.
	Detail string `json:"detail"`
}

// Error is the one error type of Latchkey. Code and Message may be shown to
// anybody; the cause, reached by [errors.Unwrap], is for operators' logs only.
// Neither ever holds a token, a secret, a cookie or a key.
type Error struct {
	// Code is the kind; [errors.Is] compares errors by it.
	Code Code
	// Message is one line for the caller, without a full stop.
	Message string
	// Fields lists every wrong field, for CodeInvalidRequest.
	Fields []FieldError

	cause error
}

// NewError makes an error with a public message and a private cause, which may be nil.
func NewError(code Code, message string, cause error) *Error {
	return &Error{Code: code, Message: message, cause: cause}
}

// Error returns the public text only: the message, with the wrong fields where there are any.
func (e *Error) Error() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Field)
		b.WriteString(": ")
		b.WriteString(f.Detail)
	}
	return b.String()
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an *Error of the same code, so that
// errors.Is(err, latchkey.ErrUnavailable) holds for every unavailable store.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Message == e.Message || t.Message == "")
}

// Errors to compare with by [errors.Is]. A store returns these (or errors of the
// same code with a cause) and no others.
var (
	// ErrInvalidSession: there is no live session behind the token.
	ErrInvalidSession = &Error{Code: CodeInvalidSession}
	// ErrNoSuchSession: no row has the ID.
	ErrNoSuchSession = &Error{Code: CodeNoSuchSession}
	// ErrConflict: the row's version is not the expected one, or the ID exists already.
	ErrConflict = &Error{Code: CodeConflict}
	// ErrLimit: the identity's limit is reached and the policy is to refuse.
	ErrLimit = &Error{Code: CodeLimitReached}
	// ErrUnavailable: the store could not answer, or its answer was lost. Whether a
	// change took effect is then unknown.
	ErrUnavailable = &Error{Code: CodeStoreUnavailable}
	// ErrDenied: a rule stands against it; a filter refused the session, or a
	// sign-in began before its identity was revoked.
	ErrDenied = &Error{Code: CodeDenied}
	// ErrDataTooLarge: the session's data would exceed its cap.
	ErrDataTooLarge = &Error{Code: CodeDataTooLarge}
	// ErrInvalidRequest: an argument is wrong; Fields say which.
	ErrInvalidRequest = &Error{Code: CodeInvalidRequest}
)

// Errors of using the library wrongly. They are defects of the program, and the
// daemon answers 500 for them.
var (
	// ErrCommitted: the response has begun (or the handler has returned), so that a
	// change of the session could no longer be saved.
	ErrCommitted = &Error{Code: CodeInternal, Message: "latchkey: session changed after the response had begun; change it before the first write"}
	// ErrNoMiddleware: the context did not pass through a Manager's middleware.
	ErrNoMiddleware = &Error{Code: CodeInternal, Message: "latchkey: no session in the context; wrap the handler in Manager.Middleware"}
	// ErrReadOnly: the Session came from Manager.Read, or from nowhere.
	ErrReadOnly = &Error{Code: CodeInternal, Message: "latchkey: this session can only be read; change sessions in a handler wrapped in Manager.Middleware"}
	// ErrNoSession: the operation needs a live session and this one is not.
	ErrNoSession = &Error{Code: CodeInvalidSession, Message: "latchkey: no live session"}
)

// CodeOf returns the code of err: its own when it is an *Error, CodeInternal
// for any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// unavailable wraps the cause of a store failure, unless it already carries a code.
func unavailable(cause error) error {
	var e *Error
	if errors.As(cause, &e) {
		return cause
	}
	return NewError(CodeStoreUnavailable, "the session store gave no answer", cause)
}
