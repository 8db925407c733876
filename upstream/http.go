package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey"
)

// MaxBody bounds an upstream's answer; a longer one is no answer.
const MaxBody = 64 << 10

// maxHeader bounds the header of an upstream's answer.
const maxHeader = 32 << 10

// endpoint is a URL that JSON is read from, common to all three kinds.
type endpoint struct {
	client *http.Client
	url    string
	header http.Header // sent each time
}

// newClient makes the client that is used when the program gives none. It follows no
// redirect, which would carry the token to whoever the answer names.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           DefaultMaxCalls,
			MaxIdleConnsPerHost:    DefaultMaxCalls,
			IdleConnTimeout:        time.Minute,
			TLSHandshakeTimeout:    5 * time.Second,
			MaxResponseHeaderBytes: maxHeader,
		},
	}
}

// problems gathers what is wrong with a configuration.
type problems []latchkey.FieldError

func (p *problems) add(field, detail string) {
	*p = append(*p, latchkey.FieldError{Field: field, Detail: detail})
}

func (p problems) error(what string) error {
	if len(p) == 0 {
		return nil
	}
	err := latchkey.NewError(latchkey.CodeInvalidRequest, "upstream: the configuration of the "+what+" is wrong", nil)
	err.Fields = p
	return err
}

// endpoint checks a URL and a header, and copies the client so that it follows no redirect.
func (p *problems) endpoint(raw string, plain bool, header http.Header, client *http.Client) endpoint {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		p.add("URL", "is required, for example https://accounts.example.com/v1/account")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		p.add("URL", "must be an https URL")
	case u.User != nil || u.Fragment != "":
		p.add("URL", "must have neither user nor fragment; credentials have members of their own")
	case u.Scheme == "http" && !loopback(u.Hostname()) && !plain:
		p.add("URL", "is plain http beyond this machine, where anybody on the way reads the tokens; use https or set DangerouslyPlainHTTP")
	}
	for name, values := range header {
		if !validName(name) || slices.ContainsFunc(values, func(v string) bool { return hasControl(v) }) {
			p.add("Header", "has a name or value that no header can have")
			break
		}
	}
	if client == nil {
		client = newClient()
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return endpoint{client: &own, url: raw, header: header.Clone()}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// validName reports whether s is a token of RFC 9110 §5.6.2, as names of headers and cookies are.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// answer is a JSON object that an upstream sent with status 200, or another status without the object.
type answer struct {
	status int
	object map[string]any
}

var (
	errBody   = errors.New("upstream: the answer is no JSON object or too long")
	errStatus = errors.New("upstream: the answer has an unexpected status")
)

// ask sends a request and reads the answer's object. No error holds anything of the
// request or the answer but its status.
func (e *endpoint) ask(ctx context.Context, method string, form url.Values, dress func(*http.Request)) (answer, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, e.url, body)
	if err != nil {
		return answer{}, errors.New("upstream: the request cannot be made")
	}
	for name, values := range e.header {
		req.Header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	req.Header.Set("Accept", "application/json")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	dress(req)
	res, err := e.client.Do(req)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	// Of a longer answer no more than this is read; then the connection is not used again.
	text, err := io.ReadAll(io.LimitReader(res.Body, MaxBody+1))
	if err != nil {
		return answer{}, fmt.Errorf("upstream: the answer broke off: %w", withoutURL(err))
	}
	a := answer{status: res.StatusCode}
	if a.status != http.StatusOK {
		return a, nil
	}
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") || len(text) > MaxBody {
		return a, errBody
	}
	a.object, err = readObject(text)
	return a, err
}

// withoutURL takes the URL, whose query may hold a key, out of an error of net/http.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// readObject reads one JSON object and nothing after it.
func readObject(text []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, errBody
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errBody
	}
	return object, nil
}
