package httpapi

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
)

// maxCodes bounds the codes that have a count of their own. Policies make up
// codes, so what comes after is counted as "other".
const maxCodes = 64

// Recorder counts what passes through it to a decision log: every decision of
// every channel, since none is acted on unrecorded.
type Recorder struct {
	next      gate.Recorder
	clock     func() time.Time
	decisions *prometheus.CounterVec
	seconds   prometheus.Histogram
	late      prometheus.Counter

	mu     sync.RWMutex
	counts map[decisionLabels]prometheus.Counter
	codes  map[string]bool
}

type decisionLabels struct {
	site, code string
	allow      bool
}

// NewRecorder wraps next, which is usually the decision log.
func NewRecorder(next gate.Recorder, reg *prometheus.Registry, clock func() time.Time) (*Recorder, error) {
	if clock == nil {
		clock = time.Now
	}
	r := &Recorder{next: next, clock: clock,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vouchsafe_decisions_total", Help: "Decisions recorded, by site, answer and first reason."}, []string{"site", "allow", "code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vouchsafe_decision_seconds", Help: "Time from asking to the decision being on disk.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vouchsafe_audit_late_total", Help: "Outcomes that could not be recorded when they were due; they are once the disk takes them again."}),
		counts: map[decisionLabels]prometheus.Counter{}, codes: map[string]bool{"": true},
	}
	for _, c := range []prometheus.Collector{r.decisions, r.seconds, r.late} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return r, nil
}

// Decision records d and counts it once it is on disk.
func (r *Recorder) Decision(ctx context.Context, d *audit.Decision) error {
	if err := r.next.Decision(ctx, d); err != nil {
		return err
	}
	l := decisionLabels{site: d.Site, allow: d.Allow}
	if len(d.Reasons) > 0 {
		l.code = d.Reasons[0].Code
	}
	r.counter(l).Inc()
	r.seconds.Observe(r.clock().Sub(d.Time).Seconds())
	return nil
}

// Outcome records o.
func (r *Recorder) Outcome(ctx context.Context, site string, o audit.Outcome) error {
	err := r.next.Outcome(ctx, site, o)
	if err != nil {
		r.late.Inc()
	}
	return err
}

func (r *Recorder) counter(l decisionLabels) prometheus.Counter {
	r.mu.RLock()
	c, ok := r.counts[l]
	known := r.codes[l.code]
	r.mu.RUnlock()
	if ok {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !known && !r.codes[l.code] {
		if len(r.codes) > maxCodes {
			l.code = "other"
		} else {
			r.codes[l.code] = true
		}
	}
	if c, ok := r.counts[l]; ok {
		return c
	}
	c = r.decisions.WithLabelValues(l.site, strconv.FormatBool(l.allow), l.code)
	r.counts[l] = c
	return c
}
