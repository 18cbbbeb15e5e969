package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bounds of the search for what would have to be different.
const (
	maxTogether  = 5    // options in one change
	maxKept      = 12   // sets that are built upon, of each size
	maxQuestions = 6000 // put to the policy in all
	maxSets      = 30   // of one size that are told
)

// tried is a set of options and what the policy says with them.
type tried struct {
	options []int // rising
	input   map[string]any
	said    said
}

// changes finds the smallest sets of options that turn a denial into an allow;
// of an allow, the single options that deny it or lift an obligation.
func (x *explainer) changes(answer said, looked map[string]bool) []Change {
	f := facts{x.input}
	if answer.allow {
		if x.refused != "" {
			return []Change{{Needs: x.needsInGo(), Outcome: Verdict{Allow: true, Obligations: answer.obligations}}}
		}
		options := append(f.failing(), f.generic(looked, x.set)...)
		return joinedChanges(options, x.singles(options, answer))
	}
	options := append(f.passing(), f.generic(looked, x.set)...)
	found := joinedChanges(options, x.smallest(options, answer))
	if x.refused != "" {
		for i := range found {
			found[i].Needs = append(found[i].Needs, x.needsInGo()...)
		}
	}
	return found
}

// singles are the options that alone deny, or oblige to less.
func (x *explainer) singles(options []option, answer said) []tried {
	var out []tried
	done := map[string]bool{}
	for i, o := range options {
		if o.joins == "" && done[o.dimension] && o.dimension != "identity" {
			continue // the first of a dimension says it
		}
		t := x.try(tried{input: x.input}, i, o)
		if !t.said.allow || len(t.said.obligations) < len(answer.obligations) {
			out = append(out, t)
			done[o.dimension] = true
		}
	}
	return out
}

// smallest builds sets of options until some allow, and returns all of that
// size. It builds upon the sets that leave the fewest reasons.
func (x *explainer) smallest(options []option, answer said) []tried {
	level := []tried{{input: x.input, said: answer}}
	for range maxTogether {
		var next, allowed []tried
		seen := map[string]bool{}
		for _, base := range level {
			for i, o := range options {
				if x.asked >= maxQuestions || x.ctx.Err() != nil {
					break
				}
				if slices.ContainsFunc(base.options, func(j int) bool { return options[j].dimension == o.dimension }) {
					continue
				}
				t := x.try(base, i, o)
				key := fmt.Sprint(t.options)
				if seen[key] || !t.said.allow && slices.Equal(t.said.reasons, base.said.reasons) {
					continue // it changes nothing
				}
				seen[key] = true
				if t.said.allow {
					allowed = append(allowed, t)
				} else {
					next = append(next, t)
				}
			}
		}
		if len(allowed) > 0 {
			allowed = onePerDimension(options, allowed)
			return allowed[:min(len(allowed), maxSets)]
		}
		slices.SortStableFunc(next, func(a, b tried) int { return len(a.said.reasons) - len(b.said.reasons) })
		level = next[:min(len(next), maxKept)]
	}
	return nil
}

// onePerDimension keeps the first of several sets over the same dimensions,
// unless their words can be joined.
func onePerDimension(options []option, all []tried) []tried {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(t tried) bool {
		var key strings.Builder
		for _, i := range t.options {
			key.WriteString(options[i].dimension + "\x00")
			if options[i].joins != "" {
				key.WriteString(options[i].words + "\x00")
			}
		}
		if seen[key.String()] {
			return true
		}
		seen[key.String()] = true
		return false
	})
}

func (x *explainer) try(base tried, i int, o option) tried {
	t := tried{options: append(slices.Clone(base.options), i), input: base.input}
	slices.Sort(t.options)
	for _, e := range o.edits {
		t.input = edited(t.input, strings.Split(e.path, "."), e)
	}
	t.said = x.ask(t.input)
	return t
}

// edited is the input with one member set or taken away; the input itself
// stays as it is.
func edited(o map[string]any, path []string, e edit) map[string]any {
	out := maps.Clone(o)
	if out == nil {
		out = map[string]any{}
	}
	switch {
	case len(path) > 1:
		below, _ := out[path[0]].(map[string]any)
		if below == nil && e.drop {
			return o
		}
		out[path[0]] = edited(below, path[1:], e)
	case e.drop:
		delete(out, path[0])
	default:
		out[path[0]] = e.value
	}
	return out
}

// joinedChanges puts sets into words. Sets that differ only in one option whose
// words can be joined, and have the same outcome, become one.
func joinedChanges(options []option, sets []tried) []Change {
	type group struct {
		change Change
		values []string // of the option that is joined
		joined int      // its place among the needs
		joins  string
	}
	var groups []*group
	byKey := map[string]*group{}
	for _, t := range sets {
		g := &group{change: Change{Outcome: t.said.verdict()}, joined: -1}
		var key strings.Builder
		for _, i := range t.options {
			o := options[i]
			if o.joins != "" && g.joined < 0 {
				g.joined, g.joins, g.values = len(g.change.Needs), o.joins, []string{o.words}
				key.WriteString(o.dimension + "\x00")
			} else {
				key.WriteString(o.words + "\x00")
			}
			g.change.Needs = append(g.change.Needs, o.joins+o.words)
		}
		key.WriteString(g.change.Outcome.String())
		if before := byKey[key.String()]; before != nil && g.joined >= 0 {
			before.values = append(before.values, g.values...)
			continue
		}
		byKey[key.String()] = g
		groups = append(groups, g)
	}
	var out []Change
	for _, g := range groups {
		if g.joined >= 0 {
			g.change.Needs[g.joined] = g.joins + alternatives(g.values)
		}
		out = append(out, g.change)
	}
	return out
}

// alternatives joins words with commas and "or".
func alternatives(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
