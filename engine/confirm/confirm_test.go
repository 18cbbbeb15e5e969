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
	log := &flakyLog{Recorder: w.Log}
	g := gate.New(gate.Options{Policy: w.Policy, Log: log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second})
	c := confirm.New(w.State, g, func() string { return w.Policy.Active().Revision() }, w.Clock.Now)
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
	found, err := c.Find(asked.Issued.ID, "demo", Alex.Subject, "")
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
