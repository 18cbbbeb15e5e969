package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/policies"
)

// replayFlags is what policy replay was told.
type replayFlags struct {
	candidate, corpus        string
	data, site, since        string
	denyToAllow, allowToDeny int
	examples                 int
}

func (c *cli) policyReplayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --candidate DIR",
		Short: "Say what a policy would have done to recorded decisions",
		Long: `Put recorded questions to a candidate, each exactly as it was asked and at its
own time, and count what it answers otherwise. The decisions come from the log,
through the running server or from its file, or from a corpus that audit export
wrote. Only what the policy said is compared: decisions on which it said nothing
are counted as skipped, and what Go refused for reasons of its own stays refused.

Exits 0 when no limit is exceeded, 1 when one is, 2 when it could not be asked.`,
		Example: `  vouchsafe policy replay --candidate policies --since 7d
  vouchsafe policy replay --candidate policies --corpus decisions.jsonl --max-deny-to-allow 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			limits, err := f.limits(cmd)
			if err != nil {
				return output.Cannot(err)
			}
			folder, err := c.policyFolder([]string{f.candidate})
			if err != nil {
				return output.Cannot(err)
			}
			candidate, err := policy.Compile(folder)
			if problems, ok := errors.AsType[policy.Problems](err); ok {
				return printProblems(p, folder, problems)
			}
			if err != nil {
				return output.Cannot(err)
			}
			examples := f.examples
			if examples == 0 {
				examples = -1
			}
			replay := policy.NewReplay(candidate, policy.ReplayOptions{Examples: examples})
			if err := f.feed(cmd.Context(), c, replay); err != nil {
				return output.Cannot(err)
			}
			report := replay.Report()
			if err := printReplay(p, folder, report); err != nil {
				return output.Cannot(err)
			}
			if err := limits.Exceeded(report); err != nil {
				return output.Fails(err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.candidate, "candidate", "", "the policy `DIR` to try")
	flags.StringVar(&f.corpus, "corpus", "", "replay this `FILE` that audit export wrote, and not the log")
	flags.StringVar(&f.since, "since", "7d", "only decisions after this `TIME`: 24h or 7d ago, or 2026-01-31T09:00:00Z")
	flags.StringVar(&f.site, "site", "", "only of this `SITE`")
	flags.IntVar(&f.denyToAllow, "max-deny-to-allow", 0, "fail when more than `N` denials would be allowed")
	flags.IntVar(&f.allowToDeny, "max-allow-to-deny", 0, "fail when more than `N` of what was allowed would be denied")
	flags.IntVar(&f.examples, "examples", 3, "name at most `N` decisions of each change")
	dataFlag(cmd, &f.data)
	if err := cmd.MarkFlagRequired("candidate"); err != nil {
		panic(err) // the flag is two lines above
	}
	for _, other := range []string{"since", "site", "data"} {
		cmd.MarkFlagsMutuallyExclusive("corpus", other)
	}
	return cmd
}

// limits are those that were asked for: one that was not is none.
func (f *replayFlags) limits(cmd *cobra.Command) (policy.Limits, error) {
	var l policy.Limits
	if f.denyToAllow < 0 || f.allowToDeny < 0 || f.examples < 0 {
		return l, errors.New("--max-deny-to-allow, --max-allow-to-deny and --examples are at least 0")
	}
	if f.candidate == "" {
		return l, errors.New("--candidate is a policy folder")
	}
	if cmd.Flags().Changed("max-deny-to-allow") {
		l.DenyToAllow = &f.denyToAllow
	}
	if cmd.Flags().Changed("max-allow-to-deny") {
		l.AllowToDeny = &f.allowToDeny
	}
	return l, nil
}

// replayBatch is how many decisions are evaluated together.
const replayBatch = 400

// feed reads decisions and replays them, reading on while it evaluates.
func (f *replayFlags) feed(ctx context.Context, c *cli, replay *policy.Replay) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []policy.Recorded, 2)
	read := make(chan error, 1)
	go func() {
		defer close(batches)
		var batch []policy.Recorded
		send := func() error {
			select {
			case batches <- batch:
				batch = nil
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := f.read(ctx, c, func(rec policy.Recorded) error {
			if batch = append(batch, rec); len(batch) < replayBatch {
				return nil
			}
			return send()
		})
		if err == nil && len(batch) > 0 {
			err = send()
		}
		read <- err
	}()
	var failed error
	for batch := range batches {
		if failed == nil {
			if failed = replay.Add(ctx, batch); failed != nil {
				cancel()
			}
		}
	}
	if err := <-read; failed == nil {
		failed = err
	}
	return failed
}

// read calls each with the decisions of the corpus or of the log.
func (f *replayFlags) read(ctx context.Context, c *cli, each func(policy.Recorded) error) error {
	if f.corpus == "" {
		return c.recorded(ctx, f.data, f.site, f.since, each)
	}
	file, err := os.Open(f.corpus)
	if err != nil {
		return fmt.Errorf("opening the corpus: %w", err)
	}
	defer file.Close()
	// What recorded inputs look like is this binary's to say, and not a
	// candidate's.
	schema, err := policy.ReadInputSchema(policies.FS)
	if err != nil {
		return err
	}
	corpus, err := policy.ReadCorpus(file, schema)
	if err != nil {
		return err
	}
	for {
		rec, err := corpus.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(rec)
		}
		if err != nil {
			return err
		}
	}
}

// recorded calls each with the log's decisions, newest first.
func (c *cli) recorded(ctx context.Context, data, site, since string, each func(policy.Recorded) error) error {
	from, err := moment("--since", since, time.Now())
	if err != nil {
		return err
	}
	r, err := c.openAudit(ctx, data)
	if err != nil {
		return err
	}
	err = listAll(r, audit.Query{Site: site, Since: from}, math.MaxInt, func(e *audit.Entry) error {
		return each(recordedOf(e))
	})
	return errors.Join(err, r.close())
}

// recordedOf is a decision of the log as policies are tried on it.
func recordedOf(e *audit.Entry) policy.Recorded {
	d := &e.Decision
	return policy.Recorded{ID: d.ID, Policy: d.Policy, Allow: d.Allow, Reasons: d.Reasons, Obligations: d.Obligations, Input: d.Input,
		Erased: d.Unreadable != "" || d.Masked != ""}
}

// flipWords are the changes as people read them.
var flipWords = []struct{ kind, words string }{
	{policy.FlipDenyToAllow, "denied, would be allowed"},
	{policy.FlipAllowToDeny, "allowed, would be denied"},
	{policy.FlipObligation, "allowed, under other obligations"},
	{policy.FlipReason, "denied, for other reasons"},
}

func printReplay(p *output.Printer, folder policyFolder, r policy.FlipReport) error {
	if p.Format() == output.JSON {
		return p.Object(r)
	}
	fields := []output.Field{{Name: "candidate", Value: joined(folder.String(), "revision "+r.Candidate)}}
	return printFlips(p, r, append(fields, flipFields(r)...), r.Flips)
}

// flipFields are the counts of a report.
func flipFields(r policy.FlipReport) []output.Field {
	fields := []output.Field{
		{Name: "compared", Value: count(r.Compared, "decision")},
		{Name: "the same", Value: strconv.Itoa(r.Same)},
	}
	for _, w := range flipWords {
		fields = append(fields, output.Field{Name: w.words, Value: strconv.Itoa(r.Changed[w.kind])})
	}
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		fields = append(fields, output.Field{Name: "skipped, " + why, Value: strconv.Itoa(r.Skipped[why])})
	}
	return fields
}

// printFlips prints a report's fields, and each change below them.
func printFlips(p *output.Printer, whole any, fields []output.Field, flips []policy.Flip) error {
	if err := p.Object(whole, fields...); err != nil || len(flips) == 0 {
		return err
	}
	if err := p.Line(""); err != nil {
		return err
	}
	t := p.Table("CHANGE", "SITE", "ACTION", "BEFORE", "AFTER", "COUNT", "EXAMPLES")
	for _, f := range flips {
		err := t.Row(f, f.Kind, f.Site, f.Action, f.Before.String(), f.After.String(), strconv.Itoa(f.Count), strings.Join(f.Examples, " "))
		if err != nil {
			return err
		}
	}
	return t.Flush()
}
