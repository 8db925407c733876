package oidc

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of any answer of a provider.
const maxAnswer = 1 << 20

var (
	errTooLarge   = errors.New("the answer is larger than 1 MiB")
	errRedirected = errors.New("the answer is a redirect, which is not followed")
)

// newClient makes the client for everything that is asked of a provider. It follows
// no redirect: the secret goes to the address that discovery names and nowhere else.
func newClient(rt http.RoundTripper) *http.Client {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return &http.Client{Transport: bounded{rt}, Timeout: tokenTrip + time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirected }}
}

// bounded cuts off answers that are too large.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(r)
	if err == nil {
		res.Body = &limited{res.Body, maxAnswer}
	}
	return res, err
}

// limited is a body that fails beyond its limit, where [io.LimitReader] would end as
// if the rest were not there.
type limited struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errTooLarge
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
