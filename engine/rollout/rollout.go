// Package rollout puts policies in force: it takes them from a source through
// admission, and keeps the last ones to return to.
//
// Whatever goes wrong on the way, the policy that is in force stays, and Status
// says what went wrong. A request under way ends with the policy it began with.
package rollout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
)

// The kinds of events.
const (
	// Started says that a policy is in force after a start that was in force
	// before it.
	Started    = "policy_started"
	Activated  = "policy_activated"
	Refused    = "policy_refused"
	RolledBack = "policy_rolled_back"
	Promoted   = "policy_promoted"
	Resumed    = "policy_resumed"
)

// Event is something that happened to the policy in force, or did not.
type Event struct {
	Kind     string
	Revision string   // the policy it is about; "" for one that cannot be read
	From     string   // the policy in force before; "" for none
	By       string   // "source", or who did it
	Stage    string   // of a refusal
	Reason   string   // of a refusal, at most maxReason bytes
	Waived   []string // sites whose tier the policy is not held to
}

// Replay is the budget of a policy that is to be put in force: how much it may
// decide otherwise than the one that is, on recorded decisions.
type Replay struct {
	// Decisions calls each with recorded decisions, and Window names them, so
	// that the same ones are not tried twice.
	Decisions          func(ctx context.Context, each func(policy.Recorded) error) error
	Window             func() (string, error)
	DenyToAllow, Flips *int // nil is any number
}

// maxReason bounds what is said of a refusal: a policy can have thousands of
// problems.
const maxReason = 4000

// Options assemble a Rollout.
type Options struct {
	Source  Source
	History *History
	// Record puts an event on record before it takes effect; its error keeps an
	// activation from happening.
	Record   func(context.Context, Event) error
	Catalog  []*engine.Action
	Probe    policy.ProbeOptions
	Coverage *float64 // the least coverage of the policy's tests, in percent; nil for none
	Replay   *Replay  // nil for no budget
	// MaxStaleness is how long the policy in force is trusted without word from
	// the source; 0 for ever.
	MaxStaleness time.Duration
	Clock        func() time.Time // time.Now when nil
	Logger       *slog.Logger     // slog.Default when nil
}

// Rollout is a policy in force and where the next one comes from.
type Rollout struct {
	o      Options
	engine *policy.Engine

	// confirmed is when the source last said that it has no other policy, in
	// nanoseconds.
	confirmed atomic.Int64

	fetching sync.Mutex    // one question to the source at a time
	again    chan struct{} // has Run begin a new interval
	// interrupt ends the look at what the source has, while there is one.
	interrupt atomic.Pointer[context.CancelFunc]

	turn   sync.Mutex    // one change at a time, of policy, hold or catalog; guards the rest
	folder bundle.Folder // in force
	digest [sha256.Size]byte
	seen   [sha256.Size]byte // what the source had last while it was not followed
	retry  time.Time         // before which what was refused is not tried again
	saved  time.Time         // confirmed, as it is on disk

	mu     sync.Mutex // guards status
	status Status
}

// Status is a Rollout as an operator sees it.
type Status struct {
	Revision string    `json:"revision"`
	Label    string    `json:"label,omitempty"` // as its maker calls it
	KeyID    string    `json:"key_id,omitempty"`
	Since    time.Time `json:"since"` // when it was put in force
	By       string    `json:"by"`    // "source", or who returned to it
	Source   string    `json:"source"`
	// Confirmed is when the source last had this very policy.
	Confirmed time.Time `json:"confirmed,omitzero"`
	Stale     bool      `json:"stale"`
	// Hold is set while the source is not followed; Offered is the revision that
	// it has meanwhile.
	Hold    *Hold  `json:"hold,omitempty"`
	Offered string `json:"offered,omitempty"`
	// Refused is the policy that the source has and that is not put in force.
	Refused *Refusal `json:"refused,omitempty"`
	// Unreachable is why the source could not be asked.
	Unreachable *Failure `json:"unreachable,omitempty"`
	// LostHold is why a policy that somebody chose is not in force since the start.
	LostHold string `json:"lost_hold,omitempty"`
	// Last is the last admission, of whichever policy.
	Last *Attempt `json:"last_admission,omitempty"`

	Activations int `json:"activations"` // since the start
	Refusals    int `json:"refusals"`    // likewise, each policy once
	Failures    int `json:"failures"`    // to ask the source, since the start
}

// Refusal is a policy that was not put in force.
type Refusal struct {
	Revision string    `json:"revision,omitempty"` // "" when it cannot be read
	Label    string    `json:"label,omitempty"`
	At       time.Time `json:"at"`
	Stage    string    `json:"stage"`
	Reason   string    `json:"reason"`

	digest [sha256.Size]byte // of its content; zero when it could not be read
}

// Failure is a source that could not be asked.
type Failure struct {
	Since  time.Time `json:"since"`
	Times  int       `json:"times"` // in a row
	Reason string    `json:"reason"`
}

// Attempt is one admission.
type Attempt struct {
	At       time.Time          `json:"at"`
	Revision string             `json:"revision,omitempty"`
	Stages   []policy.Stage     `json:"stages"`
	Coverage *float64           `json:"coverage,omitempty"` // of its tests, in percent
	Probes   int                `json:"probes,omitempty"`
	Replay   *policy.FlipReport `json:"replay,omitempty"`
	// Latency is how long it takes beside the policy in force.
	Latency *policy.Latency `json:"latency,omitempty"`
}

// Engine returns the policy in force.
func (r *Rollout) Engine() *policy.Engine { return r.engine }

// Stale reports that the policy in force is older than it may be: the source
// has not said for too long that it has no other.
func (r *Rollout) Stale(now time.Time) bool {
	return r.o.MaxStaleness > 0 && now.Sub(r.lastConfirmed()) > r.o.MaxStaleness
}

func (r *Rollout) confirm(at time.Time) {
	if at.IsZero() {
		r.confirmed.Store(0) // its nanoseconds do not fit
		return
	}
	r.confirmed.Store(at.UnixNano())
}

func (r *Rollout) lastConfirmed() time.Time {
	n := r.confirmed.Load()
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// Status says how things are.
func (r *Rollout) Status() Status {
	r.mu.Lock()
	s := r.status
	r.mu.Unlock()
	s.Confirmed = r.lastConfirmed()
	s.Stale = r.Stale(r.o.Clock())
	return s
}

// set changes the status.
func (r *Rollout) set(change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status)
}

// Problems says what is wrong, for people; nothing when all is well. A hold is
// not wrong: somebody wanted it.
func (r *Rollout) Problems() []string {
	s := r.Status()
	var out []string
	if s.LostHold != "" {
		out = append(out, s.LostHold+"; the source is followed again")
	}
	if s.Refused != nil {
		name := "a new policy"
		if s.Refused.Revision != "" {
			name = "policy " + s.Refused.Revision
		}
		out = append(out, fmt.Sprintf("%s cannot be used, so %s stays: %s", name, s.Revision, s.Refused.Reason))
	}
	if s.Unreachable != nil {
		out = append(out, fmt.Sprintf("%s cannot be had since %s, so %s stays: %s",
			s.Source, s.Unreachable.Since.UTC().Format(time.RFC3339), s.Revision, s.Unreachable.Reason))
	}
	if s.Stale {
		out = append(out, fmt.Sprintf("policy %s is older than max_staleness (%s): confirmed last at %s; sites with stale_policy: refuse refuse personal actions",
			s.Revision, r.o.MaxStaleness, s.Confirmed.Format(time.RFC3339)))
	}
	return out
}

// History returns the revisions that can be returned to, newest first.
func (r *Rollout) History() ([]Revision, error) { return r.o.History.List() }

// Start puts a policy in force: the one that somebody chose, if there is one;
// else the source's; and where that cannot be used, the last good one that is
// kept. Without any, it is an error.
func Start(ctx context.Context, o Options) (*Rollout, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	r := &Rollout{o: o, again: make(chan struct{}, 1)}
	r.turn.Lock()
	defer r.turn.Unlock()
	r.status.Source = o.Source.String()
	kept, err := o.History.load()
	if err != nil {
		return nil, err
	}
	// Not later than now, should the clock have been set back.
	if now := o.Clock(); kept.Confirmed.After(now) {
		kept.Confirmed = now
	}
	r.saved = kept.Confirmed
	r.confirm(kept.Confirmed)
	lost := ""
	if kept.Hold != nil {
		err := r.begin(ctx, kept, kept.Active)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		lost = fmt.Sprintf("policy %s, which %s chose, cannot be used any more: %v", kept.Active, kept.Hold.By, err)
		o.Logger.Error("a policy that somebody chose cannot be used any more", "policy", kept.Active, "by", kept.Hold.By, "cause", err.Error())
		kept.Hold = nil
	}
	offer, err := o.Source.Fetch(ctx)
	if err == nil {
		err = r.takeFirst(ctx, kept, offer)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		if err := r.fallBack(ctx, kept, offer, err); err != nil {
			return nil, err
		}
	}
	r.set(func(s *Status) { s.LostHold = lost })
	return r, nil
}

// takeFirst puts in force what the source has at the start. A restart is no way
// round the replay budget.
func (r *Rollout) takeFirst(ctx context.Context, kept state, offer Offer) error {
	set, err := r.admit(ctx, offer.Folder, r.before(kept.Active), true)
	if err != nil {
		return err
	}
	rev := r.offered(set, offer)
	kind := Activated
	if kept.Active == rev.Revision {
		kind = Started
	}
	return r.put(ctx, change{kind: kind, set: set, revision: rev, folder: offer.Folder, from: kept.Active, confirmed: rev.At})
}

// before is the policy that was in force before the start, nil when it is not
// there any more or of no use.
func (r *Rollout) before(revision string) *policy.Set {
	if revision == "" {
		return nil
	}
	_, folder, err := r.o.History.folder(revision)
	if err != nil {
		return nil
	}
	fsys, err := folder.FS()
	if err != nil {
		return nil
	}
	set, err := policy.Compile(fsys)
	if err != nil {
		return nil
	}
	return set
}

// fallBack puts the last good policy in force, of which there may be several.
func (r *Rollout) fallBack(ctx context.Context, kept state, offer Offer, cause error) error {
	all, err := r.o.History.List()
	if err != nil {
		return errors.Join(cause, err)
	}
	// The one that was in force last comes first.
	slices.SortStableFunc(all, func(a, b Revision) int {
		switch kept.Active {
		case a.Revision:
			return -1
		case b.Revision:
			return 1
		}
		return 0
	})
	for _, rev := range all {
		if err := r.begin(ctx, kept, rev.Revision); err != nil {
			r.o.Logger.Error("a kept policy cannot be used either", "policy", rev.Revision, "cause", err.Error())
			continue
		}
		r.fail(ctx, offer, cause)
		return nil
	}
	return fmt.Errorf("the policies cannot be used: %w", cause)
}

// begin puts a kept revision in force at the start.
func (r *Rollout) begin(ctx context.Context, kept state, revision string) error {
	rev, folder, err := r.o.History.folder(revision)
	if err != nil {
		return err
	}
	set, err := r.admit(ctx, folder, nil, false)
	if err != nil {
		return err
	}
	kind := Started
	if kept.Active != rev.Revision {
		kind = Activated
	}
	return r.put(ctx, change{kind: kind, set: set, revision: rev, folder: folder, from: kept.Active, hold: kept.Hold, confirmed: kept.Confirmed})
}
