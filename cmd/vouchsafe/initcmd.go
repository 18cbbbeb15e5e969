package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
)

func (c *cli) initCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented configuration and the keys that are missing",
		Long: `Write a commented configuration with a first site, an example manifest, a help
page and a fresh secret, and make the gate's keys. Where there is a configuration
already, make only the keys it lacks. No file is ever overwritten.`,
		Example: `  vouchsafe init --dir shop-gate`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if c.config != "" {
				if cmd.Flags().Changed("dir") || filepath.Base(c.config) != config.FileName {
					return output.Cannot(fmt.Errorf("init writes %s into the folder that --dir names", config.FileName))
				}
				dir = filepath.Dir(c.config)
			}
			report, err := config.Init(dir)
			if err != nil {
				return output.Cannot(err)
			}
			return printInit(p, report, filepath.Join(dir, config.FileName))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the `FOLDER` to make ready")
	return cmd
}

// initResult is an InitReport in JSON.
type initResult struct {
	Dir   string   `json:"dir"`
	Wrote []string `json:"wrote"`
	Kept  []string `json:"kept"`
}

func printInit(p *output.Printer, r config.InitReport, file string) error {
	var fields []output.Field
	for _, name := range r.Wrote {
		fields = append(fields, output.Field{Name: "wrote", Value: name})
	}
	for _, name := range r.Kept {
		fields = append(fields, output.Field{Name: "kept", Value: name})
	}
	result := initResult{Dir: r.Dir, Wrote: append([]string{}, r.Wrote...), Kept: append([]string{}, r.Kept...)}
	if err := p.Object(result, fields...); err != nil {
		return err
	}
	return p.Line(`
Next:
1. Edit %[1]s: your site's id, sign-in URL and origins, and the issuer and audience of its tokens. Describe your API in actions/example.yaml.
2. Give the connection provider your API's key, which the gate itself never sees:
   vouchsafe connection add shop-admin --site shop --config %[1]s --type api_key --header X-Api-Key --value-env SHOP_API_KEY --base-url https://api.shop.example
3. Start the gate, and see that nothing is wrong:
   vouchsafe serve --config %[1]s
   vouchsafe status --config %[1]s
4. Try it as a customer, before your backend can sign tokens:
   vouchsafe token mint --site shop --config %[1]s --sub 1 --email you@shop.example
5. Look for mistakes, above all in the endpoint that mints tokens:
   vouchsafe doctor --config %[1]s`, file)
}
