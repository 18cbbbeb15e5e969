package httpapi

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counts of this package. Their labels are bounded by the
// routes and statuses there are.
type metrics struct {
	requests *prometheus.CounterVec
	limited  *prometheus.CounterVec
	tokens   *prometheus.CounterVec
}

func newMetrics(reg *prometheus.Registry, log Log) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_http_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_rate_limited_total", Help: "Requests refused by a limit, by what it counts."}, []string{"limit"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_tokens_refused_total",
			Help: "Tokens that were shown and not accepted, by site and cause. The cause token_keys_unavailable is an issuer out of reach."},
			[]string{"site", "cause"}),
	}
	collectors := []prometheus.Collector{m.requests, m.limited, m.tokens}
	if log != nil {
		collectors = append(collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "vouchsafe_audit_queue", Help: "Records that wait for the disk."},
				func() float64 { return float64(log.Waiting()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "vouchsafe_audit_lost_total", Help: "Acknowledged records that were found missing. It stays 0, or something is very wrong."},
				func() float64 { return float64(log.Lost()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "vouchsafe_audit_healthy", Help: "1 when decisions can be recorded."},
				func() float64 {
					if log.Health() != nil {
						return 0
					}
					return 1
				}))
	}
	for _, c := range collectors {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	for _, kind := range []string{"visitor", "address"} {
		m.limited.WithLabelValues(kind)
	}
	return m, nil
}

// prepare gives a route its counters.
func (m *metrics) prepare(rt *route) {
	rt.counters.vec, rt.counters.route = m.requests, rt.path
}

// counters are one route's counts by status, looked up once each.
type counters struct {
	vec      *prometheus.CounterVec
	route    string
	byStatus [600]atomic.Pointer[counter]
}

type counter struct{ prometheus.Counter }

func (c *counters) count(status int) {
	if status < 0 || status >= len(c.byStatus) {
		status = 0
	}
	known := c.byStatus[status].Load()
	if known == nil {
		known = &counter{c.vec.WithLabelValues(c.route, strconv.Itoa(status))}
		c.byStatus[status].Store(known)
	}
	known.Inc()
}

// keySets reports, for each site whose issuer publishes its keys, whether they
// can be had. It looks at the sites that are served when it is asked.
type keySets struct {
	s                      *Server
	keys, fetched, healthy *prometheus.Desc
}

func newKeySets(s *Server) *keySets {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, []string{"site"}, nil) }
	return &keySets{s: s,
		keys:    desc("vouchsafe_jwks_keys", "Published keys in use."),
		fetched: desc("vouchsafe_jwks_fetched_timestamp_seconds", "When the published keys in use were fetched; 0 when there are none yet."),
		healthy: desc("vouchsafe_jwks_healthy", "1 when the last attempt to fetch the published keys succeeded, or none was needed yet.")}
}

// Describe lists the metrics.
func (k *keySets) Describe(out chan<- *prometheus.Desc) {
	out <- k.keys
	out <- k.fetched
	out <- k.healthy
}

// Collect reports each site's.
func (k *keySets) Collect(out chan<- prometheus.Metric) {
	for id, site := range *k.s.sites.Load() {
		if site.published == nil {
			continue
		}
		status := site.published()
		at, healthy := 0.0, 1.0
		if !status.Fetched.IsZero() {
			at = float64(status.Fetched.Unix())
		}
		if status.Err != nil {
			healthy = 0
		}
		out <- prometheus.MustNewConstMetric(k.keys, prometheus.GaugeValue, float64(status.Keys), id)
		out <- prometheus.MustNewConstMetric(k.fetched, prometheus.GaugeValue, at, id)
		out <- prometheus.MustNewConstMetric(k.healthy, prometheus.GaugeValue, healthy, id)
	}
}
