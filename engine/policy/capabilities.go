package policy

import (
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// allowed are the built-ins policies may use, by name or, with a trailing dot,
// by family: those whose result depends on their arguments alone and that touch
// nothing outside. What a later OPA adds stays refused until it is listed here.
var allowed = []string{
	"abs", "all", "and", "any", "array.", "assign", "base64.", "base64url.", "bits.", "cast_array", "cast_boolean",
	"cast_null", "cast_object", "cast_set", "cast_string", "ceil", "concat", "contains", "count",
	"crypto.hmac.", "crypto.md5", "crypto.sha1", "crypto.sha256", "div", "endswith", "eq", "equal", "floor",
	"format_int", "glob.", "graph.", "gt", "gte", "hex.", "indexof", "indexof_n",
	"internal.member_2", "internal.member_3", "internal.print", "internal.template_string", "internal.test_case",
	"intersection", "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string",
	"json.filter", "json.is_valid", "json.marshal", "json.marshal_with_options", "json.patch", "json.remove", "json.unmarshal",
	"lower", "lt", "lte", "max", "min", "minus", "mul", "neq", "numbers.", "object.", "or", "plus", "print", "product",
	"re_match", "regex.", "rego.metadata.", "rem", "replace", "round", "semver.", "set_diff", "sort", "split", "sprintf",
	"startswith", "strings.", "substring", "sum",
	"time.add_date", "time.clock", "time.date", "time.diff", "time.format", "time.parse_duration_ns", "time.parse_ns",
	"time.parse_rfc3339_ns", "time.weekday",
	"to_number", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "type_name", "union",
	"units.", "upper", "uri.", "urlquery.", "uuid.parse", "walk", "yaml.",
}

// capabilities returns what policies are compiled with: the allowed built-ins
// and no host to fetch a schema from.
var capabilities = sync.OnceValue(func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || !slices.ContainsFunc(allowed, func(name string) bool {
			return b.Name == name || strings.HasSuffix(name, ".") && strings.HasPrefix(b.Name, name)
		})
	})
	c.AllowNet = []string{}
	return c
})

// builtinNames holds every built-in this OPA knows, refused ones included.
var builtinNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		names[b.Name] = true
	}
	return names
})
