package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// The ways in which a candidate decides otherwise.
const (
	// FlipAllowToDeny is an allow that stood, which the candidate denies.
	FlipAllowToDeny = "allow_to_deny"
	// FlipDenyToAllow is a denial of the policy which the candidate allows. It
	// counts even where Go refused as well: the policy opens, and only chance
	// kept it shut.
	FlipDenyToAllow = "deny_to_allow"
	// FlipReason is a refusal that stays one and gives other codes.
	FlipReason = "reason_changed"
	// FlipObligation is an allow that stays one under other obligations.
	FlipObligation = "obligation_changed"
)

// Verdict is one side of a flip.
type Verdict struct {
	Allow       bool     `json:"allow"`
	Reasons     []string `json:"reasons,omitempty"`
	Obligations []string `json:"obligations,omitempty"`
}

func (v Verdict) String() string {
	word, list := "deny", v.Reasons
	if v.Allow {
		word, list = "allow", v.Obligations
	}
	if len(list) == 0 {
		return word
	}
	return word + " (" + strings.Join(list, ", ") + ")"
}

// Flip is how many decisions of one action at one site change in one way.
type Flip struct {
	Kind     string   `json:"kind"`
	Site     string   `json:"site"`
	Action   string   `json:"action"`
	Before   Verdict  `json:"before"`
	After    Verdict  `json:"after"`
	Count    int      `json:"count"`
	Examples []string `json:"examples"` // ids of decisions, the first that were met
}

// FlipReport is what a candidate would have done.
type FlipReport struct {
	Candidate string         `json:"candidate"` // its revision
	Compared  int            `json:"compared"`
	Same      int            `json:"same"`
	Changed   map[string]int `json:"changed"` // by kind; all four are there
	// Skipped counts what could not be compared, by why: unknown_action and
	// policy_error are decisions on which the policy said nothing.
	Skipped map[string]int `json:"skipped"`
	Flips   []Flip         `json:"flips"`
}

// ReplayOptions bound a Replay. The zero value will do.
type ReplayOptions struct {
	Examples int // ids kept of each flip; 3 when 0, none when negative
	Parallel int // 0 means one per processor
	// Against answers each question too, and what is counted is where the
	// candidate answers otherwise; nil for what was recorded.
	Against *Set
}

// maxFlips bounds the report: past it flips are counted without their site,
// action and codes.
const maxFlips = 2000

// replayTimeout bounds one evaluation, far above what a gate waits for: a busy
// machine must not change the report.
const replayTimeout = 5 * time.Second

// Replay puts recorded questions to a candidate and counts what it answers
// otherwise. Its memory does not grow with the number of decisions. It is for
// one goroutine.
type Replay struct {
	candidate *Set
	o         ReplayOptions
	report    FlipReport
	flips     map[string]*Flip
	answers   []answered
}

// answered is one decision beside the candidate's answer.
type answered struct {
	before, after said
	site, action  string
	skip          string
}

// NewReplay begins a replay.
func NewReplay(candidate *Set, o ReplayOptions) *Replay {
	if o.Examples == 0 {
		o.Examples = 3
	}
	if o.Parallel <= 0 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	return &Replay{candidate: candidate, o: o, flips: map[string]*Flip{}, report: FlipReport{
		Candidate: candidate.Revision(),
		Changed:   map[string]int{FlipAllowToDeny: 0, FlipDenyToAllow: 0, FlipReason: 0, FlipObligation: 0},
		Skipped:   map[string]int{},
	}}
}

// Add replays a batch. Its error is the context's.
func (r *Replay) Add(ctx context.Context, batch []Recorded) error {
	if cap(r.answers) < len(batch) {
		r.answers = make([]answered, len(batch))
	}
	answers := r.answers[:len(batch)]
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(batch); i = int(next.Add(1)) - 1 {
			answers[i] = r.ask(ctx, &batch[i])
		}
	}
	if n := min(r.o.Parallel, len(batch)); n > 1 {
		var wg sync.WaitGroup
		for range n {
			wg.Go(work)
		}
		wg.Wait()
	} else {
		work()
	}
	// An evaluation that was cancelled says nothing of the candidate.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("replaying decisions: %w", err)
	}
	for i := range answers {
		r.count(&answers[i], batch[i].ID)
	}
	return nil
}

func (r *Replay) ask(ctx context.Context, rec *Recorded) (a answered) {
	if a.before, a.skip = rec.said(); a.skip != "" {
		return a
	}
	input, err := parseRecorded(rec.Input)
	if err != nil {
		a.skip = "unreadable_input"
		return a
	}
	a.site, a.action = textAt(input, keySite, keyID), textAt(input, keyAction, keyName)
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	if r.o.Against != nil {
		a.before = saidOf(r.o.Against.decideValue(ctx, input))
	}
	a.after = saidOf(r.candidate.decideValue(ctx, input))
	return a
}

// textAt is the string at a path of an input, "" when there is none.
func textAt(v ast.Value, path ...*ast.Term) string {
	for _, key := range path {
		o, ok := v.(ast.Object)
		if !ok {
			return ""
		}
		t := o.Get(key)
		if t == nil {
			return ""
		}
		v = t.Value
	}
	s, _ := v.(ast.String)
	return string(s)
}

// flip says how the answers differ, "" when they do not.
func (a *answered) flip() string {
	b, c := &a.before, &a.after
	switch {
	case b.unmet:
		// Only an obligation stood in the way: without one it is allowed.
		switch {
		case !c.allow:
			return FlipReason
		case slices.Equal(b.obligations, c.obligations):
			return ""
		case !demanding(c.obligations):
			return FlipDenyToAllow
		}
		return FlipObligation
	case b.refused != "" && b.allow:
		// Refused in Go, under obligations that were not recorded.
		if c.allow || c.unenforceable {
			return ""
		}
		return FlipReason
	case b.allow && !c.allow:
		return FlipAllowToDeny
	case !b.allow && c.allow:
		return FlipDenyToAllow
	case !b.allow && !slices.Equal(b.reasons, c.reasons):
		return FlipReason
	case b.allow && !slices.Equal(b.obligations, c.obligations):
		return FlipObligation
	}
	return ""
}

// demanding reports obligations that may refuse somebody.
func demanding(obligations []string) bool {
	return slices.ContainsFunc(obligations, func(o string) bool { return o != engine.ObligationConfirm })
}

// verdict is a side as the report shows it, with the code Go added.
func (s *said) verdict() Verdict {
	v := Verdict{Allow: s.allow, Reasons: s.reasons, Obligations: s.obligations}
	if s.refused != "" {
		v.Allow, v.Reasons = false, append(slices.Clone(s.reasons), s.refused)
	}
	return v
}

func (r *Replay) count(a *answered, id string) {
	if a.skip != "" {
		r.report.Skipped[a.skip]++
		return
	}
	r.report.Compared++
	kind := a.flip()
	if kind == "" {
		r.report.Same++
		return
	}
	r.report.Changed[kind]++
	f := Flip{Kind: kind, Site: a.site, Action: a.action, Before: a.before.verdict(), After: a.after.verdict()}
	key := f.key()
	found := r.flips[key]
	if found == nil {
		if len(r.flips) >= maxFlips {
			f = Flip{Kind: kind, Before: Verdict{Allow: f.Before.Allow}, After: Verdict{Allow: f.After.Allow}}
			key = f.key()
			found = r.flips[key]
		}
		if found == nil {
			found = &f
			r.flips[key] = found
		}
	}
	found.Count++
	if len(found.Examples) < r.o.Examples {
		found.Examples = append(found.Examples, id)
	}
}

func (f *Flip) key() string {
	return strings.Join([]string{f.Kind, f.Site, f.Action, f.Before.String(), f.After.String()}, "\x00")
}

// kinds orders flips by how much they matter.
var kinds = []string{FlipDenyToAllow, FlipAllowToDeny, FlipObligation, FlipReason}

// Report is what was found so far: what opens first, then what closes, the
// most frequent first.
func (r *Replay) Report() FlipReport {
	out := r.report
	out.Changed, out.Skipped, out.Flips = maps.Clone(out.Changed), maps.Clone(out.Skipped), []Flip{}
	for _, f := range r.flips {
		one := *f
		one.Examples = append([]string{}, f.Examples...)
		out.Flips = append(out.Flips, one)
	}
	slices.SortFunc(out.Flips, func(a, b Flip) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			cmp.Compare(b.Count, a.Count), cmp.Compare(a.key(), b.key()))
	})
	return out
}

// Limits are how many flips a candidate may bring about. Nil is any number.
type Limits struct{ DenyToAllow, AllowToDeny *int }

// Exceeded says which limits a report is over, nil when it is over none. A
// replay that compared nothing proves nothing, and is over any limit.
func (l Limits) Exceeded(r FlipReport) error {
	var errs []error
	for _, limit := range []struct {
		kind string
		max  *int
	}{{FlipDenyToAllow, l.DenyToAllow}, {FlipAllowToDeny, l.AllowToDeny}} {
		if n := r.Changed[limit.kind]; limit.max != nil && n > *limit.max {
			errs = append(errs, fmt.Errorf("%d %s, at most %d may", n, limit.kind, *limit.max))
		}
	}
	if r.Compared == 0 && (l.DenyToAllow != nil || l.AllowToDeny != nil) {
		errs = append(errs, errors.New("no decision could be compared"))
	}
	return errors.Join(errs...)
}
