package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/demo"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors/provider"
)

// commands are all but serve.
func (c *cli) commands() []*cobra.Command {
	return []*cobra.Command{
		c.initCommand(),
		c.doctorCommand(),
		c.statusCommand(),
		c.policyCommand(),
		c.auditCommand(),
		c.tokenCommand(),
		c.adminCommand(),
		c.kbCommand(),
		c.connectionCommand(),
		c.connectorCommand(),
	}
}

// group is a command that only has subcommands. Naming none of them, or one
// that is not there, asked nothing.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return output.Cannot(nil)
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}

// place is the gate that a command is about: one with a configuration, or the
// demo, which has none.
type place struct {
	data   string         // its data folder
	config *config.Config // nil for the demo
}

// keys is the folder of the gate's own keys.
func (p place) keys() string {
	if p.config == nil {
		return demoKeys(p.data)
	}
	return p.config.Keys
}

// dataFlag adds --data to a command.
func dataFlag(cmd *cobra.Command, data *string) {
	cmd.PersistentFlags().StringVar(data, "data", "",
		"the data `FOLDER` (default ./data, the demo's, or the configuration's)")
}

// place finds the gate by --config and --data. Secrets are out of reach, unless
// the command needs them.
func (c *cli) place(data string, load func(string) (*config.Config, error)) (place, error) {
	var p place
	p.data = demoData
	if c.config != "" {
		var err error
		if p.config, err = load(c.config); err != nil {
			return p, err
		}
		p.data = p.config.Data
	}
	if data != "" {
		p.data = data
	}
	var err error
	if p.data, err = filepath.Abs(p.data); err != nil {
		return p, fmt.Errorf("finding the data folder: %w", err)
	}
	return p, nil
}

var errNoSite = errors.New("which site? name it with --site")

// checkSite refuses a site that the gate does not serve.
func (p place) checkSite(id string) error {
	known := demo.Sites
	if p.config != nil {
		known = nil
		for _, s := range p.config.Sites {
			known = append(known, s.ID)
		}
	}
	if slices.Contains(known, id) {
		return nil
	}
	want := "the sites are " + strings.Join(known, ", ")
	if len(known) == 1 {
		want = "the only site is " + known[0]
	}
	if id == "" {
		return output.WithHint(errNoSite, want)
	}
	if p.config == nil {
		want += "; without --config, the demo is meant"
	}
	return output.WithHint(fmt.Errorf("there is no site %q", id), want)
}

// configuredSite returns a site of the configuration that checkSite let through.
func (p place) configuredSite(id string) config.Site {
	return p.config.Sites[slices.IndexFunc(p.config.Sites, func(s config.Site) bool { return s.ID == id })]
}

// providerKey is the provider's master key in the folder of the gate's keys.
const providerKey = "connections"

// providerPaths says where the connection provider that belongs to a gate keeps
// its things. c is nil for the demo. The master key is not inside the folder
// that holds what it encrypts.
func providerPaths(c *config.Config, data string) provider.Options {
	dir := filepath.Join(data, providerDir)
	o := provider.Options{
		Dir:       dir,
		Key:       provider.MasterKey{File: filepath.Join(data, "provider-key", "master")},
		CreateKey: true,
		Socket:    filepath.Join(dir, providerSock),
	}
	if c != nil {
		o.Key.File = filepath.Join(c.Keys, providerKey)
	}
	return o
}
