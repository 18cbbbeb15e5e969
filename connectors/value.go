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

// valueRange is how many numbers an argument may choose from and still be a
// value, such as a number of months: that many records have no numbers.
const valueRange = 1000

// valueWords are the last words of names that say of themselves that they stand
// for a value: what is written down, measured, or chosen.
var valueWords = []string{
	"address", "street", "line", "city", "town", "county", "postcode", "zip", "zipcode", "country", "phone", "telephone", "mobile", "fax",
	"note", "reason", "message", "comment", "text", "description", "instruction", "feedback", "review", "greeting", "wish", "why",
	"start", "begin", "end", "until", "date", "day", "time", "datetime", "when", "hour", "minute", "week", "month", "year", "duration", "timezone", "birthday", "birthdate",
	"quantity", "qty", "amount", "count", "price", "size", "colour", "color", "weight", "height", "width", "rating", "star",
	"language", "locale", "currency", "salutation", "firstname", "lastname", "surname", "forename", "nickname",
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
	is := func(word string) bool { return slices.Contains(valueWords, word) }
	return is(last) || is(strings.TrimSuffix(last, "s")) || is(strings.TrimSuffix(last, "es"))
}

// value reports whether everything that a schema lets in is a value: by its
// format or its bounds, or by the name it goes by.
func (c *contents) value(name string, schema any, depth int) bool {
	m, ok := schema.(map[string]any)
	switch {
	case !ok:
		return schema == false
	case depth > maxContents:
		return false
	case fixed(m):
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
	if !allows(m, "string") && !allows(m, "integer") && !allows(m, "number") || m["type"] == nil {
		return c.valueInside(name, m, depth)
	}
	if namesValue(name) {
		return c.valueInside(name, m, depth)
	}
	format, _ := m["format"].(string)
	text := !allows(m, "string") || slices.Contains(valueFormats, format)
	number := !allows(m, "integer") && !allows(m, "number") || bounded(m)
	return text && number && c.valueInside(name, m, depth)
}

// valueInside is value of what an object or a list holds.
func (c *contents) valueInside(name string, m map[string]any, depth int) bool {
	if m["type"] == nil && m["properties"] == nil && m["items"] == nil {
		return namesValue(name)
	}
	if allows(m, "object") {
		properties, _ := m["properties"].(map[string]any)
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
		if items, given := m["items"]; given && !c.value(name, items, depth+1) {
			return false
		}
	}
	return true
}

// bounded reports a number with both bounds, close enough to each other.
func bounded(m map[string]any) bool {
	low, ok := bound(m, "minimum", "exclusiveMinimum")
	high, also := bound(m, "maximum", "exclusiveMaximum")
	return ok && also && new(big.Float).Sub(high, low).Cmp(big.NewFloat(valueRange)) <= 0
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
