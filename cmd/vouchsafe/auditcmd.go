package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vouchsafe/cmd/vouchsafe/output"
	"vouchsafe/engine/audit"
)

func (c *cli) auditCommand() *cobra.Command {
	var data string
	cmd := group("audit", "Read the decision log, prove it and keep it", c.auditListCommand(&data), c.auditShowCommand(&data), c.auditTailCommand(&data),
		c.auditStoryCommand(&data), c.auditSummaryCommand(&data), c.auditActsCommand(&data), c.auditExportCommand(&data),
		c.auditVerifyCommand(&data), c.auditProveCommand(&data), c.auditCheckpointCommand(&data), c.auditEraseCommand(&data), c.auditRetainCommand(&data), c.auditBackupCommand(&data))
	dataFlag(cmd, &data)
	return cmd
}

// auditFilter is what audit list was told to select.
type auditFilter struct {
	query               audit.Query
	allow, since, until string
	limit               int
}

func (c *cli) auditListCommand(data *string) *cobra.Command {
	var f auditFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List decisions, newest first",
		Long: `List decisions, newest first: through the running server, or from its file when
none runs. Without --config, the demo's, in ./data.`,
		Example: `  vouchsafe audit list --since 7d --allow false
  vouchsafe audit list --code not_owner --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.printer()
			if err != nil {
				return err
			}
			q, err := f.parse(time.Now())
			if err != nil {
				return output.Cannot(err)
			}
			r, err := c.openAudit(cmd.Context(), *data)
			if err != nil {
				return output.Cannot(err)
			}
			t := entryTable(p)
			err = listAll(r, q, f.limit, func(e *audit.Entry) error { return entryRow(t, e) })
			if err = errors.Join(err, t.Flush(), r.close()); err != nil {
				return output.Cannot(err)
			}
			if t.Rows() == 0 {
				return p.Line("No decision matches.")
			}
			return nil
		},
	}
	f.flags(cmd)
	f.times(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 50, "at most `N` decisions")
	return cmd
}

// flags are those that select decisions.
func (f *auditFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.query.Site, "site", "", "only of this `SITE`")
	flags.StringVar(&f.query.Subject, "subject", "", "only about this `SUBJECT`, as the token named them")
	flags.StringVar(&f.query.Action, "action", "", "only of this `ACTION`")
	flags.StringVar(&f.query.Code, "code", "", "only with this reason or outcome `CODE`")
	flags.StringVar(&f.query.Conversation, "conversation", "", "only in this `CONVERSATION`")
	flags.StringVar(&f.query.Policy, "policy", "", "only decided by this policy `REVISION`")
	flags.StringVar(&f.query.TokenID, "token-id", "", "only with the token of this `ID` (jti)")
	flags.StringVar(&f.allow, "allow", "", "`true` for what was allowed, false for what was denied")
}

// times are the flags that select a stretch of time.
func (f *auditFilter) times(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.since, "since", "", "only after this `TIME`: 24h or 7d ago, or 2026-01-31T09:00:00Z")
	cmd.Flags().StringVar(&f.until, "until", "", "only before this `TIME`")
}

// entryTable lists decisions, a line each.
func entryTable(p *output.Printer) *output.Table {
	return p.Table("TIME", "SITE", "ACTION", "DECISION", "CODE", "SUBJECT", "OUTCOME", "ID")
}

func entryRow(t *output.Table, e *audit.Entry) error {
	return t.Row(e, stamp(e.Decision.Time), e.Site, e.About.Action.Name, verdict(e.Decision.Allow),
		e.Code(), e.About.Identity.Subject, outcomeOf(e), e.Decision.ID)
}

// parse reads the flags that are not plain words.
func (f *auditFilter) parse(now time.Time) (audit.Query, error) {
	q := f.query
	if f.limit < 1 {
		return q, errors.New("--limit is at least 1")
	}
	if f.allow != "" {
		if f.allow != "true" && f.allow != "false" {
			return q, errors.New("--allow is true or false")
		}
		allow := f.allow == "true"
		q.Allow = &allow
	}
	var err error
	if q.Since, err = moment("--since", f.since, now); err != nil {
		return q, err
	}
	q.Until, err = moment("--until", f.until, now)
	return q, err
}

// moment reads a time, or how long ago it was.
func moment(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%s is how long ago, such as 24h or 7d, or a time such as 2026-01-31T09:00:00Z", flag)
}

func (c *cli) auditShowCommand(data *string) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show everything about one decision",
		Long: `Show one decision: who was verified and who was claimed, what was asked, what the
policy said and why, and what was then done. Without --config, of the demo, in
./data.`,
		Example: `  vouchsafe audit show d_06f0t4v8m2q9x1b7c3n5k6h2ra`,
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
			e, err := r.show(args[0])
			if err = errors.Join(err, r.close()); errors.Is(err, audit.ErrNotFound) {
				return output.Cannot(fmt.Errorf("the log holds no decision %s", args[0]))
			} else if err != nil {
				return output.Cannot(err)
			}
			if p.Format() == output.JSON {
				return p.Object(e)
			}
			fields, err := showFields(&e, c.texts())
			if err != nil {
				return output.Cannot(err)
			}
			return p.Object(e, fields...)
		},
	}
}

// asked is what a decision was about, as far as audit show prints it.
type asked struct {
	Identity struct {
		State   string `json:"state"`
		Subject string `json:"subject"`
		Email   string `json:"email"`
		Name    string `json:"name"`
		TokenID string `json:"token_id"`
	} `json:"identity"`
	Action struct {
		Name    string          `json:"name"`
		Risk    string          `json:"risk"`
		MinTier string          `json:"min_tier"`
		Args    json.RawMessage `json:"args"`
	} `json:"action"`
	Site struct {
		Tier string `json:"tier"`
	} `json:"site"`
	Target       struct{ Email string } `json:"target"`
	Asserted     struct{ Emails, Names []string }
	Confirmation struct{ Confirmed bool }
	Conversation struct{ ID string }
	Channel      string
}

// showFields is a decision in full. What is empty is left out.
func showFields(e *audit.Entry, texts reasonTexts) ([]output.Field, error) {
	var in asked
	if len(e.Decision.Input) > 0 {
		if err := json.Unmarshal(e.Decision.Input, &in); err != nil {
			return nil, fmt.Errorf("reading the decision's input: %w", err)
		}
	}
	var fields []output.Field
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, output.Field{Name: name, Value: value})
		}
	}
	reason := func(name, code string) {
		add(name, code)
		add("  visitor is told", texts.reasons[code].Message)
		add("  auditor is told", texts.reasons[code].Audit)
	}
	d := &e.Decision
	add("decision", d.ID)
	add("time", d.Time.UTC().Format(time.RFC3339Nano))
	add("serves", d.Parent)
	add("site", joined(e.Site, in.Site.Tier))
	add("channel", in.Channel)
	add("conversation", in.Conversation.ID)
	add("action", joined(in.Action.Name, in.Action.Risk))
	if args := string(in.Action.Args); args != "{}" {
		add("arguments", args)
	}
	add("problem", d.Problem)
	add("identity", in.Identity.State)
	add("  why", d.Cause)
	add("  subject", in.Identity.Subject)
	add("  token", in.Identity.TokenID)
	add("pinned", joined(in.Identity.Email, in.Identity.Name))
	add("asserted", strings.Join(append(in.Asserted.Emails, in.Asserted.Names...), ", "))
	target := in.Target.Email
	if target != "" && target != in.Identity.Email {
		target += " (not the pinned one)"
	}
	add("target", target)
	add("verdict", verdict(d.Allow))
	for _, code := range d.Reasons {
		reason("reason", code)
	}
	add("obligations", strings.Join(d.Obligations, ", "))
	if in.Confirmation.Confirmed {
		add("confirmed", "yes")
	}
	add("policy", texts.revision(d.Policy))
	add("  rules", strings.Join(d.Rules, ", "))
	o := e.Outcome
	if o == nil {
		if d.Allow {
			add("outcome", "none recorded")
		}
		return fields, nil
	}
	add("outcome", outcomeOf(e))
	add("  why", o.Problem)
	add("  time", o.Time.UTC().Format(time.RFC3339Nano))
	add("  connector", o.Connector)
	if o.Status != 0 {
		add("  status", strconv.Itoa(o.Status))
	}
	add("  took", (time.Duration(o.Milliseconds) * time.Millisecond).String())
	records := fmt.Sprintf("%d returned, %d released", o.Returned, o.Released)
	if o.Partial {
		records += "; there were more, which were not asked for"
	}
	add("  records", records)
	for _, code := range o.Withheld {
		reason("  withheld", code)
	}
	add("  redacted", strings.Join(o.Redacted, ", "))
	add("  idempotency key", o.IdempotencyKey)
	return fields, nil
}

// joined writes a thing with its qualifier.
func joined(thing, qualifier string) string {
	if qualifier == "" || thing == "" {
		return thing + qualifier
	}
	return thing + " (" + qualifier + ")"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func verdict(allow bool) string {
	if allow {
		return "allowed"
	}
	return "denied"
}

// outcomeOf is what became of the call: "" when there was none.
func outcomeOf(e *audit.Entry) string {
	switch o := e.Outcome; {
	case e.Decision.Asked && e.Decision.Allow:
		return "only asked"
	case o == nil:
		return ""
	case o.Code != "":
		return o.Code
	default:
		return "done"
	}
}
