package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reader works out what would make rules true.
type reader struct {
	set     *Set
	busy    []*ast.Rule
	steps   int
	slots   map[string]bool
	matched []string
}

// condition is a member of input with the values a rule looks for in it.
type condition struct {
	path   []string
	values []any
}

// need is another rule that a body asks, with what it passes to a function.
type need struct {
	ref  ast.Ref
	args []*ast.Term
}

// patches returns what would make the rule's body true, with what the rules it
// rests on look for.
func (r *reader) patches(rule *ast.Rule, args []*ast.Term) []patch {
	if r.steps++; r.steps > maxSteps || len(r.busy) > maxResting || slices.Contains(r.busy, rule) {
		return nil
	}
	r.busy = append(r.busy, rule)
	defer func() { r.busy = r.busy[:len(r.busy)-1] }()
	aliases := map[ast.Var]*ast.Term{}
	var wanted []condition // of what a function is called with
	for i, arg := range rule.Head.Args[:min(len(args), len(rule.Head.Args))] {
		if v, ok := arg.Value.(ast.Var); ok {
			aliases[v] = args[i]
		} else if path, ok := r.pathOf(args[i], nil); ok {
			if v, known := r.known(arg, nil); known {
				wanted = append(wanted, condition{path, []any{v}})
			}
		}
	}
	conditions, needs := r.conditions(rule.Body, aliases)
	variants := spread(append(wanted, conditions...))
	for _, n := range needs {
		var theirs []patch
		for _, other := range r.set.compiler.GetRulesExact(n.ref) {
			for at := other; at != nil; at = at.Else {
				theirs = append(theirs, r.patches(at, n.args)...)
			}
		}
		if len(theirs) == 0 {
			continue
		}
		var joined []patch
		for _, mine := range variants {
			for _, more := range theirs {
				joined = append(joined, append(slices.Clone(mine), more...))
			}
		}
		variants = joined[:min(len(joined), maxRulePatches)]
	}
	return slices.DeleteFunc(variants, func(p patch) bool { return len(p) == 0 })
}

// spread turns conditions into patches such that each value stands in one.
func spread(conditions []condition) []patch {
	most := 1
	for _, c := range conditions {
		most = max(most, len(c.values))
	}
	most = min(most, maxRulePatches)
	out := make([]patch, most)
	for i := range out {
		for _, c := range conditions {
			out[i] = append(out[i], assignment{c.path, c.values[i%len(c.values)]})
		}
	}
	return out
}

// conditions reads a body: members of input compared with what is known, and
// the other rules it needs.
func (r *reader) conditions(body ast.Body, aliases map[ast.Var]*ast.Term) (found []condition, needs []need) {
	for _, expr := range body {
		if expr.IsCall() && !expr.Negated && len(expr.Operands()) == 2 && isEquality(expr) {
			a, b := expr.Operand(0), expr.Operand(1)
			if v, ok := a.Value.(ast.Var); ok && aliases[v] == nil {
				aliases[v] = b
			} else if v, ok := b.Value.(ast.Var); ok && aliases[v] == nil {
				aliases[v] = a
			}
		}
	}
	add := func(path []string, values []any) {
		r.slots[strings.Join(path, "\x00")] = true
		if len(values) > 0 {
			found = append(found, condition{path, values})
		}
	}
	for _, expr := range body {
		ast.WalkRefs(expr, func(ref ast.Ref) bool {
			if path, ok := r.inputPath(ref, aliases); ok {
				r.slots[strings.Join(path, "\x00")] = true
				return false
			}
			if path, keys := r.lookedUp(ref, aliases); path != nil && !expr.Negated {
				add(path, keys)
			}
			return false
		})
		if len(expr.With) > 0 {
			continue
		}
		// What stands under `not` counts too: it is what escapes a denial.
		if expr.IsCall() {
			if path, values := r.compared(expr, aliases); path != nil {
				add(path, values)
			}
		}
		if expr.Negated {
			continue
		}
		needs = append(needs, r.needs(expr, aliases)...)
		if t, ok := expr.Terms.(*ast.Term); ok {
			if path, ok := r.pathOf(t, aliases); ok {
				add(path, []any{true})
			}
		}
	}
	return found, needs
}

// needs are the rules that an expression asks to be true, or compares. What it
// only counts, say, may as well be empty.
func (r *reader) needs(expr *ast.Expr, aliases map[ast.Var]*ast.Term) []need {
	var asked []*ast.Term
	var out []need
	switch {
	case !expr.IsCall():
		if t, ok := expr.Terms.(*ast.Term); ok {
			asked = []*ast.Term{t}
		}
	case isEquality(expr):
		asked = expr.Operands()
	default:
		if rules := r.ruleAt(expr.Operator()); rules != nil {
			n := need{ref: rules}
			for _, operand := range expr.Operands() {
				n.args = append(n.args, resolved(operand, aliases))
			}
			out = append(out, n)
		}
	}
	for _, t := range asked {
		if ref, ok := t.Value.(ast.Ref); ok {
			if rules := r.ruleAt(ref); rules != nil {
				out = append(out, need{ref: rules})
			}
		}
	}
	return out
}

// resolved is what a variable stands for, if that is known.
func resolved(t *ast.Term, aliases map[ast.Var]*ast.Term) *ast.Term {
	for range maxResting {
		v, ok := t.Value.(ast.Var)
		if !ok || aliases[v] == nil {
			break
		}
		t = aliases[v]
	}
	return t
}

func isEquality(expr *ast.Expr) bool {
	switch expr.Operator().String() {
	case ast.Equality.Name, ast.Equal.Name, ast.Assign.Name:
		return true
	}
	return false
}

// compared reads one call that holds a member of input against something known.
func (r *reader) compared(expr *ast.Expr, aliases map[ast.Var]*ast.Term) (path []string, values []any) {
	operands := expr.Operands()
	name := expr.Operator().String()
	switch {
	case len(operands) >= 2 && (name == ast.RegexMatch.Name || name == ast.RegexMatchDeprecated.Name || name == ast.GlobMatch.Name):
		path, ok := r.pathOf(operands[len(operands)-1], aliases)
		pattern, known := r.known(operands[0], aliases)
		p, isText := pattern.(string)
		if !ok || !known || !isText {
			return nil, nil
		}
		r.matched = append(r.matched, p)
		for _, like := range matching(p) {
			values = append(values, like)
		}
		return path, values
	case len(operands) < 2:
		return nil, nil
	}
	a, b := operands[0], operands[1]
	switch name {
	case ast.Equality.Name, ast.Equal.Name, ast.Assign.Name, ast.StartsWith.Name, ast.EndsWith.Name, ast.Contains.Name:
		for _, pair := range [][2]*ast.Term{{a, b}, {b, a}} {
			if path, ok := r.pathOf(pair[0], aliases); ok {
				if v, known := r.known(pair[1], aliases); known {
					return path, []any{v}
				}
				if values := r.among(pair[1], aliases); len(values) > 0 {
					return path, values
				}
			}
		}
	case ast.Member.Name:
		if path, ok := r.pathOf(a, aliases); ok {
			if v, known := r.known(b, aliases); known {
				return path, elements(v)
			}
		}
		if path, ok := r.pathOf(b, aliases); ok {
			if v, known := r.known(a, aliases); known {
				return append(slices.Clone(path), inArray), []any{v}
			}
		}
	case ast.NotEqual.Name, ast.GreaterThan.Name, ast.GreaterThanEq.Name, ast.LessThan.Name, ast.LessThanEq.Name:
		for _, pair := range [][2]*ast.Term{{a, b}, {b, a}} {
			if path, ok := r.pathOf(pair[0], aliases); ok {
				if v, known := r.known(pair[1], aliases); known {
					return path, around(v)
				}
			}
		}
	}
	return nil, nil
}

// around is a value and, of a number, its neighbours.
func around(v any) []any {
	n, ok := v.(json.Number)
	if !ok {
		return []any{v}
	}
	i, err := n.Int64()
	if err != nil {
		return []any{n}
	}
	return []any{whole(i - 1), whole(i), whole(i + 1)}
}

func whole(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

// elements are what membership in a value asks for.
func elements(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		var out []any
		for _, key := range sortedKeys(v) {
			out = append(out, v[key])
		}
		return out
	}
	return nil
}

// pathOf reads a term as a member of input.
func (r *reader) pathOf(t *ast.Term, aliases map[ast.Var]*ast.Term) ([]string, bool) {
	for range maxResting {
		switch v := t.Value.(type) {
		case ast.Var:
			next, ok := aliases[v]
			if !ok {
				return nil, false
			}
			t = next
		case ast.Ref:
			return r.inputPath(v, aliases)
		case ast.Call: // such as lower(input.identity.email)
			if len(v) != 2 {
				return nil, false
			}
			t = v[1]
		default:
			return nil, false
		}
	}
	return nil, false
}

// inputPath reads a reference into input. A variable at its end goes through an
// array, unless it has one value.
func (r *reader) inputPath(ref ast.Ref, aliases map[ast.Var]*ast.Term) ([]string, bool) {
	if len(ref) < 2 || !ref[0].Equal(ast.InputRootDocument) {
		return nil, false
	}
	var path []string
	for i, step := range ref[1:] {
		switch v := step.Value.(type) {
		case ast.String:
			path = append(path, string(v))
			continue
		case ast.Var:
			if known, ok := r.known(step, aliases); ok {
				if name, isText := known.(string); isText {
					path = append(path, name)
					continue
				}
			}
		}
		if i == len(ref)-2 && i > 0 {
			return append(path, inArray), true
		}
		return nil, false
	}
	return path, true
}

// lookedUp reads a reference into data that a member of input leads through,
// as data.staff[input.identity.subject]: the keys that are there.
func (r *reader) lookedUp(ref ast.Ref, aliases map[ast.Var]*ast.Term) ([]string, []any) {
	for i := 1; i < len(ref); i++ {
		switch ref[i].Value.(type) {
		case ast.Var, ast.Ref:
		default:
			continue
		}
		path, ok := r.pathOf(ref[i], aliases)
		if !ok {
			return nil, nil
		}
		var under any
		if i == 1 {
			under, ok = r.known(ref[0], aliases)
		} else {
			under, ok = r.known(ast.NewTerm(ref[:i]), aliases)
		}
		if !ok {
			return path, nil
		}
		switch m := under.(type) {
		case map[string]any:
			var keys []any
			for _, key := range sortedKeys(m) {
				keys = append(keys, key)
			}
			return path, keys
		case []any: // a set, asked whether it has the member
			return path, m
		}
		return path, nil
	}
	return nil, nil
}

// among returns the values that a reference goes through, as data.staff[_] does
// through a list.
func (r *reader) among(t *ast.Term, aliases map[ast.Var]*ast.Term) []any {
	ref, ok := resolved(t, aliases).Value.(ast.Ref)
	if !ok {
		return nil
	}
	ground := ref.GroundPrefix()
	under, ok := r.known(ast.NewTerm(ground), aliases)
	if !ok || len(ground) == len(ref) {
		return nil
	}
	found := []any{under}
	for _, step := range ref[len(ground):] {
		name, named := step.Value.(ast.String)
		var next []any
		for _, v := range found {
			if !named {
				next = append(next, elements(v)...)
			} else if m, ok := v.(map[string]any); ok && m[string(name)] != nil {
				next = append(next, m[string(name)])
			}
		}
		found = next
	}
	return found
}

// ruleAt returns the name of the rules a reference asks.
func (r *reader) ruleAt(ref ast.Ref) ast.Ref {
	ground := ref.GroundPrefix()
	for n := len(ground); n > 1; n-- {
		if len(r.set.compiler.GetRulesExact(ground[:n])) > 0 {
			return ground[:n]
		}
	}
	return nil
}

// known works out a term's value where that takes no evaluation: a literal, a
// member of the policy's data, or a rule that is one constant.
func (r *reader) known(t *ast.Term, aliases map[ast.Var]*ast.Term) (any, bool) {
	for range maxResting {
		switch v := t.Value.(type) {
		case ast.Var:
			next, ok := aliases[v]
			if !ok {
				return nil, false
			}
			t = next
			continue
		case ast.Ref:
			if !v.IsGround() {
				return nil, false
			}
			if at := r.set.data.Get(v); at != nil {
				return plainValue(at)
			}
			rules := r.set.compiler.GetRulesExact(v)
			if len(rules) == 1 && rules[0].Head.Value != nil && rules[0].Head.Key == nil && len(rules[0].Head.Args) == 0 {
				t = rules[0].Head.Value
				continue
			}
			var keys []any // of a set that is written out rule by rule
			for _, rule := range rules {
				if rule.Head.Key != nil && rule.Head.Value == nil && rule.Head.Key.IsGround() {
					if key, ok := plainValue(rule.Head.Key.Value); ok {
						keys = append(keys, key)
					}
				}
			}
			return keys, len(keys) > 0
		default:
			return plainValue(t.Value)
		}
	}
	return nil, false
}

// plainValue is a literal as a JSON value; sets become arrays.
func plainValue(v ast.Value) (any, bool) {
	switch v := v.(type) {
	case ast.String:
		return string(v), true
	case ast.Number:
		return json.Number(v), true
	case ast.Boolean:
		return bool(v), true
	case ast.Null:
		return nil, true
	case *ast.Array:
		out := []any{}
		for i := range v.Len() {
			e, ok := plainValue(v.Elem(i).Value)
			if !ok {
				return nil, false
			}
			out = append(out, e)
		}
		return out, true
	case ast.Set:
		out := []any{}
		for _, t := range v.Slice() {
			e, ok := plainValue(t.Value)
			if !ok {
				return nil, false
			}
			out = append(out, e)
		}
		return out, true
	case ast.Object:
		out := map[string]any{}
		for _, k := range v.Keys() {
			name, isText := k.Value.(ast.String)
			e, ok := plainValue(v.Get(k).Value)
			if !isText || !ok {
				return nil, false
			}
			out[string(name)] = e
		}
		return out, true
	}
	return nil, false
}
