package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/policy"
)

func (c *cli) policyProbeCommand() *cobra.Command {
	var opts policy.ProbeOptions
	cmd := &cobra.Command{
		Use:   "probe [DIR]",
		Short: "Try to walk through the policies, as nobody should",
		Long: `Ask the policies thousands of questions that no acceptable policy answers with
yes: of every action of the configuration's sites (without --config, the demo's),
at the boundaries of identity, time, account and tier, and with every literal that
stands in the policies' own text. Also ask the release policy about odd records,
and see that OPA answers the same without its optimisations.

What gets through is shown as the shortest input, with the rules to look at: "only"
marks those that do not fire for an ordinary visitor. When there is none, a denial
is missing. The gate refuses to start with policies that this command finds
something in, and holds the wall itself besides.

Exits 0 when nothing gets through, 1 when something does, 2 when it could not be
asked.`,
		Example: `  vouchsafe policy probe policies --config vouchsafe.yaml
  vouchsafe policy probe policies --seed 7 --limit 100000`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if opts.Limit < 0 {
				return output.Cannot(errors.New("--limit is a number of questions"))
			}
			folder, err := c.policyFolder(args)
			if err != nil {
				return output.Cannot(err)
			}
			sites, err := c.policySites()
			if err != nil {
				return output.Cannot(err)
			}
			catalog, about, err := probesOf(sites)
			if err != nil {
				return output.Cannot(err)
			}
			opts.Sites = about.Sites
			set, err := policy.Compile(folder)
			if problems, ok := errors.AsType[policy.Problems](err); ok {
				return printProblems(p, folder, problems)
			}
			if err != nil {
				return output.Cannot(err)
			}
			report, err := policy.Probe(cmd.Context(), set, catalog, opts)
			if err != nil {
				return output.Cannot(err)
			}
			return printProbes(p, folder, &report)
		},
	}
	cmd.Flags().Uint64Var(&opts.Seed, "seed", 0, "what is chosen at random is chosen by this `NUMBER`")
	cmd.Flags().IntVar(&opts.Limit, "limit", 0, "ask at most `N` questions (default 20000)")
	return cmd
}

func printProbes(p *output.Printer, folder policyFolder, r *policy.ProbeReport) error {
	for _, f := range r.Findings {
		for i := range f.Rules {
			f.Rules[i].File = folder.file(f.Rules[i].File)
		}
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, f := range r.Findings {
		place := folder.String()
		if len(f.Rules) > 0 {
			place = fmt.Sprintf("%s:%d", f.Rules[0].File, f.Rules[0].Line)
		}
		say("%s: %s: %s", place, f.Opens, f.Says)
		for _, rule := range f.Rules {
			said := fmt.Sprintf("%s:%d: %s", rule.File, rule.Line, rule.Name)
			if rule.Title != "" {
				said += ": " + rule.Title
			}
			if rule.Only {
				said += " (only)"
			}
			say("  %s", said)
		}
		say("  input: %s", f.Input)
	}
	say("%d probes of %s with seed %d, %d records, %d asked both ways: revision %s", r.Probes, count(r.Actions, "action"), r.Seed,
		r.Release, r.Compared, r.Policy)
	if r.LeftOut > 0 {
		say("about %d more found no room: raise --limit", r.LeftOut)
	}
	if len(r.Waived) > 0 {
		say("not held to their tier, as data.yaml says: %s; the gate itself still holds them to it", strings.Join(r.Waived, ", "))
	}
	for _, line := range lines {
		if err := p.Line("%s", line); err != nil {
			return err
		}
	}
	if p.Format() == output.JSON {
		if err := p.Object(r); err != nil {
			return err
		}
	}
	if !r.Passed() {
		return output.Fails(fmt.Errorf("%s answered yes where no policy may, or not at all; %s", count(r.Failed, "probe"), openings(r.Findings)))
	}
	return p.Line("Nothing gets through.")
}

// openings names what was found, each kind once.
func openings(found []policy.Finding) string {
	var kinds []string
	seen := map[string]bool{}
	for _, f := range found {
		if !seen[f.Opens] {
			seen[f.Opens] = true
			kinds = append(kinds, f.Opens)
		}
	}
	return "see " + strings.Join(kinds, ", ")
}
