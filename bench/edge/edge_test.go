// Package edge measures what a check costs a request behind nginx: Latchkey's daemon
// beside a server that answers the same without a look at anything, a check by scs,
// and oauth2-proxy.
//
// Behind nginx everything shares the machine, as it would on a small one: the load
// generator (this process, 64 connections, each of which asks for a page as soon as it
// has the last one), nginx (one process, which serves the page itself, so that no
// service adds to the time), and the server that is asked, a process of its own. On
// two cores, all busy, throughput is what all of them together take of the processor
// for a page; most of that is nginx and the kernel. The subjects take turns of 300 ms,
// and what is reported is the median, over the rounds, of the ratio of two turns of one
// round, for the throughput and for the 99th percentile: what else the machine does
// falls on both. cpu-us/op is the processor time of the asked server alone, by the
// kernel's account of its threads.
//
// The unchecked server is a handler of net/http that copies nine fields, made before,
// into its answer: the names and values that the daemon answers a user with. Its
// http.Server is set as the daemon's, and its process leaves the collector as much
// headroom. scs runs in the same way, and with the runtime's defaults beside that;
// oauth2-proxy runs as it comes.
package edge

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/bench/internal/paired"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/store/memory"
)

const (
	hotSet      = 4096
	connections = 64
)

// BenchmarkNginx compares the daemon with the unchecked server.
func BenchmarkNginx(b *testing.B) {
	known := startDaemon(b, hotSet)
	bare := startPeer(b, "unchecked", known.answer(b))
	bare.cookies = known.cookies
	compare(b, paired.Plan{Rounds: 101, Turn: 300 * time.Millisecond}, known.checker, bare)
}

// BenchmarkScs compares the daemon with a check by scs. It is apart from the others for
// the same reason as the unchecked server: while others have their turns, assertions
// age, and the daemon has more to sign in its own than under load that lasts.
func BenchmarkScs(b *testing.B) {
	compare(b, paired.Plan{Rounds: 61, Turn: 300 * time.Millisecond}, startDaemon(b, hotSet).checker, startPeer(b, "scs", nil))
}

// BenchmarkPeers compares the daemon with other programs as they come.
func BenchmarkPeers(b *testing.B) {
	checkers := append([]checker{startDaemon(b, hotSet).checker, startPeer(b, "scs_default", nil)}, oauth2ProxyCheckers(b)...)
	compare(b, paired.Plan{Rounds: 41, Turn: 300 * time.Millisecond}, checkers...)
}

// compare puts servers behind one nginx, and load on one after the other.
func compare(b *testing.B, plan paired.Plan, checkers ...checker) {
	b.Helper()
	addresses := startNginx(b, checkers)
	var subjects []paired.Subject
	for i, c := range checkers {
		all, asked := connect(b, addresses[i]), requests("app.example.com", c.cookies)
		s := paired.Callers(c.name, connections, func(caller, i int) error { return all[caller].ask(asked[(caller*61+i)%len(asked)]) })
		if _, err := s.Turn(time.Second); err != nil { // everybody has been seen, and has an assertion
			b.Fatal(s.Name, ": ", err)
		}
		subjects = append(subjects, metered(s, c.pid))
	}
	paired.Compare(b, plan, subjects...)
}

// metered adds the processor time of a process to what a subject tells.
func metered(s paired.Subject, pid int) paired.Subject {
	turn := s.Turn
	s.Turn = func(d time.Duration) (paired.Done, error) {
		before := processorTime(pid)
		done, err := turn(d)
		done.Elsewhere = processorTime(pid) - before
		return done, err
	}
	return s
}

// processorTime is what the threads of a process have used; 0 where nobody says so.
func processorTime(pid int) (total time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well formed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(ns)
	}
	return total
}

// BenchmarkReuse tells how many checks were answered with an assertion that had been
// signed before, under the load of 64 connections for more than three times as long as one is used:
// 1,024 sessions, each of which visits two services.
func BenchmarkReuse(b *testing.B) {
	const sessions, lasts = 1024, 100 * time.Second
	known := startDaemon(b, sessions)
	address := startNginx(b, []checker{known.checker})[0]
	all := connect(b, address)
	asked := append(requests("app.example.com", known.cookies), requests("wiki.example.com", known.cookies)...)
	load := func(d time.Duration) (n int) {
		var mu sync.Mutex
		var work sync.WaitGroup
		for caller := range all {
			work.Go(func() {
				i := 0
				for start := time.Now(); time.Since(start) < d; i++ {
					if err := all[caller].ask(asked[(caller*61+i)%len(asked)]); err != nil {
						b.Error(err)
						return
					}
				}
				mu.Lock()
				defer mu.Unlock()
				n += i
			})
		}
		work.Wait()
		return n
	}
	load(time.Second) // the first of each
	signed, reused := known.assertions(b)
	n := load(lasts)
	signedLater, reusedLater := known.assertions(b)
	if math.Abs(signedLater-signed+reusedLater-reused-float64(n)) > 0 {
		b.Fatalf("%v signed and %v reused, for %d checks", signedLater-signed, reusedLater-reused, n)
	}
	b.Run("latchkey", func(b *testing.B) {
		b.ReportMetric(float64(lasts.Nanoseconds())/float64(n), "ns/op")
		b.ReportMetric(100*(reusedLater-reused)/float64(n), "%reused")
		b.ReportMetric((signedLater-signed)/lasts.Seconds(), "signatures/s")
	})
}

// assertions reads from the daemon's metrics how many were signed, and how many reused.
func (d daemon) assertions(b *testing.B) (signed, reused float64) {
	b.Helper()
	text, err := d.call(http.MethodGet, "/metrics", nil)
	must(b, err)
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case `latchkey_edge_assertions_total{outcome="signed"}`:
			signed = v
		case `latchkey_edge_assertions_total{outcome="reused"}`:
			reused = v
		}
	}
	return signed, reused
}

// BenchmarkAlone calls handlers directly, without a network, one caller, so that what
// the check itself takes shows.
func BenchmarkAlone(b *testing.B) {
	handler, cookies := latchkeyHandler(b)
	recorded := httptest.NewRecorder()
	handler.ServeHTTP(recorded, question(cookies[0]))
	byScs, scsCookies, err := scsChecker()
	must(b, err)
	var subjects []paired.Subject
	for _, c := range []struct {
		name    string
		handler http.Handler
		cookies []string
	}{{"latchkey", handler, cookies}, {"unchecked", unchecked(recorded.Header()), cookies}, {"scs", byScs, scsCookies}} {
		requests := make([]*http.Request, len(c.cookies))
		w := &writer{}
		ask := func(i int) error {
			w.h, w.status = make(http.Header, 16), 0
			c.handler.ServeHTTP(w, requests[i%len(requests)])
			if w.status != http.StatusNoContent {
				return fmt.Errorf("%s answers %d", c.name, w.status)
			}
			return nil
		}
		for i, cookie := range c.cookies {
			requests[i] = question(cookie)
			must(b, ask(i))
		}
		subjects = append(subjects, paired.Compute(c.name, ask))
	}
	paired.Compare(b, paired.Plan{}, subjects...)
}

// writer is a ResponseWriter that costs nothing.
type writer struct {
	h      http.Header
	status int
}

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) Write(p []byte) (int, error) { return len(p), nil }
func (w *writer) WriteHeader(status int)      { w.status = status }

// question is what nginx asks.
func question(cookie string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/auth/nginx", nil)
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("X-Original-Url", "https://app.example.com/page")
	r.Header.Set("X-Original-Method", "GET")
	r.Header.Set("Cookie", cookie)
	return r
}

// latchkeyHandler is the daemon's handler over a near cache, and everybody's cookie.
func latchkeyHandler(b *testing.B) (http.Handler, []string) {
	b.Helper()
	ring, err := keyring.Generate(time.Now().Add(-time.Minute))
	must(b, err)
	store, err := memory.New(memory.Config{})
	must(b, err)
	cache, err := nearcache.New(nearcache.Config{Store: store, Staleness: time.Second})
	must(b, err)
	cache.Start()
	m, err := latchkey.New(latchkey.Config{Store: store, Keys: ring, Cache: cache, Passive: edge.Passive})
	must(b, err)
	b.Cleanup(func() {
		cache.Stop()
		must(b, m.Close(context.Background()))
		must(b, store.Close())
	})
	public := &url.URL{Scheme: "https", Host: "auth.example.com"}
	policy, err := edge.NewPolicy(edge.PolicyConfig{PublicURL: public, ProtectedHosts: []string{"app.example.com"}, Rules: []edge.Rule{
		{Hosts: []string{"app.example.com"}, Paths: []string{"/static/*"}, Require: edge.RequirePublic}, {Hosts: []string{"app.example.com"}, Roles: []string{"staff"}}}})
	must(b, err)
	signer, err := assertion.New(assertion.Config{Keys: ring, Issuer: public.String()})
	must(b, err)
	e, err := edge.New(edge.Config{Manager: m, Policy: policy, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Assertions: signer})
	must(b, err)
	srv, err := server.New(server.Config{Manager: m, Store: store, Keys: ring, PublicURL: public, Edge: e, Assertions: signer, CacheStats: cache.Stats})
	must(b, err)
	var cookies []string
	for i := range hotSet {
		issued, err := m.Issue(context.Background(), latchkey.SignIn{Provider: "corp", Subject: fmt.Sprintf("user-%07d", i), Email: "user@example.com", Name: "User", Roles: []string{"staff", "editor"}})
		must(b, err)
		cookies = append(cookies, "theme=dark; __Host-session="+issued.Token)
	}
	return srv.Handler(), cookies
}
