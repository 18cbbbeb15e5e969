package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/connectors"
	"vouchsafe/engine"
	"vouchsafe/engine/policy"
)

// catalog is what the site's manifests describe. A site with a help folder
// answers questions from it, whether or not a manifest says so.
func (s siteSettings) catalog() (*connectors.Catalog, error) {
	manifests := s.manifests
	if s.knowledge != nil && !declaresKnowledge(manifests) {
		manifests = append(manifests[:len(manifests):len(manifests)], connectors.KnowledgeManifest())
	}
	catalog, err := connectors.NewCatalog(manifests)
	if err != nil {
		return nil, fmt.Errorf("site %s: %w", s.site.ID, err)
	}
	return catalog, nil
}

func declaresKnowledge(ms []*connectors.Manifest) bool {
	return slices.ContainsFunc(ms, func(m *connectors.Manifest) bool { return m.Kind == connectors.KindKnowledge })
}

// probesOf is what a policy for these sites is probed with: their actions, each
// once, and the sites themselves.
func probesOf(sites []siteSettings) ([]*engine.Action, policy.ProbeOptions, error) {
	var actions []*engine.Action
	var opts policy.ProbeOptions
	seen := map[string]bool{}
	for i := range sites {
		catalog, err := sites[i].catalog()
		if err != nil {
			return nil, opts, err
		}
		for _, a := range catalog.Actions() {
			args, err := json.Marshal(a.Args.Source())
			if err != nil {
				return nil, opts, fmt.Errorf("reading the arguments of %s: %w", a.Name, err)
			}
			key := fmt.Sprintf("%s\x00%t %d %d\x00%s", a.Name, a.Personal, a.Risk, a.MinTier, args)
			if !seen[key] {
				seen[key] = true
				actions = append(actions, a)
			}
		}
		opts.Sites = append(opts.Sites, &sites[i].site)
	}
	return actions, opts, nil
}

// policySites are the sites that a policy is probed for: the configuration's,
// else the demo's.
func (c *cli) policySites() ([]siteSettings, error) {
	if c.config == "" {
		manifests, err := demoManifests()
		if err != nil {
			return nil, err
		}
		var out []siteSettings
		for _, id := range demo.Sites {
			out = append(out, siteSettings{site: demoSite(id), manifests: manifests, knowledge: demo.Help})
		}
		return out, nil
	}
	cfg, err := config.LoadWithoutSecrets(c.config)
	if err != nil {
		return nil, err
	}
	var out []siteSettings
	for _, s := range cfg.Sites {
		manifests, err := manifestsOf(s.Actions)
		if err != nil {
			return nil, err
		}
		site := siteSettings{site: s.Engine(), manifests: manifests}
		if s.Knowledge != "" {
			site.knowledge = os.DirFS(s.Knowledge)
		}
		out = append(out, site)
	}
	return out, nil
}
