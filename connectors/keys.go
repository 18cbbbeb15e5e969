package connectors

import (
	"slices"

	"github.com/itchyny/gojq"
)

// set keeps what one place in a body puts under a name.
func (u *bodyUse) set(key string, value origin, place any) {
	if u.keys[key] == nil {
		u.keys[key] = map[any]origin{}
	}
	u.keys[key][place] |= value
}

// under is all that a body puts under a name.
func (u *bodyUse) under(key string) origin {
	var all origin
	for _, value := range u.keys[key] {
		all |= value
	}
	return all
}

// pins reports a name that the body sets from pinned.
func (u *bodyUse) pins(key string) bool { return u.under(key)&ofPinned != 0 }

// contested reports a name under which an argument could take the place of what
// is pinned: in one value made from both, or in two values of which one goes.
// An object that holds them under names of their own is no such value.
func (u *bodyUse) contested(key string) bool {
	for one, a := range u.keys[key] {
		if mixes(a) {
			return true
		}
		for other, b := range u.keys[key] {
			if one != other && (a&ofPinned != 0 && b&bareArgs != 0 || a&barePinned != 0 && b&ofArgs != 0) {
				return true
			}
		}
	}
	return false
}

// displaces reports a name under which another argument could take the place of
// the one that was proven: in one value made from both, or anywhere that a
// value goes by the same name.
func (u *bodyUse) displaces(key, name string) bool {
	proven := u.bits[name]
	others := ofArgs &^ (bareArgs | anyArg | proven)
	held := false
	for _, a := range u.keys[key] {
		held = held || a&bareArgs != 0 && a&proven != 0
	}
	for _, a := range u.keys[key] {
		if held && a&bareArgs != 0 && a&others != 0 {
			return true
		}
	}
	return false
}

// changes reports a name under which an argument is not sent as it was given.
func (u *bodyUse) changes(key, name string) bool {
	under := u.under(key)
	return under&altered != 0 && under&u.bits[name] != 0
}

// mixes reports a value that is made from both, the one for the other.
func mixes(o origin) bool { return o&bareArgs != 0 && o&barePinned != 0 }

// assign keeps the names that an assignment sets, and reports whether its path
// ends in one. A name further up holds the value as a member.
func (u *bodyUse) assign(q *gojq.Query, value origin, place any) bool {
	switch {
	case q.Term == nil && q.Op == gojq.OpPipe:
		if u.assign(q.Right, value, place) {
			value = value.inside()
		}
		return u.assign(q.Left, value, place)
	case q.Term == nil && q.Op == gojq.OpComma:
		left, right := u.assign(q.Left, value, place), u.assign(q.Right, value, place)
		return left && right
	case q.Term == nil:
		return false // dynamic, and refused as such
	}
	steps := []*gojq.Index{q.Term.Index}
	for _, s := range q.Term.SuffixList {
		steps = append(steps, s.Index)
	}
	named := false
	for _, step := range slices.Backward(steps) {
		if step == nil {
			continue
		}
		if name, ok := constantName(step); ok {
			u.set(name, value, place)
			value, named = value.inside(), true
		}
	}
	if q.Term.Query != nil {
		named = u.assign(q.Term.Query, value, place) || named
	}
	return named
}

// dynamic reports an assignment to anything but members that are written out.
func dynamic(q *gojq.Query) bool {
	switch {
	case len(q.FuncDefs) > 0 || len(q.Patterns) > 0:
		return true
	case q.Term == nil:
		return q.Op != gojq.OpPipe && q.Op != gojq.OpComma || dynamic(q.Left) || dynamic(q.Right)
	}
	var steps []*gojq.Index
	switch t := q.Term; t.Type {
	case gojq.TermTypeIdentity:
	case gojq.TermTypeIndex:
		steps = append(steps, t.Index)
	case gojq.TermTypeQuery:
		if dynamic(t.Query) {
			return true
		}
	default:
		return true
	}
	for _, s := range q.Term.SuffixList {
		if s.Index != nil {
			steps = append(steps, s.Index)
		}
	}
	return slices.ContainsFunc(steps, func(x *gojq.Index) bool {
		_, ok := constantName(x)
		return !ok
	})
}
