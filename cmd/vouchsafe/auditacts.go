package main

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
)

func (c *cli) auditActsCommand(data *string) *cobra.Command {
	var site string
	var limit int
	cmd := &cobra.Command{
		Use:   "acts",
		Short: "List what operators did, newest first",
		Long: `List what operators did to a site, or without --site to the gate itself:
revocations, admin tokens and their use, policies, waivers. Without --config, of
the demo, in ./data.`,
		Example: `  vouchsafe audit acts --site shop --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if limit < 1 || limit > maxListed {
				return output.Cannot(errors.New("--limit is from 1 to " + strconv.Itoa(maxListed)))
			}
			r, err := c.openAudit(cmd.Context(), *data)
			if err != nil {
				return output.Cannot(err)
			}
			acts, err := r.acts(site, limit)
			if err = errors.Join(err, r.close()); err != nil {
				return output.Cannot(err)
			}
			t := p.Table("TIME", "SITE", "BY", "KIND", "WHAT", "USES", "ID")
			for i := range acts {
				a := &acts[i]
				what, uses := a.Object, ""
				for _, part := range []string{a.Subject, a.TokenID, a.Route, a.Code} {
					if part != "" && what != "" {
						what += " "
					}
					what += part
				}
				if a.Uses > 0 {
					uses = strconv.Itoa(a.Uses)
				}
				if err := t.Row(a, stamp(a.Time), a.Site, a.By, a.Kind, what, uses, a.ID); err != nil {
					return err
				}
			}
			if err := t.Flush(); err != nil {
				return err
			}
			if t.Rows() == 0 {
				return p.Line("There is no act.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "of this `SITE`; of the gate itself without it")
	cmd.Flags().IntVar(&limit, "limit", defaultListed, "at most `N` acts")
	return cmd
}

func (s storedAudit) acts(site string, limit int) ([]audit.Act, error) {
	if site == "" {
		site = audit.GateSite
	}
	return s.log.Acts(site, limit)
}

func (s *servedAudit) acts(site string, limit int) ([]audit.Act, error) {
	path := "/v1/admin/acts"
	if site != "" {
		path = "/v1/admin/sites/" + url.PathEscape(site) + "/acts"
	}
	var got actList
	err := s.client.get(s.ctx, path, url.Values{"limit": {strconv.Itoa(limit)}}, &got)
	return got.Acts, err
}
