package connectors

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine/gate"
)

// maxSteps bounds the steps of an action, maxFound what one of them may find,
// and maxEach the records for each of which a request is made.
const (
	maxSteps = 5
	maxFound = 200
	maxEach  = 10
)

// step finds something that a later request of the action needs. It only reads.
type step struct {
	name     string
	many     bool // it may find several; else it must find one
	request  *request
	response *response
	nobodys  bool   // what it finds is nobody's, such as a price
	idArg    string // the argument that names what it finds; "" for none
	line     int
}

var stepPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// readSteps reads an action's steps, each of which may refer to those before it.
func (r *reader) readSteps(n *yaml.Node, s surroundings) []*step {
	s.writes = false
	nodes := r.list(n, "steps")
	if len(nodes) > maxSteps {
		r.failf(n, "steps: an action has at most %d, not %d", maxSteps, len(nodes))
		return nil
	}
	for _, item := range nodes {
		st := r.readStep(item, s)
		if s.step(st.name) != nil {
			r.failf(item, "steps: %q is there twice", st.name)
		}
		s.steps = append(s.steps, st)
	}
	return s.steps
}

func (r *reader) readStep(n *yaml.Node, s surroundings) *step {
	st := &step{line: n.Line, response: &response{line: n.Line}}
	var request, response *yaml.Node
	seen := r.keys(n, "a step", map[string]func(*yaml.Node){
		"find": func(n *yaml.Node) {
			if st.name = r.text(n, "find"); st.name != "" && !stepPattern.MatchString(st.name) {
				r.failf(n, "find: %q is not a name of small letters, digits and _", st.name)
			}
		},
		"nobodys":  func(n *yaml.Node) { st.nobodys = r.boolean(n, "nobodys") },
		"many":     func(n *yaml.Node) { st.many = r.boolean(n, "many") },
		"request":  func(n *yaml.Node) { request = n },
		"response": func(n *yaml.Node) { response = n },
	})
	for _, key := range []string{"find", "request", "response"} {
		if !seen[key] {
			r.failf(n, "a step: %s is missing", key)
		}
	}
	if request != nil {
		st.request = r.readRequest(request, s)
		if m := st.request.method; m == "PUT" || m == "PATCH" || m == "DELETE" {
			r.failAt(st.request.line, "step %s: a %s changes something, and a step only finds: the action's own request may change it", st.name, m)
		}
		if s.writes && st.request.each != "" {
			r.failAt(st.request.line, "step %s: what changes something is about one record, so it has no each", st.name)
		}
	}
	if response != nil {
		st.response = r.readResponse(response)
		if st.response.etag != "" && (st.many || st.request != nil && (st.request.pages != nil || st.request.each != "")) {
			r.failAt(st.response.line, "step %s: response: an etag is of one reply, about one record", st.name)
		}
		r.judgeOwner(st.response, st.request, s)
		if st.response.unknown.given {
			r.failAt(st.response.line, "step %s: response: unknown is for what changes something", st.name)
		}
		if st.response.records == nil {
			r.failAt(st.response.line, "step %s: response: records must say what it finds", st.name)
		}
		if s.personal && !st.response.owns() && !st.nobodys {
			r.failAt(st.response.line, "step %s: nothing says whose the records are that it finds; add an owner, or, if they are nobody's, such as a price, nobodys: true to the step", st.name)
		}
		if st.response.owns() && st.nobodys {
			r.failAt(st.response.line, "step %s: what is nobody's has no owner", st.name)
		}
		if st.response.owner != ownerNone && !s.personal {
			r.failAt(st.response.line, "step %s: its records have an owner, so the action is personal", st.name)
		}
	}
	return st
}

// judgeOwner checks an owner that leads through an earlier step.
func (r *reader) judgeOwner(p *response, q *request, s surroundings) {
	if p.owner != ownerStep && p.owner != ownerBelow {
		return
	}
	st := s.step(p.through)
	switch {
	case st == nil:
		r.failAt(p.ownerLine, "owner: there is no earlier step %q%s", p.through, suggest(p.through, s.stepNames()))
	case !st.response.owns():
		r.failAt(p.ownerLine, "owner: step %s does not say who owns what it finds; add an owner to it", p.through)
	case p.owner == ownerStep && st.response.id == nil:
		r.failAt(p.ownerLine, "owner: step %s has no id to compare with; add response: {id: <where it is>} to it", p.through)
	case p.owner == ownerBelow && (q == nil || !slices.ContainsFunc(q.below[p.through], st.response.identifies)):
		r.failAt(p.ownerLine, "owner: nothing says that the records lie below what step %s found; have its id as a segment of the path before any argument, {steps.%s.<the field that is its id>}, or compare with owner: {step: %s, id: <where the record names it>}", p.through, p.through, p.through)
	}
}

// identifies reports a field that is the record's id, or another by its name:
// systems have one for people and one for themselves.
func (p *response) identifies(name string) bool {
	return namesRecord(name) && name != p.etag || p.id != nil && slices.ContainsFunc(p.fields, func(f field) bool {
		from := "." + f.name
		if f.from != nil {
			from = f.from.source
		}
		return !f.etag && f.name == name && strings.TrimSpace(from) == strings.TrimSpace(p.id.source)
	})
}

// keep returns those of the records that are the customer's. A name that a
// record of somebody else bears too is nobody's.
func (st *step) keep(records []gate.Record, grant gate.Grant) []gate.Record {
	foreign := map[string]bool{}
	own := slices.DeleteFunc(records, func(rec gate.Record) bool {
		if grant.Owns(rec.Owner) {
			return false
		}
		foreign[rec.ID] = true
		return true
	})
	return slices.DeleteFunc(own, func(rec gate.Record) bool { return rec.ID != "" && foreign[rec.ID] })
}
