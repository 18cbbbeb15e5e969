package audit_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

const shop = harness.Site

type (
	turn = harness.Turn
	args = map[string]any
)

// A server that is killed between a permit and its outcome says, when it is back,
// that the outcome is not known: in the log once, and to its visitor once. It
// does nothing again on its own, nor on the old yes.
func TestKilledBetweenPermitAndOutcome(t *testing.T) {
	t.Parallel()
	w := harness.Start(t, harness.Config{})
	alex := w.Token(t, shop, harness.Alex)
	asked := w.Chat(t, shop, alex, turn{Message: "cancel order 1002"})
	pending := asked.Last().Pending
	if pending == "" {
		t.Fatalf("cancel order 1002: %s", asked.Raw)
	}
	reached, release := make(chan harness.Call, 8), make(chan struct{})
	w.Shop.Before(func(c harness.Call) {
		if c.Method == http.MethodPost || c.Path == "/orders/1001" && strings.HasPrefix(c.Method, "GET") {
			reached <- c
			<-release
		}
	})
	done := make(chan struct{}, 3)
	go func() {
		w.Chat(t, shop, alex, turn{Conversation: asked.Conversation, Confirm: pending})
		done <- struct{}{}
	}()
	go func() {
		w.Act(t, shop, alex, "order.lookup", args{"order_id": "1001"}, "")
		done <- struct{}{}
	}()
	for range 2 {
		select {
		case <-reached:
		case <-time.After(20 * time.Second):
			t.Fatal("the shop was not reached")
		}
	}
	w.Kill()
	close(release)
	<-done
	<-done
	w.Shop.Before(nil)
	w.Restart()

	for code, action := range map[string]string{"outcome_unknown": "order.cancel", "interrupted": "order.lookup"} {
		es := w.Audit(t, "--code", code)
		if len(es) != 1 || es[0].Decision.Input.Action.Name != action || !es[0].Decision.Allow {
			t.Errorf("the log has %d decisions of %s, want one %s", len(es), code, action)
		}
	}
	before := w.Shop.Count()
	if n := len(w.Shop.Writes()); n != 1 {
		t.Errorf("the shop saw %d writes, want the one that was under way", n)
	}
	back := w.Chat(t, shop, alex, turn{Conversation: asked.Conversation, Confirm: pending})
	if back.Types() != "failed failed" || back.Replies[0].Code != "outcome_unknown" || !strings.Contains(back.Replies[0].Text, "1002") ||
		back.Replies[1].Code != "confirmation_spent" {
		t.Errorf("coming back with the old yes: %s", back.Raw)
	}
	again := w.Chat(t, shop, alex, turn{Conversation: asked.Conversation, Message: "yes"})
	for _, r := range again.Replies {
		if r.Code == "outcome_unknown" || r.Type == "result" {
			t.Errorf("the next turn: %s", again.Raw)
		}
	}
	if n := w.Shop.Count(); n != before {
		t.Errorf("the shop saw %d more calls: something was tried again", n-before)
	}
	if code := w.Stop(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
	w.Restart()
	if es := w.Audit(t, "--code", "outcome_unknown"); len(es) != 1 {
		t.Errorf("after another start the log has %d unknown outcomes, want 1", len(es))
	}
}
