package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/policy/bundle"
	"vouchsafe/engine/rollout"
	"vouchsafe/policies"
)

// sourceOf is where the configuration's policies come from.
func sourceOf(c config.Policies) (rollout.Source, error) {
	if c.Embedded() {
		return rollout.Fixed{Name: embeddedPolicies, Files: policies.FS}, nil
	}
	if c.Folder != "" {
		return &rollout.Dir{Path: c.Folder}, nil
	}
	keys, err := policyKeys(c)
	if err != nil {
		return nil, err
	}
	if c.Bundle != "" {
		return &rollout.File{Path: c.Bundle, Keys: keys, Schemas: policies.FS}, nil
	}
	pull := rollout.PullConfig{URL: c.URL, Keys: keys, Schemas: policies.FS, Poll: c.Poll}
	if c.Token != (config.KeySource{}) {
		pull.Token = c.Token.Read // each time, so that it can be exchanged
	}
	return rollout.NewPull(pull)
}

const embeddedPolicies = "the embedded policies"

// policyKeys are the keys that bundles are verified with.
func policyKeys(c config.Policies) ([]bundle.Key, error) {
	var keys []bundle.Key
	for _, k := range c.Verify {
		material, err := k.Source.Read()
		if err != nil {
			return nil, fmt.Errorf("reading the policy key %q: %w", k.KID, err)
		}
		keys = append(keys, bundle.Key{ID: k.KID, Algorithm: k.Alg, Material: material})
	}
	return keys, nil
}

// policyFolder is a policy folder that a command is about.
type policyFolder struct {
	fs.FS
	name string // as it was named, "" for the embedded policies
}

// policyFolder finds the policies: the argument, else the configuration's, else
// the embedded ones. A bundle is looked into whoever signed it: only a gate puts
// policies in force.
func (c *cli) policyFolder(args []string) (policyFolder, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	} else if c.config != "" {
		cfg, err := config.LoadWithoutSecrets(c.config)
		if err != nil {
			return policyFolder{}, err
		}
		if cfg.Policies.URL != "" {
			return policyFolder{}, errors.New("the configuration's policies are pulled from a server: name a folder or a bundle")
		}
		name = cfg.Policies.Folder + cfg.Policies.Bundle
	}
	f, err := openPolicies(name)
	return policyFolder{f, name}, err
}

// openPolicies opens a policy folder or a bundle, the embedded policies for "".
func openPolicies(path string) (fs.FS, error) {
	if path == "" {
		return policies.FS, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the policies: %w", err)
	}
	if info.IsDir() {
		return os.DirFS(path), nil
	}
	if !info.Mode().IsRegular() || info.Size() > bundle.MaxBytes {
		return nil, fmt.Errorf("the policies: %s is not a folder, and no bundle either", path)
	}
	packed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the policies: %w", err)
	}
	b, err := bundle.ReadUnverified(packed, policies.FS)
	if err != nil {
		return nil, fmt.Errorf("the policies: %s is not a folder, and no bundle either: %w", path, err)
	}
	return b.Folder.FS()
}

// file returns where a file of the folder is, for an editor to open.
func (f policyFolder) file(name string) string {
	if name == "" {
		return f.String()
	}
	return filepath.Join(f.name, filepath.FromSlash(name))
}

func (f policyFolder) String() string {
	if f.name == "" {
		return embeddedPolicies
	}
	return f.name
}

// budget is the configuration's replay budget, over the log's newest decisions.
func (a *app) budget(c *config.PolicyReplay) *rollout.Replay {
	if c == nil {
		return nil
	}
	return &rollout.Replay{
		DenyToAllow: c.MaxDenyToAllow, Flips: c.MaxFlips,
		Window: func() (string, error) {
			newest, err := a.audit.List(audit.Query{Limit: 1})
			if err != nil || len(newest) == 0 {
				return "", err
			}
			return newest[0].Decision.ID, nil
		},
		Decisions: func(ctx context.Context, each func(policy.Recorded) error) error {
			q := audit.Query{Since: time.Now().Add(-c.Since)}
			for left := c.Decisions; left > 0; {
				q.Limit = min(left, auditPage)
				page, err := a.audit.List(q)
				if err != nil {
					return err
				}
				for i := range page {
					if err := each(recordedOf(&page[i])); err != nil {
						return err
					}
				}
				if len(page) < q.Limit || ctx.Err() != nil {
					return ctx.Err()
				}
				left -= len(page)
				q.Before = page[len(page)-1].Position()
			}
			return nil
		},
	}
}

// recordRollout puts on record what happened to the policy in force, and of
// which sites' tiers it need not be held to.
func (a *app) recordRollout(ctx context.Context, e rollout.Event) error {
	now := time.Now().UTC()
	if e.Kind != rollout.Started {
		act := audit.Act{Time: now, Site: audit.GateSite, By: e.By, Kind: e.Kind, Object: e.Revision, From: e.From, Code: e.Stage, Reason: e.Reason}
		if _, err := a.audit.Act(ctx, act); err != nil {
			return err
		}
	}
	return a.recordWaivers(ctx, e.Revision, e.Waived, *a.sites.Load())
}

// recordWaivers puts on record, site by site, that a policy is not held to the
// site's tier.
func (a *app) recordWaivers(ctx context.Context, revision string, waived []string, sites []siteSettings) error {
	for _, id := range waived {
		if !slices.ContainsFunc(sites, func(s siteSettings) bool { return s.site.ID == id }) {
			continue
		}
		a.log.Warn("the policies need not hold this site to its tier; the gate itself still does", "site", id, "policy", revision)
		if _, err := a.audit.Act(ctx, audit.Act{Time: time.Now().UTC(), Site: id, By: "policy " + revision, Kind: "tier_waiver"}); err != nil {
			return fmt.Errorf("recording that the tier of site %s is waived: %w", id, err)
		}
	}
	return nil
}
