package policy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// Asked is a question as it is put to a policy. It can be put to another one
// later, and is the very same.
type Asked struct{ value ast.Value }

// Asked returns the question that the input is.
func (in *Input) Asked() Asked { return Asked{in.Value()} }

// Answer asks data.authz.decision. Any error means deny.
func (s *Set) Answer(ctx context.Context, q Asked) (Result, error) {
	return s.decideValue(ctx, q.value)
}

// shadowQueue is how many decisions wait for a shadow. Each may hold a request's
// arguments, so they are few.
const shadowQueue = 256

// shadowTimeout bounds one evaluation of a candidate, above what a gate waits
// for: the machine serves requests meanwhile.
const shadowTimeout = time.Second

// Shadow puts the questions of live traffic to a candidate, beside the policy
// in force, and counts what it answers otherwise.
//
// It is off the path of the request: a decision that is recorded is offered to
// it and nobody waits. One goroutine evaluates what was offered; when it is
// behind, what does not find a place is counted as missed, so that the report
// says of how much of the traffic it speaks. It keeps counts and the ids of some
// decisions, and nothing of anybody's questions.
type Shadow struct {
	candidate *Set
	clock     func() time.Time
	queue     chan shadowed
	missed    atomic.Int64
	cancel    context.CancelFunc
	ended     chan struct{}

	mu      sync.Mutex // guards the rest
	against string
	since   time.Time
	replay  *Replay
}

// shadowed is a decision on its way to a candidate.
type shadowed struct {
	decision engine.Decision
	asked    Asked
}

// ShadowReport is what a candidate would have decided otherwise.
type ShadowReport struct {
	FlipReport
	// Against is the policy in force that the candidate is compared with. When
	// another one is put in force, counting begins anew.
	Against string    `json:"against,omitempty"`
	Since   time.Time `json:"since"` // when counting began
	// Offered is how many decisions were made meanwhile, Waiting how many of them
	// are still to be compared, and Missed how many never will be, because too
	// many were made at once.
	Offered int64 `json:"offered"`
	Waiting int   `json:"waiting"`
	Missed  int64 `json:"missed"`
	// Sampled is the share of decisions that were not missed: 1 for all.
	Sampled float64 `json:"sampled"`
}

// NewShadow begins to shadow. It goes on until Stop.
func NewShadow(candidate *Set, clock func() time.Time) *Shadow {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Shadow{candidate: candidate, clock: clock, queue: make(chan shadowed, shadowQueue), cancel: cancel, ended: make(chan struct{})}
	s.begin("")
	go s.run(ctx)
	return s
}

// Candidate returns the policy that is tried.
func (s *Shadow) Candidate() *Set { return s.candidate }

// offer takes a decision if there is a place for it, at once.
func (s *Shadow) offer(d engine.Decision, q Asked) {
	select {
	case s.queue <- shadowed{d, q}:
	default:
		s.missed.Add(1)
	}
}

// begin counts from nothing.
func (s *Shadow) begin(against string) {
	s.against, s.since = against, s.clock().UTC()
	s.replay = NewReplay(s.candidate, ReplayOptions{Parallel: 1})
	s.missed.Store(0)
}

func (s *Shadow) run(ctx context.Context) {
	defer close(s.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-s.queue:
			a := s.compare(ctx, next)
			if ctx.Err() != nil {
				return // an evaluation that was cancelled says nothing
			}
			s.mu.Lock()
			if next.decision.Policy != s.against {
				s.begin(next.decision.Policy)
			}
			s.replay.count(&a, next.decision.ID)
			s.mu.Unlock()
		}
	}
}

// compare asks the candidate what the policy in force was asked. Whatever it
// does, a panic included, stays here.
func (s *Shadow) compare(ctx context.Context, next shadowed) (a answered) {
	defer func() {
		if recover() != nil {
			a = answered{skip: "panicked"}
		}
	}()
	d := next.decision
	reasons, obligations := make([]string, len(d.Reasons)), make([]string, len(d.Obligations))
	for i, r := range d.Reasons {
		reasons[i] = r.Code
	}
	for i, o := range d.Obligations {
		obligations[i] = o.String()
	}
	if a.before, a.skip = saidIn(d.Allow, reasons, obligations); a.skip != "" {
		return a
	}
	a.site, a.action = textAt(next.asked.value, keySite, keyID), textAt(next.asked.value, keyAction, keyName)
	ctx, cancel := context.WithTimeout(ctx, shadowTimeout)
	defer cancel()
	a.after = saidOf(s.candidate.Answer(ctx, next.asked))
	return a
}

// Report is what was found so far.
func (s *Shadow) Report() ShadowReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := ShadowReport{FlipReport: s.replay.Report(), Against: s.against, Since: s.since,
		Waiting: len(s.queue), Missed: s.missed.Load(), Sampled: 1}
	seen := int64(out.Compared)
	for _, n := range out.Skipped {
		seen += int64(n)
	}
	out.Offered = seen + int64(out.Waiting) + out.Missed
	if out.Offered > 0 {
		out.Sampled = float64(out.Offered-out.Missed) / float64(out.Offered)
	}
	return out
}

// Stop ends it and waits until it has ended. The report stays.
func (s *Shadow) Stop() {
	s.cancel()
	<-s.ended
}

// Shadow has what is decided offered to sh as well, nil for to nobody.
func (e *Engine) Shadow(sh *Shadow) { e.shadow.Store(sh) }

// Decided offers a decision that was made, and recorded, to whoever shadows the
// policy in force. It takes next to nothing and changes nothing.
func (e *Engine) Decided(d engine.Decision, q Asked) {
	if sh := e.shadow.Load(); sh != nil && q.value != nil {
		sh.offer(d, q)
	}
}
