package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vouchsafe/engine/audit"
)

// Bounds of what the demo's page is shown.
const (
	maxDemoConversations = 8
	maxDemoDecisions     = 50
	demoPast             = 24 * time.Hour
)

func (s *Server) demoOrigins() origins {
	return newOrigins([]string{s.o.Demo.Origin})
}

// shownDecision is a decision as the demo's page shows it.
type shownDecision struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Action   string    `json:"action"`
	Allow    bool      `json:"allow"`
	Code     string    `json:"code"`
	Audit    string    `json:"audit"`
	Identity struct {
		State string `json:"state"`
		Email string `json:"email"`
	} `json:"identity"`
	Asserted     []string `json:"asserted"`
	Conversation string   `json:"conversation"`
	Outcome      string   `json:"outcome"`
}

// demoDecisions lists the decisions of the conversations a page has had. A
// conversation's id is a secret of its page, so knowing it is enough in a demo
// with made-up customers.
func demoDecisions(x *exchange) error {
	var conversations []string
	err := x.decode(func(d *document, name string) (err error) {
		if name != "conversations" {
			return unknownMember(name)
		}
		conversations, err = d.texts(maxDemoConversations)
		return err
	})
	if err != nil {
		return err
	}
	var entries []audit.Entry
	for _, id := range conversations {
		if id == "" {
			continue
		}
		found, err := x.s.o.Log.List(audit.Query{Conversation: id, Since: x.now.Add(-demoPast), Limit: maxDemoDecisions})
		if err != nil {
			return err
		}
		entries = append(entries, found...)
	}
	slices.SortFunc(entries, func(a, b audit.Entry) int { return strings.Compare(b.Decision.ID, a.Decision.ID) })
	entries = entries[:min(len(entries), maxDemoDecisions)]
	shown := make([]shownDecision, len(entries))
	for i := range entries {
		shown[i] = showDecision(&entries[i])
	}
	x.out, err = appendValue(x.out[:0], struct {
		Decisions []shownDecision `json:"decisions"`
	}{shown})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK)
}

func showDecision(e *audit.Entry) shownDecision {
	d := shownDecision{ID: e.Decision.ID, Time: e.Decision.Time, Action: e.About.Action.Name, Allow: e.Decision.Allow,
		Code: e.Code(), Audit: e.Decision.Cause, Conversation: e.About.Conversation.ID,
		Asserted: append([]string{}, e.About.Asserted.Emails...)}
	d.Identity.State, d.Identity.Email = e.About.Identity.State, e.About.Identity.Email
	d.Asserted = append(d.Asserted, e.About.Asserted.Names...)
	if e.Decision.Problem != "" {
		d.Audit = e.Decision.Problem
	}
	if e.Decision.Asked && e.Decision.Allow {
		d.Outcome = "asked"
	}
	if e.Outcome == nil {
		return d
	}
	if d.Outcome = e.Outcome.Code; d.Outcome == "" {
		d.Outcome = "done"
	}
	if n := len(e.Outcome.Withheld); n > 0 {
		why := slices.Compact(slices.Sorted(slices.Values(e.Outcome.Withheld)))
		d.Outcome += fmt.Sprintf(", %d withheld: %s", n, strings.Join(why, ", "))
	}
	return d
}
