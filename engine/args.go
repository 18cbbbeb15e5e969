package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ArgSchema is an action's closed JSON Schema (2020-12) of its arguments.
type ArgSchema struct {
	source     map[string]any
	compiled   *jsonschema.Schema
	properties map[string]map[string]any
	required   []string
}

// noRemote refuses every $ref that is not inside the schema itself.
type noRemote struct{}

func (noRemote) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may only refer to itself, not to %s", url)
}

// CompileArgs compiles the schema of an action's arguments. A nil source is an
// action without arguments. The top level is always closed: an argument that is
// not declared is invalid, whether or not the schema says so.
func CompileArgs(source map[string]any) (*ArgSchema, error) {
	if source == nil {
		source = map[string]any{}
	}
	closed := map[string]any{"type": "object", "additionalProperties": false}
	for k, v := range source {
		closed[k] = v
	}
	if t := closed["type"]; t != "object" {
		return nil, fmt.Errorf("arguments are an object, not %v", t)
	}
	if open := closed["additionalProperties"]; open != false {
		return nil, fmt.Errorf("additionalProperties must stay false: undeclared arguments are refused")
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(noRemote{})
	if err := c.AddResource("args.json", closed); err != nil {
		return nil, fmt.Errorf("reading the argument schema: %w", err)
	}
	compiled, err := c.Compile("args.json")
	if err != nil {
		return nil, fmt.Errorf("compiling the argument schema: %w", err)
	}
	s := &ArgSchema{source: closed, compiled: compiled, properties: map[string]map[string]any{}}
	if props, ok := closed["properties"].(map[string]any); ok {
		for name, p := range props {
			m, _ := p.(map[string]any)
			s.properties[name] = m
		}
	}
	if req, ok := closed["required"].([]any); ok {
		for _, r := range req {
			if name, ok := r.(string); ok {
				s.required = append(s.required, name)
			}
		}
	}
	return s, nil
}

// Source returns the closed schema as a JSON value. It must not be changed.
func (s *ArgSchema) Source() map[string]any { return s.source }

// Names returns the declared arguments, sorted.
func (s *ArgSchema) Names() []string {
	names := make([]string, 0, len(s.properties))
	for n := range s.properties {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Property returns the schema of one argument, nil when it is not declared.
func (s *ArgSchema) Property(name string) map[string]any { return s.properties[name] }

// Has reports whether the argument is declared.
func (s *ArgSchema) Has(name string) bool { _, ok := s.properties[name]; return ok }

// Required returns the arguments that must be given, in the schema's order.
func (s *ArgSchema) Required() []string { return s.required }

// maxArgs bounds the arguments of one call, in bytes of their text: they are
// recorded whole.
const maxArgs = 8 << 10

// size is about how many bytes a value takes as JSON.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 3
	case json.Number:
		return len(v) + 1
	case map[string]any:
		n := 2
		for k, e := range v {
			n += len(k) + 4 + size(e)
		}
		return n
	case []any:
		n := 2
		for _, e := range v {
			n += size(e)
		}
		return n
	}
	return 6
}

// Validate checks the arguments. The error names the argument at fault and
// never quotes a value.
func (s *ArgSchema) Validate(args map[string]any) error {
	if size(args) > maxArgs {
		return fmt.Errorf("the arguments are longer than %d bytes", maxArgs)
	}
	var unknown []string
	for name := range args {
		if !s.Has(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("unknown argument: %s", quoteNames(unknown))
	}
	for _, name := range s.required {
		if _, ok := args[name]; !ok {
			return fmt.Errorf("missing argument: %q", name)
		}
	}
	if len(args) == 0 {
		args = map[string]any{}
	}
	err := s.compiled.Validate(map[string]any(args))
	if err == nil {
		return nil
	}
	if ve, ok := err.(*jsonschema.ValidationError); ok {
		for len(ve.Causes) > 0 {
			ve = ve.Causes[0]
		}
		if len(ve.InstanceLocation) > 0 {
			keyword := "schema"
			if path := ve.ErrorKind.KeywordPath(); len(path) > 0 {
				keyword = path[len(path)-1]
			}
			return fmt.Errorf("argument %q does not meet its %s", ve.InstanceLocation[0], keyword)
		}
	}
	return fmt.Errorf("the arguments do not meet their schema")
}

func quoteNames(names []string) string {
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		if len(n) > 64 {
			n = n[:64]
		}
		fmt.Fprintf(&b, "%q", n)
	}
	return b.String()
}

// ArgsHash returns the SHA-256 of the arguments' JSON with sorted members. Nil
// and empty arguments are the same.
func ArgsHash(args map[string]any) [sha256.Size]byte {
	if len(args) == 0 {
		return emptyArgsHash
	}
	b, err := json.Marshal(args)
	if err != nil {
		// Arguments are decoded JSON and so always encode; what does not must
		// match nothing, itself included.
		var never [sha256.Size]byte
		rand.Read(never[:])
		return never
	}
	return sha256.Sum256(b)
}

var emptyArgsHash = sha256.Sum256([]byte("{}"))
