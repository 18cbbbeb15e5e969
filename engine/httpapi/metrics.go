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
}

func newMetrics(reg *prometheus.Registry, log Log) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_http_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "status"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_rate_limited_total", Help: "Requests refused by a limit, by what it counts."}, []string{"limit"}),
	}
	collectors := []prometheus.Collector{m.requests, m.limited}
	if log != nil {
		collectors = append(collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "vouchsafe_audit_queue", Help: "Records that wait for the disk."},
				func() float64 { return float64(log.Waiting()) }),
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
