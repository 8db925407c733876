package edge

import (
	"context"
	"net/http"
	"net/url"
)

// Answer is a decision for a proxy that does not ask over HTTP.
type Answer struct {
	Verdict Verdict
	// Status and Header are what the client is told when it is not a grant. On a grant
	// Header holds every identity header and Cookie, which are for the service, and
	// Set-Cookie where that is due, which is for the client.
	Status int
	Header http.Header
}

// Check answers a question that came over gRPC. peer is the address and port of the
// connection; header the headers of the request asked about. q's Kind is found out
// here.
func (e *Edge) Check(ctx context.Context, peer string, q Question, header http.Header) Answer {
	w := &recorded{header: make(http.Header)}
	r := (&http.Request{Method: q.Method, URL: new(url.URL), Header: header, RemoteAddr: peer}).WithContext(ctx)
	switch {
	case !e.trusts(peer):
		e.refuse(w, r, dialectGRPC, ReasonUntrusted)
		return Answer{Deny, w.status, w.header}
	case !q.readable():
		e.refuse(w, r, dialectGRPC, ReasonQuestion)
		return Answer{Deny, w.status, w.header}
	}
	q.Kind = kindOf(q.Method, header)
	if !q.settle() {
		e.refuse(w, r, dialectGRPC, ReasonQuestion)
		return Answer{Deny, w.status, w.header}
	}
	dec, s := e.consider(w, r, &q)
	e.answer(w, r, dialectGRPC, &q, dec, s)
	return Answer{dec.Verdict, w.status, w.header}
}

// recorded is a response that is told in another way than HTTP's.
type recorded struct {
	header http.Header
	status int
}

// Header, Write and WriteHeader implement http.ResponseWriter.
func (w *recorded) Header() http.Header         { return w.header }
func (w *recorded) Write(b []byte) (int, error) { return len(b), nil }
func (w *recorded) WriteHeader(status int)      { w.status = status }
