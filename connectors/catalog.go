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
	for _, def := range c.Actions() {
		e := c.actions[def.Name]
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
	switch {
	case by.def.Args.Has(res.Argument):
		for _, name := range required {
			if name != res.Argument {
				return fmt.Errorf("%q also requires %q, which nothing gives it", res.Action, name)
			}
		}
	case len(required) == 1:
	case len(required) == 0:
		if by.response.id == nil && !slices.Contains(by.def.Fields, "id") {
			return fmt.Errorf("%q lists records without an id to find the argument among", res.Action)
		}
	default:
		return fmt.Errorf("%q requires more than one argument", res.Action)
	}
	return nil
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
