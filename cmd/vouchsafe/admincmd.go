package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/admin"
)

func (c *cli) adminCommand() *cobra.Command {
	var data string
	cmd := group("admin", "Say who may use the admin side over TCP",
		group("token", "Make, list and revoke admin tokens",
			c.adminTokenCreateCommand(&data), c.adminTokenListCommand(&data), c.adminTokenRevokeCommand(&data)))
	dataFlag(cmd, &data)
	return cmd
}

// running reaches the server that runs on a data folder. why is what cannot be
// done without one.
func (c *cli) running(ctx context.Context, data, why string) (*adminClient, error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return nil, err
	}
	client, err := dialAdmin(ctx, at.data)
	if errors.Is(err, errNoServer) {
		return nil, output.WithHint(fmt.Errorf("%w on %s", err, at.data), why+"; start it with `vouchsafe serve`")
	}
	return client, err
}

const tokensLive = "it keeps the tokens"

func (c *cli) adminTokenCreateCommand(data *string) *cobra.Command {
	var in newToken
	var role, expires string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token for the admin side, and show it once",
		Long: `Make a bearer token for the admin side over TCP (admin.addr in the configuration)
on the running server. It is shown once: only its hash is kept.

An auditor reads decisions, acts and status; an operator also acts, such as
revoking a visitor's token; a token for policies ships them and sees nothing
else. Only whoever can open the admin socket makes tokens.

To replace a token without a pause, make another, let it be used, and revoke the
old one.`,
		Example: `  vouchsafe admin token create --name siem --role auditor --site shop --expires 90d --config vouchsafe.yaml
  vouchsafe admin token create --name ci --role policy --site '*' --config vouchsafe.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			life, err := lifetime(expires)
			if err != nil {
				return output.Cannot(err)
			}
			in.Role, in.Seconds = admin.Role(role), int64(life/time.Second)
			client, err := c.running(cmd.Context(), *data, tokensLive)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var made madeToken
			if err := client.post(cmd.Context(), "/v1/admin/tokens", in, &made); err != nil {
				return output.Cannot(err)
			}
			return p.Object(made, append([]output.Field{{Name: "token", Value: made.Secret}}, tokenFields(&made.Token, made.Act)...)...)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Name, "name", "", "what the log calls it")
	f.StringVar(&role, "role", "", "what it may do: `auditor`, operator or policy")
	f.StringArrayVar(&in.Sites, "site", nil, "a `SITE` it is for, or '*' for all; may be repeated")
	f.StringVar(&expires, "expires", "90d", "how long it lives, such as 12h or 90d; a year at most")
	for _, name := range []string{"name", "role", "site"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are right above
		}
	}
	return cmd
}

// lifetime reads how long something lives.
func lifetime(s string) (time.Duration, error) {
	text := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text = days + "h"
	}
	d, err := time.ParseDuration(text)
	if text != s {
		d *= 24
	}
	if err != nil || d < time.Second || d > 100*admin.MaxLife {
		return 0, errors.New("--expires is how long, such as 12h or 90d")
	}
	return d, nil
}

func tokenFields(t *admin.Token, act string) []output.Field {
	return []output.Field{{Name: "name", Value: t.Name}, {Name: "role", Value: string(t.Role)},
		{Name: "sites", Value: strings.Join(t.Sites, ", ")}, {Name: "expires", Value: t.Expires.UTC().Format(time.RFC3339)},
		{Name: "on record", Value: act}}
}

func (c *cli) adminTokenListCommand(data *string) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the admin tokens, and when each was last used",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			client, err := c.running(cmd.Context(), *data, tokensLive)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var list tokenList
			if err := client.get(cmd.Context(), "/v1/admin/tokens", nil, &list); err != nil {
				return output.Cannot(err)
			}
			t := p.Table("NAME", "ROLE", "SITES", "CREATED", "EXPIRES", "LAST USED")
			now := time.Now()
			for i := range list.Tokens {
				k := &list.Tokens[i]
				expires, used := stamp(k.Expires), "never"
				if !now.Before(k.Expires) {
					expires = "expired"
				}
				if !k.LastUsed.IsZero() {
					used = stamp(k.LastUsed)
				}
				if err := t.Row(k, k.Name, string(k.Role), strings.Join(k.Sites, ","), stamp(k.Created), expires, used); err != nil {
					return err
				}
			}
			if err := t.Flush(); err != nil {
				return err
			}
			if t.Rows() == 0 {
				return p.Line("There is no admin token.")
			}
			return nil
		},
	}
}

func (c *cli) adminTokenRevokeCommand(data *string) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Make an admin token worthless at once",
		Example: `  vouchsafe admin token revoke siem --config vouchsafe.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			client, err := c.running(cmd.Context(), *data, tokensLive)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var done struct {
				Act string `json:"act"`
				admin.Token
			}
			if err := client.call(cmd.Context(), http.MethodDelete, "/v1/admin/tokens/"+url.PathEscape(args[0]), nil, &done); err != nil {
				return output.Cannot(err)
			}
			return p.Object(done, append([]output.Field{{Name: "revoked", Value: "at once"}}, tokenFields(&done.Token, done.Act)...)...)
		},
	}
}
