package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine/rollout"
)

// policyMetrics reports the policy in force. Its revision is a label of one
// metric that only ever has one value, so that there are not more of them.
type policyMetrics struct {
	of *rollout.Rollout

	info, activated, confirmed, degraded, stale, held *prometheus.Desc
	activations, refusals, failures                   *prometheus.Desc
}

func newPolicyMetrics(r *rollout.Rollout) *policyMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("vouchsafe_policy_"+name, help, labels, nil)
	}
	return &policyMetrics{of: r,
		info:        desc("info", "1, labelled with the policy in force.", "revision"),
		activated:   desc("activated_timestamp_seconds", "When the policy in force was put in force."),
		confirmed:   desc("confirmed_timestamp_seconds", "When its source last had no other policy; 0 for never."),
		degraded:    desc("degraded", "1 when what the source has is not in force, or it cannot be asked."),
		stale:       desc("stale", "1 when the policy in force is older than max_staleness."),
		held:        desc("held", "1 while somebody's choice is in force and the source is not followed."),
		activations: desc("activations_total", "Policies put in force."),
		refusals:    desc("refusals_total", "Policies that the source had and that were not put in force."),
		failures:    desc("source_failures_total", "Times that the source could not be asked."),
	}
}

// Describe lists the metrics.
func (m *policyMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.info, m.activated, m.confirmed, m.degraded, m.stale, m.held, m.activations, m.refusals, m.failures} {
		out <- d
	}
}

// Collect reports them.
func (m *policyMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.of.Status()
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	confirmed := 0.0
	if !s.Confirmed.IsZero() {
		confirmed = float64(s.Confirmed.Unix())
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(m.info, 1, s.Revision)
	gauge(m.activated, float64(s.Since.Unix()))
	gauge(m.confirmed, confirmed)
	gauge(m.degraded, truth(len(m.of.Problems()) > 0))
	gauge(m.stale, truth(s.Stale))
	gauge(m.held, truth(s.Hold != nil))
	for d, n := range map[*prometheus.Desc]int{m.activations: s.Activations, m.refusals: s.Refusals, m.failures: s.Failures} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
}
