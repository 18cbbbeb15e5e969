package conversation_test

import (
	"context"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// with gives the tab a token with changed claims.
func (c *chat) with(p Person, change func(jwt.MapClaims)) *chat {
	c.token = c.w.Token(c.t, c.site.ID, p, change)
	return c
}

// calls counts what the shop was asked to do.
func calls(w *World, action string) (n int) {
	for _, c := range w.Shop.Calls() {
		if c.Action == action {
			n++
		}
	}
	return n
}

// Only the subject keeps an owned conversation open with an expired token; to
// anybody else's, and to one that does not verify, it is not there.
func TestWhoMayEnterAnOwnedConversation(t *testing.T) {
	w, s := setUp(t)
	alex := newChat(t, w, s).as(Alex)
	stale, staleJordan := alex.token, w.Token(t, "demo", Jordan, nil)
	pending := alex.say("cancel order 1002", "confirm").Pending
	w.Clock.Add(4 * time.Minute)
	pendingAgain := alex.say("cancel order 1002", "confirm").Pending
	w.Clock.Add(3 * time.Minute)
	for _, c := range []struct {
		name, token string
		enters      bool
		state, code string // of what they are told
	}{
		{"nobody", "", false, "absent", "identity_absent"},
		{"no token at all", "x", false, "invalid", "identity_invalid"},
		{"an expired token of another", staleJordan, false, "expired", "identity_expired"},
		{"an expired token of the same with another signature", stale + "A", false, "invalid", "identity_invalid"},
		{"an expired token of another site", w.Token(t, "free", Alex, nil), false, "invalid", "identity_invalid"},
		{"an expired token of the same", stale, true, "expired", "identity_expired"},
	} {
		tab := newChat(t, w, s)
		tab.id, tab.token = alex.id, c.token
		a, err := tab.turn(conversation.Turn{Message: "show my orders"})
		if err != nil || len(a.Replies) != 1 || a.Replies[0].Type != "sign_in" || a.Replies[0].Code != c.code || a.Identity.State != c.state {
			t.Errorf("%s: %+v, %v; want sign_in with %s", c.name, a, err, c.code)
		}
		if entered := a.Conversation == alex.id; entered != c.enters {
			t.Errorf("%s: entered %t, want %t", c.name, entered, c.enters)
		}
		for _, id := range []string{pending, pendingAgain} {
			tab.id, tab.token = alex.id, c.token
			if a, err := tab.turn(conversation.Turn{Confirm: id}); err != nil || a.Replies[0].Type == "result" {
				t.Errorf("%s: their yes: %+v, %v", c.name, a, err)
			}
		}
	}
	if calls(w, "order.cancel") != 0 {
		t.Fatal("an order was cancelled without a token that verifies")
	}
	alex.as(Alex).confirm(pendingAgain, "result")
}

// A write that waited for a fresh token of the same subject was made by that
// subject, so it is not asked about again. Another person who signs in instead
// gets neither the conversation nor the request.
func TestAfterAnExpiryOnlyTheSameSubjectResumes(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	c.say("show my orders", "result")
	w.Clock.Add(7 * time.Minute)
	parked := c.say("move my appointment to Friday", "sign_in")
	id := c.id
	jordan := newChat(t, w, s).as(Jordan)
	jordan.id = id
	if _, err := jordan.turn(conversation.Turn{Resume: parked.Resume}); engine.CodeOf(err) != "conversation_of_another" {
		t.Errorf("another resumes it: %v, want conversation_of_another", err)
	}
	jordan.id = ""
	jordan.say("hello", "clarify")
	if r := jordan.resume(parked.Resume, "failed"); r.Code != engine.CodeNotFound {
		t.Errorf("another resumes it elsewhere: %+v", r)
	}
	if calls(w, "booking.reschedule") != 0 {
		t.Fatal("somebody else's request ran")
	}
	c.as(Alex).resume(parked.Resume, "result")
	if c.id != id || calls(w, "booking.reschedule") != 1 {
		t.Errorf("resumed in %s with %d calls; want %s and one", c.id, calls(w, "booking.reschedule"), id)
	}
}

// Two tabs of one browser, two customers: neither's words, parked requests or
// confirmations are ever the other's.
func TestTwoTabsAsTwoCustomers(t *testing.T) {
	w, s := setUp(t)
	one := newChat(t, w, s)
	first := one.say("cancel order 1002", "sign_in").Resume
	two := newChat(t, w, s)
	two.id = one.id // a tab that was duplicated before anybody signed in
	one.as(Alex)
	yes := one.resume(first, "confirm").Pending
	two.as(Jordan)
	if r := two.resume(first, "failed"); r.Code != engine.CodeNotFound {
		t.Errorf("the other tab resumes the same request: %+v", r)
	}
	if one.id == two.id {
		t.Fatal("two customers share a conversation")
	}
	if r := two.confirm(yes, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("the other tab's yes: %+v", r)
	}
	two.say("yes", "declined")
	mine := two.say("cancel order 2002", "confirm").Pending
	if r := one.confirm(mine, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("Alex says yes to Jordan's: %+v", r)
	}
	// The tab whose page signed somebody else in meanwhile.
	id := one.id
	one.as(Jordan)
	if _, err := one.turn(conversation.Turn{Confirm: yes}); engine.CodeOf(err) != "conversation_of_another" {
		t.Errorf("the first tab as the second customer: %v", err)
	}
	if w.Shop.Status("1002") != "processing" || w.Shop.Status("2002") == "cancelled" {
		t.Fatal("an order was cancelled by the other customer")
	}
	one.id = id
	one.as(Alex).confirm(yes, "result")
}

// A shared computer: after a sign-out neither the token nor the conversation,
// nor what waits in it, is of use to whoever comes next.
func TestSigningOutOnASharedComputer(t *testing.T) {
	w, s := setUp(t)
	alex := newChat(t, w, s).as(Alex)
	pending := alex.say("cancel order 1002", "confirm").Pending
	id, token := alex.id, alex.token
	ctx := context.Background()
	if err := w.Revoked.SignOut(ctx, w.Verify("demo", token).Visitor); err != nil {
		t.Fatal(err)
	}
	if err := s.End(ctx, "demo", id, Jordan.Subject); err != nil {
		t.Fatal(err)
	}
	again := newChat(t, w, s).as(Alex)
	again.id = id
	if again.say("hello", "clarify"); again.id != id {
		t.Fatal("somebody else's sign-out ended the conversation")
	}
	if err := s.End(ctx, "free", id, Alex.Subject); err != nil {
		t.Fatal(err)
	}
	if again.say("hello", "clarify"); again.id != id {
		t.Fatal("a sign-out from another site ended the conversation")
	}
	if err := s.End(ctx, "demo", id, Alex.Subject); err != nil {
		t.Fatal(err)
	}
	for name, kept := range map[string]string{"the kept token": token, "no token": "", "their own token": w.Token(t, "demo", Jordan, nil),
		"a new token of the same": w.Token(t, "demo", Alex, nil)} {
		next := newChat(t, w, s)
		next.id, next.token = id, kept
		if r := next.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent || next.id == id {
			t.Errorf("%s: %+v in the same conversation %t", name, r, next.id == id)
		}
	}
	if calls(w, "order.cancel") != 0 {
		t.Error("the order was cancelled after the sign-out")
	}
	if err := s.End(ctx, "demo", id, Alex.Subject); err != nil {
		t.Errorf("ending it twice: %v", err)
	}
}

// A revoked visitor may not enter, continue or confirm anything. The page hears
// that the token is not accepted; the record says that it was revoked.
func TestARevokedVisitorIsNobody(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	pending := c.say("cancel order 1002", "confirm").Pending
	id, token := c.id, c.token
	if _, err := w.Revoked.Subject(context.Background(), "demo", Alex.Subject); err != nil {
		t.Fatal(err)
	}
	for what, in := range map[string]conversation.Turn{"confirming": {Confirm: pending}, "resuming": {Resume: pending}, "cancelling": {Cancel: pending}} {
		c.id = id
		if r := c.one(c.do(in), what, "failed"); c.id == id || calls(w, "order.cancel") != 0 {
			t.Errorf("%s: %+v, entered %t", what, r, c.id == id)
		}
	}
	c.id = id
	a, err := c.turn(conversation.Turn{Message: "show my orders"})
	if err != nil || len(a.Replies) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	r := a.Replies[0]
	if r.Type != "sign_in" || r.Code != engine.CodeIdentityInvalid || r.Resume == "" || a.Identity != (conversation.Shown{State: "invalid"}) || c.id == id {
		t.Errorf("%+v in the same conversation %t; want sign_in with identity_invalid in another", a, c.id == id)
	}
	e, err := w.Log.Show(r.Decision)
	if err != nil || e.Code() != engine.CodeIdentityRevoked || e.Decision.Cause != identity.CauseRevoked || e.About.Identity.Subject != Alex.Subject {
		t.Errorf("on record: %+v, %v; want identity_revoked of %s", e, err, Alex.Subject)
	}
	w.Clock.Add(7 * time.Minute) // it has expired too, and still keeps nothing open
	c.id = id
	if r := c.confirm(pending, "failed"); c.id == id {
		t.Errorf("expired and revoked: %+v in the same conversation", r)
	}
	c.id, c.token = id, token
	c.as(Alex).say("show my orders", "result") // who signs in again is believed
	if c.id != id {
		t.Error("a new token of the same subject left the conversation")
	}
}

// A yes holds for the person, address included, that it was asked of, and in the
// conversation it was asked in.
func TestAYesIsBoundToEverything(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	pending := c.say("cancel order 1002", "confirm").Pending
	id := c.id
	moved := Alex
	moved.Email = "alex.new@example.com"
	if r := c.as(moved).confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("the same subject under another address: %+v", r)
	}
	c.as(Alex).id = ""
	if r := c.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("in another conversation: %+v", r)
	}
	if calls(w, "order.cancel") != 0 {
		t.Fatal("the order was cancelled")
	}
	c.id = id
	c.confirm(pending, "result")
}

// A tier that sinks between a confirmation and its yes: the policy is asked
// again, and says no.
func TestATierThatChangesInBetween(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	pending := c.say("cancel order 1002", "confirm").Pending
	sunk := *w.Pro.Site
	sunk.Tier = engine.Free
	var bindings []gate.Binding
	for _, a := range Actions(t) {
		bindings = append(bindings, gate.Binding{Action: a, Connector: w.Shop})
	}
	var err error
	if c.site, err = gate.NewSite(&sunk, bindings); err != nil {
		t.Fatal(err)
	}
	before := len(w.Shop.Calls())
	if r := c.confirm(pending, "refused"); r.Code != engine.CodeTierInsufficient {
		t.Errorf("%+v, want tier_insufficient", r)
	}
	if len(w.Shop.Calls()) != before {
		t.Error("the shop was called")
	}
	c.site = w.Pro
	if r := c.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("the same yes once more: %+v", r)
	}
}

// Ids cannot be guessed: they are long, random and never the same.
func TestIDsAreUnguessable(t *testing.T) {
	w, s := setUp(t)
	seen := map[string]bool{}
	for range 50 {
		c := newChat(t, w, s)
		r := c.say("show my orders", "sign_in")
		for _, id := range []string{c.id, r.Resume} {
			if len(id) < len("cv_")+22 || seen[id] {
				t.Fatalf("the id %s is short or was there before", id)
			}
			seen[id] = true
		}
	}
}

// Where the site wants it, a destructive yes takes a token that has said no yes
// before. The page does what it does about an expired one: gets another and
// resumes.
func TestFreshConfirmation(t *testing.T) {
	w, s := setUp(t)
	w.Pro.FreshConfirmation = true
	c := newChat(t, w, s).with(Alex, func(m jwt.MapClaims) { delete(m, "jti") })
	pending := c.say("cancel order 1002", "confirm").Pending
	for range 2 {
		r := c.confirm(pending, "sign_in")
		if r.Code != engine.CodeIdentityExpired || r.Resume != pending || r.URL == "" {
			t.Fatalf("a token without an id: %+v; want sign_in that resumes %s", r, pending)
		}
	}
	c.with(Alex, func(m jwt.MapClaims) { m["jti"] = "t-1" }).resume(pending, "result")

	pending = c.say("cancel order 1001", "confirm").Pending
	if r := c.confirm(pending, "sign_in"); r.Resume != pending {
		t.Fatalf("the same token's second yes: %+v", r)
	}
	if r := c.say("yes", "sign_in"); r.Resume != pending {
		t.Errorf("the same token's second yes in words: %+v", r)
	}
	// Under another name it is the same id.
	c.with(Alex, func(m jwt.MapClaims) { m["jti"], m["name"] = "t-1", "Alexandra" })
	c.confirm(pending, "sign_in")
	if calls(w, "order.cancel") != 1 {
		t.Fatalf("%d cancellations, want 1", calls(w, "order.cancel"))
	}
	c.as(Alex).resume(pending, "result")
	// What is not destructive takes any token.
	r := newChat(t, w, s)
	parked := r.say("move my appointment to Friday", "sign_in")
	r.with(Alex, func(m jwt.MapClaims) { m["jti"] = "t-1" })
	r.confirm(r.resume(parked.Resume, "confirm").Pending, "result")
}

// A sign-in prompt that arrives as it is known carries what resumes it.
func TestAStreamedPromptSaysWhatResumes(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	w.Clock.Add(4 * time.Minute)
	pending := c.say("cancel order 1002", "confirm").Pending
	w.Clock.Add(3 * time.Minute)
	var told []conversation.Reply
	_, err := s.Turn(context.Background(), conversation.Turn{Site: w.Pro, Identity: w.Verify("demo", c.token), Conversation: c.id, Confirm: pending},
		func(r conversation.Reply) { told = append(told, r) })
	if err != nil || len(told) != 1 || told[0].Type != "sign_in" || told[0].Resume != pending {
		t.Errorf("told %+v, %v; want a sign_in that resumes %s", told, err, pending)
	}
}
