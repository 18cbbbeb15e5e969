package policy

import (
	"context"
	"errors"
	"fmt"
)

// ReplayBudget is how much a policy that is to be put in force may decide
// otherwise than the one that is, on questions that were recorded. It compares
// the two rather than the record: what earlier policies decided is not what a
// change is to be blamed for.
type ReplayBudget struct {
	// Against is the policy in force. Without one nothing is compared.
	Against *Set
	// Decisions calls each with the decisions to try.
	Decisions func(ctx context.Context, each func(Recorded) error) error
	// Window names the decisions, so that the same ones are not tried twice.
	Window string
	// DenyToAllow is how many denials may become allows, Flips how many
	// decisions may differ in any way: allow, reasons or obligations. Nil is any
	// number.
	DenyToAllow, Flips *int
}

// budgetBatch is how many decisions are evaluated together.
const budgetBatch = 400

func (b *ReplayBudget) settings() any {
	against := ""
	if b.Against != nil {
		against = b.Against.Revision()
	}
	return []any{against, b.Window, b.DenyToAllow, b.Flips}
}

// try replays the decisions. Its error says that they could not be had.
func (b *ReplayBudget) try(ctx context.Context, candidate *Set) (FlipReport, error) {
	r := NewReplay(candidate, ReplayOptions{Against: b.Against})
	if b.Against == nil || b.Against.Revision() == candidate.Revision() {
		return r.Report(), nil
	}
	var batch []Recorded
	err := b.Decisions(ctx, func(rec Recorded) error {
		if batch = append(batch, rec); len(batch) < budgetBatch {
			return nil
		}
		defer func() { batch = batch[:0] }()
		return r.Add(ctx, batch)
	})
	if err == nil {
		err = r.Add(ctx, batch)
	}
	if err != nil {
		return FlipReport{}, fmt.Errorf("replaying recorded decisions: %w", err)
	}
	return r.Report(), nil
}

// exceeded says which limit a report is over, nil when it is over none. Where
// nothing was recorded there is nothing that could change.
func (b *ReplayBudget) exceeded(r FlipReport) error {
	flips := 0
	for _, n := range r.Changed {
		flips += n
	}
	var errs []error
	if n := r.Changed[FlipDenyToAllow]; b.DenyToAllow != nil && n > *b.DenyToAllow {
		errs = append(errs, fmt.Errorf("%d of %d would be allowed that are denied, at most %d may", n, r.Compared, *b.DenyToAllow))
	}
	if b.Flips != nil && flips > *b.Flips {
		errs = append(errs, fmt.Errorf("%d of %d would be decided otherwise, at most %d may", flips, r.Compared, *b.Flips))
	}
	if len(errs) > 0 && len(r.Flips) > 0 {
		f := r.Flips[0]
		errs = append(errs, fmt.Errorf("such as %s at %s: %s, then %s", f.Action, f.Site, f.Before, f.After))
	}
	return errors.Join(errs...)
}
