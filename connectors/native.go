package connectors

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// Kind is a kind of connector that is written in Go, for what REST cannot say.
// A manifest names it as its connector's kind and declares actions as any other
// does; where an action of REST has a request, one of these names one of the
// kind's operations. Whoever assembles the program hands the kinds it has to
// ParseManifest.
type Kind struct {
	Name       string
	Operations map[string]Operation
	// Rules are the calls that it makes, for the provider to allow nothing else.
	Rules []Rule
	// Settings is the closed JSON Schema of the connector's settings; nil for none.
	Settings map[string]any
	// Open makes the connector of a manifest. Its error says what is wrong with
	// the settings.
	Open func(settings map[string]any) (Native, error)
}

// Rule is a kind of call: a method, and a path below the connection's base URL
// in which {name} stands for one segment, and {name...} at the end for any rest.
type Rule = provider.Rule

// Operation is what an action may ask of a native connector.
type Operation struct {
	Personal bool        // it concerns one customer, and its records have an owner
	Risk     engine.Risk // an action declares this risk or a higher one
	Required []string    // arguments without which it cannot be done
	Optional []string
	// Record is the required argument that names a customer's record, "" for
	// none. An action that writes must have it proven by a resource; one that
	// only reads gets back that record or none.
	Record string
	List   bool     // it brings back any number of records, each with an ID
	Fields []string // what its records may hold
}

// Native performs operations in an outside system. It reaches that through
// NativeCall.Send alone. It must compare owners itself before it changes
// anything: the gate compares those of the records that come back.
//
// An error that is ErrNotFound means that there is no such record of this
// customer. An *engine.Error is passed on. One of Send's is mapped as those of
// REST are. After any other, an action that has sent anything but a GET, PROPFIND
// or REPORT counts as having perhaps happened.
type Native interface {
	Do(ctx context.Context, call NativeCall) ([]gate.Record, error)
}

// NativeCall is one permitted call. The permit has been redeemed for it.
type NativeCall struct {
	Operation string
	Args      map[string]any // valid against the action's schema
	Pinned    gate.Pinned    // zero for a public action
	Site      *engine.Site
	Now       time.Time
	// Owns compares an owner with the pin, as the gate does.
	Owns func(gate.Owner) bool
	// Send makes a call to the manifest's connection. Site, Connection,
	// IdempotencyKey and Grant are filled in.
	Send func(context.Context, provider.Call) (*provider.Reply, error)
}

// ErrNotFound is a Native's answer for a record that is not there, or not the
// customer's.
var ErrNotFound = errors.New("no such record of this customer")

// NewConnector makes the connector that performs a manifest's actions for a
// site, for a manifest of any kind but KindKnowledge.
func NewConnector(m *Manifest, site *engine.Site, g *Guard, clock func() time.Time) gate.Connector {
	if m.native == nil {
		return NewREST(m, site.ID, g, clock)
	}
	return &native{manifest: m, site: site, guard: g, now: clock}
}

// native puts a Native behind the gate: it redeems permits, keeps time, binds
// calls to the manifest's connection and lets out only the manifest's fields.
type native struct {
	manifest *Manifest
	site     *engine.Site
	guard    *Guard
	now      func() time.Time
}

// Call redeems the permit and performs the action's operation once.
func (c *native) Call(ctx context.Context, claim gate.Claim, permit gate.Permit) (gate.Response, error) {
	grant, err := permit.Redeem(gate.Claim{Site: c.site.ID, Action: claim.Action, Args: claim.Args}, c.now())
	if err != nil {
		return gate.Response{}, failed("the permit does not cover this call", err)
	}
	a := c.manifest.actions[claim.Action]
	if a == nil || a.operation == "" || claim.Site != c.site.ID {
		return gate.Response{}, failed("the connector does not have this action", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	status, wrote := 0, false
	records, err := c.manifest.native.Do(ctx, NativeCall{
		Operation: a.operation,
		Args:      claim.Args,
		Pinned:    grant.Pinned,
		Site:      c.site,
		Now:       c.now(),
		Owns:      grant.Owns,
		Send: func(ctx context.Context, call provider.Call) (*provider.Reply, error) {
			call.Site, call.Connection, call.IdempotencyKey, call.Grant = c.site.ID, c.manifest.Connection, "", grant
			if a.writes() {
				call.IdempotencyKey = grant.IdempotencyKey
			}
			headers := maps.Clone(c.manifest.headers)
			if headers == nil {
				headers = map[string]string{}
			}
			maps.Copy(headers, call.Headers)
			call.Headers = headers
			writes := a.writes() && !onlyReads(call.Method)
			wrote = wrote || writes
			reply, _, err := c.guard.do(ctx, call, writes, maxAsked)
			if err == nil {
				status = reply.Status
			}
			return reply, err
		},
	})
	if err != nil {
		return gate.Response{Status: status}, nativeError(ctx, err, wrote)
	}
	for i := range records {
		records[i].Fields = a.project(records[i].Fields)
	}
	if asked, given := claim.Args[a.def.IDArgument]; given && !a.writes() {
		want := idText(asked)
		records = slices.DeleteFunc(records, func(r gate.Record) bool { return want == "" || r.ID != want })
	}
	return gate.Response{Status: status, Records: records}, nil
}

// onlyReads reports a method that changes nothing.
func onlyReads(method string) bool {
	return method == http.MethodGet || method == "PROPFIND" || method == "REPORT"
}

// nativeError is what an error of a Native comes to. wrote says that it has made
// a call that may have changed something.
func nativeError(ctx context.Context, err error, wrote bool) error {
	if coded, ok := errors.AsType[*engine.Error](err); ok {
		return coded
	}
	_, sent := errors.AsType[*provider.Error](err)
	switch {
	case errors.Is(err, ErrNotFound):
		return notFound()
	case sent, wrote, errors.Is(ctx.Err(), context.DeadlineExceeded):
		return unanswered(ctx, err, wrote)
	}
	return failed("the connector could not do this", err)
}

// project keeps of a record's fields those of the manifest.
func (a *action) project(fields map[string]any) map[string]any {
	out := make(map[string]any, len(a.response.fields))
	for _, f := range a.response.fields {
		if v, ok := fields[f.name]; ok && v != nil {
			out[f.name] = v
		}
	}
	return out
}

// openKind finds the manifest's kind among those written in Go, and opens it.
func (r *reader) openKind(n *yaml.Node, settings *yaml.Node, m *Manifest) {
	i := slices.IndexFunc(r.kinds, func(k *Kind) bool { return k.Name == m.Kind })
	if i < 0 {
		if settings != nil {
			r.failf(settings, "connector: kind %s has no settings", m.Kind)
		}
		return
	}
	k := r.kinds[i]
	at, given := n, map[string]any{}
	if settings != nil {
		at = settings
		before := len(r.errs)
		if given, _ = r.json(settings, "settings").(map[string]any); given == nil {
			if len(r.errs) == before {
				r.failf(settings, "settings must be a mapping, not %s", kindOf(settings))
			}
			return
		}
	}
	schema, err := engine.CompileArgs(k.Settings)
	if err == nil {
		err = schema.Validate(given)
	}
	if err != nil {
		r.failf(at, "connector: settings of %s: %v", k.Name, err)
		return
	}
	if m.native, err = k.Open(given); err != nil {
		r.failf(at, "connector: settings of %s: %v", k.Name, err)
		return
	}
	m.kind = k
}

// readChosen reads the response of an action whose connector knows its records:
// which of their fields are wanted.
func (r *reader) readChosen(n *yaml.Node) *response {
	p := &response{line: n.Line}
	r.keys(n, "response", map[string]func(*yaml.Node){
		"fields": func(n *yaml.Node) { p.fields = r.readFields(n) },
	})
	return p
}

// judgeNative holds an action of a native connector to its operation.
func (r *reader) judgeNative(a *action, m *Manifest, at *yaml.Node, seen map[string]bool) {
	def := a.def
	for _, key := range []string{"steps", "request", "follow", "not_a_record"} {
		if seen[key] {
			r.failAt(a.line, "%s: an action of a connector of kind %s has no %s", def.Name, m.Kind, key)
		}
	}
	if at == nil {
		r.failAt(a.line, "%s: operation is missing: which of %s's operations it is", def.Name, m.Kind)
		return
	}
	name := r.text(at, "operation")
	if m.kind == nil || name == "" {
		return // its own problem is known already
	}
	op, ok := m.kind.Operations[name]
	if !ok {
		r.failf(at, "operation: %s has no %q%s", m.Kind, name, suggest(name, slices.Collect(maps.Keys(m.kind.Operations))))
		return
	}
	a.operation = name
	if seen["personal"] && def.Personal != op.Personal {
		r.failf(at, "%s: operation %s has personal: %t", def.Name, name, op.Personal)
	}
	if def.Risk != engine.UnknownRisk && def.Risk < op.Risk {
		r.failf(at, "%s: operation %s has at least risk: %s", def.Name, name, op.Risk)
	}
	r.judgeOperationArgs(a, op, at)
	for _, f := range a.response.fields {
		if f.from != nil || !slices.Contains(op.Fields, f.name) {
			r.failAt(a.response.line, "%s: fields: operation %s has no %q%s", def.Name, name, f.name, suggest(f.name, slices.Clone(op.Fields)))
		}
	}
	if op.Risk == engine.Read && len(a.response.fields) == 0 {
		r.failAt(a.line, "%s: response: fields must say what of a record may be shown (there is %v)", def.Name, op.Fields)
	}
	def.List = op.List
	if !op.List {
		def.IDArgument = op.Record
	}
}

func (r *reader) judgeOperationArgs(a *action, op Operation, at *yaml.Node) {
	def := a.def
	if def.Args == nil {
		return
	}
	known := slices.Concat(op.Required, op.Optional)
	for _, arg := range def.Args.Names() {
		if !slices.Contains(known, arg) {
			r.failAt(a.line, "%s: args: operation %s takes no %q%s", def.Name, a.operation, arg, suggest(arg, slices.Clone(known)))
		}
	}
	for _, arg := range op.Required {
		if !slices.Contains(def.Args.Required(), arg) {
			r.failAt(a.line, "%s: args: operation %s requires %q", def.Name, a.operation, arg)
		}
	}
	for _, res := range def.Resources {
		if !def.Args.Has(res.Argument) {
			r.failAt(a.resource[res.Argument], "%s: resource: %q is not an argument%s", def.Name, res.Argument, suggest(res.Argument, def.Args.Names()))
		}
	}
	if _, proven := a.resource[op.Record]; op.Record != "" && op.Risk != engine.Read && !proven {
		r.failf(at, "%s: %q says what is changed, and nothing proves that it is the customer's; add resource: {%s: <an action that lists them>}", def.Name, op.Record, op.Record)
	}
}
