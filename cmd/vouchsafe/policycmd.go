package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/policy"
)

func (c *cli) policyCommand() *cobra.Command {
	return group("policy", "Check, test, probe, replay and ship the policies", c.policyCheckCommand(), c.policyTestCommand(), c.policyProbeCommand(),
		c.policyReplayCommand(), c.policyExplainCommand(), c.policyBundleCommand(),
		c.policyStatusCommand(), c.policyRollBackCommand(), c.policyResumeCommand(), c.policyRefreshCommand(), c.policyShadowCommand())
}

func (c *cli) policyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [DIR]",
		Short: "Say what is wrong with a policy, and where",
		Long: `Check a policy folder: syntax, types against the schema of input, built-ins,
formatting, METADATA, codes and data. Without DIR, the configuration's policies,
or the embedded ones. With --format json, one problem a line: file, line, column,
code, message and hint, for an editor. With --format github, as annotations.

Exits 0 when nothing is wrong, 1 when something is, 2 when it could not be read.`,
		Example: `  vouchsafe policy check policies`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, own, err := c.reportPrinter(formatGitHub)
			if err != nil {
				return err
			}
			folder, err := c.policyFolder(args)
			if err != nil {
				return output.Cannot(err)
			}
			if problems := policy.Check(folder); len(problems) > 0 {
				if own == formatGitHub {
					return annotateProblems(c.out, folder, problems)
				}
				return printProblems(p, folder, problems)
			}
			set, err := policy.Compile(folder)
			if err != nil {
				return output.Cannot(err)
			}
			return p.Line("Nothing is wrong with %s, revision %s.", folder, set.Revision())
		},
	}
}

// printProblems prints them and returns how the command ends.
func printProblems(p *output.Printer, folder policyFolder, problems []policy.Problem) error {
	t := p.Table()
	for _, problem := range problems {
		problem.File = folder.file(problem.File)
		if p.Format() == output.JSON {
			if err := t.Row(problem); err != nil {
				return err
			}
			continue
		}
		if err := p.Line("%s: %s: %s", where(problem), problem.Code, problem.Message); err != nil {
			return err
		}
		if problem.Hint != "" {
			if err := p.Line("  %s", problem.Hint); err != nil {
				return err
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return output.Fails(errors.New(count(len(problems), "problem")))
}

func where(p policy.Problem) string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
		if p.Column > 0 {
			s += fmt.Sprintf(":%d", p.Column)
		}
	}
	return s
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func (c *cli) policyTestCommand() *cobra.Command {
	var run string
	var coverage float64
	var watch, rules bool
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run a policy's tests, and see that they reach all of it",
		Long: `Run the tests of a policy folder. They must pass, evaluate every line, and make
every rule that denies or obliges fire. Without DIR, the configuration's
policies, or the embedded ones.

With --run only some tests run, so no coverage is asked for unless --coverage
says so. With --watch they run again whenever a file changes, until interrupted.
--format is pretty, json, junit or github (annotations).

Exits 0 when all holds, 1 when not, 2 when it could not be asked.`,
		Example: `  vouchsafe policy test policies
  vouchsafe policy test policies --run target --watch
  vouchsafe policy test policies --rules
  vouchsafe policy test policies --format junit > policy.xml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, own, err := c.reportPrinter(formatJUnit, formatGitHub)
			if err != nil {
				return err
			}
			if _, err := regexp.Compile(run); err != nil {
				return output.Cannot(fmt.Errorf("--run: %w", err))
			}
			if coverage < 0 || coverage > 100 {
				return output.Cannot(errors.New("--coverage is a number from 0 to 100"))
			}
			folder, err := c.policyFolder(args)
			if err != nil {
				return output.Cannot(err)
			}
			opts := policy.TestOptions{Run: run}
			if cmd.Flags().Changed("coverage") {
				opts.Coverage = &coverage
			}
			once := func() error { return c.testPolicies(cmd.Context(), p, own, folder, opts, rules) }
			if !watch {
				return once()
			}
			if folder.name == "" {
				return output.Cannot(errors.New("--watch: the embedded policies do not change; name a folder"))
			}
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			return again(cmd.Context(), func() digest { return contents(folder) }, tick.C, func() error {
				err := once()
				p.Error(err)
				if err := p.Line("-- %s, waiting for a change", time.Now().Format(time.TimeOnly)); err != nil {
					return err
				}
				if err != nil {
					return &output.Exit{Code: output.CodeOf(err)} // it has been said
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "run only the tests whose name matches `REGEX`")
	cmd.Flags().Float64Var(&coverage, "coverage", 100, "the least coverage that passes, in `PERCENT`")
	cmd.Flags().BoolVar(&watch, "watch", false, "run again whenever a file changes")
	cmd.Flags().BoolVar(&rules, "rules", false, "also list how often each denial and obligation fired")
	return cmd
}

// testPolicies runs the tests once and prints what they came to.
func (c *cli) testPolicies(ctx context.Context, p *output.Printer, own string, folder policyFolder, opts policy.TestOptions, rules bool) error {
	r, err := policy.Test(ctx, folder, opts)
	if problems, ok := errors.AsType[policy.Problems](err); ok {
		switch own {
		case formatJUnit:
			return writeProblemsJUnit(c.out, folder, problems)
		case formatGitHub:
			return annotateProblems(c.out, folder, problems)
		}
		return printProblems(p, folder, problems)
	}
	if err != nil {
		return output.Cannot(err)
	}
	for i := range r.Tests {
		r.Tests[i].File = folder.file(r.Tests[i].File)
	}
	for i := range r.Uncovered {
		r.Uncovered[i].File = folder.file(r.Uncovered[i].File)
	}
	for i := range r.Dead {
		r.Dead[i].File = folder.file(r.Dead[i].File)
	}
	for i := range r.Rules {
		r.Rules[i].File = folder.file(r.Rules[i].File)
	}
	switch own {
	case formatJUnit:
		err = writeJUnit(c.out, &r)
	case formatGitHub:
		err = annotateTests(c.out, &r)
	default:
		err = printTests(p, &r, rules)
	}
	if err != nil {
		return err
	}
	if !r.Passed() {
		return output.Fails(errors.New(strings.Join(r.Failures, "; ")))
	}
	return nil
}

// printTests prints a test report, whose places are those of its folder.
func printTests(p *output.Printer, r *policy.TestReport, rules bool) error {
	if p.Format() == output.JSON {
		return p.Object(r)
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, t := range r.Tests {
		if bad(t) {
			say("%s:%d: %s: %s", t.File, t.Line, t.Outcome, t.Name)
			for _, more := range []string{t.Error, t.Output} {
				if more = strings.TrimSpace(more); more != "" {
					say("  %s", more)
				}
			}
		}
	}
	for _, u := range r.Uncovered {
		if u.Last > u.First {
			say("%s:%d-%d: no test evaluates these lines", u.File, u.First, u.Last)
		} else {
			say("%s:%d: no test evaluates this line", u.File, u.First)
		}
	}
	for _, d := range neverFire(r) {
		say("%s:%d: no test makes %s fire", d.File, d.Line, d.Name)
	}
	if rules {
		for _, rule := range r.Rules {
			say("%s:%d: %s %s fired %s", rule.File, rule.Line, rule.Kind, rule.Name, count(rule.Fired, "time"))
		}
	}
	say("%s", summary(r))
	for _, line := range lines {
		if err := p.Line("%s", line); err != nil {
			return err
		}
	}
	return nil
}
