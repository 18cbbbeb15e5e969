package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
)

func (c *cli) tokenRevokeCommand(data, site *string) *cobra.Command {
	var in toRevoke
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Make a token, or all that a person holds, worthless at once",
		Long: `Make a token, or all tokens of a subject that were issued until now, worthless
on the running server, at once and across restarts. A person whose subject was
revoked can sign in again: a token that is issued later is believed.

The revocation is recorded in the audit log, and lapses once no token it could be
about is left, a day and five minutes later.

Exits 0 when it is revoked, 2 when it could not be.`,
		Example: `  vouchsafe token revoke --site shop --subject c-1001 --config vouchsafe.yaml
  vouchsafe token revoke --site shop --token-id 7f9c --config vouchsafe.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if (in.Subject == "") == (in.TokenID == "") {
				return output.Cannot(errors.New("name either a --subject or a --token-id"))
			}
			at, err := c.place(*data, config.LoadWithoutSecrets)
			if err != nil {
				return output.Cannot(err)
			}
			if err := at.checkSite(*site); err != nil {
				return output.Cannot(err)
			}
			client, err := dialAdmin(cmd.Context(), at.data)
			if errors.Is(err, errNoServer) {
				err = output.WithHint(fmt.Errorf("%w on %s", err, at.data), "it revokes nothing that is asked for while it is stopped; start it with `vouchsafe serve`")
			}
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			var done revocation
			if err := client.post(cmd.Context(), "/v1/admin/sites/"+url.PathEscape(*site)+"/revocations", in, &done); err != nil {
				return output.Cannot(err)
			}
			return p.Object(done, revocationFields(&done)...)
		},
	}
	cmd.Flags().StringVar(&in.Subject, "subject", "", "revoke every token of this `SUBJECT` (sub) that was issued until now")
	cmd.Flags().StringVar(&in.TokenID, "token-id", "", "revoke the token with this `ID` (jti)")
	return cmd
}

func revocationFields(r *revocation) []output.Field {
	what := output.Field{Name: "token", Value: r.TokenID}
	if r.TokenID == "" {
		what = output.Field{Name: "subject", Value: r.Subject}
	}
	fields := []output.Field{{Name: "revoked", Value: "at once"}, {Name: "site", Value: r.Site}, what}
	if !r.IssuedUpTo.IsZero() {
		fields = append(fields, output.Field{Name: "issued until", Value: r.IssuedUpTo.UTC().Format(time.RFC3339)})
	}
	return append(fields, output.Field{Name: "holds until", Value: r.Until.UTC().Format(time.RFC3339)},
		output.Field{Name: "on record", Value: r.Act})
}
