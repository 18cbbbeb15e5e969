package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine/export"
	"vouchsafe/engine/sink"
)

// sinkGrace is how long a sink may fail before the status says so: a restart on
// the other side is nothing to be woken for.
const sinkGrace = time.Minute

// startSinks begins to send the decision log to where the configuration says.
func (a *app) startSinks(ctx context.Context, sinks []config.Sink, registry prometheus.Registerer) error {
	for _, c := range sinks {
		target, err := targetOf(c)
		if err != nil {
			return fmt.Errorf("the sink %s: %w", c.Name, err)
		}
		source := sink.Documents(export.Format(c.Format), export.Options{Personal: c.Personal, Version: version()})
		switch c.Format {
		case config.SinkRecords:
			source = sink.Records(c.Personal)
		case config.SinkCheckpoints:
			source = sink.Checkpoints(c.Kind == "file")
		}
		s, err := sink.New(sink.Options{Name: c.Name, Kind: c.Kind, Sites: c.Sites, Source: source,
			Log: a.audit, State: a.state, Clock: time.Now, Logger: a.log}, target)
		if err != nil {
			return err
		}
		a.sinks = append(a.sinks, s)
		a.beside(ctx, func(ctx context.Context) {
			if err := s.Run(ctx); err != nil {
				a.log.Warn("a sink could not be closed", "sink", c.Name, "cause", err.Error())
			}
		})
	}
	if len(a.sinks) == 0 {
		return nil
	}
	return registry.Register(newSinkMetrics(a.sinks))
}

func targetOf(c config.Sink) (sink.Target, error) {
	switch c.Kind {
	case "file":
		return sink.NewFile(c.Path), nil
	case "webhook":
		secret, err := c.Secret.Read()
		if err != nil {
			return nil, err
		}
		return sink.NewWebhook(c.URL, secret, time.Now)
	}
	return sink.NewSyslog(c.Address)
}

// sinkProblems says which sinks have been unable to send for a while.
func (a *app) sinkProblems(now time.Time) (out []string) {
	for _, s := range a.sinks {
		st := s.Status()
		if !st.Failing.IsZero() && now.Sub(st.Failing) >= sinkGrace {
			out = append(out, fmt.Sprintf("the sink %s cannot send, and is %d records behind: %s", st.Name, st.Behind, st.Problem))
		}
		if st.Missed > 0 {
			out = append(out, fmt.Sprintf("the sink %s missed %d records, which the log dropped by their age before they were sent", st.Name, st.Missed))
		}
	}
	return out
}

// sinkStatuses are the sinks as the status shows them.
func (a *app) sinkStatuses() []sink.Status {
	var out []sink.Status
	for _, s := range a.sinks {
		out = append(out, s.Status())
	}
	return out
}

// sinkMetrics reports the sinks when it is asked.
type sinkMetrics struct {
	sinks                        []*sink.Sink
	behind, sent, missed, failed *prometheus.Desc
}

func newSinkMetrics(sinks []*sink.Sink) *sinkMetrics {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, []string{"sink"}, nil) }
	return &sinkMetrics{sinks: sinks,
		behind: desc("vouchsafe_sink_behind", "Records that are still to be sent, or to be covered by a checkpoint that is."),
		sent:   desc("vouchsafe_sink_sent_total", "Records sent since the start."),
		missed: desc("vouchsafe_sink_missed_total", "Records that the log dropped by their age before they were sent."),
		failed: desc("vouchsafe_sink_failing", "1 while nothing can be sent.")}
}

// Describe lists the metrics.
func (m *sinkMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.behind, m.sent, m.missed, m.failed} {
		out <- d
	}
}

// Collect reports each sink's.
func (m *sinkMetrics) Collect(out chan<- prometheus.Metric) {
	for _, s := range m.sinks {
		st := s.Status()
		failing := 0.0
		if !st.Failing.IsZero() {
			failing = 1
		}
		out <- prometheus.MustNewConstMetric(m.behind, prometheus.GaugeValue, float64(st.Behind), st.Name)
		out <- prometheus.MustNewConstMetric(m.sent, prometheus.CounterValue, float64(st.Sent), st.Name)
		out <- prometheus.MustNewConstMetric(m.missed, prometheus.CounterValue, float64(st.Missed), st.Name)
		out <- prometheus.MustNewConstMetric(m.failed, prometheus.GaugeValue, failing, st.Name)
	}
}
