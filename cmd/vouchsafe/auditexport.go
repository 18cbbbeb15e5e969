package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/export"
	"vouchsafe/engine/policy"
)

// exporting is what audit export was told to write.
type exporting struct {
	auditFilter
	as, output, corpus string
	masked             bool
}

func (c *cli) auditExportCommand(data *string) *cobra.Command {
	x := exporting{auditFilter: auditFilter{limit: math.MaxInt}}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write decisions for other systems to read",
		Long: `Write decisions, newest first, as JSON Lines, CSV, decision-log events of OPA or
OCSF ` + export.OCSFVersion + ` API Activity events (class 6003), to standard output or a file.
They are read and written a page at a time; on a terminal, a line says how far it
is. --without-personal leaves out subjects, addresses, names, arguments, token
and conversation ids.

With --corpus FILE, write a corpus for policy replay instead: JSON Lines, in which
e-mail addresses, subjects, names, token and conversation ids, claims and
arguments are replaced, the same by the same wherever it stands. Ids of
decisions, sites, actions and times stay. Each decision is checked to be the
same with stand-ins; what would be decided otherwise is left out and counted.
The policies are the configuration's, or the embedded ones.`,
		Example: `  vouchsafe audit export --as ocsf --since 24h --output decisions.jsonl
  vouchsafe audit export --as csv --allow false --without-personal > denied.csv
  vouchsafe audit export --corpus decisions.jsonl --since 30d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if x.corpus != "" {
				for _, name := range []string{"as", "output", "without-personal", "subject", "action", "code", "conversation", "policy", "token-id", "allow", "until"} {
					if cmd.Flags().Changed(name) {
						return output.Cannot(fmt.Errorf("--%s and --corpus do not go together", name))
					}
				}
				return c.exportCorpus(cmd.Context(), p, *data, x.corpus, x.query.Site, x.since)
			}
			q, err := x.parse(time.Now())
			if err != nil {
				return output.Cannot(err)
			}
			if err := c.exportEntries(cmd.Context(), *data, &x, q); err != nil {
				return output.Cannot(err)
			}
			return nil
		},
	}
	x.flags(cmd)
	x.times(cmd)
	cmd.Flags().StringVar(&x.as, "as", string(export.JSONLines), "the `FORMAT`: jsonl, csv, opa or ocsf")
	cmd.Flags().StringVar(&x.output, "output", "", "the `FILE` to write; standard output without it")
	cmd.Flags().BoolVar(&x.masked, "without-personal", false, "leave out whom each decision is about")
	cmd.Flags().StringVar(&x.corpus, "corpus", "", "write a corpus for policy replay to this `FILE`")
	return cmd
}

// exportEntries writes what matches in one of the formats.
func (c *cli) exportEntries(ctx context.Context, data string, x *exporting, q audit.Query) error {
	write := func(to io.Writer) error {
		w, err := export.NewWriter(to, export.Format(x.as), export.Options{Personal: !x.masked, Version: version()})
		if err != nil {
			return err
		}
		r, err := c.openAudit(ctx, data)
		if err != nil {
			return err
		}
		progress := c.progress()
		err = listAll(r, q, x.limit, func(e *audit.Entry) error {
			progress.step(e.Decision.Time)
			if err := ctx.Err(); err != nil {
				return err
			}
			return w.Write(e)
		})
		progress.end()
		return errors.Join(err, r.close(), w.Close())
	}
	if x.output == "" {
		return write(c.out)
	}
	return replaceFile(x.output, func(f *os.File) error { return write(f) })
}

// progress says on a terminal how far something is, and nothing elsewhere.
type progress struct {
	to   io.Writer // nil for nobody
	n    int
	said time.Time
}

func (c *cli) progress() *progress {
	if f, ok := c.err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return &progress{to: f}
		}
	}
	return &progress{}
}

// step counts one decision, of that time.
func (g *progress) step(at time.Time) {
	g.n++
	if now := time.Now(); g.to != nil && g.n%100 == 0 && now.Sub(g.said) > 200*time.Millisecond {
		g.said = now
		fmt.Fprintf(g.to, "\r%d decisions, back to %s ", g.n, stamp(at))
	}
}

func (g *progress) end() {
	if g.to != nil {
		fmt.Fprintf(g.to, "\r%d decisions\x1b[K\n", g.n)
	}
}

// exportCorpus writes decisions with stand-ins for the people in them.
func (c *cli) exportCorpus(ctx context.Context, p *output.Printer, data, corpus, site, since string) error {
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
		err = c.recorded(ctx, data, site, since, func(rec policy.Recorded) error { return w.Add(ctx, rec) })
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
