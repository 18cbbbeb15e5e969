package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/config"
	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/store"
	"vouchsafe/engine/tally"
)

// decisionSummary is decisions by the hour, or by less.
type decisionSummary struct {
	Since  time.Time     `json:"since"`
	Until  time.Time     `json:"until,omitzero"`
	Counts []tally.Count `json:"counts"`
}

// defaultBy is what a summary tells apart unless it is told otherwise.
const defaultBy = "hour,action,allow,code"

// summaryLife is how far back a summary looks unless it is told otherwise.
const summaryLife = 24 * time.Hour

// parseBy reads what is to be told apart.
func parseBy(s string) (by tally.By, err error) {
	seen := map[string]bool{}
	for _, word := range strings.Split(s, ",") {
		into := map[string]*bool{"hour": &by.Hour, "site": &by.Site, "action": &by.Action, "allow": &by.Allow, "code": &by.Code}[word]
		if into == nil || seen[word] {
			return by, errors.New("by is some of hour, site, action, allow and code, each once, with commas")
		}
		*into, seen[word] = true, true
	}
	return by, nil
}

// adminSummary sums decisions up.
func (a *app) adminSummary(r httpapi.AdminRequest) (any, error) {
	invalid := func(err error) error { return engine.Errorf(codeInvalidRequest, err.Error(), nil) }
	var q tally.Query
	var err error
	text := r.Query.Get("by")
	if text == "" {
		text = defaultBy
	}
	if q.By, err = parseBy(text); err != nil {
		return nil, invalid(err)
	}
	q.Since = time.Now().Add(-summaryLife)
	for name, into := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if s := r.Query.Get(name); s != "" {
			if *into, err = time.Parse(time.RFC3339, s); err != nil {
				return nil, invalid(errors.New(name + " is a time such as 2026-01-31T09:00:00Z"))
			}
		}
	}
	if site := r.Query.Get("site"); site != "" {
		q.Sites = []string{site}
	} else if !r.Caller.All() {
		q.Sites = r.Caller.Sites()
	}
	for _, site := range q.Sites {
		if !r.Caller.May(site) {
			return nil, engine.Errorf("admin_forbidden", "This token is not for that.", nil)
		}
	}
	if err := a.counts.Look(r.Context); err != nil {
		return nil, err
	}
	return sum(a.state, q)
}

func sum(db *store.DB, q tally.Query) (decisionSummary, error) {
	counts, err := tally.Sum(db, q)
	if errors.Is(err, tally.ErrTooMany) {
		err = engine.Errorf(codeInvalidRequest, err.Error(), nil)
	}
	return decisionSummary{Since: q.Since.UTC().Truncate(time.Hour), Until: q.Until.UTC(), Counts: counts}, err
}

func (c *cli) auditSummaryCommand(data *string) *cobra.Command {
	var f auditFilter
	var site, by string
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Count decisions by hour, action and code",
		Long: `Count decisions by whole hours, and by what --by names: some of hour, site,
action, allow and code. The code of what was allowed is its outcome's: done,
asked, or what went wrong. Counts are kept for 400 days and are about nobody.
Through the running server, or from its file when none runs. Without --config,
the demo's, in ./data.`,
		Example: `  vouchsafe audit summary --since 7d --by allow,code
  vouchsafe audit summary --site shop --since 24h --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			told, err := parseBy(by)
			if err != nil {
				return output.Cannot(errors.New("--" + err.Error()))
			}
			f.limit = 1
			times, err := f.parse(time.Now())
			if err != nil {
				return output.Cannot(err)
			}
			q := tally.Query{Since: times.Since, Until: times.Until, By: told}
			if site != "" {
				q.Sites = []string{site}
			}
			s, err := c.summary(cmd.Context(), *data, q, by)
			if err != nil {
				return output.Cannot(err)
			}
			t := p.Table("HOUR", "SITE", "ACTION", "DECISION", "CODE", "COUNT")
			for i := range s.Counts {
				n := &s.Counts[i]
				hour, decision := "", ""
				if !n.Hour.IsZero() {
					hour = n.Hour.UTC().Format("2006-01-02 15h")
				}
				if n.Allow != nil {
					decision = verdict(*n.Allow)
				}
				if err := t.Row(n, hour, n.Site, n.Action, decision, n.Code, strconv.FormatUint(n.Count, 10)); err != nil {
					return err
				}
			}
			if err := t.Flush(); err != nil {
				return err
			}
			if t.Rows() == 0 {
				return p.Line("No decision in that time.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "only of this `SITE`")
	cmd.Flags().StringVar(&by, "by", defaultBy, "what is told apart")
	f.times(cmd)
	cmd.Flag("since").DefValue, f.since = "24h", "24h"
	return cmd
}

// summary asks the server, or reads its state file when none runs.
func (c *cli) summary(ctx context.Context, data string, q tally.Query, by string) (s decisionSummary, err error) {
	at, err := c.place(data, config.LoadWithoutSecrets)
	if err != nil {
		return s, err
	}
	client, err := dialAdmin(ctx, at.data)
	if errors.Is(err, errNoServer) {
		db, err := store.Open(filepath.Join(at.data, stateFile), "state", store.Options{ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			return s, fmt.Errorf("there is no decision log in %s", at.data)
		}
		if err != nil {
			return s, err
		}
		s, err = sum(db, q)
		return s, errors.Join(err, db.Close())
	}
	if err != nil {
		return s, err
	}
	defer client.close()
	v := url.Values{"by": {by}, "since": {q.Since.UTC().Format(time.RFC3339)}}
	if !q.Until.IsZero() {
		v.Set("until", q.Until.UTC().Format(time.RFC3339))
	}
	for _, site := range slices.Compact(q.Sites) {
		v.Set("site", site)
	}
	err = client.get(ctx, "/v1/admin/decisions/summary", v, &s)
	return s, err
}
