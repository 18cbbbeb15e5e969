package policy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"vouchsafe/engine"
)

// The stages of admission, in their order.
const (
	StageCapabilities = "capabilities" // it uses nothing but what policies may use
	StageCompile      = "compile"      // it is whole, and compiles against its schemas
	StageTests        = "tests"        // its own tests hold
	StageCoverage     = "coverage"     // and evaluate enough of it
	StageProbes       = "probes"       // it does not open the wall
	StageReplay       = "replay"       // it does not decide too much otherwise

	admitProbes  = 6000 // questions asked before a policy is put in force
	keptVerdicts = 256  // of stages that were passed or failed before
)

// AdmitOptions say what is asked of a policy before it may be put in force.
type AdmitOptions struct {
	// Strict asks for what `policy check` and `policy test` ask for: METADATA on
	// every denial, tests, and their coverage. Without it a policy may have no
	// tests, but those that it has must hold.
	Strict bool
	// Coverage is the least coverage of the tests, in percent. Nil means 100 when
	// Strict, and else that it does not matter.
	Coverage *float64
	Probe    ProbeOptions
	// Replay bounds how much may be decided otherwise; nil for no bound.
	Replay *ReplayBudget
}

// AdmitReport is what admission came to.
type AdmitReport struct {
	Policy string       `json:"policy"` // revision; "" when it does not compile
	Stages []Stage      `json:"stages"` // those gone through, the failed one last
	Tests  *TestReport  `json:"tests,omitempty"`
	Probes *ProbeReport `json:"probes,omitempty"`
	Replay *FlipReport  `json:"replay,omitempty"`
}

// Stage is one stage of admission.
type Stage struct {
	Name   string        `json:"name"`
	Took   time.Duration `json:"took_ns"`
	Cached bool          `json:"cached,omitempty"` // the same content has gone through it before
}

// Refusal is why a policy is not put in force.
type Refusal struct {
	Stage string
	Err   error
}

func (r *Refusal) Error() string {
	switch r.Stage {
	case StageCapabilities:
		return "the policy uses what policies may not use: " + r.Err.Error()
	case StageTests:
		return "the policy's own tests do not hold: " + r.Err.Error()
	case StageCoverage:
		return "the policy's tests evaluate too little of it: " + r.Err.Error()
	case StageProbes:
		return "the policy opens what must stay closed: " + r.Err.Error()
	case StageReplay:
		return "the policy decides too much otherwise than the one in force: " + r.Err.Error()
	}
	return r.Err.Error()
}

func (r *Refusal) Unwrap() error { return r.Err }

// Admit makes a Set of a policy folder that may be put in force: it is whole,
// its own tests hold, and the probes do not get through it. It reads the folder
// once, so what was tried is what is returned. The error is a *Refusal, unless
// ctx ended first. What the same content came to before is not tried again.
func Admit(ctx context.Context, fsys fs.FS, catalog []*engine.Action, opts AdmitOptions) (*Set, AdmitReport, error) {
	var report AdmitReport
	src, problems := read(fsys)
	if src == nil {
		return nil, report, &Refusal{StageCompile, problems.sorted()}
	}
	if opts.Probe.Limit <= 0 {
		opts.Probe.Limit = admitProbes
	}
	content := src.whole()
	stage := func(name string, settings any, run func() (verdict, error)) (verdict, error) {
		started := time.Now()
		key := verdictKey(name, content, settings)
		v, known := verdicts.get(key)
		if !known {
			var err error
			if v, err = run(); err != nil {
				return verdict{}, err
			}
			if !v.fleeting {
				verdicts.put(key, v)
			}
		}
		report.Stages = append(report.Stages, Stage{Name: name, Took: time.Since(started), Cached: known})
		if v.refusal != nil {
			return v, &Refusal{name, v.refusal}
		}
		return v, nil
	}

	// One look finds both what may not be used and what does not compile.
	var found Problems
	var compiled *Set
	looked := false
	look := func() {
		if !looked {
			looked = true
			compiled, found = src.admissible(problems, opts.Strict)
		}
	}
	if _, err := stage(StageCapabilities, []any{problems, opts.Strict}, func() (verdict, error) {
		look()
		if forbidden := found.of(ProblemCapability); len(forbidden) > 0 {
			return verdict{refusal: forbidden}, nil
		}
		return verdict{}, nil
	}); err != nil {
		return nil, report, err
	}
	checked, err := stage(StageCompile, []any{problems, opts.Strict}, func() (verdict, error) {
		look()
		if len(found) > 0 {
			return verdict{refusal: found}, nil
		}
		return verdict{set: compiled}, nil
	})
	if err != nil {
		return nil, report, err
	}
	set := checked.set
	report.Policy = set.Revision()

	var wanted TestOptions
	if opts.Strict {
		wanted.Coverage = opts.Coverage
	}
	tested, err := stage(StageTests, []any{wanted.Coverage, opts.Strict}, func() (verdict, error) {
		if !opts.Strict && len(src.tests) == 0 {
			return verdict{}, nil
		}
		r, err := src.test(ctx, wanted)
		switch {
		case ctx.Err() != nil:
			return verdict{}, ctx.Err()
		case err != nil:
			return verdict{refusal: err, fleeting: true}, nil
		case opts.Strict && !r.Passed() || r.broken():
			return verdict{tests: &r, refusal: r.failure(), fleeting: true}, nil
		}
		return verdict{tests: &r}, nil
	})
	report.Tests = tested.tests
	if err != nil {
		return nil, report, err
	}

	if opts.Coverage != nil && !opts.Strict {
		if _, err := stage(StageCoverage, *opts.Coverage, func() (verdict, error) {
			return verdict{refusal: tested.tests.short(*opts.Coverage)}, nil
		}); err != nil {
			return nil, report, err
		}
	}

	probed, err := stage(StageProbes, probeSettings(catalog, opts.Probe), func() (verdict, error) {
		r, err := Probe(ctx, set, catalog, opts.Probe)
		switch {
		case ctx.Err() != nil:
			return verdict{}, ctx.Err()
		case err != nil:
			return verdict{refusal: err, fleeting: true}, nil
		case !r.Passed():
			return verdict{probes: &r, refusal: r.failure()}, nil
		}
		return verdict{probes: &r}, nil
	})
	report.Probes = probed.probes
	if err != nil {
		return nil, report, err
	}

	if opts.Replay != nil {
		replayed, err := stage(StageReplay, opts.Replay.settings(), func() (verdict, error) {
			r, err := opts.Replay.try(ctx, set)
			switch {
			case ctx.Err() != nil:
				return verdict{}, ctx.Err()
			case err != nil:
				return verdict{refusal: err, fleeting: true}, nil
			}
			return verdict{replay: &r, refusal: opts.Replay.exceeded(r)}, nil
		})
		report.Replay = replayed.replay
		if err != nil {
			return nil, report, err
		}
	}
	return set, report, nil
}

// admissible checks and compiles. How a file is laid out is for its author: it
// decides nothing. Nor does what a rule says of itself.
func (src *source) admissible(problems Problems, strict bool) (*Set, Problems) {
	var found Problems
	for _, p := range src.check(problems) {
		if p.Code != ProblemFormat && (strict || p.Code != ProblemMetadata && p.Code != ProblemDuplicate) {
			found = append(found, p)
		}
	}
	if len(found) > 0 {
		return nil, found
	}
	set, found := src.compile()
	return set, found.sorted()
}

// broken reports that a test that was run did not hold.
func (r *TestReport) broken() bool {
	return slices.ContainsFunc(r.Tests, func(t TestResult) bool { return t.Outcome == OutcomeFail || t.Outcome == OutcomeError })
}

// failure says which of a policy's tests did not hold, in one line.
func (r *TestReport) failure() error {
	said := strings.Join(r.Failures, "; ")
	for _, t := range r.Tests {
		if t.Outcome == OutcomeFail || t.Outcome == OutcomeError {
			return fmt.Errorf("%s (%s at %s:%d)", said, t.Name, t.File, t.Line)
		}
	}
	for _, u := range r.Uncovered {
		return fmt.Errorf("%s (%s:%d)", said, u.File, u.First)
	}
	return fmt.Errorf("%s", said)
}

// short says that the tests evaluate less than percent of the policy, nil when
// they do not. r is nil when there is not one test.
func (r *TestReport) short(percent float64) error {
	switch {
	case r == nil && percent > 0:
		return fmt.Errorf("it has no tests, and %g%% is asked for", percent)
	case r == nil || r.Coverage >= percent:
		return nil
	}
	at := ""
	if len(r.Uncovered) > 0 {
		at = fmt.Sprintf(" (such as %s:%d)", r.Uncovered[0].File, r.Uncovered[0].First)
	}
	return fmt.Errorf("%.1f%%, and %g%% is asked for%s", r.Coverage, percent, at)
}

func (r *ProbeReport) failure() error {
	more := ""
	if n := len(r.Findings); n > 1 {
		more = fmt.Sprintf("\nand %d more: vouchsafe policy probe shows them", n-1)
	}
	return fmt.Errorf("%s%s", r.Findings[0].String(), more)
}

// verdict is what a stage came to. The refusal is nil when it was passed.
type verdict struct {
	set     *Set
	tests   *TestReport
	probes  *ProbeReport
	replay  *FlipReport
	refusal error
	// fleeting says that it may come to something else the next time, since
	// something took too long.
	fleeting bool
}

type verdictID [sha256.Size]byte

// verdicts are remembered by the content they are about.
var verdicts verdictCache

type verdictCache struct {
	mu    sync.Mutex
	known map[verdictID]verdict
	order []verdictID // oldest first
}

func (c *verdictCache) get(id verdictID) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.known[id]
	return v, ok
}

func (c *verdictCache) put(id verdictID, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[verdictID]verdict{}
	}
	if _, known := c.known[id]; !known {
		c.order = append(c.order, id)
	}
	c.known[id] = v
	if len(c.order) > keptVerdicts {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
}

// verdictKey is a stage with all that its outcome depends on.
func verdictKey(stage string, content verdictID, settings any) verdictID {
	b, err := json.Marshal(settings)
	if err != nil {
		b = fmt.Appendf(nil, "%#v", settings)
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s\x00%x\x00%s", stage, content, b))
}

// probeSettings is what probes depend on beside the policy.
func probeSettings(catalog []*engine.Action, opts ProbeOptions) any {
	type action struct {
		Facts  string
		Args   any
		Fields []string
	}
	var actions []action
	for _, a := range catalog {
		one := action{Facts: fmt.Sprint(a.Name, "\x00", a.Personal, a.Risk, a.MinTier), Fields: a.Fields}
		if a.Args != nil {
			one.Args = a.Args.Source()
		}
		actions = append(actions, one)
	}
	var sites []string
	for _, s := range opts.Sites {
		sites = append(sites, fmt.Sprint(s.ID, "\x00", s.Tier, s.MaxTokenLifetime))
	}
	return []any{actions, sites, opts.Seed, opts.Limit}
}
