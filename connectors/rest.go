package connectors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	guard    *Guard
	now      func() time.Time
}

var _ gate.Connector = (*REST)(nil)

// NewREST makes the connector of a manifest of KindREST for a site. g is shared
// by all that reach the same provider.
func NewREST(m *Manifest, siteID string, g *Guard, clock func() time.Time) *REST {
	return &REST{manifest: m, site: siteID, guard: g, now: clock}
}

// Call redeems the permit and performs the action once. A write that is over
// its time, or whose reply cannot be understood, is outcome_unknown: it is
// never sent again.
//
// Besides the codes of gate.Connector it gives invalid_arguments for an
// argument that cannot be part of the request; nothing was sent then. What a
// step does not find is not_found, and connector_timeout may be that of a step:
// nothing was written then either.
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
	p := &performance{rest: c, action: a, grant: grant, values: a.valuesOf(claim.Args, grant)}
	return p.run(ctx)
}

// valuesOf are what an action's requests are filled in with. Whoever is pinned
// comes from the grant alone.
func (a *action) valuesOf(args map[string]any, grant gate.Grant) values {
	v := values{args: args, steps: map[string]finding{}}
	if a.def.Personal {
		p := grant.Pinned
		v.pinned = map[string]any{"email": p.Email, "name": p.Name, "subject": p.Subject}
	}
	if a.writes() {
		v.key = grant.IdempotencyKey
	}
	return v
}

// writes reports an action that may change something. What is not known to
// only read does.
func (a *action) writes() bool { return a.def.Risk != engine.Read }

// performance is an action on its way: its steps, then its own request.
type performance struct {
	rest    *REST
	action  *action
	grant   gate.Grant
	values  values
	status  int     // of the last reply; 0 when there was none
	last    *answer // that reply
	partial bool    // a list went on beyond the pages that are asked for
	asked   int     // requests so far
	bytes   int     // of the replies so far
}

// Bounds on one action: its requests, those of its steps, their pages and what
// is tried again; and the bytes of all the replies.
const (
	maxAsked = 60
	maxBytes = 8 << 20
)

func (p *performance) run(ctx context.Context) (gate.Response, error) {
	a := p.action
	records, err := p.perform(ctx)
	if engine.CodeOf(err) == engine.CodeNotFound && a.def.List && a.asks() {
		// A list below somebody else's record comes out empty, and so must one
		// below a record that does not exist.
		records, err = nil, nil
	}
	if err != nil {
		return gate.Response{Status: p.status}, err
	}
	return gate.Response{Status: p.status, Records: records, Partial: p.partial}, nil
}

// asks reports a list below something that has to be found first, or to be
// there, and one of which the manifest says what the system answers when there
// is none.
func (a *action) asks() bool {
	return len(a.steps) > 0 || a.response.notFound.given || a.asksForRecord(asked{request: a.request, response: a.response})
}

func (p *performance) perform(ctx context.Context) ([]gate.Record, error) {
	a := p.action
	finding, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for _, st := range a.steps {
		if err := p.find(finding, st); err != nil {
			return nil, err
		}
	}
	own := asked{request: a.request, response: a.response}
	if !a.writes() {
		return p.repeat(finding, own)
	}
	// A write has all of its time, however long finding took: one that is cut
	// short leaves everybody in doubt.
	writing, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	records, err := p.ask(writing, own)
	if err == nil && a.follow != nil {
		err = p.followUp(writing)
	}
	if err != nil {
		return nil, err
	}
	return records, nil
}

// find takes a step. What it finds is the customer's, or nothing.
func (p *performance) find(ctx context.Context, st *step) error {
	records, err := p.repeat(ctx, asked{request: st.request, response: st.response, step: st})
	if err != nil {
		return err
	}
	if p.action.def.Personal && st.response.owns() {
		records = st.keep(records, p.grant)
	}
	switch {
	case len(records) == 0:
		return notFound()
	case !st.many && len(records) > 1, len(records) > maxFound:
		return failed("step "+st.name+" found more than it may", nil)
	}
	p.values.steps[st.name] = finding{st.many, records}
	return nil
}

// repeat makes a request that reads, for each record of the step it names.
func (p *performance) repeat(ctx context.Context, c asked) ([]gate.Record, error) {
	each := c.request.each
	if each == "" {
		return p.ask(ctx, c)
	}
	all := p.values.steps[each]
	defer func() { p.values.steps[each] = all }()
	if len(all.records) > maxEach {
		return nil, failed("step "+each+" found more than can be asked for one by one", nil)
	}
	var out []gate.Record
	for _, rec := range all.records {
		p.values.steps[each] = finding{records: []gate.Record{rec}}
		records, err := p.ask(ctx, c)
		if engine.CodeOf(err) == engine.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if out = append(out, records...); len(out) > jqOutputs {
			return nil, failed("the other system's reply could not be understood", errJQMany)
		}
	}
	return out, nil
}

// ask makes a request, page by page where there are pages, and takes the
// records out of what comes back, without those that are not the one that was
// asked for.
func (p *performance) ask(ctx context.Context, c asked) ([]gate.Record, error) {
	var out []gate.Record
	defer func() { p.values.page = page{} }()
	p.values.page = c.request.pages.first()
	for n := 1; ; n++ {
		records, next, err := p.once(ctx, c)
		if n > 1 && engine.CodeOf(err) == engine.CodeNotFound {
			err = nil // there is no such page
		}
		if err != nil {
			return nil, err
		}
		out = append(out, records...)
		if len(out) > jqOutputs {
			return nil, failed("the other system's reply could not be understood", errJQMany)
		}
		if next == nil || n == c.request.pages.limit {
			p.partial = p.partial || next != nil
			return c.narrow(p.action, out, p.values.args), nil
		}
		p.values.page = *next
	}
}

// once makes a request for one page, and tells which one comes next.
func (p *performance) once(ctx context.Context, c asked) ([]gate.Record, *page, error) {
	writes := c.step == nil && p.action.writes()
	b, err := c.request.build(ctx, p.values)
	if errors.Is(err, errArgument) {
		return nil, nil, engine.Errorf(engine.CodeInvalidArguments, "That is not something this can be asked for.", err)
	}
	if err != nil {
		return nil, nil, failed("the request could not be made", err)
	}
	if p.values.page.query != "" {
		b.query = p.values.page.query
	}
	if p.asked >= maxAsked {
		return nil, nil, failed("the action takes more requests than it may", nil)
	}
	call := p.rest.call(c.request, b, p.values.key, writes)
	call.Grant = p.grant
	reply, tries, err := p.rest.guard.do(ctx, call, writes, maxAsked-p.asked)
	p.asked += tries
	if err != nil {
		return nil, nil, unanswered(ctx, err, writes)
	}
	p.status = reply.Status
	got := &answer{Reply: reply}
	p.last = got
	if p.bytes += len(reply.Body); p.bytes > maxBytes {
		return nil, nil, failed("the replies are longer together than they may be", nil)
	}
	// One second for all that is asked of a reply, of a write's even when it
	// came at the last moment.
	understanding := ctx
	if writes {
		understanding = context.WithoutCancel(ctx)
	}
	understanding, cancel := context.WithTimeout(understanding, jqTimeout)
	defer cancel()
	if err := c.response.refusal(understanding, got, writes); err != nil {
		return nil, nil, err
	}
	records, err := c.response.understand(understanding, got, p.values.steps)
	var next *page
	if err == nil {
		next, err = c.request.pages.after(understanding, p.values.page, got, len(records), b.path)
	}
	switch {
	case err != nil && writes:
		return nil, nil, unknown(err)
	case err != nil:
		return nil, nil, failed("the other system's reply could not be understood", err)
	}
	return records, next, nil
}

// call is a request as the provider is asked to send it.
func (c *REST) call(q *request, b built, key string, writes bool) provider.Call {
	call := provider.Call{
		Site:        c.site,
		Connection:  c.manifest.Connection,
		Method:      q.method,
		Path:        b.path,
		Query:       b.query,
		Body:        b.body,
		ContentType: b.contentType,
		MaxReply:    maxReply,
		Headers:     map[string]string{},
	}
	for _, given := range []map[string]string{c.manifest.headers, q.headers, b.headers} {
		for name, value := range given {
			if !strings.EqualFold(name, "Content-Type") {
				call.Headers[name] = value
			} else if b.body != nil {
				call.ContentType = value
			}
		}
	}
	switch {
	case !writes || c.manifest.idempotency == "":
	case c.manifest.idempotency == defaultIdempotency:
		call.IdempotencyKey = key
	default:
		call.Headers[c.manifest.idempotency] = key
	}
	return call
}

// understand takes the records out of a reply.
func (p *response) understand(ctx context.Context, a *answer, steps map[string]finding) ([]gate.Record, error) {
	switch {
	case len(a.Body) > maxReply:
		return nil, errors.New("the reply is too large")
	case p.records == nil, a.empty():
		return nil, nil
	}
	doc, err := a.json()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReply, err)
	}
	records, err := p.read(ctx, doc, steps)
	for _, rec := range records {
		if p.etag != "" && a.ETag != "" {
			rec.Fields[p.etag] = a.ETag
		}
	}
	return records, err
}

// narrow drops the records that are not the one that was asked for.
func (c asked) narrow(a *action, records []gate.Record, args map[string]any) []gate.Record {
	name := a.def.IDArgument
	if c.step != nil {
		name = c.step.idArg
	}
	given, ok := args[name]
	if name == "" || !ok {
		return records
	}
	want := idText(given)
	return slices.DeleteFunc(records, func(r gate.Record) bool { return want == "" || r.ID != want })
}

// unanswered is the error of a call that has no reply.
func unanswered(ctx context.Context, err error, writes bool) error {
	var pe provider.Error
	if p, ok := errors.AsType[*provider.Error](err); ok {
		pe = *p
	}
	if held, ok := errors.AsType[*heldBack](err); ok {
		e := failed("the request was held back", err)
		e.RetryAfter = held.retryAfter
		return e
	}
	switch {
	case writes && !pe.NotSent:
		return unknown(err)
	case !writes && (pe.Timeout || errors.Is(ctx.Err(), context.DeadlineExceeded)):
		return engine.Errorf(engine.CodeConnectorTimeout, "The other system took too long to answer. Please try again in a moment.", err)
	}
	return failed("the other system could not be reached", err)
}

// refusal is the error of a reply that is not a success, nil when it is. What a
// write's reply says counts where the system itself has answered: a gateway's
// error does not know how far the write went.
func (p *response) refusal(ctx context.Context, a *answer, writes bool) error {
	s := a.Status
	fine := s >= 200 && s <= 299
	says := !a.empty() && (!writes || fine || s >= 400 && s <= 499)
	if writes && p.unknown.met(ctx, a, says) == yes {
		return unknown(errors.New("the reply says that it may have been done"))
	}
	missing := p.notFound.met(ctx, a, says)
	if missing == yes {
		return notFound()
	}
	refused := p.refused.met(ctx, a, says)
	if refused == yes {
		return refusedError()
	}
	success := yes
	if p.success != nil && says {
		success = a.says(ctx, p.success, true)
	}
	switch {
	case fine && missing == no && refused == no && success == yes:
		return nil
	case fine && !writes:
		return failed("the other system's reply could not be understood, or is no success", nil)
	case fine:
		return unknown(errors.New("what the reply says is not a success"))
	case !writes, s >= 400 && s <= 499, s == 501, s == 503 && a.RetryAfter > 0:
		e := failed("the other system refused the request", nil)
		e.RetryAfter = a.RetryAfter
		return e
	}
	// A redirect or a server's error does not say how far the write went; nor
	// does a 503 that does not say when to come back, for gateways give one for
	// a connection that broke after the request.
	return unknown(nil)
}

// notFound says word for word what the gate says of somebody else's record.
func notFound() *engine.Error {
	return engine.Errorf(engine.CodeNotFound, "I can't find that in your account. Please check the number and try again.", nil)
}

// refusedError is the outcome of a request that the system understood and said
// no to: to such a day, in such a state.
func refusedError() *engine.Error {
	return engine.Errorf(engine.CodeConnectorFailed, "That was not accepted, so nothing was changed. Please try another way, or contact us.",
		errors.New("the other system refused the request"))
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
