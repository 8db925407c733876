package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// atEdge answers the questions of proxies before anything else looks at a request:
// their paths are those of the services behind, which no router here may tidy up,
// and their answers carry no header but what proxies need. They are counted by
// verdict and not as requests: there are as many as all services have together.
//
// A demo has no edge: its guard refuses what proxies forward.
func (s *Server) atEdge(next http.Handler) http.Handler {
	if s.cfg.Edge == nil || s.cfg.Demo {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.cfg.Edge.Owns(r) {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		defer func() {
			s.metrics.edge.Observe(time.Since(start).Seconds())
			if value := recover(); value != nil {
				s.metrics.panics.Inc()
				s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "the edge panicked", slog.String("type", fmt.Sprintf("%T", value)), slog.String("stack", stack()))
				panic(http.ErrAbortHandler) // no answer is a refusal to every proxy
			}
		}()
		s.cfg.Edge.ServeHTTP(w, r)
	})
}
