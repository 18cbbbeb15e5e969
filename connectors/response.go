package connectors

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine/gate"
)

// response is what an action makes of the outside system's reply.
type response struct {
	records  *expression // nil: the action brings nothing back
	id       *expression // of a record; nil for none
	owner    *expression // of a record; nil for none
	subject  bool        // owner gives a subject rather than an e-mail address
	fields   []field
	notFound []int // statuses that mean the record does not exist; nil when not said
	idArg    *string
	line     int
}

// field is one member of a record that may leave the connector.
type field struct {
	name string
	from *expression // nil: the record's own member of that name
}

// readResponse reads an action's response. Without one, nothing comes back.
func (r *reader) readResponse(n *yaml.Node) *response {
	p := &response{line: n.Line}
	seen := r.keys(n, "response", map[string]func(*yaml.Node){
		"records": func(n *yaml.Node) { p.records = r.jq(n, "records") },
		"id":      func(n *yaml.Node) { p.id = r.jq(n, "id") },
		"owner": func(n *yaml.Node) {
			if deref(n).Kind != yaml.MappingNode {
				p.owner = r.jq(n, "owner")
				return
			}
			given := r.keys(n, "owner", map[string]func(*yaml.Node){
				"email":   func(n *yaml.Node) { p.owner = r.jq(n, "owner's email") },
				"subject": func(n *yaml.Node) { p.owner, p.subject = r.jq(n, "owner's subject"), true },
			})
			if len(given) != 1 {
				r.failf(n, "owner: give either email or subject")
			}
		},
		"fields": func(n *yaml.Node) { p.fields = r.readFields(n) },
		"not_found": func(n *yaml.Node) {
			p.notFound = []int{}
			for _, item := range r.list(n, "not_found") {
				status := r.integer(item, "a status of not_found")
				if status != 0 && (status < 400 || status > 499) {
					r.failf(item, "not_found: %d does not mean that a record is missing; want 400 to 499", status)
				}
				p.notFound = append(p.notFound, status)
			}
		},
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
	return p
}

// jq reads a jq expression.
func (r *reader) jq(n *yaml.Node, what string) *expression {
	e, err := compileJQ(r.text(n, what))
	if err != nil {
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
			out = append(out, field{name, from})
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

// read turns a reply's body into records, nothing of them but the fields.
func (p *response) read(ctx context.Context, body []byte) ([]gate.Record, error) {
	if p.records == nil {
		return nil, nil
	}
	in, err := decodeJSON(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errReply, err)
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	values, err := p.records.all(ctx, in)
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
		out = append(out, p.record(ctx, v))
	}
	// An owner or id that could not be read in time must not look absent.
	if ctx.Err() != nil {
		return nil, errJQTimeout
	}
	return out, nil
}

func (p *response) record(ctx context.Context, v any) gate.Record {
	rec := gate.Record{Fields: make(map[string]any, len(p.fields))}
	object, _ := v.(map[string]any)
	for _, f := range p.fields {
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
	if p.owner != nil {
		got := p.owner.one(ctx, v)
		if p.subject {
			rec.Owner.Subject = idText(got)
		} else {
			rec.Owner.Email, _ = got.(string)
		}
	}
	return rec
}

// idText is an id as text: a text or a number, and nothing else.
func idText(v any) string {
	if _, ok := v.(bool); ok {
		return ""
	}
	s, _ := scalarText(v)
	return s
}
