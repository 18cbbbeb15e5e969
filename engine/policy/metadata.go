package policy

import (
	"maps"
	"regexp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// The rules that say no, by package: authz.deny and release.withhold.
var denials = map[string]string{"data.authz": "deny", "data.release": "withhold"}

// codePattern is what a reason code looks like.
var codePattern = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// denial is a rule that says no, with what its METADATA says of it.
type denial struct {
	rule   *ast.Rule
	title  string
	reason engine.Reason
}

// rulesOf returns the denials of the modules as they were written. A compiled
// module will not do, since compiling rewrites rules.
func rulesOf(modules map[string]*ast.Module) []denial {
	var found []denial
	for _, name := range sortedNames(modules) {
		m := modules[name]
		for _, rule := range m.Rules {
			named := denials[m.Package.Path.String()] == string(rule.Head.Name) && !rule.Default
			d := denial{rule: rule}
			for _, a := range rule.Annotations {
				if d.title == "" {
					d.title = a.Title
				}
				for key, field := range map[string]*string{
					"code": &d.reason.Code, "message": &d.reason.Message, "audit": &d.reason.Audit,
				} {
					if text, ok := a.Custom[key].(string); ok && *field == "" {
						*field = text
					}
				}
			}
			if named || d.reason.Code != "" {
				found = append(found, d)
			}
		}
	}
	return found
}

// reasons returns what the denials say, by code.
func reasons(found []denial) map[string]engine.Reason {
	byCode := make(map[string]engine.Reason, len(found))
	for _, d := range found {
		if d.reason.Code != "" {
			byCode[d.reason.Code] = d.reason
		}
	}
	return byCode
}

func sortedNames(modules map[string]*ast.Module) []string {
	return slices.Sorted(maps.Keys(modules))
}
