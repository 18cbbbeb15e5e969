package connectors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// Catalog is the actions of one site, from all its manifests.
type Catalog struct {
	actions map[string]entry
}

type entry struct {
	*action
	manifest *Manifest
}

// NewCatalog assembles a site's manifests. An action may be there once, and
// each resource must lead to an action that can prove whose the record is.
func NewCatalog(manifests []*Manifest) (*Catalog, error) {
	c := &Catalog{actions: map[string]entry{}}
	var errs []error
	for _, m := range manifests {
		for _, def := range m.Actions() {
			a := m.actions[def.Name]
			if first, ok := c.actions[def.Name]; ok {
				errs = append(errs, fmt.Errorf("%s:%d: action %q is already at %s:%d",
					m.File, a.line, def.Name, first.manifest.File, first.line))
				continue
			}
			c.actions[def.Name] = entry{a, m}
		}
	}
	records := c.records()
	for _, def := range c.Actions() {
		e := c.actions[def.Name]
		for _, name := range e.exposed(records) {
			errs = append(errs, fmt.Errorf("%s:%d: %s: %q names a customer's record, and nobody has to say who they are; make the action personal or, if it names nobody's record, add not_a_record: [%s]",
				e.manifest.File, e.line, def.Name, name, name))
		}
		for _, name := range e.unprovenKeys(records) {
			errs = append(errs, fmt.Errorf("%s:%d: %s: body: %q is sent under a name of what is a record elsewhere in the catalog, and nothing proves here that it is the customer's; %s",
				e.manifest.File, e.request.bodyLine, def.Name, name, wayOut(name)))
		}
		for _, name := range e.unproven(records) {
			errs = append(errs, fmt.Errorf("%s:%d: %s: body: %q names a record elsewhere in the catalog, and nothing proves here that it is the customer's; %s",
				e.manifest.File, e.request.bodyLine, def.Name, name, wayOut(name)))
		}
		for _, res := range def.Resources {
			if err := c.proves(e, res); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %s: resource %s: %w",
					e.manifest.File, e.resource[res.Argument], def.Name, res.Argument, err))
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// proves checks that res leads to an action that can tell whose record the
// argument names.
func (c *Catalog) proves(e entry, res engine.Resource) error {
	by, ok := c.actions[res.Action]
	if !ok {
		return fmt.Errorf("there is no action %q%s", res.Action, suggest(res.Action, c.names()))
	}
	if !by.def.Personal || by.def.Risk != engine.Read {
		return fmt.Errorf("%q is not a personal action that only reads", res.Action)
	}
	if len(by.def.Resources) > 0 {
		return fmt.Errorf("%q needs proof itself", res.Action)
	}
	required := by.def.Args.Required()
	takes := res.Argument
	if !by.def.Args.Has(takes) {
		if len(required) > 1 {
			return fmt.Errorf("%q requires more than one argument, and none of them is called %q as here", res.Action, res.Argument)
		}
		takes = strings.Join(required, "")
	}
	for _, name := range required {
		if name != takes && !slices.Contains(e.def.Args.Required(), name) {
			return fmt.Errorf("%q also requires %q, which nothing gives it; have a required argument of that name here too", res.Action, name)
		}
	}
	lists := by.def.List && (slices.Contains(by.def.Fields, "id") || by.operation != "")
	switch {
	case takes == "" && by.response.id == nil && !lists:
		return fmt.Errorf("%q lists records without an id to find the argument among; add response: {id: <where it is>} to it", res.Action)
	case takes != "" && by.def.IDArgument != takes && !(by.def.List && (by.response.id != nil || lists)):
		return fmt.Errorf("%q does not compare the record it finds with %q, so any record would prove it; add response: {id: <where it is>, id_argument: %s} to it", res.Action, takes, takes)
	}
	return nil
}

// records are the stems of the arguments that some action proves, so that
// "order" and "orderNo" are known where "order_id" is proven.
func (c *Catalog) records() map[string]bool {
	stems := map[string]bool{}
	for _, e := range c.actions {
		for _, res := range e.def.Resources {
			stems[plain(res.Argument)] = true
			if stem, ok := recordStem(res.Argument); ok && stem != "" {
				stems[stem] = true
			}
		}
	}
	return stems
}

// unproven are the arguments in a personal write's body that name a record by
// what the catalog says elsewhere.
func (e entry) unproven(records map[string]bool) []string {
	if !e.def.Personal || !e.writes() {
		return nil
	}
	var out []string
	for _, c := range e.requests() {
		for _, name := range c.request.bodyArgs {
			stem := plain(name)
			if !e.settled(name) && !slices.Contains(out, name) && (records[stem] || records[strings.TrimSuffix(stem, "s")]) {
				out = append(out, name)
			}
		}
	}
	return out
}

// isRecord reports a name of what the catalog elsewhere says is a record.
func isRecord(records map[string]bool, name string) bool {
	stem := plain(name)
	return records[stem] || records[strings.TrimSuffix(stem, "s")]
}

// unprovenKeys are the arguments that a personal write's body sends under the
// name of a record.
func (e entry) unprovenKeys(records map[string]bool) []string {
	if !e.def.Personal || !e.writes() {
		return nil
	}
	var out []string
	for _, c := range e.requests() {
		if c.request.use == nil {
			continue
		}
		for key := range c.request.use.keys {
			for _, name := range c.request.bodyArgs {
				under := c.request.use.under(key)
				if isRecord(records, key) && under&bareArgs != 0 && c.request.use.holds(under, name) && !e.settled(name) && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// exposed are the arguments of a public action that name a customer's record.
func (e entry) exposed(records map[string]bool) []string {
	if e.def.Personal || e.request == nil {
		return nil
	}
	return slices.DeleteFunc(e.def.Args.Names(), func(name string) bool {
		return e.settled(name) || !isRecord(records, name) && !(e.writes() && namesRecord(name))
	})
}

func (c *Catalog) names() []string {
	names := make([]string, 0, len(c.actions))
	for name := range c.actions {
		names = append(names, name)
	}
	return names
}

// Actions returns the actions, sorted by name. They must not be changed.
func (c *Catalog) Actions() []*engine.Action {
	out := make([]*engine.Action, 0, len(c.actions))
	for _, e := range c.actions {
		out = append(out, e.def)
	}
	slices.SortFunc(out, func(a, b *engine.Action) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Lookup returns the action of that name.
func (c *Catalog) Lookup(name string) (*engine.Action, bool) {
	e, ok := c.actions[name]
	if !ok {
		return nil, false
	}
	return e.def, true
}

// Manifest returns the manifest that declares the action, nil when none does.
func (c *Catalog) Manifest(name string) *Manifest { return c.actions[name].manifest }
