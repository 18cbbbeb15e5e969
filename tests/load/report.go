package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// goals are the ratios of requests per second to be reached, on two cores.
var goals = map[string]float64{"opa": 1.2, "gin": 0.45, "cerbos": 4}

// idleGoal is the most memory the demo may take while nobody uses it.
const idleGoal = 120 << 20

// printer prints for people, or as JSON Lines.
type printer struct {
	out    io.Writer
	json   bool
	header bool
}

func (p *printer) line(v any, format string, args ...any) {
	if p.json {
		b, err := json.Marshal(v)
		if err != nil {
			b = fmt.Appendf(nil, "%q", err.Error())
		}
		fmt.Fprintf(p.out, "%s\n", b)
		return
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

func (p *printer) result(r *result) {
	if !p.json && !p.header {
		p.header = true
		fmt.Fprintf(p.out, "%-10s %10s %9s %9s %7s %9s %12s %9s\n", "", "requests/s", "p50", "p99", "errors", "CPU", "CPU/request", "memory")
	}
	p50, p99 := r.total.percentile(0.50), r.total.percentile(0.99)
	perRequest := r.total.cpuPerRequest()
	p.line(struct {
		Target         string  `json:"target"`
		PerSecond      float64 `json:"requests_per_second"`
		P50            float64 `json:"p50_ms"`
		P99            float64 `json:"p99_ms"`
		Requests       int     `json:"requests"`
		Errors         int     `json:"errors"`
		CPUSeconds     float64 `json:"cpu_seconds"`
		CPUPerRequest  float64 `json:"cpu_microseconds_per_request"`
		ResidentBytes  int64   `json:"resident_bytes"`
		AnonymousBytes int64   `json:"anonymous_bytes"`
	}{r.name, r.total.perSecond(), milliseconds(p50), milliseconds(p99), r.total.requests, r.total.errors,
		r.total.cpu.Seconds(), float64(perRequest) / float64(time.Microsecond), r.memory.resident, r.memory.anonymous},
		"%-10s %10.0f %7.2fms %7.2fms %7d %8.2fs %10dµs %7dMB", r.name, r.total.perSecond(), milliseconds(p50), milliseconds(p99),
		r.total.errors, r.total.cpu.Seconds(), perRequest.Microseconds(), r.memory.resident>>20)
}

// ratio prints how the first result compares with a peer's. A p99 under 1 is
// better than the peer's.
func (p *printer) ratio(own, peer *result) {
	throughput, p99, cpu := own.throughput(peer), 0.0, 0.0
	if theirs := peer.total.cpuPerRequest(); theirs > 0 {
		cpu = float64(own.total.cpuPerRequest()) / float64(theirs)
	}
	if l := peer.total.percentile(0.99); l > 0 {
		p99 = float64(own.total.percentile(0.99)) / float64(l)
	}
	goal := ""
	if g, ok := goals[peer.name]; ok {
		goal = fmt.Sprintf(" (goal %.2f)", g)
	}
	p.line(struct {
		Target     string  `json:"target"`
		Peer       string  `json:"peer"`
		Throughput float64 `json:"throughput_ratio"`
		Goal       float64 `json:"throughput_goal,omitempty"`
		P99        float64 `json:"p99_ratio"`
		CPU        float64 `json:"cpu_ratio"`
	}{own.name, peer.name, throughput, goals[peer.name], p99, cpu},
		"%s / %s: %.2f times the requests/s%s, %.2f times the p99, %.2f times the CPU of a request",
		own.name, peer.name, throughput, goal, p99, cpu)
}

// throughput is the median, over the turns, of how many times the peer's
// requests per second r came to.
func (r *result) throughput(peer *result) float64 {
	var each []float64
	for i := range r.turns {
		if s := peer.turns[i].perSecond(); s > 0 {
			each = append(each, r.turns[i].perSecond()/s)
		}
	}
	return median(each)
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
