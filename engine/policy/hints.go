package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// hints are what a policy's own text tells of the inputs it looks out for.
type hints struct {
	patches []patch       // for each rule, what would make its conditions true
	strings []string      // every literal, and every key and value of its data
	numbers []json.Number // likewise
	slots   []string      // members of input that rules look at, as paths
	dropped int           // patches that there was no room for
}

// patch is some members of an input, set together.
type patch []assignment

type assignment struct {
	path  []string // the last step may be inArray
	value any
}

// inArray as the last step of a path stands for an array of this one value.
const inArray = "[]"

// Bounds on what is made of one policy.
const (
	maxPatches     = 600
	maxRulePatches = 24
	maxResting     = 4 // how far rules that rest on others are followed
	maxSteps       = 50000
)

// hintsOf reads the policy: its conditions from the compiled rules, in which
// names are resolved, its literals from the rules as they were written, in
// which METADATA stands in comments only.
func hintsOf(s *Set) *hints {
	h := &hints{}
	r := &reader{set: s, slots: map[string]bool{}}
	for _, name := range sortedNames(s.compiler.Modules) {
		for _, rule := range s.compiler.Modules[name].Rules {
			for at := rule; at != nil; at = at.Else {
				h.patches = append(h.patches, r.patches(at, nil)...)
			}
		}
	}
	h.patches = distinct(h.patches)
	if h.dropped = len(h.patches) - maxPatches; h.dropped > 0 {
		h.patches = h.patches[:maxPatches]
	}
	literals := map[string]bool{}
	numbers := map[json.Number]bool{}
	for _, name := range sortedNames(s.modules) {
		for _, rule := range s.modules[name].Rules {
			collect(rule, literals, numbers)
		}
	}
	ast.WalkTerms(ast.NewTerm(s.data.root), func(t *ast.Term) bool {
		note(t.Value, literals, numbers)
		return false
	})
	for _, p := range r.matched {
		for _, like := range matching(p) {
			literals[like] = true
		}
	}
	h.strings, h.slots = sortedSet(literals), sortedSet(r.slots)
	h.numbers = sortedSet(numbers)
	return h
}

func sortedSet[K ~string](m map[K]bool) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// collect notes every literal of a rule. The steps of a reference are names,
// unless what it leads into is a literal itself.
func collect(x any, literals map[string]bool, numbers map[json.Number]bool) {
	ast.WalkTerms(x, func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Ref:
			if _, named := v[0].Value.(ast.Var); named {
				for _, step := range v[1:] {
					if _, name := step.Value.(ast.String); !name {
						collect(step, literals, numbers)
					}
				}
				return true
			}
		case ast.Call:
			for _, operand := range v[1:] {
				collect(operand, literals, numbers)
			}
			return true
		default:
			note(v, literals, numbers)
		}
		return false
	})
}

func note(v ast.Value, literals map[string]bool, numbers map[json.Number]bool) {
	switch v := v.(type) {
	case ast.String:
		literals[string(v)] = true
	case ast.Number:
		numbers[json.Number(v)] = true
	}
}

// distinct drops patches that say the same.
func distinct(all []patch) []patch {
	seen := map[string]bool{}
	var out []patch
	for _, p := range all {
		var key strings.Builder
		for _, a := range p {
			fmt.Fprintf(&key, "%q=%s;", a.path, appendValue(nil, a.value))
		}
		if !seen[key.String()] {
			seen[key.String()] = true
			out = append(out, p)
		}
	}
	return out
}
