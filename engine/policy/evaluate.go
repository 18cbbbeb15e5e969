package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// answer is the variable the query binds.
var answer = ast.Var("answer")

// The errors of an evaluation that came to nothing. Every one means deny.
var (
	ErrUndefined = errors.New("the policy's decision is undefined")
	ErrMalformed = errors.New("the policy's decision is malformed")
)

// evaluationError says that an evaluation failed and where. OPA's own text may
// quote what a built-in was given, so it is left out: an input holds personal
// data and an error is logged.
type evaluationError struct{ err error }

func (e *evaluationError) Error() string {
	if topdown.IsCancel(e.err) {
		return "evaluating the policy: it took too long or was cancelled"
	}
	var at *topdown.Error
	if !errors.As(e.err, &at) {
		return "evaluating the policy: it failed"
	}
	if at.Location == nil {
		return "evaluating the policy: " + at.Code
	}
	return fmt.Sprintf("evaluating the policy: %s at %s:%d", at.Code, at.Location.File, at.Location.Row)
}

func (e *evaluationError) Unwrap() error { return e.err }

// worker is what one evaluation needs and the next can use again.
type worker struct {
	cache ruleCache
	watch watch
	input ast.Term
}

// evaluate asks for the value of the compiled query's one variable. It goes to
// topdown directly: the rego package spends a goroutine, a transaction and a
// conversion to Go values on every evaluation. Whoever looks on, or evaluates
// in another way, tunes the query.
func (s *Set) evaluate(ctx context.Context, query ast.Body, input ast.Value, tune ...func(*topdown.Query)) (ast.Value, error) {
	v, _, err := s.evaluateNoting(ctx, query, input, nil, tune...)
	return v, err
}

// evaluateNoting evaluates and adds to fired the numbers of the rules that came
// to something, in the order of noted.
func (s *Set) evaluateNoting(ctx context.Context, query ast.Body, input ast.Value, fired []int, tune ...func(*topdown.Query)) (ast.Value, []int, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("evaluating the policy: %w", err)
	}
	w := s.workers.Get().(*worker)
	w.input.Value = input
	q := topdown.NewQuery(query).
		WithCompiler(s.compiler).
		WithStore(s.store).
		WithTransaction(s.txn).
		WithInput(&w.input).
		WithMetrics(metrics.NoOp()).
		WithBaseCache(s.data).
		WithVirtualCache(&w.cache).
		WithBuiltins(notedBuiltins).
		WithCancel(&w.watch).
		WithStrictBuiltinErrors(true)
	w.watch.ctx = ctx
	for _, f := range tune {
		f(q)
	}
	var value ast.Value
	results := 0
	err := q.Iter(ctx, func(r topdown.QueryResult) error {
		results++
		if t := r[answer]; t != nil {
			value = t.Value
		}
		return nil
	})
	fired = append(fired, w.watch.fired...)
	w.reset()
	s.workers.Put(w)
	switch {
	case err != nil:
		return nil, fired, &evaluationError{err}
	case results == 0:
		return nil, fired, ErrUndefined
	case results > 1 || value == nil:
		return nil, fired, fmt.Errorf("%w: %d results", ErrMalformed, results)
	}
	slices.Sort(fired)
	return value, fired, nil
}

func (w *worker) reset() {
	w.cache.reset()
	w.watch.ctx, w.watch.fired = nil, w.watch.fired[:0]
	w.input.Value = nil
}

// watch is what topdown hands on to built-ins as the evaluation's cancel: it lets
// an evaluation see its context's end without a goroutine that waits for it, and
// keeps the numbers of the rules that fired.
type watch struct {
	ctx   context.Context
	fired []int
}

func (w *watch) Cancel()         {}
func (w *watch) Cancelled() bool { return w.ctx.Err() != nil }

func (w *watch) note(rule int) {
	if !slices.Contains(w.fired, rule) {
		w.fired = append(w.fired, rule)
	}
}
