package gate_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"path/filepath"
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
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// sealOnly is a log without a disk: it makes the stored form of the record,
// hashed and enciphered, and drops it.
type sealOnly struct {
	sealer *audit.Sealer
	buf    []byte
}

func newSealOnly(b *testing.B) *sealOnly {
	s, err := audit.OpenSealer(filepath.Join(b.TempDir(), "people.db"), Master())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return &sealOnly{sealer: s}
}

func (s *sealOnly) Decision(ctx context.Context, d *audit.Decision) (err error) {
	s.buf, err = s.sealer.Decision(ctx, s.buf[:0], d)
	return err
}

func (s *sealOnly) Outcome(context.Context, string, audit.Outcome) error { return nil }

// inputOnly keeps the policy's input of what passes.
type inputOnly struct{ input []byte }

func (i *inputOnly) Decision(_ context.Context, d *audit.Decision) error {
	i.input = d.Input.AppendJSON(nil)
	return nil
}

func (i *inputOnly) Outcome(context.Context, string, audit.Outcome) error { return nil }

// BenchmarkGate is the path in process without the disk: token remembered,
// pinned, validated, evaluated, record enciphered. BenchmarkPreparedQuery,
// beside it, is OPA's own evaluation of the same input.
func BenchmarkGate(b *testing.B) {
	w := New(b, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Log: newSealOnly(b), Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
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
	log := &inputOnly{}
	g := gate.New(gate.Options{Policy: w.Policy, Log: log, Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
	if _, err := g.Ask(ctx, question(w, w.Token(b, "demo", Alex, nil))); err != nil {
		b.Fatal(err)
	}
	var asked any
	if err := json.Unmarshal(log.input, &asked); err != nil {
		b.Fatal(err)
	}
	input, err := ast.InterfaceToValue(asked)
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

// BenchmarkGateShadowed is BenchmarkGate with a candidate beside the policy in
// force. The evaluation of the candidate takes a processor of its own; with one
// for both, it shows here.
func BenchmarkGateShadowed(b *testing.B) {
	w := New(b, Options{})
	shadow := policy.NewShadow(w.Policy.Active(), w.Clock.Now)
	defer shadow.Stop()
	w.Policy.Shadow(shadow)
	g := gate.New(gate.Options{Policy: w.Policy, Log: newSealOnly(b), Clock: w.Clock.Now, EvaluationTimeout: time.Minute})
	token := w.Token(b, "demo", Alex, nil)
	b.ReportAllocs()
	for b.Loop() {
		d, err := g.Ask(ctx, question(w, token))
		if err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
	b.ReportMetric(shadow.Report().Sampled, "sampled")
}
