package edge

import (
	"net/http"
	"strings"
)

// dialect is a proxy's way of asking and of being told.
type dialect uint8

const (
	dialectNginx   dialect = iota // auth_request: X-Original-*, 204 or 401 or 403, all else is an error
	dialectForward                // Traefik's ForwardAuth, Caddy's forward_auth: X-Forwarded-*, answers are relayed
	dialectEnvoy                  // ext_authz over HTTP: the request's own method and path below a prefix; 200 only is a grant
	dialectGRPC                   // ext_authz over gRPC: see package extauthz
	numDialects
)

// String implements fmt.Stringer: it is the label of the metrics.
func (d dialect) String() string {
	return [numDialects]string{"nginx", "forward", "envoy", "grpc"}[d]
}

// The routes.
const (
	pathNginx   = "/auth/nginx"
	pathForward = "/auth/forward"
	pathEnvoy   = "/auth/envoy" // the original path follows
)

// dialectOf tells which dialect's route a request is for. It reads the path as it
// was sent: nothing that a proxy asks about may be tidied up before it is judged.
func dialectOf(r *http.Request) (dialect, bool) {
	target := r.RequestURI
	if len(target) < len(pathNginx) || target[:6] != "/auth/" {
		return 0, false
	}
	if rest, ok := strings.CutPrefix(target, pathEnvoy); ok {
		return dialectEnvoy, rest != "" && rest[0] == '/'
	}
	path, _, _ := strings.Cut(target, "?")
	switch path {
	case pathNginx:
		return dialectNginx, r.Method == http.MethodGet || r.Method == http.MethodHead
	case pathForward:
		return dialectForward, true
	}
	return 0, false
}

// maxTarget bounds the path and query of a question, in bytes.
const maxTarget = 32 << 10

// question reads what a proxy asks. It is not ok when something is missing, said
// twice or out of shape. Envoy's alone may leave the scheme out, which it sends only
// when it is told to: usual is the scheme then.
func question(d dialect, r *http.Request, usual string) (q Question, ok bool) {
	switch d {
	case dialectNginx:
		address, one := single(r.Header, "X-Original-Url")
		method, two := single(r.Header, "X-Original-Method")
		if ok = one && two; ok {
			q.Method = method
			q.Scheme, q.Host, q.Target, ok = splitURL(address)
		}
	case dialectForward:
		method, one := single(r.Header, "X-Forwarded-Method")
		scheme, two := single(r.Header, "X-Forwarded-Proto")
		host, three := single(r.Header, "X-Forwarded-Host")
		target, four := single(r.Header, "X-Forwarded-Uri")
		q, ok = Question{Method: method, Scheme: scheme, Host: host, Target: target}, one && two && three && four
	case dialectEnvoy:
		scheme, one := single(r.Header, "X-Forwarded-Proto")
		if len(r.Header["X-Forwarded-Proto"]) == 0 {
			scheme, one = usual, usual != ""
		}
		q, ok = Question{Method: r.Method, Scheme: scheme, Host: r.Host, Target: r.RequestURI[len(pathEnvoy):]}, one
	}
	if !ok || !q.readable() {
		return q, false
	}
	q.Kind = kindOf(q.Method, r.Header)
	return q, q.settle()
}

// readable reports whether the target is in bounds and of one piece: a space ends a
// target, so that what stands behind one was joined to it on the way.
func (q *Question) readable() bool {
	return q.Method != "" && q.Target != "" && len(q.Target) <= maxTarget && !strings.ContainsFunc(q.Target, func(c rune) bool { return c <= ' ' || c == 0x7f })
}

// settle brings scheme and host into the one form that rules know.
func (q *Question) settle() bool {
	switch q.Scheme {
	case "http", "https":
	case "ws": // Traefik's word for a WebSocket over http
		q.Scheme, q.Kind = "http", KindWebSocket
	case "wss":
		q.Scheme, q.Kind = "https", KindWebSocket
	default:
		return false
	}
	q.Host = plainHost(q.Scheme, q.Host)
	return q.Host != ""
}

// single returns the value of a header that has to be there once. name is in its
// canonical spelling.
func single(h http.Header, name string) (string, bool) {
	v := h[name]
	if len(v) != 1 || v[0] == "" {
		return "", false
	}
	return v[0], true
}

// splitURL takes the address of a request apart without changing anything in it.
func splitURL(s string) (scheme, host, target string, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "", "", "", false
	}
	end := strings.IndexAny(rest, "/?#")
	if end <= 0 {
		return "", "", "", false
	}
	return scheme, rest[:end], rest[end:], true
}

// kindOf tells how a request was made. Browsers say so by Fetch Metadata; others are
// judged by what they accept. Proxies drop Upgrade, which is for one connection only,
// but not the key that belongs to it.
func kindOf(method string, h http.Header) Kind {
	if len(h["Sec-Websocket-Key"]) > 0 || hasToken(h["Upgrade"], "websocket") {
		return KindWebSocket
	}
	if mode := h["Sec-Fetch-Mode"]; len(mode) > 0 {
		switch mode[0] {
		case "navigate":
			return KindNavigation
		case "websocket":
			return KindWebSocket
		}
		return KindFetch
	}
	if method != http.MethodGet && method != http.MethodHead || len(h["X-Requested-With"]) > 0 {
		return KindFetch
	}
	for _, accept := range h["Accept"] {
		if strings.Contains(accept, "text/html") {
			return KindNavigation
		}
	}
	return KindFetch
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
