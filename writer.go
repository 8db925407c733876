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
// [http.ResponseController].
type responseWriter struct {
	w      http.ResponseWriter
	r      *http.Request
	st     *state
	begun  bool  // the session is saved, or could not be
	failed error // why it could not; the problem has been written instead
}

// begin saves the session and reports whether the response may go on.
func (w *responseWriter) begin() bool {
	if w.begun {
		return w.failed == nil
	}
	w.begun = true
	if !w.st.changed.Load() {
		w.st.close()
		if !w.st.changed.Load() {
			return true // the usual case: nothing to save
		}
	}
	// What the handler did is not undone because the client has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.Context()), commitDeadline)
	defer cancel()
	if err := w.st.finish(ctx); err != nil {
		w.failed = err
		w.st.m.cfg.OnError(w.w, w.r, err)
	}
	return w.failed == nil
}

// finish saves what was recorded and closes the session to changes.
func (st *state) finish(ctx context.Context) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.done = true
	return st.save(ctx)
}

// close refuses changes from now on.
func (st *state) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.done = true
}

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
	if w.begin() {
		w.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.begin() {
		return 0, w.failed
	}
	return w.w.Write(p)
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) {
	if !w.begin() {
		return 0, w.failed
	}
	return io.WriteString(w.w, s)
}

// ReadFrom implements io.ReaderFrom, so that files still leave by sendfile.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if !w.begin() {
		return 0, w.failed
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
	if !w.begin() {
		return w.failed
	}
	return http.NewResponseController(w.w).Flush()
}

// Hijack implements http.Hijacker.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.begin() {
		return nil, nil, w.failed
	}
	return http.NewResponseController(w.w).Hijack()
}
