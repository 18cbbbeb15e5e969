// Package connectors holds the action catalog: manifests that describe an
// outside system's API, and the connector that performs their actions there
// for whoever brings a Permit.
package connectors

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
)

// The connector kinds.
const (
	KindREST      = "rest"      // an HTTP API, reached through a connection
	KindKnowledge = "knowledge" // the site's own documents; has no connection
)

// Manifest is a file of actions, read and found sound.
type Manifest struct {
	File       string // as given to ParseManifest
	Connector  string // the connector's name, for the audit
	Kind       string // KindREST, KindKnowledge or the name of a Kind
	Connection string // the connection its calls go through; "" for KindKnowledge

	headers     map[string]string // sent with every request; nil for none
	idempotency string            // the header that carries a write's idempotency key; "" for none
	kind        *Kind             // nil but for a kind written in Go
	native      Native            // of that kind
	revision    string            // of the file's content
	actions     map[string]*action
}

// action is an entry of the catalog with what its connector needs to perform it.
type action struct {
	def      *engine.Action
	steps    []*step   // what is found before the request, in order
	follow   *follow   // how a write that is taken on is asked after; nil for not at all
	request  *request  // nil but for KindREST
	response *response // never nil
	timeout  time.Duration
	line     int
	// operation is which of the Kind's it is; "" but for a kind written in Go.
	operation string
	resource  map[string]int // argument -> line, for problems found later
	// notRecord are the arguments of which the manifest says that they name
	// neither a record nor a customer, with their lines.
	notRecord map[string]int
}

// Bounds on an action's timeout.
const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 60 * time.Second
)

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	actionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$`)
)

// ParseManifest reads a manifest strictly. kinds are the kinds of connector,
// written in Go, that it may name. Its error holds every problem found, each
// with file and line.
func ParseManifest(file string, src []byte, kinds ...*Kind) (*Manifest, error) {
	r := &reader{file: file, kinds: kinds}
	sum := sha256.Sum256(src)
	m := &Manifest{File: file, revision: hex.EncodeToString(sum[:8]), idempotency: defaultIdempotency, actions: map[string]*action{}}
	root := r.document(src)
	if root == nil {
		return nil, errors.Join(r.errs...)
	}
	var actions *yaml.Node
	seen := r.keys(root, "manifest", map[string]func(*yaml.Node){
		"connector": func(n *yaml.Node) { r.readConnector(n, m) },
		"actions":   func(n *yaml.Node) { actions = n },
	})
	for _, key := range []string{"connector", "actions"} {
		if !seen[key] {
			r.failf(root, "manifest: %s is missing", key)
		}
	}
	if actions != nil {
		for _, p := range r.pairs(actions, "actions") {
			if !actionPattern.MatchString(p.key) || len(p.key) > 64 {
				r.failf(p.at, "actions: %q is not a name such as order.lookup", p.key)
				continue
			}
			m.actions[p.key] = r.readAction(p, m)
		}
		if len(m.actions) == 0 && len(r.errs) == 0 {
			r.failf(actions, "actions: there is none")
		}
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return m, nil
}

func (r *reader) readConnector(n *yaml.Node, m *Manifest) {
	var settings *yaml.Node
	seen := r.keys(n, "connector", map[string]func(*yaml.Node){
		"settings": func(n *yaml.Node) { settings = n },
		"name":     func(n *yaml.Node) { m.Connector = r.name(n, "connector's name") },
		"kind": func(n *yaml.Node) {
			kinds := []string{KindREST, KindKnowledge}
			for _, k := range r.kinds {
				kinds = append(kinds, k.Name)
			}
			if m.Kind = r.text(n, "connector's kind"); m.Kind != "" && !slices.Contains(kinds, m.Kind) {
				r.failf(n, "connector: there is no kind %q%s", m.Kind, suggest(m.Kind, kinds))
			}
		},
		"connection": func(n *yaml.Node) { m.Connection = r.name(n, "connector's connection") },
		"headers": func(n *yaml.Node) {
			m.headers = r.headers(n)
			for name, value := range m.headers {
				if variable, whole := wholeVariable(value); whole {
					r.failf(n, "headers: %s is sent with every request, and {%s} is one request's; write it in that request's headers", name, variable)
				}
			}
		},
		"idempotency_header": func(n *yaml.Node) {
			if m.idempotency = http.CanonicalHeaderKey(r.text(n, "idempotency_header")); m.idempotency == "None" {
				m.idempotency = ""
			} else if err := provider.CheckHeader(m.idempotency, ""); err != nil {
				r.failf(n, "idempotency_header: %q %v; write none where the system has none", m.idempotency, err)
			}
		},
	})
	for _, key := range []string{"name", "kind"} {
		if !seen[key] {
			r.failf(n, "connector: %s is missing", key)
		}
	}
	if m.Kind != "" && m.Kind != KindKnowledge && !seen["connection"] {
		r.failf(n, "connector: connection is missing: it names what `vouchsafe connection add` was given")
	}
	r.judgeKey(n, m.headers, m.idempotency)
	for _, key := range []string{"connection", "headers", "idempotency_header"} {
		if m.Kind == KindKnowledge && seen[key] {
			r.failf(n, "connector: the knowledge base needs no %s", key)
		}
	}
	r.openKind(n, settings, m)
}

func (r *reader) name(n *yaml.Node, what string) string {
	name := r.scalar(n, what)
	if name != "" && !namePattern.MatchString(name) {
		r.failf(n, "%s: %q is not a name of letters, digits, - and _", what, name)
	}
	return name
}

// readAction reads one action and judges it as a whole.
func (r *reader) readAction(at pair, m *Manifest) *action {
	def := &engine.Action{Name: at.key, Connector: m.Connector, Revision: m.revision}
	a := &action{def: def, response: &response{}, timeout: defaultTimeout,
		line: at.at.Line, resource: map[string]int{}, notRecord: map[string]int{}}
	var request, operation, args, steps, follow, response *yaml.Node
	seen := r.keys(at.value, at.key, map[string]func(*yaml.Node){
		"title": func(n *yaml.Node) { def.Title = r.text(n, "title") },
		"personal": func(n *yaml.Node) {
			before := len(r.errs)
			// What cannot be read is judged as what has more rules.
			def.Personal = r.boolean(n, "personal") || len(r.errs) > before
		},
		"risk": func(n *yaml.Node) {
			var err error
			if def.Risk, err = engine.ParseRisk(r.text(n, "risk")); err != nil {
				r.failf(n, "risk: %v", err)
			}
		},
		"min_tier": func(n *yaml.Node) {
			var err error
			if def.MinTier, err = engine.ParseTier(r.text(n, "min_tier")); err != nil {
				r.failf(n, "min_tier: %v", err)
			}
		},
		"args":     func(n *yaml.Node) { args = n },
		"resource": func(n *yaml.Node) { r.readResource(n, a) },
		"not_a_record": func(n *yaml.Node) {
			for _, item := range r.list(n, "not_a_record") {
				a.notRecord[r.text(item, "an argument of not_a_record")] = item.Line
			}
		},
		"steps":     func(n *yaml.Node) { steps = n },
		"request":   func(n *yaml.Node) { request = n },
		"operation": func(n *yaml.Node) { operation = n },
		"follow":    func(n *yaml.Node) { follow = n },
		"response":  func(n *yaml.Node) { response = n },
		"reply": func(n *yaml.Node) {
			def.Reply = r.text(n, "reply")
			if err := checkReply(def.Reply); err != nil {
				r.failf(n, "reply: %v", err)
			}
		},
		"examples": func(n *yaml.Node) {
			for _, item := range r.list(n, "examples") {
				def.Examples = append(def.Examples, r.text(item, "an example"))
			}
		},
		"timeout": func(n *yaml.Node) { a.timeout = r.duration(n, "timeout") },
	})
	for _, key := range []string{"title", "personal", "risk"} {
		if !seen[key] {
			r.failAt(a.line, "%s: %s is missing", def.Name, key)
		}
	}
	if !seen["min_tier"] {
		if def.MinTier = engine.Free; def.Personal {
			def.MinTier = engine.Pro
		}
	}
	def.Args = r.readArgs(args, def, a.line)
	s := surroundings{idempotency: m.idempotency, personal: def.Personal || !seen["personal"], writes: a.writes(), args: def.Args}
	isNative := slices.ContainsFunc(r.kinds, func(k *Kind) bool { return k.Name == m.Kind })
	switch {
	case response == nil:
	case isNative:
		a.response = r.readChosen(response)
	default:
		a.response = r.readResponse(response)
	}
	switch {
	case m.Kind == KindKnowledge:
		r.judgeKnowledge(a, seen)
	case isNative:
		r.judgeNative(a, m, operation, seen)
	case operation != nil:
		r.failf(operation, "%s: operation is for connectors written in Go; an action of kind rest has a request", def.Name)
	case request == nil:
		r.failAt(a.line, "%s: request is missing", def.Name)
	default:
		if steps != nil {
			a.steps = r.readSteps(steps, s)
			s.steps = a.steps
		}
		a.request = r.readRequest(request, s)
		r.judgeOwner(a.response, a.request, s)
		if a.response.etag != "" {
			r.failAt(a.response.line, "%s: response: an etag is what a step finds, for the request to use", def.Name)
		}
		if follow != nil {
			a.follow = r.readFollow(follow, def.Name, s)
		}
		if def.Args != nil {
			r.judge(a, seen)
		}
	}
	a.complete(m.idempotency != "")
	for _, f := range a.response.fields {
		def.Fields = append(def.Fields, f.name)
	}
	return a
}

// schemaPlace is where the schema compiler believes a schema to be: a file of
// this process's folder, which is nobody's business.
var schemaPlace = regexp.MustCompile(`file://[^#'" ]*args\.json#?`)

// readArgs compiles the argument schema, nil when it cannot be.
func (r *reader) readArgs(n *yaml.Node, def *engine.Action, line int) *engine.ArgSchema {
	var source map[string]any
	if n != nil {
		line = n.Line
		before := len(r.errs)
		source, _ = r.json(n, "args").(map[string]any)
		if source == nil && len(r.errs) == before {
			r.failf(n, "args must be a JSON Schema, not %s", kindOf(n))
		}
		if len(r.errs) > before {
			return nil
		}
	}
	if def.Personal && def.Risk != engine.Read {
		closeObjects(source, false)
	}
	r.nearKeywords(n, source)
	schema, err := engine.CompileArgs(source)
	if err != nil {
		r.failAt(line, "%s: args: %s", def.Name, schemaPlace.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", " "), "#"))
		return nil
	}
	if schema.Has("pinned") {
		r.failAt(line, "%s: args: pinned values are not arguments", def.Name)
	}
	for _, required := range schema.Required() {
		if !schema.Has(required) {
			r.failAt(line, "%s: args: %q is required but not declared%s", def.Name, required, suggest(required, schema.Names()))
		}
	}
	return schema
}

// schemaKeywords are those of JSON Schema 2020-12 that a slip of the finger may
// be meant for. Others are left as they are, as the standard has it.
var schemaKeywords = []string{
	"type", "properties", "required", "pattern", "format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
	"multipleOf", "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "enum", "const", "default", "title", "description", "examples",
	"additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas",
	"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems",
}

// nearKeywords finds what is nearly a keyword of a schema and is none: the
// standard would have it ignored, and with it what it was to demand.
func (r *reader) nearKeywords(n *yaml.Node, schema any) {
	m, ok := schema.(map[string]any)
	if !ok {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(schemaKeywords, key) && !strings.HasPrefix(key, "$") && !strings.HasPrefix(key, "x-") {
			if hint := nearest(key, schemaKeywords); hint != "" {
				r.failf(n, "args: %q is no keyword of JSON Schema%s", key, hint)
			}
		}
	}
	properties, _ := m["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		r.nearKeywords(n, properties[name])
	}
	r.nearKeywords(n, m["items"])
}

func (r *reader) readResource(n *yaml.Node, a *action) {
	for _, p := range r.pairs(n, "resource") {
		a.resource[p.key] = p.at.Line
		a.def.Resources = append(a.def.Resources, engine.Resource{
			Argument: p.key,
			Action:   r.text(p.value, "resource "+p.key),
		})
	}
}

func (r *reader) duration(n *yaml.Node, what string) time.Duration {
	d, err := time.ParseDuration(r.scalar(n, what))
	if err != nil || d < 100*time.Millisecond || d > maxTimeout {
		r.failf(n, "%s must be a time such as 10s, from 100ms to %v", what, maxTimeout)
		return defaultTimeout
	}
	return d
}

// checkReply parses a reply's template against the functions it may use. What
// they do is the conversation's business.
func checkReply(source string) error {
	nothing := func(...any) string { return "" }
	_, err := texttemplate.New("reply").Funcs(texttemplate.FuncMap{
		"when": nothing, "date": nothing, "money": nothing,
	}).Parse(source)
	return err
}

// Actions returns the manifest's actions, sorted by name. They must not be
// changed.
func (m *Manifest) Actions() []*engine.Action {
	out := make([]*engine.Action, 0, len(m.actions))
	for _, a := range m.actions {
		out = append(out, a.def)
	}
	slices.SortFunc(out, func(a, b *engine.Action) int { return strings.Compare(a.Name, b.Name) })
	return out
}
