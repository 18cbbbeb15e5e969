package tally_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/policy"
	"vouchsafe/engine/store"
	"vouchsafe/engine/tally"
)

var (
	ctx   = context.Background()
	start = time.Date(2026, 11, 23, 10, 59, 30, 0, time.UTC)
)

type world struct {
	log   *audit.Log
	state *store.DB
	now   time.Time
	n     int
}

func setUp(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "audit"), audit.Options{Master: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	state, err := store.Open(filepath.Join(dir, "state.db"), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { state.Close() })
	return &world{log: log, state: state, now: start}
}

func (w *world) clock() time.Time { return w.now }

// decide records a decision, and returns its id. reason is "" for an allow.
func (w *world) decide(t *testing.T, site, action, reason string, asked bool) string {
	t.Helper()
	w.n++
	d := &audit.Decision{Decision: engine.Decision{ID: engine.NewID("d", w.now), Time: w.now, Allow: reason == "", Policy: "p"}, Site: site, Asked: asked,
		Input: &policy.Input{Site: &engine.Site{ID: site}, Action: &engine.Action{Name: action, Title: action, Risk: engine.Read, MinTier: engine.Free}, Now: w.now}}
	if reason != "" {
		d.Reasons = []engine.Reason{{Code: reason}}
	}
	if err := w.log.Decision(ctx, d); err != nil {
		t.Fatal(err)
	}
	return d.ID
}

func (w *world) end(t *testing.T, site, decision, code string) {
	t.Helper()
	if err := w.log.Outcome(ctx, site, audit.Outcome{Decision: decision, Time: w.now, Code: code}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) book(t *testing.T, log tally.Log) *tally.Book {
	t.Helper()
	if log == nil {
		log = w.log
	}
	b, err := tally.Open(log, w.state, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) sum(t *testing.T, q tally.Query) []string {
	t.Helper()
	counts, err := tally.Sum(w.state, q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range counts {
		hour, allow := "-", "-"
		if !c.Hour.IsZero() {
			hour = c.Hour.Format("15")
		}
		if c.Allow != nil {
			allow = fmt.Sprint(*c.Allow)
		}
		out = append(out, fmt.Sprint(hour, " ", c.Site, " ", c.Action, " ", allow, " ", c.Code, " ", c.Count))
	}
	return out
}

// Each decision is counted once, in its own hour, by what became of it.
func TestCounts(t *testing.T) {
	w := setUp(t)
	b := w.book(t, nil)
	look := func() {
		t.Helper()
		if err := b.Look(ctx); err != nil {
			t.Fatal(err)
		}
	}
	w.end(t, "shop", w.decide(t, "shop", "order.list", "", false), "")
	w.end(t, "shop", w.decide(t, "shop", "order.list", "", false), "")
	w.end(t, "shop", w.decide(t, "shop", "order.lookup", "", false), "not_found")
	w.decide(t, "shop", "order.list", "identity_absent", false)
	w.decide(t, "corner", "order.list", "tier_insufficient", false)
	w.decide(t, "shop", "order.list", "", true)
	late := w.decide(t, "shop", "order.cancel", "", false)
	look()
	b = w.book(t, nil) // a restart between a decision and its outcome
	w.now = start.Add(time.Minute)
	w.end(t, "shop", late, "outcome_unknown")
	w.decide(t, "shop", "order.list", "identity_absent", false)
	if _, err := w.log.Act(ctx, audit.Act{Time: w.now, Site: "shop", Kind: "revocation"}); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	all := tally.By{Hour: true, Site: true, Action: true, Allow: true, Code: true}
	for _, c := range []struct {
		q    tally.Query
		want []string
	}{
		{tally.Query{By: all}, []string{"10 corner order.list false tier_insufficient 1", "10 shop order.cancel true outcome_unknown 1",
			"10 shop order.list false identity_absent 1", "10 shop order.list true asked 1", "10 shop order.list true done 2",
			"10 shop order.lookup true not_found 1", "11 shop order.list false identity_absent 1"}},
		{tally.Query{By: tally.By{Site: true}}, []string{"- corner  -  1", "- shop  -  7"}},
		{tally.Query{By: tally.By{Code: true}, Sites: []string{"shop"}, Until: start.Truncate(time.Hour).Add(time.Hour)},
			[]string{"-   - asked 1", "-   - done 2", "-   - identity_absent 1", "-   - not_found 1", "-   - outcome_unknown 1"}},
		{tally.Query{By: tally.By{Hour: true}, Since: start.Add(time.Minute)}, []string{"11   -  1"}},
		{tally.Query{By: tally.By{Site: true}, Sites: []string{"none"}}, nil},
		{tally.Query{}, []string{"-   -  8"}},
	} {
		if got := w.sum(t, c.q); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v:\n got %q\nwant %q", c.q, got, c.want)
		}
	}
	w.now = start.Add(tally.Life + 2*time.Hour)
	w.decide(t, "shop", "order.list", "identity_absent", false)
	look()
	if got := w.sum(t, tally.Query{}); !reflect.DeepEqual(got, []string{"-   -  1"}) {
		t.Errorf("after their life the counts are %q", got)
	}
}

// broken is a log that cannot be read beyond a record.
type broken struct {
	*audit.Log
	after int
}

func (l *broken) Scan(site string, from uint64, fn func(audit.Item) error) (uint64, error) {
	n := 0
	return l.Log.Scan(site, from, func(it audit.Item) error {
		if n++; n > l.after {
			return errors.New("it cannot be read")
		}
		return fn(it)
	})
}

// What failed half-way is counted once when it can be read again.
func TestAFailureCountsNothingTwice(t *testing.T) {
	w := setUp(t)
	for range 6 {
		w.decide(t, "shop", "order.list", "identity_absent", false)
	}
	b := w.book(t, &broken{w.log, 3})
	for range 3 {
		if err := b.Look(ctx); err == nil {
			t.Fatal("nothing failed")
		}
	}
	if err := w.book(t, nil).Look(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.sum(t, tally.Query{}); !reflect.DeepEqual(got, []string{"-   -  6"}) {
		t.Errorf("counted %q, want 6", got)
	}
}
