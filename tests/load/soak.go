package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine/socket"
)

// idleWait is how long the demo is left alone before its memory is read.
const idleWait = 5 * time.Second

// idle starts the demo as a newcomer would and reads the memory of the gate's
// process, without its children's.
func idle(ctx context.Context, o options, dir string, p *printer) error {
	cmd := exec.Command(o.server, "serve", "--addr", "127.0.0.1:0", "--data", filepath.Join(dir, "demo"))
	proc, err := start(cmd)
	if err != nil {
		return err
	}
	defer proc.stop()
	if _, err := proc.line(ctx, func(l string) (string, bool) {
		l = strings.TrimSpace(l)
		return l, strings.HasPrefix(l, "http://")
	}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idleWait):
	}
	m := proc.memory()
	p.line(struct {
		Demo      string `json:"demo"`
		Resident  int64  `json:"resident_bytes"`
		Anonymous int64  `json:"anonymous_bytes"`
		Goal      int64  `json:"goal_bytes"`
	}{"idle", m.resident, m.anonymous, idleGoal},
		"the demo, idle: %d MB in memory (goal under %d MB), %d MB of it its own and the rest pages of files",
		m.resident>>20, idleGoal>>20, m.anonymous>>20)
	return nil
}

// soakSamples is how often memory is looked at during a soak.
const soakSamples = 20

// growthFrom is the share of a soak after which the server has reached its
// working size: growth is measured from there.
const growthFrom = 0.3

// usage is the server's memory at one moment.
type usage struct {
	Seconds    float64 `json:"seconds"`
	Requests   int     `json:"requests"`
	Resident   int64   `json:"resident_bytes"`
	Anonymous  int64   `json:"anonymous_bytes"`
	Heap       int64   `json:"heap_bytes"`
	Goroutines int64   `json:"goroutines"`
	Provider   int64   `json:"provider_anonymous_bytes,omitempty"` // when calls go through it
}

// soak drives the server alone and prints how its memory goes. The resident
// memory holds pages of the growing audit log, which the kernel keeps as long as
// nobody else wants the room; what must not grow is the rest.
func soak(ctx context.Context, o options, dir string, p *printer) error {
	own, providerPID, stop, err := soaked(ctx, o, dir)
	if err != nil {
		return err
	}
	defer stop()
	began, total := time.Now(), sample{}
	var seen []usage
	for range soakSamples {
		total.add(drive(ctx, &own.target, o.connections, o.soak/soakSamples, false))
		u, err := own.usage(ctx)
		if err != nil {
			return err
		}
		u.Seconds, u.Requests = time.Since(began).Seconds(), total.requests
		its := ""
		if providerPID != 0 {
			u.Provider = memoryOf(providerPID).anonymous
			its = fmt.Sprintf(" %6.1f MB the provider's", megabytes(u.Provider))
		}
		seen = append(seen, u)
		p.line(u, "%7.1fs %9d requests %6d MB in memory %6.1f MB of it its own %6.1f MB heap %4d goroutines%s", u.Seconds, u.Requests,
			u.Resident>>20, megabytes(u.Anonymous), megabytes(u.Heap), u.Goroutines, its)
	}
	first, last := seen[int(growthFrom*soakSamples)], seen[len(seen)-1]
	p.line(struct {
		Growth     int64 `json:"anonymous_growth_bytes"`
		Heap       int64 `json:"heap_growth_bytes"`
		Goroutines int64 `json:"goroutine_growth"`
		Provider   int64 `json:"provider_growth_bytes"`
	}{last.Anonymous - first.Anonymous, last.Heap - first.Heap, last.Goroutines - first.Goroutines, last.Provider - first.Provider},
		"grown since %.0fs: %.1f MB of its own memory, %.1f MB of heap, %d goroutines, %.1f MB of the provider's", first.Seconds,
		megabytes(last.Anonymous-first.Anonymous), megabytes(last.Heap-first.Heap), last.Goroutines-first.Goroutines, megabytes(last.Provider-first.Provider))
	return errors.Join(wrong([]result{{name: own.name, total: total}}), ctx.Err())
}

// soaked starts the server that is watched; with -hop its calls go through the
// provider to an upstream, and the provider is watched too.
func soaked(ctx context.Context, o options, dir string) (own *ours, providerPID int, stop func(), err error) {
	if !o.hop {
		if own, err = startOurs(ctx, o.server, filepath.Join(dir, "ours")); err != nil {
			return nil, 0, nil, err
		}
		return own, 0, own.proc.stop, nil
	}
	upstream, err := startUpstream(ctx)
	if err != nil {
		return nil, 0, nil, err
	}
	h, err := startHopped(ctx, "gate", o.server, filepath.Join(dir, "gate"), upstream)
	if err != nil {
		upstream.proc.stop()
		return nil, 0, nil, err
	}
	return h.ours, h.provider, func() { h.proc.stop(); upstream.proc.stop() }, nil
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

// usage reads the server's memory from outside and from its metrics.
func (o *ours) usage(ctx context.Context) (usage, error) {
	m := o.proc.memory()
	u := usage{Resident: m.resident, Anonymous: m.anonymous}
	metrics, err := o.metrics(ctx)
	if err != nil {
		return u, err
	}
	u.Goroutines = int64(metrics["go_goroutines"])
	u.Heap = int64(metrics["go_memstats_heap_alloc_bytes"])
	return u, nil
}

// metrics reads the server's metrics without labels, on its admin socket.
func (o *ours) metrics(ctx context.Context) (map[string]float64, error) {
	client := &http.Client{Timeout: answerTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return socket.Dial(ctx, filepath.Join(o.data, "admin.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading the metrics: status %d", resp.StatusCode)
	}
	found := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			found[name] = n
		}
	}
	return found, lines.Err()
}
