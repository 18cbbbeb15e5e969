package connectors

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/yosida95/uritemplate/v3"
)

// template is an RFC 6570 template whose values stay percent-encoded pieces of
// their own. The library reads and judges it. The expansion is ours, because
// the library's encodes a letter's code point rather than its UTF-8 bytes, so
// that U+2E2E would come out as "%2E%2E".
type template struct {
	source string
	pieces []piece
	vars   []string
	inPath bool // where a value with slashes and dots could climb
}

// piece is a literal, or an expression such as {?page,sort*}.
type piece struct {
	literal string // set when there are no variables
	style   style
	vars    []variable
}

type variable struct {
	name    string
	explode bool
}

// style is how an operator joins its variables (RFC 6570, appendix A).
type style struct {
	first, sep string
	named      bool
	empty      string // after the name of an empty value
}

// asks reports an operator that writes a query.
func (s style) asks() bool { return s.first == "?" || s.first == "&" }

var styles = map[byte]style{
	'.': {first: ".", sep: "."},
	'/': {first: "/", sep: "/"},
	';': {first: ";", sep: ";", named: true},
	'?': {first: "?", sep: "&", named: true, empty: "="},
	'&': {first: "&", sep: "&", named: true, empty: "="},
}

var templateBraces = regexp.MustCompile(`\{([^{}]*)\}`)

// parseTemplate compiles a template. It refuses the operators that let a value
// bring reserved characters of its own.
func parseTemplate(source string) (*template, error) {
	t := &template{source: source}
	end := 0
	for _, m := range templateBraces.FindAllStringSubmatchIndex(source, -1) {
		inside := source[m[2]:m[3]]
		switch {
		case strings.HasPrefix(inside, "+") || strings.HasPrefix(inside, "#"):
			return nil, fmt.Errorf("{%s} would let a value bring slashes and question marks of its own; write {%s}", inside, inside[1:])
		case strings.Contains(inside, ":"):
			return nil, fmt.Errorf("{%s} would cut a value short, and so name another record", inside)
		}
		t.pieces = append(t.pieces, piece{literal: source[end:m[0]]}, parseExpression(inside))
		end = m[1]
	}
	t.pieces = append(t.pieces, piece{literal: source[end:]})
	uri, err := uritemplate.New(source)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "uritemplate:"))
	}
	t.vars = uri.Varnames()
	return t, nil
}

func parseExpression(inside string) piece {
	p := piece{style: style{sep: ","}}
	if inside != "" {
		if s, ok := styles[inside[0]]; ok {
			p.style, inside = s, inside[1:]
		}
	}
	for _, name := range strings.Split(inside, ",") {
		plain, explode := strings.CutSuffix(name, "*")
		p.vars = append(p.vars, variable{plain, explode})
	}
	return p
}

// asksFor reports a variable of a path's own query, as in "/orders{?page}" or
// "/orders?page={page}".
func (t *template) asksFor(name string) bool {
	asked := false
	for _, p := range t.pieces {
		asked = asked || p.style.asks() || strings.Contains(p.literal, "?")
		for _, v := range p.vars {
			if v.name == name && !asked {
				return false
			}
			if v.name == name {
				return true
			}
		}
	}
	return false
}

// encodeLiterals encodes what RFC 6570 wants encoded around the expressions, so
// that a query's value can be written as it is meant: "name:{pinned.name} -test:1".
func encodeLiterals(source string) string {
	var b strings.Builder
	for _, c := range source {
		if strings.ContainsRune(" \"'<>\\^`|", c) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// expand fills in a template, and tells whether any of its variables had a value.
func (t *template) expand(v values) (expanded string, filled bool, err error) {
	var b strings.Builder
	asked := false
	for _, p := range t.pieces {
		b.WriteString(p.literal)
		asked = asked || p.style.asks() || strings.Contains(p.literal, "?")
		sep, strict := p.style.first, t.inPath && !asked
		for _, name := range p.vars {
			texts, err := v.lookup(name.name, strict)
			if err != nil {
				return "", false, err
			}
			if texts == nil {
				continue
			}
			filled = true
			b.WriteString(sep)
			p.style.write(&b, name, texts)
			sep = p.style.sep
		}
	}
	return b.String(), filled, nil
}

// write writes one variable's values, joined by commas unless it is exploded.
func (s style) write(b *strings.Builder, v variable, values []string) {
	sep := ","
	if v.explode {
		sep = s.sep
	}
	for i, value := range values {
		if i > 0 {
			b.WriteString(sep)
		}
		if s.named && (i == 0 || v.explode) {
			b.WriteString(v.name)
			if value == "" {
				b.WriteString(s.empty)
				continue
			}
			b.WriteByte('=')
		}
		b.WriteString(percentEncode(value))
	}
}

// percentEncode encodes every byte that RFC 3986 does not call unreserved.
func percentEncode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
