package connectors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// Preview is a request as it would be sent, as far as that is known before
// anything is: where what an earlier step finds would stand, it has <step.field>.
type Preview struct {
	Action     string            `json:"action"` // whose request it is
	Purpose    string            `json:"purpose"`
	Connection string            `json:"connection"`
	Method     string            `json:"method"`
	Path       string            `json:"path"` // below the connection's base URL, with the query
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"`
	Repeats    string            `json:"repeats,omitempty"` // how often it may be made; "" for once
}

// Preview returns the requests that an action would make for a customer, those
// that prove its records first. Nothing is sent. Its error is
// invalid_arguments, or says what else is wrong.
func (c *Catalog) Preview(ctx context.Context, action string, args map[string]any, who gate.Pinned) ([]Preview, error) {
	e, ok := c.actions[action]
	if !ok {
		return nil, fmt.Errorf("there is no action %q%s", action, suggest(action, c.names()))
	}
	if e.request == nil && e.operation == "" {
		return nil, fmt.Errorf("%s is answered from the site's own documents: it makes no request", action)
	}
	if err := e.def.Args.Validate(args); err != nil {
		return nil, engine.Errorf(engine.CodeInvalidArguments, "The arguments are not the action's.", err)
	}
	var out []Preview
	for _, res := range e.def.Resources {
		value, given := args[res.Argument]
		if !given {
			continue
		}
		by := c.actions[res.Action]
		proof := map[string]any{}
		for _, name := range by.def.Args.Required() {
			if also, ok := args[name]; ok {
				proof[name] = also
			}
		}
		if by.def.Args.Has(res.Argument) {
			proof[res.Argument] = value
		} else if required := by.def.Args.Required(); len(required) == 1 {
			proof[required[0]] = value
		}
		shown, err := by.preview(ctx, proof, who, "proves whose "+res.Argument+" is")
		if err != nil {
			return nil, err
		}
		out = append(out, shown...)
	}
	shown, err := e.preview(ctx, args, who, "")
	return append(out, shown...), err
}

// preview shows an action's steps and its own request.
func (e entry) preview(ctx context.Context, args map[string]any, who gate.Pinned, purpose string) ([]Preview, error) {
	a := e.action
	if a.operation != "" {
		return e.previewNative(ctx, args, who, purpose)
	}
	v := a.valuesOf(args, gate.Grant{Pinned: who, IdempotencyKey: "<the same for every attempt>"})
	var out []Preview
	for _, c := range a.requests() {
		p := Preview{Action: a.def.Name, Connection: e.manifest.Connection, Method: c.request.method, Purpose: purpose}
		switch {
		case c.step != nil && purpose != "":
			p.Purpose = purpose + ": finds " + c.step.name
		case c.step != nil:
			p.Purpose = "finds " + c.step.name
		case c.follows:
			p.Purpose = "asks whether it is done, where that is not said at once"
			v.job = "<job>"
		case purpose == "" && a.writes():
			p.Purpose = "does it"
		case purpose == "":
			p.Purpose = "reads it"
		}
		v.page = c.request.pages.first()
		if err := p.fill(ctx, e, c, v); err != nil {
			return nil, fmt.Errorf("%s: %w", a.def.Name, err)
		}
		out = append(out, p)
		if c.step != nil {
			v.steps[c.step.name] = c.step.standIn()
		}
	}
	return out, nil
}

// fill makes the request and shows it.
func (p *Preview) fill(ctx context.Context, e entry, c asked, v values) error {
	q := c.request
	if each, ok := v.steps[q.each]; ok {
		v.steps[q.each] = finding{records: each.records}
		defer func() { v.steps[q.each] = each }()
		p.Repeats = fmt.Sprintf("for each %s, at most %d", q.each, maxEach)
	}
	if q.pages != nil {
		p.Repeats = strings.TrimPrefix(p.Repeats+", ", ", ") + fmt.Sprintf("page by page, at most %d", q.pages.limit)
	}
	b, err := q.build(ctx, v)
	if err != nil && q.body != nil && !errors.Is(err, errArgument) && !errors.Is(err, errPinned) && len(v.steps) > 0 {
		// What a step finds may be a number, which its stand-in is not.
		bodiless := *q
		bodiless.body = nil
		if b, err = bodiless.build(ctx, v); err == nil {
			b.body, b.contentType = []byte("the result of "+q.body.source), "application/json"
		}
	}
	if err != nil {
		return err
	}
	call := (&REST{manifest: e.manifest}).call(q, b, v.key, c.step == nil && !c.follows && e.writes())
	p.Path = call.Path
	if call.Query != "" {
		p.Path += "?" + call.Query
	}
	p.Headers = call.Headers
	if call.ContentType != "" {
		p.Headers["Content-Type"] = call.ContentType
	}
	if call.IdempotencyKey != "" {
		p.Headers[defaultIdempotency] = call.IdempotencyKey
	}
	p.Body = string(call.Body)
	if c.follows {
		p.Repeats = fmt.Sprintf("every %v, at most %d times", e.follow.every, e.follow.times)
		p.Path = strings.ReplaceAll(p.Path, url.QueryEscape(v.job), v.job)
	}
	for _, st := range e.steps {
		for _, f := range st.response.fields {
			mark := stepMark(st.name, f.name)
			for _, spelling := range []string{url.QueryEscape(mark), strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(mark)} {
				p.Path = strings.ReplaceAll(p.Path, spelling, mark)
				p.Body = strings.ReplaceAll(p.Body, spelling, mark)
			}
		}
	}
	p.Body = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(p.Body)
	return nil
}

func stepMark(step, field string) string { return "<" + step + "." + field + ">" }

// standIn is what a step is shown to find.
func (st *step) standIn() finding {
	rec := gate.Record{Fields: map[string]any{}}
	for _, f := range st.response.fields {
		rec.Fields[f.name] = stepMark(st.name, f.name)
	}
	return finding{st.many, []gate.Record{rec}}
}

var errNotSent = errors.New("nothing is sent")

// previewNative shows the first request of a connector written in Go, which is
// stopped there: what comes next depends on what it would hear.
func (e entry) previewNative(ctx context.Context, args map[string]any, who gate.Pinned, purpose string) ([]Preview, error) {
	var first *provider.Call
	_, err := e.manifest.native.Do(ctx, NativeCall{Operation: e.operation, Args: args, Pinned: who, Now: time.Now(),
		Site: &engine.Site{Location: time.UTC}, Owns: func(gate.Owner) bool { return false },
		Send: func(_ context.Context, call provider.Call) (*provider.Reply, error) {
			if first == nil {
				first = &call
			}
			return nil, errNotSent
		}})
	if first == nil {
		return nil, fmt.Errorf("%s: operation %s of %s asks nothing for these arguments: %w", e.def.Name, e.operation, e.manifest.Kind, err)
	}
	p := Preview{Action: e.def.Name, Connection: e.manifest.Connection, Method: first.Method, Path: first.Path, Headers: maps.Clone(e.manifest.headers),
		Body: string(first.Body), Purpose: "begins with this", Repeats: "what comes next depends on the answer"}
	if purpose != "" {
		p.Purpose = purpose
	}
	if first.Query != "" {
		p.Path += "?" + first.Query
	}
	if p.Headers == nil {
		p.Headers = map[string]string{}
	}
	maps.Copy(p.Headers, first.Headers)
	if first.ContentType != "" {
		p.Headers["Content-Type"] = first.ContentType
	}
	return []Preview{p}, nil
}
