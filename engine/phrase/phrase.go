// Package phrase puts records, times and outcomes into words for visitors.
//
// Its output is plain text. What it is given is data of the customer's own,
// already released.
package phrase

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"
	"unicode/utf8"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// When says a time in full with its zone: "Tuesday 1 December 2026 at 10:00 GMT".
func When(t time.Time, loc *time.Location) string {
	return t.In(loc).Format(engine.TimeInWords)
}

// Day says a date: "Tuesday 1 December 2026".
func Day(t time.Time) string { return t.Format("Monday 2 January 2006") }

// Time reads a date or a time as connectors write them. dateOnly says that it
// was a date without a time of day.
func Time(v any) (t time.Time, dateOnly, ok bool) {
	s, isString := v.(string)
	if !isString || len(s) < len(time.DateOnly) {
		return time.Time{}, false, false
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, false, true
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, true, true
	}
	return time.Time{}, false, false
}

// Value says one field's value.
func Value(v any, loc *time.Location) string {
	if t, dateOnly, ok := Time(v); ok {
		if dateOnly {
			return Day(t)
		}
		return When(t, loc)
	}
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return oneLine(v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = Value(e, loc)
		}
		return strings.Join(parts, "; ")
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, Value(v[k], loc))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(v)
}

// Label says a field's or argument's name: "placed_at" is "placed at".
func Label(name string) string { return strings.ReplaceAll(name, "_", " ") }

// Line says a record in one line, its fields in the manifest's order.
func Line(r gate.Record, fields []string, loc *time.Location) string {
	var parts []string
	for _, f := range fields {
		v, ok := r.Fields[f]
		if !ok || v == nil {
			continue
		}
		switch f {
		case "id", "title", "name", "number":
			parts = append(parts, Value(v, loc))
		default:
			parts = append(parts, Label(f)+": "+Value(v, loc))
		}
	}
	return strings.Join(parts, ", ")
}

// Brief says a record in one line without naming its fields, but for numbers
// and flags, which say nothing by themselves.
func Brief(r gate.Record, fields []string, loc *time.Location) string {
	var parts []string
	for _, f := range fields {
		v, ok := r.Fields[f]
		if !ok || v == nil {
			continue
		}
		text := Value(v, loc)
		if _, err := strconv.ParseFloat(text, 64); f != "id" && (err == nil || text == "yes" || text == "no") {
			text = Label(f) + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// Said is what a finished or intended call is put into words from.
type Said struct {
	Site    *engine.Site
	Action  *engine.Action
	Args    map[string]any
	Before  *gate.Record // the record the arguments named, before the call
	Records []gate.Record
	Partial bool // there are more
}

// Result says what a call came to: in the words of the manifest's reply when it
// has one, else in words made from its title and fields. It never passes over
// that there is more.
func Result(s Said) string {
	if s.Partial && s.Action.List {
		return words(s) + "\nThere may be more than I could look through."
	}
	return words(s)
}

func words(s Said) string {
	if s.Action.Reply != "" {
		if text, ok := render(s); ok {
			return text
		}
	}
	loc := s.Site.Location
	if s.Action.Risk == engine.Read {
		switch {
		case len(s.Records) == 0:
			return "I found nothing in your account for that."
		case len(s.Records) == 1 && !s.Action.List:
			return capitalise(Line(s.Records[0], s.Action.Fields, loc)) + "."
		}
		var b strings.Builder
		fmt.Fprintf(&b, "I found %d:", len(s.Records))
		for _, r := range s.Records {
			b.WriteString("\n• " + Line(r, s.Action.Fields, loc))
		}
		return b.String()
	}
	text := "Done: " + lower(yours(s.Action.Title)) + "."
	if moved := changes(s); moved != "" {
		text += " " + moved
	} else if len(s.Records) == 1 {
		text += " " + capitalise(Line(s.Records[0], s.Action.Fields, loc)) + "."
	}
	return text
}

// changes says every time that the call moved, from when to when.
func changes(s Said) string {
	if s.Before == nil || len(s.Records) != 1 {
		return ""
	}
	var parts []string
	for _, f := range s.Action.Fields {
		was, is := s.Before.Fields[f], s.Records[0].Fields[f]
		a, _, ok := Time(was)
		b, _, ok2 := Time(is)
		if ok && ok2 && !a.Equal(b) {
			parts = append(parts, fmt.Sprintf("%s: from %s to %s.",
				capitalise(Label(f)), Value(was, s.Site.Location), Value(is, s.Site.Location)))
		}
	}
	return strings.Join(parts, " ")
}

// Summary says what a confirmation would set in motion.
func Summary(s Said) string {
	text := yours(s.Action.Title)
	if s.Before != nil {
		// The record's own fields, as the proving action showed them, in a
		// stable order.
		fields := s.Action.Fields
		if len(fields) == 0 {
			fields = slices.Sorted(maps.Keys(s.Before.Fields))
		}
		if line := Brief(*s.Before, fields, s.Site.Location); line != "" {
			text += ": " + line
		}
	}
	named := map[string]bool{}
	for _, r := range s.Action.Resources {
		named[r.Argument] = true
	}
	var args []string
	for _, name := range slices.Sorted(maps.Keys(s.Args)) {
		if !named[name] || s.Before == nil {
			args = append(args, Label(name)+" "+Value(s.Args[name], s.Site.Location))
		}
	}
	if len(args) > 0 {
		text += " (" + strings.Join(args, ", ") + ")"
	}
	return text
}

// Funcs are the functions a manifest's reply may call.
func Funcs(loc *time.Location) template.FuncMap {
	return template.FuncMap{
		"when": func(v any) string { return Value(v, loc) },
		"date": func(v any) string {
			t, dateOnly, ok := Time(v)
			if !ok {
				return Value(v, loc)
			}
			if !dateOnly {
				t = t.In(loc)
			}
			return Day(t)
		},
		"money": money,
	}
}

// money says an amount with two decimals: {{money .record.total "£"}}.
func money(amount any, symbol ...string) string {
	f, err := strconv.ParseFloat(fmt.Sprint(amount), 64)
	if err != nil {
		return fmt.Sprint(amount)
	}
	return strings.Join(symbol, "") + strconv.FormatFloat(f, 'f', 2, 64)
}

// maxReply bounds what a template may make, in bytes.
const maxReply = 8 << 10

func render(s Said) (string, bool) {
	tmpl, err := template.New(s.Action.Name).Funcs(Funcs(s.Site.Location)).Option("missingkey=zero").Parse(s.Action.Reply)
	if err != nil {
		return "", false
	}
	records := make([]map[string]any, len(s.Records))
	for i, r := range s.Records {
		records[i] = r.Fields
	}
	data := map[string]any{"site": s.Site.Name, "args": s.Args, "records": records}
	if len(records) > 0 {
		data["record"] = records[0]
	}
	if s.Before != nil {
		data["before"] = s.Before.Fields
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, data); err != nil || b.Len() > maxReply {
		return "", false
	}
	return strings.TrimSpace(b.String()), true
}

// yours turns a title, which is in the visitor's words, into the assistant's:
// "Cancel one of my orders" becomes "Cancel one of your orders".
func yours(title string) string {
	words := strings.Fields(title)
	for i, w := range words {
		switch w {
		case "my":
			words[i] = "your"
		case "me":
			words[i] = "you"
		}
	}
	return strings.Join(words, " ")
}

// oneLine keeps a value from breaking out of its place in a sentence.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}

func capitalise(s string) string { return mapFirst(s, unicode.ToUpper) }

func lower(s string) string { return mapFirst(s, unicode.ToLower) }

func mapFirst(s string, f func(rune) rune) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(f(first)) + s[size:]
}
