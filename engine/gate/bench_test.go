package gate_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/policies"
)

// encodeOnly is a log without a disk: it encodes the record and drops it.
type encodeOnly struct{ buf []byte }

func (e *encodeOnly) Decision(_ context.Context, d *audit.Decision) error {
	e.buf = d.AppendJSON(e.buf[:0])
	return nil
}

func (e *encodeOnly) Outcome(context.Context, string, audit.Outcome) error { return nil }

// BenchmarkGate is the path in process without the disk: token remembered,
// pinned, validated, evaluated, record encoded. BenchmarkPreparedQuery, beside
// it, is OPA's own evaluation of the same input.
func BenchmarkGate(b *testing.B) {
	w := New(b, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Log: &encodeOnly{}, Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
	token := w.Token(b, "demo", Alex, nil)
	b.ReportAllocs()
	for b.Loop() {
		d, err := g.Ask(ctx, question(w, token))
		if err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

func question(w *World, token string) gate.Request {
	return gate.Request{Site: w.Pro, Identity: w.Verify("demo", token), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: "order.lookup", Args: order("1001")}}
}

func BenchmarkPreparedQuery(b *testing.B) {
	w := New(b, Options{})
	log := &encodeOnly{}
	g := gate.New(gate.Options{Policy: w.Policy, Log: log, Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
	if _, err := g.Ask(ctx, question(w, w.Token(b, "demo", Alex, nil))); err != nil {
		b.Fatal(err)
	}
	var record struct{ Input any }
	if err := json.Unmarshal(log.buf, &record); err != nil {
		b.Fatal(err)
	}
	input, err := ast.InterfaceToValue(record.Input)
	if err != nil {
		b.Fatal(err)
	}
	pq, err := rego.New(append(shippedModules(b), rego.Query("data.authz.decision"), rego.StrictBuiltinErrors(true))...).PrepareForEval(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		rs, err := pq.Eval(ctx, rego.EvalParsedInput(input))
		if err != nil || len(rs) != 1 || rs[0].Expressions[0].Value.(map[string]any)["allow"] != true {
			b.Fatal(rs, err)
		}
	}
}

func shippedModules(b *testing.B) []func(*rego.Rego) {
	b.Helper()
	var out []func(*rego.Rego)
	err := fs.WalkDir(policies.FS, "authz", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		src, err := fs.ReadFile(policies.FS, path)
		out = append(out, rego.Module(path, string(src)))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	src, err := policies.FS.ReadFile("data.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var data map[string]any
	if err := yaml.Unmarshal(src, &data); err != nil {
		b.Fatal(err)
	}
	return append(out, rego.Store(inmem.NewFromObject(data)))
}
