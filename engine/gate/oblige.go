package gate

import (
	"context"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/identity"
)

// Uses counts uses of actions under limits. It is asked before and after, but
// only Take decides: it counts a use durably, or says when there is room for
// it, and never counts more uses than the limits allow however many ask at
// once.
type Uses interface {
	// Next returns when the use could be made, u.At when it could now.
	Next(u Use) (time.Time, error)
	// Take counts the use and returns u.At, or counts nothing and returns when
	// there will be room. An error means that nothing may be done.
	Take(ctx context.Context, u Use) (time.Time, error)
	// GiveBack takes back a use that Take counted at u.At.
	GiveBack(ctx context.Context, u Use) error
}

// Use is one use of an action by a visitor of a site, under the limits of it
// that hold for them.
type Use struct {
	Site, Action, Subject string
	Limits                []engine.Obligation
	At                    time.Time
}

// use is the use that a considered request would make, if it is under a limit.
func (c *considered) use(now time.Time) (Use, bool) {
	u := Use{Site: c.request.Site.ID, Action: c.binding.Action.Name, Subject: c.request.Identity.Visitor.Subject(), At: now}
	for _, o := range c.record.Obligations {
		if o.Kind == engine.ObligationLimit {
			u.Limits = append(u.Limits, o)
		}
	}
	return u, len(u.Limits) > 0
}

// oblige holds an allowed request to the obligations that can refuse it before
// anything is done, and denies where one is not met. The obligations stay with
// the denial, so that whoever reads it sees under which.
func (g *Gate) oblige(c *considered) {
	now := c.record.Time
	if unmet := unmetStepUps(c.record.Obligations, c.request.Identity.Visitor, now); len(unmet) > 0 {
		c.unmet(goReason(engine.CodeStepUpRequired))
		return
	}
	u, limited := c.use(now)
	switch {
	case !limited:
		return
	case g.uses == nil:
		c.deny(engine.CodeUnsupportedObligation)
		return
	case u.Subject == "":
		// A limit is held for a person. Nobody in particular has as many uses as
		// they have browsers, so they sign in first.
		c.unmet(unknownVisitor(c.request.Identity.State))
		return
	case c.request.Repeats:
		return
	}
	next, err := g.uses.Next(u)
	if err != nil {
		c.record.Problem = err.Error()
		c.deny(engine.CodeAuditUnavailable)
		return
	}
	if next.After(now) {
		c.record.RetryAt = next
		c.unmet(limitReached(c.request.Site.Site, next))
	}
}

// unmet denies for obligations that are not met, and keeps them.
func (c *considered) unmet(r engine.Reason) {
	c.record.Allow = false
	c.record.Reasons = append(c.record.Reasons, r)
}

// unmetStepUps are the obligations to sign in more recently or in another way
// that the token does not meet. Its claims are those of OpenID Connect Core
// 1.0, section 2; that both of max_age and acr must be met where both are asked
// for is how RFC 9470, section 4 reads a challenge. The time is the token's
// own: no clock skew is added, so that max_age is never more than it says.
func unmetStepUps(os []engine.Obligation, v identity.Visitor, now time.Time) []engine.Obligation {
	var out []engine.Obligation
	for _, o := range os {
		if o.Kind == engine.ObligationStepUp && !steppedUp(o, v, now) {
			out = append(out, o)
		}
	}
	return out
}

func steppedUp(o engine.Obligation, v identity.Visitor, now time.Time) bool {
	if o.MaxAge == 0 && len(o.ACR) == 0 {
		return false
	}
	if at := v.AuthTime(); o.MaxAge > 0 && (at.IsZero() || now.Sub(at) > o.MaxAge) {
		return false
	}
	if len(o.ACR) == 0 {
		return true
	}
	for _, acr := range o.ACR {
		if acr != "" && acr == v.ACR() {
			return true
		}
	}
	return false
}

// take counts the use that the call about to be made is, where a limit obliges.
// It returns how to give it back.
func (g *Gate) take(ctx context.Context, c *considered) (giveBack func() error, err error) {
	u, limited := c.use(g.clock())
	if !limited {
		return func() error { return nil }, nil
	}
	if g.uses == nil || u.Subject == "" {
		r := goReason(engine.CodeWall)
		return nil, &engine.Error{Code: r.Code, Message: r.Message}
	}
	next, err := g.uses.Take(ctx, u)
	if err != nil {
		return nil, err
	}
	if next.After(u.At) {
		r := limitReached(c.request.Site.Site, next)
		return nil, &engine.Error{Code: r.Code, Message: r.Message, RetryAfter: next.Sub(u.At)}
	}
	return func() error { return g.uses.GiveBack(ctx, u) }, nil
}

// limitReached is the refusal of one use too many, which says from when there
// is another. What is said is rounded up to the minute.
func limitReached(s *engine.Site, next time.Time) engine.Reason {
	r := goReason(engine.CodeLimitReached)
	if rest := next.Sub(next.Truncate(time.Minute)); rest > 0 {
		next = next.Add(time.Minute - rest)
	}
	r.Message += " You can do it again from " + next.In(s.Location).Format(engine.TimeInWords) + "."
	return r
}

// unknownVisitor is the refusal of somebody who is not known, where a limit
// holds: by the state of their token, as everywhere.
func unknownVisitor(s identity.State) engine.Reason {
	code := engine.CodeIdentityInvalid
	switch s {
	case identity.Absent:
		code = engine.CodeIdentityAbsent
	case identity.Expired:
		code = engine.CodeIdentityExpired
	case identity.Revoked:
		code = engine.CodeIdentityRevoked
	}
	return goReason(code)
}
