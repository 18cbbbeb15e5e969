package main

import (
	"errors"
	"fmt"
	"os"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/connectors"
	"vouchsafe/connectors/caldav"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/identity"
)

// sitesOf turns the configured sites into what a gate is assembled from. All
// that is wrong with keys and manifests is reported together.
func sitesOf(c *config.Config, published keySets) ([]siteSettings, error) {
	var sites []siteSettings
	var problems []error
	for _, s := range c.Sites {
		v, err := verifierOf(c, s, published)
		problems = append(problems, err)
		ms, err := manifestsOf(s.Actions)
		problems = append(problems, err)
		out := siteSettings{site: s.Engine(), verifier: v, testMode: s.Tokens.TestMode, manifests: ms, knowledgeURL: s.KnowledgeURL, retention: s.Retention}
		if s.Knowledge != "" {
			out.knowledge = os.DirFS(s.Knowledge)
		}
		sites = append(sites, out)
	}
	return sites, errors.Join(problems...)
}

// keySets are the key sets that issuers publish, by URL. They outlive a change
// of the configuration, so that an issuer which is down at that moment is not
// missed.
type keySets map[string]*identity.JWKS

// at returns the key set of a URL, the one that is known if there is one.
func (k keySets) at(url string) (*identity.JWKS, error) {
	if known := k[url]; known != nil {
		return known, nil
	}
	set, err := identity.NewJWKS(identity.JWKSConfig{URL: url})
	if err == nil && k != nil {
		k[url] = set
	}
	return set, err
}

// verifierOf admits a site's keys. published may be nil.
func verifierOf(c *config.Config, s config.Site, published keySets) (*identity.Verifier, error) {
	t := s.Tokens
	var keys []identity.Key
	var problems []error
	for _, k := range t.Keys {
		material, err := k.Source.Read()
		if err == nil {
			var key identity.Key
			if k.Symmetric() {
				key, err = identity.ParseSecret(k.KID, k.Alg, material)
			} else {
				key, err = identity.ParsePublicKey(k.KID, k.Alg, material)
			}
			keys = append(keys, key.Window(k.NotBefore, k.RetireAfter))
		}
		if err != nil {
			problems = append(problems, c.Refuse(k.Place, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	cfg := identity.Config{Site: s.ID, Issuer: t.Issuer, Audience: t.Audience, Keys: keys,
		ClockSkew: t.ClockSkew, FoldEmailLocal: t.FoldEmailLocal}
	if t.JWKSURL != "" {
		set, err := published.at(t.JWKSURL)
		if err != nil {
			return nil, fmt.Errorf("%s: the jwks_url of site %s: %w", c.File, s.ID, err)
		}
		cfg.Published = set
	}
	v, err := identity.NewVerifier(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: the tokens of site %s: %w", c.File, s.ID, err)
	}
	return v, nil
}

// kinds are the kinds of connector, written in Go, that this program has.
var kinds = []*connectors.Kind{caldav.Kind()}

// manifestsOf reads action manifests.
func manifestsOf(files []string) ([]*connectors.Manifest, error) {
	var out []*connectors.Manifest
	var problems []error
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err == nil {
			var m *connectors.Manifest
			if m, err = connectors.ParseManifest(file, src, kinds...); err == nil {
				out = append(out, m)
			}
		}
		problems = append(problems, err)
	}
	return out, errors.Join(problems...)
}

func limitsOf(l config.Limits) httpapi.Limits {
	rate := func(l config.Limit) httpapi.Rate {
		return httpapi.Rate{Count: l.Requests, Per: l.Per, Off: l.Off}
	}
	return httpapi.Limits{PerVisitor: rate(l.PerVisitor), PerAddress: rate(l.PerAddress)}
}
