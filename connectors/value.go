package connectors

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
)

// In a personal write an argument names a record, which is then proven, or it
// is a value, which its schema shows or the manifest says. What is neither is
// refused: nobody but the manifest's author knows what "which" stands for.

// valueFormats are formats of texts that name no record.
var valueFormats = []string{"date", "date-time", "time", "duration"}

// valueBound is how far from nothing the bounds of a number may lie that is a
// value by them, such as a number of months. Records have numbers above it.
const valueBound = 100

// valueWords are the last words of names that say of themselves that they stand
// for a value: what is written down, measured, or chosen.
var valueWords = []string{
	"address", "street", "city", "town", "county", "postcode", "zip", "zipcode", "country", "phone", "telephone", "mobile", "fax",
	"note", "reason", "message", "comment", "text", "description", "instruction", "feedback", "review", "greeting", "wish", "why",
	"start", "begin", "end", "until", "date", "day", "time", "datetime", "when", "hour", "minute", "week", "month", "year", "duration", "timezone", "birthday", "birthdate",
	"quantity", "qty", "amount", "count", "price", "size", "colour", "color", "weight", "height", "width", "rating", "star",
	"language", "locale", "currency", "salutation", "firstname", "lastname", "surname", "forename", "nickname",
}

// writtenWords are those of the valueWords that help desks and the like have
// records of: with a pattern, they are more likely one of these.
var writtenWords = []string{"note", "reason", "message", "comment", "text", "description", "instruction", "feedback", "review", "greeting", "wish", "star"}

// reachWords are those of the valueWords by which systems also find somebody, or
// something that somebody has stored. They are values where the request's path
// or query says whose record is changed, so that a body cannot.
var reachWords = []string{"address", "phone", "telephone", "mobile", "cell", "fax"}

// reaches reports a name that ends in one of the reachWords, or in the number
// of one.
func reaches(name string) bool {
	ws := words(name)
	if n := len(ws); n > 1 && slices.Contains(recordEndings, ws[n-1]) {
		ws = ws[:n-1]
	}
	if len(ws) == 0 {
		return false
	}
	last := ws[len(ws)-1]
	return slices.Contains(reachWords, last) || slices.Contains(reachWords, strings.TrimSuffix(last, "s")) || last == "addresses"
}

// nameBefore is what "name" may follow without naming a record.
var nameBefore = []string{"first", "last", "middle", "full", "given", "family", "display", "company", "nick", "maiden"}

// namesValue reports a name that says of itself that it stands for a value.
func namesValue(name string) bool {
	ws := words(name)
	if len(ws) == 0 || namesRecord(name) || namesCustomer(name) {
		return false
	}
	last := ws[len(ws)-1]
	if len(ws) > 1 {
		before := ws[len(ws)-2]
		if last == "name" {
			return slices.Contains(nameBefore, before)
		}
		if slices.Contains(harmlessBefore, before) && (slices.Contains(recordEndings, last) || slices.Contains(recordWords, last)) {
			return true
		}
	}
	if last == "line" { // of an address; an order has lines too
		return len(ws) == 1 || ws[len(ws)-2] == "address" || ws[len(ws)-2] == "street"
	}
	is := func(word string) bool { return slices.Contains(valueWords, word) }
	return is(last) || is(strings.TrimSuffix(last, "s")) || is(strings.TrimSuffix(last, "es"))
}

// value reports whether everything that a schema lets in is a value: by its
// format or its bounds, or by the name it goes by. Of schemas that hold at once,
// one is enough.
func (c *contents) value(name string, schema any, depth int) bool {
	m, ok := schema.(map[string]any)
	switch {
	case !ok:
		return schema == false
	case depth > maxContents:
		return false
	case fixed(m), c.ownValue(name, m, depth):
		return true
	}
	if ref, ok := m["$ref"].(string); ok && c.value(name, c.find(ref), depth+1) {
		return true
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if branches, _ := m[key].([]any); len(branches) > 0 && !slices.ContainsFunc(branches, func(b any) bool { return !c.value(name, b, depth+1) }) {
			return true
		}
	}
	branches, _ := m["allOf"].([]any)
	return slices.ContainsFunc(branches, func(b any) bool { return c.value(name, b, depth+1) })
}

// ownValue is value of what the schema itself says, without those it refers to.
// A schema without a type lets in anything.
func (c *contents) ownValue(name string, m map[string]any, depth int) bool {
	if m["type"] == nil {
		return false
	}
	format, _ := m["format"].(string)
	_, pattern := m["pattern"]
	byName := namesValue(name) && !(pattern && writtenName(name)) && !(c.adrift && reaches(name))
	switch {
	case allows(m, "string") && !byName && !slices.Contains(valueFormats, format):
		return false
	case (allows(m, "integer") || allows(m, "number")) && !byName && !bounded(m):
		return false
	}
	if allows(m, "object") {
		properties, _ := m["properties"].(map[string]any)
		if m["additionalProperties"] != false || m["patternProperties"] != nil {
			return false
		}
		for member, p := range properties {
			if !c.value(member, p, depth+1) {
				return false
			}
		}
	}
	if allows(m, "array") {
		first, _ := m["prefixItems"].([]any)
		for _, p := range first {
			if !c.value(name, p, depth+1) {
				return false
			}
		}
		if items, given := m["items"]; !given || !c.value(name, items, depth+1) {
			return false
		}
	}
	return true
}

// byShape reports a schema that alone, without its name, lets in only values
// that can be part of a text: they hold nothing that would end it.
func byShape(m map[string]any) bool {
	c := contents{root: m}
	return c.value("", m, 0)
}

// writtenName reports a name that ends in one of the writtenWords.
func writtenName(name string) bool {
	ws := words(name)
	if len(ws) == 0 {
		return false
	}
	last := ws[len(ws)-1]
	return slices.Contains(writtenWords, last) || slices.Contains(writtenWords, strings.TrimSuffix(last, "s"))
}

// bounded reports a number with both bounds, close enough to nothing.
func bounded(m map[string]any) bool {
	low, ok := bound(m, "minimum", "exclusiveMinimum")
	high, also := bound(m, "maximum", "exclusiveMaximum")
	return ok && also && low.Cmp(big.NewFloat(-valueBound)) >= 0 && high.Cmp(big.NewFloat(valueBound)) <= 0
}

func bound(m map[string]any, keys ...string) (*big.Float, bool) {
	for _, key := range keys {
		if n, ok := m[key].(json.Number); ok {
			f, _, err := big.ParseFloat(n.String(), 10, 64, big.ToNearestEven)
			return f, err == nil
		}
	}
	return nil, false
}
