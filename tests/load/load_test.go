package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The bare gin peer and the upstream are this program again, in processes of
// their own.
func TestMain(m *testing.M) {
	hidden()
	os.Exit(m.Run())
}

// lines runs the program and returns what it printed as JSON.
func lines(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	var out, errs bytes.Buffer
	if err := run(context.Background(), append(args, "-format", "json"), &out, &errs); err != nil {
		t.Fatalf("load %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	var list []map[string]any
	for line := range strings.Lines(out.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("load %s printed %q: %v", strings.Join(args, " "), line, err)
		}
		list = append(list, v)
	}
	return list
}

// positive fails for members that are missing or not over 0.
func positive(t *testing.T, v map[string]any, members ...string) {
	t.Helper()
	for _, m := range members {
		if n, ok := v[m].(float64); !ok || n <= 0 {
			t.Errorf("%s = %v, want more than 0, in %v", m, v[m], v)
		}
	}
}

func TestLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the server and drives it")
	}
	dir := t.TempDir()
	server, err := buildServer(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("every question is answered", func(t *testing.T) {
		got := lines(t, "-server", server, "-dir", dir, "-seconds", "1", "-connections", "8", "-peers", "gin")
		if len(got) != 3 {
			t.Fatalf("printed %d lines, want two targets and a ratio: %v", len(got), got)
		}
		for i, name := range []string{"vouchsafe", "gin"} {
			if got[i]["target"] != name || got[i]["errors"] != 0.0 {
				t.Errorf("line %d is %v, want %s without errors", i, got[i], name)
			}
			positive(t, got[i], "requests", "requests_per_second", "p50_ms", "p99_ms", "cpu_seconds", "resident_bytes")
		}
		positive(t, got[2], "throughput_ratio", "throughput_goal", "p99_ratio")
	})

	t.Run("by Go's own client too", func(t *testing.T) {
		got := lines(t, "-server", server, "-dir", dir, "-seconds", "0.3", "-connections", "4", "-peers", "", "-client", "net/http")
		if len(got) != 1 || got[0]["errors"] != 0.0 {
			t.Fatalf("printed %v, want one target without errors", got)
		}
		positive(t, got[0], "requests")
	})

	t.Run("a read goes through gate and provider", func(t *testing.T) {
		got := lines(t, "-server", server, "-dir", dir, "-hop", "-seconds", "0.3", "-connections", "4", "-client", "net/http")
		names := []string{"direct", "provider", "gate", "gate, no disk"}
		each := 2*len(names) - 1 // and a ratio for all but the first
		if len(got) != 2*each {
			t.Fatalf("printed %d lines, want %d at 4 connections and as many at 1: %v", len(got), each, got)
		}
		for i, line := range got {
			at := i % each
			switch {
			case at >= len(names):
				if line["target"] != names[1+at-len(names)] || line["peer"] != "direct" {
					t.Errorf("line %d is %v, want how %s compares", i, line, names[1+at-len(names)])
				}
				positive(t, line, "throughput_ratio", "throughput_goal")
			case line["target"] != names[at] || line["errors"] != 0.0:
				t.Errorf("line %d is %v, want %s without errors", i, line, names[at])
			default:
				positive(t, line, "requests", "requests_per_second", "p50_ms")
			}
		}
	})

	t.Run("memory is watched", func(t *testing.T) {
		got := lines(t, "-server", server, "-dir", dir, "-soak", "1s", "-connections", "2")
		if len(got) != soakSamples+1 {
			t.Fatalf("printed %d lines, want %d samples and the growth: %v", len(got), soakSamples, got)
		}
		positive(t, got[soakSamples-1], "requests", "resident_bytes", "anonymous_bytes", "heap_bytes", "goroutines")
	})

	t.Run("the provider's memory is watched", func(t *testing.T) {
		got := lines(t, "-server", server, "-dir", dir, "-hop", "-soak", "1s", "-connections", "2")
		if len(got) != soakSamples+1 {
			t.Fatalf("printed %d lines, want %d samples and the growth: %v", len(got), soakSamples, got)
		}
		positive(t, got[soakSamples-1], "requests", "provider_anonymous_bytes")
	})

	t.Run("nothing is left behind", func(t *testing.T) {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("the folder holds %v, %v, want the server alone", entries, err)
		}
	})
}

func TestWrongAnswersAreErrors(t *testing.T) {
	failed := errors.New("status 403")
	for name, r := range map[string]result{
		"a wrong answer": {name: "x", total: sample{requests: 10, errors: 1, firstErr: failed}},
		"no answer":      {name: "x"},
	} {
		if wrong([]result{r}) == nil {
			t.Errorf("%s is no error", name)
		}
	}
	if err := wrong([]result{{name: "x", total: sample{requests: 1}}}); err != nil {
		t.Errorf("right answers are an error: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range []string{"-seconds 0", "-connections 0", "-peers envoy", "-format xml", "-client curl", "now", "-no-such-flag"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("parse(%q) is accepted", args)
		}
	}
	if _, err := parse([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("parse(-h) = %v, want help", err)
	}
	o, err := parse([]string{"-peers", ""}, io.Discard)
	if err != nil || len(o.peers) != 0 {
		t.Errorf("no peers: got %v, %v", o.peers, err)
	}
}

func TestReadResponse(t *testing.T) {
	type answer struct {
		Status int
		Body   string
	}
	for name, c := range map[string]struct {
		in   string
		want []answer // of the responses on one connection
	}{
		"with a length":  {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", []answer{{200, "hi"}}},
		"in chunks":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nb\r\n there, all\r\n0\r\n\r\n", []answer{{200, "hi there, all"}}},
		"one by one":     {"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", []answer{{200, "a"}, {503, ""}}},
		"no length":      {"HTTP/1.1 200 OK\r\n\r\nhi", nil},
		"other protocol": {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", nil},
		"negative":       {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", nil},
		"cut short":      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", nil},
		"chunk too long": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n", nil},
		"silence":        {"", nil},
	} {
		r := bufio.NewReader(strings.NewReader(c.in))
		var got []answer
		for range max(1, len(c.want)) {
			status, body, err := readResponse(r, nil)
			if err != nil {
				break
			}
			got = append(got, answer{status, string(body)})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}
