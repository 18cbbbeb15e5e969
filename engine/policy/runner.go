package policy

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TestOptions says which tests run and what is asked of them. The zero value
// runs them all and asks for full coverage.
type TestOptions struct {
	Run      string        // a regular expression of test names; "" runs all
	Coverage *float64      // the least coverage that passes, in percent; nil means 100, and no minimum when Run is set
	Parallel int           // 0 means one per processor
	Timeout  time.Duration // of one test; 0 means 5 seconds
}

// TestReport is what became of a policy's tests.
type TestReport struct {
	Tests     []TestResult `json:"tests"`
	Coverage  float64      `json:"coverage"` // percent of the policy's lines that can be evaluated
	Threshold float64      `json:"threshold"`
	Uncovered []Uncovered  `json:"uncovered,omitempty"`
	Rules     []RuleFires  `json:"rules"`             // every denial and obligation
	Dead      []DeadRule   `json:"dead,omitempty"`    // those of them that no test makes fire
	Partial   bool         `json:"partial,omitempty"` // only some tests ran, so that no rule need fire
	Failures  []string     `json:"failures,omitempty"`
}

// Passed reports that everything held that was asked.
func (r *TestReport) Passed() bool { return len(r.Failures) == 0 }

// TestResult is what became of one test.
type TestResult struct {
	Package  string        `json:"package"`
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Outcome  string        `json:"outcome"` // pass, fail, error or skip
	Error    string        `json:"error,omitempty"`
	Output   string        `json:"output,omitempty"` // of print
	Duration time.Duration `json:"duration_ns"`
}

// The outcomes of a test.
const (
	OutcomePass  = "pass"
	OutcomeFail  = "fail"
	OutcomeError = "error"
	OutcomeSkip  = "skip"
)

// Uncovered is a run of lines that no test evaluates.
type Uncovered struct {
	File  string `json:"file"`
	First int    `json:"first"`
	Last  int    `json:"last"`
}

// RuleFires is how often the tests bring a denial or an obligation about.
type RuleFires struct {
	DeadRule
	Kind  string `json:"kind"` // reason or obligation
	Fired int    `json:"fired"`
}

// The kinds of rules that are counted.
const (
	KindReason     = "reason"
	KindObligation = "obligation"
)

// DeadRule is a denial or an obligation that no test brings about.
type DeadRule struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"` // its code or the obligation's kind, or the rule's name when it has none
}

// Test runs a policy folder's tests. The error says that they could not be run;
// a test that fails, or too little coverage, is in the report.
func Test(ctx context.Context, fsys fs.FS, opts TestOptions) (TestReport, error) {
	src, problems := read(fsys)
	if len(problems) > 0 {
		return TestReport{}, problems.sorted()
	}
	return src.test(ctx, opts)
}

func (src *source) test(ctx context.Context, opts TestOptions) (TestReport, error) {
	modules := copyModules(src.modules, src.tests)
	store := inmem.NewFromObjectWithOpts(src.data, inmem.OptReturnASTValuesOnRead(true))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return TestReport{}, fmt.Errorf("opening the policy's data: %w", err)
	}
	defer store.Abort(ctx, txn)
	parallel := opts.Parallel
	if parallel <= 0 {
		parallel = runtime.GOMAXPROCS(0)
	}
	timeout := opts.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	watch := &watcher{cover: cover.New(), fired: map[position]int{}}
	results, err := tester.NewRunner().
		SetCompiler(src.compiler().WithEnablePrintStatements(true)).
		SetStore(store).
		SetModules(modules).
		CapturePrintOutput(true).
		RaiseBuiltinErrors(true).
		SetParallel(parallel).
		SetTimeout(timeout).
		SetCoverageQueryTracer(watch).
		Filter(opts.Run).
		RunTests(ctx, txn)
	if err != nil {
		return TestReport{}, fromOPA("", err)
	}
	var report TestReport
	for r := range results {
		report.Tests = append(report.Tests, testResult(r))
	}
	if err := ctx.Err(); err != nil {
		return TestReport{}, fmt.Errorf("running the tests: %w", err)
	}
	slices.SortFunc(report.Tests, func(a, b TestResult) int {
		return strings.Compare(a.File+"\x00"+fmt.Sprintf("%08d", a.Line)+a.Name, b.File+"\x00"+fmt.Sprintf("%08d", b.Line)+b.Name)
	})
	report.measure(src, watch)
	report.judge(opts)
	return report, nil
}

func testResult(r *tester.Result) TestResult {
	t := TestResult{Package: r.Package, Name: r.Name, Outcome: OutcomePass, Output: string(r.Output), Duration: r.Duration}
	if r.Location != nil {
		t.File, t.Line = r.Location.File, r.Location.Row
	}
	switch {
	case r.Skip:
		t.Outcome = OutcomeSkip
	case r.Error != nil:
		t.Outcome, t.Error = OutcomeError, r.Error.Error()
	case r.Fail:
		t.Outcome = OutcomeFail
	}
	return t
}

// measure fills in coverage and dead rules.
func (r *TestReport) measure(src *source, watch *watcher) {
	covered := watch.cover.Report(src.modules)
	lines, missed := 0, 0
	for _, name := range sortedNames(src.modules) {
		file := covered.Files[name]
		if file == nil {
			continue
		}
		lines += file.CoveredLines + file.NotCoveredLines
		missed += file.NotCoveredLines
		for _, u := range file.NotCovered {
			lines := Uncovered{File: name, First: u.Start.Row, Last: u.End.Row}
			if !slices.Contains(r.Uncovered, lines) { // a rule's head and body may share their line
				r.Uncovered = append(r.Uncovered, lines)
			}
		}
	}
	r.Coverage = 100
	if lines > 0 {
		r.Coverage = 100 * float64(lines-missed) / float64(lines)
	}
	for _, d := range rulesOf(src.modules) {
		name := d.reason.Code
		if name == "" {
			name = string(d.rule.Head.Name)
		}
		r.count(d.rule, KindReason, name, watch)
	}
	for _, name := range sortedNames(src.modules) {
		for _, rule := range src.modules[name].Rules {
			if obliges(rule) {
				r.count(rule, KindObligation, obligationKind(rule), watch)
			}
		}
	}
}

func (r *TestReport) count(rule *ast.Rule, kind, name string, watch *watcher) {
	fires := RuleFires{DeadRule{File: rule.Location.File, Line: rule.Location.Row, Name: name}, kind, watch.fired[placeOf(rule)]}
	r.Rules = append(r.Rules, fires)
	if fires.Fired == 0 {
		r.Dead = append(r.Dead, fires.DeadRule)
	}
}

// obligationKind is the kind that an obligation's rule writes out, or the rule's
// name when it works the kind out.
func obligationKind(rule *ast.Rule) string {
	if rule.Head.Key != nil {
		if o, ok := rule.Head.Key.Value.(ast.Object); ok {
			if kind := o.Get(memberKind); kind != nil {
				if s, ok := kind.Value.(ast.String); ok {
					return string(s)
				}
			}
		}
	}
	return rule.Head.Name.String()
}

// judge says what did not hold.
func (r *TestReport) judge(opts TestOptions) {
	fail := func(format string, args ...any) { r.Failures = append(r.Failures, fmt.Sprintf(format, args...)) }
	counts := map[string]int{}
	for _, t := range r.Tests {
		counts[t.Outcome]++
	}
	if len(r.Tests) == counts[OutcomeSkip] {
		fail("no test ran")
	}
	if n := counts[OutcomeFail] + counts[OutcomeError]; n > 0 {
		fail("%d of %d tests failed", n, len(r.Tests))
	}
	r.Threshold = 100
	if r.Partial = opts.Run != ""; r.Partial {
		r.Threshold = 0
	}
	if opts.Coverage != nil {
		r.Threshold = *opts.Coverage
	}
	if r.Coverage < r.Threshold {
		fail("coverage is %.1f%%, below %g%%", r.Coverage, r.Threshold)
	}
	if len(r.Dead) > 0 && !r.Partial {
		names := map[string]bool{}
		for _, d := range r.Dead {
			names[d.Name] = true
		}
		fail("no test makes these fire: %s", strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
}

// watcher notes what the tests evaluate and which rules they bring about.
type watcher struct {
	cover *cover.Cover
	mu    sync.Mutex
	fired map[position]int
}

// position is where a rule begins.
type position struct {
	file string
	line int
}

func placeOf(rule *ast.Rule) position { return position{rule.Location.File, rule.Location.Row} }

func (*watcher) Enabled() bool                 { return true }
func (w *watcher) Config() topdown.TraceConfig { return w.cover.Config() }

func (w *watcher) TraceEvent(e topdown.Event) {
	w.cover.TraceEvent(e)
	if e.Op != topdown.ExitOp {
		return
	}
	if rule, ok := e.Node.(*ast.Rule); ok && rule.Location != nil {
		w.mu.Lock()
		w.fired[placeOf(rule)]++
		w.mu.Unlock()
	}
}
