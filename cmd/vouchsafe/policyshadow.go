package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/policy/bundle"
)

const shadowPath = "/v1/admin/policy/shadow"

func (c *cli) policyShadowCommand() *cobra.Command {
	cmd := group("shadow", "Try a candidate beside the policy in force, on live traffic",
		c.shadowStartCommand(), c.shadowStatusCommand(), c.shadowStopCommand(), c.shadowPromoteCommand())
	cmd.Long = `Try a candidate beside the policy in force of the running gate: what the policy is
asked, the candidate is asked as well, once the decision is made, and the report
counts what it answers otherwise. No answer depends on it, and nothing of anybody's
question is kept. A candidate is tried until it is stopped or promoted, or the gate
ends.`
	return cmd
}

// onServer runs a command against the running gate.
func (c *cli) onServer(cmd *cobra.Command, data string, do func(ctx context.Context, p *output.Printer, client *adminClient) error) error {
	p, err := c.printer()
	if err != nil {
		return err
	}
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return output.Cannot(err)
	}
	client, err := dialAdmin(cmd.Context(), at.data)
	if errors.Is(err, errNoServer) {
		return output.Cannot(output.WithHint(fmt.Errorf("%w on %s", err, at.data), "start it with `vouchsafe serve`, or name its folder with --config or --data"))
	}
	if err != nil {
		return output.Cannot(err)
	}
	defer client.close()
	return do(cmd.Context(), p, client)
}

func (c *cli) shadowStartCommand() *cobra.Command {
	var data, label string
	cmd := &cobra.Command{
		Use:   "start [DIR]",
		Short: "Begin to try a policy folder",
		Long: `Send a policy folder to the running gate, which admits it as if it were to be put
in force and then tries it beside the policy that is. Without DIR, the
configuration's policies, or the embedded ones.

Exits 0 when it is being tried, 1 when it is not admitted, 2 when it could not be
asked.`,
		Example: `  vouchsafe policy shadow start policies --config vouchsafe.yaml`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder, err := c.policyFolder(args)
			if err != nil {
				return output.Cannot(err)
			}
			in, err := candidateOf(folder, label)
			if err != nil {
				return output.Cannot(err)
			}
			return c.onServer(cmd, data, func(ctx context.Context, p *output.Printer, client *adminClient) error {
				var v shadowView
				err := client.post(ctx, shadowPath, in, &v)
				if refused(err, engine.CodePolicyRefused) || refused(err, codeShadowRunning) {
					return output.Fails(err)
				}
				if err != nil {
					return output.Cannot(err)
				}
				return p.Object(v, output.Field{Name: "tried", Value: joined(v.Report.Candidate, v.Label)})
			})
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "a `NAME` of your own for this version, such as a commit")
	dataFlag(cmd, &data)
	return cmd
}

// candidateOf reads a folder to be sent.
func candidateOf(fsys fs.FS, label string) (candidate, error) {
	folder, err := bundle.ReadFolder(fsys)
	if err != nil {
		return candidate{}, err
	}
	in := candidate{Files: map[string]string{}, Label: label}
	for name, text := range folder {
		in.Files[name] = string(text)
	}
	return in, nil
}

func (c *cli) shadowStatusCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what the candidate decides otherwise",
		Long: `Say what the candidate that is being tried has decided otherwise so far, and of
how much of the traffic that speaks: a gate that is busy compares only what it has
time for, and counts what it missed.

Exits 0 when a candidate is being tried, 1 when none is, 2 when it could not be
asked.`,
		Example: `  vouchsafe policy shadow status --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.onServer(cmd, data, func(ctx context.Context, p *output.Printer, client *adminClient) error {
				var v shadowView
				if err := client.get(ctx, shadowPath, nil, &v); err != nil {
					return output.Cannot(err)
				}
				return printShadow(p, v, !v.Running)
			})
		},
	}
	dataFlag(cmd, &data)
	return cmd
}

func (c *cli) shadowStopCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "End the trial and say what it found",
		Example: `  vouchsafe policy shadow stop --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.onServer(cmd, data, func(ctx context.Context, p *output.Printer, client *adminClient) error {
				var v shadowView
				err := client.post(ctx, shadowPath+"/stop", struct{}{}, &v)
				if refused(err, codeNoShadow) {
					return output.Fails(err)
				}
				if err != nil {
					return output.Cannot(err)
				}
				return printShadow(p, v, false)
			})
		},
	}
	dataFlag(cmd, &data)
	return cmd
}

func (c *cli) shadowPromoteCommand() *cobra.Command {
	var data, revision string
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Put the candidate in force",
		Long: `Put the candidate that is being tried in force, through admission like any other
policy, at once for every request that begins then. The source is not followed
until ` + "`vouchsafe policy resume`" + `, so put the same policy there. With limits, only
if the report is within them.

Exits 0 when it is in force, 1 when it may not be, 2 when it could not be asked.`,
		Example: `  vouchsafe policy shadow promote --max-deny-to-allow 0 --config vouchsafe.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.candidate = "the one that is tried"
			limits, err := f.limits(cmd)
			if err != nil {
				return output.Cannot(err)
			}
			return c.onServer(cmd, data, func(ctx context.Context, p *output.Printer, client *adminClient) error {
				var v shadowView
				if err := client.get(ctx, shadowPath, nil, &v); err != nil {
					return output.Cannot(err)
				}
				if !v.Running {
					return output.Fails(errNoShadow)
				}
				in := promotion{Candidate: v.Report.Candidate, DenyToAllow: limits.DenyToAllow, AllowToDeny: limits.AllowToDeny}
				if revision != "" {
					in.Candidate = revision
				}
				err := client.post(ctx, shadowPath+"/promote", in, &v)
				if _, told := errors.AsType[*refusal](err); told {
					return output.Fails(err)
				}
				if err != nil {
					return output.Cannot(err)
				}
				return p.Object(v, output.Field{Name: "in force", Value: joined(v.Report.Candidate, v.Label)})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&revision, "candidate", "", "only if the candidate is this `REVISION`")
	flags.IntVar(&f.denyToAllow, "max-deny-to-allow", 0, "only if at most `N` denials would have been allowed")
	flags.IntVar(&f.allowToDeny, "max-allow-to-deny", 0, "only if at most `N` of what was allowed would have been denied")
	dataFlag(cmd, &data)
	return cmd
}

// printShadow prints a report, and fails where there should have been one.
func printShadow(p *output.Printer, v shadowView, none bool) error {
	if v.Report == nil {
		if err := p.Object(v, output.Field{Name: "tried", Value: "nothing"}); err != nil {
			return err
		}
	} else if err := printShadowReport(p, v); err != nil {
		return err
	}
	if none {
		return output.Fails(nil)
	}
	return nil
}

func printShadowReport(p *output.Printer, v shadowView) error {
	if p.Format() == output.JSON {
		return p.Object(v)
	}
	r := v.Report
	fields := []output.Field{
		{Name: "tried", Value: joined(r.Candidate, v.Label)},
		{Name: "beside", Value: r.Against},
		{Name: "since", Value: r.Since.Format(time.RFC3339)},
		{Name: "sampled", Value: fmt.Sprintf("%s%% of %s", strconv.FormatFloat(100*r.Sampled, 'f', -1, 64), count(int(r.Offered), "decision"))},
	}
	return printFlips(p, v, append(fields, flipFields(r.FlipReport)...), r.Flips)
}
