package latchkey

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Status returns the HTTP status that stands for a code.
func (c Code) Status() int {
	switch c {
	case CodeMalformed:
		return http.StatusBadRequest
	case CodeInvalidSession:
		return http.StatusUnauthorized
	case CodeAdminKey, CodeCSRFRefused, CodeDenied:
		return http.StatusForbidden
	case CodeNoSuchSession, CodeNotFound:
		return http.StatusNotFound
	case CodeConflict, CodeLimitReached:
		return http.StatusConflict
	case CodeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeContentType:
		return http.StatusUnsupportedMediaType
	case CodeMisdirected:
		return http.StatusMisdirectedRequest
	case CodeInvalidRequest, CodeTokenRequired, CodeDataTooLarge:
		return http.StatusUnprocessableEntity
	case CodeRateLimited:
		return http.StatusTooManyRequests
	case CodeStoreUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Problem is the body of every error answer: application/problem+json (RFC 9457)
// with Latchkey's code.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Code   Code         `json:"code"`
	Detail string       `json:"detail,omitempty"`
	Errors []FieldError `json:"errors,omitempty"`
}

// RetryAfter is what a 503 tells clients to wait, in seconds.
const RetryAfter = 2

// ProblemOf returns what may be told of err. Of an error that is not an *Error,
// or that is of CodeInternal, nothing is.
func ProblemOf(err error) Problem {
	code := CodeOf(err)
	p := Problem{Type: "about:blank", Title: http.StatusText(code.Status()), Status: code.Status(), Code: code}
	var e *Error
	if errors.As(err, &e) && code != CodeInternal {
		p.Detail, p.Errors = e.Message, e.Fields
	}
	return p
}

// WriteProblem answers a request with the problem that err is. It sets no cookie.
func WriteProblem(w http.ResponseWriter, _ *http.Request, err error) {
	p := ProblemOf(err)
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Content-Disposition", "Content-Range", "ETag", "Last-Modified", "Location"} {
		h.Del(name) // of the answer that it stands in for
	}
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(RetryAfter))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}
