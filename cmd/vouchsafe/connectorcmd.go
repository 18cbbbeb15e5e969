package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors"
	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

func (c *cli) connectorCommand() *cobra.Command {
	return group("connector", "Check manifests, and see the requests their actions would make", c.connectorCheckCommand(), c.connectorTryCommand())
}

// siteManifests are the manifests of one site, as it has them together.
type siteManifests struct {
	site  string // "" for files that were named
	files []string
	// read reads them; its error holds every problem of every file.
	read func() ([]*connectors.Manifest, error)
}

// manifestsToCheck are those of the named files as one site's, else of every
// site of the configuration, else of the demo.
func (c *cli) manifestsToCheck(files []string) ([]siteManifests, error) {
	if len(files) > 0 {
		return []siteManifests{{files: files, read: func() ([]*connectors.Manifest, error) { return manifestsOf(files) }}}, nil
	}
	if c.config == "" {
		return []siteManifests{{site: demo.SiteID, read: demoManifests}}, nil
	}
	cfg, err := config.LoadWithoutSecrets(c.config)
	if err != nil {
		return nil, err
	}
	var out []siteManifests
	for _, s := range cfg.Sites {
		out = append(out, siteManifests{site: s.ID, files: s.Actions, read: func() ([]*connectors.Manifest, error) { return manifestsOf(s.Actions) }})
	}
	return out, nil
}

// catalog is what the manifests describe together.
func (s siteManifests) catalog() (*connectors.Catalog, error) {
	ms, err := s.read()
	if err != nil {
		return nil, err
	}
	return connectors.NewCatalog(ms)
}

// actionLine is an action that was found sound, as check prints it.
type actionLine struct {
	Site       string   `json:"site,omitempty"`
	Action     string   `json:"action"`
	Personal   bool     `json:"personal"`
	Risk       string   `json:"risk"`
	MinTier    string   `json:"min_tier"`
	Connection string   `json:"connection,omitempty"`
	Proven     []string `json:"proven,omitempty"` // ARGUMENT by ACTION
}

func (c *cli) connectorCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Say whether manifests would be accepted, and what is wrong with them",
		Long: `Read manifests as serve does and report every problem with its file and line.
Files that are named are checked together, as one site's; without any, those of
every site of --config, and without that, the demo's.

Exits 0 when all would be accepted, 1 when not, 2 when they could not be read.`,
		Example: `  vouchsafe connector check actions/*.yaml
  vouchsafe connector check --config vouchsafe.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			sites, err := c.manifestsToCheck(args)
			if err != nil {
				return output.Cannot(err)
			}
			var problems []error
			table := p.Table("SITE", "ACTION", "WHOSE", "RISK", "TIER", "CONNECTION", "PROVEN")
			for _, s := range sites {
				catalog, err := s.catalog()
				if err != nil {
					problems = append(problems, err)
					continue
				}
				for _, a := range catalog.Actions() {
					line := lineOf(s.site, catalog, a)
					whose := "public"
					if line.Personal {
						whose = "personal"
					}
					if err := table.Row(line, line.Site, line.Action, whose, line.Risk, line.MinTier, line.Connection, strings.Join(line.Proven, ", ")); err != nil {
						return err
					}
				}
			}
			if err := table.Flush(); err != nil {
				return err
			}
			if err := errors.Join(problems...); err != nil {
				return output.Fails(err)
			}
			return nil
		},
	}
}

func lineOf(site string, catalog *connectors.Catalog, a *engine.Action) actionLine {
	line := actionLine{Site: site, Action: a.Name, Personal: a.Personal, Risk: a.Risk.String(), MinTier: a.MinTier.String(),
		Connection: catalog.Manifest(a.Name).Connection}
	for _, r := range a.Resources {
		line.Proven = append(line.Proven, r.Argument+" by "+r.Action)
	}
	return line
}

// tryFlags are whom and what an action is tried with.
type tryFlags struct {
	email, subject, name string
	site                 string
	args                 []string
	files                []string
	provider             providerFlags
}

func (c *cli) connectorTryCommand() *cobra.Command {
	var f tryFlags
	cmd := &cobra.Command{
		Use:   "try ACTION --as EMAIL",
		Short: "Show the requests that an action would make, and send none",
		Long: `Show the requests that an action would make for a customer, in order: those that
prove the records its arguments name, those of its steps, its own. Nothing is
sent, so what a step would find is shown as <step.field>; and nobody is signed
in: the policies are not asked. The address and the place of the credential come
from the connection provider's files, where they can be read; the credential
itself never does.

Without --config or --file, the demo's actions.`,
		Example: `  vouchsafe connector try order.cancel --as alex@example.com --arg order_id=1001
  vouchsafe connector try plan.pause --file actions/plans.yaml --as a@b.example --subject c-7 --arg plan_id=p1 --arg months=2`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			shown, err := c.try(cmd.Context(), &f, args[0])
			if err != nil {
				if engine.CodeOf(err) == engine.CodeInvalidArguments {
					return output.Fails(errors.Unwrap(err))
				}
				return output.Cannot(err)
			}
			for i, r := range shown {
				if p.Format() == output.JSON {
					if err := p.Object(r); err != nil {
						return err
					}
					continue
				}
				if err := printRequest(p, i+1, r); err != nil {
					return err
				}
			}
			return errors.Join(p.Line(""), p.Line("Nothing was sent."))
		},
	}
	cmd.Flags().StringVar(&f.email, "as", "", "the customer's `EMAIL`, as their token would have it")
	cmd.Flags().StringVar(&f.subject, "subject", "", "the customer's `SUBJECT`, as their token would have it")
	cmd.Flags().StringVar(&f.name, "name", "", "the customer's `NAME`, as their token would have it")
	cmd.Flags().StringVar(&f.site, "site", "", "whose action it is, where several sites have it")
	cmd.Flags().StringArrayVar(&f.args, "arg", nil, "an argument, as `NAME=VALUE`; once for each")
	cmd.Flags().StringArrayVar(&f.files, "file", nil, "a manifest `FILE`, instead of the configuration's; once for each")
	dataFlag(cmd, &f.provider.data)
	return cmd
}

// tried is a request that would be made, with what the provider would add.
type tried struct {
	connectors.Preview
	BaseURL    string `json:"base_url,omitempty"`   // "" when the provider's files could not be read
	Credential string `json:"credential,omitempty"` // where it goes, never what it is
}

func (c *cli) try(ctx context.Context, f *tryFlags, action string) ([]tried, error) {
	sites, err := c.manifestsToCheck(f.files)
	if err != nil {
		return nil, err
	}
	if f.site != "" {
		sites = slices.DeleteFunc(sites, func(s siteManifests) bool { return s.site != "" && s.site != f.site })
	}
	if len(sites) == 0 {
		return nil, fmt.Errorf("there is no site %q", f.site)
	}
	var catalog *connectors.Catalog
	var site string
	for _, s := range sites {
		found, err := s.catalog()
		if err != nil {
			return nil, err
		}
		if _, ok := found.Lookup(action); ok || catalog == nil {
			catalog, site = found, s.site
			if ok {
				break
			}
		}
	}
	if site == "" {
		site = f.site
	}
	args := map[string]any{}
	if a, ok := catalog.Lookup(action); ok {
		if args, err = parseArgs(a.Args, f.args); err != nil {
			return nil, err
		}
		if a.Personal && f.email == "" {
			return nil, output.WithHint(fmt.Errorf("%s concerns one customer", action), "name one with --as EMAIL; --subject and --name if the request uses them")
		}
	}
	shown, err := catalog.Preview(ctx, action, args, gate.Pinned{Email: f.email, Subject: f.subject, Name: f.name})
	if err != nil {
		return nil, err
	}
	known := c.connectionsOf(ctx, &f.provider, site)
	var out []tried
	for _, r := range shown {
		t := tried{Preview: r}
		if conn, ok := known[r.Connection]; ok {
			t.BaseURL = conn.BaseURL
			switch {
			case conn.Header != "":
				t.Credential = conn.Header + ": ********"
			case conn.Query != "":
				t.Credential = "?" + conn.Query + "=********"
			default:
				t.Credential = string(conn.Type) + " ********"
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// connectionsOf are a site's connections, as far as the provider's files can be
// read. They are only shown, so what cannot be read is left out.
func (c *cli) connectionsOf(ctx context.Context, f *providerFlags, site string) map[string]provider.Connection {
	out := map[string]provider.Connection{}
	o, err := c.provider(f, "")
	if err != nil || site == "" {
		return out
	}
	if _, err := os.Stat(o.Dir); err != nil { // looking makes no provider
		return out
	}
	o.CreateKey = false
	list, err := provider.ListConnections(ctx, o, site)
	if err != nil {
		return out
	}
	for _, conn := range list {
		out[conn.ID] = conn
	}
	return out
}

// parseArgs reads NAME=VALUE as what the schema wants of each.
func parseArgs(schema *engine.ArgSchema, given []string) (map[string]any, error) {
	out := map[string]any{}
	for _, s := range given {
		name, text, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--arg %q is not NAME=VALUE", s)
		}
		out[name] = text
		if kind, _ := schema.Property(name)["type"].(string); kind == "" || kind == "string" {
			continue
		}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err == nil {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				out[name] = v
			}
		}
	}
	return out, nil
}

func printRequest(p *output.Printer, n int, r tried) error {
	base := r.BaseURL
	if base == "" {
		base = "<" + r.Connection + ">"
	}
	lines := []string{fmt.Sprintf("%d. %s: %s", n, r.Action, r.Purpose), fmt.Sprintf("   %s %s%s", r.Method, strings.TrimSuffix(base, "/"), r.Path)}
	if r.Credential != "" {
		lines = append(lines, "   "+r.Credential)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		lines = append(lines, "   "+name+": "+r.Headers[name])
	}
	if r.Body != "" {
		lines = append(lines, "   "+r.Body)
	}
	if r.Repeats != "" {
		lines = append(lines, "   ("+r.Repeats+")")
	}
	for _, line := range lines {
		if err := p.Line("%s", line); err != nil {
			return err
		}
	}
	return nil
}
