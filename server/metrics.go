package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/latchkey-go/latchkey"
	"github.com/latchkey-go/latchkey/nearcache"
	"github.com/latchkey-go/latchkey/server/edge"
	"github.com/latchkey-go/latchkey/server/edge/assertion"
	"github.com/latchkey-go/latchkey/server/login"
	"github.com/latchkey-go/latchkey/upstream"
)

// metrics is everything that /metrics tells. Labels are from small closed sets: no
// label holds a user, a session, an address or a path as it was sent.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	edge     prometheus.Histogram
	inFlight prometheus.Gauge
	panics   prometheus.Counter
}

func newMetrics(cfg *Config) (*metrics, error) {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_http_requests_total",
			Help: "Requests answered, by route, method and status."}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "latchkey_http_request_duration_seconds",
			Help: "How long requests took, by route.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9)}, []string{"route"}),
		edge: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "latchkey_edge_duration_seconds",
			Help: "How long answers to proxies took.", Buckets: prometheus.ExponentialBuckets(0.00001, 4, 9)}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "latchkey_http_requests_in_flight", Help: "Requests being answered."}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "latchkey_http_panics_total", Help: "Handlers that panicked."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "latchkey_build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": cfg.Version}})
	build.Set(1)
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight, m.panics, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		statsCollector{manager: cfg.Manager, cache: cfg.CacheStats, upstream: cfg.Upstream, edge: cfg.Edge, assertions: cfg.Assertions, signIn: cfg.SignIn}} {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	if cfg.Edge != nil {
		return m, m.registry.Register(m.edge)
	}
	return m, nil
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

func (m *metrics) observe(r *http.Request, status int, took time.Duration) {
	route := routeLabel(r.Pattern)
	m.requests.WithLabelValues(route, methodLabel(r.Method), strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// routeLabel is the method and pattern that a request was routed by, such as
// "GET /v1/sessions/{id}"; "none" when there was no route.
func routeLabel(pattern string) string {
	if pattern == "" || pattern == "/" {
		return "none"
	}
	return pattern
}

// methodLabel keeps made-up methods from becoming labels.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// statsCollector reads the totals of the manager and of the caches at each scrape.
type statsCollector struct {
	manager  *latchkey.Manager
	cache    func() nearcache.Stats // nil: no near cache
	upstream *upstream.Cache        // nil: no upstream
	edge     *edge.Edge             // nil: no edge

	assertions *assertion.Signer // nil: none are signed
	signIn     *login.Login      // nil: no sign-in page
}

// Describe implements prometheus.Collector. The collector is unchecked: which
// metrics there are depends on which caches there are.
func (statsCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c statsCollector) Collect(ch chan<- prometheus.Metric) {
	out := sample{ch}
	c.lookups(out)
	if c.cache != nil {
		c.near(out)
	}
	if c.edge != nil {
		out.edge(c.edge)
	}
	if c.assertions != nil {
		out.assertions(c.assertions.Stats())
	}
	if c.signIn != nil {
		out.signIn(c.signIn.Stats())
	}
	if c.upstream != nil {
		out.upstream(c.upstream.Stats())
	}
}

// signIn tells of sign-ins, of back-channel logouts, and of what identity providers
// were asked.
func (out sample) signIn(n login.Stats) {
	for _, c := range n.SignIns {
		switch c.Outcome {
		case login.Begun:
			out.count("sign_ins_begun", "Sign-ins begun, by provider.", c.N, "provider", c.Provider)
		case login.Completed:
			out.count("sign_ins_completed", "Sign-ins that made a session, by provider.", c.N, "provider", c.Provider)
		default:
			out.count("sign_ins_refused", "Sign-ins that were refused, by provider and reason.", c.N, "provider", c.Provider, "reason", c.Reason)
		}
	}
	for _, c := range n.Logouts {
		out.count("backchannel_logouts", "Back-channel logouts, by provider, outcome and the reason of a refusal.", c.N, "provider", c.Provider, "outcome", string(c.Outcome), "reason", c.Reason)
	}
	for limit, count := range n.Limited {
		out.count("sign_ins_limited", "Requests that met a limit of their address.", count, "limit", limit)
	}
	for id, p := range n.Providers {
		for _, c := range p.Requests {
			out.count("provider_requests", "What identity providers were asked, by step and outcome.", c.N, "provider", id, "step", c.Step, "outcome", c.Outcome)
		}
		for _, c := range p.Refreshes {
			out.count("provider_refreshes", "Access tokens that were due, by outcome.", c.N, "provider", id, "outcome", c.Outcome)
		}
	}
}

// edge tells of the answers to proxies.
func (out sample) edge(e *edge.Edge) {
	for _, c := range e.Stats() {
		out.count("edge_decisions", "Answers to proxies, by dialect and verdict.", c.Count, "dialect", c.Dialect, "verdict", c.Verdict)
	}
}

func (out sample) assertions(n assertion.Stats) {
	const help = "Assertions for services, by whether a signature was needed."
	out.count("edge_assertions", help, n.Signed, "outcome", "signed")
	out.count("edge_assertions", help, n.Reused, "outcome", "reused")
	out.gauge("edge_assertions_kept", "Assertions kept for reuse.", float64(n.Entries))
}

// sample sends the metrics of one scrape. Labels are pairs of name and value.
type sample struct{ ch chan<- prometheus.Metric }

func (out sample) send(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	out.ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("latchkey_"+name, help, names, nil), kind, value, values...)
}

func (out sample) count(name, help string, value uint64, labels ...string) {
	out.send(prometheus.CounterValue, name+"_total", help, float64(value), labels...)
}

func (out sample) gauge(name, help string, value float64) {
	out.send(prometheus.GaugeValue, name, help, value)
}

func (out sample) flag(name, help string, on bool) {
	value := 0.0
	if on {
		value = 1
	}
	out.gauge(name, help, value)
}

func (c statsCollector) lookups(out sample) {
	count := out.count
	s := c.manager.Stats()
	const lookups = "Tokens judged, by outcome."
	count("lookups", lookups, s.Valid, "outcome", "valid")
	count("lookups", lookups, s.Invalid, "outcome", "invalid")
	count("lookups", lookups, s.Ended, "outcome", "ended")
	count("lookups", lookups, s.Unavailable, "outcome", "unavailable")
	count("lookup_hits", "Lookups that memory or the token itself answered.", s.Hits)
	count("lookup_loads", "Lookups that the cache could not answer.", s.Loads)
	count("lookups_stale", "Lookups answered from a cache that could not vouch, as the operator allowed.", s.ServedStale)
	count("sessions_created", "Sessions made.", s.Created)
	count("sessions_revoked", "Live sessions ended by somebody.", s.Revoked)
	count("tokens_resigned", "Tokens put under a newer key.", s.Resigned)
	count("thefts", "Sessions ended because a superseded token came back.", s.Thefts)
	count("touches", "Activity written.", s.Touches)
	count("touches_dropped", "Activity that there was no room for.", s.TouchesDropped)
	count("conflicts", "Changes that had to be tried again because somebody else was first.", s.Conflicts)
}

func (c statsCollector) near(out sample) {
	count, gauge, n := out.count, out.gauge, c.cache()
	gauge("cache_entries", "Sessions in the near cache.", float64(n.Entries))
	gauge("cache_bytes", "Memory of the near cache's entries.", float64(n.Bytes))
	gauge("cache_max_bytes", "The bound of that memory.", float64(n.MaxBytes))
	gauge("cache_lease_age_seconds", "How long ago the feed proved itself alive; negative without a lease.", n.LeaseAge.Seconds())
	count("cache_evictions", "Entries given up for room.", n.Evictions)
	count("cache_trips", "Reads of the store.", n.Trips)
	count("cache_trips_joined", "Misses that shared another's read.", n.Joined)
	count("cache_late_fills", "Results not kept because of an invalidation meanwhile.", n.LateFills)
	count("cache_lapses", "Lookups without a lease.", n.Lapses)
	count("cache_invalidations", "Sessions named by the feed.", n.Invalidations)
	count("feed_breaks", "Times that the feed had to be opened again.", n.FeedBreaks)
	count("feed_proofs", "Times that the feed proved itself alive.", n.Proofs)
	out.send(prometheus.CounterValue, "feed_proof_seconds_total", "How long these proofs were under way together, as invalidations are.", n.ProofTime.Seconds())
	gauge("changed_sessions", "Stateless sessions known to have changed.", float64(n.Changed))
	out.flag("changed_known", "1 while the list of changed stateless sessions is known; without it their rows are asked.", n.ChangedLoaded)
	out.flag("changed_overflow", "1 after that list was too long to be kept.", n.ChangedOverflow)
	count("changed_loads", "Times that the list was read from the store.", n.ChangedLoads)
}

// upstream tells of the validated-session cache, and so of an upstream or a Redis that
// is away: readiness takes no notice of either, because sessions kept here do not need them.
func (out sample) upstream(n upstream.Stats) {
	count, gauge := out.count, out.gauge
	const lookups = "Tokens of the upstream's looked up, by who answered."
	count("upstream_lookups", lookups, n.Hits, "by", "process")
	count("upstream_lookups", lookups, n.RefusedHits, "by", "process_refusal")
	count("upstream_lookups", lookups, n.Implausible, "by", "shape")
	count("upstream_lookups", lookups, n.Misses, "by", "flight")
	count("upstream_lookups", lookups, n.Joined, "by", "joined")
	count("upstream_redis_hits", "Lookups that the shared Redis answered.", n.RedisHits)
	count("upstream_calls", "Calls of the upstream.", n.Calls)
	count("upstream_call_refusals", "Calls that said that the token is nobody's.", n.Refusals)
	count("upstream_call_failures", "Calls without a usable answer.", n.Failures)
	count("upstream_unavailable", "Lookups that nobody could answer.", n.Unavailable)
	count("upstream_stale", "Lookups answered from what was older, as the operator allowed.", n.Stale)
	count("upstream_redis_passed_by", "Lookups that passed the shared Redis by because it was away.", n.PassedBy)
	count("upstream_redis_errors", "Trips to the shared Redis that failed.", n.RedisErrors)
	count("upstream_redis_garbage", "Values in the shared Redis that were no entries.", n.Garbage)
	count("upstream_overtaken_fills", "Answers not shared because of an invalidation meanwhile.", n.Overtaken)
	count("upstream_invalidations", "Invalidations of users and tokens.", n.Invalidations)
	count("upstream_invalidations_lost", "Invalidations that the shared Redis will not be told of, because too many wait.", n.InvalidationsLost)
	gauge("upstream_invalidations_waiting", "Invalidations that the shared Redis has not taken yet.", float64(n.InvalidationsWaiting))
	out.flag("upstream_down", "1 while the last call of the upstream got no answer.", n.UpstreamDown)
	out.flag("upstream_redis_away", "1 while the shared Redis gives no answer.", n.RedisAway)
	gauge("upstream_entries", "Users in the process's cache.", float64(n.Entries))
	gauge("upstream_bytes", "Memory of the process's cache, refusals included.", float64(n.Bytes))
}
