package policy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// Latency is how long two policies take for the same questions. The times are
// this machine's, at that moment; what tells something is Ratio.
type Latency struct {
	Active    time.Duration `json:"active_ns"`    // of one evaluation, in the middle
	Candidate time.Duration `json:"candidate_ns"` // likewise
	Ratio     float64       `json:"ratio"`        // Candidate / Active
}

// Bounds on what is measured: a fraction of a second.
const (
	measuredQuestions = 24
	measuredRounds    = 21
)

// Compare measures a candidate beside the policy in force, on what ordinary
// visitors of these sites ask.
func Compare(ctx context.Context, active, candidate *Set, catalog []*engine.Action, sites []*engine.Site) (Latency, error) {
	var questions []ast.Value
	for _, site := range sites {
		for _, a := range catalog {
			if len(questions) == measuredQuestions {
				break
			}
			v, err := parseRecorded(raw(ordinary(site, a)))
			if err != nil {
				return Latency{}, fmt.Errorf("making a question to measure with: %w", err)
			}
			questions = append(questions, v)
		}
	}
	if len(questions) == 0 {
		return Latency{}, nil
	}
	// In turns, so that whatever else the machine does slows both.
	var took [2][]time.Duration
	for range measuredRounds {
		for i, set := range []*Set{active, candidate} {
			started := time.Now()
			for _, q := range questions {
				// What it says does not matter here; an error takes its time too.
				_, _ = set.decideValue(ctx, q)
			}
			took[i] = append(took[i], time.Since(started)/time.Duration(len(questions)))
		}
		if err := ctx.Err(); err != nil {
			return Latency{}, fmt.Errorf("measuring the policy: %w", err)
		}
	}
	var l Latency
	for i, into := range []*time.Duration{&l.Active, &l.Candidate} {
		slices.Sort(took[i])
		*into = took[i][len(took[i])/2]
	}
	if l.Active > 0 {
		l.Ratio = float64(l.Candidate) / float64(l.Active)
	}
	return l, nil
}
