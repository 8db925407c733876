package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

// observe recovers from panics, counts and logs. Of a request it tells its method,
// its route (method and pattern), status and duration: paths hold session IDs, queries subjects,
// and headers tokens.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w, cookie: s.cookie + "="}
		s.metrics.inFlight.Inc()
		finished := false
		defer func() {
			s.metrics.inFlight.Dec()
			if !finished {
				s.recovered(rec, r, recover())
			}
			took := time.Since(start)
			status := rec.status
			if status == 0 {
				status = http.StatusOK // net/http writes it for a handler that wrote nothing
			}
			s.metrics.observe(r, status, took)
			s.cfg.Logger.LogAttrs(r.Context(), level(r.Pattern, status), "request", slog.String("method", methodLabel(r.Method)),
				slog.String("route", routeLabel(r.Pattern)), slog.Int("status", status), slog.Duration("took", took))
			if rec.broken {
				panic(http.ErrAbortHandler) // half an answer must not pass for a whole one
			}
		}()
		next.ServeHTTP(rec, r)
		finished = true
	})
}

// recovered answers a request whose handler panicked. The panic's value may hold
// anything, and a printed stack the arguments of functions, so only the type and
// the functions' names are told.
func (s *Server) recovered(w *recorder, r *http.Request, value any) {
	if value == http.ErrAbortHandler {
		w.broken = true
		return
	}
	s.metrics.panics.Inc()
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "handler panicked", slog.String("route", routeLabel(r.Pattern)),
		slog.String("type", fmt.Sprintf("%T", value)), slog.String("stack", stack()))
	if w.status != 0 {
		w.broken = true
		return
	}
	latchkey.WriteProblem(w, r, latchkey.NewError(latchkey.CodeInternal, "internal error", nil))
}

// stack names the functions on the stack with file and line, innermost first.
func stack() string {
	pcs := make([]uintptr, 48)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}

func level(pattern string, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError:
		return slog.LevelWarn // why is logged where it is known
	case pattern == "GET /healthz" || pattern == "GET /readyz" || pattern == "GET /metrics":
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// recorder notes the status, and keeps the session cookie out of answers that must
// not touch it.
type recorder struct {
	http.ResponseWriter
	cookie string // name and "="
	status int
	broken bool
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if final && w.status == 0 {
		w.status = status
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable, http.StatusInternalServerError:
			w.keepCookie()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// keepCookie takes back what was to be done to the session cookie: a refusal or an
// outage neither signs anybody in nor out.
func (w *recorder) keepCookie() {
	h := w.Header()
	var kept []string
	for _, line := range h["Set-Cookie"] {
		if !strings.HasPrefix(line, w.cookie) {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		h.Del("Set-Cookie")
		return
	}
	h["Set-Cookie"] = kept
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach flushing and hijacking.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
