package doubt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
)

// Call is a permitted call of which it is not known what became.
type Call struct {
	Decision     string
	Time         time.Time
	Site         string
	Subject      string // "" for somebody who had not signed in
	Conversation string // "" when it came through no conversation
	Action       string
	Args         map[string]any
}

// Report is what Settle found.
type Report struct {
	Unknown     int // calls that may have changed something
	Interrupted int // calls that only read, or that waited for a yes: nobody was shown anything
}

// Settle gives every permitted call that an earlier process left without an
// outcome one: outcome_unknown where something may have happened, interrupted
// where nothing can have. tell hears of the former first, so that their visitors
// do too; it may hear of one again. It is to be called before anything is served.
func (w *Watch) Settle(ctx context.Context, tell func(context.Context, Call) error) (Report, error) {
	var out Report
	ends := w.ends()
	for _, site := range w.log.Sites() {
		open := map[string]*audit.Record{}
		from := w.settled[site]
		if from > ends[site] {
			from = 0 // the log is another than the one that was settled
		}
		_, err := w.log.Scan(site, from, func(it audit.Item) error {
			switch {
			case it.Decision != nil && it.Decision.Allow && !it.Decision.Asked:
				open[it.Decision.ID] = it.Decision
			case it.Outcome != nil:
				delete(open, it.Outcome.Decision)
			}
			return nil
		})
		if err != nil {
			return out, fmt.Errorf("looking for what was left without an outcome at site %s: %w", site, err)
		}
		left := make([]*audit.Record, 0, len(open))
		for _, r := range open {
			left = append(left, r)
		}
		slices.SortFunc(left, func(a, b *audit.Record) int { return strings.Compare(a.ID, b.ID) })
		for _, r := range left {
			if err := w.settle(ctx, site, r, tell, &out); err != nil {
				return out, fmt.Errorf("settling decision %s: %w", r.ID, err)
			}
		}
	}
	ends = w.ends()
	if err := w.write(ctx, ends); err != nil {
		return out, fmt.Errorf("noting how far outcomes are settled: %w", err)
	}
	w.mu.Lock()
	w.settled = ends
	w.mu.Unlock()
	w.ready = true
	return out, nil
}

// asked is what the input of a decision says of the call.
type asked struct {
	Identity struct {
		Subject string `json:"subject"`
	} `json:"identity"`
	Action struct {
		Name string         `json:"name"`
		Risk string         `json:"risk"`
		Args map[string]any `json:"args"`
	} `json:"action"`
	Confirmation struct {
		Confirmed bool `json:"confirmed"`
	} `json:"confirmation"`
	Conversation struct {
		ID      string `json:"id"`
		Subject string `json:"subject"`
	} `json:"conversation"`
}

func (w *Watch) settle(ctx context.Context, site string, r *audit.Record, tell func(context.Context, Call) error, out *Report) error {
	o := audit.Outcome{Decision: r.ID, Time: w.clock(), Code: engine.CodeOutcomeUnknown,
		Problem: "the gate ended between the permit and the outcome; the other system knows what became of it"}
	var in asked
	readable := len(r.Input) > 0
	if readable {
		d := json.NewDecoder(bytes.NewReader(r.Input))
		d.UseNumber()
		readable = d.Decode(&in) == nil
	}
	// What only reads changed nothing, and neither did what was still to be
	// confirmed. What cannot be read is taken for the worst.
	harmless := readable && (in.Action.Risk == engine.Read.String() ||
		slices.Contains(r.Obligations, engine.ObligationConfirm) && !in.Confirmation.Confirmed)
	if harmless {
		o.Code, o.Problem = engine.CodeInterrupted, "the gate ended before anything was shown; nothing was changed"
		out.Interrupted++
	} else {
		out.Unknown++
		if readable {
			c := Call{Decision: r.ID, Time: r.Time, Site: site, Subject: in.Conversation.Subject, Conversation: in.Conversation.ID,
				Action: in.Action.Name, Args: in.Action.Args}
			if err := tell(ctx, c); err != nil {
				return err
			}
		}
	}
	return w.log.Outcome(ctx, site, o)
}
