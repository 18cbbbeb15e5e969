package plan

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vouchsafe/engine"
)

// argKind is what sort of value an argument takes.
type argKind uint8

const (
	otherArg argKind = iota
	idArg
	enumArg
	dateArg
	numberArg
	addressArg
	postcodeArg
	cityArg
	countryArg
	emailArg
	reasonArg
)

// filler finds one argument's value in a message.
type filler struct {
	name    string
	kind    argKind
	words   map[string]bool // concepts of its name: order_id -> order
	units   map[string]bool // singular words of its name: months -> month
	re      *regexp.Regexp  // its pattern, between token boundaries
	layouts []string        // of a date, those its schema accepts
	enum    []enumValue
	integer bool
	schema  *engine.ArgSchema // of this argument alone
}

type enumValue struct {
	value any
	stems []string
}

// filled is what a part of a message gives for an action's arguments.
type filled struct {
	args     map[string]any
	when     map[string]When
	used     []span // bytes
	exactID  bool   // a record is named
	pattern  bool   // ... in the form its schema asks for
	specific bool   // a new value, such as a date, is named
	measured bool   // ... that is a date or a number
	more     []string
	moreFor  string // the argument that more has further values for
}

func (fl filled) uses(t *token) bool {
	for _, s := range fl.used {
		if t.start >= s.start && t.end <= s.end {
			return true
		}
	}
	return false
}

// each returns the arguments once for every record named: "cancel orders 1001
// and 1002".
func (fl filled) each() []map[string]any {
	out := []map[string]any{fl.args}
	for _, v := range fl.more {
		args := maps.Clone(fl.args)
		args[fl.moreFor] = v
		out = append(out, args)
	}
	return out
}

func required(a *engine.Action) []string {
	if a.Args == nil {
		return nil
	}
	return a.Args.Required()
}

var idName = regexp.MustCompile(`(^|_)(id|ids|number|no|nr|ref|reference|code|locator|pnr|sku)$`)
var dateName = regexp.MustCompile(`(^|_)(start|end|starts|ends|date|when|time|until|till|day|at|on|starts_at|departure|arrival|check_in|check_out|checkin|checkout|slot)$`)

// sampleTimes are written as a schema may want them, the most exact first.
var sampleTimes = []struct{ layout, sample string }{
	{time.RFC3339, "2026-12-01T10:00:00+01:00"},
	{"2006-01-02T15:04:05Z", "2026-12-01T10:00:00Z"},
	{"2006-01-02T15:04:05", "2026-12-01T10:00:00"},
	{"2006-01-02T15:04", "2026-12-01T10:00"},
	{"2006-01-02 15:04", "2026-12-01 10:00"},
	{"2006-01-02", "2026-12-01"},
}

// fillersOf reads the action's schema. A record's argument without a pattern
// borrows the one of the action that looks it up.
func (p *Planner) fillersOf(a *engine.Action, all []*engine.Action) []*filler {
	if a.Args == nil {
		return nil
	}
	source := a.Args.Source()
	names := slices.Clone(a.Args.Required())
	for _, n := range a.Args.Names() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	var out []*filler
	for _, name := range names {
		prop := resolve(source, a.Args.Property(name))
		one := map[string]any{"type": "object", "properties": map[string]any{name: a.Args.Property(name)}}
		if defs, ok := source["$defs"]; ok {
			one["$defs"] = defs
		}
		schema, err := engine.CompileArgs(one)
		if err != nil || prop == nil {
			continue
		}
		fl := &filler{name: name, schema: schema, words: map[string]bool{}, units: map[string]bool{}}
		for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' }) {
			if c, ok := p.nounOf(w); ok {
				fl.words[c] = true
			} else {
				fl.words[stem(singular(w))] = true
			}
			fl.units[singular(w)] = true
		}
		pattern, _ := prop["pattern"].(string)
		isResource := false
		for _, res := range a.Resources {
			if res.Argument != name {
				continue
			}
			isResource = true
			if i := slices.IndexFunc(all, func(o *engine.Action) bool { return o.Name == res.Action }); i >= 0 && pattern == "" && all[i].Args != nil {
				pattern, _ = all[i].Args.Property(name)["pattern"].(string)
			}
		}
		fl.setKind(prop, pattern, isResource || name == a.IDArgument)
		out = append(out, fl)
	}
	return out
}

// resolve follows a reference inside the schema, once.
func resolve(source, prop map[string]any) map[string]any {
	ref, ok := prop["$ref"].(string)
	if !ok {
		return prop
	}
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	if !ok {
		return prop
	}
	defs, _ := source["$defs"].(map[string]any)
	target, _ := defs[name].(map[string]any)
	return target
}

func (fl *filler) setKind(prop map[string]any, pattern string, record bool) {
	lower := strings.ToLower(fl.name)
	typ, _ := prop["type"].(string)
	format, _ := prop["format"].(string)
	if pattern != "" {
		if re, err := regexp.Compile(`^(?:` + pattern + `)$`); err == nil {
			fl.re = re
		}
	}
	if values, ok := prop["enum"].([]any); ok {
		fl.kind = enumArg
		for _, v := range values {
			if s, ok := v.(string); ok {
				fl.enum = append(fl.enum, enumValue{s, stemsOf(strings.NewReplacer("_", " ", "-", " ").Replace(s))})
			}
		}
		return
	}
	switch typ {
	case "integer", "number":
		fl.kind, fl.integer = numberArg, typ == "integer"
		return
	case "string", "":
	default:
		return
	}
	switch {
	case format == "date-time" || format == "date":
		fl.kind = dateArg
	case format == "email" || lower == "email":
		fl.kind = emailArg
	case record:
		fl.kind = idArg
	case dateName.MatchString(lower) || strings.HasPrefix(lower, "new_") && dateName.MatchString(lower[4:]):
		fl.kind = dateArg
	case strings.Contains(lower, "postcode"), strings.Contains(lower, "postal_code"), lower == "zip", strings.HasSuffix(lower, "_zip"), lower == "zip_code":
		fl.kind = postcodeArg
	case lower == "city" || lower == "town" || strings.HasSuffix(lower, "_city"):
		fl.kind = cityArg
	case lower == "country":
		fl.kind = countryArg
	case lower == "line1" || lower == "line_1" || lower == "street" || strings.Contains(lower, "address") && !strings.HasSuffix(lower, "2"):
		fl.kind = addressArg
	case idName.MatchString(lower) || fl.re != nil:
		fl.kind = idArg
	case lower == "reason" || lower == "note" || lower == "comment":
		fl.kind = reasonArg
	}
	if fl.kind == dateArg {
		for _, s := range sampleTimes {
			if fl.valid(s.sample) {
				fl.layouts = append(fl.layouts, s.layout)
			}
		}
		if format == "" && fl.re == nil && (strings.Contains(lower, "date") || strings.Contains(lower, "day") || strings.Contains(lower, "until")) {
			fl.layouts = []string{"2006-01-02"}
		}
		if len(fl.layouts) == 0 {
			fl.kind = otherArg
		}
	}
}

func (fl *filler) valid(v any) bool { return fl.schema.Validate(map[string]any{fl.name: v}) == nil }

func stemsOf(s string) []string {
	var out []string
	for _, t := range tokenize(s) {
		out = append(out, stem(t.low))
	}
	return out
}

// fill finds what the tokens [lo, hi) give for the action's arguments.
func (f *profile) fill(r *reading, lo, hi int) filled {
	fl := filled{args: map[string]any{}, when: map[string]When{}}
	if len(f.fillers) == 0 || lo >= hi {
		return fl
	}
	fl.dates(f, r, lo, hi)
	fl.address(f, r, lo, hi)
	for _, a := range f.fillers {
		switch a.kind {
		case numberArg:
			fl.number(a, f, r.ts[lo:hi])
		case idArg:
			fl.ids(a, f, r, lo, hi)
		case enumArg:
			fl.oneOf(a, r.ts[lo:hi])
		case emailArg:
			for _, e := range r.emails {
				if e.start >= r.ts[lo].start && a.valid(r.text[e.start:e.end]) {
					fl.args[a.name] = r.text[e.start:e.end]
					break
				}
			}
		case reasonArg:
			fl.reason(a, r, lo, hi)
		}
	}
	return fl
}

// step makes the Step of an action from the arguments found.
func (f *profile) step(r *reading, args map[string]any, fl filled, said span) Step {
	s := Step{When: maps.Clone(fl.when)}
	s.Intent = engine.Intent{Action: f.action.Name, Args: args, Asserted: r.asserted}
	for _, name := range required(f.action) {
		if _, ok := args[name]; !ok {
			s.Missing = append(s.Missing, name)
		}
	}
	s.About = about(r.ts[said.start:said.end], fl)
	return s
}

// about is what was said without what the arguments used up.
func about(ts []token, fl filled) string {
	var words []string
	for i := range ts {
		if t := &ts[i]; !fl.uses(t) && (i == 0 || t.start != ts[i-1].start) {
			words = append(words, t.raw)
		}
	}
	return strings.Join(words, " ")
}

// dates gives the dates of the part to the arguments that take them, in the
// order said. A date that says from when, or that stands before the noun ("my
// Tuesday appointment"), describes the record and not its new time.
func (fl *filled) dates(f *profile, r *reading, lo, hi int) {
	var want []*filler
	for _, a := range f.fillers {
		if a.kind == dateArg {
			want = append(want, a)
		}
	}
	if len(want) == 0 {
		return
	}
	var said []date
	for _, d := range r.dates {
		if d.from < lo || d.to > hi || d.past && !f.reads {
			continue
		}
		if len(want) == 1 && (d.prep == "from" || d.to < len(r.ts) && !r.ts[d.to].brk && f.head[r.ts[d.to].concept] > 0) {
			continue
		}
		said = append(said, d)
	}
	if len(want) == 1 && len(said) > 1 {
		// "to" points at the new time wherever it stands.
		if i := slices.IndexFunc(said, func(d date) bool { return d.prep == "to" || d.prep == "until" || d.prep == "till" }); i > 0 {
			said[0] = said[i]
		} else if a, b := said[0], said[1]; a.HasDay != b.HasDay && a.HasTime != b.HasTime {
			said[0] = joinParts(a, b)
			fl.used = append(fl.used, spanOf(r.ts, b.from, b.to))
		}
	}
	for i, a := range want {
		if i == len(said) {
			break
		}
		d := said[i]
		fl.specific, fl.measured = true, true
		fl.used = append(fl.used, spanOf(r.ts, d.from, d.to))
		fl.when[a.name] = d.When
		if v, ok := a.writeDate(d.When); ok {
			fl.args[a.name] = v
		}
	}
}

// joinParts makes one date of a day and a time said apart: "Tuesday, if you
// have it at 3pm".
func joinParts(a, b date) date {
	if !a.HasDay {
		a, b = b, a
	}
	y, m, d := a.Time.Date()
	a.Time = time.Date(y, m, d, b.Time.Hour(), b.Time.Minute(), 0, 0, a.Time.Location())
	a.HasTime = true
	a.Text += " " + b.Text
	return a
}

func spanOf(ts []token, from, to int) span { return span{ts[from].start, ts[to-1].end} }

// writeDate writes the date as the schema wants it, when enough of it was said.
func (fl *filler) writeDate(w When) (string, bool) {
	if !w.HasDay {
		return "", false
	}
	for _, layout := range fl.layouts {
		timed := layout != "2006-01-02"
		if timed && !w.HasTime {
			continue
		}
		t := w.Time
		if strings.HasSuffix(layout, "05Z") {
			t = t.UTC()
		}
		if v := t.Format(layout); fl.valid(v) {
			return v, !timed || w.HasTime
		}
	}
	return "", false
}

// number finds a count: next to the argument's own noun ("2 months"), or the
// only number there is when the argument is the only one to take a number.
func (fl *filled) number(a *filler, f *profile, ts []token) {
	only := true
	for _, o := range f.fillers {
		if o != a && (o.kind == numberArg || o.kind == idArg) {
			only = false
		}
	}
	try := func(n int, from, to int) bool {
		v := json.Number(strconv.Itoa(n))
		if !a.valid(v) {
			return false
		}
		fl.args[a.name] = v
		fl.measured = true
		fl.used = append(fl.used, spanOf(ts, from, to))
		return true
	}
	for i := range ts {
		if ts[i].taken && !hasDigit(ts[i].low) {
			continue
		}
		p := dateParser{ts: ts, i: i}
		n, used := p.count(0)
		if used == 0 {
			continue
		}
		unit, named := "", false
		if i+used < len(ts) {
			unit = singular(ts[i+used].low)
			named = a.words[ts[i+used].concept]
		}
		if unit == "" && used == 1 && i > 0 && a.units[singular(ts[i-1].low)] { // "months: 2"
			unit = singular(ts[i-1].low)
			used = 0
		}
		switch {
		case a.units[unit], named:
		case unit == "year" && a.units["month"]:
			n *= 12
		case unit == "week" && a.units["day"]:
			n *= 7
		case unit == "fortnight" && a.units["week"]:
			n *= 2
		case only && allDigits(ts[i].low) && !ts[i].taken && !timeUnit(unit):
			if try(n, i, i+1) {
				return
			}
			continue
		default:
			continue
		}
		if try(n, i, min(i+used+1, len(ts))) {
			return
		}
	}
}

func timeUnit(w string) bool {
	switch w {
	case "day", "week", "month", "year", "hour", "minute", "fortnight", "pm", "am":
		return true
	}
	return false
}

// oneOf finds the enum value whose words are all said; the longest wins.
func (fl *filled) oneOf(a *filler, ts []token) {
	at := make(map[string]int, len(ts))
	for i := range ts {
		at[stem(ts[i].low)] = i
	}
	var best enumValue
	for _, v := range a.enum {
		all := true
		for _, s := range v.stems {
			_, ok := at[s]
			all = all && ok
		}
		if all && len(v.stems) > len(best.stems) && a.valid(v.value) {
			best = v
		}
	}
	for _, s := range best.stems {
		fl.args[a.name] = best.value
		fl.used = append(fl.used, spanOf(ts, at[s], at[s]+1))
		fl.specific = true
	}
}

func (fl *filled) reason(a *filler, r *reading, lo, hi int) {
	for i := lo; i < hi; i++ {
		if r.ts[i].low != "because" || i+1 >= hi {
			continue
		}
		text := strings.TrimSpace(r.text[r.ts[i+1].start:r.ts[hi-1].end])
		if a.valid(text) {
			fl.args[a.name] = text
			fl.used = append(fl.used, spanOf(r.ts, i, hi))
		}
		return
	}
}
