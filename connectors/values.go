package connectors

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"vouchsafe/engine/gate"
)

// values are what a request is filled in with. Nothing else exists for it.
type values struct {
	args   map[string]any
	pinned map[string]any // nil for a public action
	steps  map[string]finding
	page   page
	job    string // what the reply to a write calls the change; "" but when that is asked after
	key    string // the idempotency key; "" for what only reads
}

// finding is what a step found, at least one record.
type finding struct {
	many    bool // a list, however long it is
	records []gate.Record
}

// asJSON is what a body sees of the finding.
func (f finding) asJSON() any {
	if !f.many {
		return f.records[0].Fields
	}
	list := make([]any, len(f.records))
	for i, rec := range f.records {
		list[i] = rec.Fields
	}
	return list
}

// input is what a body sees of the values.
func (v values) input() (map[string]any, error) {
	args, err := jqObject(v.args)
	if err != nil {
		return nil, err
	}
	in := map[string]any{"args": args}
	if v.pinned != nil {
		in["pinned"] = v.pinned
	}
	if len(v.steps) > 0 {
		steps := make(map[string]any, len(v.steps))
		for name, f := range v.steps {
			steps[name] = f.asJSON()
		}
		in["steps"] = steps
	}
	if v.page.number != nil {
		page := map[string]any{"number": *v.page.number, "offset": v.page.offset}
		if v.page.cursor != "" {
			page["cursor"] = v.page.cursor
		}
		in["page"] = page
	}
	if v.key != "" {
		in["idempotency_key"] = v.key
	}
	return in, nil
}

// lookup returns what a template's variable stands for, nil for an argument or
// a page that is not there. In a path (strict) a value must not climb, and
// there are no lists.
func (v values) lookup(name string, strict bool) ([]string, error) {
	if key, ok := strings.CutPrefix(name, "pinned."); ok {
		text, _ := v.pinned[key].(string)
		if text == "" || strict && climbs(text) {
			return nil, errPinned
		}
		return []string{text}, nil
	}
	if ref, ok := strings.CutPrefix(name, "steps."); ok {
		return v.found(ref, strict)
	}
	if key, ok := strings.CutPrefix(name, "page."); ok {
		return v.page.lookup(key), nil
	}
	if name == jobVariable && v.job != "" {
		if !utf8.ValidString(v.job) || strict && climbs(v.job) {
			return nil, errStep
		}
		return []string{v.job}, nil
	}
	arg := v.args[name]
	if arg == nil {
		return nil, nil
	}
	list, ok := arg.([]any)
	if !ok || strict {
		list = []any{arg}
	}
	var texts []string
	for _, item := range list {
		s, ok := scalarText(item)
		if !ok || !utf8.ValidString(s) || strict && climbs(s) {
			return nil, errArgument
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// found returns a field of what a step found. A field that is not there is an
// error: a request without it would ask for something else.
func (v values) found(ref string, strict bool) ([]string, error) {
	name, field, _ := strings.Cut(ref, ".")
	f := v.steps[name]
	if len(f.records) == 0 || strict && len(f.records) > 1 {
		return nil, errStep
	}
	var texts []string
	for _, rec := range f.records {
		s, ok := scalarText(rec.Fields[field])
		if !ok || s == "" || !utf8.ValidString(s) || strict && climbs(s) {
			return nil, errStep
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// climbs reports a value that a careless server, decoding before it splits or
// decoding twice, would take for more than one segment, for a way up or for the
// end of the text. The connection provider refuses such a path too.
func climbs(s string) bool {
	for _, c := range s {
		if c < 0x20 || c == 0x7f || c == '/' || c == '\\' {
			return true
		}
	}
	name, _, _ := strings.Cut(s, ";") // where a server of Java stops reading
	name = strings.TrimSpace(name)
	return name == "." || name == ".." || name == "" && s != "" || percentEncoded.MatchString(s)
}

// percentEncoded is text that is encoded already.
var percentEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// scalarText is a JSON scalar as text.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case *big.Int:
		return v.String(), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}
