package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// request is how an action is asked of the outside system.
type request struct {
	method string
	path   *template
	query  []parameter
	body   *expression // nil for none

	// Which arguments the parts refer to, in the order they are named.
	pathArgs, queryArgs, bodyArgs []string
	use                           *bodyUse // of the body; nil for none
	// pinsCustomer: the request says whose it is by a pinned e-mail or subject.
	pinsCustomer bool
	line         int
	bodyLine     int
}

// parameter is one entry of the query.
type parameter struct {
	name  string
	value *template
}

// pinnedNames are the values of the verified customer that a request may use.
var pinnedNames = []string{"email", "name", "subject"}

// readRequest reads an action's request.
func (r *reader) readRequest(n *yaml.Node, personal bool, args *engine.ArgSchema) *request {
	q := &request{line: n.Line}
	seen := r.keys(n, "request", map[string]func(*yaml.Node){
		"method": func(n *yaml.Node) {
			q.method = r.text(n, "method")
			switch q.method {
			case "GET", "POST", "PUT", "PATCH", "DELETE", "":
			default:
				r.failf(n, "method: %q is not GET, POST, PUT, PATCH or DELETE", q.method)
			}
		},
		"path": func(n *yaml.Node) {
			source := r.text(n, "path")
			if err := checkPathTemplate(source); err != nil {
				r.failf(n, "path: %v", err)
				return
			}
			if q.path = r.template(n, "path", source); q.path != nil {
				q.path.inPath = true
				for _, name := range r.variables(n, "path", q.path.vars, q, personal, args) {
					if q.path.asksFor(name) {
						q.queryArgs = append(q.queryArgs, name)
					} else {
						q.pathArgs = append(q.pathArgs, name)
					}
				}
			}
		},
		"query": func(n *yaml.Node) {
			for _, p := range r.pairs(n, "query") {
				what := "query " + strconv.Quote(p.key)
				if t := r.template(p.value, what, encodeLiterals(r.scalar(p.value, what))); t != nil {
					q.query = append(q.query, parameter{p.key, t})
					q.queryArgs = append(q.queryArgs, r.variables(p.value, what, t.vars, q, personal, args)...)
				}
			}
		},
		"body": func(n *yaml.Node) {
			var err error
			if q.body, err = compileJQ(r.text(n, "body")); err != nil {
				r.failf(n, "body: %v", err)
				return
			}
			q.bodyLine, q.use = n.Line, useOf(q.body.query)
			q.bodyArgs = r.bodyReferences(n, q, personal, args)
		},
	})
	for _, key := range []string{"method", "path"} {
		if !seen[key] {
			r.failf(n, "request: %s is missing", key)
		}
	}
	for _, p := range q.query {
		if q.path != nil && q.path.asksFor(p.name) {
			r.failf(n, "request: query %q is in the path's query too", p.name)
		}
	}
	if q.method == "GET" && q.body != nil {
		r.failf(n, "request: a GET has no body")
	}
	return q
}

// checkPathTemplate refuses a path that could lead anywhere but below the
// connection's base URL.
func checkPathTemplate(source string) error {
	literal := templateBraces.ReplaceAllString(source, "x")
	switch {
	case !strings.HasPrefix(source, "/"):
		return errors.New(`must start with "/": the connection has the rest of the URL`)
	case strings.HasPrefix(source, "//"):
		return errors.New(`must not start with "//": that would name another host`)
	case strings.ContainsAny(source, "#\\"):
		return errors.New(`must not hold "#" or "\"`)
	}
	literal, _, _ = strings.Cut(literal, "?")
	if err := checkSegments(strings.TrimSuffix(literal, "/")); err != nil && literal != "/" {
		return err
	}
	return nil
}

// checkSegments refuses an encoded path with a segment that is empty or climbs.
func checkSegments(path string) error {
	for _, segment := range strings.Split(path, "/")[1:] {
		plain, err := url.PathUnescape(segment)
		if err != nil || !utf8.ValidString(plain) {
			return errors.New("a segment is not percent-encoded text")
		}
		switch plain {
		case "":
			return errors.New("a segment must not be empty")
		case ".", "..":
			return errors.New(`a segment must not be "." or ".."`)
		}
	}
	return nil
}

func (r *reader) template(n *yaml.Node, what, source string) *template {
	t, err := parseTemplate(source)
	if err != nil {
		r.failf(n, "%s: %v", what, err)
		return nil
	}
	return t
}

// variables checks what a template refers to, and returns the arguments.
func (r *reader) variables(n *yaml.Node, what string, vars []string, q *request, personal bool, args *engine.ArgSchema) []string {
	var used []string
	for _, v := range vars {
		if name, ok := strings.CutPrefix(v, "pinned."); ok {
			r.pinned(n, what, name, personal)
			q.pinsCustomer = q.pinsCustomer || pinsCustomer(name)
			continue
		}
		if args == nil { // its own problem is known already
			continue
		}
		if !args.Has(v) {
			names := args.Names()
			for _, p := range pinnedNames {
				names = append(names, "pinned."+p)
			}
			r.failf(n, "%s: {%s} is not an argument%s", what, v, suggest(v, names))
			continue
		}
		used = append(used, v)
	}
	return used
}

// pinsCustomer reports a pinned value that says who is meant: people share names.
func pinsCustomer(name string) bool { return name == "email" || name == "subject" }

func (r *reader) pinned(n *yaml.Node, what, name string, personal bool) {
	switch {
	case !personal:
		r.failf(n, "%s: a public action has no customer, so it cannot use pinned.%s", what, name)
	case !slices.Contains(pinnedNames, name):
		r.failf(n, "%s: there is no pinned.%s%s", what, name, suggest(name, append([]string(nil), pinnedNames...)))
	}
}

// bodyReferences checks what a body refers to, and returns the arguments.
// ".args" alone is all of them.
func (r *reader) bodyReferences(n *yaml.Node, q *request, personal bool, args *engine.ArgSchema) []string {
	for _, name := range slices.Sorted(maps.Keys(q.use.unknown)) {
		r.failf(n, "body: there is no .%s, only .args and .pinned", name)
	}
	for _, name := range slices.Sorted(maps.Keys(q.use.pinned)) {
		r.pinned(n, "body", name, personal)
	}
	if q.use.wholly && q.use.hidden == "" && !personal {
		r.failf(n, "body: a public action has no customer, so it cannot use pinned")
	}
	q.pinsCustomer = q.pinsCustomer || q.use.output&theirs != 0
	if args == nil {
		return nil
	}
	var used []string
	if q.use.allArgs {
		used = args.Names()
	}
	for _, name := range slices.Sorted(maps.Keys(q.use.args)) {
		if !args.Has(name) {
			r.failf(n, "body: .args.%s is not an argument%s", name, suggest(name, args.Names()))
		} else if !q.use.allArgs {
			used = append(used, name)
		}
	}
	return used
}

// errArgument is an argument that cannot stand where the manifest puts it.
var errArgument = errors.New("an argument cannot be part of this request")

// errPinned is a pinned value that the visitor's token did not bring.
var errPinned = errors.New("the token does not have the pinned value this request needs")

// built is a request ready to be sent.
type built struct {
	path, query string // percent-encoded
	body        []byte // nil for none
}

// build fills in the request. Whoever is pinned comes from the grant alone.
func (q *request) build(ctx context.Context, args map[string]any, pinned gate.Pinned, personal bool) (built, error) {
	values := map[string]any{}
	if personal {
		values = map[string]any{"email": pinned.Email, "name": pinned.Name, "subject": pinned.Subject}
	}
	var b built
	full, _, err := q.path.expand(args, values)
	if err != nil {
		return b, err
	}
	path, inPath, _ := strings.Cut(full, "?")
	// A trailing slash is the manifest's own, never that of an empty value.
	checked := path
	if strings.HasSuffix(q.path.source, "/") && path != "/" {
		checked = strings.TrimSuffix(path, "/")
	}
	if path != "/" || len(q.pathArgs) > 0 {
		if err := checkSegments(checked); err != nil {
			return b, errArgument
		}
	}
	query := inPath
	for _, p := range q.query {
		encoded, filled, err := p.value.expand(args, values)
		if err != nil {
			return b, err
		}
		if !filled && len(p.value.vars) > 0 {
			continue // its arguments are optional and were not given
		}
		plain, err := url.PathUnescape(encoded)
		if err != nil {
			return b, errArgument
		}
		if query != "" {
			query += "&"
		}
		query += percentEncode(p.name) + "=" + percentEncode(plain)
	}
	b.path, b.query = path, query
	if q.body == nil {
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	object, err := jqObject(args)
	if err != nil {
		return b, err
	}
	in := map[string]any{"args": object}
	if personal {
		in["pinned"] = values
	}
	out, err := q.body.all(ctx, in)
	if err != nil || len(out) != 1 {
		return b, errors.New("the manifest's body gave no single value")
	}
	if b.body, err = json.Marshal(out[0]); err != nil {
		return b, errors.New("the manifest's body is not JSON")
	}
	return b, nil
}

// jqObject is args as jq knows objects: nothing but what JSON can hold.
func jqObject(args map[string]any) (any, error) {
	if len(args) == 0 {
		return map[string]any{}, nil
	}
	b, err := json.Marshal(args)
	if err != nil {
		return nil, errArgument
	}
	return decodeJSON(b)
}
