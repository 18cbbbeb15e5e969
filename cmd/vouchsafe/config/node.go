package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parser collects what is wrong while the file is walked.
type parser struct {
	name, dir string
	secrets   bool // read and check the keys
	problems  []Problem
	warnings  []string
}

func (p *parser) fail(n *yaml.Node, key, format string, args ...any) {
	p.problems = append(p.problems, Problem{Line: n.Line, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) warn(n *yaml.Node, key, format string, args ...any) {
	p.warnings = append(p.warnings, at(p.name, n.Line, key, fmt.Sprintf(format, args...)))
}

// path resolves a path of the file.
func (p *parser) path(s string) string {
	if filepath.IsAbs(s) {
		return filepath.Clean(s)
	}
	return filepath.Join(p.dir, s)
}

var (
	yamlLine    = regexp.MustCompile(`\bline (\d+): `)
	yamlGrammar = regexp.MustCompile(`did not find expected (node content|'-' indicator|key|',' or|<document start>)`)
)

// document returns the one document of src, nil after reporting why not.
func (p *parser) document(src []byte) *yaml.Node {
	if !utf8.Valid(src) {
		p.problems = append(p.problems, Problem{Line: 1, Message: "is not UTF-8 text"})
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(src))
	var doc, second yaml.Node
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			p.problems = append(p.problems, Problem{Line: 1, Message: "is empty: `vouchsafe init` writes one to start from"})
			return nil
		}
		p.problems = append(p.problems, syntax(err, src))
		return nil
	}
	switch err := d.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.problems = append(p.problems, syntax(err, src))
		return nil
	default:
		p.fail(&second, "", "a second document: the configuration is one")
		return nil
	}
	if len(doc.Content) != 1 {
		p.problems = append(p.problems, Problem{Line: 1, Message: "is empty: `vouchsafe init` writes one to start from"})
		return nil
	}
	return doc.Content[0]
}

// syntax makes a Problem of an error of the YAML parser. An anchor's name is
// all that such an error may repeat of the file.
func syntax(err error, src []byte) Problem {
	lines := 1 + bytes.Count(bytes.TrimSuffix(src, []byte("\n")), []byte("\n"))
	message, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatchIndex(message); m != nil {
		if n, err := strconv.Atoi(message[m[2]:m[3]]); err == nil && n > 0 {
			line = n
		}
		message = message[:m[0]] + message[m[1]:]
		if yamlGrammar.MatchString(message) {
			line++ // the library counts these lines from 0
		}
		line = min(line, lines)
	}
	message = strings.TrimPrefix(message, "yaml: ")
	if strings.HasPrefix(message, "unknown anchor") {
		message = "an alias without its anchor: write the value where it is used"
	}
	return Problem{Line: line, Message: "is not YAML: " + message}
}

// section is a mapping whose keys are known.
type section struct {
	p      *parser
	node   *yaml.Node
	key    string // "" for the file itself
	fields map[string]*yaml.Node
}

// section reads a mapping, reporting keys that are unknown or written twice.
// It reports and returns false when n is no mapping.
func (p *parser) section(n *yaml.Node, key string, keys ...string) (section, bool) {
	s := section{p: p, node: n, key: key, fields: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		p.wrongKind(n, key, "keys and values")
		return s, false
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			p.fail(k, key, "a key must be a plain word")
			continue
		}
		if first, dup := lines[k.Value]; dup {
			p.fail(k, s.at(printable(k.Value)), "is already set on line %d", first)
			continue
		}
		lines[k.Value] = k.Line
		if slices.Contains(keys, k.Value) {
			s.fields[k.Value] = v
			continue
		}
		p.unknown(k, s.at(printable(k.Value)), keys)
	}
	return s, true
}

func (p *parser) unknown(k *yaml.Node, key string, keys []string) {
	switch near := nearest(k.Value, keys); {
	case near != "":
		p.fail(k, key, "is not a setting; did you mean %s?", near)
	case slices.Contains(inlineSecrets, k.Value) && (slices.Contains(keys, "secret_file") || slices.Contains(keys, "token_file") || slices.Contains(keys, "key_file")):
		p.fail(k, key, "secrets do not stand in this file: name a file or an environment variable (%s)", strings.Join(sources(keys), " or "))
	default:
		sorted := slices.Sorted(slices.Values(keys))
		p.fail(k, key, "is not a setting; the settings here are %s", strings.Join(sorted, ", "))
	}
}

// inlineSecrets are the keys under which people try to put a secret itself.
var inlineSecrets = []string{"secret", "key", "token", "password", "value", "public_key"}

func sources(keys []string) []string {
	var found []string
	for _, k := range keys {
		if strings.HasSuffix(k, "_file") || strings.HasSuffix(k, "_env") {
			found = append(found, k)
		}
	}
	return found
}

// wrongKind reports that n is not what was wanted.
func (p *parser) wrongKind(n *yaml.Node, key, want string) {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fail(n, key, "is an alias: write the value where it is used")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		p.fail(n, key, "has no value: want %s, or leave the key out", want)
	case n.Kind == yaml.MappingNode:
		p.fail(n, key, "must be %s, not keys and values", want)
	case n.Kind == yaml.SequenceNode:
		p.fail(n, key, "must be %s, not a list", want)
	case n.ShortTag() == "!!str":
		p.fail(n, key, "must be %s, not text", want)
	case want == "text":
		p.fail(n, key, "must be text: put it in quotes")
	default:
		p.fail(n, key, "must be %s", want)
	}
}

// text reads a scalar that YAML takes for text.
func (p *parser) text(n *yaml.Node, key string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		p.wrongKind(n, key, "text")
		return "", false
	}
	if i := strings.IndexFunc(n.Value, isControl); i >= 0 {
		p.fail(n, key, "holds a control character")
		return "", false
	}
	if n.Value != strings.TrimSpace(n.Value) {
		p.fail(n, key, "starts or ends with a space")
		return "", false
	}
	return n.Value, true
}

func (s section) at(key string) string {
	if s.key == "" {
		return key
	}
	return s.key + "." + key
}

func (s section) has(key string) bool { _, ok := s.fields[key]; return ok }

// lacks reports whether the key is absent or an empty list.
func (s section) lacks(key string) bool {
	n, ok := s.fields[key]
	return !ok || n.Kind == yaml.SequenceNode && len(n.Content) == 0
}

// fail reports at the key, or at the section when it has no such key.
func (s section) fail(key, format string, args ...any) {
	n, ok := s.fields[key]
	if !ok {
		n = s.node
	}
	s.p.fail(n, s.at(key), format, args...)
}

// text returns the key's text, "" when it is absent or was reported.
func (s section) text(key string) string {
	n, ok := s.fields[key]
	if !ok {
		return ""
	}
	v, _ := s.p.text(n, s.at(key))
	return v
}

// required is text that must be there and not be empty. why completes "is
// missing: ".
func (s section) required(key, why string) string {
	if !s.has(key) {
		s.fail(key, "is missing: %s", why)
		return ""
	}
	n := s.fields[key]
	v, ok := s.p.text(n, s.at(key))
	if ok && v == "" {
		s.fail(key, "is empty: %s", why)
	}
	return v
}

// section returns the section under key, false when it is absent or no section.
func (s section) section(key string, keys ...string) (section, bool) {
	n, ok := s.fields[key]
	if !ok {
		return section{}, false
	}
	return s.p.section(n, s.at(key), keys...)
}

// list returns the entries under key, nil when it is absent or no list.
func (s section) list(key string) []*yaml.Node {
	n, ok := s.fields[key]
	if !ok {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		s.p.wrongKind(n, s.at(key), "a list")
		return nil
	}
	return n.Content
}

// texts calls each with the non-empty texts of a list, and the node and key of
// each.
func (s section) texts(key string, each func(v string, n *yaml.Node, key string)) {
	for i, n := range s.list(key) {
		at := fmt.Sprintf("%s[%d]", s.at(key), i)
		v, ok := s.p.text(n, at)
		if ok && v == "" {
			s.p.fail(n, at, "is empty")
		} else if ok {
			each(v, n, at)
		}
	}
}

func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == utf8.RuneError
}

// printable makes a key fit to be shown: keys are names, so what is no name is
// cut and quoted.
func printable(s string) string {
	cut := s
	if len(cut) > 40 {
		cut = cut[:40] + "..."
	}
	for _, r := range cut {
		if !(r == '_' || r == '-' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9') {
			return strconv.QuoteToASCII(cut)
		}
	}
	if cut == "" {
		return `""`
	}
	return cut
}
