package plan

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fittings() *Open {
	return &Open{
		Action:  "booking.reschedule",
		Args:    map[string]any{},
		Missing: "booking_id",
		Choices: []Choice{
			{Value: "B-2041", Label: "Fitting consultation, Tue 24 Nov 10:00"},
			{Value: "B-2042", Label: "Sofa delivery slot, Fri 27 Nov 14:30", Words: []string{"couch"}},
			{Value: "B-2043", Label: "Curtain measuring, Tue 8 Dec 10:00"},
		},
	}
}

func TestOpenChoices(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	for _, row := range []said{
		{"the first one", "booking.reschedule booking_id=B-2041 ?start"},
		{"first", "booking.reschedule booking_id=B-2041 ?start"},
		{"2", "booking.reschedule booking_id=B-2042 ?start"},
		{"number 2 please", "booking.reschedule booking_id=B-2042 ?start"},
		{"the second", "booking.reschedule booking_id=B-2042 ?start"},
		{"the last one", "booking.reschedule booking_id=B-2043 ?start"},
		{"B-2041", "booking.reschedule booking_id=B-2041 ?start"},
		{"b-2042 please", "booking.reschedule booking_id=B-2042 ?start"},
		{"the fitting one", "booking.reschedule booking_id=B-2041 ?start"},
		{"the couch", "booking.reschedule booking_id=B-2042 ?start"},
		{"the sofa delivery", "booking.reschedule booking_id=B-2042 ?start"},
		{"the one on Friday", "booking.reschedule booking_id=B-2042 ?start"},
		{"the one on Tuesday", "booking.reschedule booking_id=B-2041 ?start"},
		{"8 December", "booking.reschedule booking_id=B-2043 ?start"},
		{"the 14:30 one", "booking.reschedule booking_id=B-2042 ?start"},
		{"the first one, next Thursday at 3pm", "booking.reschedule booking_id=B-2041 start=2026-12-03T15:00:00Z"},
		{"move the fitting one", "booking.reschedule booking_id=B-2041 ?start"},

		{"the fourth one", "unknown"},
		{"the 10:00 one", "unknown"}, // there are two
		{"both", "unknown"},
		{"hmm", "unknown"},
		{"never mind", "no"},
		{"no", "no"},
		{"thanks", "thanks"},

		// A clearly new request abandons the question.
		{"cancel my subscription", "subscription.cancel"},
		{"where is my order 1001", "order.lookup order_id=1001"},
		{"what is your refund policy?", "question"},
	} {
		got := describe(p.Plan(Message{Text: row.text, Now: now, Location: loc, Open: fittings()}))
		if got != row.want {
			t.Errorf("Plan(%q) = %s, want %s", row.text, got, row.want)
		}
	}
}

func TestOpenKeepsWhatWasKnown(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	o := fittings()
	day := When{Time: time.Date(2026, 12, 1, 0, 0, 0, 0, loc), HasDay: true, Text: "next Tuesday"}
	o.When = map[string]When{"start": day}
	pl := p.Plan(Message{Text: "the second one", Now: now, Location: loc, Open: o})
	if got, want := describe(pl), "booking.reschedule booking_id=B-2042 ?start ~start=2026-12-01"; got != want {
		t.Fatalf("Plan = %s, want %s", got, want)
	}
	pl.Intents[0].Intent.Args["x"], pl.Intents[0].When["x"] = true, When{}
	if len(o.Args) != 0 || len(o.When) != 1 {
		t.Errorf("the open question was changed: %v %v", o.Args, o.When)
	}
}

func TestOpenValues(t *testing.T) {
	now, loc := monday(t)
	harbor, air := New(catalog(t, harborGoods)), New(catalog(t, airline))
	for _, row := range []struct {
		p    *Planner
		open Open
		text string
		want string
	}{
		{harbor, Open{Action: "booking.reschedule", Args: map[string]any{"booking_id": "B-1"}, Missing: "start"}, "next Tuesday at 3pm", "booking.reschedule booking_id=B-1 start=2026-12-01T15:00:00Z"},
		{harbor, Open{Action: "booking.reschedule", Args: map[string]any{"booking_id": "B-1"}, Missing: "start"}, "12 March", "booking.reschedule booking_id=B-1 ?start ~start=2027-03-12"},
		{harbor, Open{Action: "booking.reschedule", Args: map[string]any{"booking_id": "B-1"}, Missing: "start"}, "whenever", "unknown"},
		{harbor, Open{Action: "order.lookup", Missing: "order_id"}, "1001", "order.lookup order_id=1001"},
		{harbor, Open{Action: "order.lookup", Missing: "order_id"}, "it's #1001", "order.lookup order_id=1001"},
		{harbor, Open{Action: "order.cancel", Missing: "order_id"}, "I think it was 1002", "order.cancel order_id=1002"},
		{harbor, Open{Action: "order.cancel", Missing: "order_id"}, "show my orders", "order.list"},
		{harbor, Open{Action: "profile.update_address", Missing: "address"}, "12 Quay Street, Portsmouth PO1 3AX", "profile.update_address address=12 Quay Street, Portsmouth PO1 3AX"},
		{harbor, Open{Action: "profile.update_address", Missing: "address"}, "why do you ask?", "question"},
		{harbor, Open{Action: "profile.update_address", Missing: "address"}, "cancel my subscription", "subscription.cancel"},
		{air, Open{Action: "baggage.add", Args: map[string]any{"reference": "X7K2PQ"}, Missing: "bags"}, "2", "baggage.add bags=2 reference=X7K2PQ"},
		{air, Open{Action: "baggage.add", Args: map[string]any{"reference": "X7K2PQ"}, Missing: "bags"}, "three please", "baggage.add bags=3 reference=X7K2PQ"},
		{air, Open{Action: "baggage.add", Args: map[string]any{"reference": "X7K2PQ"}, Missing: "bags"}, "99", "unknown"},
		{air, Open{Action: "gone.away", Missing: "x"}, "2", "unknown"},
	} {
		got := describe(row.p.Plan(Message{Text: row.text, Now: now, Location: loc, Open: &row.open}))
		if got != row.want {
			t.Errorf("%s ?%s: Plan(%q) = %s, want %s", row.open.Action, row.open.Missing, row.text, got, row.want)
		}
	}
}

func TestNumbersAreJSONNumbers(t *testing.T) {
	now, loc := monday(t)
	actions := catalog(t, harborGoods)
	pl := New(actions).Plan(Message{Text: "pause my subscription for 2 months", Now: now, Location: loc})
	if len(pl.Intents) != 1 {
		t.Fatalf("Plan = %s, want one step", describe(pl))
	}
	args := pl.Intents[0].Intent.Args
	if diff := cmp.Diff(map[string]any{"months": json.Number("2")}, args); diff != "" {
		t.Errorf("Args (-want +got):\n%s", diff)
	}
	for _, a := range actions {
		if a.Name == "subscription.pause" {
			if err := a.Args.Validate(args); err != nil {
				t.Errorf("Validate: %v", err)
			}
		}
	}
}

// What is to be done to a record does not describe it.
func TestPickIgnoresTheVerb(t *testing.T) {
	now, loc := monday(t)
	orders := []Choice{{Value: "1001", Label: "1001, status: processing"}, {Value: "1004", Label: "1004, status: cancelled"}}
	if got, ok := Pick("cancel my order", orders, now, loc); ok {
		t.Errorf("cancel my order picks %q", got.Value)
	}
	if got, _ := Pick("show the cancelled order", orders, now, loc); got.Value != "1004" {
		t.Errorf("the cancelled order is %q, want 1004", got.Value)
	}
}

func TestPick(t *testing.T) {
	now, loc := monday(t)
	for text, want := range map[string]string{
		"reschedule my fitting":       "B-2041",
		"move my Friday appointment":  "B-2042",
		"move the couch one":          "B-2042",
		"reschedule my appointment":   "",
		"move my Tuesday appointment": "B-2041",
		"cancel the second":           "", // a place in a list nobody has seen
	} {
		got, ok := Pick(text, fittings().Choices, now, loc)
		if got.Value != want || ok != (want != "") {
			t.Errorf("Pick(%q) = %q, %v, want %q", text, got.Value, ok, want)
		}
	}
}
