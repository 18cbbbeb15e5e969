package connectors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// maxReply bounds a reply's body.
const maxReply = 1 << 20

// ProviderClient sends a call through the connection provider, which alone
// knows the outside system's address and credential. Its errors are
// *provider.Error where it can tell what became of the call.
type ProviderClient interface {
	Do(ctx context.Context, call provider.Call) (*provider.Reply, error)
}

// REST performs a manifest's actions for one site.
type REST struct {
	manifest *Manifest
	site     string
	provider ProviderClient
	now      func() time.Time
}

var _ gate.Connector = (*REST)(nil)

// NewREST makes the connector of a manifest of KindREST for a site.
func NewREST(m *Manifest, siteID string, p ProviderClient, clock func() time.Time) *REST {
	return &REST{manifest: m, site: siteID, provider: p, now: clock}
}

// Call redeems the permit and performs the action once. A write that is over
// its time, or whose reply cannot be understood, is outcome_unknown: it is
// never sent again.
//
// Besides the codes of gate.Connector it gives invalid_arguments for an
// argument that cannot be part of the request; nothing was sent then.
// No record in the Response means that none fits; a write has still happened.
func (c *REST) Call(ctx context.Context, claim gate.Claim, permit gate.Permit) (gate.Response, error) {
	grant, err := permit.Redeem(gate.Claim{Site: c.site, Action: claim.Action, Args: claim.Args}, c.now())
	if err != nil {
		return gate.Response{}, failed("the permit does not cover this call", err)
	}
	a := c.manifest.actions[claim.Action]
	if a == nil || a.request == nil || claim.Site != c.site {
		return gate.Response{}, failed("the connector does not have this action", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	b, err := a.request.build(ctx, claim.Args, grant.Pinned, a.def.Personal)
	if errors.Is(err, errArgument) {
		return gate.Response{}, engine.Errorf(engine.CodeInvalidArguments, "That is not something this can be asked for.", err)
	}
	if err != nil {
		return gate.Response{}, failed("the request could not be made", err)
	}
	call := provider.Call{
		Site:       c.site,
		Connection: c.manifest.Connection,
		Method:     a.request.method,
		Path:       b.path,
		Query:      b.query,
		Body:       b.body,
		MaxReply:   maxReply,
	}
	if b.body != nil {
		call.ContentType = "application/json"
	}
	if a.writes() {
		call.IdempotencyKey = grant.IdempotencyKey
	}
	reply, err := c.provider.Do(ctx, call)
	if err != nil {
		return gate.Response{}, a.unanswered(ctx, err)
	}
	if err := a.refused(reply); err != nil {
		if a.def.List && a.asksForRecord() && engine.CodeOf(err) == engine.CodeNotFound {
			// A list below somebody else's record comes out empty, and so must
			// one below a record that does not exist.
			return gate.Response{Status: reply.Status}, nil
		}
		return gate.Response{Status: reply.Status}, err
	}
	records, err := a.read(ctx, reply.Body, claim.Args)
	if err != nil {
		if a.writes() {
			return gate.Response{Status: reply.Status}, unknown(err)
		}
		return gate.Response{Status: reply.Status}, failed("the other system's reply could not be understood", err)
	}
	return gate.Response{Status: reply.Status, Records: records}, nil
}

// writes reports an action that may change something. What is not known to
// only read does.
func (a *action) writes() bool { return a.def.Risk != engine.Read }

// read takes the records out of a reply, without those that are not the one
// that was asked for.
func (a *action) read(ctx context.Context, body []byte, args map[string]any) ([]gate.Record, error) {
	if len(body) > maxReply {
		return nil, errors.New("the reply is too large")
	}
	records, err := a.response.read(ctx, body)
	if err != nil || a.def.IDArgument == "" {
		return records, err
	}
	asked, given := args[a.def.IDArgument]
	if !given {
		return records, nil
	}
	want := idText(asked)
	return slices.DeleteFunc(records, func(r gate.Record) bool { return want == "" || r.ID != want }), nil
}

// unanswered is the error of a call that has no reply.
func (a *action) unanswered(ctx context.Context, err error) error {
	var pe provider.Error
	if p, ok := errors.AsType[*provider.Error](err); ok {
		pe = *p
	}
	switch {
	case a.writes() && !pe.NotSent:
		return unknown(err)
	case !a.writes() && (pe.Timeout || errors.Is(ctx.Err(), context.DeadlineExceeded)):
		return engine.Errorf(engine.CodeConnectorTimeout, "The other system took too long to answer.", err)
	}
	return failed("the other system could not be reached", err)
}

// refused is the error of a reply that is not a success, nil when it is.
func (a *action) refused(reply *provider.Reply) error {
	switch s := reply.Status; {
	case s >= 200 && s <= 299:
		return nil
	case slices.Contains(a.response.notFound, s):
		// Word for word what the gate says of somebody else's record.
		return engine.Errorf(engine.CodeNotFound, "I can't find that in your account. Please check the number and try again.", nil)
	case s == 400, s == 409, s == 412, s == 422:
		// The system understood and said no: to such a day, in such a state.
		return engine.Errorf(engine.CodeConnectorFailed, "That was not accepted, so nothing was changed. Please try another way, or contact us.",
			errors.New("the other system refused the request"))
	case !a.writes(), s >= 400 && s <= 499, s == 501, s == 503:
		e := failed("the other system refused the request", nil)
		e.RetryAfter = reply.RetryAfter
		return e
	}
	// A redirect or a server's error does not say how far the write went.
	return unknown(nil)
}

func failed(cause string, err error) *engine.Error {
	detail := errors.New(cause)
	if err != nil {
		detail = fmt.Errorf("%s: %w", cause, err)
	}
	return engine.Errorf(engine.CodeConnectorFailed, "The other system could not do this just now.", detail)
}

func unknown(err error) *engine.Error {
	return engine.Errorf(engine.CodeOutcomeUnknown, "It is not certain whether this was done. Please check before trying again.", err)
}
