package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
)

// retainEvery is how often it is looked for what is too old.
const retainEvery = time.Hour

// How old a file of the log grows, with retention: an eighth of the shortest, so
// that nothing outlives its time by more, and a day at least, for the number of
// files.
const (
	segmentShare    = 8
	youngestSegment = 24 * time.Hour
)

// segmentAge is how old a file of the log may grow; 0 is the log's own choice.
func segmentAge(sites []siteSettings) (age time.Duration) {
	for _, s := range sites {
		if share := max(s.retention/segmentShare, youngestSegment); s.retention > 0 && (age == 0 || share < age) {
			age = share
		}
	}
	return min(age, audit.DefaultSegmentAge)
}

// retention is how the dropping of old decisions goes.
type retention struct {
	mu      sync.Mutex
	ran     time.Time // when it last went through
	problem string    // why it last did not
	held    []string  // why what is old enough stays
}

func (r *retention) note(now time.Time, done []audit.Retained, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = nil
	for _, d := range done {
		if d.Held != "" {
			r.held = append(r.held, fmt.Sprintf("decisions of site %s are past their retention and stay: %s", d.Site, d.Held))
		}
	}
	if err != nil {
		r.problem = err.Error()
		return
	}
	r.ran, r.problem = now, ""
}

func (r *retention) problems() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem != "" {
		out = append(out, "decisions that are past their retention could not be dropped: "+r.problem)
	}
	return append(out, r.held...)
}

// retainRegularly drops what is too old now, and then every hour.
func (a *app) retainRegularly(ctx context.Context) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if _, err := a.retain(ctx, "", "retention", nil, false); err != nil && ctx.Err() == nil {
			a.log.Error("decisions that are past their retention could not be dropped", "cause", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// retain drops the decisions that are too old, of one site or of all. age, when
// set, is asked about instead of the configured one, dry.
func (a *app) retain(ctx context.Context, site, by string, age *time.Duration, dry bool) ([]audit.Retained, error) {
	now := time.Now()
	before := map[string]time.Time{}
	for _, s := range *a.sites.Load() {
		keep := s.retention
		if age != nil && dry {
			keep = *age
		}
		if keep > 0 && (site == "" || site == s.site.ID) {
			before[s.site.ID] = now.Add(-keep)
		}
	}
	hold := audit.Hold{Settled: a.doubts.Settled, Decisions: a.confirm.Decisions}
	out, err := a.audit.Retain(ctx, before, by, hold, dry)
	if !dry && ctx.Err() == nil {
		a.keeping.note(now, out, err)
	}
	return out, err
}

// toRetain is what retention is asked to do.
type toRetain struct {
	Site string `json:"site,omitempty"`
	// Age is asked about instead of the configured retention, such as 90d; only
	// with DryRun.
	Age    string `json:"age,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// retained is what it did.
type retained struct {
	Sites []audit.Retained `json:"sites"`
}

func (a *app) adminRetain(r httpapi.AdminRequest) (any, error) {
	var in toRetain
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Site != "" && !slices.ContainsFunc(*a.sites.Load(), func(s siteSettings) bool { return s.site.ID == in.Site }) {
		return nil, engine.Errorf(codeUnknownSite, "There is no such site.", nil)
	}
	var age *time.Duration
	if in.Age != "" {
		d, err := config.ParseAge(in.Age)
		if err != nil || d <= 0 || !in.DryRun {
			return nil, engine.Errorf(codeInvalidRequest, "age is a time in days, such as 90d, to be asked about with dry_run.", err)
		}
		age = &d
	}
	out, err := a.retain(r.Context, in.Site, r.Caller.Name(), age, in.DryRun)
	if err != nil {
		return nil, err
	}
	return retained{append([]audit.Retained{}, out...)}, nil
}

func (c *cli) auditRetainCommand(data *string) *cobra.Command {
	var in toRetain
	cmd := &cobra.Command{
		Use:   "retain",
		Short: "Drop the decisions that are past their retention now",
		Long: `Have the running server drop the decisions that are older than their site's
audit.retention, as it does every hour by itself. They go by whole files of the
log, so some stay a while longer; what something may yet follow from stays too.
The hashes of what goes stay, and the rest verifies; that it went is on record.

With --dry-run, say what would go, and with --age, what would go if that were the
retention.`,
		Example: `  vouchsafe audit retain --dry-run
  vouchsafe audit retain --dry-run --age 90d --site shop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			if in.Age != "" && !in.DryRun {
				return output.Cannot(errors.New("--age only asks what would go: with --dry-run"))
			}
			at, client, err := c.atServer(cmd, *data)
			if err != nil {
				return output.Cannot(err)
			}
			defer client.close()
			if in.Site != "" {
				if err := at.checkSite(in.Site); err != nil {
					return output.Cannot(err)
				}
			}
			client.http.Timeout = 0 // large files take their time
			var got retained
			if err := client.post(cmd.Context(), "/v1/admin/audit/retention", in, &got); err != nil {
				return output.Cannot(err)
			}
			t := p.Table("SITE", "BEFORE", "RECORDS", "FROM", "TO", "FILES", "ON RECORD", "HELD")
			for i := range got.Sites {
				r := &got.Sites[i]
				from, to := "", ""
				if r.Records > 0 {
					from, to = stamp(r.First), stamp(r.Last)
				}
				if err := t.Row(r, r.Site, stamp(r.Before), strconv.FormatUint(r.Records, 10), from, to, strconv.Itoa(r.Files), r.Act, r.Held); err != nil {
					return err
				}
			}
			if err := t.Flush(); err != nil {
				return err
			}
			if t.Rows() == 0 {
				return p.Line("No site has a retention: decisions are kept for ever.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&in.Site, "site", "", "only of this `SITE`")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "drop nothing, and say what would go")
	cmd.Flags().StringVar(&in.Age, "age", "", "ask about this `AGE`, such as 90d, instead of the configured one")
	return cmd
}
