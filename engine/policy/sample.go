package policy

import (
	"encoding/json"
	"regexp"
	"regexp/syntax"
	"strings"

	"vouchsafe/engine"
)

// matching returns texts that a pattern may match: the pattern itself, as a
// glob, and as a regular expression.
func matching(pattern string) []string {
	out := []string{pattern}
	if strings.ContainsAny(pattern, "*?") {
		out = append(out, strings.NewReplacer("**", "x", "*", "x", "?", "x").Replace(pattern))
	}
	if parsed, err := syntax.Parse(pattern, syntax.Perl); err == nil {
		var b strings.Builder
		write(&b, parsed.Simplify())
		if s := b.String(); s != pattern && regexp.MustCompile(pattern).MatchString(s) {
			out = append(out, s)
		}
	}
	return out
}

// write writes the shortest text that the expression matches, or near it.
func write(b *strings.Builder, re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			b.WriteRune(r)
		}
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			r := re.Rune[0]
			for i := 0; i+1 < len(re.Rune); i += 2 { // rather something one can read
				if lo, hi := re.Rune[i], re.Rune[i+1]; lo <= '1' && '1' <= hi {
					r = '1'
				} else if lo <= 'a' && 'a' <= hi {
					r = 'a'
				}
			}
			b.WriteRune(r)
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture, syntax.OpPlus:
		write(b, re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			write(b, sub)
		}
	case syntax.OpAlternate:
		write(b, re.Sub[0])
	case syntax.OpRepeat:
		for range min(max(re.Min, 1), 64) {
			write(b, re.Sub[0])
		}
	}
}

// argsOf returns arguments that an action takes: with all that may be given,
// with only what must be, and with each argument at its bounds. They are valid
// as far as that can be made from the schema; a policy must deny what it must
// deny of others as well.
func argsOf(schema *engine.ArgSchema) []map[string]any {
	if schema == nil {
		return []map[string]any{{}}
	}
	all, needed := map[string]any{}, map[string]any{}
	for _, name := range schema.Names() {
		all[name] = samples(schema.Property(name))[0]
	}
	for _, name := range schema.Required() {
		needed[name] = all[name]
	}
	out := []map[string]any{all}
	if len(needed) != len(all) {
		out = append(out, needed)
	}
	for _, name := range schema.Names() {
		for _, v := range samples(schema.Property(name))[1:] {
			changed := copied(all).(map[string]any)
			changed[name] = v
			if schema.Validate(changed) == nil {
				out = append(out, changed)
			}
		}
	}
	return out[:min(len(out), 16)]
}

// samples returns values that a property's schema takes, an everyday one first.
func samples(p map[string]any) []any {
	if v, ok := p["const"]; ok {
		return []any{v}
	}
	if list, ok := p["enum"].([]any); ok && len(list) > 0 {
		return list
	}
	kind, _ := p["type"].(string)
	if list, ok := p["type"].([]any); ok && len(list) > 0 {
		kind, _ = list[0].(string)
	}
	switch kind {
	case "boolean":
		return []any{true, false}
	case "integer", "number":
		least, most := bound(p, "minimum", "exclusiveMinimum", 1), bound(p, "maximum", "exclusiveMaximum", -1)
		switch {
		case least != nil && most != nil:
			return []any{whole(*least), whole(*most)}
		case least != nil:
			return []any{whole(*least), whole(*least + 1)}
		case most != nil:
			return []any{whole(*most), whole(*most - 1)}
		}
		return []any{whole(1), whole(0), whole(-1)}
	case "array":
		items, _ := p["items"].(map[string]any)
		one := []any{samples(items)[0]}
		return []any{one, []any{}}
	case "object":
		out := map[string]any{}
		props, _ := p["properties"].(map[string]any)
		for _, name := range sortedKeys(props) {
			sub, _ := props[name].(map[string]any)
			out[name] = samples(sub)[0]
		}
		return []any{out}
	case "null":
		return []any{nil}
	}
	return texts(p)
}

// formats are everyday texts of the formats that JSON Schema names.
var formats = map[string]string{
	"date-time": "2026-03-17T10:00:00Z", "date": "2026-03-17", "time": "10:00:00Z", "email": "jordan@example.com",
	"uri": "https://shop.example/x", "uuid": "6e0f4b0c-1c8a-4f0e-9d5e-3b6f1f0a9c11", "ipv4": "192.0.2.1", "hostname": "shop.example",
}

func texts(p map[string]any) []any {
	if f, ok := p["format"].(string); ok && formats[f] != "" {
		return []any{formats[f]}
	}
	if pattern, ok := p["pattern"].(string); ok {
		like := matching(pattern)
		return []any{like[len(like)-1]}
	}
	s := "x"
	if n := bound(p, "minLength", "", 0); n != nil && *n > 1 {
		s = strings.Repeat("x", int(min(*n, 4096)))
	}
	out := []any{s}
	if n := bound(p, "maxLength", "", 0); n != nil && *n > int64(len(s)) {
		out = append(out, strings.Repeat("x", int(min(*n, 1024))))
	}
	return out
}

// bound reads a limit that a schema sets, if it is a whole number.
func bound(p map[string]any, inclusive, exclusive string, step int64) *int64 {
	for i, key := range []string{inclusive, exclusive} {
		n, ok := number(p[key])
		if !ok {
			continue
		}
		if v, err := n.Int64(); err == nil {
			v += int64(i) * step
			return &v
		}
	}
	return nil
}

// copied is a JSON value that shares nothing with v.
func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = copied(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copied(v[i])
		}
		return out
	}
	return v
}

func raw(d document) json.RawMessage { return appendObject(nil, d) }
