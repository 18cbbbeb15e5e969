package connectors

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// judge applies the rules that need the whole action: what could let one
// customer near another's record is refused here, before anything runs. It
// also works out what the definition says of ids and lists.
func (r *reader) judge(a *action, seen map[string]bool) {
	def, q, p := a.def, a.request, a.response
	writes := def.Risk != engine.Read
	if seen["personal"] && !def.Personal {
		if p.owns() {
			r.failAt(p.line, "%s: its records have an owner, so it is personal", def.Name)
		}
		if len(def.Resources) > 0 {
			r.failAt(a.line, "%s: its arguments name a customer's records, so it is personal", def.Name)
		}
	}
	for _, res := range def.Resources {
		if !def.Args.Has(res.Argument) {
			r.failAt(a.resource[res.Argument], "%s: resource: %q is not an argument%s", def.Name, res.Argument, suggest(res.Argument, def.Args.Names()))
		}
		if res.Action == def.Name {
			r.failAt(a.resource[res.Argument], "%s: resource: an action cannot prove its own argument", def.Name)
		}
	}
	for _, c := range a.requests() {
		for _, name := range c.request.pathArgs {
			if !slices.Contains(def.Args.Required(), name) {
				r.failAt(c.request.line, "%s: {%s} is part of the path, so the argument must be required", def.Name, name)
			}
		}
	}
	if def.Personal && !writes {
		if p.records == nil || !p.owns() {
			r.failAt(a.line, "%s: a personal action that reads must say in response where its records are and who owns each (records, owner)", def.Name)
		}
	}
	if !writes && p.unknown.given {
		r.failAt(p.line, "%s: response: unknown is for what changes something", def.Name)
	}
	if writes && q.each != "" {
		r.failAt(q.line, "%s: request: what changes something is about one record, so it has no each", def.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(a.notRecord)) {
		_, proven := a.resource[name]
		switch {
		case !def.Args.Has(name):
			r.failAt(a.notRecord[name], "%s: not_a_record: %q is not an argument%s", def.Name, name, suggest(name, def.Args.Names()))
		case proven:
			r.failAt(a.notRecord[name], "%s: not_a_record: %q is in resource too", def.Name, name)
		}
	}
	if !writes && slices.Contains([]string{"PUT", "PATCH", "DELETE"}, q.method) {
		r.failAt(q.line, "%s: request: a %s changes something, so risk is not read", def.Name, q.method)
	}
	if def.Personal {
		r.judgeCustomers(a)
	}
	if def.Personal && writes {
		r.judgeWrite(a)
		for _, c := range a.requests() {
			r.judgeBody(a, c.request)
		}
	}
	if !writes && p.records != nil && len(p.fields) == 0 {
		r.failAt(p.line, "%s: response: fields must say what of a record may be shown", def.Name)
	}
	for _, st := range a.steps {
		if st.request == nil {
			continue
		}
		st.idArg = r.identify(a, st.request, st.response, false)
		r.judgeCount(a, st.request, st.idArg)
		if def.Personal && writes {
			r.judgeStep(a, st)
		}
	}
	def.IDArgument = r.identify(a, q, p, writes)
	r.judgeCount(a, q, def.IDArgument)
	def.List = q.each != "" && p.records != nil || p.many() && def.IDArgument == ""
}

// judgeCount refuses pages of what one argument names: how many are asked for
// would tell whether somebody else has it.
func (r *reader) judgeCount(a *action, q *request, id string) {
	if a.def.Personal && id != "" && q.pages != nil && len(q.pathArgs)+len(q.queryArgs)+len(q.bodyArgs) > 0 {
		r.failAt(q.pages.line, "%s: pages: %q names one record, and how many pages are asked for would tell whether there is one; leave pages out", a.def.Name, id)
	}
}

// asked is one request of an action with what is made of its reply.
type asked struct {
	request  *request
	response *response
	step     *step // nil for the action's own request
	follows  bool  // it asks what became of the action's own request
}

// requests are all that an action asks, in order.
func (a *action) requests() []asked {
	var out []asked
	for _, st := range a.steps {
		if st.request != nil {
			out = append(out, asked{request: st.request, response: st.response, step: st})
		}
	}
	if a.request != nil {
		out = append(out, asked{request: a.request, response: a.response})
	}
	if a.follow != nil && a.follow.request != nil {
		out = append(out, asked{request: a.follow.request, response: &response{}, follows: true})
	}
	return out
}

// judgeStep refuses a step of a personal write that could find another record
// than the argument names which was proven.
func (r *reader) judgeStep(a *action, st *step) {
	for _, name := range slices.Concat(st.request.pathArgs, st.request.queryArgs, st.request.bodyArgs) {
		if _, proven := a.resource[name]; proven && st.idArg != name {
			r.failAt(st.line, "%s: step %s does not compare what it finds with %q, so it could find another record; add response: {id: <where it is>, id_argument: %s} to it", a.def.Name, st.name, name, name)
		}
	}
}

// judgeCustomers refuses an argument that says whose account is meant.
func (r *reader) judgeCustomers(a *action) {
	for _, name := range a.def.Args.Names() {
		if namesCustomer(name) && !a.settled(name) {
			r.failAt(a.line, "%s: args: %q says whose account is meant, and only the token may say that: use pinned instead, or, if it names no customer, add not_a_record: [%s]", a.def.Name, name, name)
		}
	}
}

// judgeWrite refuses a personal write without a way to prove whose record it
// changes.
func (r *reader) judgeWrite(a *action) {
	def, q, p := a.def, a.request, a.response
	before := len(r.errs)
	for _, name := range a.named() {
		_, proven := a.resource[name]
		_, vouched := a.notRecord[name]
		if !proven && !vouched {
			r.failAt(q.line, "%s: %q says what is changed, and nothing proves that it is the customer's; %s", def.Name, name, wayOut(name))
		}
	}
	r.judgeWhole(a)
	sent := slices.Concat(q.pathArgs, q.queryArgs, q.bodyArgs)
	theirs := q.pinsCustomer
	for _, res := range def.Resources {
		required := slices.Contains(def.Args.Required(), res.Argument)
		theirs = theirs || required && slices.Contains(sent, res.Argument)
		if !required && (!q.pinsCustomer || a.narrows(res.Argument)) && def.Args.Has(res.Argument) {
			r.failAt(a.resource[res.Argument], "%s: resource: without %q nothing would say whose record is changed; make the argument required, or use pinned.email or pinned.subject in the request", def.Name, res.Argument)
		}
	}
	if !theirs && len(r.errs) == before && q.path != nil {
		r.failAt(q.line, "%s: nothing in the request is the customer's: send an argument that resource proves, or use pinned.email or pinned.subject", def.Name)
	}
	if p.records != nil && !p.owns() {
		r.failAt(p.line, "%s: response: a customer's records need an owner", def.Name)
	}
}

// narrows reports an argument that says what a step finds.
func (a *action) narrows(name string) bool {
	return slices.ContainsFunc(a.steps, func(st *step) bool {
		q := st.request
		return q != nil && slices.Contains(slices.Concat(q.pathArgs, q.queryArgs, q.bodyArgs), name)
	})
}

// judgeWhole refuses a path or a query of a personal write in which what was
// proven is only a part of what says which record is changed, and one that is
// made of what is nobody's.
func (r *reader) judgeWhole(a *action) {
	for _, c := range a.requests() {
		if c.request.path == nil {
			continue
		}
		places := pathSegments(c.request.path.source)
		if _, query, asks := strings.Cut(c.request.path.source, "?"); asks && strings.Contains(query, "=") {
			for _, entry := range strings.Split(templateQuery.ReplaceAllString(query, ""), "&") {
				_, value, _ := strings.Cut(entry, "=")
				places = append(places, value)
			}
		}
		for _, p := range c.request.query {
			places = append(places, p.value.source)
		}
		for _, place := range places {
			name, whole := wholeVariable(place)
			for _, m := range templateBraces.FindAllStringSubmatch(place, -1) {
				for _, v := range strings.FieldsFunc(m[1], func(c rune) bool { return strings.ContainsRune("./;?&,*", c) && c != '.' }) {
					_, proven := a.resource[v]
					if proven && (!whole || name != v) {
						r.failAt(c.request.line, "%s: request: {%s} is proven, and with something beside it another record could be meant; let it stand alone, as in /orders/{%s}/cancel", a.def.Name, v, v)
					}
				}
			}
			if ref, ok := strings.CutPrefix(name, "steps."); ok {
				of, _, _ := strings.Cut(ref, ".")
				if i := slices.IndexFunc(a.steps, func(st *step) bool { return st.name == of }); i >= 0 && a.steps[i].nobodys {
					r.failAt(c.request.line, "%s: request: what step %s finds is nobody's, and would say what is changed", a.def.Name, of)
				}
			} else if strings.Contains(place, "{steps.") || strings.Contains(place, "steps.") && strings.Contains(place, "{") {
				r.failAt(c.request.line, "%s: request: what a step found stands alone in a path and a query, as in /orders/{steps.order.id}/cancel", a.def.Name)
			}
		}
	}
}

// templateQuery are the expressions that write a query's names by themselves.
var templateQuery = regexp.MustCompile(`\{[?&][^{}]*\}`)

// named are the arguments in the paths and queries of an action's requests.
func (a *action) named() []string {
	var out []string
	for _, c := range a.requests() {
		for _, name := range slices.Concat(c.request.pathArgs, c.request.queryArgs) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// judgeBody refuses a personal write whose body could name a record that
// nothing proves, or say something else of the customer than the pin does.
func (r *reader) judgeBody(a *action, q *request) {
	def := a.def
	if q.body == nil {
		return
	}
	if q.use.hidden != "" {
		r.failAt(q.bodyLine, "%s: body: %q does not show which arguments are sent under which names; name each, as in {start: .args.start}, or send .args", def.Name, q.use.hidden)
		return
	}
	r.judgeKeys(a, q)
	for _, name := range q.bodyArgs {
		before := len(r.errs)
		if namesRecord(name) && !a.settled(name) {
			r.failAt(q.bodyLine, "%s: body: %q names a record, and nothing proves that it is the customer's; %s", def.Name, name, wayOut(name))
		}
		inside := contents{root: def.Args.Source(), adrift: !a.anchored(q)}
		open := inside.open(anySchema(def.Args.Property(name)), 0)
		for _, member := range slices.Sorted(slices.Values(inside.names)) {
			if (namesRecord(member) || namesCustomer(member)) && !a.settled(name) {
				r.failAt(q.bodyLine, "%s: body: %q holds %q, which names a record or a customer; make that an argument of its own, or, if it does not, add not_a_record: [%s]", def.Name, name, member, name)
			}
			if q.use.pins(member) {
				r.failAt(q.bodyLine, "%s: body: %q holds %q, which the body sets from pinned; call it something else", def.Name, name, member)
			}
		}
		if len(r.errs) == before && !open && !a.settled(name) && (!inside.value(name, anySchema(def.Args.Property(name)), 0) || a.isAbout(name)) {
			r.failAt(q.bodyLine, "%s: body: nothing says what %q stands for; %s. (A value shows itself by an enum, by a minimum and a maximum that are not far apart, or by the format of a date.)", def.Name, name, wayOut(name))
		}
		if open && !a.settled(name) {
			r.failAt(q.bodyLine, "%s: body: %q could hold anything, other customers' records too: give it a type and, where it holds objects or lists, their properties and items; or add not_a_record: [%s]", def.Name, name, name)
		}
		if q.use.allArgs && q.use.pins(name) {
			r.failAt(q.bodyLine, "%s: body: %q is an argument, and the body sets it from pinned; call one of them something else", def.Name, name)
		}
	}
}

// anchored reports a request whose path or query says whose record it is about:
// by what is pinned, by what a step found of the customer's, or by an argument
// that was proven.
func (a *action) anchored(q *request) bool {
	proven := func(name string) bool { _, ok := a.resource[name]; return ok }
	return q.anchored || slices.ContainsFunc(q.pathArgs, proven) || slices.ContainsFunc(q.queryArgs, proven)
}

// judgeKeys holds the names that a body gives to what it sends to the same as
// the names of arguments.
func (r *reader) judgeKeys(a *action, q *request) {
	def := a.def
	for _, name := range q.bodyArgs {
		_, proven := a.resource[name]
		bare := q.use.output & bareArgs
		switch {
		case proven && bare != 0 && q.use.output&altered != 0 && q.use.output&q.use.bits[name] != 0:
			r.failAt(q.bodyLine, "%s: body: %q is proven, and must be sent just as it was given; changed, it could name another record", def.Name, name)
		case q.use.woven&q.use.bits[name] != 0 && !proven && !byShape(def.Args.Property(name)) && !a.vouched(name):
			r.failAt(q.bodyLine, "%s: body: %q becomes a part of a text, and could end it and say something else, in a query above all. Send it by itself (in GraphQL as one of the variables), give it a format or an enum, or, if nothing reads the text but people, add not_a_record: [%s]", def.Name, name, name)
		}
	}
	if mixes(q.use.output) {
		r.failAt(q.bodyLine, "%s: body: an argument could take the place of what is pinned; send each under a name of its own", def.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(q.use.keys)) {
		if q.form && strings.ContainsAny(key, "[]") {
			r.failAt(q.bodyLine, "%s: body: %q would be taken for what lies deeper in a form; write it as an object or a list", def.Name, key)
		}
		for _, name := range q.bodyArgs {
			_, proven := a.resource[name]
			switch {
			case !proven:
			case q.use.displaces(key, name):
				r.failAt(q.bodyLine, "%s: body: %q is proven, and another argument is sent as %q too, which could take its place; send each under a name of its own", def.Name, name, key)
			case q.use.changes(key, name):
				r.failAt(q.bodyLine, "%s: body: %q is proven, and must be sent as %q just as it was given; changed, it could name another record", def.Name, name, key)
			}
		}
		if q.use.contested(key) {
			r.failAt(q.bodyLine, "%s: body: %q is set from pinned and from an argument, which could take its place; send each under a name of its own", def.Name, key)
			continue
		}
		for _, name := range q.bodyArgs {
			switch {
			case !q.use.holds(q.use.under(key), name) || a.settled(name):
			case namesCustomer(key):
				r.failAt(q.bodyLine, "%s: body: %q says whose account is meant, and only the token may say that, not %q: use pinned instead, or, if it names no customer, add not_a_record: [%s]", def.Name, key, name, name)
			case namesRecord(key) && !namesRecord(name):
				r.failAt(q.bodyLine, "%s: body: %q is sent as %q, which names a record, and nothing proves that it is the customer's; %s", def.Name, name, key, wayOut(name))
			}
		}
	}
}

// isAbout reports an argument that bears the name of what the action is about:
// the comment of comment.delete is not a text.
func (a *action) isAbout(name string) bool {
	noun, _, dotted := strings.Cut(a.def.Name, ".")
	return dotted && plain(noun) == plain(name) && !byShape(a.def.Args.Property(name))
}

// anySchema is a property's schema as JSON Schema has it: none admits anything.
func anySchema(property map[string]any) any {
	if property == nil {
		return true
	}
	return property
}

// settled reports an argument that needs no proof, or has one: it is in
// resource or not_a_record, or the manifest lists its values.
func (a *action) settled(name string) bool {
	_, proven := a.resource[name]
	_, vouched := a.notRecord[name]
	return proven || vouched || fixed(a.def.Args.Property(name))
}

// vouched reports an argument of which the manifest says that it names neither
// a record nor a customer.
func (a *action) vouched(name string) bool {
	_, ok := a.notRecord[name]
	return ok
}

func wayOut(name string) string {
	return fmt.Sprintf("add resource: {%s: <an action that reads it>} or, if it names nobody's record, not_a_record: [%s]", name, name)
}

// judgeKnowledge holds an action of the knowledge base to what it can do.
func (r *reader) judgeKnowledge(a *action, seen map[string]bool) {
	for _, key := range []string{"steps", "request", "follow", "response", "resource", "not_a_record", "operation", "reply", "timeout"} {
		if seen[key] {
			r.failAt(a.line, "%s: an action of the knowledge base has no %s", a.def.Name, key)
		}
	}
	if a.def.Personal || seen["risk"] && a.def.Risk != engine.Read {
		r.failAt(a.line, "%s: the knowledge base is public and only read", a.def.Name)
	}
}

// identify works out which argument names the record that a request brings
// back, "" for none. A manifest may say so itself with id_argument.
func (r *reader) identify(a *action, q *request, p *response, writes bool) string {
	def := a.def
	switch {
	case p.idArg != nil:
		if *p.idArg != "" && !def.Args.Has(*p.idArg) {
			r.failAt(p.line, "%s: id_argument: %q is not an argument%s", def.Name, *p.idArg, suggest(*p.idArg, def.Args.Names()))
			return ""
		}
		if *p.idArg != "" && p.id == nil {
			r.failAt(p.line, "%s: id_argument needs id, to compare it with", def.Name)
			return ""
		}
		return *p.idArg
	case p.id == nil:
		return ""
	case p.many():
		return q.listID(a)
	case len(q.pathArgs) > 0:
		return q.pathArgs[len(q.pathArgs)-1]
	}
	return q.onlyID(a, writes)
}

// complete sets what a manifest left to the defaults: which statuses mean that
// there is no such record, which that the system said no, and which that a write
// may have been done. keyed says that writes carry an idempotency key.
func (a *action) complete(keyed bool) {
	for _, c := range a.requests() {
		p := c.response
		if !p.notFound.given {
			p.notFound.statuses = []int{404}
			// A system that keeps somebody else's record back with another status
			// than it has for none must not thereby tell that there is one.
			if a.asksForRecord(c) {
				p.notFound.statuses = []int{403, 404, 410}
			}
		}
		if writes := c.step == nil && !c.follows && a.writes(); writes && !p.unknown.given {
			// Whoever stood between may have passed it on: 408 and 499 say that
			// somebody had waited enough, 425 that it came too soon to be sure of.
			// 409 may say that the key is in use: that the write is being done.
			p.unknown.statuses = []int{408, 425, 499}
			if keyed {
				p.unknown.statuses = append(p.unknown.statuses, 409)
			}
			p.unknown.statuses = slices.DeleteFunc(p.unknown.statuses, func(s int) bool {
				return slices.Contains(p.refused.statuses, s) || slices.Contains(p.notFound.statuses, s)
			})
		}
		if !p.refused.given {
			p.refused.statuses = slices.DeleteFunc([]int{400, 409, 412, 422}, func(s int) bool { return slices.Contains(p.unknown.statuses, s) })
		}
	}
}

// asksForRecord reports a personal request that only reads and whose arguments
// may name a record of somebody else.
func (a *action) asksForRecord(c asked) bool {
	q := c.request
	return a.def.Personal && (c.step != nil || !a.writes()) && len(q.pathArgs)+len(q.queryArgs)+len(q.bodyArgs) > 0
}

// listID is the argument that picks one record out of a reply shaped as a list:
// the path's last segment, or a query argument that is an id by its name.
// "/orders/{order_id}/items" has none: the items have ids of their own.
func (q *request) listID(a *action) string {
	if q.path == nil {
		return ""
	}
	path, _, _ := strings.Cut(q.path.source, "?")
	last := path[strings.LastIndexByte(path, '/')+1:]
	for _, name := range q.pathArgs {
		if last == "{"+name+"}" {
			return name
		}
	}
	return one(namesOfIDs(a, q.queryArgs))
}

// onlyID is the required argument of a query or body that names the one record
// that comes back.
func (q *request) onlyID(a *action, writes bool) string {
	used := slices.Compact(slices.Sorted(slices.Values(slices.Concat(q.queryArgs, q.bodyArgs))))
	if ids := namesOfIDs(a, used); len(ids) > 0 {
		return one(ids)
	}
	if writes {
		return "" // what is written is seldom an id
	}
	return one(slices.DeleteFunc(used, func(name string) bool {
		return !slices.Contains(a.def.Args.Required(), name)
	}))
}

// namesOfIDs are the required arguments that name a record, by what the
// manifest or their own name says.
func namesOfIDs(a *action, args []string) []string {
	var ids []string
	for _, name := range args {
		_, proven := a.resource[name]
		lower := strings.ToLower(name)
		named := lower == "id" || lower == "number" || lower == "reference" ||
			strings.HasSuffix(lower, "_id") || strings.HasSuffix(lower, "_number") || strings.HasSuffix(lower, "_reference") || strings.HasSuffix(lower, "_ref")
		if (proven || named) && slices.Contains(a.def.Args.Required(), name) {
			ids = append(ids, name)
		}
	}
	return ids
}

// one returns the only entry of names, "" when there are none or several.
func one(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return ""
}
