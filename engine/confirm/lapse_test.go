package confirm_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// waiting asks for a confirmation of cancelling Alex's order 1002.
func waiting(t *testing.T, w *World, c *confirm.Store) (gate.Request, confirm.Result, confirm.Holder) {
	t.Helper()
	r := gate.Request{Site: w.Pro, Identity: w.As(t, "demo", Alex), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: "order.cancel", Args: map[string]any{"order_id": "1002"}}}
	asked, err := c.Do(context.Background(), r, "")
	if err != nil || asked.Issued == nil {
		t.Fatalf("asking: %+v, %v", asked, err)
	}
	return r, asked, confirm.Holder{Site: "demo", Subject: Alex.Subject, Email: Alex.Email}
}

// about are the entries that follow from a decision.
func about(w *World, t *testing.T, decision string) []audit.Entry {
	t.Helper()
	return slices.DeleteFunc(w.Entries(t), func(e audit.Entry) bool {
		return e.Decision.Parent != decision || e.About.Action.Name != "order.cancel"
	})
}

// A no and a silence are each one complete record, whatever comes after them.
func TestEndingsWithoutAYes(t *testing.T) {
	for _, test := range []struct {
		name, code string
		end        func(*testing.T, *World, string, confirm.Holder) error
	}{
		{"cancelled", engine.CodeConfirmationCancelled, func(t *testing.T, w *World, id string, h confirm.Holder) error {
			return w.Confirm.Cancel(context.Background(), id, h)
		}},
		{"lapsed", engine.CodeConfirmationLapsed, func(t *testing.T, w *World, id string, h confirm.Holder) error {
			if err := w.Confirm.Lapse(context.Background()); err != nil {
				return err
			}
			if n := len(w.Entries(t)); n != 2 { // the asking and its proving read
				t.Errorf("%d records before the time has passed, want 2", n)
			}
			w.Clock.Add(confirm.DefaultLife)
			return w.Confirm.Lapse(context.Background())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, ctx := New(t, Options{}), context.Background()
			_, asked, h := waiting(t, w, w.Confirm)
			if err := test.end(t, w, asked.Issued.ID, h); err != nil {
				t.Fatal(err)
			}
			check := func(when string) {
				t.Helper()
				es := about(w, t, asked.Decision.ID)
				if len(es) != 1 {
					t.Fatalf("%s: %d records of its ending, want 1", when, len(es))
				}
				e := es[0]
				if e.Decision.Allow || !slices.Equal(e.Decision.Reasons, []string{test.code}) || e.Outcome != nil ||
					e.About.Identity.Subject != Alex.Subject || e.About.Identity.Email != Alex.Email || e.About.Channel != "action" || e.Site != "demo" ||
					e.Decision.Policy != asked.Decision.Policy {
					t.Errorf("%s: recorded %+v about %+v", when, e.Decision, e.About)
				}
			}
			check("at once")
			w.Clock.Add(time.Hour)
			again := confirm.New(w.State, w.Gate, w.Log, w.Clock.Now)
			if err := again.Lapse(ctx); err != nil {
				t.Fatal(err)
			}
			check("after a restart")
			if w.Shop.Status("1002") != "processing" {
				t.Error("it was done all the same")
			}
		})
	}
}

// What was confirmed does not lapse as well, and a late yes is its own refusal.
func TestAYesDoesNotLapse(t *testing.T) {
	w, ctx := New(t, Options{}), context.Background()
	r, asked, h := waiting(t, w, w.Confirm)
	if res, err := w.Confirm.Do(ctx, r, asked.Issued.ID); err != nil || len(res.Records) != 1 {
		t.Fatalf("yes: %+v, %v", res, err)
	}
	w.Clock.Add(confirm.DefaultLife + time.Second)
	if err := w.Confirm.Lapse(ctx); err != nil {
		t.Fatal(err)
	}
	es := about(w, t, asked.Decision.ID)
	if len(es) != 1 || !es[0].Decision.Allow || es[0].Outcome == nil || es[0].Outcome.Code != "" {
		t.Errorf("recorded %+v, want one that was done", es)
	}
	if err := w.Confirm.Cancel(ctx, asked.Issued.ID, h); engine.CodeOf(err) != engine.CodeConfirmationSpent {
		t.Errorf("cancelling afterwards: %v", err)
	}
	r.Identity = w.As(t, "demo", Alex)
	res, err := w.Confirm.Do(ctx, r, asked.Issued.ID)
	if engine.CodeOf(err) != engine.CodeConfirmationSpent || res.Decision.ID == "" {
		t.Fatalf("a second yes: %+v, %v", res, err)
	}
	if e, err := w.Log.Show(res.Decision.ID); err != nil || e.Decision.Allow || e.Code() != engine.CodeConfirmationSpent || e.About.Identity.TokenID == "" {
		t.Errorf("recorded as %+v, %v", e, err)
	}
}

// stopping is a log that stops at a moment of a test's choosing.
type stopping struct {
	*audit.Log
	before, after bool
}

func (s *stopping) Decision(ctx context.Context, d *audit.Decision) error {
	if s.before {
		return errors.New("stopped")
	}
	if err := s.Log.Decision(ctx, d); err != nil {
		return err
	}
	if s.after {
		return errors.New("stopped")
	}
	return nil
}

// However far a process came with recording an ending, the next one leaves it
// recorded once.
func TestAnEndingIsRecordedOnce(t *testing.T) {
	for _, at := range []*stopping{{before: true}, {after: true}} {
		w, ctx := New(t, Options{}), context.Background()
		at.Log = w.Log
		c := confirm.New(w.State, w.Gate, at, w.Clock.Now)
		r, asked, h := waiting(t, w, c)
		if err := c.Cancel(ctx, asked.Issued.ID, h); err == nil {
			t.Fatal("the log stopped and nobody noticed")
		}
		if _, err := c.Do(ctx, r, asked.Issued.ID); engine.CodeOf(err) != engine.CodeConfirmationSpent {
			t.Errorf("yes after no: %v", err)
		}
		w.Clock.Add(confirm.DefaultLife)
		for range 3 {
			next := confirm.New(w.State, w.Gate, w.Log, w.Clock.Now)
			if err := next.Lapse(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if es := about(w, t, asked.Decision.ID); len(es) != 1 || es[0].Code() != engine.CodeConfirmationCancelled {
			t.Errorf("stopped %+v: recorded %+v, want one that was cancelled", at, es)
		}
	}
}
