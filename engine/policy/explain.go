package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// Explanation is why a recorded decision came out as it did, and what would
// have to be different for another outcome.
type Explanation struct {
	Decision string `json:"decision"`
	// Recorded is how it was decided, what Go added included, and
	// RecordedPolicy the revision that was asked.
	Recorded       Verdict `json:"recorded"`
	RecordedPolicy string  `json:"recorded_policy"`
	// Policy is the revision that explains, and Answer what it says of the
	// question. The rest is about this answer.
	Policy string  `json:"policy"`
	Answer Verdict `json:"answer"`
	// Problem is why the policy gave no answer.
	Problem string `json:"problem,omitempty"`
	// Reasons are the codes of the answer, and that with which Go refused, in
	// the words of each reader.
	Reasons []ReasonText `json:"reasons"`
	Rules   []FiredRule  `json:"rules"`
	Changes []Change     `json:"changes"`
}

// ReasonText is what a code says to the visitor, and what to the auditor.
type ReasonText struct {
	Code    string `json:"code"`
	Visitor string `json:"visitor"`
	Auditor string `json:"auditor"`
}

// FiredRule is a rule that brought the answer about.
type FiredRule struct {
	Rule   string     `json:"rule"` // its name: deny, oblige or allow
	Title  string     `json:"title,omitempty"`
	Code   string     `json:"code,omitempty"`
	File   string     `json:"file"`
	Line   int        `json:"line"`
	Looked []LookedAt `json:"looked_at"`
}

// LookedAt is a member of input that a rule, or a rule it rests on, refers to.
type LookedAt struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"` // absent when it was not there
}

// Change is what would have to be different, all of it together, for an
// outcome. No smaller set was found.
type Change struct {
	Needs   []string `json:"needs"`
	Outcome Verdict  `json:"outcome"`
}

// ErrNoInput means that nothing was recorded that could be explained.
var ErrNoInput = errors.New("the record holds no input")

// needsInGo says what it takes where Go refused, or where the policy was not
// asked.
var needsInGo = map[string]string{
	engine.CodeUnknownAction:    "an action of the site's catalog",
	engine.CodeInvalidArguments: "arguments that meet the action's schema",
	engine.CodePolicyStale:      "a policy that its source has confirmed lately",
	engine.CodeWall:             "what the second lock asks: a live, verified visitor, their own account, and a tier that includes the action",
}

// Explain explains a recorded decision under s. The texts are those of the
// codes that Go produces.
func (s *Set) Explain(ctx context.Context, rec Recorded, texts map[string]engine.Reason) (Explanation, error) {
	if len(rec.Input) == 0 {
		return Explanation{}, ErrNoInput
	}
	input, err := plainRecorded(rec.Input)
	if err != nil {
		return Explanation{}, err
	}
	out := Explanation{
		Decision: rec.ID, RecordedPolicy: rec.Policy, Policy: s.Revision(),
		Recorded: Verdict{Allow: rec.Allow, Reasons: rec.Reasons, Obligations: rec.Obligations},
		Reasons:  []ReasonText{}, Rules: []FiredRule{}, Changes: []Change{},
	}
	recorded, why := rec.said()
	if why == engine.CodeUnknownAction {
		// The policy was not asked, so it has nothing to explain.
		out.Answer = out.Recorded
		out.Reasons = append(out.Reasons, s.text(why, texts))
		out.Changes = append(out.Changes, Change{Needs: []string{needsInGo[why]}, Outcome: Verdict{Allow: true}})
		return out, nil
	}
	x := &explainer{ctx: ctx, set: s, input: input.(map[string]any), refused: recorded.refused}
	answer, rules, problem := x.trace()
	out.Answer = answer.verdict()
	if problem != nil {
		out.Problem = problem.Error()
	}
	for _, code := range append(slices.Clone(answer.reasons), recorded.refused) {
		if code != "" {
			out.Reasons = append(out.Reasons, s.text(code, texts))
		}
	}
	looked := map[string]bool{}
	for _, rule := range rules {
		out.Rules = append(out.Rules, x.fired(rule, looked))
	}
	slices.SortStableFunc(out.Rules, func(a, b FiredRule) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line)
	})
	if answer.allow {
		looked = x.everywhere()
	}
	out.Changes = append(out.Changes, x.changes(answer, looked)...)
	if err := ctx.Err(); err != nil {
		return Explanation{}, fmt.Errorf("explaining a decision: %w", err)
	}
	return out, nil
}

func (s *Set) text(code string, texts map[string]engine.Reason) ReasonText {
	r, ok := s.rules[code]
	if !ok {
		r = texts[code]
	}
	return ReasonText{Code: code, Visitor: r.Message, Auditor: r.Audit}
}

// explainer explains one decision.
type explainer struct {
	ctx     context.Context
	set     *Set
	input   map[string]any
	refused string              // the code with which Go refused all the same
	obliges []engine.Obligation // under which the policy allows
	asked   int                 // questions put to the policy so far
}

// bringsAbout reports a rule that says something of its own: it denies, obliges
// or allows.
func bringsAbout(rule *ast.Rule) bool {
	if rule.Module.Package.Path.String() != "data.authz" || rule.Default || len(rule.Head.Args) > 0 {
		return false
	}
	switch rule.Head.Name {
	case "deny", "oblige", "allow":
		return true
	}
	return false
}

// trace asks the recorded question and notes which rules fire.
func (x *explainer) trace() (said, []*ast.Rule, error) {
	v, fired, err := x.set.evaluateNoting(x.ctx, x.set.authz, objectTerm(x.input).Value, nil)
	var rules []*ast.Rule
	for _, n := range fired {
		rules = append(rules, x.set.noted[n].rule)
	}
	if err != nil {
		return saidOf(Result{}, err), rules, err
	}
	r, err := x.set.result(v)
	x.obliges = r.Obligations
	return saidOf(r, err), rules, err
}

// ask puts a changed question.
func (x *explainer) ask(input map[string]any) said {
	x.asked++
	return saidOf(x.set.decideValue(x.ctx, objectTerm(input).Value))
}

// fired describes a rule, and adds what it looked at.
func (x *explainer) fired(rule *ast.Rule, looked map[string]bool) FiredRule {
	out := FiredRule{Rule: string(rule.Head.Name), File: rule.Location.File, Line: rule.Location.Row, Looked: []LookedAt{}}
	for _, a := range rule.Annotations {
		out.Title = cmp.Or(out.Title, a.Title)
		if code, ok := a.Custom["code"].(string); ok {
			out.Code = cmp.Or(out.Code, code)
		}
	}
	paths := map[string]bool{}
	x.set.lookedAt(rule, paths, map[*ast.Rule]bool{})
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		looked[path] = true
		at := LookedAt{Path: path}
		if v, ok := member(x.input, path); ok {
			at.Value = appendValue(nil, v)
		}
		out.Looked = append(out.Looked, at)
	}
	return out
}

// everywhere is what any rule that could say something looks at.
func (x *explainer) everywhere() map[string]bool {
	paths, seen := map[string]bool{}, map[*ast.Rule]bool{}
	for _, m := range x.set.compiler.Modules {
		for _, rule := range m.Rules {
			if bringsAbout(rule) {
				x.set.lookedAt(rule, paths, seen)
			}
		}
	}
	return paths
}

// lookedAt adds the members of input that a rule refers to, and those that the
// rules do that it rests on. What denies or obliges stands for itself.
func (s *Set) lookedAt(rule *ast.Rule, paths map[string]bool, seen map[*ast.Rule]bool) {
	if seen[rule] {
		return
	}
	seen[rule] = true
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		if ref[0].Equal(ast.InputRootDocument) {
			var steps []string
			for _, t := range ref[1:] {
				name, ok := t.Value.(ast.String)
				if !ok {
					break
				}
				steps = append(steps, string(name))
			}
			if len(steps) > 0 {
				paths[strings.Join(steps, ".")] = true
			}
			return false
		}
		for _, other := range s.compiler.GetRules(ref.GroundPrefix()) {
			if !bringsAbout(other) {
				s.lookedAt(other, paths, seen)
			}
		}
		return false
	})
}

// member is the value at a dotted path.
func member(v any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, ".") {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = o[name]; !ok {
			return nil, false
		}
	}
	return v, true
}
