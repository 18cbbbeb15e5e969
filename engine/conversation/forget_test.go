package conversation_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// absent looks for words in the state file as it is on the disk, whatever their
// case.
func absent(t *testing.T, w *World, want bool, words ...string) {
	t.Helper()
	b, err := os.ReadFile(w.State.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range words {
		if there := bytes.Contains(bytes.ToLower(b), []byte(word)); there == want {
			t.Errorf("the state file holds %q: %v", word, there)
		}
	}
}

// Of somebody who is erased nothing is left waiting: neither what is theirs nor
// what names them in what is others', in no page of the file.
func TestErasureReachesWhatWaits(t *testing.T) {
	w, s := setUp(t)
	ctx := context.Background()

	// Alex is asked for a yes, leaves a call in doubt, and has a used-up yes.
	alex := newChat(t, w, s).as(Alex)
	pending := alex.say("cancel order 1001", "confirm").Pending
	if err := s.Doubt(ctx, "demo", alex.id, Alex.Subject, conversation.Doubt{Decision: "d_1", Action: "order.cancel", Args: map[string]any{"order_id": "secret-1"}}); err != nil {
		t.Fatal(err)
	}
	spent := newChat(t, w, s).as(Alex)
	spent.confirm(spent.say("cancel order 1002", "confirm").Pending, "result")

	// Jordan waits for a yes too, and has a doubt and a request that name Alex.
	jordan := newChat(t, w, s).as(Jordan)
	theirs := jordan.say("cancel order 2001", "confirm").Pending
	if err := s.Doubt(ctx, "demo", jordan.id, Jordan.Subject, conversation.Doubt{Decision: "d_2", Action: "order.cancel", Args: map[string]any{"note": "for Alex@Example.com"}}); err != nil {
		t.Fatal(err)
	}
	asking := gate.Request{Site: w.Pro, Identity: w.As(t, "demo", Jordan), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: "order.cancel", Args: map[string]any{"order_id": "2001"}, Asserted: engine.Asserted{Names: []string{"x"}}}}
	if res, err := w.Confirm.Do(ctx, asking, ""); err != nil || res.Issued == nil {
		t.Fatalf("asking: %+v, %v", res, err)
	}
	// Somebody who has not signed in has asked for an order of Alex's.
	stranger := newChat(t, w, s)
	stranger.say("cancel order 1001 for alex@example.com", "sign_in")
	absent(t, w, false, "alex@example.com", Alex.Subject, "secret-1", "1001")

	before := len(w.Entries(t))
	erase := func(who audit.Person) audit.Erasure {
		t.Helper()
		got, err := w.Log.Erase(ctx, "demo", "socket", who, func(ctx context.Context, who *audit.Whom) (int, error) {
			n, err := w.Confirm.Forget(ctx, who)
			if err != nil {
				return n, err
			}
			m, err := s.Forget(ctx, who)
			if err != nil {
				return n + m, err
			}
			return n + m, w.State.Tidy(ctx, w.Clock.Now())
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := erase(audit.Person{Subject: Alex.Subject})
	if got.Keys == 0 || got.Forgotten < 5 { // two confirmations, two conversations, and two that name Alex
		t.Errorf("Erase: %+v", got)
	}
	absent(t, w, true, "alex", "morgan", "secret-1", "1001", "1002")

	// What waited is recorded as come to nothing, once, and cannot be read any more.
	lapsed := slices.DeleteFunc(w.Entries(t), func(e audit.Entry) bool { return e.Code() != engine.CodeConfirmationLapsed })
	if len(lapsed) != 1 || lapsed[0].Decision.Unreadable != audit.UnreadableErased || len(w.Entries(t)) != before+1 {
		t.Errorf("lapsed: %+v, %d entries after %d", lapsed, len(w.Entries(t)), before)
	}
	// The yes means nothing any more, and Jordan's still does.
	if rs := alex.as(Alex).do(conversation.Turn{Confirm: pending}); len(rs) != 1 || rs[0].Code != engine.CodeConfirmationSpent {
		t.Errorf("Alex's yes: %+v", rs)
	}
	if w.Shop.Status("1001") == "cancelled" {
		t.Error("the forgotten yes was carried out")
	}
	if rs := jordan.as(Jordan).do(conversation.Turn{Message: "show my orders"}); len(rs) != 2 || rs[0].Code != engine.CodeOutcomeUnknown || rs[0].Decision != "d_2" {
		t.Errorf("Jordan, who was to hear of a doubt: %+v", rs)
	}
	if jordan.confirm(theirs, "result"); w.Shop.Status("2001") != "cancelled" {
		t.Error("Jordan's yes was not carried out")
	}
	w.Clock.Add(confirm.DefaultLife + time.Second)
	if err := w.Confirm.Lapse(ctx); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.Entries(t) {
		if e.Code() == engine.CodeConfirmationLapsed && e.Decision.Unreadable != "" && e.Decision.ID != lapsed[0].Decision.ID {
			t.Errorf("once more: %+v", e)
		}
	}

	// An address alone, wherever others typed it.
	other := newChat(t, w, s)
	other.say("cancel order 1001 for carol.smith@example.com", "sign_in")
	absent(t, w, false, "carol.smith")
	if got := erase(audit.Person{Email: "Carol.Smith@example.com"}); got.Forgotten != 1 {
		t.Errorf("by address: %+v", got)
	}
	absent(t, w, true, "carol.smith")
}
