package connectors

import (
	"errors"
	"testing"
)

func TestTemplateExpansion(t *testing.T) {
	given := args(t, `{"a": "x", "b": "1 2", "n": 7, "t": true, "e": "", "l": ["p", "q&r"], "none": [], "o": {}, "u": "é", "up": ".."}`)
	pinned := map[string]any{"email": "a+b@c.example", "name": ""}
	tests := []struct {
		source string
		inPath bool
		want   string
		err    error
	}{
		{"/{a}/{n}/{t}", true, "/x/7/true", nil},
		{"{/a,b}", true, "/x/1%202", nil},
		{"/x{;a,e}", true, "/x;a=x;e", nil},
		{"/x{.a}", true, "/x.x", nil},
		{"/x{?a,missing,e}{&b}", true, "/x?a=x&e=&b=1%202", nil},
		{"/x{?l*}", true, "/x?l=p&l=q%26r", nil},
		{"/x{?l}", true, "/x?l=p,q%26r", nil},
		{"/x{?up}", true, "/x?up=..", nil},
		{"{l}", false, "p,q%26r", nil},
		{"{none}", false, "", nil},
		{"{u}", false, "%C3%A9", nil},
		{"{pinned.email}", false, "a%2Bb%40c.example", nil},
		{"/x/{l}", true, "", errArgument},
		{"/x/{o}", true, "", errArgument},
		{"{o}", false, "", errArgument},
		{"/x/{up}", true, "", errArgument},
		{"{pinned.name}", false, "", errPinned},
		{"{pinned.subject}", false, "", errPinned},
	}
	for _, tt := range tests {
		tmpl, err := parseTemplate(tt.source)
		if err != nil {
			t.Errorf("parseTemplate(%q): %v", tt.source, err)
			continue
		}
		tmpl.inPath = tt.inPath
		got, _, err := tmpl.expand(values{args: given, pinned: pinned})
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("expand(%q) = %q, %v; want %q, %v", tt.source, got, err, tt.want, tt.err)
		}
	}
}
