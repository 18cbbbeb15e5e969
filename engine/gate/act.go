package gate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
)

// Result is what Do came to. Decision.Allow is false for a refusal, and then
// nothing else is set.
type Result struct {
	Decision engine.Decision
	Action   *engine.Action
	// Pending says that the visitor must confirm first: nothing was done.
	Pending bool
	// Before is the customer's record that the arguments name, as it was when
	// its ownership was proven; nil when they name none.
	Before *Record
	// Records are the released records.
	Records []Record
	// Partial says that the outside system has more than it was asked for.
	Partial bool
}

// Do takes an intent down the whole path. A refusal by the policy is a Result
// and not an error. Its errors are *engine.Error: audit_unavailable when nothing
// could be recorded and so nothing was done; not_found; a code of a release
// rule; a connector's code; or internal, when something on the way panicked.
func (g *Gate) Do(ctx context.Context, r Request) (Result, error) {
	if r.Intent.Args == nil {
		r.Intent.Args = map[string]any{}
	}
	begun := time.Now() // on the monotonic clock, which nobody sets
	c := g.decide(ctx, r, false)
	if err := g.record(ctx, c); err != nil {
		return Result{}, err
	}
	res := Result{Decision: c.record.Decision, Action: c.binding.Action}
	if !c.allowed() {
		return res, nil
	}
	started := g.clock()
	o, err := g.carryOut(ctx, c, &res)
	if err != nil && c.binding.Action.Risk == engine.Read && errors.Is(ctx.Err(), context.Canceled) {
		// Whatever it came to, it came to because nobody waited for it any more.
		err = engine.Errorf(engine.CodeClientGone, "The request was abandoned.", err)
	}
	o.Code = engine.CodeOf(err)
	if res.Pending {
		o.Code = engine.CodeConfirmationRequired
	}
	if err = g.close(ctx, c, o, started, err); c.cameToNothing(res, err) {
		g.wait(ctx, g.floor-time.Since(begun))
	}
	return res, err
}

// cameToNothing reports an answer that is the same for a record that does not
// exist and for one of somebody else.
func (c *considered) cameToNothing(res Result, err error) bool {
	a := c.binding.Action
	if !a.Personal || len(c.request.Intent.Args) == 0 || c.request.parent != "" {
		return false
	}
	return engine.CodeOf(err) == engine.CodeNotFound || err == nil && a.Risk == engine.Read && len(res.Records) == 0
}

func waitOut(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// carryOut does what was allowed, and says what became of it, however it ends:
// a panic on the way is an ending too.
func (g *Gate) carryOut(ctx context.Context, c *considered, res *Result) (o audit.Outcome, err error) {
	called, acted := false, false
	defer func() {
		if recover() == nil { // what it holds may be anybody's, so it goes nowhere
			return
		}
		res.Records, res.Pending, res.Partial = nil, false, false
		write := c.binding.Action.Risk != engine.Read
		switch {
		case write && acted:
			// It is done; only what may be shown of it could not be made out.
			o.Problem, err = errPanicked.Error(), nil
		case write && called:
			err = engine.Errorf(engine.CodeOutcomeUnknown, "Something went wrong on the way. Please check before you try again.", errPanicked)
		default:
			err = engine.Errorf(engine.CodeInternal, "Something went wrong here. It has been logged.", errPanicked)
		}
	}()
	if res.Before, err = g.resolve(ctx, c); err != nil {
		return o, err
	}
	if !c.confirmed && (c.request.MustConfirm || engine.Obliges(c.record.Obligations, engine.ObligationConfirm)) {
		res.Pending = true
		return o, nil
	}
	// Before the Permit, whose life is short: to count may take a moment.
	giveBack, err := g.take(ctx, c)
	if err != nil {
		return o, err
	}
	p, err := g.mint(c)
	if err != nil {
		return o, g.undone(err, giveBack)
	}
	o.IdempotencyKey = p.p.grant.IdempotencyKey
	called = true
	resp, err := g.act(ctx, c, p)
	o.Status, o.Returned, o.Partial = resp.Status, len(resp.Records), resp.Partial
	if engine.CodeOf(err) == engine.CodeConnectorFailed && ctx.Err() == nil {
		// Whoever goes away in the middle has had their use, or they could have
		// any number of them.
		err = g.undone(err, giveBack)
	}
	if engine.CodeOf(err) == engine.CodeNotFound {
		err = errNotFound // in the very words that a foreign record gets
	}
	if err != nil {
		return o, err
	}
	acted = true
	res.Partial = resp.Partial
	res.Records, err = g.release(ctx, c, resp.Records, &o)
	if c.binding.Action.Risk != engine.Read {
		// It is done: what may not be shown of it is not shown, and nobody
		// is told that it was refused.
		err = nil
	}
	o.Released = len(res.Records)
	return o, err
}

var errPanicked = errors.New("a panic on the way")

// undone gives back the use of a call that certainly did nothing. Where that
// cannot be written the use stays counted, which only ever refuses.
func (g *Gate) undone(err error, giveBack func() error) error {
	if kept := giveBack(); kept != nil {
		if e, coded := errors.AsType[*engine.Error](err); coded {
			both := *e
			both.Err = errors.Join(e.Err, fmt.Errorf("giving a use back: %w", kept))
			return &both
		}
	}
	return err
}

// close records the outcome before anybody hears of it.
func (g *Gate) close(ctx context.Context, c *considered, o audit.Outcome, started time.Time, err error) error {
	now := g.clock()
	o.Decision, o.Time = c.record.ID, now
	o.Connector = c.binding.Action.Connector
	if e, coded := errors.AsType[*engine.Error](err); coded && e.Err != nil {
		o.Problem = e.Err.Error()
	}
	o.Milliseconds = now.Sub(started).Milliseconds()
	if unrecorded := g.log.Outcome(ctx, c.request.Site.ID, o); unrecorded != nil {
		if o.IdempotencyKey != "" && c.binding.Action.Risk != engine.Read {
			e := *errDoneUnrecorded
			e.Err = unrecorded
			return &e
		}
		e := *errUnrecorded
		e.Err = unrecorded
		return &e
	}
	return err
}

// resolve proves that every record the arguments name is the customer's, each
// by a read action with a decision and a Permit of its own. It returns the
// first of them.
func (g *Gate) resolve(ctx context.Context, c *considered) (*Record, error) {
	var first *Record
	for _, res := range c.binding.Action.Resources {
		value, given := c.request.Intent.Args[res.Argument]
		if !given {
			continue
		}
		by := c.request.Site.actions[res.Action].Action
		read := c.request
		read.parent = c.record.ID
		read.Confirmed, read.MustConfirm, read.IdempotencyKey, read.Follows = "", false, "", ""
		read.Intent = engine.Intent{Action: by.Name, Args: map[string]any{}, Asserted: c.request.Intent.Asserted}
		for _, name := range by.Args.Required() {
			// What the proof wants besides, such as the name a booking is under.
			if also, ok := c.request.Intent.Args[name]; ok {
				read.Intent.Args[name] = also
			}
		}
		if name, ok := lookupArgument(by, res.Argument); ok {
			read.Intent.Args[name] = value
		}
		found, err := g.Do(ctx, read)
		if err != nil {
			return nil, err
		}
		if !found.Decision.Allow {
			return nil, denied(&found.Decision, g.clock())
		}
		rec := pick(found.Records, by, fmt.Sprint(value))
		if rec == nil {
			return nil, errNotFound
		}
		if first == nil {
			first = rec
		}
	}
	return first, nil
}

// denied is a decision to deny as an error.
func denied(d *engine.Decision, now time.Time) *engine.Error {
	e := &engine.Error{Code: d.Reasons[0].Code, Message: d.Reasons[0].Message}
	if !d.RetryAt.IsZero() {
		e.RetryAfter = max(d.RetryAt.Sub(now), time.Second)
	}
	if e.Code == engine.CodeStepUpRequired {
		e.Unmet = d.Obligations
	}
	return e
}

// lookupArgument is the argument of the proving action that takes the record's
// name: the one of the same name, or its only required one. A listing has none.
func lookupArgument(by *engine.Action, argument string) (string, bool) {
	if by.Args.Has(argument) {
		return argument, true
	}
	if req := by.Args.Required(); len(req) == 1 {
		return req[0], true
	}
	return "", false
}

// pick finds the named record among those that were released. A name that two
// of them bear is nobody's.
func pick(records []Record, by *engine.Action, id string) *Record {
	var found *Record
	for i := range records {
		rec := &records[i]
		name := rec.ID
		if v, ok := rec.Fields["id"]; name == "" && by.List && ok && v != nil {
			name = fmt.Sprint(v)
		}
		if name != id || name == "" {
			continue
		}
		if found != nil {
			return nil
		}
		found = rec
	}
	return found
}

// act calls the connector. A write is carried through even when the client has
// gone, so that its outcome is known.
func (g *Gate) act(ctx context.Context, c *considered, p Permit) (resp Response, err error) {
	a := c.binding.Action
	if a.Risk != engine.Read {
		ctx = context.WithoutCancel(ctx)
	}
	defer func() {
		if cause := recover(); cause != nil {
			code := engine.CodeConnectorFailed
			if a.Risk != engine.Read {
				code = engine.CodeOutcomeUnknown
			}
			resp, err = Response{}, engine.Errorf(code, "Something went wrong on the way. Please check before you try again.",
				fmt.Errorf("panic in connector %s", a.Connector))
		}
	}()
	return c.binding.Connector.Call(ctx, Claim{Site: c.request.Site.ID, Action: a.Name, Args: c.request.Intent.Args}, p)
}

// release lets out the records that are the customer's, less what the release
// policy withholds or redacts. Owners are compared here, before the policy sees
// anything, so that no policy can release a foreign record.
func (g *Gate) release(ctx context.Context, c *considered, records []Record, o *audit.Outcome) ([]Record, error) {
	a, v := c.binding.Action, c.request.Identity.Visitor
	own, foreign := make([]Record, 0, len(records)), map[string]bool{}
	for _, rec := range records {
		if a.Personal && !owned(rec.Owner, v, c.request.Site.FoldEmailLocal) {
			o.Withheld = append(o.Withheld, engine.CodeNotOwner)
			foreign[rec.ID] = true
			continue
		}
		own = append(own, rec)
	}
	if proves := !a.List || c.request.parent != ""; proves && len(foreign) > 0 {
		// A name that somebody else's record bears as well proves nothing.
		kept := own[:0]
		for _, rec := range own {
			if foreign[rec.ID] {
				o.Withheld = append(o.Withheld, engine.CodeNotOwner)
				continue
			}
			kept = append(kept, rec)
		}
		own = kept
	}
	single := !a.List
	if len(own) == 0 {
		if single && a.Risk == engine.Read {
			return nil, errNotFound
		}
		return nil, nil
	}
	asked := make([]policy.Record, len(own))
	for i, rec := range own {
		asked[i] = policy.Record{ID: rec.ID, Fields: rec.Fields}
	}
	evaluation, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	defer cancel()
	said, err := c.set.Release(evaluation, &c.input, asked)
	if err != nil {
		for range own {
			o.Withheld = append(o.Withheld, engine.CodePolicyError)
		}
		r := goReason(engine.CodePolicyError)
		return nil, engine.Errorf(r.Code, r.Message, err)
	}
	out := own[:0]
	var why engine.Reason
	for i, rec := range own {
		if r, withheld := said.Withheld[i]; withheld {
			o.Withheld = append(o.Withheld, r.Code)
			why = r
			continue
		}
		if hidden := said.Redacted[i]; len(hidden) > 0 {
			fields := maps.Clone(rec.Fields)
			for _, f := range hidden {
				delete(fields, f)
				o.Redacted = append(o.Redacted, f)
			}
			rec.Fields = fields
		}
		out = append(out, rec)
	}
	if len(out) == 0 && single {
		return nil, &engine.Error{Code: why.Code, Message: why.Message}
	}
	return out, nil
}

// owned reports whether a record is the visitor's. Whatever the record says
// about its owner must be true of the visitor, and it must say something.
func owned(o Owner, v identity.Visitor, foldLocal bool) bool {
	if len(o.Any) > 0 {
		return o.Email == "" && o.Subject == "" && slices.ContainsFunc(o.Any, func(one Owner) bool {
			return len(one.Any) == 0 && owned(one, v, foldLocal)
		})
	}
	if o.Email == "" && o.Subject == "" {
		return false
	}
	if o.Subject != "" && o.Subject != v.Subject() {
		return false
	}
	if o.Email != "" {
		c, err := identity.CanonicalEmail(o.Email, foldLocal)
		return err == nil && c == v.Email()
	}
	return v.Subject() != ""
}

// Data is the released records as API callers see them: the one record's
// fields, or a list under "records", with "partial" where there is more; empty
// when the action brings nothing back.
func (r Result) Data() map[string]any {
	if r.Action != nil && r.Action.List {
		list := make([]map[string]any, len(r.Records))
		for i, rec := range r.Records {
			list[i] = rec.Fields
		}
		if r.Partial {
			return map[string]any{"records": list, "partial": true}
		}
		return map[string]any{"records": list}
	}
	if len(r.Records) == 0 {
		return map[string]any{}
	}
	return r.Records[0].Fields
}
