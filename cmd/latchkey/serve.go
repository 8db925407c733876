package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/keyring"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/server/edge/extauthz"
	"github.com/latchkey-go/latchkey/server/page"
	"github.com/latchkey-go/latchkey/upstream"
)

// Bounds of the HTTP servers: a client that trickles bytes, sends endless headers
// or never reads is cut off.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// stopBudget bounds a graceful stop altogether, requestBudget the part of it in
// which requests may finish. The stop takes at most 5 s, the store away or not.
const (
	stopBudget    = 4500 * time.Millisecond
	requestBudget = 3 * time.Second
)

func (p *program) serveCommand() *cobra.Command {
	s := &settings{}
	var names []string
	for _, o := range s.options() {
		names = append(names, o.name)
	}
	return p.cobra(s, command{
		use: "serve", short: "Run the daemon",
		long: `Run the daemon until SIGTERM or SIGINT, which stop it gracefully within 5 seconds:
requests are finished and activity is written. SIGHUP reads the keyring and the TLS
certificate again. Every problem of the configuration is told at once, with
status 2, before anything is made or opened. Logs go to standard error, as text on
a terminal and as JSON otherwise.

Give secrets by variable (LATCHKEY_ADMIN_KEY) or file (--admin-key file:PATH):
other users can see a process's flags.`,
		example: `  latchkey serve --demo
  latchkey key generate && latchkey serve --public-url https://auth.example.com
  LATCHKEY_ADMIN_KEY=ops:$(openssl rand -hex 32) latchkey serve --config /etc/latchkey.yaml`,
		settings: names,
		check:    func([]string) []string { return s.checkServe() },
		do: func(ctx context.Context, _ []string) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			d := &daemon{p: p, s: s, log: newLogger(p.err, s.level()), clock: latchkey.SystemClock(), release: stop}
			return d.serve(ctx)
		},
	})
}

// daemon is the running program: its parts, in the order in which they start.
type daemon struct {
	p       *program
	s       *settings
	log     *slog.Logger
	clock   latchkey.Clock
	release func() // gives signals their usual meaning back

	listener, metrics net.Listener // metrics is nil without --metrics-listen
	authz             net.Listener // nil without --ext-authz-listen
	store             latchkey.Store
	ring              *keyring.Ring
	cache             *nearcache.Cache // nil with --staleness 0
	manager           *latchkey.Manager
	upstream          *upstream.Cache // nil without --upstream-url
	edge              *edge.Edge
	assertions        *assertion.Signer
	extauthz          *extauthz.Server
	site              *page.Site   // renders the pages
	certificate       *certificate // nil without TLS
	servers           []*http.Server

	background sync.WaitGroup
	cancel     context.CancelFunc // ends the background
}

// serve runs the daemon until ctx ends.
func (d *daemon) serve(ctx context.Context) (err error) {
	defer runtime.KeepAlive(makeHeadroom())
	defer d.stop()
	if err := d.open(ctx); err != nil {
		return err
	}
	srv, err := d.server()
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	d.background.Go(func() { d.watchKeys(background) })
	d.background.Go(func() { d.purgeLoop(background, time.NewTimer(purgePause()).C) })

	failed := make(chan error, 3)
	d.start(d.listener, srv.Handler(), d.certificate, failed)
	if d.metrics != nil {
		d.start(d.metrics, d.metricsHandler(srv), nil, failed)
	}
	if err := d.startAuthz(failed); err != nil {
		return err
	}
	d.announce()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		d.release() // a second signal ends the process at once
		d.log.Info("stopping")
		return nil
	}
}

// open makes the parts. The order matters: what refuses comes before what makes.
func (d *daemon) open(ctx context.Context) (err error) {
	absent := storeIsAbsent(d.s)
	if !absent {
		if err := d.openStore(ctx); err != nil {
			return err
		}
	}
	if d.listener, err = listen(ctx, "--listen", d.s.listen); err != nil {
		return err
	}
	if d.s.metricsListen != "" {
		if d.metrics, err = listen(ctx, "--metrics-listen", d.s.metricsListen); err != nil {
			return err
		}
	}
	if d.s.extAuthzListen != "" && !d.s.demo {
		if d.authz, err = listen(ctx, "--ext-authz-listen", d.s.extAuthzListen); err != nil {
			return err
		}
	}
	d.s.public = d.s.publicOr(d.listener.Addr().String())
	if d.certificate, err = loadCertificate(d.s.tlsCert, d.s.tlsKey); err != nil {
		return err
	}
	if absent {
		if err := d.openStore(ctx); err != nil {
			return err
		}
	}
	if d.ring, err = keyring.Open(d.s.keys, keyring.Options{CreateIfMissing: d.s.demo}); err != nil {
		return err
	}
	if err := d.openManager(); err != nil {
		return err
	}
	if err := d.openEdge(); err != nil {
		return err
	}
	d.upstream, err = d.s.openUpstream(d.clock, d.log)
	return err
}

// openStore opens the store, and sees to it that a demo's is never served in earnest.
func (d *daemon) openStore(ctx context.Context) (err error) {
	if d.store, err = openServe(ctx, d.s, d.clock); err != nil {
		return err
	}
	_, warnings := durability(d.store)
	for _, w := range warnings {
		d.log.Warn("store: " + w)
	}
	return checkMark(ctx, d.s, d.store)
}

// openManager puts the near cache and the Manager over the store.
func (d *daemon) openManager() (err error) {
	cfg := d.s.library()
	cfg.Store, cfg.Keys, cfg.Clock, cfg.Logger = d.store, d.ring, d.clock, d.log
	cfg.ClientIP, cfg.Passive = server.ClientIP(d.s.proxies), passive
	if d.site, err = page.New(page.Config{Prefix: d.s.prefix, FormTargets: d.s.formTargets(), Theme: d.s.themed(), Logger: d.log}); err != nil {
		return err
	}
	cfg.OnError = d.site.WriteError
	if _, feeds := d.store.(latchkey.Feed); feeds && d.s.staleness > 0 {
		d.cache, err = nearcache.New(nearcache.Config{Store: d.store, Staleness: d.s.staleness, Clock: d.clock,
			OnError: func(err error) {
				d.log.Warn("the store's feed broke; the store is asked until it is back", "error", err)
			}})
		if err != nil {
			return err
		}
		d.cache.Start()
		cfg.Stateless = d.s.stateless
		cfg.Cache = d.cache // only when there is one: a nil *Cache in the interface would not be nil
	}
	d.manager, err = latchkey.New(cfg)
	return err
}

// listen opens a port.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		cause := err
		if op, ok := errors.AsType[*net.OpError](err); ok {
			cause = op.Err
		}
		if sys, ok := errors.AsType[*os.SyscallError](err); ok {
			cause = sys.Err
		}
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			cause = errors.New(dns.Err) // without the name
		}
		return nil, failed("another daemon may be running; "+flag+" takes another address", "cannot listen on %s: %v", shown(address), cause)
	}
	return l, nil
}

// start serves a listener until the daemon stops; a server that fails says so on failures.
func (d *daemon) start(l net.Listener, handler http.Handler, cert *certificate, failures chan<- error) {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: httpErrors(d.log)}
	d.servers = append(d.servers, srv)
	d.background.Go(func() {
		var err error
		if cert != nil {
			srv.TLSConfig = cert.config()
			err = srv.ServeTLS(l, "", "")
		} else {
			err = srv.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			failures <- failedToServe(err)
		}
	})
}

func failedToServe(err error) error { return failed("", "the server failed: %v", err) }

// announce tells the log, and a demo's visitor, that the daemon is there.
func (d *daemon) announce() {
	s := d.s
	attrs := []any{"address", d.listener.Addr().String(), "public_url", s.public.String(), "store", redact(s.store), "version", thisBuild().Version, "pid", os.Getpid()}
	if d.metrics != nil {
		attrs = append(attrs, "metrics_address", d.metrics.Addr().String())
	}
	if d.authz != nil {
		attrs = append(attrs, "ext_authz_address", d.authz.Addr().String())
	}
	if d.upstream != nil {
		attrs = append(attrs, "upstream", s.upstream.host())
	}
	d.log.Info("listening", attrs...)
	for _, w := range s.warnings() {
		d.log.Warn(w)
	}
	if len(s.admins) == 0 && !s.demo {
		d.log.Info("the admin routes are off; --admin-key turns them on")
	}
	if s.demo {
		d.printDemo()
	}
}

// warnings is what an operator should know of a configuration that is allowed.
func (s *settings) warnings() (list []string) {
	if s.public != nil && s.public.Scheme == "http" && !s.insecureCookie() {
		list = append(list, "the public URL is plain http: browsers send the session cookie over https only, and tokens cross the network in the clear; put TLS in front and set --public-url to the https URL")
	}
	list = append(list, s.cookieWarnings()...)
	if scheme, _ := s.storeScheme(); scheme == "memory" {
		list = append(list, "the store is memory: every session ends with this process")
	}
	if s.serveStale > 0 {
		list = append(list, "--serve-stale: while the store is away an ended session may be honoured for "+formatDuration(s.serveStale))
	}
	list = append(list, s.edgeWarnings()...)
	list = append(list, s.upstream.warnings()...)
	list = append(list, s.providerWarnings()...)
	if path, ok := strings.CutPrefix(s.adminKey, "file:"); ok && othersCanRead(path) {
		list = append(list, "the file of --admin-key can be read by other users; chmod 600 it")
	}
	if ok := s.configFile != "" && s.adminKey != "" && othersCanRead(s.configFile); ok {
		list = append(list, "the file of --config can be read by other users; keep the admin key in a file of its own (file:PATH)")
	}
	return list
}

// cookieWarnings is what an operator should know of who gets the cookie.
func (s *settings) cookieWarnings() (list []string) {
	if domain := strings.ToLower(s.cookieDomain); domain != "" && s.public != nil {
		if host := strings.ToLower(s.public.Hostname()); host != domain && !strings.HasSuffix(host, "."+domain) {
			list = append(list, "--cookie-domain: "+domain+" is not above the host of the public URL, "+host+": browsers refuse the cookie of whoever signs in there")
		}
	}
	if host, _, ok := splitListen(s.listen); ok && s.insecure && s.tlsCert == "" && !loopback(host) {
		list = append(list, "--insecure-cookie: the daemon listens beyond this machine, and whoever reaches it from elsewhere sends the cookie in the clear; --listen 127.0.0.1:PORT")
	}
	return list
}

// printDemo tells a visitor where to look.
func (d *daemon) printDemo() {
	base := d.s.public.String()
	rows := [][]string{
		{"  sign in", base + d.site.Path("/login")}, {"  your sessions", base + d.site.Path("/account")}, {"  live counts", base + d.site.Path("/status")},
		{"  API", base + "/openapi.json"}, {"  sessions kept in", strings.TrimPrefix(d.s.store, "sqlite:")},
	}
	fmt.Fprintln(d.p.out, "Latchkey demo: anybody can sign in, under any name")
	_ = table(d.p.out, rows) // nobody may be reading
	fmt.Fprintln(d.p.out, "Stop it with Ctrl-C.")
}

// watchKeys reads the keyring again every 30 s, and with the TLS certificate on SIGHUP.
func (d *daemon) watchKeys(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	ticker := time.NewTicker(keyring.DefaultReloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			d.reloadKeys()
		case <-hup:
			d.log.Info("reading keyring and certificate again")
			d.reloadKeys()
			if err := d.certificate.reload(); err != nil {
				d.log.Error("the TLS certificate stays as it was", "error", err)
			}
		}
	}
}

// reloadKeys reads the keyring again. The Manager sees a change by itself.
func (d *daemon) reloadKeys() {
	changed, err := d.ring.Reload()
	switch {
	case err != nil:
		d.log.Error("the keyring stays as it was", "error", err)
	case changed:
		d.log.Info("the keyring changed", "keys", d.ring.String())
	}
}

// purgePause is the time between removals, an hour give or take a tenth: daemons
// started together do not all purge at once.
func purgePause() time.Duration {
	return time.Duration((0.9 + 0.2*rand.Float64()) * float64(time.Hour))
}

// purgeLoop removes at each tick what is past its retention, until ctx ends.
func (d *daemon) purgeLoop(ctx context.Context, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		began := time.Now()
		n, err := d.manager.Purge(ctx, latchkey.Purge{EndedBefore: d.manager.Now().Add(-d.s.retention)})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.Warn("ended sessions could not be removed; it is tried again", "error", err)
		case n > 0:
			d.log.Info("removed ended sessions past their retention", "sessions", n, "took", time.Since(began).Round(time.Millisecond).String())
		}
		tick = time.NewTimer(purgePause()).C
	}
}

// stop ends what runs, the last started first: requests are finished, activity is
// written, the store is closed. It takes stopBudget at most, whatever hangs.
func (d *daemon) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopBudget)
	defer cancel()
	began := time.Now()
	d.stopServers(ctx)
	if d.cancel != nil {
		d.cancel()
	}
	within(ctx, d.background.Wait)
	if d.upstream != nil {
		within(ctx, func() { _ = d.upstream.Close() }) // it has no error
	}
	if d.cache != nil {
		within(ctx, d.cache.Stop)
	}
	if d.manager != nil {
		if err := d.manager.Close(ctx); err != nil {
			d.log.Warn("the latest activity could not be written: sessions may look idle a little longer than they were", "error", err)
		}
	}
	if d.store != nil {
		within(ctx, func() {
			if err := d.store.Close(); err != nil {
				d.log.Warn("the store did not close cleanly", "error", err)
			}
		})
	}
	if d.servers != nil {
		d.log.Info("stopped", "took", time.Since(began).Round(time.Millisecond).String())
	}
}

// stopServers stops accepting and lets requests finish, for requestBudget at most.
func (d *daemon) stopServers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestBudget)
	defer cancel()
	var all sync.WaitGroup
	for _, srv := range d.servers {
		all.Go(func() {
			if err := srv.Shutdown(ctx); err != nil {
				d.log.Warn("requests were cut off: they took too long to finish", "error", err)
				_ = srv.Close() // it only repeats why
			}
		})
	}
	if d.extauthz != nil {
		d.extauthz.Stop(ctx)
	}
	all.Wait()
	for _, l := range []net.Listener{d.listener, d.metrics, d.authz} {
		if l != nil {
			_ = l.Close() // its server has done so, if it came to one
		}
	}
}

// within waits for f until ctx ends.
func within(ctx context.Context, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
