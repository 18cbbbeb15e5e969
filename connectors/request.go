package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
)

// request is how something is asked of the outside system.
type request struct {
	method  string
	path    *template
	query   []parameter
	body    *expression // nil for none
	form    bool        // the body is sent as a form rather than as JSON
	headers map[string]string
	given   map[string]*template // headers that are a pinned value or one that a step found
	pages   *pages               // nil when one reply is all there is
	each    string               // the step for each of whose records it is made; "" for once

	// Which arguments the parts refer to, in the order they are named.
	pathArgs, queryArgs, bodyArgs []string
	use                           *bodyUse // of the body; nil for none
	// pinsCustomer: the request says whose it is by a pinned e-mail or subject,
	// or by what a step found that is the customer's.
	pinsCustomer bool
	anchored     bool                // and it does so in its path or its query
	below        map[string][]string // the fields of steps below whose records the path leads
	singly       map[string]int      // the steps it needs one record of, with the line
	job          bool                // the path names what the reply to a write calls the change
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

// surroundings are what a request may refer to.
type surroundings struct {
	personal bool
	writes   bool
	follows  bool // it asks what became of a write
	// idempotency is the header of a write's key.
	idempotency string
	args        *engine.ArgSchema // nil when its own problem is known already
	steps       []*step           // those before it
}

func (s surroundings) step(name string) *step {
	i := slices.IndexFunc(s.steps, func(st *step) bool { return st.name == name })
	if i < 0 {
		return nil
	}
	return s.steps[i]
}

func (s surroundings) stepNames() []string {
	var names []string
	for _, st := range s.steps {
		names = append(names, st.name)
	}
	return names
}

// readRequest reads a request.
func (r *reader) readRequest(n *yaml.Node, s surroundings) *request {
	q := &request{line: n.Line, below: map[string][]string{}, singly: map[string]int{}}
	seen := r.keys(n, "request", map[string]func(*yaml.Node){
		"method": func(n *yaml.Node) {
			q.method = r.text(n, "method")
			switch q.method {
			case "GET", "POST", "PUT", "PATCH", "DELETE", "":
			default:
				r.failf(n, "method: %q is not GET, POST, PUT, PATCH or DELETE%s", q.method, nearest(q.method, []string{"GET", "POST", "PUT", "PATCH", "DELETE"}))
			}
		},
		"path":  func(n *yaml.Node) { r.readPath(n, q, s) },
		"query": func(n *yaml.Node) { r.readQuery(n, q, s) },
		"body": func(n *yaml.Node) {
			if q.body = r.jq(n, "body"); q.body == nil {
				return
			}
			q.bodyLine, q.use = n.Line, useOf(q.body.query, s.owned())
			q.bodyArgs = r.bodyReferences(n, q, s)
		},
		"encode": func(n *yaml.Node) {
			switch how := r.text(n, "encode"); how {
			case "form":
				q.form = true
			case "json", "":
			default:
				r.failf(n, "encode: %q is not json or form%s", how, suggest(how, []string{"json", "form"}))
			}
		},
		"headers": func(n *yaml.Node) {
			q.headers = r.headers(n)
			r.judgeKey(n, q.headers, s.idempotency)
			r.readGiven(n, q, s)
		},
		"pages": func(n *yaml.Node) { q.pages = r.readPages(n) },
		"each": func(n *yaml.Node) {
			if q.each = r.text(n, "each"); q.each == "" {
				return
			}
			if st := s.step(q.each); st == nil || !st.many {
				r.failf(n, "each: %q is not an earlier step that finds many%s", q.each, suggest(q.each, s.stepNames()))
			}
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
	if seen["encode"] && q.body == nil {
		r.failf(n, "request: encode says how a body is sent, and there is none")
	}
	for _, name := range slices.Sorted(maps.Keys(q.singly)) {
		if st := s.step(name); st != nil && st.many && q.each != name {
			r.failAt(q.singly[name], "request: step %q finds many, and a path leads to one; add each: %s", name, name)
		}
	}
	r.judgePages(n, q, s)
	return q
}

func (r *reader) readPath(n *yaml.Node, q *request, s surroundings) {
	source := r.text(n, "path")
	if err := checkPathTemplate(source); err != nil {
		r.failf(n, "path: %v", err)
		return
	}
	if q.path = r.template(n, "path", source); q.path == nil {
		return
	}
	q.path.inPath = true
	q.leads(source)
	for _, name := range r.variables(n, "path", q.path.vars, q, s) {
		if q.path.asksFor(name) {
			q.queryArgs = append(q.queryArgs, name)
		} else {
			q.pathArgs = append(q.pathArgs, name)
		}
	}
	for _, name := range q.path.vars {
		if ref, ok := strings.CutPrefix(name, "steps."); ok && !q.path.asksFor(name) {
			of, _, _ := strings.Cut(ref, ".")
			q.singly[of] = n.Line
		}
		if strings.HasPrefix(name, "page.") && !q.path.asksFor(name) {
			r.failf(n, "path: {%s} is asked for in the query or the body", name)
		}
	}
}

// leads keeps the fields of steps that a path leads below: each is a segment of
// its own, before any that a caller's argument is part of.
func (q *request) leads(source string) {
	for _, segment := range pathSegments(source) {
		name, whole := wholeVariable(segment)
		ref, found := strings.CutPrefix(name, "steps.")
		switch {
		case whole && found:
			of, field, _ := strings.Cut(ref, ".")
			q.below[of] = append(q.below[of], field)
		case strings.Contains(segment, "{") && !(whole && strings.HasPrefix(name, "pinned.")):
			return
		}
	}
}

// pathSegments are the segments of a path's template, without its query.
func pathSegments(source string) []string {
	path, _, _ := strings.Cut(source, "?")
	path = strings.TrimSuffix(path, "{")
	return strings.Split(path, "/")[1:]
}

// wholeVariable is the variable that a template is nothing but.
func wholeVariable(source string) (string, bool) {
	m := wholePattern.FindStringSubmatch(source)
	if m == nil {
		return "", false
	}
	return m[1], true
}

var (
	wholePattern = regexp.MustCompile(`^\{([A-Za-z0-9_.%]+)\}$`)
	queryPattern = regexp.MustCompile(`^(\{\?[^{}]*\}|\?([^{}]|\{&?[^{}?&]*\})*)$`)
)

// readQuery reads the query's entries. One whose value is a list is there as
// often.
func (r *reader) readQuery(n *yaml.Node, q *request, s surroundings) {
	for _, p := range r.pairs(n, "query") {
		what := "query " + strconv.Quote(p.key)
		entries := []*yaml.Node{p.value}
		if deref(p.value).Kind == yaml.SequenceNode {
			entries = r.list(p.value, what)
		}
		for _, value := range entries {
			if t := r.template(value, what, encodeLiterals(r.scalar(value, what))); t != nil {
				q.query = append(q.query, parameter{p.key, t})
				q.queryArgs = append(q.queryArgs, r.variables(value, what, t.vars, q, s)...)
			}
		}
	}
}

// checkPathTemplate refuses a path that could lead anywhere but below the
// connection's base URL.
func checkPathTemplate(source string) error {
	literal := templateBraces.ReplaceAllString(source, "x")
	colon := colonSegment.FindStringSubmatch(source)
	switch {
	case strings.Contains(source, "{{"):
		return errors.New("a variable stands in single braces, as in /orders/{order_id}")
	case colon != nil:
		return fmt.Errorf("write {%s} for :%s", colon[1], colon[1])
	case !strings.HasPrefix(source, "/"):
		return errors.New(`must start with "/": the connection has the rest of the URL`)
	case strings.HasPrefix(source, "//"):
		return errors.New(`must not start with "//": that would name another host`)
	case strings.ContainsAny(source, "#\\"):
		return errors.New(`must not hold "#" or "\"`)
	}
	before, _, asks := strings.Cut(source, "?")
	before = strings.TrimSuffix(before, "{")
	if strings.Contains(before, "{&") || asks && !queryPattern.MatchString(source[len(before):]) {
		return errors.New("{?page,sort} comes last, and {&page} after a \"?\"; or write them in query")
	}
	literal, _, _ = strings.Cut(literal, "?")
	if err := checkSegments(strings.TrimSuffix(literal, "/")); err != nil && literal != "/" {
		return err
	}
	return nil
}

// colonSegment is a variable as other languages write it.
var colonSegment = regexp.MustCompile(`/:([A-Za-z][A-Za-z0-9_]*)(?:/|\?|$)`)

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
func (r *reader) variables(n *yaml.Node, what string, vars []string, q *request, s surroundings) []string {
	var used []string
	inURL := !strings.HasPrefix(what, "header ")
	for _, v := range vars {
		if name, ok := strings.CutPrefix(v, "pinned."); ok {
			r.pinned(n, what, name, s.personal)
			if pinsCustomer(name) {
				q.pinsCustomer, q.anchored = true, q.anchored || inURL
			}
			continue
		}
		if ref, ok := strings.CutPrefix(v, "steps."); ok {
			name, field, _ := strings.Cut(ref, ".")
			r.stepReference(n, what, name, []string{field}, s)
			// Which version of a record it is says nothing of whose.
			if s.owned()[name] && s.step(name).response.etag != field {
				q.pinsCustomer, q.anchored = true, q.anchored || inURL
			}
			continue
		}
		if name, ok := strings.CutPrefix(v, "page."); ok {
			if !slices.Contains(pageNames, name) {
				r.failf(n, "%s: there is no page.%s%s", what, name, suggest(name, slices.Clone(pageNames)))
			}
			continue
		}
		if s.follows && v == jobVariable {
			q.job = true
			continue
		}
		if s.args == nil { // its own problem is known already
			continue
		}
		if name, ok := strings.CutPrefix(v, "args."); ok && s.args.Has(name) {
			r.failf(n, "%s: outside of a body an argument goes by its name alone: {%s}", what, name)
			used = append(used, name)
			continue
		}
		if !s.args.Has(v) {
			names := s.args.Names()
			for _, p := range pinnedNames {
				names = append(names, "pinned."+p)
			}
			for _, st := range s.steps {
				for _, f := range st.response.fields {
					names = append(names, "steps."+st.name+"."+f.name)
				}
			}
			r.failf(n, "%s: {%s} is not an argument%s", what, v, suggest(v, names))
			continue
		}
		used = append(used, v)
	}
	return used
}

// stepReference checks a reference to fields of what a step found.
func (r *reader) stepReference(n *yaml.Node, what, name string, fields []string, s surroundings) {
	st := s.step(name)
	if st == nil {
		r.failf(n, "%s: there is no earlier step %q%s", what, name, suggest(name, s.stepNames()))
		return
	}
	var known []string
	for _, f := range st.response.fields {
		known = append(known, f.name)
	}
	for _, field := range fields {
		if !slices.Contains(known, field) {
			r.failf(n, "%s: %q is not one of the fields of step %s%s", what, field, name, suggest(field, slices.Clone(known)))
		}
	}
}

// owned are the steps that find only what is the customer's.
func (s surroundings) owned() map[string]bool {
	out := map[string]bool{}
	for _, st := range s.steps {
		out[st.name] = s.personal && st.response.owns()
	}
	return out
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
func (r *reader) bodyReferences(n *yaml.Node, q *request, s surroundings) []string {
	for _, name := range slices.Sorted(maps.Keys(q.use.unknown)) {
		r.failf(n, "body: there is no .%s, only .args and .pinned, .steps, .page and .idempotency_key", name)
	}
	for _, name := range slices.Sorted(maps.Keys(q.use.pinned)) {
		r.pinned(n, "body", name, s.personal)
	}
	if q.use.wholly && q.use.hidden == "" && !s.personal {
		r.failf(n, "body: a public action has no customer, so it cannot use pinned")
	}
	for _, name := range slices.Sorted(maps.Keys(q.use.steps)) {
		r.stepReference(n, "body", name, slices.Sorted(maps.Keys(q.use.steps[name])), s)
	}
	q.pinsCustomer = q.pinsCustomer || q.use.output&theirs != 0
	if s.args == nil {
		return nil
	}
	var used []string
	if q.use.allArgs {
		used = s.args.Names()
	}
	for _, name := range slices.Sorted(maps.Keys(q.use.args)) {
		if !s.args.Has(name) {
			r.failf(n, "body: .args.%s is not an argument%s", name, suggest(name, s.args.Names()))
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

// errStep is a field that what a step found does not have.
var errStep = errors.New("what an earlier step found lacks a value this request needs")

// built is a request ready to be sent.
type built struct {
	path, query string // percent-encoded
	headers     map[string]string
	body        []byte // nil for none
	contentType string // of body
}

// build fills in the request.
func (q *request) build(ctx context.Context, v values) (built, error) {
	var b built
	full, _, err := q.path.expand(v)
	if err != nil {
		return b, err
	}
	path, inPath, _ := strings.Cut(full, "?")
	// A trailing slash is the manifest's own, never that of an empty value.
	checked := path
	if strings.HasSuffix(q.path.source, "/") && path != "/" {
		checked = strings.TrimSuffix(path, "/")
	}
	if path != "/" || len(q.path.vars) > 0 {
		if err := checkSegments(checked); err != nil {
			return b, errArgument
		}
	}
	query := inPath
	for _, p := range q.query {
		encoded, filled, err := p.value.expand(v)
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
	if b.headers, err = q.filled(v); err != nil {
		return b, err
	}
	if q.body == nil {
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, jqTimeout)
	defer cancel()
	if err := q.use.lacks(v); err != nil {
		return b, err
	}
	in, err := v.input()
	if err != nil {
		return b, err
	}
	out, err := q.body.all(ctx, in)
	if err != nil || len(out) != 1 {
		return b, errors.New("the manifest's body gave no single value")
	}
	if q.form {
		b.body, err = encodeForm(out[0])
		b.contentType = "application/x-www-form-urlencoded"
	} else {
		b.body, err = json.Marshal(out[0])
		b.contentType = "application/json"
	}
	if err != nil {
		return b, errors.New("the manifest's body cannot be encoded")
	}
	return b, nil
}

// lacks is an error when what the body says who the customer is with is not
// there: without it the request would be about somebody else, or everybody.
func (u *bodyUse) lacks(v values) error {
	for _, name := range pinnedNames {
		if pinsCustomer(name) && v.pinned != nil && (u.pinned[name] || u.wholly) && v.pinned[name] == "" {
			return errPinned
		}
	}
	for step, fields := range u.steps {
		for _, rec := range v.steps[step].records {
			for field := range fields {
				if got := rec.Fields[field]; got == nil || got == "" {
					return errStep
				}
			}
		}
	}
	return nil
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
