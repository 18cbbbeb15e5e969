package connectors

import (
	"maps"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// origin is what a value within a body may be or come from. The first of them
// are the objects a body is given, whose members are not yet accounted for.
type origin uint64

const (
	theInput  origin = 1 << iota // {args, pinned, steps, page}
	theArgs                      // .args
	thePinned                    // .pinned
	theSteps                     // .steps
	firstStep                    // what the first step that the body names found; the others follow
	_
	_
	_
	_
	pinnedValue // made from pinned values that are accounted for, or from what a step found of the customer's
	barePinned  // and these are not members of an object that the body spells out
	bareArgs    // the same of arguments
	theirs      // holds what says who the customer is, as far as can be told for certain
	altered     // an argument that is no longer as it was given
	anyArg      // made from any of the arguments
	firstArg    // made from the first argument the body names; the others follow
)

const (
	ofArgs   = ^(firstArg - 1) | anyArg | bareArgs
	ofPinned = pinnedValue | barePinned
	anything = ofArgs | ofPinned
	// made is what o is once it is a part of something else.
	made = anything | theirs | altered
)

// bared is o as the value itself, no longer a member of some object.
func (o origin) bared() origin {
	if o&ofArgs != 0 {
		o |= bareArgs
	}
	if o&ofPinned != 0 {
		o |= barePinned
	}
	return o
}

// inside is o as a member of an object.
func (o origin) inside() origin { return o &^ (bareArgs | barePinned | altered) }

// bodyUse is what a body takes from its input. It errs on the side of too much:
// no argument reaches the body that it does not name.
type bodyUse struct {
	args    map[string]bool
	allArgs bool // .args as a whole
	pinned  map[string]bool
	wholly  bool                       // .pinned as a whole
	steps   map[string]map[string]bool // and the fields of them that it names

	page bool // .page, in whatever way

	owned  map[string]bool // the steps that find only what is the customer's
	order  []string        // the steps, as the body names them
	bits   map[string]origin
	output origin // what is sent
	woven  origin // the arguments that are a part of a text with other parts

	// keys are the members that the body names, each with what every place that
	// sets it puts there.
	keys map[string]map[any]origin
	// unknown are the members of the input, other than args and pinned, that it
	// asks for.
	unknown map[string]bool
	// hidden is a part of the body that keeps what it takes, or what it calls
	// it, from being read off; "" for none.
	hidden string
}

// useOf reads off a body which arguments and pinned values it takes. owned are
// the steps that find only what is the customer's.
func useOf(q *gojq.Query, owned map[string]bool) *bodyUse {
	u := &bodyUse{args: map[string]bool{}, pinned: map[string]bool{}, unknown: map[string]bool{},
		steps: map[string]map[string]bool{}, owned: owned,
		bits: map[string]origin{}, keys: map[string]map[any]origin{}}
	u.output = u.take(u.query(q, theInput, nil), q)
	return u
}

// scope is the origins of variables. It is never changed once made.
type scope map[string]origin

func (s scope) with(name string, o origin) scope {
	out := maps.Clone(s)
	if out == nil {
		out = scope{}
	}
	out[name] |= o
	return out
}

// hide keeps the first part of the body that cannot be read off.
func (u *bodyUse) hide(part interface{ String() string }) {
	u.allArgs, u.wholly = true, true
	if u.hidden == "" {
		u.hidden = part.String()
	}
}

// take accounts for a value that is used as it is.
func (u *bodyUse) take(o origin, part interface{ String() string }) origin {
	out := o & made
	if o&theInput != 0 {
		u.hide(part)
		out |= anything
	}
	if o&theArgs != 0 {
		u.allArgs = true
		out |= ofArgs
	}
	if o&thePinned != 0 {
		u.wholly = true
		out |= ofPinned | theirs
	}
	if o&theSteps != 0 {
		out |= ofPinned
	}
	for i, name := range u.order {
		if o&(firstStep<<i) != 0 {
			out |= u.found(name)
		}
	}
	return out
}

// found is the origin of what a step found. What is the customer's is as good
// as a pin; the rest is as good as what the manifest's author wrote.
func (u *bodyUse) found(step string) origin {
	if u.owned[step] {
		return ofPinned | theirs
	}
	return 0
}

// step stands for what a step found.
func (u *bodyUse) step(name string) origin {
	if u.steps[name] == nil {
		u.steps[name] = map[string]bool{}
		u.order = append(u.order, name)
	}
	if i := slices.Index(u.order, name); i < maxSteps {
		return firstStep << i
	}
	return 0 // there is no such step, and that is reported
}

// member is the origin of a value's member of a known name.
func (u *bodyUse) member(o origin, name string) origin {
	out := (o & made).bared() &^ theirs // it may be another member
	if o&theInput != 0 {
		switch name {
		case "args":
			out |= theArgs
		case "pinned":
			out |= thePinned
		case "steps":
			out |= theSteps
		case "page":
			u.page = true
		case "idempotency_key":
		default:
			u.unknown[name] = true
		}
	}
	if o&theArgs != 0 {
		u.args[name] = true
		out |= u.bit(name) | bareArgs
	}
	if o&thePinned != 0 {
		u.pinned[name] = true
		out |= ofPinned
		if pinsCustomer(name) {
			out |= theirs
		}
	}
	if o&theSteps != 0 {
		out |= u.step(name)
	}
	for i, step := range u.order {
		if o&(firstStep<<i) != 0 {
			u.steps[step][name] = true
			out |= u.found(step)
		}
	}
	return out
}

// bit stands for an argument within an origin.
func (u *bodyUse) bit(name string) origin {
	if _, known := u.bits[name]; !known {
		if u.bits[name] = firstArg << len(u.bits); u.bits[name] == 0 {
			u.bits[name] = anyArg // more than an origin can tell apart
		}
	}
	return u.bits[name]
}

// holds reports that o may be made from an argument.
func (u *bodyUse) holds(o origin, name string) bool { return o&(anyArg|u.bits[name]) != 0 }

func (u *bodyUse) query(q *gojq.Query, in origin, vars scope) origin {
	switch {
	case q == nil:
		return 0
	case len(q.FuncDefs) > 0 || len(q.Imports) > 0 || q.Meta != nil:
		u.hide(q)
		return anything
	case q.Term != nil:
		return u.term(q.Term, in, vars)
	case len(q.Patterns) > 0:
		left := u.query(q.Left, in, vars)
		return u.query(q.Right, in, u.bind(vars, q.Patterns, left, q.Left))
	}
	switch q.Op {
	case gojq.OpPipe:
		return u.query(q.Right, u.query(q.Left, in, vars), vars)
	case gojq.OpComma:
		return u.query(q.Left, in, vars) | u.query(q.Right, in, vars)
	case gojq.OpAlt:
		left, right := u.query(q.Left, in, vars), u.query(q.Right, in, vars)
		if left&theirs == 0 {
			right &^= theirs // the left may take its place
		}
		return left | right
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul,
		gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		whole := u.take(in, q)
		inside := whole
		if q.Op != gojq.OpModify {
			inside = in
		}
		value := u.take(u.query(q.Right, inside, vars), q.Right)
		set := value
		switch q.Op {
		case gojq.OpAssign:
		case gojq.OpModify: // what was there is known from where it was put
			set = u.take(u.query(q.Right, 0, vars), q.Right) | altered
		default:
			u.woven |= value
			set |= altered
		}
		u.assign(q.Left, set, q)
		if dynamic(q.Left) {
			u.hide(q)
		}
		return whole | value.inside()
	case gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe, gojq.OpAnd, gojq.OpOr:
		both := u.take(u.query(q.Left, in, vars), q.Left) | u.take(u.query(q.Right, in, vars), q.Right)
		return both &^ (ofPinned | theirs) // a yes or no says nobody's name
	}
	left, right := u.query(q.Left, in, vars), u.query(q.Right, in, vars)
	return u.take(left, q.Left) | u.take(right, q.Right) | u.alter(left|right)
}

// alter keeps what is put together from bare arguments and something else.
func (u *bodyUse) alter(o origin) origin {
	if o&bareArgs == 0 {
		return 0
	}
	u.woven |= o
	return altered
}

// bind adds the variables of patterns that take a value apart.
func (u *bodyUse) bind(vars scope, patterns []*gojq.Pattern, value origin, part interface{ String() string }) scope {
	for _, p := range patterns {
		if p.Name != "" {
			vars = vars.with(p.Name, value)
			continue
		}
		taken := u.take(value, part).bared()
		for _, inner := range p.Array {
			vars = u.bind(vars, []*gojq.Pattern{inner}, taken, part)
		}
		for _, o := range p.Object {
			if strings.HasPrefix(o.Key, "$") {
				vars = vars.with(o.Key, taken)
			}
			if o.KeyString != nil || o.KeyQuery != nil {
				u.query(o.KeyQuery, taken, vars)
				u.text(o.KeyString, taken, vars)
			}
			if o.Val != nil {
				vars = u.bind(vars, []*gojq.Pattern{o.Val}, taken, part)
			}
		}
	}
	return vars
}

func (u *bodyUse) term(t *gojq.Term, in origin, vars scope) origin {
	var out origin
	switch t.Type {
	case gojq.TermTypeIdentity:
		out = in
	case gojq.TermTypeIndex:
		out = u.index(t.Index, in, in, vars)
	case gojq.TermTypeFunc:
		out = u.call(t.Func, in, vars)
	case gojq.TermTypeObject:
		out = u.object(t.Object, in, vars)
	case gojq.TermTypeArray:
		out = u.take(u.query(t.Array.Query, in, vars), t)
	case gojq.TermTypeUnary:
		out = u.take(u.term(t.Unary.Term, in, vars), t) | altered
	case gojq.TermTypeString:
		out = u.text(t.Str, in, vars)
	case gojq.TermTypeFormat:
		if out = u.text(t.Str, in, vars); t.Str == nil {
			out = u.take(in, t)
		}
		out |= altered
	case gojq.TermTypeIf:
		out = u.branch(t.If, in, vars)
	case gojq.TermTypeTry:
		out = u.query(t.Try.Body, in, vars) | u.query(t.Try.Catch, anything, vars)
	case gojq.TermTypeReduce:
		r := t.Reduce
		vars := u.bind(vars, r.Patterns, u.query(r.Query, in, vars), r.Query)
		out = u.repeat(u.take(u.query(r.Start, in, vars), r.Start), r.Update, vars)
	case gojq.TermTypeForeach:
		f := t.Foreach
		vars := u.bind(vars, f.Patterns, u.query(f.Query, in, vars), f.Query)
		out = u.repeat(u.take(u.query(f.Start, in, vars), f.Start), f.Update, vars)
		if f.Extract != nil {
			out = u.take(u.query(f.Extract, out, vars), t)
		}
	case gojq.TermTypeLabel:
		out = u.query(t.Label.Body, in, vars)
	case gojq.TermTypeQuery:
		out = u.query(t.Query, in, vars)
	case gojq.TermTypeNull, gojq.TermTypeTrue, gojq.TermTypeFalse, gojq.TermTypeNumber, gojq.TermTypeBreak:
	default: // "..", and whatever the language may yet grow
		out = u.take(in, t) | anything
	}
	for _, s := range t.SuffixList {
		switch {
		case s.Index != nil:
			out = u.index(s.Index, out, in, vars)
		case s.Iter:
			out = u.take(out, t).bared()
		}
	}
	return out
}

// repeat is what a state becomes that an update is applied to time and again.
// An update adds the same each time, so that one round finds all of it; the
// next sees it at work.
func (u *bodyUse) repeat(state origin, update *gojq.Query, vars scope) origin {
	state |= u.take(u.query(update, state, vars), update)
	u.query(update, state, vars)
	return state
}

// index is a member of o; what says which one sees the input of the term.
func (u *bodyUse) index(x *gojq.Index, o, in origin, vars scope) origin {
	if name, ok := constantName(x); ok {
		return u.member(o, name)
	}
	u.text(x.Str, in, vars)
	for _, q := range []*gojq.Query{x.Start, x.End} {
		u.take(u.query(q, in, vars), x)
	}
	return u.take(o, x).bared()&^theirs | altered
}

// constantName is the name of a member that is written out.
func constantName(x *gojq.Index) (string, bool) {
	switch {
	case x.Name != "":
		return x.Name, true
	case x.Str != nil:
		return x.Str.Str, x.Str.Queries == nil
	case x.Start != nil && !x.IsSlice:
		return constant(x.Start)
	}
	return "", false
}

// constant is the text of an expression that is nothing but one.
func constant(q *gojq.Query) (string, bool) {
	if q == nil || q.Term == nil || q.Term.Type != gojq.TermTypeString || q.Term.Str.Queries != nil || len(q.Term.SuffixList) > 0 || len(q.FuncDefs) > 0 {
		return "", false
	}
	return q.Term.Str.Str, true
}

func (u *bodyUse) text(s *gojq.String, in origin, vars scope) origin {
	var out origin
	if s != nil {
		for _, q := range s.Queries {
			out |= u.take(u.query(q, in, vars), q).bared()
		}
		if len(s.Queries) > 1 {
			out |= u.alter(out)
		}
	}
	return out
}

func (u *bodyUse) branch(e *gojq.If, in origin, vars scope) origin {
	u.take(u.query(e.Cond, in, vars), e.Cond)
	out := u.query(e.Then, in, vars)
	both := out // what every branch has
	add := func(o origin) { out, both = out|o, both&o }
	for _, elif := range e.Elif {
		u.take(u.query(elif.Cond, in, vars), elif.Cond)
		add(u.query(elif.Then, in, vars))
	}
	if e.Else == nil {
		add(in)
	} else {
		add(u.query(e.Else, in, vars))
	}
	return out&^theirs | both&theirs
}

func (u *bodyUse) object(e *gojq.Object, in origin, vars scope) origin {
	var out origin
	for _, kv := range e.KeyVals {
		key, fixed := strings.TrimPrefix(kv.Key, "$"), kv.Key != ""
		var name origin
		switch {
		case kv.KeyString != nil:
			key, fixed = kv.KeyString.Str, kv.KeyString.Queries == nil
			name = u.text(kv.KeyString, in, vars)
		case kv.KeyQuery != nil:
			if key, fixed = constant(kv.KeyQuery); !fixed {
				name = u.take(u.query(kv.KeyQuery, in, vars), kv.KeyQuery)
			}
		}
		var value origin
		switch {
		case kv.Val != nil:
			value = u.query(kv.Val, in, vars)
		case strings.HasPrefix(kv.Key, "$"):
			value = vars[kv.Key]
		case fixed:
			value = u.member(in, key)
		default:
			value = in
		}
		whole := value == theArgs
		if value = u.take(value, kv); whole {
			value = value.inside() // an object of them, each under its own name
		}
		if fixed {
			u.set(key, value, kv)
		}
		if name&ofArgs != 0 || !fixed && value&ofArgs != 0 {
			u.hide(kv) // an argument would choose what the other system reads, or go by a name nobody sees
		}
		out |= value.inside() | name
	}
	return out
}

// Functions that do not look at their input: without arguments, and with ones
// that they hand it to.
var (
	blind       = []string{"now", "empty", "infinite", "nan"}
	transparent = []string{"error", "first", "last", "limit", "skip", "isempty", "range", "select"}
)

// carriers give what they are given, or a text of it.
var carriers = []string{
	"first", "last", "limit", "skip", "add", "flatten", "join", "ascii_downcase", "ascii_upcase", "ltrimstr", "rtrimstr", "tojson", "tostring", "trim",
}

// keepers give what they are given, as it is.
var keepers = []string{"first", "last", "limit", "skip", "select", "tostring", "del", "error", "isempty"}

// namers make names of members, or whole objects, out of values, or put values
// under names that are already there.
var namers = []string{
	"capture", "delpaths", "fromjson", "from_entries", "fromstream", "getpath", "INDEX", "leaf_paths", "map_values",
	"path", "paths", "pick", "scan", "setpath", "to_entries", "tostream", "truncate_stream", "walk", "with_entries",
}

func (u *bodyUse) call(f *gojq.Func, in origin, vars scope) origin {
	if strings.HasPrefix(f.Name, "$") {
		return vars[f.Name] // none for $ENV, which is empty, and $__loc__
	}
	unseen := transparent
	if len(f.Args) == 0 {
		unseen = blind
	}
	seen, out := in, origin(0)
	if !slices.Contains(unseen, f.Name) {
		seen = u.take(in, f)
		out = seen
	}
	if !slices.Contains(keepers, f.Name) && in&bareArgs != 0 {
		out |= altered
	}
	for _, arg := range f.Args {
		given := u.query(arg, seen, vars)
		if out |= u.take(given, arg); given&bareArgs != 0 && !slices.Contains(keepers, f.Name) {
			u.woven |= given
			out |= altered
		}
	}
	switch {
	case f.Name == "select":
		return in // its condition goes no further
	case sifts(f):
		return seen
	case f.Name == "del":
		return seen &^ theirs
	case out&made != 0 && slices.Contains(namers, f.Name):
		u.hide(f)
	}
	if !slices.Contains(carriers, f.Name) {
		out &^= theirs
	}
	if !slices.Contains(unseen, f.Name) {
		out = out.bared()
	}
	return out
}

// sifts reports with_entries(select(...)) and map_values(select(...)), which
// leave members out and name none.
func sifts(f *gojq.Func) bool {
	if f.Name != "with_entries" && f.Name != "map_values" || len(f.Args) != 1 {
		return false
	}
	t := f.Args[0].Term
	return t != nil && t.Type == gojq.TermTypeFunc && t.Func.Name == "select" && len(t.SuffixList) == 0 && len(f.Args[0].FuncDefs) == 0
}
