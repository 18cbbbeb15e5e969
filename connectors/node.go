package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds on a manifest's text, so that a few anchors cannot grow into gigabytes.
const (
	maxManifestBytes = 1 << 20
	maxManifestNodes = 50_000
	maxManifestDepth = 40
)

// reader reads a YAML document strictly, keeping every problem it meets with
// its file and line.
type reader struct {
	file  string
	kinds []*Kind // written in Go
	errs  []error
	nodes int
}

// failf keeps a problem at n.
func (r *reader) failf(n *yaml.Node, format string, args ...any) {
	r.failAt(n.Line, format, args...)
}

func (r *reader) failAt(line int, format string, args ...any) {
	problem := fmt.Sprintf("%s:%d: %s", r.file, line, fmt.Sprintf(format, args...))
	// What an alias repeats is one problem.
	if !slices.ContainsFunc(r.errs, func(known error) bool { return known.Error() == problem }) {
		r.errs = append(r.errs, errors.New(problem))
	}
}

// document parses the one document of src.
func (r *reader) document(src []byte) *yaml.Node {
	if len(src) > maxManifestBytes {
		r.failAt(1, "a manifest has at most %d bytes", maxManifestBytes)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			r.failAt(1, "the file is empty")
		} else {
			r.errs = append(r.errs, errors.New(r.file+placed(strings.TrimPrefix(err.Error(), "yaml: "))))
		}
		return nil
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		r.failAt(max(more.Line, 1), "a manifest is one document, and nothing follows it")
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.failAt(1, "the file holds no document")
		return nil
	}
	return doc.Content[0]
}

// yamlLine is the place in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^line (\d+): `)

// placed is an error of the YAML library after the file's name, as those of ours
// are, with what it mostly comes from.
func placed(problem string) string {
	hint := ""
	switch {
	case strings.Contains(problem, "cannot start any token"):
		hint = " (is there a tab? lines are indented with spaces)"
	case strings.Contains(problem, "did not find expected"):
		hint = " (is a bracket or a quotation mark missing? a text that holds { } [ ] , : # or quotation marks stands in quotes)"
	case strings.Contains(problem, "mapping values are not allowed"):
		hint = " (a text that holds a colon stands in quotes)"
	}
	if m := yamlLine.FindStringSubmatch(problem); m != nil {
		return ":" + m[1] + ": " + strings.TrimPrefix(problem, m[0]) + hint
	}
	return ": " + problem + hint
}

// deref follows an alias to what it stands for.
func deref(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// kindOf names a node's type for a message.
func kindOf(n *yaml.Node) string {
	switch n = deref(n); n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	}
	return "a text"
}

// pair is one entry of a mapping.
type pair struct {
	key   string
	at    *yaml.Node // of the key
	value *yaml.Node
}

// pairs returns a mapping's entries in the order of the file. A key that is
// there twice, or is not a text, is a problem.
func (r *reader) pairs(n *yaml.Node, what string) []pair {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		r.failf(n, "%s must be a mapping, not %s", what, kindOf(n))
		return nil
	}
	lines := map[string]int{}
	var out []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" {
			r.failf(k, "%s: a key must be a plain text", what)
			continue
		}
		if first, ok := lines[k.Value]; ok {
			r.failf(k, "%s: %q is there twice, first on line %d", what, k.Value, first)
			continue
		}
		lines[k.Value] = k.Line
		out = append(out, pair{k.Value, k, n.Content[i+1]})
	}
	return out
}

// keys hands each entry of a mapping to the function that reads it. A key that
// has none is a problem. It returns the keys that were there.
func (r *reader) keys(n *yaml.Node, what string, known map[string]func(*yaml.Node)) map[string]bool {
	seen := map[string]bool{}
	for _, p := range r.pairs(n, what) {
		seen[p.key] = true
		read, ok := known[p.key]
		if !ok {
			names := make([]string, 0, len(known))
			for name := range known {
				names = append(names, name)
			}
			r.failf(p.at, "%s: unknown key %q%s", what, p.key, suggest(p.key, names))
			continue
		}
		read(p.value)
	}
	return seen
}

// text reads a text that is not empty.
func (r *reader) text(n *yaml.Node, what string) string {
	n = deref(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.failf(n, "%s must be a text, not %s%s", what, kindOf(n), unquoted(n))
		return ""
	}
	if strings.TrimSpace(n.Value) == "" {
		r.failf(n, "%s must not be empty", what)
	}
	return n.Value
}

// scalar reads a text, a number or a boolean as it is written.
func (r *reader) scalar(n *yaml.Node, what string) string {
	n = deref(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.failf(n, "%s must be a text or a number, not %s%s", what, kindOf(n), unquoted(n))
		return ""
	}
	return n.Value
}

// unquoted is a hint at a template that YAML takes for a mapping.
func unquoted(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && n.Content[1].ShortTag() == "!!null" {
		return fmt.Sprintf(" (did you mean %q, in quotes?)", "{"+n.Content[0].Value+"}")
	}
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 {
		return " (an expression that begins with { stands in quotes)"
	}
	return ""
}

// boolean reads true or false.
func (r *reader) boolean(n *yaml.Node, what string) bool {
	n = deref(n)
	var b bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&b) != nil {
		r.failf(n, "%s must be true or false, without quotes, not %s", what, kindOf(n))
	}
	return b
}

// integer reads a whole number.
func (r *reader) integer(n *yaml.Node, what string) int {
	n = deref(n)
	var i int
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&i) != nil {
		r.failf(n, "%s must be a whole number, not %s", what, kindOf(n))
	}
	return i
}

// list returns the entries of a list.
func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	n = deref(n)
	if n.Kind != yaml.SequenceNode {
		r.failf(n, "%s must be a list, not %s", what, kindOf(n))
		return nil
	}
	return n.Content
}

// json reads any value as JSON would hold it, numbers as json.Number.
func (r *reader) json(n *yaml.Node, what string) any { return r.jsonAt(n, what, 0) }

func (r *reader) jsonAt(n *yaml.Node, what string, depth int) any {
	n = deref(n)
	if r.nodes++; r.nodes > maxManifestNodes || depth > maxManifestDepth {
		if r.nodes <= maxManifestNodes+1 || depth == maxManifestDepth+1 {
			r.failf(n, "%s is too large or too deep", what)
		}
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for _, p := range r.pairs(n, what) {
			m[p.key] = r.jsonAt(p.value, what, depth+1)
		}
		return m
	case yaml.SequenceNode:
		s := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			s = append(s, r.jsonAt(c, what, depth+1))
		}
		return s
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return r.boolean(n, what)
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
		var f float64
		if err := n.Decode(&f); err != nil {
			r.failf(n, "%s: not a number of JSON", what)
		}
		return f
	}
	return n.Value
}

// suggest returns " (did you mean ...?)" when one of the names is a slip of the
// finger away, else the names there are.
func suggest(got string, names []string) string {
	slices.Sort(names)
	if hint := nearest(got, names); hint != "" {
		return hint
	}
	if len(names) == 0 {
		return ""
	}
	return " (there is " + strings.Join(names, ", ") + ")"
}

// nearest returns " (did you mean ...?)" when one of the names is a slip of the
// finger away, else "".
func nearest(got string, names []string) string {
	best, nearest := "", 3
	for _, name := range names {
		if d := distance(strings.ToLower(got), strings.ToLower(name)); d < nearest && d < len(name) {
			best, nearest = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// distance is the number of single-letter edits between two words, a swap of
// neighbours counting as one.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > 64 || len(y) > 64 {
		return len(x) + len(y)
	}
	var before, last []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		before, last = last, row
		row = make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(y)]
}
