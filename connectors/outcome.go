package connectors

import (
	"context"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/connectors/provider"
)

// outcome is what tells one outcome of a request from the others: statuses, and
// conditions on what the reply says.
type outcome struct {
	given    bool // the manifest says it
	statuses []int
	says     []*expression // of the reply; one that gives true is enough
}

// readOutcome reads a list of statuses from 400 to 499 and jq conditions.
func (r *reader) readOutcome(n *yaml.Node, what, means string) outcome {
	o := outcome{given: true}
	for _, item := range r.list(n, what) {
		if at := deref(item); at.Kind == yaml.ScalarNode && at.ShortTag() == "!!str" {
			if e := r.jq(item, "a condition of "+what); e != nil {
				o.says = append(o.says, e)
			}
			continue
		}
		status := r.integer(item, "a status of "+what)
		if status != 0 && (status < 400 || status > 499) {
			r.failf(item, "%s: %d does not mean %s; want 400 to 499", what, status, means)
		}
		o.statuses = append(o.statuses, status)
	}
	return o
}

// verdict is what a condition says of a reply. What cannot be told is not a no.
type verdict uint8

const (
	no verdict = iota
	yes
	unclear // the reply is not JSON, or the condition does not fit it
)

// met says whether a reply is of this outcome by its status, or by what it says
// where that counts.
func (o outcome) met(ctx context.Context, a *answer, says bool) verdict {
	if slices.Contains(o.statuses, a.Status) {
		return yes
	}
	said := no
	if says {
		for _, e := range o.says {
			switch a.says(ctx, e, false) {
			case yes:
				return yes
			case unclear:
				said = unclear
			}
		}
	}
	return said
}

// answer is a reply whose body is understood at most once.
type answer struct {
	*provider.Reply
	read bool
	doc  any
	err  error // the body is not JSON
}

func (a *answer) json() (any, error) {
	if !a.read {
		a.read = true
		if a.doc, a.err = decodeJSON(a.Body); a.err == nil && !looksLikeJSON(a.ContentType) {
			a.doc, a.err = nil, errReply
		}
	}
	return a.doc, a.err
}

// looksLikeJSON reports a content type under which JSON is sent, or none.
func looksLikeJSON(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	return kind == "" || strings.HasSuffix(kind, "json") || strings.HasPrefix(kind, "text/") && kind != "text/html" ||
		kind == "application/javascript" || kind == "application/octet-stream"
}

// empty reports a reply that has no body by its status, or a 202 without one:
// there is nothing to say yet.
func (a *answer) empty() bool {
	return a.Status == 204 || a.Status == 205 || a.Status == 202 && len(a.Body) == 0
}

// says is what a condition says of the reply: yes when one of its values is
// true, or when all of them are, and there is one.
func (a *answer) says(ctx context.Context, e *expression, all bool) verdict {
	doc, err := a.json()
	if err != nil {
		return unclear
	}
	values, err := e.all(ctx, doc)
	if err != nil {
		return unclear
	}
	truths := 0
	for _, v := range values {
		if v != nil && v != false {
			truths++
		}
	}
	if truths > 0 && (!all || truths == len(values)) {
		return yes
	}
	return no
}
