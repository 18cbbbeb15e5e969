package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
)

// maxStory bounds what is kept in memory to be told from its beginning.
const maxStory = 100_000

func (c *cli) auditStoryCommand(data *string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:   "story CONVERSATION",
		Short: "Tell one conversation from its beginning",
		Long: `Tell one conversation from its beginning: each decision in the order in which it
was made, the reads that proved whose a record is beneath the action they were
for, and what became of each confirmation. Signing in starts a conversation of
its own. Without --config, of the demo, in ./data.`,
		Example: `  vouchsafe audit story cv_8c1wz7r0q5d2n6k3`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			r, err := c.openAudit(cmd.Context(), *data)
			if err != nil {
				return output.Cannot(err)
			}
			var entries []audit.Entry
			err = listAll(r, audit.Query{Site: site, Conversation: args[0]}, maxStory, func(e *audit.Entry) error {
				entries = append(entries, *e)
				return nil
			})
			if err = errors.Join(err, r.close()); err != nil {
				return output.Cannot(err)
			}
			if len(entries) == 0 {
				return output.Cannot(fmt.Errorf("the log holds no decision of the conversation %s", args[0]))
			}
			slices.Reverse(entries)
			of := map[string]string{} // the action of each decision so far
			t := p.Table("TIME", "ACTION", "DECISION", "CODE", "OUTCOME", "SERVES", "ID")
			for i := range entries {
				e := &entries[i]
				action := e.About.Action.Name
				of[e.Decision.ID] = action
				if served := of[e.Decision.Parent]; served != "" && served != action {
					action = "  " + action // a read that another action needed
				}
				if err := t.Row(e, stamp(e.Decision.Time), action, verdict(e.Decision.Allow), e.Code(), outcomeOf(e), e.Decision.Parent, e.Decision.ID); err != nil {
					return err
				}
			}
			return t.Flush()
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "only of this `SITE`")
	return cmd
}
