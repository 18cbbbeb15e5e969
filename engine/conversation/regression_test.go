package conversation_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/confirm"
	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// moved counts how often the shop moved an appointment.
func moved(w *World) (n int) {
	for _, c := range w.Shop.Calls() {
		if c.Action == "booking.reschedule" {
			n++
		}
	}
	return n
}

// A write parked by nobody stays one however often it is parked again: whoever
// typed at a shared computer changes nothing of the next customer's.
func TestAWriteParkedByNobodyStaysOne(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	r := c.say("move my appointment to next Friday at 3pm", "sign_in")
	c.as(Alex).say("hello", "clarify") // the conversation is Alex's now
	w.Clock.Add(10 * time.Minute)
	r = c.resume(r.Resume, "sign_in") // with a token that has expired
	c.as(Alex).resume(r.Resume, "confirm")
	if moved(w) != 0 {
		t.Error("it ran without a yes")
	}

	c = newChat(t, w, s)
	r = c.say("move my appointment to next Friday", "sign_in")
	c.as(Jordan).resume(r.Resume, "clarify")
	w.Clock.Add(10 * time.Minute)
	r = c.say("the repair", "sign_in")
	c.as(Jordan).resume(r.Resume, "confirm")
	if moved(w) != 0 {
		t.Error("it ran without a yes after a question")
	}
}

// Under another policy a yes to a request from before sign-in asks again too.
func TestAParkedWriteUnderAnotherPolicyAsksAgain(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	r := c.say("move my appointment to next Friday at 3pm", "sign_in")
	first := c.as(Alex).resume(r.Resume, "confirm")
	w.Policy.Activate(changed(t))
	second := c.confirm(first.Pending, "confirm")
	if moved(w) != 0 {
		t.Fatal("a yes given under another policy was carried out")
	}
	c.confirm(second.Pending, "result")
}

// swapping changes the policy between using a confirmation up and deciding.
type swapping struct {
	*gate.Gate
	before func()
}

func (g *swapping) Do(ctx context.Context, r gate.Request) (gate.Result, error) {
	g.before()
	return g.Gate.Do(ctx, r)
}

func TestAYesCountsUnderItsOwnPolicyOnly(t *testing.T) {
	w := New(t, Options{})
	g := &swapping{w.Gate, func() {}}
	c := confirm.New(w.State, g, w.Log, w.Clock.Now)
	r := gate.Request{Site: w.Pro, Identity: w.As(t, "demo", Alex), Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: "order.cancel", Args: map[string]any{"order_id": "1002"}}}
	asked, err := c.Do(context.Background(), r, "")
	if err != nil {
		t.Fatal(err)
	}
	g.before = func() { w.Policy.Activate(changed(t)) }
	res, err := c.Do(context.Background(), r, asked.Issued.ID)
	if err != nil || !res.Pending || w.Shop.Status("1002") != "processing" {
		t.Errorf("%+v, %v, order %s; want it asked again", res.Result, err, w.Shop.Status("1002"))
	}
}

// The same subject under another address neither says yes nor no.
func TestAConfirmationIsForOneAddress(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	p := c.say("cancel order 1002", "confirm").Pending
	c.as(Person{Subject: Alex.Subject, Email: "other@example.com", Name: "Alex"})
	c.confirm(p, "failed")
	c.one(c.do(conversation.Turn{Cancel: p}), "cancelling", "failed")
	c.as(Alex).confirm(p, "result")
}

// A yes for somebody else is none, is on record, and leaves the action waiting.
func TestAYesForSomebodyElse(t *testing.T) {
	for _, text := range []string{"yes for jordan@example.com", "yes, jordan@example.com", "go ahead for jordan@example.com"} {
		w, s := setUp(t)
		c := newChat(t, w, s).as(Alex)
		c.say("cancel order 1002", "confirm")
		rs := c.do(conversation.Turn{Message: text})
		if w.Shop.Status("1002") != "processing" {
			t.Errorf("%q cancelled Alex's order: %+v", text, rs)
		}
		if e := w.Entries(t)[0]; !slices.Contains(e.About.Asserted.Emails, Jordan.Email) {
			t.Errorf("%q: the newest record is %s with %+v; want the address in it", text, e.About.Action.Name, e.About.Asserted)
		}
		c.say("yes", "result")
	}
}

func TestWordsThatAreNoYes(t *testing.T) {
	for _, text := range []string{"yes?", "confirm?", "right", "yeah right", "yes i do mind", "yes but not now", "ok what is the refund policy?",
		"sure, no", "no yes", "I never said yes", "not yes", "absolutely not", "please do not go ahead", "ok bye", "I agree it is wrong"} {
		w, s := setUp(t)
		c := newChat(t, w, s).as(Alex)
		c.say("cancel order 1002", "confirm")
		if rs := c.do(conversation.Turn{Message: text}); w.Shop.Status("1002") != "processing" {
			t.Errorf("%q cancelled the order: %+v", text, rs)
		}
	}
	for _, text := range []string{"yes", "Yes please", "yes, that's right", "go ahead", "confirm", "ok", "sure!"} {
		w, s := setUp(t)
		c := newChat(t, w, s).as(Alex)
		c.say("cancel order 1002", "confirm")
		if rs := c.do(conversation.Turn{Message: text}); w.Shop.Status("1002") != "cancelled" {
			t.Errorf("%q did not confirm: %+v", text, rs)
		}
	}
}

// With two things waiting, in one tab or in two, a typed yes means neither.
func TestAYesBetweenTwo(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	first := c.say("cancel order 1002", "confirm").Pending
	second := c.say("cancel order 1001", "confirm").Pending
	c.say("yes", "clarify")
	if w.Shop.Status("1001") != "shipped" || w.Shop.Status("1002") != "processing" {
		t.Fatal("a yes between two did one of them")
	}
	c.confirm(first, "result")
	c.say("no", "clarify")
	if r := c.confirm(second, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("a yes after its no: %+v", r)
	}
}

// What a person does not type reaches neither the shop nor a reply.
func TestControlCharactersAreLeftOut(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	c.say("what is your refund policy?\u202e\u0007\n", "declined")
	for _, call := range w.Shop.Calls() {
		if q, _ := call.Args["question"].(string); strings.ContainsAny(q, "\u202e\u0007\n") {
			t.Errorf("the knowledge base was asked %q", q)
		}
	}
}

// A yes is to what was summarised: an action that has become another asks again.
func TestAYesIsToTheActionAsItWas(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	first := c.say("cancel order 1002", "confirm")
	var bs []gate.Binding
	for _, a := range Actions(t) {
		a.Revision = "another manifest"
		bs = append(bs, gate.Binding{Action: a, Connector: w.Shop})
	}
	site, err := gate.NewSite(w.Pro.Site, bs)
	if err != nil {
		t.Fatal(err)
	}
	c.site = site
	second := c.confirm(first.Pending, "confirm")
	if w.Shop.Status("1002") != "processing" {
		t.Fatal("a yes to the old action was carried out by the new one")
	}
	c.confirm(second.Pending, "result")
}
