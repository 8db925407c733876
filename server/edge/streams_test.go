package edge_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/server"
)

const streamAdminKey = "an-admin-key-of-32-bytes-or-more"

// streams is a service whose answers go on until something ends them: a WebSocket
// that echoes, or else server-sent events. The last part of its path says how it
// learns that a session is over.
type streams struct {
	b       *bench
	service *latchkey.Manager // the service's own, over the same store and keys
	api     *httptest.Server  // the daemon's API
}

// liven gives a front's service a part below /live/ that is such a service.
func (f *front) liven() {
	f.t.Helper()
	s := &streams{b: f.b}
	var err error
	s.service, err = latchkey.New(latchkey.Config{Store: f.b.store, Keys: f.b.ring, Clock: f.b.clock})
	must(f.t, err)
	daemon, err := server.New(server.Config{Manager: f.b.m, Store: f.b.store, Keys: f.b.ring, AdminKeys: []server.AdminKey{{Name: "service", Key: streamAdminKey}}})
	must(f.t, err)
	s.api = httptest.NewServer(daemon.Handler())
	f.echo.live = s
	f.t.Cleanup(func() {
		s.api.Close()
		must(f.t, s.service.Close(context.Background()))
	})
}

func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	var err error
	switch how := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; how {
	case "never":
	case "watch": // a service in Go, with the store at hand
		session, problem := s.service.Read(w, r)
		if err = problem; err == nil {
			var stop context.CancelFunc
			if ctx, stop, err = session.Watch(ctx); err == nil {
				defer stop()
			}
		}
	case "lookup": // one that knows the session's ID and has an admin key
		go s.poll(ctx, cancel, "/v1/sessions/"+r.Header.Get("X-Auth-Session"), "Authorization", "Bearer "+streamAdminKey)
	case "me": // one that is left the cookie
		go s.poll(ctx, cancel, "/v1/me?passive=1", "Cookie", r.Header.Get("Cookie"))
	case "expiry": // one that trusts the assertion, as long as that is good
		go s.expire(ctx, cancel, r.Header.Get("X-Auth-Assertion"))
	default:
		err = errors.New("no such way")
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusTeapot)
	case r.Header.Get("Upgrade") == "":
		events(ctx, w)
	default:
		socket(ctx, cancel, w, r)
	}
}

// poll asks the daemon, and ends the stream when the session does not stand.
func (s *streams) poll(ctx context.Context, end context.CancelCauseFunc, path, name, value string) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil {
		req, _ := http.NewRequestWithContext(ctx, "GET", s.api.URL+path, nil)
		req.Header.Set(name, value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		var answer struct{ Session struct{ State string } }
		err = json.NewDecoder(res.Body).Decode(&answer)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || answer.Session.State != "live" {
			end(errors.New("the session is over"))
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// expire ends the stream when an assertion is too old. What else is to be checked of
// one is no matter here.
func (s *streams) expire(ctx context.Context, end context.CancelCauseFunc, assertion string) {
	var claims struct{ Exp int64 }
	if parts := strings.Split(assertion, "."); len(parts) == 3 {
		body, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(body, &claims)
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil && s.b.clock.Time().Unix() < claims.Exp {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	end(errors.New("the assertion has expired"))
}

// events are server-sent: one, and more of them until ctx ends.
func events(ctx context.Context, w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep them until there are many
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := io.WriteString(w, "data: tick\n\n"); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Operation codes of RFC 6455 §5.2.
const (
	opText  = 1
	opClose = 8
)

// socket is the service's end of a WebSocket. It echoes; when ctx ends, it closes
// with 1008, a policy's violation.
func socket(ctx context.Context, cancel context.CancelCauseFunc, w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+acceptKey(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
	messages := make(chan []byte)
	go func() {
		for {
			_, payload, err := readFrame(rw.Reader)
			if err != nil {
				cancel(err) // the client has gone
				return
			}
			select {
			case messages <- payload:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case payload := <-messages:
			_ = writeFrame(conn, opText, payload, false)
		case <-ctx.Done():
			_ = writeFrame(conn, opClose, []byte{1008 >> 8, 1008 & 0xff}, false)
			return
		}
	}
}

// acceptKey answers a WebSocket's key (RFC 6455 §4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// writeFrame writes a short frame (RFC 6455 §5.2). A client's are masked.
func writeFrame(w io.Writer, op byte, payload []byte, masked bool) error {
	frame := []byte{0x80 | op, byte(len(payload))}
	if masked {
		frame[1] |= 0x80
		frame = append(frame, 0, 0, 0, 0) // a mask that changes nothing
	}
	_, err := w.Write(append(frame, payload...))
	return err
}

func readFrame(r io.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err = io.ReadFull(r, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, head[1]&0x7f)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, err
}

// stream is a client's end.
type stream interface {
	// alive fails the test unless something comes through still.
	alive(t *testing.T)
	// cut waits until it is over in whatever way.
	cut(t *testing.T)
	// ended waits for the end that the service makes.
	ended(t *testing.T)
	close()
}

type webSocket struct {
	conn *tls.Conn
	r    *bufio.Reader
}

func (f *front) openSocket(path, token string) (stream, int) {
	f.t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: "app.example.com", NextProtos: []string{"http/1.1"}})
	must(f.t, err)
	f.t.Cleanup(func() { conn.Close() })
	must(f.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s%s\r\n\r\n", path, key, sessionCookie, token)
	must(f.t, err)
	w := &webSocket{conn, bufio.NewReader(conn)}
	res, err := http.ReadResponse(w.r, nil)
	must(f.t, err)
	if res.StatusCode == http.StatusSwitchingProtocols && res.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		f.t.Errorf("%s: %v", path, res.Header)
	}
	return w, res.StatusCode
}

func (w *webSocket) alive(t *testing.T) {
	t.Helper()
	must(t, writeFrame(w.conn, opText, []byte("hello"), true))
	if op, payload, err := readFrame(w.r); err != nil || op != opText || string(payload) != "hello" {
		t.Errorf("the echo is %d %q, %v", op, payload, err)
	}
}

func (w *webSocket) ended(t *testing.T) {
	t.Helper()
	op, payload, err := readFrame(w.r)
	if err != nil || op != opClose || string(payload) != "\x03\xf0" {
		t.Errorf("instead of the end comes %d %q, %v", op, payload, err)
	}
	if _, _, err = readFrame(w.r); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

func (w *webSocket) cut(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, w.r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the WebSocket goes on")
	}
}

func (w *webSocket) close() { w.conn.Close() }

type eventSource struct {
	body io.ReadCloser
	r    *bufio.Reader
}

func (f *front) openEvents(path, token string) (stream, int) {
	f.t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: f.roots, ServerName: "app.example.com"}}
	f.t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	f.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", "https://"+f.addr+path, nil)
	must(f.t, err)
	req.Host = "app.example.com"
	req.Header.Set("Cookie", strings.TrimPrefix(sessionCookie, "Cookie: ")+token)
	req.Header.Set("Accept", "text/event-stream")
	res, err := transport.RoundTrip(req)
	must(f.t, err)
	f.t.Cleanup(func() { res.Body.Close() })
	return &eventSource{res.Body, bufio.NewReader(res.Body)}, res.StatusCode
}

// alive takes three events, of which at most one was under way.
func (e *eventSource) alive(t *testing.T) {
	t.Helper()
	e.r.Discard(e.r.Buffered())
	for n := 0; n < 3; {
		line, err := e.r.ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "data: tick") {
			n++
		}
	}
}

func (e *eventSource) ended(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, e.r); err != nil {
		t.Errorf("the events end with %v", err)
	}
}

func (e *eventSource) cut(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, e.r); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the events go on")
	}
}

func (e *eventSource) close() { e.body.Close() }

// everyStream is what becomes of long answers behind a proxy that leaves the service
// the cookie: the proxy lets them go on for ever, and the service can end them in
// several ways.
func everyStream(t *testing.T, f *front) {
	kinds := map[string]func(f *front, path, token string) (stream, int){"websocket": (*front).openSocket, "events": (*front).openEvents}
	ends := func(how string, after time.Duration) func(t *testing.T) {
		return func(t *testing.T) {
			for kind, open := range kinds {
				t.Run(kind, func(t *testing.T) {
					f := f.in(t)
					i := f.alice()
					path := "/live/" + how
					s, status := open(f, path, i.Token)
					if status != http.StatusOK && status != http.StatusSwitchingProtocols {
						t.Fatal(status, f.log())
					}
					s.alive(t)
					_, err := f.b.m.Revoke(t.Context(), latchkey.Revocation{ID: i.Record.ID})
					must(t, err)
					f.want("ended", f.get("/page", sessionCookie+i.Token), 401, false)
					if how == "never" {
						s.alive(t)
						s.close()
					} else {
						began := time.Now()
						f.b.clock.Advance(after)
						s.ended(t)
						t.Logf("%v after the revocation", time.Since(began).Round(time.Millisecond))
					}
					if _, status := open(f, path, i.Token); status != http.StatusUnauthorized {
						t.Errorf("opened again: %d", status)
					}
				})
			}
		}
	}
	t.Run("never", ends("never", 0))
	t.Run("watch", ends("watch", 0))
	t.Run("lookup", ends("lookup", 0))
	t.Run("me", ends("me", 0))
	t.Run("expiry", ends("expiry", time.Minute))
	if t.Failed() {
		t.Log(f.log())
	}
}

// bounded is what a proxy's own limits do to long answers whose session stands, of a
// service that would go on for ever: whether they end.
func (f *front) bounded(socket, events bool) {
	f.t.Helper()
	i := f.alice()
	var ended, alive []stream
	for _, c := range []struct {
		open func(f *front, path, token string) (stream, int)
		ends bool
	}{{(*front).openSocket, socket}, {(*front).openEvents, events}} {
		s, status := c.open(f, "/live/never", i.Token)
		for range 4 { // the limit may be over before a busy machine has opened it
			if status == http.StatusOK || status == http.StatusSwitchingProtocols {
				break
			}
			s, status = c.open(f, "/live/never", i.Token)
		}
		if status != http.StatusOK && status != http.StatusSwitchingProtocols {
			f.t.Fatal(status, f.log())
		}
		if c.ends {
			ended = append(ended, s)
		} else {
			alive = append(alive, s)
		}
	}
	for _, s := range ended {
		s.cut(f.t)
	}
	for _, s := range alive {
		s.alive(f.t)
		s.close()
	}
}
