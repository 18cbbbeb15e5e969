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

// met reports whether a reply is of this outcome.
func (o outcome) met(ctx context.Context, a *answer) bool {
	if slices.Contains(o.statuses, a.Status) {
		return true
	}
	return slices.ContainsFunc(o.says, func(e *expression) bool { return a.says(ctx, e) })
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

// says reports whether a condition on the reply gives true. On what is not JSON
// none does.
func (a *answer) says(ctx context.Context, e *expression) bool {
	doc, err := a.json()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	return e.one(ctx, doc) == true
}
