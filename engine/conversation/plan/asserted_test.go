package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
)

func TestAsserted(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	emails := func(e ...string) engine.Asserted { return engine.Asserted{Emails: e} }
	names := func(n ...string) engine.Asserted { return engine.Asserted{Names: n} }
	for _, row := range []struct {
		text string
		want engine.Asserted
	}{
		// No name at all.
		{"I am looking for my order", engine.Asserted{}},
		{"this is urgent", engine.Asserted{}},
		{"I'm happy", engine.Asserted{}},
		{"I am not sure", engine.Asserted{}},
		{"I am a customer", engine.Asserted{}},
		{"I am very disappointed", engine.Asserted{}},
		{"This is ridiculous", engine.Asserted{}},
		{"I am moving to Leeds", engine.Asserted{}},
		{"what's my order status", engine.Asserted{}},
		{"where is today's order", engine.Asserted{}},
		{"it's my husband's order", engine.Asserted{}},
		{"order for delivery", engine.Asserted{}},
		{"pause my subscription for March", engine.Asserted{}},
		{"jordan at example dot com", engine.Asserted{}},
		{"see you @ 5", engine.Asserted{}},
		{"@jordan", engine.Asserted{}},
		{"a@b", engine.Asserted{}},

		{"I am jordan", names("jordan")},
		{"I'm Jordan and I want my order", names("Jordan")},
		{"this is Jordan Lee", names("Jordan Lee")},
		{"my name is Jordan", names("Jordan")},
		{"my name's Aoife", names("Aoife")},
		{"order for Jordan", names("Jordan")},
		{"show the order for jordan", names("jordan")},
		{"show me Jordan's order", names("Jordan")},
		{"where is jordan's parcel", names("jordan")},
		{"Jordan Lee's subscription", names("Jordan Lee")},
		{"cancel the order of Mr. Smith", names("Smith")},
		{"I am Zanele, cancel my order", names("Zanele")},

		{"look up the order for jordan@example.com", emails("jordan@example.com")},
		{"(jordan@example.com).", emails("jordan@example.com")},
		{"<Jordan.Lee+shop@Example.CO.UK>", emails("Jordan.Lee+shop@Example.CO.UK")},
		{"jordan@example.com's order", emails("jordan@example.com")},
		{"mailto:jordan@example.com", emails("jordan@example.com")},
		{"alex@example.com and jordan@example.com, alex@example.com", emails("alex@example.com", "jordan@example.com")},
		{"I am Jordan (jordan@example.com)", engine.Asserted{Emails: []string{"jordan@example.com"}, Names: []string{"Jordan"}}},
	} {
		got := p.Plan(Message{Text: row.text, Now: now, Location: loc}).Asserted
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("Plan(%q).Asserted (-want +got):\n%s", row.text, diff)
		}
	}
}

// An address and what introduces it take nothing away from the request.
func TestAddressesDoNotHideTheRequest(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	for _, text := range []string{"show my orders, my email is jordan@example.com", "my e-mail address is jordan@example.com, show my orders",
		"list orders belonging to jordan@example.com", "show the orders of jordan@example.com"} {
		got := p.Plan(Message{Text: text, Now: now, Location: loc})
		if got.Kind != Act || got.Intents[0].Intent.Action != "order.list" || len(got.Intents[0].Intent.Asserted.Emails) != 1 {
			t.Errorf("Plan(%q) = %v %+v, want order.list with the address", text, got.Kind, got.Intents)
		}
	}
}

// Evidence reaches every step, and never an argument.
func TestAssertedStaysBesideTheArguments(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	const text = "I am Jordan, jordan@example.com: cancel order 1001 and cancel my subscription"
	pl := p.Plan(Message{Text: text, Now: now, Location: loc})
	if got, want := describe(pl), "order.cancel order_id=1001; subscription.cancel"; got != want {
		t.Fatalf("Plan(%q) = %s, want %s", text, got, want)
	}
	for _, s := range pl.Intents {
		if diff := cmp.Diff(pl.Asserted, s.Intent.Asserted); diff != "" {
			t.Errorf("%s: Asserted (-plan +step):\n%s", s.Intent.Action, diff)
		}
	}
}

func TestAssertedIsBounded(t *testing.T) {
	now, loc := monday(t)
	p := New(catalog(t, harborGoods))
	got := p.Plan(Message{Text: strings.Repeat("a@b.example x@", 400), Now: now, Location: loc}).Asserted
	if len(got.Emails) == 0 || len(got.Emails) > maxAsserted {
		t.Errorf("%d e-mails kept, want 1 to %d", len(got.Emails), maxAsserted)
	}
}
