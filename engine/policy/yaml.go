package policy

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

var printer = message.NewPrinter(language.English)

// plain turns a YAML node into a JSON value. It takes only what reads the same
// to everybody: no aliases, no tags, no keys but strings, no key twice.
func plain(n *yaml.Node) (any, *Problem) {
	bad := func(format string, args ...any) (any, *Problem) {
		return nil, &Problem{File: dataFile, Line: n.Line, Column: n.Column, Code: ProblemData, Message: fmt.Sprintf(format, args...)}
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
				n = k
				return bad("the key %q is not a string", k.Value)
			}
			if _, twice := m[k.Value]; twice {
				n = k
				return bad("the key %q stands twice", k.Value)
			}
			v, problem := plain(n.Content[i+1])
			if problem != nil {
				return nil, problem
			}
			m[k.Value] = v
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			v, problem := plain(item)
			if problem != nil {
				return nil, problem
			}
			list[i] = v
		}
		return list, nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!str":
			return n.Value, nil
		case "!!null":
			return nil, nil
		case "!!bool":
			var b bool
			err := n.Decode(&b)
			if err != nil {
				return bad("%v", err)
			}
			return b, nil
		case "!!int", "!!float":
			if json.Valid([]byte(n.Value)) {
				return json.Number(n.Value), nil
			}
			return bad("write the number %s in plain decimal", n.Value)
		}
		return bad("%s values are not allowed: put quotes round it to make it a string", n.Tag)
	}
	return bad("anchors and aliases are not allowed: write the value out")
}

// find returns the node a schema error points at, or the nearest around it.
func find(n *yaml.Node, location []string) *yaml.Node {
	for _, step := range location {
		next := (*yaml.Node)(nil)
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next = n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			var i int
			if _, err := fmt.Sscan(step, &i); err == nil && i < len(n.Content) {
				next = n.Content[i]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// leaves returns the errors at the tips of a validation error's tree.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var out []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		out = append(out, leaves(cause)...)
	}
	return out
}

// selfContained refuses a schema that refers outside itself.
type selfContained struct{}

func (selfContained) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema may only refer to itself, not to %s", url)
}

func compileSchema(name string, text []byte) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(selfContained{})
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}
