package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/policy"
)

func (c *cli) auditExportCommand(data *string) *cobra.Command {
	var corpus, site, since string
	cmd := &cobra.Command{
		Use:   "export --corpus FILE",
		Short: "Write recorded decisions with stand-ins for the people in them",
		Long: `Write recorded decisions as a corpus for policy replay: JSON Lines, in which
e-mail addresses, subjects, names, token and conversation ids, claims and
arguments are replaced, the same by the same wherever it stands. Ids of
decisions, sites, actions and times stay. Each decision is checked to be the
same with stand-ins; what would be decided otherwise is left out and counted.

The policies are the configuration's, or the embedded ones.`,
		Example: `  vouchsafe audit export --corpus decisions.jsonl --since 30d`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			folder, err := c.policyFolder(nil)
			if err != nil {
				return output.Cannot(err)
			}
			active, err := policy.Compile(folder)
			if err != nil {
				return output.Cannot(fmt.Errorf("the policies cannot be used: %w", err))
			}
			var report policy.CorpusReport
			err = replaceFile(corpus, func(f *os.File) error {
				w, err := policy.NewCorpusWriter(f, active, time.Now())
				if err != nil {
					return err
				}
				err = c.recorded(cmd.Context(), *data, site, since, func(rec policy.Recorded) error {
					return w.Add(cmd.Context(), rec)
				})
				if err != nil {
					return err
				}
				if report, err = w.Close(); err == nil && report.Written == 0 {
					return errors.New("there is no decision to export")
				}
				return err
			})
			if err != nil {
				return output.Cannot(err)
			}
			fields := []output.Field{
				{Name: "corpus", Value: corpus},
				{Name: "policy", Value: report.Policy},
				{Name: "written", Value: count(report.Written, "decision")},
			}
			if report.OtherPolicy > 0 {
				fields = append(fields, output.Field{Name: "  decided by other revisions", Value: strconv.Itoa(report.OtherPolicy)})
			}
			for _, why := range slices.Sorted(maps.Keys(report.LeftOut)) {
				fields = append(fields, output.Field{Name: "left out, " + why, Value: strconv.Itoa(report.LeftOut[why])})
			}
			return p.Object(report, fields...)
		},
	}
	cmd.Flags().StringVar(&corpus, "corpus", "", "the `FILE` to write")
	cmd.Flags().StringVar(&since, "since", "", "only decisions after this `TIME`: 24h or 7d ago, or 2026-01-31T09:00:00Z")
	cmd.Flags().StringVar(&site, "site", "", "only of this `SITE`")
	if err := cmd.MarkFlagRequired("corpus"); err != nil {
		panic(err) // the flag is three lines above
	}
	return cmd
}

// replaceFile writes a file whole or not at all. It is for its owner's eyes.
func replaceFile(name string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
