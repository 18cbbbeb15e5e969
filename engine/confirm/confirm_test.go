package confirm_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// flakyLog records nothing while it is full.
type flakyLog struct {
	gate.Recorder
	full bool
}

func (l *flakyLog) Decision(ctx context.Context, d *audit.Decision) error {
	if l.full {
		return engine.Errorf(engine.CodeAuditUnavailable, "Not now.", errors.New("disk full"))
	}
	return l.Recorder.Decision(ctx, d)
}

// A yes that could not be recorded did nothing and can be given again, once.
func TestAYesThatWasNotRecordedIsNotLost(t *testing.T) {
	w, ctx := New(t, Options{}), context.Background()
	w.Pro.FreshConfirmation = true // nor is the token used up by it
	log := &flakyLog{Recorder: w.Log}
	g := gate.New(gate.Options{Policy: w.Policy, Log: log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second})
	c := confirm.New(w.State, g, w.Log, w.Clock.Now)
	r := gate.Request{Site: w.Pro, Identity: w.As(t, "demo", Alex), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: "order.cancel", Args: map[string]any{"order_id": "1002"}}}
	asked, err := c.Do(ctx, r, "")
	if err != nil || asked.Issued == nil {
		t.Fatalf("asking: %+v, %v", asked, err)
	}
	before := len(w.Shop.Calls())

	log.full = true
	for range 3 {
		if _, err := c.Do(ctx, r, asked.Issued.ID); engine.CodeOf(err) != engine.CodeAuditUnavailable {
			t.Errorf("yes with a full disk: %v, want audit_unavailable", err)
		}
	}
	if n := len(w.Shop.Calls()); n != before {
		t.Errorf("the shop saw %d calls that no decision allows", n-before)
	}
	found, err := c.Find(asked.Issued.ID, confirm.Holder{Site: "demo", Subject: Alex.Subject, Email: Alex.Email})
	if err != nil || found.Summary != asked.Issued.Summary || !found.Expires.Equal(asked.Issued.Expires) {
		t.Errorf("what waits afterwards is %+v, %v; want it unchanged", found, err)
	}

	log.full = false
	if res, err := c.Do(ctx, r, asked.Issued.ID); err != nil || len(res.Records) != 1 || w.Shop.Status("1002") != "cancelled" {
		t.Errorf("yes with room again: %+v, %v", res, err)
	}
	if _, err := c.Do(ctx, r, asked.Issued.ID); engine.CodeOf(err) != engine.CodeConfirmationSpent {
		t.Errorf("yes after it was done: %v, want confirmation_spent", err)
	}
}

// A token that has said yes once says no other to a destructive action, also
// after a restart and however many ask at once; and what it was shown for waits
// on for a fresh one.
func TestFreshConfirmations(t *testing.T) {
	w, ctx := New(t, Options{}), context.Background()
	w.Pro.FreshConfirmation = true
	who := w.As(t, "demo", Alex)
	ask := func(id string) (gate.Request, string) {
		r := gate.Request{Site: w.Pro, Identity: who, Channel: engine.ChannelAction,
			Intent: engine.Intent{Action: "order.cancel", Args: map[string]any{"order_id": id}}}
		res, err := w.Confirm.Do(ctx, r, "")
		if err != nil || res.Issued == nil {
			t.Fatalf("asking: %+v, %v", res, err)
		}
		return r, res.Issued.ID
	}
	first, one := ask("1001")
	second, two := ask("1002")
	results := make(chan error, 2)
	go func() { _, err := w.Confirm.Do(ctx, first, one); results <- err }()
	go func() { _, err := w.Confirm.Do(ctx, second, two); results <- err }()
	a, b := <-results, <-results
	if a != nil {
		a, b = b, a
	}
	if a != nil || engine.CodeOf(b) != engine.CodeConfirmationNeedsFreshToken {
		t.Fatalf("two yeses with one token: %v and %v; want one done", a, b)
	}
	again := confirm.New(w.State, w.Gate, w.Log, w.Clock.Now)
	left, id := first, one
	if w.Shop.Status("1001") == "cancelled" {
		left, id = second, two
	}
	if _, err := again.Do(ctx, left, id); engine.CodeOf(err) != engine.CodeConfirmationNeedsFreshToken {
		t.Errorf("after a restart: %v", err)
	}
	left.Identity = w.As(t, "demo", Alex)
	if res, err := again.Do(ctx, left, id); err != nil || len(res.Records) != 1 {
		t.Errorf("with a fresh token: %+v, %v", res, err)
	}
}
