package csrf

import (
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey"
)

// Reason is why a request was refused. It is for logs and metrics; clients are told
// the same whatever it is. The set is closed.
type Reason uint8

// The reasons. When several hold, it is the first.
const (
	// CrossOrigin: Sec-Fetch-Site or Origin name another site.
	CrossOrigin Reason = iota + 1
	// MissingHeader: Config.RequiredHeader is not there, or not once, or with another value.
	MissingHeader
	// BadToken: there is no good token where one is needed.
	BadToken
	// Unmarked: the session cookie came with neither Sec-Fetch-Site nor Origin.
	Unmarked

	numReasons = iota + 1
)

// String returns a short name for metrics, such as "cross_origin".
func (r Reason) String() string {
	switch r {
	case CrossOrigin:
		return "cross_origin"
	case MissingHeader:
		return "missing_header"
	case BadToken:
		return "bad_token"
	case Unmarked:
		return "unmarked"
	}
	return "none"
}

// Error is String: a Reason is the private cause of a refusal.
func (r Reason) Error() string { return r.String() }

// refusals are the answers: which rule stood against the request is their private
// cause and is not told.
var refusals = [numReasons]error{
	CrossOrigin: refusal(CrossOrigin), MissingHeader: refusal(MissingHeader), BadToken: refusal(BadToken), Unmarked: refusal(Unmarked),
}

func refusal(reason Reason) error {
	return latchkey.NewError(latchkey.CodeCSRFRefused, "the request may come from another site; send it from this site, or with Authorization instead of the cookie", reason)
}

// Counts are a Protection's totals since it was made.
type Counts struct {
	// CrossOrigin, MissingHeader, BadToken and Unmarked count what was refused, or with
	// Config.DangerouslyReportOnly would have been, by reason.
	CrossOrigin, MissingHeader, BadToken, Unmarked uint64
	// PassedByToken counts requests that came with neither Sec-Fetch-Site nor Origin
	// and passed on their token. While it stays at 0 nobody needs tokens.
	PassedByToken uint64
}

// Counts returns the totals. What passes by its headers is not counted: that would
// make all cores write to one place.
func (p *Protection) Counts() Counts {
	return Counts{
		CrossOrigin: p.refused[CrossOrigin].Load(), MissingHeader: p.refused[MissingHeader].Load(),
		BadToken: p.refused[BadToken].Load(), Unmarked: p.refused[Unmarked].Load(), PassedByToken: p.byToken.Load(),
	}
}

// unfit says why a header's name proves nothing about who sent a request, or "". In
// the lists are what browsers and proxies add by themselves, and the safelist of the
// Fetch standard with its Client Hints, which pages of any site may send unasked.
func unfit(name string) string {
	name = strings.ToLower(name)
	token := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}
	if strings.ContainsFunc(name, func(c rune) bool { return !token(c) }) {
		return "not the name of a header, such as X-CSRF"
	}
	if name == strings.ToLower(HeaderName) {
		return HeaderName + " carries tokens; take another, such as X-CSRF"
	}
	for _, prefix := range []string{"sec-", "proxy-", "access-control-", "if-", "x-forwarded-"} {
		if strings.HasPrefix(name, prefix) {
			return "browsers and proxies send headers that begin with " + http.CanonicalHeaderKey(prefix) + "; take one of your own, such as X-CSRF"
		}
	}
	if slices.Contains([]string{
		"accept", "accept-charset", "accept-encoding", "accept-language", "content-language", "content-type", "range", "device-memory",
		"downlink", "dpr", "ect", "rtt", "save-data", "viewport-width", "width", "authorization", "cache-control", "connection",
		"content-encoding", "content-length", "content-location", "cookie", "cookie2", "date", "dnt", "expect", "forwarded", "from", "host",
		"keep-alive", "last-event-id", "origin", "pragma", "priority", "purpose", "referer", "set-cookie", "te", "trailer",
		"transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via", "x-purpose", "x-moz", "x-real-ip", "x-request-id",
	}, name) {
		return "browsers or proxies send this header by themselves, or for any site; take one of your own, such as X-CSRF"
	}
	return ""
}
