package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // timezones work on machines that have none installed

	"go.yaml.in/yaml/v3"

	"vouchsafe/engine"
)

func parse(name string, src []byte, dir string, secrets bool) (*Config, error) {
	p := &parser{name: name, dir: dir, secrets: secrets}
	c := &Config{File: name, Dir: dir}
	if root := p.document(src); root != nil {
		p.config(root, c)
	}
	if len(p.problems) > 0 {
		return nil, newError(name, p.problems)
	}
	c.Warnings = p.warnings
	return c, nil
}

func (p *parser) config(root *yaml.Node, c *Config) {
	s, ok := p.section(root, "", "addr", "data", "keys", "policies", "admin", "limits", "trusted_proxies", "sites", "connections", "sinks")
	if !ok {
		return
	}
	c.Addr = s.address("addr", defaultAddr)
	if c.Addr == "" {
		s.fail("addr", "is empty: leave it out for %s", defaultAddr)
	}
	c.Data = s.folder("data", defaultData)
	c.Keys = s.folder("keys", defaultKeys)
	if c.Data != "" && c.Keys != "" && within(c.Keys, c.Data) {
		s.fail("keys", "must not be inside data: whoever copies the data would copy its keys")
	}
	c.Policies = p.policies(s)
	c.Limits = Limits{PerVisitor: defaultPerVisitor, PerAddress: defaultPerAddress, NotFoundAfter: DefaultNotFoundAfter}
	if l, ok := s.section("limits", "per_visitor", "per_address", "not_found_after"); ok {
		c.Limits.NotFoundAfter = l.span("not_found_after", DefaultNotFoundAfter, 0, maxNotFoundAfter, time.Millisecond)
		c.Limits.PerVisitor = l.limit("per_visitor", defaultPerVisitor)
		c.Limits.PerAddress = l.limit("per_address", defaultPerAddress)
	}
	s.texts("trusted_proxies", func(v string, n *yaml.Node, key string) {
		prefix, wrong := proxy(v)
		if wrong != "" {
			p.fail(n, key, "%s", wrong)
			return
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix)
	})
	p.sites(s, c)
	p.admin(s, c)
	p.sinks(s, c)
	c.Connections = p.connections(s)
}

// folder resolves a folder that need not exist yet.
func (s section) folder(key, fallback string) string {
	v := fallback
	if s.has(key) {
		if v = s.required(key, "a folder, by default ./"+fallback); v == "" {
			return ""
		}
	}
	path := s.p.path(v)
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		s.fail(key, "is not a folder")
		return ""
	}
	return path
}

// within reports whether inner is outer or beneath it, by name or by where
// symbolic links lead.
func within(inner, outer string) bool {
	beneath := func(inner, outer string) bool {
		rel, err := filepath.Rel(outer, inner)
		return err == nil && filepath.IsLocal(rel)
	}
	return beneath(inner, outer) || beneath(resolved(inner), resolved(outer))
}

// resolved follows the symbolic links of as much of path as exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(resolved(parent), filepath.Base(path))
}

func (p *parser) admin(s section, c *Config) {
	a, ok := s.section("admin", "addr")
	if !ok {
		return
	}
	c.Admin.Addr = a.address("addr", "")
	if c.Admin.Addr != "" && !listensOnThisMachine(c.Admin.Addr) {
		p.warn(a.fields["addr"], a.at("addr"), "is reachable from other machines without TLS: put a TLS proxy before it")
	}
}

func (p *parser) connections(s section) Connections {
	c, ok := s.section("connections", "provider", "key_file", "key_env")
	if !ok {
		return Connections{Embedded: true}
	}
	var out Connections
	provider := "embedded"
	if c.has("provider") {
		provider = c.required("provider", "embedded, a URL or unix:PATH")
	}
	hasKey := c.has("key_file") || c.has("key_env")
	socket, isSocket := strings.CutPrefix(provider, "unix:")
	switch {
	case provider == "":
		return out
	case provider == "embedded":
		if hasKey {
			c.fail(first(c, "key_file", "key_env"), "is not for the embedded provider, which makes its own")
		}
		return Connections{Embedded: true}
	case isSocket:
		if socket == "" {
			c.fail("provider", "names no socket: want unix:PATH")
			return out
		}
		out.Socket = p.path(socket)
	case !strings.Contains(provider, "://"):
		c.fail("provider", "must be embedded, a URL or unix:PATH")
		return out
	default:
		out.URL = strings.TrimSuffix(c.secure("provider"), "/")
		if strings.Contains(out.URL, "?") {
			c.fail("provider", "must not hold a query (?...)")
		}
	}
	source, ok := c.source("key_file", "key_env")
	if !ok && !hasKey {
		c.fail("key_file", "is missing: a provider that is not embedded asks for a key; name its file, or key_env")
	}
	out.Key = source
	c.weigh(source, minProviderKey)
	return out
}

func first(s section, keys ...string) string {
	for _, k := range keys {
		if s.has(k) {
			return k
		}
	}
	return keys[0]
}

var siteID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (p *parser) sites(s section, c *Config) {
	if !s.has("sites") {
		s.fail("sites", "is missing: there is nothing to serve")
		return
	}
	if s.lacks("sites") {
		s.fail("sites", "is empty: there is nothing to serve")
	}
	ids, audiences := map[string]int{}, map[[2]string]int{}
	for i, n := range s.list("sites") {
		key := fmt.Sprintf("sites[%d]", i)
		f, ok := p.section(n, key, "id", "name", "tier", "timezone", "sign_in_url", "origins", "tokens", "actions", "knowledge", "knowledge_url", "stale_policy", "audit")
		if !ok {
			continue
		}
		site := p.site(f)
		if site.RefuseStale && c.Policies.MaxStaleness == 0 {
			f.fail("stale_policy", "is refuse, and policies has no max_staleness: the policy would never be stale")
		}
		if site.ID != "" {
			if line, dup := ids[site.ID]; dup {
				f.fail("id", "is also the id of the site on line %d", line)
			} else {
				ids[site.ID] = n.Line
			}
		}
		if t := site.Tokens; t.Issuer != "" && t.Audience != "" {
			pair := [2]string{t.Issuer, t.Audience}
			if line, dup := audiences[pair]; dup {
				p.fail(f.fields["tokens"], f.at("tokens"), "has the issuer and audience of the site on line %d: a token would be good for both", line)
			} else {
				audiences[pair] = n.Line
			}
		}
		c.Sites = append(c.Sites, site)
	}
}

func (p *parser) site(f section) Site {
	site := Site{ID: f.required("id", "a short name for URLs, such as shop"), Location: time.UTC}
	if site.ID != "" && !siteID.MatchString(site.ID) {
		f.fail("id", "must be lower-case letters, digits and dashes, at most 63, and not start with a dash")
	}
	if site.Name = f.text("name"); site.Name == "" {
		site.Name = site.ID
	}
	if tier := f.required("tier", "free, pro or business"); tier != "" {
		t, err := engine.ParseTier(tier)
		if err != nil {
			f.fail("tier", "must be free, pro or business")
		}
		site.Tier = t
	}
	if zone := f.text("timezone"); zone != "" {
		loc, err := time.LoadLocation(zone)
		if err != nil || zone == "Local" {
			f.fail("timezone", "is not the name of a time zone, such as Europe/London or UTC")
		} else {
			site.Location = loc
		}
	}
	if u := f.web("sign_in_url"); u != nil {
		site.SignInURL = u.String()
		if u.Scheme != "https" && !onThisMachine(u.Hostname()) {
			p.warn(f.fields["sign_in_url"], f.at("sign_in_url"), "is not https: what visitors sign in with can be read on the way")
		}
	}
	f.texts("origins", func(v string, n *yaml.Node, key string) {
		if wrong := origin(v); wrong != "" {
			p.fail(n, key, "%s", wrong)
			return
		}
		if slices.Contains(site.Origins, v) {
			p.fail(n, key, "is there twice")
			return
		}
		site.Origins = append(site.Origins, v)
	})
	site.RefuseStale = f.choice("stale_policy", "allow", "allow", "refuse") == "refuse"
	site.Tokens = p.tokens(f)
	if a, ok := f.section("audit", "retention"); ok {
		site.Retention = a.age("retention", minRetention, maxRetention)
	}
	f.texts("actions", func(v string, n *yaml.Node, key string) {
		site.ActionGlobs = append(site.ActionGlobs, p.path(v))
		for _, path := range p.manifests(v, n, key) {
			if !slices.Contains(site.Actions, path) {
				site.Actions = append(site.Actions, path)
			}
		}
	})
	slices.Sort(site.Actions)
	if folder := f.text("knowledge"); folder != "" {
		site.Knowledge = p.path(folder)
		if info, err := os.Stat(site.Knowledge); err != nil {
			f.fail("knowledge", "cannot be read: %v", withoutPath(err))
		} else if !info.IsDir() {
			f.fail("knowledge", "is not a folder")
		}
	}
	if u := f.web("knowledge_url"); u != nil {
		site.KnowledgeURL = u.String()
	}
	if f.has("knowledge_url") && !f.has("knowledge") {
		f.fail("knowledge_url", "is set without knowledge: there is nothing to cite")
	}
	return site
}

// manifests returns the files that a glob matches, reporting when there are none.
func (p *parser) manifests(glob string, n *yaml.Node, key string) []string {
	if strings.Contains(glob, "**") {
		p.fail(n, key, "must name each folder: ** is not supported")
		return nil
	}
	matches, err := filepath.Glob(p.path(glob))
	if err != nil {
		p.fail(n, key, "is not a pattern such as actions/*.yaml")
		return nil
	}
	var files []string
	for _, m := range matches {
		if info, err := os.Stat(m); err == nil && info.Mode().IsRegular() {
			files = append(files, m)
		}
	}
	if len(files) == 0 {
		p.fail(n, key, "matches no file")
	}
	return files
}

func (p *parser) tokens(f section) Tokens {
	out := Tokens{MaxLifetime: defaultMaxLifetime, ClockSkew: defaultClockSkew}
	if !f.has("tokens") {
		f.fail("tokens", "is missing: without issuer, audience and keys nobody can be identified")
		return out
	}
	t, ok := f.section("tokens", "issuer", "audience", "max_lifetime", "clock_skew", "email_local_case", "fresh_confirmation", "test_mode", "keys", "jwks_url")
	if !ok {
		return out
	}
	out.Issuer = t.required("issuer", "the iss of the site's tokens")
	out.Audience = t.required("audience", "the aud of the site's tokens, such as vouchsafe-shop")
	out.MaxLifetime = t.duration("max_lifetime", defaultMaxLifetime, time.Second, maxMaxLifetime)
	out.ClockSkew = t.duration("clock_skew", defaultClockSkew, 0, maxClockSkew)
	out.FoldEmailLocal = t.choice("email_local_case", "exact", "exact", "fold") == "fold"
	out.FreshConfirmation = t.truth("fresh_confirmation")
	if out.TestMode = t.truth("test_mode"); out.TestMode {
		p.warn(t.fields["test_mode"], t.at("test_mode"), "is on: whoever sends a token is told exactly why it is refused; take it out before visitors come")
	}
	if t.has("jwks_url") {
		t.required("jwks_url", "the address of the site's public keys")
		out.JWKSURL = t.secure("jwks_url")
	}
	kids := map[string]int{}
	for i, n := range t.list("keys") {
		k, ok := p.section(n, fmt.Sprintf("%s[%d]", t.at("keys"), i), "kid", "alg", "secret_file", "secret_env", "public_key_file", "not_before", "retire_after")
		if !ok {
			continue
		}
		key := p.tokenKey(k)
		if line, dup := kids[key.KID]; dup && key.KID != "" {
			k.fail("kid", "is also the kid of the key on line %d", line)
		} else {
			kids[key.KID] = n.Line
		}
		out.Keys = append(out.Keys, key)
	}
	if t.lacks("keys") && !t.has("jwks_url") {
		t.fail("keys", "is missing: at least one key, or jwks_url")
	}
	return out
}
