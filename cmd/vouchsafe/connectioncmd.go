package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/connectors/provider"
)

// providerFlags say which provider a command is about: the one that belongs to
// a gate, or one elsewhere, named by its own three paths.
type providerFlags struct {
	data                 string
	dir, keyFile, socket string
}

func (c *cli) connectionCommand() *cobra.Command {
	var f providerFlags
	cmd := group("connection", "Give the connection provider the credentials of outside systems",
		c.connectionServeCommand(&f), c.connectionAddCommand(&f), c.connectionListCommand(&f), c.connectionRemoveCommand(&f))
	dataFlag(cmd, &f.data)
	cmd.PersistentFlags().StringVar(&f.dir, "dir", "", "the data `FOLDER` of a provider that runs apart from the gate")
	cmd.PersistentFlags().StringVar(&f.keyFile, "key-file", "", "that provider's master key `FILE`, outside its folder")
	cmd.PersistentFlags().StringVar(&f.socket, "socket", "", "the `PATH` of that provider's socket")
	return cmd
}

// provider finds the provider. site is "" when none is named or any will do.
func (c *cli) provider(f *providerFlags, site string) (provider.Options, error) {
	given := 0
	for _, path := range []string{f.dir, f.keyFile, f.socket} {
		if path != "" {
			given++
		}
	}
	switch {
	case given == 3:
		return provider.Options{Dir: f.dir, KeyFile: f.keyFile, CreateKey: true, Socket: f.socket}, nil
	case given > 0:
		return provider.Options{}, errors.New("--dir, --key-file and --socket go together")
	}
	at, err := c.place(f.data, config.LoadWithoutSecrets)
	if err != nil {
		return provider.Options{}, err
	}
	if at.config != nil && !at.config.Connections.Embedded {
		return provider.Options{}, output.WithHint(errors.New("the configuration names a connection provider that runs apart from the gate"),
			"use --dir, --key-file and --socket where it runs")
	}
	if site != "" {
		if err := at.checkSite(site); err != nil {
			return provider.Options{}, err
		}
	}
	return providerPaths(at.config, at.data), nil
}

func (c *cli) connectionServeCommand(f *providerFlags) *cobra.Command {
	var isChild bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the connection provider by itself",
		Long: `Run the connection provider, which alone holds the credentials of outside
systems, until it is interrupted. serve starts one of its own unless the
configuration names another. Without --config, the demo's.`,
		Example: `  vouchsafe connection serve --dir provider --key-file provider.key --socket provider/provider.sock`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			o, err := c.provider(f, "")
			if err != nil {
				return output.Cannot(err)
			}
			o.Log = newLogger(0)
			serve := func(ctx context.Context, ready func(addr string)) error {
				o.Ready = func() { ready(o.Socket) }
				return provider.Serve(ctx, o)
			}
			if isChild {
				err = runChild(cmd.Context(), c.in, c.out, serve)
			} else {
				err = serve(cmd.Context(), func(addr string) { p.Line("The connection provider is ready on %s", addr) })
			}
			if err != nil {
				return output.Cannot(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&isChild, "child", false, "end with standard input, and say when ready")
	cmd.Flags().Lookup("child").Hidden = true
	return cmd
}

func (c *cli) connectionAddCommand(f *providerFlags) *cobra.Command {
	var kind, username string
	var conn provider.Connection
	var source config.KeySource
	var inline string
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Add a connection, or replace one whole",
		Long: `Give the provider a credential and the only URL it may be sent to. The credential
comes from an environment variable or a file, never from the command line, where
every process of the machine could read it. Without --config, for the demo.`,
		Example: `  vouchsafe connection add shop-admin --site shop --config vouchsafe.yaml \
    --type api_key --header X-Api-Key --value-env SHOP_API_KEY --base-url https://api.shop.example`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if inline != "" {
				return output.Cannot(output.WithHint(errors.New("a credential is not taken from the command line, where others can read it"),
					"name an environment variable with --value-env, or a file with --value-file; and replace the credential that was typed"))
			}
			conn.ID = args[0]
			if conn.Type, err = provider.ParseType(kind); err != nil {
				return output.Cannot(err)
			}
			if conn.Site == "" {
				return output.Cannot(errNoSite)
			}
			cred, err := credential(conn.Type, username, source)
			if err != nil {
				return output.Cannot(err)
			}
			o, err := c.provider(f, conn.Site)
			if err != nil {
				return output.Cannot(err)
			}
			if err := provider.AddConnection(cmd.Context(), o, conn, cred); err != nil {
				return output.Cannot(err)
			}
			return p.Object(connectionOf(conn), output.Field{Name: "added", Value: conn.ID},
				output.Field{Name: "site", Value: conn.Site}, output.Field{Name: "base URL", Value: conn.BaseURL})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&conn.Site, "site", "", "the one `SITE` it belongs to")
	flags.StringVar(&kind, "type", "", "how the system wants its credential, the `TYPE`: api_key, basic or none")
	flags.StringVar(&conn.Header, "header", "", "the header `NAME` that an API key goes into")
	flags.StringVar(&conn.Query, "query", "", "the query parameter `NAME` that an API key goes into")
	flags.StringVar(&source.Env, "value-env", "", "the environment variable `NAME` that holds the API key or password")
	flags.StringVar(&source.File, "value-file", "", "the `FILE` that holds it")
	flags.StringVar(&username, "username", "", "the user `NAME` of a basic connection")
	flags.StringVar(&conn.BaseURL, "base-url", "", "the only `URL` the credential may be sent to")
	// Known only so that what follows it is refused with advice.
	flags.StringVar(&inline, "value", "", "")
	flags.Lookup("value").Hidden = true
	return cmd
}

// credential reads what opens the outside system. Its errors repeat nothing:
// somebody may have written the credential where its name was expected.
func credential(t provider.Type, username string, source config.KeySource) (provider.Credential, error) {
	if source.Env != "" && source.File != "" {
		return provider.Credential{}, errors.New("--value-env and --value-file exclude each other")
	}
	var value []byte
	if source != (config.KeySource{}) {
		var err error
		if value, err = source.Read(); err != nil {
			return provider.Credential{}, fmt.Errorf("reading the credential: %w", err)
		}
	}
	if t == provider.Basic {
		return provider.NewBasic(username, string(value)), nil
	}
	if username != "" {
		return provider.Credential{}, errors.New("--username is for --type basic")
	}
	if t == provider.APIKey && len(value) == 0 {
		return provider.Credential{}, errors.New("an API key comes from --value-env or --value-file")
	}
	return provider.NewAPIKey(string(value)), nil
}

// connectionResult is a connection in JSON. It has no credential to show.
type connectionResult struct {
	ID      string     `json:"id"`
	Site    string     `json:"site"`
	Type    string     `json:"type"`
	BaseURL string     `json:"base_url"`
	Header  string     `json:"header,omitempty"`
	Query   string     `json:"query,omitempty"`
	Created *time.Time `json:"created,omitempty"`
}

func connectionOf(c provider.Connection) connectionResult {
	r := connectionResult{ID: c.ID, Site: c.Site, Type: strings.ToLower(string(c.Type)),
		BaseURL: c.BaseURL, Header: c.Header, Query: c.Query}
	if !c.Created.IsZero() {
		r.Created = &c.Created
	}
	return r
}

func (c *cli) connectionListCommand(f *providerFlags) *cobra.Command {
	var site string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List connections, without their credentials",
		Long:    "List connections, without their credentials. Without --config, the demo's.",
		Example: `  vouchsafe connection list --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if limit < 0 {
				return output.Cannot(errors.New("--limit is at least 1, or 0 for all"))
			}
			o, err := c.provider(f, site)
			if err != nil {
				return output.Cannot(err)
			}
			list, err := connections(cmd.Context(), o, site)
			if err != nil {
				return output.Cannot(err)
			}
			if limit > 0 {
				list = list[:min(limit, len(list))]
			}
			t := p.Table("SITE", "CONNECTION", "TYPE", "BASE URL", "ADDED")
			for _, conn := range list {
				r := connectionOf(conn)
				if err := t.Row(r, r.Site, r.ID, r.Type, r.BaseURL, stamp(conn.Created)); err != nil {
					return err
				}
			}
			if t.Rows() == 0 {
				return p.Line("There are no connections.")
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "only of this `SITE`")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` connections; 0 for all")
	return cmd
}

// connections lists them. A provider that has never run has none, and listing
// them does not make it a store.
func connections(ctx context.Context, o provider.Options, site string) ([]provider.Connection, error) {
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	o.CreateKey = false
	return provider.ListConnections(ctx, o, site)
}

// forget removes one, and makes no store either.
func forget(ctx context.Context, o provider.Options, site, id string) error {
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return provider.ErrNoConnection
	}
	o.CreateKey = false
	return provider.RemoveConnection(ctx, o, site, id)
}

func (c *cli) connectionRemoveCommand(f *providerFlags) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:     "remove ID",
		Short:   "Forget a connection and its credential",
		Long:    "Forget a connection and its credential. Without --config, one of the demo's.",
		Example: `  vouchsafe connection remove shop-admin --site shop --config vouchsafe.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if site == "" {
				return output.Cannot(errNoSite)
			}
			o, err := c.provider(f, site)
			if err != nil {
				return output.Cannot(err)
			}
			if err := forget(cmd.Context(), o, site, args[0]); err != nil {
				return output.Cannot(err)
			}
			return p.Line("Forgot %s of %s.", args[0], site)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `SITE` it belongs to")
	return cmd
}
