package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"vouchsafe/engine"
)

// ProbeOptions bound what is probed. The zero value will do.
type ProbeOptions struct {
	Sites []*engine.Site // those the policy is for; a made-up one when there are none
	Seed  uint64         // for what is chosen at random
	Limit int            // how many questions at most; 0 means 20000
	// Time is how long probing may take; 0 means a minute. What takes longer is
	// an error.
	Time time.Duration
}

// ProbeReport is what became of the probes.
type ProbeReport struct {
	Policy   string    `json:"policy"` // revision
	Seed     uint64    `json:"seed"`
	Actions  int       `json:"actions"`
	Probes   int       `json:"probes"`             // questions that any acceptable policy denies, and a few that it need not
	Release  int       `json:"release_probes"`     // questions to the release policy
	Compared int       `json:"compared"`           // of the probes, asked again with OPA's optimisations off
	LeftOut  int       `json:"left_out,omitempty"` // that the limit left no room for
	Waived   []string  `json:"waived,omitempty"`   // sites whose tier was not probed, as data.yaml says
	Failed   int       `json:"failed"`             // probes that found something
	Findings []Finding `json:"findings,omitempty"` // what they found, each once
}

// Passed reports that the probes found nothing.
func (r *ProbeReport) Passed() bool { return len(r.Findings) == 0 }

// Finding is one way in which a policy is not acceptable.
type Finding struct {
	Opens string          `json:"opens"` // identity, expiry, pinning, tier, action; or release, differs
	Says  string          `json:"says"`
	Input json.RawMessage `json:"input"` // the shortest that shows it
	Rules []RuleAt        `json:"rules,omitempty"`
}

// RuleAt is a rule to look at.
type RuleAt struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Name  string `json:"name"`
	Title string `json:"title,omitempty"`
	// Only says that the rule does not fire for an ordinary visitor, which makes
	// it the one to look at first. When none is so, a denial is missing.
	Only bool `json:"only,omitempty"`
}

func (f *Finding) String() string {
	s := f.Says
	if len(f.Rules) > 0 {
		s += fmt.Sprintf(" (%s:%d)", f.Rules[0].File, f.Rules[0].Line)
	}
	return s + ": " + string(f.Input)
}

// Bounds on how much of what was found is looked into.
const (
	keptFailures  = 200
	shrunkPerKind = 6
	shownPerKind  = 3
	compareEvery  = 16
)

// Probe asks a policy what no acceptable policy allows: of every action of the
// catalog, at the boundary of every dimension, and with every literal that
// stands in the policy's own text. Probes sample; what they do not find, the
// gate's own lock stops. The error says that the policy could not be probed.
func Probe(ctx context.Context, set *Set, catalog []*engine.Action, opts ProbeOptions) (ProbeReport, error) {
	if opts.Limit <= 0 {
		opts.Limit = 20000
	}
	if opts.Time <= 0 {
		opts.Time = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Time)
	defer cancel()
	g := newGenerator(set, catalog, opts.Sites, opts.Seed, opts.Limit)
	p := &prober{set: set, ctx: ctx, generator: g, failures: map[string][]numbered{}}
	p.askAll()
	release := p.askRelease()
	if err := ctx.Err(); err != nil {
		return ProbeReport{}, fmt.Errorf("probing the policy, after %d probes: %w", p.asked, err)
	}
	r := ProbeReport{Policy: set.revision, Seed: opts.Seed, Actions: len(catalog), Probes: p.asked, Release: release,
		Compared: p.compared, LeftOut: g.leftOut, Waived: set.Waived(), Failed: p.failed}
	for _, kind := range []string{OpensIdentity, OpensExpiry, OpensPinning, OpensAction, OpensTier, ProbeRelease, ProbeDiffers} {
		r.Findings = append(r.Findings, p.findings(kind)...)
	}
	if err := ctx.Err(); err != nil {
		return ProbeReport{}, fmt.Errorf("looking into what the probes found: %w", err)
	}
	return r, nil
}

// prober asks and keeps what fails.
type prober struct {
	set       *Set
	ctx       context.Context
	generator *generator

	asked, compared, failed int
	mu                      sync.Mutex
	failures                map[string][]numbered // by kind
	ordinarily              map[position]bool     // once worked out
}

type numbered struct {
	doc   document
	place int
}

// askAll asks every probe, on every processor.
func (p *prober) askAll() {
	batches := make(chan []numbered, 2*runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for batch := range batches {
				for _, n := range batch {
					if p.ctx.Err() == nil {
						p.ask(n)
					}
				}
			}
		})
	}
	var batch []numbered
	p.generator.run(func(d document) bool {
		batch = append(batch, numbered{d, p.asked})
		p.asked++
		if len(batch) == 64 {
			batches <- batch
			batch = nil
		}
		return p.ctx.Err() == nil
	})
	batches <- batch
	close(batches)
	wg.Wait()
}

func (p *prober) ask(n numbered) {
	v, err := p.set.evaluate(p.ctx, p.set.authz, jsonTerm(map[string]any(n.doc)).Value)
	if n.place%compareEvery == 0 {
		same := p.same(n.doc, v, err)
		p.mu.Lock()
		p.compared++
		p.mu.Unlock()
		if !same {
			p.fail(ProbeDiffers, n)
		}
	}
	if err != nil {
		return
	}
	if said, err := p.set.result(v); err == nil && said.Allow {
		for _, kind := range breaches(n.doc, p.set.waived) {
			p.fail(kind, n)
		}
	}
}

func (p *prober) fail(kind string, n numbered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed++
	kept := append(p.failures[kind], n)
	if len(kept) >= 2*keptFailures { // the first ones, whichever processor came upon them
		slices.SortFunc(kept, func(a, b numbered) int { return a.place - b.place })
		kept = kept[:keptFailures]
	}
	p.failures[kind] = kept
}

// allows reports whether the policy allows the input.
func (p *prober) allows(d document) bool {
	v, err := p.set.evaluate(p.ctx, p.set.authz, jsonTerm(map[string]any(d)).Value)
	if err != nil {
		return false
	}
	said, err := p.set.result(v)
	return err == nil && said.Allow
}

// same asks again with OPA's rule index and early exit off. A built-in that
// fails in a rule which the index excludes is no difference.
func (p *prober) same(d document, v ast.Value, err error) bool {
	plain, plainErr := p.set.evaluate(p.ctx, p.set.authz, jsonTerm(map[string]any(d)).Value, func(q *topdown.Query) {
		q.WithIndexing(false).WithEarlyExit(false)
	})
	if undefined, was := errors.Is(plainErr, ErrUndefined), errors.Is(err, ErrUndefined); undefined || was {
		return undefined == was || err != nil && plainErr != nil
	}
	if err != nil || plainErr != nil {
		return true
	}
	return ast.Compare(v, plain) == 0
}

// findings looks into the failures of a kind.
func (p *prober) findings(kind string) []Finding {
	var found []Finding
	seen := map[string]bool{}
	places := map[position]int{}
	shrunk := 0
	failures := p.failures[kind]
	slices.SortFunc(failures, func(a, b numbered) int { return a.place - b.place })
	failures = failures[:min(len(failures), keptFailures)]
	weight := map[int]int{}
	for _, f := range failures {
		weight[f.place] = len(breaches(f.doc, p.set.waived))<<20 + len(raw(f.doc))
	}
	slices.SortStableFunc(failures, func(a, b numbered) int { return weight[a.place] - weight[b.place] })
	for _, f := range failures {
		before := p.fired(f.doc)
		key := kind
		for _, rule := range before {
			key += fmt.Sprint(placeOf(rule))
		}
		if seen[key] || shrunk >= shrunkPerKind {
			continue
		}
		seen[key] = true
		shrunk++
		d := p.shortest(kind, f.doc)
		finding := Finding{Opens: kind, Says: opened[kind], Input: raw(d)}
		if kind != ProbeRelease {
			finding.Rules = p.rules(d)
		}
		if text := string(finding.Input); seen[text] {
			continue
		} else {
			seen[text] = true
		}
		if len(finding.Rules) > 0 { // one for each rule to look at, the shortest
			at := position{finding.Rules[0].File, finding.Rules[0].Line}
			if i, known := places[at]; known {
				if len(finding.Input) < len(found[i].Input) {
					found[i] = finding
				}
				continue
			}
			places[at] = len(found)
		}
		found = append(found, finding)
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return len(a.Input) - len(b.Input) })
	return found[:min(len(found), shownPerKind)]
}

// shortest shrinks the input of a failure for as long as it still shows it.
func (p *prober) shortest(kind string, doc document) document {
	about := p.like(doc)
	switch kind {
	case ProbeRelease:
		return shrink(doc, about, "records", func(d document) bool { return p.unusable(d) })
	case ProbeDiffers:
		return shrink(doc, about, "", func(d document) bool {
			v, err := p.set.evaluate(p.ctx, p.set.authz, jsonTerm(map[string]any(d)).Value)
			return !p.same(d, v, err)
		})
	}
	before := breaches(doc, p.set.waived)
	return shrink(doc, about, "", func(d document) bool {
		now := breaches(d, p.set.waived)
		return slices.Contains(now, kind) && narrows(now, before) && p.allows(d)
	})
}

// like is the ordinary input that is most like d.
func (p *prober) like(d document) document {
	g := p.generator
	a := g.byName[d.text("action", "name")]
	if a == nil {
		personal, _ := d.value("action", "personal").(bool)
		a = &engine.Action{Name: "probe.unknown", Personal: personal, Risk: engine.Read, MinTier: engine.Free}
	}
	for _, site := range g.sites {
		if site.ID == d.text("site", "id") {
			return ordinary(site, a)
		}
	}
	return ordinary(g.sites[0], a)
}

// usual are the rules that fire for somebody who may do what they ask.
func (p *prober) usual() map[position]bool {
	if p.ordinarily != nil {
		return p.ordinarily
	}
	usual := map[position]bool{}
	for _, a := range p.generator.kinds {
		for _, confirmed := range []bool{false, true} {
			d := ordinary(p.generator.sites[0], a)
			d.set(confirmed, "confirmation", "confirmed")
			for _, rule := range p.fired(d) {
				usual[placeOf(rule)] = true
			}
		}
	}
	p.ordinarily = usual
	return usual
}

// rules are those that fired for an input, those first that fire for no
// ordinary one.
func (p *prober) rules(d document) []RuleAt {
	usual := p.usual()
	titles := map[position]string{}
	for _, m := range p.set.modules {
		for _, rule := range m.Rules {
			for _, a := range rule.Annotations {
				if a.Title != "" {
					titles[placeOf(rule)] = a.Title
				}
			}
		}
	}
	var out []RuleAt
	for _, rule := range p.fired(d) {
		at := placeOf(rule)
		if rule.Module == nil || len(rule.Head.Args) > 0 {
			continue
		}
		name := strings.TrimPrefix(rule.Module.Package.Path.String(), "data.") + "." + rule.Head.Name.String()
		out = append(out, RuleAt{File: at.file, Line: at.line, Name: name, Title: titles[at], Only: !usual[at]})
	}
	// A denial that fired did not stop it, so it is not where to look.
	slices.SortStableFunc(out, func(a, b RuleAt) int { return a.rank() - b.rank() })
	return out[:min(len(out), 6)]
}

func (r RuleAt) rank() int {
	pkg, name, _ := strings.Cut(r.Name, ".")
	return 2*b2i(denials["data."+pkg] == name) + b2i(!r.Only)
}

// fired returns the rules that an input brings about, in the order in which
// they were done: what rests on others comes after them.
func (p *prober) fired(d document) []*ast.Rule {
	t := &exits{seen: map[position]bool{}}
	// What it answers has been looked at; here only its way there counts.
	_, _ = p.set.evaluate(p.ctx, p.set.authz, jsonTerm(map[string]any(d)).Value, func(q *topdown.Query) { q.WithQueryTracer(t) })
	return t.rules
}

// exits is a tracer that notes the rules that came to something.
type exits struct {
	seen  map[position]bool
	rules []*ast.Rule
}

func (*exits) Enabled() bool               { return true }
func (*exits) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

func (t *exits) TraceEvent(e topdown.Event) {
	if e.Op != topdown.ExitOp {
		return
	}
	if rule, ok := e.Node.(*ast.Rule); ok && rule.Location != nil && !t.seen[placeOf(rule)] {
		t.seen[placeOf(rule)] = true
		t.rules = append(t.rules, rule)
	}
}
