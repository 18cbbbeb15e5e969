package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
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
	data                         string
	dir, keyFile, keyEnv, socket string
}

func (c *cli) connectionCommand() *cobra.Command {
	var f providerFlags
	cmd := group("connection", "Give the connection provider the credentials of outside systems",
		c.connectionServeCommand(&f), c.connectionAddCommand(&f), c.connectionListCommand(&f), c.connectionShowCommand(&f),
		c.connectionRemoveCommand(&f), c.connectionAllowCommand(&f), c.connectionConnectCommand(&f), c.connectionRotateCommand(&f), c.connectionPermitKeyCommand())
	dataFlag(cmd, &f.data)
	cmd.PersistentFlags().StringVar(&f.dir, "dir", "", "the data `FOLDER` of a provider that runs apart from the gate")
	cmd.PersistentFlags().StringVar(&f.keyFile, "key-file", "", "that provider's master key `FILE`, outside its folder")
	cmd.PersistentFlags().StringVar(&f.keyEnv, "key-env", "", "or the environment variable `NAME` that holds that master key in base64")
	cmd.PersistentFlags().StringVar(&f.socket, "socket", "", "the `PATH` of that provider's socket")
	return cmd
}

// apart reports that a provider was named by its own paths.
func (f *providerFlags) apart() bool {
	return f.dir != "" || f.keyFile != "" || f.keyEnv != "" || f.socket != ""
}

// provider finds the provider. site is "" when none is named or any will do.
func (c *cli) provider(f *providerFlags, site string) (provider.Options, error) {
	key := provider.MasterKey{File: f.keyFile, Env: f.keyEnv}
	switch one := (f.keyFile == "") != (f.keyEnv == ""); {
	case f.dir != "" && f.socket != "" && one:
		return provider.Options{Dir: f.dir, Key: key, CreateKey: true, Socket: f.socket}, nil
	case f.apart():
		return provider.Options{}, errors.New("--dir, --key-file (or --key-env) and --socket go together")
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
	var addr, callback, permitKeys string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the connection provider by itself",
		Long: `Run the connection provider, which alone holds the credentials of outside
systems, until it is interrupted. serve starts one of its own unless the
configuration names another. Without --config, the demo's.

It takes only calls that the gate vouches for. permit.keys in its folder says by
which public key it knows the gate: connection permit-key prints it.`,
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
			o.Log, o.Addr, o.CallbackURL, o.PermitKeys = newLogger(0), addr, callback, permitKeys
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
	cmd.Flags().StringVar(&permitKeys, "permit-key", "", "the gate's public key, instead of permit.keys")
	cmd.Flags().Lookup("permit-key").Hidden = true
	cmd.Flags().StringVar(&addr, "addr", "", "a loopback `ADDRESS` to listen on as well, such as 127.0.0.1:9797")
	cmd.Flags().StringVar(&callback, "callback-url", "", "the `URL` at which browsers reach /oauth/callback of that address")
	return cmd
}

func (c *cli) connectionAddCommand(f *providerFlags) *cobra.Command {
	var kind, username string
	var conn provider.Connection
	var source, clientSecret config.KeySource
	var inline, clientAuth string
	var allow []string
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
			var cred provider.Credential
			if conn.Type == provider.OAuth2 || conn.Type == provider.ClientCredentials {
				cred, err = clientOf(&conn, clientAuth, clientSecret, source)
			} else {
				cred, err = credential(conn.Type, username, source)
			}
			if err != nil {
				return output.Cannot(err)
			}
			o, err := c.provider(f, conn.Site)
			if err != nil {
				return output.Cannot(err)
			}
			if conn.Allow, err = c.rulesFor(f, conn, allow); err != nil {
				return output.Cannot(err)
			}
			if err := provider.AddConnection(cmd.Context(), o, conn, cred); err != nil {
				return output.Cannot(err)
			}
			if err := p.Object(connectionOf(conn), connectionFields("added", conn)...); err != nil {
				return err
			}
			switch {
			case len(conn.Allow) == 0:
				return p.Line("No call is allowed yet: no manifest uses it. `vouchsafe connection allow` changes that.")
			case conn.Type == provider.OAuth2:
				return p.Line("Next, grant it access: vouchsafe connection connect %s --site %s", conn.ID, conn.Site)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&conn.Site, "site", "", "the one `SITE` it belongs to")
	flags.StringVar(&kind, "type", "", "how the system wants its credential, the `TYPE`: api_key, basic, oauth2, oauth2_cc or none")
	flags.StringVar(&conn.Header, "header", "", "the header `NAME` that an API key goes into")
	flags.StringVar(&conn.Query, "query", "", "the query parameter `NAME` that an API key goes into")
	flags.StringVar(&source.Env, "value-env", "", "the environment variable `NAME` that holds the API key or password")
	flags.StringVar(&source.File, "value-file", "", "the `FILE` that holds it")
	flags.StringVar(&username, "username", "", "the user `NAME` of a basic connection")
	flags.StringVar(&conn.BaseURL, "base-url", "", "the only `URL` the credential may be sent to")
	flags.StringVar(&conn.OAuth.ClientID, "client-id", "", "of oauth2 and oauth2_cc: the client's `ID`")
	flags.StringVar(&clientSecret.Env, "client-secret-env", "", "the environment variable `NAME` that holds the client's secret")
	flags.StringVar(&clientSecret.File, "client-secret-file", "", "the `FILE` that holds it")
	flags.StringVar(&clientAuth, "client-auth", "", "how the client proves itself, the `WAY`: basic (default), post, or none for a client without a secret")
	flags.StringVar(&conn.OAuth.TokenURL, "token-url", "", "the authorization server's token `URL`")
	flags.StringVar(&conn.OAuth.AuthURL, "authorization-url", "", "of oauth2: its authorization `URL`")
	flags.StringArrayVar(&conn.OAuth.Scopes, "scope", nil, "a `SCOPE` to ask for; may be given several times")
	flags.StringToStringVar(&conn.OAuth.AuthParams, "authorization-param", nil, "a further parameter of the authorization request, `NAME=VALUE`")
	flags.StringArrayVar(&allow, "allow", nil, "a `RULE` such as \"GET /orders/{order_id}\", instead of what the manifests say; may be given several times")
	// Known only so that what follows it is refused with advice.
	flags.StringVar(&inline, "value", "", "")
	flags.Lookup("value").Hidden = true
	return cmd
}

// rulesFor are the rules that a connection is added with: those given, or what
// the manifests ask of it where there is a configuration.
func (c *cli) rulesFor(f *providerFlags, conn provider.Connection, given []string) ([]provider.Rule, error) {
	if len(given) > 0 {
		var rules []provider.Rule
		for _, s := range given {
			r, err := provider.ParseRule(s)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
		return rules, nil
	}
	if f.apart() && c.config == "" {
		return nil, nil
	}
	at, err := c.place(f.data, config.LoadWithoutSecrets)
	if err != nil {
		return nil, err
	}
	all, err := at.rulesOf()
	return all[connectionName{conn.Site, conn.ID}], err
}

// clientOf reads an OAuth client's secret. Its errors repeat nothing.
func clientOf(conn *provider.Connection, auth string, secret, value config.KeySource) (provider.Credential, error) {
	if value != (config.KeySource{}) {
		return provider.Credential{}, errors.New("an oauth2 client's secret comes from --client-secret-env or --client-secret-file")
	}
	if secret.Env != "" && secret.File != "" {
		return provider.Credential{}, errors.New("--client-secret-env and --client-secret-file exclude each other")
	}
	if conn.OAuth.ClientAuth = provider.ClientAuth(auth); auth == "" {
		conn.OAuth.ClientAuth = provider.AuthBasic
	}
	if secret == (config.KeySource{}) {
		return provider.Credential{}, nil
	}
	b, err := secret.Read()
	if err != nil {
		return provider.Credential{}, fmt.Errorf("reading the client's secret: %w", err)
	}
	return provider.NewClientSecret(string(b)), nil
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
	ID        string          `json:"id"`
	Site      string          `json:"site"`
	Type      string          `json:"type"`
	BaseURL   string          `json:"base_url"`
	Header    string          `json:"header,omitempty"`
	Query     string          `json:"query,omitempty"`
	OAuth     *provider.OAuth `json:"oauth,omitempty"`
	State     string          `json:"state"` // ready, connect_needed or reconnect_needed
	Reason    string          `json:"reason,omitempty"`
	ExpiresAt *time.Time      `json:"token_expires_at,omitempty"`
	Created   *time.Time      `json:"created,omitempty"`
	Allow     []provider.Rule `json:"allow"`
}

func connectionOf(c provider.Connection) connectionResult {
	r := connectionResult{ID: c.ID, Site: c.Site, Type: strings.ToLower(string(c.Type)),
		BaseURL: c.BaseURL, Header: c.Header, Query: c.Query, State: stateOf(c), Reason: c.Tokens.Reason,
		Allow: append([]provider.Rule{}, c.Allow...)}
	if c.OAuth.ClientID != "" {
		r.OAuth = &c.OAuth
	}
	if !c.Tokens.Expires.IsZero() {
		r.ExpiresAt = &c.Tokens.Expires
	}
	if !c.Created.IsZero() {
		r.Created = &c.Created
	}
	return r
}

// stateOf is a connection's state in a word.
func stateOf(c provider.Connection) string {
	switch {
	case c.Tokens.State != "":
		return string(c.Tokens.State)
	case c.Type == provider.OAuth2:
		return string(provider.StateConnect)
	}
	return string(provider.StateReady)
}

// connectionFields are a connection for people.
func connectionFields(first string, c provider.Connection) []output.Field {
	r := connectionOf(c)
	fields := []output.Field{{Name: first, Value: r.ID}, {Name: "site", Value: r.Site}, {Name: "type", Value: r.Type},
		{Name: "base URL", Value: r.BaseURL}, {Name: "state", Value: strings.TrimSpace(r.State + " " + r.Reason)}}
	if r.ExpiresAt != nil {
		fields = append(fields, output.Field{Name: "token ends", Value: stamp(*r.ExpiresAt)})
	}
	for i, rule := range r.Allow {
		name := "allows"
		if i > 0 {
			name = ""
		}
		fields = append(fields, output.Field{Name: name, Value: rule.String()})
	}
	return fields
}

func (c *cli) connectionShowCommand(f *providerFlags) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a connection and what it may be used for, without its credential",
		Long:    "Show a connection and what it may be used for, without its credential. Without\n--config, one of the demo's.",
		Example: `  vouchsafe connection show shop-admin --site shop --config vouchsafe.yaml`,
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
			list, err := connections(cmd.Context(), o, site)
			if err != nil {
				return output.Cannot(err)
			}
			for _, conn := range list {
				if conn.ID == args[0] {
					return p.Object(connectionOf(conn), connectionFields("connection", conn)...)
				}
			}
			return output.Cannot(provider.ErrNoConnection)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the `SITE` it belongs to")
	return cmd
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
			t := p.Table("SITE", "CONNECTION", "TYPE", "BASE URL", "STATE", "RULES", "ADDED")
			for _, conn := range list {
				r := connectionOf(conn)
				if err := t.Row(r, r.Site, r.ID, r.Type, r.BaseURL, r.State, strconv.Itoa(len(r.Allow)), stamp(conn.Created)); err != nil {
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
