package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
)

// unsignedGrace is how long a record may be without a checkpoint that covers it
// before the status says so; one is signed every minute.
const unsignedGrace = 5 * time.Minute

// unsigned says which logs have grown without a checkpoint for a while: what is
// changed in them would not show.
func unsigned(states []audit.State, now time.Time) (out []string) {
	for _, s := range states {
		if since := now.Sub(s.Unsigned); !s.Unsigned.IsZero() && since >= unsignedGrace {
			out = append(out, fmt.Sprintf("no checkpoint of the log of site %s has been signed for %s: it is signed up to record %d of %d",
				s.Site, since.Round(time.Second), s.Signed, s.Dropped+s.Records))
		}
	}
	return out
}

// logStates are the sites' logs as the status shows them.
func (a *app) logStates() (out []httpapi.LogState) {
	sites := *a.sites.Load()
	for _, s := range a.audit.States() {
		l := httpapi.LogState{State: s}
		if i := slices.IndexFunc(sites, func(c siteSettings) bool { return c.site.ID == s.Site }); i >= 0 {
			l.RetentionDays = int(sites[i].retention / (24 * time.Hour))
		}
		out = append(out, l)
	}
	return out
}

// logLine is a site's log in words.
func logLine(s *httpapi.LogState, now time.Time) string {
	parts := []string{fmt.Sprintf("%s: %d records in %d file(s)", s.Site, s.Records, s.Files)}
	if s.Records > 0 {
		parts = append(parts, "from "+stamp(s.Oldest)+" to "+stamp(s.Newest))
	}
	if s.Dropped > 0 {
		parts = append(parts, fmt.Sprintf("%d dropped before", s.Dropped))
	}
	signed := "signed by no checkpoint"
	if s.Signed > 0 {
		signed = fmt.Sprintf("signed up to %d", s.Signed)
	}
	if !s.SignedAt.IsZero() {
		signed += fmt.Sprintf(" %s ago", max(0, now.Sub(s.SignedAt)).Round(time.Second))
	}
	kept := "kept for ever"
	if s.RetentionDays > 0 {
		kept = fmt.Sprintf("kept %d days", s.RetentionDays)
	}
	return strings.Join(append(parts, signed, kept), ", ")
}

// logMetrics reports the sites' logs when it is asked.
type logMetrics struct {
	states  func() []audit.State
	keeping *retention

	records, dropped, signed, unsigned, oldest *prometheus.Desc
	failing, ran                               *prometheus.Desc
}

func newLogMetrics(states func() []audit.State, keeping *retention) *logMetrics {
	site := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, []string{"site"}, nil) }
	return &logMetrics{states: states, keeping: keeping,
		records:  site("vouchsafe_audit_records", "Records of the site's log that are kept."),
		dropped:  site("vouchsafe_audit_dropped_records", "Records of the site's log that retention has dropped."),
		signed:   site("vouchsafe_audit_signed_records", "Records that the newest checkpoint is of, dropped ones included."),
		unsigned: site("vouchsafe_audit_unsigned_seconds", "For how long there have been records that no checkpoint is of."),
		oldest:   site("vouchsafe_audit_oldest_timestamp_seconds", "When the oldest record that is kept was made."),
		failing:  prometheus.NewDesc("vouchsafe_audit_retention_failing", "1 while what is past its retention cannot be dropped, or is held.", nil, nil),
		ran:      prometheus.NewDesc("vouchsafe_audit_retention_timestamp_seconds", "When retention last went through; 0 when it has not yet.", nil, nil)}
}

// Describe lists the metrics.
func (m *logMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.records, m.dropped, m.signed, m.unsigned, m.oldest, m.failing, m.ran} {
		out <- d
	}
}

// Collect reports each site's, and how retention goes.
func (m *logMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range m.states() {
		gauge(m.records, float64(s.Records), s.Site)
		gauge(m.dropped, float64(s.Dropped), s.Site)
		gauge(m.signed, float64(s.Signed), s.Site)
		since := 0.0
		if !s.Unsigned.IsZero() {
			since = max(0, time.Since(s.Unsigned).Seconds())
		}
		gauge(m.unsigned, since, s.Site)
		if !s.Oldest.IsZero() {
			gauge(m.oldest, float64(s.Oldest.Unix()), s.Site)
		}
	}
	failing, ran := 0.0, 0.0
	if len(m.keeping.problems()) > 0 {
		failing = 1
	}
	m.keeping.mu.Lock()
	if !m.keeping.ran.IsZero() {
		ran = float64(m.keeping.ran.Unix())
	}
	m.keeping.mu.Unlock()
	gauge(m.failing, failing)
	gauge(m.ran, ran)
}
