// Package gate takes every intended action through pin, decide, record,
// resolve, mint, act and release. It alone can make a Permit.
package gate

import (
	"cmp"
	"context"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/voucher"
)

// Recorder makes decisions and outcomes durable; a nil error means on disk.
type Recorder interface {
	Decision(ctx context.Context, d *audit.Decision) error
	Outcome(ctx context.Context, site string, o audit.Outcome) error
}

// Options configure a Gate.
type Options struct {
	Policy *policy.Engine
	Log    Recorder
	Clock  func() time.Time // time.Now when nil
	// Stale reports that the policy in force is older than may be trusted; never
	// when nil.
	Stale func(now time.Time) bool
	// EvaluationTimeout bounds one question to the policy; 250 ms when 0.
	EvaluationTimeout time.Duration
	// PermitLife bounds the time between minting a Permit and its use; 30 s
	// when 0.
	PermitLife time.Duration
	// Uses counts what is done under a limit; nil denies whatever is under one.
	Uses Uses
	// NotFoundAfter is how soon at the earliest whoever asks for a customer's
	// record hears that there is none, so that the time does not tell whether
	// somebody else has one; at once when 0. It is worth as much as it is longer
	// than outside systems take.
	NotFoundAfter time.Duration
	// Wait waits for so long, or until ctx is done; on a timer when nil.
	Wait func(ctx context.Context, d time.Duration)
	// Signer signs what a Permit becomes before the connection provider. With
	// nil, no call reaches a provider that asks for a voucher.
	Signer *voucher.Signer
}

// Gate decides intents and lets the allowed ones act.
type Gate struct {
	policy  *policy.Engine
	log     Recorder
	clock   func() time.Time
	stale   func(now time.Time) bool
	timeout time.Duration
	life    time.Duration
	uses    Uses
	floor   time.Duration
	wait    func(context.Context, time.Duration)
	signer  *voucher.Signer
}

// New assembles a Gate.
func New(o Options) *Gate {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Stale == nil {
		o.Stale = func(time.Time) bool { return false }
	}
	if o.EvaluationTimeout == 0 {
		o.EvaluationTimeout = 250 * time.Millisecond
	}
	if o.PermitLife == 0 {
		o.PermitLife = 30 * time.Second
	}
	if o.Wait == nil {
		o.Wait = waitOut
	}
	return &Gate{policy: o.Policy, log: o.Log, clock: o.Clock, stale: o.Stale, timeout: o.EvaluationTimeout, life: o.PermitLife,
		signer: o.Signer, uses: o.Uses, floor: o.NotFoundAfter, wait: o.Wait}
}

// Request is one intended action with the facts it is judged by.
type Request struct {
	Site         *Site
	Identity     identity.Result
	Intent       engine.Intent
	Channel      engine.Channel
	Conversation policy.Conversation
	// Confirmed is the revision of the policy under which the visitor confirmed
	// this very request, "" when they did not. Under any other policy it counts
	// for nothing. Only whoever holds the pending actions may set it.
	Confirmed string
	// MustConfirm asks for a confirmation even where the policy does not: the
	// request was made before anybody had signed in.
	MustConfirm bool
	// IdempotencyKey is sent with a write; the decision's id when "".
	IdempotencyKey string

	// Follows is the decision whose confirmation this request carries out.
	Follows string
	// Repeats says that what is asked about was done before, and is only to be
	// shown once more: it is no further use under a limit.
	Repeats bool

	parent string // the decision a resolving read serves
}

// Ask decides and records, and does nothing else. Intent.Args may be nil to ask
// about the action as such. Its error is audit_unavailable.
func (g *Gate) Ask(ctx context.Context, r Request) (engine.Decision, error) {
	c := g.decide(ctx, r, r.Intent.Args == nil)
	c.record.Asked = true
	if err := g.record(ctx, c); err != nil {
		return engine.Decision{}, err
	}
	return c.record.Decision, nil
}

// considered is a decided intent on its way.
type considered struct {
	request   Request
	confirmed bool // under the policy that decided
	binding   Binding
	input     policy.Input
	asked     policy.Asked // what the policy was asked, once it was
	record    audit.Decision
	set       *policy.Set // the policy that decided, which also releases
}

func (c *considered) allowed() bool { return c.record.Allow }

func (c *considered) deny(code string) {
	c.record.Allow = false
	c.record.Obligations = nil
	c.record.Reasons = append(c.record.Reasons, goReason(code))
}

// maxActionName bounds what an unknown action's name takes in the log.
const maxActionName = 128

// decide pins the identity, asks the policy and applies the second lock. What
// it returns is complete but not yet recorded.
func (g *Gate) decide(ctx context.Context, r Request, anyArgs bool) *considered {
	c := g.consider(r)
	b, ok := r.Site.actions[r.Intent.Action]
	if !ok {
		c.unknown()
		c.deny(engine.CodeUnknownAction)
		return c
	}
	c.binding = b
	c.input.Action = b.Action

	var invalid error
	if !anyArgs {
		if invalid = b.Action.Args.Validate(r.Intent.Args); invalid != nil {
			// What an undeclared argument claims about the person is evidence;
			// the rest of invalid arguments reaches neither policy nor log.
			c.input.Asserted = boundedAsserted(evidence(b.Action.Args, r.Intent.Args, r.Intent.Asserted), named(r.Identity).Email())
			c.input.Args = nil
			c.record.Problem = invalid.Error()
		}
	}
	if b.Action.Personal {
		c.input.Target = target(named(r.Identity), r.Intent.Asserted.Emails)
	}

	answer, err := g.ask(ctx, c)
	c.record.Rules = answer.Rules
	switch {
	case err != nil:
		c.record.Problem = err.Error()
		c.deny(engine.CodePolicyError)
		return c
	case !answer.Allow:
		c.record.Reasons = answer.Reasons
		orderReasons(c.record.Reasons)
	}
	if invalid != nil {
		c.deny(engine.CodeInvalidArguments)
		return c
	}
	if !answer.Allow {
		return c
	}
	for _, o := range answer.Obligations {
		if !policy.Enforceable(o.Kind) {
			c.deny(engine.CodeUnsupportedObligation)
			return c
		}
	}
	if !lock(r.Site.Site, b.Action, r.Identity.Visitor, c.input.Target, c.record.Time) {
		c.deny(engine.CodeWall)
		return c
	}
	// Last: what the policy refuses anyway has a better reason.
	if b.Action.Personal && r.Site.RefuseStale && g.stale(c.record.Time) {
		c.deny(engine.CodePolicyStale)
		return c
	}
	c.record.Allow, c.record.Obligations = true, answer.Obligations
	if g.oblige(c); c.allowed() {
		c.record.Obligations = append(c.record.Obligations, ownership(b.Action, r.Intent.Args)...)
	}
	return c
}

// consider pins the identity and makes a record of a request, with everything
// but what it asks for and what is said of it.
func (g *Gate) consider(r Request) *considered {
	now := g.clock()
	set := g.policy.Active()
	c := &considered{request: r, set: set, confirmed: r.Confirmed != "" && r.Confirmed == set.Revision()}
	c.record = audit.Decision{
		Decision: engine.Decision{ID: engine.NewID("d", now), Time: now, Policy: set.Revision()},
		Site:     r.Site.ID,
		Cause:    r.Identity.Cause,
		Problem:  r.Identity.Detail,
		Parent:   cmp.Or(r.parent, r.Follows),
		Input:    &c.input,
	}
	c.input = policy.Input{
		Site:         r.Site.Site,
		Identity:     pin(r.Identity),
		Args:         r.Intent.Args,
		Asserted:     boundedAsserted(r.Intent.Asserted, named(r.Identity).Email()),
		Confirmed:    c.confirmed,
		Conversation: r.Conversation,
		Channel:      r.Channel,
		Now:          now,
	}
	return c
}

// unknown names an action that the site does not have.
func (c *considered) unknown() {
	name := c.request.Intent.Action
	c.input.Action = &engine.Action{Name: strings.ToValidUTF8(name[:min(len(name), maxActionName)], "?")}
	c.input.Args = nil
}

// ask puts the question to the policy. Whoever asked may have gone meanwhile;
// the decision is made and recorded all the same, so that it does not read as
// the policy's failure.
func (g *Gate) ask(ctx context.Context, c *considered) (answer policy.Result, err error) {
	defer func() {
		if recover() != nil {
			answer, err = policy.Result{}, errPanicked
		}
	}()
	evaluation, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	defer cancel()
	c.asked = c.input.Asked()
	return c.set.Answer(evaluation, c.asked)
}

// record makes a decision durable. Only then is it offered to a candidate that
// is tried beside the policy in force, whose examples are recorded decisions.
func (g *Gate) record(ctx context.Context, c *considered) error {
	if err := g.log.Decision(ctx, &c.record); err != nil {
		return err
	}
	g.policy.Decided(c.record.Decision, c.asked)
	return nil
}

// Refuse records that a request came to nothing for a reason that lies outside
// the policy, which is not asked: what it says is about doing something, and
// nothing is to be done. The codes are those of a confirmation that cannot be
// given. Its error is audit_unavailable.
func (g *Gate) Refuse(ctx context.Context, r Request, code string) (engine.Decision, error) {
	c := g.consider(r)
	if a, ok := r.Site.Action(r.Intent.Action); ok {
		c.input.Action = a
		if a.Args.Validate(r.Intent.Args) != nil {
			c.input.Args = nil // as in decide, they reach no log
		}
		if a.Personal {
			c.input.Target = target(named(r.Identity), r.Intent.Asserted.Emails)
		}
	} else {
		// Whatever it called the action: there is none of that name to refuse.
		c.request.Intent.Action = ""
		c.unknown()
	}
	c.deny(code)
	if err := g.log.Decision(ctx, &c.record); err != nil {
		return engine.Decision{}, err
	}
	return c.record.Decision, nil
}

// lock is the second lock: what no policy may allow. It is asked when deciding
// and again when minting.
func lock(site *engine.Site, a *engine.Action, v identity.Visitor, target string, now time.Time) bool {
	if a.MinTier == engine.NoTier || site.Tier < a.MinTier {
		return false
	}
	if !a.Personal {
		return true
	}
	return v.Live(now) && v.Site() == site.ID && v.Email() != "" && target == v.Email()
}

// ownership lists the arguments that name a record which must prove to be the
// customer's.
func ownership(a *engine.Action, args map[string]any) []engine.Obligation {
	if !a.Personal {
		return nil
	}
	var out []engine.Obligation
	add := func(argument string) {
		if _, given := args[argument]; given {
			out = append(out, engine.Obligation{Kind: engine.ObligationOwnership, Argument: argument})
		}
	}
	for _, r := range a.Resources {
		add(r.Argument)
	}
	if a.IDArgument != "" && len(a.Resources) == 0 {
		add(a.IDArgument)
	}
	return out
}

// mint makes the Permit for a decision that is on disk. It asks the second lock
// and the sign-in's age again, for time has passed. Its errors are wall and
// step_up_required.
func (g *Gate) mint(c *considered) (Permit, error) {
	r, v, now := c.request, c.request.Identity.Visitor, g.clock()
	if !c.allowed() || !lock(r.Site.Site, c.binding.Action, v, c.input.Target, now) {
		return Permit{}, &engine.Error{Code: engine.CodeWall, Message: goReason(engine.CodeWall).Message}
	}
	if unmet := unmetStepUps(c.record.Obligations, v, now); len(unmet) > 0 {
		why := goReason(engine.CodeStepUpRequired)
		return Permit{}, &engine.Error{Code: why.Code, Message: why.Message, Unmet: unmet}
	}
	p := &permit{
		site:    r.Site.ID,
		action:  c.binding.Action.Name,
		args:    engine.ArgsHash(r.Intent.Args),
		expires: now.Add(g.life),
		grant: Grant{Decision: c.record.ID, IdempotencyKey: r.IdempotencyKey,
			vouching: g.vouching(r.Site.ID, c.record.ID, now)},
	}
	if p.grant.IdempotencyKey == "" {
		p.grant.IdempotencyKey = c.record.ID
	}
	if c.binding.Action.Personal {
		p.grant.Pinned = Pinned{Email: v.Email(), Name: v.Name(), Subject: v.Subject()}
		fold := r.Site.FoldEmailLocal
		p.grant.owns = func(o Owner) bool { return owned(o, v, fold) }
		if v.ExpiresAt().Before(p.expires) {
			p.expires = v.ExpiresAt()
		}
	}
	return Permit{p}, nil
}
