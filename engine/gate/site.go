package gate

import (
	"fmt"
	"slices"
	"strings"

	"vouchsafe/engine"
)

// Site is a site with the actions it offers, each bound to the connector that
// performs it. It is never changed once made.
type Site struct {
	*engine.Site
	actions map[string]Binding
	sorted  []*engine.Action
}

// Binding joins an action to its connector.
type Binding struct {
	Action    *engine.Action
	Connector Connector
}

// NewSite binds a site's actions. It refuses a binding that leaves anything to
// chance: an action without tier, risk or argument schema, and a resource that
// no personal read action proves.
func NewSite(s *engine.Site, bindings []Binding) (*Site, error) {
	if s == nil || s.ID == "" || s.Tier == engine.NoTier || s.Location == nil {
		return nil, fmt.Errorf("a site needs an id, a tier and a time zone")
	}
	out := &Site{Site: s, actions: make(map[string]Binding, len(bindings))}
	for _, b := range bindings {
		a := b.Action
		switch {
		case a == nil || a.Name == "":
			return nil, fmt.Errorf("site %s: an action has no name", s.ID)
		case b.Connector == nil:
			return nil, fmt.Errorf("site %s: action %s has no connector", s.ID, a.Name)
		case a.MinTier == engine.NoTier, a.Risk == engine.UnknownRisk, a.Args == nil:
			return nil, fmt.Errorf("site %s: action %s lacks a tier, a risk or an argument schema", s.ID, a.Name)
		}
		if _, twice := out.actions[a.Name]; twice {
			return nil, fmt.Errorf("site %s: action %s is declared twice", s.ID, a.Name)
		}
		out.actions[a.Name] = b
		out.sorted = append(out.sorted, a)
	}
	for _, a := range out.sorted {
		for _, r := range a.Resources {
			by, ok := out.actions[r.Action]
			if !ok || !by.Action.Personal || by.Action.Risk != engine.Read || len(by.Action.Resources) > 0 {
				return nil, fmt.Errorf("site %s: argument %s of %s must be proven by a personal read action, which %s is not",
					s.ID, r.Argument, a.Name, r.Action)
			}
			if name, takes := lookupArgument(by.Action, r.Argument); takes && by.Action.IDArgument != name {
				return nil, fmt.Errorf("site %s: %s cannot prove %s of %s: it does not say which record it brings back",
					s.ID, r.Action, r.Argument, a.Name)
			}
			if !a.Args.Has(r.Argument) {
				return nil, fmt.Errorf("site %s: %s declares a resource for %s, which is not one of its arguments", s.ID, a.Name, r.Argument)
			}
		}
	}
	slices.SortFunc(out.sorted, func(a, b *engine.Action) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Action returns the action of that name.
func (s *Site) Action(name string) (*engine.Action, bool) {
	b, ok := s.actions[name]
	return b.Action, ok
}

// Actions returns the site's actions sorted by name. The slice must not be
// changed.
func (s *Site) Actions() []*engine.Action { return s.sorted }
