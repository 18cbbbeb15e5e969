package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
)

// Which calls a connection may be used for follows from the manifests that use
// it. An operator's command tells the provider so, with the operator's key: the
// gate's own key cannot change it, so that a gate which is taken over makes the
// calls of its manifests and no others.

// connectionName is a connection's site and id.
type connectionName struct{ site, id string }

// rulesOf are the rules of each connection that a gate's manifests use.
func (p place) rulesOf() (map[connectionName][]provider.Rule, error) {
	manifests := map[string][]*connectors.Manifest{}
	if p.config == nil {
		all, err := demoManifests()
		if err != nil {
			return nil, err
		}
		for _, site := range demo.Sites {
			manifests[site] = all
		}
	} else {
		var problems []error
		for _, s := range p.config.Sites {
			ms, err := manifestsOf(s.Actions)
			problems = append(problems, err)
			manifests[s.ID] = ms
		}
		if err := errors.Join(problems...); err != nil {
			return nil, err
		}
	}
	rules := map[connectionName][]provider.Rule{}
	for site, ms := range manifests {
		for _, m := range ms {
			if m.Connection == "" {
				continue
			}
			at := connectionName{site, m.Connection}
			rules[at] = provider.SortRules(append(rules[at], m.Rules()...))
		}
	}
	return rules, nil
}

// sites are the gate's.
func (p place) sites() []string {
	if p.config == nil {
		return demo.Sites
	}
	var out []string
	for _, s := range p.config.Sites {
		out = append(out, s.ID)
	}
	return out
}

// allowed is how a connection's rules differ from its manifests', in JSON.
type allowed struct {
	Site    string          `json:"site"`
	ID      string          `json:"id"`
	Allow   []provider.Rule `json:"allow"` // as the manifests want it
	Added   []provider.Rule `json:"added,omitempty"`
	Removed []provider.Rule `json:"removed,omitempty"`
	Missing bool            `json:"missing,omitempty"` // the manifests use it, and nobody has added it
}

func (a allowed) same() bool { return len(a.Added)+len(a.Removed) == 0 }

// compareRules says for each connection of the gate's sites how the provider's
// rules differ from the manifests'.
func compareRules(ctx context.Context, at place, o provider.Options) ([]allowed, error) {
	want, err := at.rulesOf()
	if err != nil {
		return nil, err
	}
	list, err := connections(ctx, o, "")
	if err != nil {
		return nil, err
	}
	var out []allowed
	for _, c := range list {
		if !slices.Contains(at.sites(), c.Site) {
			continue
		}
		name := connectionName{c.Site, c.ID}
		a := allowed{Site: c.Site, ID: c.ID, Allow: append([]provider.Rule{}, want[name]...)}
		for _, r := range a.Allow {
			if !slices.Contains(c.Allow, r) {
				a.Added = append(a.Added, r)
			}
		}
		for _, r := range c.Allow {
			if !slices.Contains(a.Allow, r) {
				a.Removed = append(a.Removed, r)
			}
		}
		out = append(out, a)
		delete(want, name)
	}
	for name, rules := range want {
		out = append(out, allowed{Site: name.site, ID: name.id, Allow: rules, Missing: true})
	}
	slices.SortFunc(out, func(a, b allowed) int {
		return slices.Compare([]string{a.Site, a.ID}, []string{b.Site, b.ID})
	})
	return out, nil
}

func (c *cli) connectionAllowCommand(f *providerFlags) *cobra.Command {
	var apply bool
	cmd := &cobra.Command{
		Use:   "allow",
		Short: "Compare which calls connections may be used for with the manifests, and set it",
		Long: `Show how the calls that the provider allows for each connection differ from those
that the manifests of the configuration make, and with --apply set them. Any
other call is refused by the provider, whoever asks. serve does it by itself for
the provider that it starts; beside one that runs apart, you do. Without
--config, for the demo.

Exits 0 when there is no difference, or none any more, 1 when there is.`,
		Example: `  vouchsafe connection allow --config vouchsafe.yaml
  vouchsafe connection allow --config vouchsafe.yaml --apply \
    --dir provider --key-file provider.key --socket provider/provider.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			at, err := c.place(f.data, config.LoadWithoutSecrets)
			if err != nil {
				return output.Cannot(err)
			}
			o, err := c.provider(f, "")
			if err != nil {
				return output.Cannot(err)
			}
			all, err := compareRules(cmd.Context(), at, o)
			if err != nil {
				return output.Cannot(err)
			}
			differ := 0
			for _, a := range all {
				if err := printRules(p, a, apply); err != nil {
					return err
				}
				if a.Missing || a.same() {
					continue
				}
				differ++
				if apply {
					if err := provider.AllowCalls(cmd.Context(), o, a.Site, a.ID, a.Allow); err != nil {
						return output.Cannot(err)
					}
				}
			}
			switch {
			case differ == 0:
				return p.Line("The provider allows what the manifests ask, and nothing else.")
			case apply:
				return p.Line("%d connection(s) changed.", differ)
			}
			return output.Fails(output.WithHint(fmt.Errorf("%d connection(s) differ from the manifests", differ), "look at the differences, then add --apply"))
		},
	}
	cmd.Flags().BoolVar(&apply, "apply", false, "set what the manifests want")
	return cmd
}

// printRules prints a connection's differences, a line each.
func printRules(p *output.Printer, a allowed, apply bool) error {
	if p.Format() == output.JSON {
		return p.Object(a)
	}
	if a.Missing {
		return p.Line("%s of %s: the manifests use it, and it was not added: `vouchsafe connection add %s --site %s`", a.ID, a.Site, a.ID, a.Site)
	}
	if a.same() {
		return nil
	}
	if err := p.Line("%s of %s:", a.ID, a.Site); err != nil {
		return err
	}
	for _, r := range a.Added {
		if err := p.Line("  + %s", r); err != nil {
			return err
		}
	}
	for _, r := range a.Removed {
		if err := p.Line("  - %s", r); err != nil {
			return err
		}
	}
	return nil
}
