package doubt_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/doubt"
	"vouchsafe/engine/store"
)

var ctx = context.Background()

// paper is a log in memory that can refuse, and counts what is read of it.
type paper struct {
	mu    sync.Mutex
	items []audit.Item
	full  bool
	read  int
}

func (p *paper) put(it audit.Item) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return errors.New("disk full")
	}
	it.Site, it.Seq = "shop", uint64(len(p.items))
	p.items = append(p.items, it)
	return nil
}

func (p *paper) Decision(_ context.Context, d *audit.Decision) error {
	r := &audit.Record{ID: d.ID, Allow: d.Allow, Asked: d.Asked, Time: d.Time}
	for _, o := range d.Obligations {
		r.Obligations = append(r.Obligations, o.Kind)
	}
	if d.Input != nil {
		r.Input = d.Input.AppendJSON(nil)
	}
	return p.put(audit.Item{Decision: r})
}

func (p *paper) Outcome(_ context.Context, _ string, o audit.Outcome) error {
	return p.put(audit.Item{Outcome: &o})
}

func (p *paper) Show(id string) (audit.Entry, error) {
	for _, it := range p.items {
		if it.Decision != nil && it.Decision.ID == id {
			return audit.Entry{Decision: *it.Decision}, nil
		}
	}
	return audit.Entry{}, audit.ErrNotFound
}

func (p *paper) Health() error {
	if p.full {
		return errors.New("disk full")
	}
	return nil
}

func (p *paper) Sites() []string { return []string{"shop"} }

func (p *paper) Range(string) (from, end uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 0, uint64(len(p.items))
}

func (p *paper) Scan(_ string, from uint64, fn func(audit.Item) error) (uint64, error) {
	for _, it := range p.items[min(int(from), len(p.items)):] {
		p.read++
		if err := fn(it); err != nil {
			return it.Seq, err
		}
	}
	return uint64(len(p.items)), nil
}

// outcomes are the codes of a decision's outcomes.
func (p *paper) outcomes(id string) (codes []string) {
	for _, it := range p.items {
		if it.Outcome != nil && it.Outcome.Decision == id {
			codes = append(codes, it.Outcome.Code)
		}
	}
	return codes
}

// input is what a decision was about.
type input struct {
	risk      string
	confirmed bool
}

func (i input) AppendJSON(b []byte) []byte {
	return fmt.Appendf(b, `{"identity":{"subject":"c-1"},"action":{"name":"order.cancel","risk":%q,"args":{"order_id":"1001"}},"confirmation":{"confirmed":%v},"conversation":{"id":"cv_1","subject":"c-1"}}`,
		i.risk, i.confirmed)
}

func (i input) About() engine.About { return engine.About{Subject: "c-1", Action: "order.cancel"} }

func decision(id string, allow bool, in audit.Question, obligations ...string) *audit.Decision {
	d := &audit.Decision{Decision: engine.Decision{ID: id, Allow: allow, Time: time.Unix(1, 0)}, Site: "shop", Input: in}
	for _, kind := range obligations {
		d.Obligations = append(d.Obligations, engine.Obligation{Kind: kind})
	}
	return d
}

func state(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func watch(t *testing.T, p *paper, db *store.DB) *doubt.Watch {
	t.Helper()
	w, err := doubt.New(p, db, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What an earlier process left open gets its one outcome: unknown where
// something may have happened, and of that alone the visitor is told.
func TestSettle(t *testing.T) {
	p, db := &paper{}, state(t)
	for _, d := range []*audit.Decision{
		decision("d_denied", false, input{risk: "write"}),
		decision("d_read", true, input{risk: "read"}),
		decision("d_write", true, input{risk: "write"}),
		decision("d_unconfirmed", true, input{risk: "destructive"}, "confirm"),
		decision("d_confirmed", true, input{risk: "destructive", confirmed: true}, "confirm"),
		decision("d_unreadable", true, nil),
		decision("d_done", true, input{risk: "write"}),
	} {
		must(t, p.Decision(ctx, d))
	}
	asked := decision("d_asked", true, input{risk: "write"})
	asked.Asked = true
	must(t, p.Decision(ctx, asked))
	must(t, p.Outcome(ctx, "shop", audit.Outcome{Decision: "d_done"}))

	var told []string
	failed := errors.New("the state cannot be written")
	if _, err := watch(t, p, db).Settle(ctx, func(context.Context, doubt.Call) error { return failed }); !errors.Is(err, failed) {
		t.Fatalf("Settle when nobody can be told: %v", err)
	}
	report, err := watch(t, p, db).Settle(ctx, func(_ context.Context, c doubt.Call) error {
		if c.Site != "shop" || c.Subject != "c-1" || c.Conversation != "cv_1" || c.Action != "order.cancel" || c.Args["order_id"] != "1001" {
			t.Errorf("told of %+v", c)
		}
		told = append(told, c.Decision)
		return nil
	})
	must(t, err)
	if report.Unknown != 3 || report.Interrupted != 2 || !slices.Equal(told, []string{"d_confirmed", "d_write"}) {
		t.Errorf("settled %+v, told of %v", report, told)
	}
	for id, want := range map[string]string{"d_read": "interrupted", "d_unconfirmed": "interrupted", "d_write": "outcome_unknown",
		"d_confirmed": "outcome_unknown", "d_unreadable": "outcome_unknown", "d_done": ""} {
		if got := p.outcomes(id); !slices.Equal(got, []string{want}) {
			t.Errorf("%s has the outcomes %q, want one %q", id, got, want)
		}
	}
	for _, id := range []string{"d_denied", "d_asked"} {
		if got := p.outcomes(id); got != nil {
			t.Errorf("%s was not permitted and has the outcomes %q", id, got)
		}
	}
	p.read = 0
	report, err = watch(t, p, db).Settle(ctx, nil)
	if err != nil || report != (doubt.Report{}) || p.read != 0 {
		t.Errorf("the next start settled %+v and read %d records, %v", report, p.read, err)
	}
}

// A start reads only what was not settled when the process ended, and what was
// under way then is always among it.
func TestOnlyTheRestIsRead(t *testing.T) {
	p, db := &paper{}, state(t)
	must(t, p.Decision(ctx, decision("d_before", true, input{risk: "write"})))
	w := watch(t, p, db)
	must(t, w.Close(ctx)) // before anything was settled, this settles nothing
	w = watch(t, p, db)
	if report, err := w.Settle(ctx, func(context.Context, doubt.Call) error { return nil }); err != nil || report.Unknown != 1 {
		t.Fatalf("settled %+v, %v", report, err)
	}
	call := func(id string) { must(t, w.Decision(ctx, decision(id, true, input{risk: "write"}))) }
	over := func(id string) { must(t, w.Outcome(ctx, "shop", audit.Outcome{Decision: id})) }
	for i := range 100 {
		call(fmt.Sprint("d_", i))
		over(fmt.Sprint("d_", i))
	}
	must(t, w.Look(ctx))
	call("d_open")
	must(t, w.Look(ctx))
	must(t, w.Look(ctx)) // d_open keeps it from going on
	call("d_later")
	over("d_later")
	must(t, w.Look(ctx))

	report, err := watch(t, p, db).Settle(ctx, func(context.Context, doubt.Call) error { return nil })
	if err != nil || report.Unknown != 1 || !slices.Equal(p.outcomes("d_open"), []string{"outcome_unknown"}) {
		t.Errorf("settled %+v, %v", report, err)
	}
	if p.read > 5 {
		t.Errorf("%d records were read again, want the few that were not settled", p.read)
	}
	next := watch(t, p, db)
	if _, err := next.Settle(ctx, nil); err != nil {
		t.Fatal(err)
	}
	must(t, next.Decision(ctx, decision("d_last", true, input{risk: "write"})))
	must(t, next.Outcome(ctx, "shop", audit.Outcome{Decision: "d_last"}))
	must(t, next.Close(ctx))
	p.read = 0
	if _, err := watch(t, p, db).Settle(ctx, nil); err != nil || p.read != 0 {
		t.Errorf("after an orderly end %d records were read, %v", p.read, err)
	}
}

// An outcome that could not be written is written when that can be done again;
// a decision that could not be acknowledged and is there all the same says that
// nothing was done.
func TestLateOutcomes(t *testing.T) {
	p, db := &paper{}, state(t)
	w := watch(t, p, db)
	if _, err := w.Settle(ctx, nil); err != nil {
		t.Fatal(err)
	}
	must(t, w.Decision(ctx, decision("d_1", true, input{risk: "write"})))
	p.full = true
	if err := w.Outcome(ctx, "shop", audit.Outcome{Decision: "d_1", Released: 1}); err == nil {
		t.Fatal("a full log took an outcome")
	}
	if err := w.Decision(ctx, decision("d_gone", true, input{risk: "write"})); err == nil {
		t.Fatal("a full log took a decision")
	}
	if err := w.Decision(ctx, decision("d_there", true, input{risk: "write"})); err == nil {
		t.Fatal("a full log took a decision")
	}
	if err := w.Look(ctx); err == nil {
		t.Error("a full log took what was late")
	}
	p.full = false
	must(t, p.Decision(ctx, decision("d_there", true, input{risk: "write"}))) // the disk had it after all
	must(t, w.Look(ctx))
	must(t, w.Look(ctx))
	if got := p.outcomes("d_1"); !slices.Equal(got, []string{""}) {
		t.Errorf("d_1 has the outcomes %q, want the one it had", got)
	}
	if got := p.outcomes("d_there"); !slices.Equal(got, []string{engine.CodeAuditUnavailable}) {
		t.Errorf("d_there has the outcomes %q, want audit_unavailable", got)
	}
	if got := p.outcomes("d_gone"); got != nil || w.Waiting() != 0 {
		t.Errorf("d_gone, which is not in the log, has the outcomes %q; %d wait", got, w.Waiting())
	}
}
