package connectors

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine/gate"
)

// response is what is made of the outside system's reply.
type response struct {
	records  *expression // nil: nothing is brought back
	id       *expression // of a record; nil for none
	owner    ownerKind
	ownerAt  *expression // of a record; nil for ownerNone and ownerBelow
	through  string      // the step that the owner is known from, for ownerStep and ownerBelow
	fields   []field
	notFound outcome // means that the record does not exist
	refused  outcome // means that the system understood and said no
	unknown  outcome // of a write: does not say whether it was done
	success  *expression
	idArg    *string
	etag     string // the field that the reply's ETag becomes; "" for none
	any      bool   // ownerAt gives several, each of whom it belongs to

	line, ownerLine int
}

// ownerKind is how a record says whose it is.
type ownerKind uint8

const (
	ownerNone    ownerKind = iota
	ownerEmail             // by an e-mail address
	ownerSubject           // by the subject of the customer's tokens
	ownerStep              // it names a record that a step found, and has its owner
	ownerBelow             // it was found below a record that a step found, and has its owner
)

// owns reports a response whose records say whose they are.
func (p *response) owns() bool { return p.owner != ownerNone }

// field is one member of a record that may leave the connector.
type field struct {
	name string
	from *expression // nil: the record's own member of that name
	etag bool        // it is the reply's ETag
}

// readResponse reads a response. Without one, nothing comes back.
func (r *reader) readResponse(n *yaml.Node) *response {
	p := &response{line: n.Line}
	seen := r.keys(n, "response", map[string]func(*yaml.Node){
		"records":   func(n *yaml.Node) { p.records = r.jq(n, "records") },
		"id":        func(n *yaml.Node) { p.id = r.jq(n, "id") },
		"owner":     func(n *yaml.Node) { r.readOwner(n, p) },
		"fields":    func(n *yaml.Node) { p.fields = r.readFields(n) },
		"not_found": func(n *yaml.Node) { p.notFound = r.readOutcome(n, "not_found", "that a record is missing") },
		"refused": func(n *yaml.Node) {
			p.refused = r.readOutcome(n, "refused", "that a request was understood and refused")
		},
		"unknown": func(n *yaml.Node) {
			p.unknown = r.readOutcome(n, "unknown", "that it is not known what became of a request")
		},
		"success": func(n *yaml.Node) { p.success = r.jq(n, "success") },
		"etag":    func(n *yaml.Node) { p.etag = r.text(n, "etag") },
		"id_argument": func(n *yaml.Node) {
			name := r.scalar(n, "id_argument")
			p.idArg = &name
		},
	})
	for _, key := range []string{"id", "owner", "fields"} {
		if seen[key] && !seen["records"] {
			r.failf(n, "response: %s is of a record, so records must say where they are", key)
		}
	}
	if p.etag != "" {
		if slices.ContainsFunc(p.fields, func(f field) bool { return f.name == p.etag }) || !stepPattern.MatchString(p.etag) {
			r.failf(n, "response: etag: %q is to be a name of small letters, digits and _ that no field has", p.etag)
		}
		p.fields = append(p.fields, field{name: p.etag, etag: true})
	}
	return p
}

// readOwner reads how a record says whose it is: a path to an e-mail address,
// {email: .path}, {subject: .path}, {any_email: .paths}, {any_subject: .paths},
// {step: name, id: .path} or {below: name}.
func (r *reader) readOwner(n *yaml.Node, p *response) {
	p.ownerLine = n.Line
	if deref(n).Kind != yaml.MappingNode {
		p.owner, p.ownerAt = ownerEmail, r.jq(n, "owner")
		return
	}
	given := r.keys(n, "owner", map[string]func(*yaml.Node){
		"email":   func(n *yaml.Node) { p.owner, p.ownerAt = ownerEmail, r.jq(n, "owner's email") },
		"subject": func(n *yaml.Node) { p.owner, p.ownerAt = ownerSubject, r.jq(n, "owner's subject") },
		"any_email": func(n *yaml.Node) {
			p.owner, p.any, p.ownerAt = ownerEmail, true, r.jq(n, "owner's any_email")
		},
		"any_subject": func(n *yaml.Node) {
			p.owner, p.any, p.ownerAt = ownerSubject, true, r.jq(n, "owner's any_subject")
		},
		"step":  func(n *yaml.Node) { p.owner, p.through = ownerStep, r.text(n, "owner's step") },
		"id":    func(n *yaml.Node) { p.ownerAt = r.jq(n, "owner's id") },
		"below": func(n *yaml.Node) { p.owner, p.through = ownerBelow, r.text(n, "owner's below") },
	})
	if len(given) == 1 && !given["step"] && !given["id"] || len(given) == 2 && given["step"] && given["id"] {
		return
	}
	r.failf(n, "owner: give one of email, subject, any_email and any_subject with its path, or {step: NAME, id: <path>}, or {below: NAME}")
}

// barePath is a path that lacks the dot it begins with.
var barePath = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\[\])?(\.[A-Za-z_][A-Za-z0-9_]*(\[\])?)*$`)

// jq reads a jq expression.
func (r *reader) jq(n *yaml.Node, what string) *expression {
	source := r.text(n, what)
	if source == "" {
		return nil // that is a problem already
	}
	e, err := compileJQ(source)
	if err != nil {
		if barePath.MatchString(source) {
			r.failf(n, "%s: not a jq expression (did you mean %q?)", what, "."+source)
			return nil
		}
		r.failf(n, "%s: %v", what, err)
		return nil
	}
	return e
}

// readFields reads a list of names, some of them with a jq expression:
// [id, status, {city: .address.city}].
func (r *reader) readFields(n *yaml.Node) []field {
	var out []field
	seen := map[string]bool{}
	add := func(at *yaml.Node, name string, from *expression) {
		switch {
		case name == "":
		case seen[name]:
			r.failf(at, "fields: %q is there twice", name)
		case from == nil && strings.ContainsAny(name, ".[]| "):
			r.failf(at, "fields: %q is not a name; for a value deeper in the record write {name: .path}", name)
		default:
			seen[name] = true
			out = append(out, field{name: name, from: from})
		}
	}
	for _, item := range r.list(n, "fields") {
		if deref(item).Kind != yaml.MappingNode {
			add(item, r.text(item, "a field"), nil)
			continue
		}
		for _, p := range r.pairs(item, "fields") {
			add(p.at, p.key, r.jq(p.value, "field "+p.key))
		}
	}
	return out
}

// many reports that the records expression may give any number of records.
func (p *response) many() bool {
	if p.records == nil {
		return false
	}
	source := strings.TrimSpace(p.records.source)
	return strings.Contains(source, "[]") && !strings.HasPrefix(source, "first(")
}

var errReply = errors.New("the reply is not what the manifest describes")

// read turns a reply into records, nothing of them but the fields. steps are
// what those before it found.
func (p *response) read(ctx context.Context, reply any, steps map[string]finding) ([]gate.Record, error) {
	if p.records == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	values, err := p.records.all(ctx, reply)
	if err != nil {
		return nil, err
	}
	var out []gate.Record
	for _, v := range values {
		switch v.(type) {
		case nil:
			continue // a path that is not there
		case []any:
			return nil, fmt.Errorf("%w: records gives a list; end it in []", errReply)
		}
		out = append(out, p.record(ctx, v, steps))
	}
	// An owner or id that could not be read in time must not look absent.
	if ctx.Err() != nil {
		return nil, errJQTimeout
	}
	return out, nil
}

func (p *response) record(ctx context.Context, v any, steps map[string]finding) gate.Record {
	rec := gate.Record{Fields: make(map[string]any, len(p.fields))}
	object, _ := v.(map[string]any)
	for _, f := range p.fields {
		if f.etag {
			continue // not the record's
		}
		if f.from != nil {
			if got := f.from.one(ctx, v); got != nil {
				rec.Fields[f.name] = got
			}
		} else if got, ok := object[f.name]; ok {
			rec.Fields[f.name] = got
		}
	}
	switch {
	case p.id != nil:
		rec.ID = idText(p.id.one(ctx, v))
	case p.many(): // records of a list are told apart somehow
		rec.ID = idText(rec.Fields["id"])
	}
	rec.Owner = p.ownerOf(ctx, v, steps)
	return rec
}

// ownerOf is whose record it is, as the outside system says. Where it says so
// by naming another record, that one's owner is what the system said of it.
func (p *response) ownerOf(ctx context.Context, v any, steps map[string]finding) (o gate.Owner) {
	if p.any {
		return p.anyOwner(ctx, v)
	}
	switch p.owner {
	case ownerEmail:
		o.Email, _ = p.ownerAt.one(ctx, v).(string)
	case ownerSubject:
		o.Subject = idText(p.ownerAt.one(ctx, v))
	case ownerStep:
		id := idText(p.ownerAt.one(ctx, v))
		for _, rec := range steps[p.through].records {
			if id != "" && rec.ID == id {
				return rec.Owner
			}
		}
	case ownerBelow:
		if f := steps[p.through]; len(f.records) == 1 {
			return f.records[0].Owner
		}
	}
	return o
}

// anyOwner is each of those who a record says it belongs to. What is no address
// or no id among them is nobody.
func (p *response) anyOwner(ctx context.Context, v any) (o gate.Owner) {
	values, err := p.ownerAt.all(ctx, v)
	if err != nil {
		return o
	}
	for _, one := range values {
		text, isText := one.(string)
		if p.owner == ownerSubject {
			text, isText = idText(one), true
		}
		if isText && text != "" && p.owner == ownerSubject {
			o.Any = append(o.Any, gate.Owner{Subject: text})
		} else if isText && text != "" {
			o.Any = append(o.Any, gate.Owner{Email: text})
		}
	}
	return o
}

// idText is an id as text: a text or a number, and nothing else.
func idText(v any) string {
	if _, ok := v.(bool); ok {
		return ""
	}
	s, _ := scalarText(v)
	return s
}
