package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"vouchsafe/engine"
)

// The members of an obligation.
var (
	memberKind   = fixed("kind")
	memberN      = fixed("n")
	memberWindow = fixed("window")
	memberMaxAge = fixed("max_age")
	memberACR    = fixed("acr")
)

// obligationMembers are the members that an obligation of each kind may have
// beside its kind. The kinds that are not here are the ones the engine cannot
// enforce, and it is denied for that.
var obligationMembers = map[string][]*ast.Term{
	engine.ObligationConfirm: nil,
	engine.ObligationLimit:   {memberN, memberWindow},
	engine.ObligationStepUp:  {memberMaxAge, memberACR},
}

// obligationOf takes a value for exactly what the contract says an obligation
// is. Of a kind that nobody knows only the kind is read.
func obligationOf(v ast.Value) (engine.Obligation, error) {
	o, ok := v.(ast.Object)
	if !ok {
		return engine.Obligation{}, fmt.Errorf("it is not an object")
	}
	t := o.Get(memberKind)
	if t == nil {
		return engine.Obligation{}, fmt.Errorf("it has no kind")
	}
	kind, ok := t.Value.(ast.String)
	if !ok || kind == "" {
		return engine.Obligation{}, fmt.Errorf("its kind is not a string, or an empty one")
	}
	out := engine.Obligation{Kind: string(kind)}
	if out.Kind == engine.ObligationOwnership {
		return out, fmt.Errorf("ownership is the gate's own")
	}
	members, known := obligationMembers[out.Kind]
	if !known {
		return out, nil
	}
	err := o.Iter(func(key, value *ast.Term) error {
		switch {
		case key.Equal(memberKind):
			return nil
		case !slices.ContainsFunc(members, key.Equal):
			return fmt.Errorf("%s has no member %s", out.Kind, key)
		}
		return setMember(&out, key, value.Value)
	})
	if err != nil {
		return out, err
	}
	return out, out.Valid()
}

// setMember reads one member. That it is missing, or out of bounds, shows when
// the whole is judged.
func setMember(out *engine.Obligation, key *ast.Term, v ast.Value) error {
	period := func(into *time.Duration) error {
		s, ok := v.(ast.String)
		if !ok {
			return fmt.Errorf("%s is not a string such as \"5m\"", key)
		}
		d, err := engine.ParsePeriod(string(s))
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		*into = d
		return nil
	}
	switch {
	case key.Equal(memberN):
		n, ok := v.(ast.Number)
		if !ok {
			return fmt.Errorf("n is not a number")
		}
		if out.N, ok = n.Int(); !ok {
			return fmt.Errorf("n is not a whole number")
		}
	case key.Equal(memberWindow):
		return period(&out.Window)
	case key.Equal(memberMaxAge):
		return period(&out.MaxAge)
	case key.Equal(memberACR):
		out.ACR = []string{}
		err := each(v, "acr", func(v ast.Value) error {
			s, ok := v.(ast.String)
			if !ok {
				return fmt.Errorf("a value of acr is not a string")
			}
			out.ACR = append(out.ACR, string(s))
			return nil
		})
		if err == nil && len(out.ACR) == 0 {
			err = fmt.Errorf("acr has no value")
		}
		return err
	}
	return nil
}

// checkObligations finds obligations that are written out in a rule and that
// the engine would deny for. What a rule works out shows only when it is asked.
func checkObligations(modules map[string]*ast.Module) Problems {
	var problems Problems
	for _, name := range sortedNames(modules) {
		for _, rule := range modules[name].Rules {
			if !obliges(rule) || rule.Head.Key == nil {
				continue
			}
			o, ok := rule.Head.Key.Value.(ast.Object)
			if !ok {
				continue
			}
			if why, hint := faultOf(o); why != "" {
				problems = append(problems, at(rule.Head.Key.Location, ProblemObligation, why, hint))
			}
		}
	}
	return problems
}

// obliges reports a rule that adds to the obligations.
func obliges(rule *ast.Rule) bool {
	return rule.Module.Package.Path.String() == "data.authz" && rule.Head.Name == "oblige" && !rule.Default
}

// faultOf says what is wrong with an obligation as it is written, "" for nothing.
func faultOf(o ast.Object) (why, hint string) {
	kinds := slices.Sorted(maps.Keys(obligationMembers))
	t := o.Get(memberKind)
	if t == nil {
		return "the obligation has no kind", "kinds are " + strings.Join(kinds, ", ")
	}
	kind, ok := t.Value.(ast.String)
	if !ok {
		return "", "" // worked out
	}
	members, known := obligationMembers[string(kind)]
	if !known {
		hint = "kinds are " + strings.Join(kinds, ", ")
		if best := nearest(string(kind), kinds); best != "" {
			hint = fmt.Sprintf("did you mean %s?", best)
		}
		return fmt.Sprintf("the engine cannot enforce an obligation of the kind %q, so it would deny", string(kind)), hint
	}
	var err error
	if _, whole := plainValue(o); whole {
		_, err = obligationOf(o)
	} else {
		err = o.Iter(func(key, value *ast.Term) error {
			if !key.Equal(memberKind) && !slices.ContainsFunc(members, key.Equal) {
				return fmt.Errorf("%s has no member %s", string(kind), key)
			}
			if _, written := plainValue(value.Value); !written {
				return nil // worked out
			}
			var one engine.Obligation
			return setMember(&one, key, value.Value)
		})
	}
	if err != nil {
		return "the engine would deny: " + err.Error(), ""
	}
	return "", ""
}
