package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/policy"
)

// adminExplain explains a decision under the policy in force.
func (a *app) adminExplain(r httpapi.AdminRequest) (any, error) {
	e, err := a.audit.Show(r.Param("id"))
	if errors.Is(err, audit.ErrNotFound) || err == nil && !r.Caller.May(e.Site) {
		return nil, engine.Errorf(engine.CodeNotFound, "There is no such decision.", nil)
	}
	if err != nil {
		return nil, err
	}
	return a.policy.Active().Explain(r.Context, recordedOf(&e), gate.Reasons())
}

func (c *cli) policyExplainCommand() *cobra.Command {
	var data, dir string
	cmd := &cobra.Command{
		Use:   "explain DECISION",
		Short: "Say which rules made a decision, and what would turn it round",
		Long: `Explain a decision of the log: the rules that fired and what they looked at, what
the visitor and what the auditor is told, and what would have to be different for
another outcome. The policies are those in force at the running server; when none
runs, or with --policies, those of a folder: the configuration's, or the embedded
ones. When they are not what decided, it says so and explains what they would.`,
		Example: `  vouchsafe policy explain d_06f0t4v8m2q9x1b7c3n5k6h2ra
  vouchsafe policy explain d_06f0t4v8m2q9x1b7c3n5k6h2ra --policies policies`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			r, err := c.openAudit(cmd.Context(), data)
			if err != nil {
				return output.Cannot(err)
			}
			x, err := c.explain(cmd.Context(), r, args[0], dir)
			if err = errors.Join(err, r.close()); errors.Is(err, audit.ErrNotFound) {
				return output.Cannot(fmt.Errorf("the log holds no decision %s", args[0]))
			} else if err != nil {
				return output.Cannot(err)
			}
			return p.Object(x, explainFields(&x)...)
		},
	}
	cmd.Flags().StringVar(&dir, "policies", "", "explain under the policies in this `DIR`")
	dataFlag(cmd, &data)
	return cmd
}

// explain asks the server that has the log open, unless a folder was named.
func (c *cli) explain(ctx context.Context, r auditReader, id, dir string) (policy.Explanation, error) {
	var x policy.Explanation
	if served, ok := r.(*servedAudit); ok && dir == "" {
		err := served.client.get(ctx, "/v1/admin/decisions/"+url.PathEscape(id)+"/explain", nil, &x)
		if refused(err, engine.CodeNotFound) {
			err = audit.ErrNotFound
		}
		return x, err
	}
	e, err := r.show(id)
	if err != nil {
		return x, err
	}
	var named []string
	if dir != "" {
		named = []string{dir}
	}
	folder, err := c.policyFolder(named)
	if err != nil {
		return x, err
	}
	set, err := policy.Compile(folder)
	if err != nil {
		return x, fmt.Errorf("the policies cannot be used: %w", err)
	}
	if x, err = set.Explain(ctx, recordedOf(&e), gate.Reasons()); err != nil {
		return x, err
	}
	for i := range x.Rules {
		x.Rules[i].File = folder.file(x.Rules[i].File)
	}
	return x, nil
}

// explainFields is an explanation for people.
func explainFields(x *policy.Explanation) []output.Field {
	var fields []output.Field
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, output.Field{Name: name, Value: value})
		}
	}
	add("decision", x.Decision)
	add("recorded", x.Recorded.String())
	if x.Policy == x.RecordedPolicy {
		add("policy", x.Policy)
	} else {
		add("policy", x.Policy+" (decided under "+x.RecordedPolicy+", which is not explained here)")
		add("would be", x.Answer.String())
	}
	add("problem", x.Problem)
	for _, r := range x.Reasons {
		add("reason", r.Code)
		add("  visitor is told", r.Visitor)
		add("  auditor is told", r.Auditor)
	}
	for _, r := range x.Rules {
		name := r.Rule
		if r.Title != "" {
			name += ": " + r.Title
		}
		add("rule", joined(name, r.Code))
		add("  at", fmt.Sprintf("%s:%d", r.File, r.Line))
		for _, l := range r.Looked {
			value := string(l.Value)
			if value == "" {
				value = "not there"
			}
			add("  "+l.Path, value)
		}
	}
	for _, ch := range x.Changes {
		name, value := "to be allowed", strings.Join(ch.Needs, ", and ")
		switch {
		case !ch.Outcome.Allow:
			name, value = "would be denied", joined(value, strings.Join(ch.Outcome.Reasons, ", "))
		case x.Answer.Allow && len(x.Reasons) == 0:
			name = "without obligations"
			if len(ch.Outcome.Obligations) > 0 {
				name, value = "under fewer", joined(value, strings.Join(ch.Outcome.Obligations, ", "))
			}
		case len(ch.Outcome.Obligations) > 0:
			value = joined(value, "and then "+strings.Join(ch.Outcome.Obligations, ", "))
		}
		add(name, value)
	}
	if len(x.Changes) == 0 && !x.Answer.Allow {
		add("to be allowed", "nothing that was tried would do")
	}
	return fields
}
