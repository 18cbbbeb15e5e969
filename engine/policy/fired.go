package policy

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"
)

// noteFired is the built-in with which a compiled rule says that it came to
// something. No policy can call it, since its name is no name in Rego. OPA has a
// tracker of evaluated rules, which doubles the time of a decision; this adds
// what one call of a built-in costs for each rule that fires.
var noteFired = &ast.Builtin{
	Name: "fired:",
	Decl: types.NewFunction(types.Args(types.N), types.B),
}

// notedBuiltins is how topdown finds it.
var notedBuiltins = map[string]*topdown.Builtin{
	noteFired.Name: {Decl: noteFired, Func: func(b topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		if w, ok := b.Cancel.(*watch); ok {
			if n, ok := operands[0].Value.(ast.Number).Int(); ok {
				w.note(n)
			}
		}
		return iter(ast.InternedTerm(true))
	}},
}

// notingCapabilities are those of policies, with what their rules note by.
var notingCapabilities = sync.OnceValue(func() *ast.Capabilities {
	c := *capabilities()
	c.Builtins = append(slices.Clone(c.Builtins), noteFired)
	return &c
})

// notedRule is a rule that brings answers about.
type notedRule struct {
	rule  *ast.Rule // compiled
	place string    // file:line
}

// noteRules makes the rules that bring an answer about say so, each by its
// number. The modules are the compiler's own and not compiled yet.
func noteRules(modules map[string]*ast.Module) {
	for n, r := range notedRules(modules) {
		e := ast.NewExpr([]*ast.Term{ast.NewTerm(noteFired.Ref()), ast.IntNumberTerm(n)})
		e.SetLocation(r.rule.Location)
		r.rule.Body.Append(e)
	}
}

// notedRules returns the rules that bring an answer about, in the order of
// files and lines. A rule's place in it is its number, and the same before and
// after compiling.
func notedRules(modules map[string]*ast.Module) []notedRule {
	var found []notedRule
	for _, m := range modules {
		for _, rule := range m.Rules {
			for ; rule != nil; rule = rule.Else {
				if bringsAbout(rule) && rule.Location != nil {
					found = append(found, notedRule{rule, fmt.Sprintf("%s:%d", rule.Location.File, rule.Location.Row)})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b notedRule) int {
		x, y := a.rule.Location, b.rule.Location
		return cmp.Or(cmp.Compare(x.File, y.File), x.Row-y.Row, x.Col-y.Col)
	})
	return found
}
