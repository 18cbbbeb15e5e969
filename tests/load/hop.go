package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine/voucher"
)

// What the way through the gate and the provider may cost, beside the same
// upstream called directly.
const (
	hopGoal    = 0.3              // times its requests per second
	hopGoalP50 = time.Millisecond // on top of its p50, without the wait for the disk
)

// noDisk is where a gate's data waits for no disk.
const noDisk = "/dev/shm"

// upstreamCommand is the hidden command that runs the upstream.
const upstreamCommand = "serve-upstream"

const (
	connectionID   = "shop-admin" // as the manifest names it
	upstreamHeader = "X-Api-Key"
	upstreamKey    = "load-upstream-key-0001"
)

// firstOrder is the first visitor's order; each visitor has one.
const firstOrder = 1001

func orderOf(visitor int) string { return strconv.Itoa(firstOrder + visitor) }

// serveUpstream answers GET /orders/{id} with the visitor's order, a document of
// about 800 bytes. It never returns but for an error.
func serveUpstream() error {
	var answers [visitors][]byte
	for i := range answers {
		answers[i] = order(i)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("id"))
		if n -= firstOrder; err != nil || n < 0 || n >= visitors || r.Header.Get(upstreamHeader) != upstreamKey {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(answers[n])
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("the upstream answers on http://" + l.Addr().String())
	return http.Serve(l, mux)
}

func order(visitor int) []byte {
	v := visitorAt(visitor)
	return fmt.Appendf(nil, `{"order":{"id":%q,"status":"shipped","total":"84.50","currency":"GBP","created_at":"2026-11-02T09:14:00Z",`+
		`"customer":{"id":%q,"email":%q,"name":%q,"phone":"+44 20 7946 0018"},`+
		`"lines":[{"sku":"HG-1181","title":"Waxed canvas jacket, moss","quantity":1,"price":"64.00"},{"sku":"HG-0220","title":"Wool socks, two pairs","quantity":1,"price":"20.50"}],`+
		`"shipping":{"carrier":"Harbor Post","tracking":"HP00018846GB","method":"standard","address":{"line1":"12 Quay Street","city":"Falmouth","postcode":"TR11 3HH","country":"GB"}},`+
		`"payment":{"brand":"visa","last4":"4242","captured":true},"note":"Please leave with a neighbour if nobody answers.","tags":["web","returning"]}}`,
		orderOf(visitor), v.subject, v.email, v.name)
}

// startUpstream runs the upstream in a process of its own. As a target it is
// what whoever has its key could call directly.
func startUpstream(ctx context.Context) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := start(exec.Command(self, upstreamCommand))
	if err != nil {
		return nil, err
	}
	addr, err := p.line(ctx, served)
	if err != nil {
		p.stop()
		return nil, err
	}
	t := &target{name: "direct", addr: addr, proc: p, want: []byte(`"status":"shipped"`)}
	for i := range visitors {
		t.requests = append(t.requests, fmt.Appendf(nil, "GET /orders/%s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", orderOf(i), addr, upstreamHeader, upstreamKey))
	}
	return ready(ctx, t)
}

// hopped is a gate with its provider, before the upstream.
type hopped struct {
	*ours
	dir      string
	provider int // its process
}

// startHopped starts the built server and gives its provider the upstream.
func startHopped(ctx context.Context, name, binary, dir string, upstream *target) (*hopped, error) {
	o, err := startOurs(ctx, binary, dir)
	if err != nil {
		return nil, err
	}
	h := &hopped{ours: o, dir: dir}
	if err := h.connect(ctx, name, binary, upstream); err != nil {
		o.proc.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return h, nil
}

func (h *hopped) connect(ctx context.Context, name, binary string, upstream *target) error {
	add := exec.CommandContext(ctx, binary, "connection", "add", connectionID, "--site", siteID, "--config", filepath.Join(h.dir, "vouchsafe.yaml"),
		"--type", "api_key", "--header", upstreamHeader, "--value-env", "LOAD_UPSTREAM_KEY", "--base-url", "http://"+upstream.addr)
	add.Env = append(os.Environ(), "LOAD_UPSTREAM_KEY="+upstreamKey)
	if out, err := add.CombinedOutput(); err != nil {
		return fmt.Errorf("adding the connection: %w\n%s", err, out)
	}
	var err error
	if h.provider, err = h.proc.child("connection", "serve"); err != nil {
		return err
	}
	h.name, h.want = name, []byte(`"status":"shipped"`)
	for i, token := range h.tokens {
		h.requests[i] = request(h.addr, "/v1/sites/"+siteID+"/actions/"+action, token, fmt.Appendf(nil, `{"args":{"order_id":%q}}`, orderOf(i)))
	}
	h.counted = []counted{{"client", os.Getpid()}, {"gate", h.proc.cmd.Process.Pid}, {"provider", h.provider}, {"upstream", upstream.proc.cmd.Process.Pid}}
	return h.proc.answers(ctx, &h.target)
}

// hop is the provider's part alone: this program calls it as the gate does,
// with a voucher of the gate's key for each call.
func (h *hopped) hop(upstream *target) (*target, error) {
	text, err := os.ReadFile(filepath.Join(h.dir, "keys", "permit"))
	if err != nil {
		return nil, err
	}
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("the gate's permit key cannot be read")
	}
	dir := filepath.Join(h.data, "provider")
	client, err := provider.NewClient(filepath.Join(dir, "provider.sock"), provider.ProxyKeyFile(dir))
	if err != nil {
		return nil, err
	}
	grant := vouching{voucher.NewSigner(ed25519.NewKeyFromSeed(seed))}
	t := &target{name: "provider", proc: h.proc}
	t.counted = []counted{{"client", os.Getpid()}, {"provider", h.provider}, {"upstream", upstream.proc.cmd.Process.Pid}}
	t.call = func(ctx context.Context, n int) error {
		reply, err := client.Do(ctx, provider.Call{Site: siteID, Connection: connectionID, Method: http.MethodGet, Path: "/orders/" + orderOf(n), Grant: grant})
		if err != nil {
			return err
		}
		if reply.Status != http.StatusOK || !bytes.Contains(reply.Body, upstream.want) {
			return fmt.Errorf("status %d: %.300s", reply.Status, reply.Body)
		}
		return nil
	}
	return t, nil
}

// vouching vouches for a call as a gate's grant does.
type vouching struct{ signer *voucher.Signer }

func (v vouching) Vouch(audience string, c voucher.Call) (string, error) {
	return v.signer.Sign(audience, "d_06dbcfyz6g000ek2v6nwst0g7c", c, time.Now())
}

// hops measures what a read through the gate and the provider costs: at the
// given number of connections, and alone.
func hops(ctx context.Context, o options, dir string, p *printer) error {
	upstream, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	defer upstream.proc.stop()
	upstream.counted = []counted{{"client", os.Getpid()}, {"upstream", upstream.proc.cmd.Process.Pid}}
	shm, err := os.MkdirTemp(noDisk, "vouchsafe-load-")
	if err != nil {
		return fmt.Errorf("a gate that waits for no disk: %w", err)
	}
	defer os.RemoveAll(shm)
	targets := []*target{upstream}
	starting := []struct{ name, binary, dir string }{
		{"gate", o.server, filepath.Join(dir, "gate")},
		{"gate, no disk", o.server, filepath.Join(shm, "gate")},
	}
	if o.baseline != "" {
		starting = append(starting, struct{ name, binary, dir string }{"before, no disk", o.baseline, filepath.Join(shm, "before")})
	}
	for i, s := range starting {
		h, err := startHopped(ctx, s.name, s.binary, s.dir, upstream)
		if err != nil {
			return err
		}
		defer h.proc.stop()
		if i == 0 {
			hop, err := h.hop(upstream)
			if err != nil {
				return err
			}
			targets = append(targets, hop)
		}
		targets = append(targets, &h.target)
	}
	var wrongs []error
	for _, n := range []int{o.connections, 1} {
		o.connections = n
		results := measure(ctx, targets, o)
		for i := range results {
			p.hop(targets[i], &results[i], n)
		}
		for i := range results[1:] {
			p.hopRatio(&results[1+i], &results[0], n)
		}
		wrongs = append(wrongs, wrong(results))
	}
	return errors.Join(append(wrongs, ctx.Err())...)
}

// hop prints what a target did, and what a request cost each process.
func (p *printer) hop(t *target, r *result, connections int) {
	cpu := map[string]float64{}
	var parts []string
	total := 0.0
	for i, c := range t.counted {
		if r.total.requests == 0 || i >= len(r.total.cpus) {
			continue
		}
		us := float64(r.total.cpus[i].Microseconds()) / float64(r.total.requests)
		cpu[c.name], total = us, total+us
		parts = append(parts, fmt.Sprintf("%s %.0f", c.name, us))
	}
	p50, p99 := r.total.percentile(0.50), r.total.percentile(0.99)
	p.line(struct {
		Target      string             `json:"target"`
		Connections int                `json:"connections"`
		PerSecond   float64            `json:"requests_per_second"`
		P50         float64            `json:"p50_ms"`
		P99         float64            `json:"p99_ms"`
		Requests    int                `json:"requests"`
		Errors      int                `json:"errors"`
		CPU         map[string]float64 `json:"cpu_microseconds_per_request"`
	}{r.name, connections, r.total.perSecond(), milliseconds(p50), milliseconds(p99), r.total.requests, r.total.errors, cpu},
		"%-16s %3d connections %7.0f requests/s, p50 %6.3f ms, p99 %6.2f ms, %d errors; CPU of a request: %.0f µs (%s)",
		r.name, connections, r.total.perSecond(), milliseconds(p50), milliseconds(p99), r.total.errors, total, strings.Join(parts, ", "))
}

// hopRatio prints what the way costs beside the direct call.
func (p *printer) hopRatio(r, direct *result, connections int) {
	throughput := r.throughput(direct)
	added := r.total.percentile(0.5) - direct.total.percentile(0.5)
	p.line(struct {
		Target      string  `json:"target"`
		Peer        string  `json:"peer"`
		Connections int     `json:"connections"`
		Throughput  float64 `json:"throughput_ratio"`
		Goal        float64 `json:"throughput_goal"`
		Added       float64 `json:"p50_added_ms"`
		AddedGoal   float64 `json:"p50_added_goal_ms"`
	}{r.name, direct.name, connections, throughput, hopGoal, milliseconds(added), milliseconds(hopGoalP50)},
		"%s / %s at %d: %.2f times the requests/s (goal %.2f at 32), p50 %.3f ms more (goal %.0f, without the disk)",
		r.name, direct.name, connections, throughput, hopGoal, milliseconds(added), milliseconds(hopGoalP50))
}
