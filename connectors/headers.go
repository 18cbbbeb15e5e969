package connectors

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"vouchsafe/connectors/provider"
)

const defaultIdempotency = "Idempotency-Key"

// headers reads headers, such as the version of an API. A credential is none of
// them: the connection has it.
func (r *reader) headers(n *yaml.Node) map[string]string {
	out := map[string]string{}
	for _, p := range r.pairs(n, "headers") {
		value := r.scalar(p.value, "header "+p.key)
		name := http.CanonicalHeaderKey(p.key)
		if err := provider.CheckHeader(p.key, value); err != nil {
			r.failf(p.at, "headers: %q %v", p.key, err)
		}
		if _, twice := out[name]; twice {
			r.failf(p.at, "headers: %q is there twice", name)
		}
		out[name] = value
	}
	return out
}

// judgeKey refuses a header that is always the same where a write's idempotency
// key goes: one key for all of them would do the first and no other.
func (r *reader) judgeKey(n *yaml.Node, given map[string]string, key string) {
	if _, there := given[http.CanonicalHeaderKey(key)]; there && key != "" {
		r.failf(n, "headers: %q carries the idempotency key, which is another for each write", key)
	}
}

// readGiven takes out of a request's headers those that are another for each
// request: a pinned value, or what a step found, such as the ETag of the version
// that is to be changed. An argument is none: what a caller writes has no
// business beside what the manifest says of the request.
func (r *reader) readGiven(n *yaml.Node, q *request, s surroundings) {
	for _, name := range slices.Sorted(maps.Keys(q.headers)) {
		value, what := q.headers[name], "header "+name
		variable, whole := wholeVariable(value)
		switch {
		case !whole && (strings.Contains(value, "{pinned.") || strings.Contains(value, "{steps.")):
			r.failf(n, "%s: a pinned value, or one that a step found, stands alone in a header", what)
		case !whole:
		case variable != "pinned.email" && variable != "pinned.subject" && !strings.HasPrefix(variable, "steps."):
			r.failf(n, "%s: {%s} is none of {pinned.email}, {pinned.subject} and {steps.NAME.FIELD}, which alone may be part of a header", what, variable)
		case name == "Content-Type":
			r.failf(n, "%s: it is always the same", what)
		default:
			t := r.template(n, what, value)
			if t == nil {
				continue
			}
			r.variables(n, what, t.vars, q, s)
			if ref, found := strings.CutPrefix(variable, "steps."); found {
				of, _, _ := strings.Cut(ref, ".")
				q.singly[of] = n.Line
			}
			if q.given == nil {
				q.given = map[string]*template{}
			}
			q.given[name] = t
			delete(q.headers, name)
		}
	}
}

// filled are the headers that are another for each request.
func (q *request) filled(v values) (map[string]string, error) {
	if len(q.given) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(q.given))
	for name, t := range q.given {
		texts, err := v.lookup(t.vars[0], false)
		if err != nil {
			return nil, err
		}
		if len(texts) != 1 || provider.CheckHeader(name, texts[0]) != nil {
			return nil, errStep
		}
		out[name] = texts[0]
	}
	return out, nil
}
