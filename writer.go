package latchkey

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
)

// responseWriter saves the session before the first byte leaves. It offers the
// optional interfaces of net/http's own writers, and answers
// http.ErrNotSupported where the one underneath lacks them; it works under
// [http.ResponseController]. It is the request's state seen from its other side,
// which saves an allocation.
type responseWriter state

func (w *responseWriter) begin(status int) bool { return (*state)(w).begin(status) }

// begin saves the session, adds the cookie that is due, and reports whether the
// response may go on.
func (st *state) begin(status int) bool {
	if st.begun {
		return !st.fault
	}
	st.begun = true
	if st.phase.Or(phaseDone)&phaseChanged != 0 {
		// What the handler did is not undone because the client has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(st.r.Context()), commitDeadline)
		defer cancel()
		st.saving.Lock()
		err := st.save(ctx)
		st.saving.Unlock()
		if err != nil {
			st.fault = true
			st.m.cfg.OnError(st.w, st.r, err)
			return false
		}
	}
	if st.issued != nil && !(st.auto && keepsCookie(status)) {
		st.sendCookie()
	}
	return true
}

// keepsCookie tells the answers that leave the cookie as it is: one that refuses
// or fails is no occasion to hand out a token, unless the handler asked for it.
func keepsCookie(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusServiceUnavailable
}

// errUnsaved is what a handler's writes answer once its session could not be saved.
var errUnsaved = NewError(CodeInternal, "latchkey: the session could not be saved; the response tells so", nil)

// Unwrap lets http.ResponseController reach what is not intercepted here.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.w }

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.w.Header() }

// WriteHeader implements http.ResponseWriter. Informational answers (1xx) do not
// begin the response, but for a switch of protocols.
func (w *responseWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		w.w.WriteHeader(status)
		return
	}
	if w.begin(status) {
		w.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, errUnsaved
	}
	return w.w.Write(p)
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, errUnsaved
	}
	return io.WriteString(w.w, s)
}

// ReadFrom implements io.ReaderFrom, so that files still leave by sendfile.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if !w.begin(http.StatusOK) {
		return 0, errUnsaved
	}
	if rf, ok := w.w.(io.ReaderFrom); ok {
		return rf.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{w.w}, src)
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush as http.ResponseController prefers it.
func (w *responseWriter) FlushError() error {
	if !w.begin(http.StatusOK) {
		return errUnsaved
	}
	return http.NewResponseController(w.w).Flush()
}

// Hijack implements http.Hijacker.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.begin(http.StatusOK) {
		return nil, nil, errUnsaved
	}
	return http.NewResponseController(w.w).Hijack()
}
