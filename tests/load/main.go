// Command load measures the built server over loopback, beside other programs
// that answer the same question in the same run.
//
//	go run ./tests/load                  # the server, OPA, a bare gin handler, Cerbos
//	go run ./tests/load -peers opa       # fewer peers; -peers "" for none
//	go run ./tests/load -idle            # memory of the demo with nothing to do
//	go run ./tests/load -soak 10m        # memory over ten minutes of load
//	go run ./tests/load -hop             # a read through gate and provider, beside the upstream called directly
//	go run ./tests/load -hop -soak 10m   # memory of both over ten minutes of such reads
//
// Each asks POST /v1/sites/{site}/decisions, where a decision is answered once
// its token was verified and its record is on disk, or the peer's like of it.
// The targets take turns in short stretches, so that whatever else the machine
// does falls on all of them; ratios are the median over the turns. It needs
// Linux, for /proc, and the go command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	hidden()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// hidden runs the server that this program was started for by itself, if it was.
func hidden() {
	serve := map[string]func() error{ginCommand: serveGin, upstreamCommand: serveUpstream}
	if len(os.Args) == 2 && serve[os.Args[1]] != nil {
		fmt.Fprintln(os.Stderr, serve[os.Args[1]]())
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	seconds     float64
	connections int
	peers       []string
	json        bool
	ordinary    bool // the client is net/http's
	soak        time.Duration
	idle        bool
	hop         bool
	server      string
	baseline    string
	dir         string
}

func parse(args []string, errs io.Writer) (options, error) {
	var o options
	var peers, format, client string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(errs)
	f.Float64Var(&o.seconds, "seconds", 5, "how long each target is driven, in all")
	f.IntVar(&o.connections, "connections", 32, "how many connections ask at once")
	f.StringVar(&peers, "peers", "opa,gin,cerbos", "what is measured beside the server")
	f.StringVar(&format, "format", "pretty", "pretty, or json for JSON Lines")
	f.StringVar(&client, "client", "lean", "lean, which leaves the machine to the servers, or net/http")
	f.DurationVar(&o.soak, "soak", 0, "drive the server alone for so long and watch its memory")
	f.BoolVar(&o.idle, "idle", false, "start the demo and look at its memory")
	f.BoolVar(&o.hop, "hop", false, "measure a read through the gate and the provider, beside the upstream called directly")
	f.StringVar(&o.server, "server", "", "a built server; built from this module when empty")
	f.StringVar(&o.baseline, "baseline", "", "another built server, such as the one before a change, measured as a peer")
	f.StringVar(&o.dir, "dir", "", "where the servers' folders are made, on the disk to be measured; the system's temporary folder when empty")
	if err := f.Parse(args); err != nil {
		return o, flag.ErrHelp
	}
	if o.seconds <= 0 || o.connections < 1 || f.NArg() > 0 {
		return o, errors.New("want a positive number of seconds and of connections, and no arguments")
	}
	for peer := range strings.SplitSeq(peers, ",") {
		if peer == "" {
			continue
		}
		if peerStarters[peer] == nil {
			return o, fmt.Errorf("unknown peer %q: want opa, gin or cerbos", peer)
		}
		o.peers = append(o.peers, peer)
	}
	if format != "pretty" && format != "json" {
		return o, fmt.Errorf("unknown format %q: want pretty or json", format)
	}
	if client != "lean" && client != "net/http" {
		return o, fmt.Errorf("unknown client %q: want lean or net/http", client)
	}
	o.json, o.ordinary = format == "json", client == "net/http"
	return o, nil
}

// run measures and prints. Its error means that something could not be started
// or answered wrongly; figures are never an error.
func run(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	o, err := parse(args, errs)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "vouchsafe-load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.server == "" {
		fmt.Fprintln(errs, "load: building the server")
		if o.server, err = buildServer(ctx, dir); err != nil {
			return err
		}
	}
	p := &printer{out: out, json: o.json}
	if o.idle {
		if err := idle(ctx, o, dir, p); err != nil {
			return err
		}
	}
	if o.soak > 0 {
		return soak(ctx, o, dir, p)
	}
	if o.hop {
		return hops(ctx, o, dir, p)
	}
	if o.idle {
		return nil
	}
	return compare(ctx, o, dir, p, errs)
}

// compare drives the server and its peers in turn.
func compare(ctx context.Context, o options, dir string, p *printer, errs io.Writer) error {
	own, err := startOurs(ctx, o.server, filepath.Join(dir, "ours"))
	if err != nil {
		return err
	}
	defer own.proc.stop()
	targets := []*target{&own.target}
	if o.baseline != "" {
		old, err := startOurs(ctx, o.baseline, filepath.Join(dir, "baseline"))
		if err != nil {
			return err
		}
		defer old.proc.stop()
		old.name = "baseline"
		targets = append(targets, &old.target)
	}
	for _, name := range o.peers {
		peerDir := filepath.Join(dir, name)
		if err := os.Mkdir(peerDir, 0o700); err != nil {
			return err
		}
		fmt.Fprintln(errs, "load: starting", name)
		t, err := peerStarters[name](ctx, peerDir)
		if errors.Is(err, errNotHere) {
			fmt.Fprintf(errs, "load: %s is left out: %v\n", name, err)
			continue
		}
		if err != nil {
			return err
		}
		defer t.proc.stop()
		targets = append(targets, t)
	}
	results := measure(ctx, targets, o)
	for i := range results {
		p.result(&results[i])
	}
	for i := range results[1:] {
		p.ratio(&results[0], &results[1+i])
	}
	return errors.Join(wrong(results), ctx.Err())
}

// stretch is how long a target is driven before the next one's turn.
const stretch = time.Second

// result is what one target did.
type result struct {
	name   string
	turns  []sample
	total  sample
	memory memory
}

// measure lets the targets take turns, after a warm-up of each.
func measure(ctx context.Context, targets []*target, o options) []result {
	turns := max(1, int(o.seconds/stretch.Seconds()+0.5))
	turn := time.Duration(o.seconds / float64(turns) * float64(time.Second))
	results := make([]result, len(targets))
	for i, t := range targets {
		t.ordinary = o.ordinary
		results[i].name = t.name
		drive(ctx, t, o.connections, turn/2, false)
	}
	for n := range turns {
		for i := range targets {
			if n%2 == 1 { // what one leaves behind, the next one pays for
				i = len(targets) - 1 - i
			}
			s := drive(ctx, targets[i], o.connections, turn, true)
			results[i].total.add(s)
			s.latencies = nil
			results[i].turns = append(results[i].turns, s)
		}
	}
	for i, t := range targets {
		results[i].memory = t.proc.memory()
	}
	return results
}

// wrong says which targets did not answer everything correctly.
func wrong(results []result) error {
	var errs []error
	for _, r := range results {
		if r.total.errors > 0 {
			errs = append(errs, fmt.Errorf("%s: %d of %d requests failed, the first with: %w",
				r.name, r.total.errors, r.total.errors+r.total.requests, r.total.firstErr))
		} else if r.total.requests == 0 {
			errs = append(errs, fmt.Errorf("%s answered nothing", r.name))
		}
	}
	return errors.Join(errs...)
}
