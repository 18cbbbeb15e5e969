package connectors

import (
	"slices"
	"strings"
)

// contents is what the value of an argument may hold, by its schema.
type contents struct {
	root  map[string]any // the whole schema, for its references
	names []string       // of the declared members, at any depth
	// adrift: nothing but the body says what is changed.
	adrift bool
}

// Schemas nest no deeper than this; a circular one is open.
const maxContents = 16

// fixed reports a schema whose values are the manifest's own: it lists them.
func fixed(schema map[string]any) bool {
	_, enum := schema["enum"]
	_, constant := schema["const"]
	return enum || constant || schema["type"] == "boolean"
}

// open reports a schema that lets a value bring members of any name. It keeps
// the names of those that are declared.
func (c *contents) open(schema any, depth int) bool {
	m, ok := schema.(map[string]any)
	if !ok {
		return schema != false
	}
	if depth > maxContents {
		return true
	}
	if fixed(m) {
		return false
	}
	object, array := allows(m, "object"), allows(m, "array")
	if !object && !array {
		return false
	}
	open := object && c.openObject(m, depth) || array && c.openArray(m, depth)
	// What stands beside it holds as well, so one closed schema closes it.
	closed := false
	if ref, ok := m["$ref"].(string); ok {
		closed = !c.open(c.find(ref), depth+1)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		branches, _ := m[key].([]any)
		all := len(branches) > 0
		for _, b := range branches {
			all = !c.open(b, depth+1) && all
		}
		closed = closed || all
	}
	branches, _ := m["allOf"].([]any)
	for _, b := range branches {
		closed = !c.open(b, depth+1) || closed
	}
	return open && !closed
}

func (c *contents) openObject(m map[string]any, depth int) bool {
	// What unevaluatedProperties closes, a schema beside it may open again.
	open := m["patternProperties"] != nil || m["additionalProperties"] != false
	properties, _ := m["properties"].(map[string]any)
	for name, p := range properties {
		if inner, _ := p.(map[string]any); !fixed(inner) {
			c.names = append(c.names, name)
		}
		open = c.open(p, depth+1) || open
	}
	return open
}

func (c *contents) openArray(m map[string]any, depth int) bool {
	open := false
	first, _ := m["prefixItems"].([]any)
	for _, p := range first {
		open = c.open(p, depth+1) || open
	}
	items, given := m["items"]
	return !given || c.open(items, depth+1) || open
}

// find is what a reference within the schema leads to, nil when it is not
// plainly there.
func (c *contents) find(ref string) any {
	at := any(c.root)
	steps := strings.Split(ref, "/")
	if steps[0] != "#" {
		return nil
	}
	for _, step := range steps[1:] {
		m, _ := at.(map[string]any)
		at = m[step]
	}
	return at
}

// allows reports whether a schema's type admits the kind of value.
func allows(schema map[string]any, kind string) bool {
	switch t := schema["type"].(type) {
	case nil:
		return true
	case []any:
		return slices.Contains(t, any(kind))
	default:
		return t == kind
	}
}

// closeObjects closes the objects within an argument schema as the arguments
// themselves are, where that cannot change what a schema beside them means.
func closeObjects(schema any, nested bool) {
	m, ok := schema.(map[string]any)
	if !ok {
		return
	}
	properties, _ := m["properties"].(map[string]any)
	for _, p := range properties {
		closeObjects(p, true)
	}
	closeObjects(m["items"], true)
	if !nested || properties == nil {
		return
	}
	for _, key := range []string{"additionalProperties", "unevaluatedProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"} {
		if _, there := m[key]; there {
			return
		}
	}
	m["additionalProperties"] = false
}
