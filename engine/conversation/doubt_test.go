package conversation_test

import (
	"context"
	"strings"
	"testing"

	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
)

// Who comes back to a conversation hears, once and signed in, of what may have
// been done there; nobody else does.
func TestDoubtsAreToldOnce(t *testing.T) {
	w, s := setUp(t)
	ctx := context.Background()
	alex := newChat(t, w, s).as(Alex)
	alex.say("show my orders", "result")
	d := conversation.Doubt{Decision: "d_1", Action: "order.cancel", Args: map[string]any{"order_id": "1002"}}
	for _, c := range []struct{ site, id, subject string }{
		{"free", alex.id, Alex.Subject}, {"demo", alex.id, Jordan.Subject}, {"demo", alex.id, ""}, {"demo", "cv_none", Alex.Subject},
	} {
		if err := s.Doubt(ctx, c.site, c.id, c.subject, conversation.Doubt{Decision: "d_0", Action: "order.cancel"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a start that was cut off tells again
		if err := s.Doubt(ctx, "demo", alex.id, Alex.Subject, d); err != nil {
			t.Fatal(err)
		}
	}
	turn := func(text string) []conversation.Reply {
		t.Helper()
		return alex.do(conversation.Turn{Message: text})
	}
	owned := alex.id
	alex.token = ""
	for _, r := range turn("hello") {
		if r.Code == "outcome_unknown" {
			t.Errorf("nobody hears %+v", r)
		}
	}
	alex.as(Alex)
	alex.id = owned
	got := turn("show my orders")
	if len(got) != 2 || got[0].Type != "failed" || got[0].Code != "outcome_unknown" || got[0].Decision != "d_1" || got[0].Action != "order.cancel" ||
		!strings.Contains(got[0].Text, "1002") || got[1].Type != "result" {
		t.Errorf("coming back: %+v, want the doubt and then the answer", got)
	}
	if got := turn("show my orders"); len(got) != 1 || got[0].Type != "result" {
		t.Errorf("the turn after: %+v, want the answer alone", got)
	}
}
