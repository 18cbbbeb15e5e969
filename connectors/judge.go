package connectors

import (
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
		if p.owner != nil {
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
	for _, name := range q.pathArgs {
		if !slices.Contains(def.Args.Required(), name) {
			r.failAt(q.line, "%s: {%s} is part of the path, so the argument must be required", def.Name, name)
		}
	}
	if def.Personal && !writes {
		if p.records == nil || p.owner == nil {
			r.failAt(a.line, "%s: a personal action that reads must say in response where its records are and who owns each (records, owner)", def.Name)
		}
	}
	if def.Personal && writes {
		r.judgeWrite(a)
	}
	if !writes && p.records != nil && len(p.fields) == 0 {
		r.failAt(p.line, "%s: response: fields must say what of a record may be shown", def.Name)
	}
	r.identify(a)
}

// judgeWrite refuses a personal write without a way to prove whose record it
// changes.
func (r *reader) judgeWrite(a *action) {
	def, q, p := a.def, a.request, a.response
	for _, name := range slices.Concat(q.pathArgs, q.queryArgs) {
		if _, proven := a.resource[name]; !proven {
			r.failAt(q.line, "%s: %q says what is changed, and nothing proves that it is the customer's; add resource: {%s: <an action that reads it>}", def.Name, name, name)
		}
	}
	if len(def.Resources) == 0 && len(q.pathArgs)+len(q.queryArgs) == 0 && !q.usesPinned {
		r.failAt(q.line, "%s: nothing in the request is the customer's: name their record in resource, or use pinned", def.Name)
	}
	if p.records != nil && p.owner == nil {
		r.failAt(p.line, "%s: response: a customer's records need an owner", def.Name)
	}
}

// judgeKnowledge holds an action of the knowledge base to what it can do.
func (r *reader) judgeKnowledge(a *action, seen map[string]bool) {
	for _, key := range []string{"request", "response", "resource", "reply", "timeout"} {
		if seen[key] {
			r.failAt(a.line, "%s: an action of the knowledge base has no %s", a.def.Name, key)
		}
	}
	if a.def.Personal || seen["risk"] && a.def.Risk != engine.Read {
		r.failAt(a.line, "%s: the knowledge base is public and only read", a.def.Name)
	}
}

// identify works out which argument names the record an action returns, and
// whether it returns a list. A manifest may say so itself with id_argument.
func (r *reader) identify(a *action) {
	def, q, p := a.def, a.request, a.response
	switch {
	case p.idArg != nil:
		if *p.idArg != "" && !def.Args.Has(*p.idArg) {
			r.failAt(p.line, "%s: id_argument: %q is not an argument%s", def.Name, *p.idArg, suggest(*p.idArg, def.Args.Names()))
			return
		}
		if *p.idArg != "" && p.id == nil {
			r.failAt(p.line, "%s: id_argument needs id, to compare it with", def.Name)
			return
		}
		def.IDArgument = *p.idArg
	case p.id == nil:
	case p.many():
		def.IDArgument = q.listID(a)
	case len(q.pathArgs) > 0:
		def.IDArgument = q.pathArgs[len(q.pathArgs)-1]
	default:
		def.IDArgument = q.onlyID(a)
	}
	def.List = p.many() && def.IDArgument == ""
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
func (q *request) onlyID(a *action) string {
	used := slices.Compact(slices.Sorted(slices.Values(slices.Concat(q.queryArgs, q.bodyArgs))))
	if ids := namesOfIDs(a, used); len(ids) > 0 {
		return one(ids)
	}
	if a.def.Risk != engine.Read {
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
