package gate_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

// What was asserted stands in the record, where it denied and where it did not.
func TestAssertionsAreEvidence(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	r := request(w, alex, "order.list", nil)
	r.Intent.Asserted.Names = []string{"Jordan"}
	res, err := w.Gate.Do(ctx, r)
	if err != nil || !res.Decision.Allow {
		t.Fatalf("an asserted name changed the answer: %+v, %v", res.Decision, err)
	}
	if got := w.Entries(t)[0].About; !slices.Equal(got.Asserted.Names, []string{"Jordan"}) || got.Target.Email != Alex.Email {
		t.Errorf("recorded %+v, want the asserted name beside the pin", got)
	}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.list", map[string]any{"customer_email": Jordan.Email, "name": "Jordan"})); err != nil {
		t.Fatal(err)
	}
	e := w.Entries(t)[0]
	if !slices.Equal(e.About.Asserted.Emails, []string{Jordan.Email}) || !slices.Equal(e.About.Asserted.Names, []string{"Jordan"}) {
		t.Errorf("undeclared arguments recorded as %+v, want them as evidence", e.About.Asserted)
	}
	if strings.Contains(e.Decision.Problem, Jordan.Email) {
		t.Errorf("the problem %q quotes a value", e.Decision.Problem)
	}
	nested := map[string]any{"pinned": map[string]any{"email": Jordan.Email}, "customer": []any{map[string]any{"id": "u-jordan"}}}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.list", nested)); err != nil {
		t.Fatal(err)
	}
	e = w.Entries(t)[0]
	if !slices.Equal(e.About.Asserted.Emails, []string{Jordan.Email}) || !slices.Equal(e.About.Asserted.Names, []string{"u-jordan"}) {
		t.Errorf("nested undeclared arguments recorded as %+v, want them as evidence", e.About.Asserted)
	}
}

// A record says which rules of the policy brought it about, by where they stand.
func TestTheRulesThatFiredAreOnRecord(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	for _, c := range []struct {
		r    gate.Request
		want string // begins the line at which the one rule stands
	}{
		{request(w, alex, "order.list", nil), "allow if {"},
		{request(w, identity.Result{}, "order.list", nil), "deny contains "},
	} {
		if _, err := w.Gate.Do(ctx, c.r); err != nil {
			t.Fatal(err)
		}
		d := w.Entries(t)[0].Decision
		if len(d.Rules) != 1 {
			t.Fatalf("allow %v: the rules are %q, want one", d.Allow, d.Rules)
		}
		file, number, _ := strings.Cut(d.Rules[0], ":")
		text, err := policies.FS.ReadFile(file)
		line, err2 := strconv.Atoi(number)
		if err != nil || err2 != nil {
			t.Fatal(d.Rules, err, err2)
		}
		if at := strings.Split(string(text), "\n")[line-1]; !strings.HasPrefix(at, c.want) {
			t.Errorf("allow %v: at %s stands %q", d.Allow, d.Rules[0], at)
		}
	}
	if _, err := w.Gate.Do(ctx, request(w, alex, "no.such", nil)); err != nil {
		t.Fatal(err)
	}
	if d := w.Entries(t)[0].Decision; len(d.Rules) > 0 {
		t.Errorf("the policy was not asked, and yet %q fired", d.Rules)
	}
}

// slowLog lets time pass between the decision and the permit.
type slowLog struct {
	gate.Recorder
	after func()
}

func (l slowLog) Decision(ctx context.Context, d *audit.Decision) error {
	defer l.after()
	return l.Recorder.Decision(ctx, d)
}

// No record, no action.
func TestAnUnwritableLogStopsEverything(t *testing.T) {
	var file *os.File
	w := New(t, Options{Log: store.Options{Retry: time.Hour, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}}})
	file.Close()
	alex := w.As(t, "demo", Alex)
	for _, action := range []string{"order.list", "shop.hours", "order.steal"} {
		if res, err := w.Gate.Do(ctx, request(w, alex, action, nil)); engine.CodeOf(err) != engine.CodeAuditUnavailable || res.Decision.Allow {
			t.Errorf("%s: %+v, %v; want audit_unavailable", action, res, err)
		}
		if d, err := w.Gate.Ask(ctx, request(w, alex, action, nil)); engine.CodeOf(err) != engine.CodeAuditUnavailable || d.Allow {
			t.Errorf("%s: asked: %+v, %v; want audit_unavailable", action, d, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
}

// deafLog records decisions and no outcomes.
type deafLog struct{ gate.Recorder }

func (deafLog) Outcome(context.Context, string, audit.Outcome) error { return errors.New("disk full") }

func TestAnUnrecordedOutcomeIsNotShown(t *testing.T) {
	w := New(t, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Log: deafLog{w.Log}, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second})
	alex := w.As(t, "demo", Alex)
	if _, err := g.Do(ctx, request(w, alex, "order.lookup", order("1001"))); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("read: %v, want audit_unavailable", err)
	}
	// The proving read of a write is refused already.
	r := request(w, alex, "order.cancel", order("1002"))
	r.Confirmed = w.Policy.Active().Revision()
	if _, err := g.Do(ctx, r); err == nil || w.Shop.Status("1002") != "processing" {
		t.Errorf("write: %v, order %s; want nothing done", err, w.Shop.Status("1002"))
	}
}

// The record is on disk before the connector is called.
func TestDecisionPrecedesTheCall(t *testing.T) {
	w := New(t, Options{})
	w.Shop.Fail = func(c gate.Claim) error {
		es := w.Entries(t)
		if len(es) == 0 || es[0].About.Action.Name != c.Action || !es[0].Decision.Allow || es[0].Outcome != nil {
			t.Errorf("%s: called before its decision was on disk", c.Action)
		}
		return nil
	}
	if _, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.lookup", order("1001"))); err != nil {
		t.Fatal(err)
	}
}

// What is asserted is kept bounded, and the addresses that matter first.
func TestDecoysHideNothing(t *testing.T) {
	w := New(t, Options{})
	r := request(w, w.As(t, "demo", Alex), "order.list", nil)
	for range 20 {
		r.Intent.Asserted.Emails = append(r.Intent.Asserted.Emails, Alex.Email)
	}
	r.Intent.Asserted.Emails = append(r.Intent.Asserted.Emails, Jordan.Email, strings.Repeat("x", 60000)+"@example.com")
	d, err := w.Gate.Ask(ctx, r)
	if err != nil || d.Allow {
		t.Fatalf("%+v, %v; want target_mismatch", d, err)
	}
	got := w.Entries(t)[0].About.Asserted.Emails
	if len(got) != 8 || got[0] != Jordan.Email || len(got[1]) > 254 {
		t.Errorf("recorded %.80q, want at most 8 bounded addresses, Jordan's first", got)
	}
	for _, name := range []string{"owner", "account_id", "sub", "for", "pinned"} {
		if _, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", map[string]any{name: "u-jordan"})); err != nil {
			t.Fatal(err)
		}
		if got := w.Entries(t)[0].About.Asserted.Names; !slices.Contains(got, "u-jordan") {
			t.Errorf("undeclared argument %s recorded as %v, want its value as evidence", name, got)
		}
	}
}

// Arguments are recorded whole, so they are bounded.
func TestHugeArgumentsAreRefused(t *testing.T) {
	w := New(t, Options{})
	for _, who := range []identity.Result{w.Verify("demo", ""), w.As(t, "demo", Alex)} {
		d, err := w.Gate.Ask(ctx, request(w, who, "order.lookup", order(strings.Repeat("1", 60000))))
		if err != nil || d.Allow {
			t.Errorf("%+v, %v; want a refusal", d, err)
		}
		if n := len(w.Entries(t)[0].Decision.Input); n > 4096 {
			t.Errorf("the record takes %d bytes", n)
		}
	}
}
