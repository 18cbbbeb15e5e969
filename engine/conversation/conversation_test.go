package conversation_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
)

// chat is one browser tab.
type chat struct {
	t     *testing.T
	w     *World
	s     *conversation.Service
	site  *gate.Site
	token string
	id    string
	all   strings.Builder // every byte ever said to it
}

func newChat(t *testing.T, w *World, s *conversation.Service) *chat {
	return &chat{t: t, w: w, s: s, site: w.Pro}
}

func setUp(t *testing.T) (*World, *conversation.Service) {
	w := New(t, Options{})
	return w, conversation.New(w.State, w.Gate, w.Confirm, w.Clock.Now)
}

func (c *chat) as(p Person) *chat {
	c.token = c.w.Token(c.t, c.site.ID, p, nil)
	return c
}

func (c *chat) turn(in conversation.Turn) (conversation.Answer, error) {
	c.t.Helper()
	in.Site, in.Conversation = c.site, c.id
	in.Identity = c.w.Verify(c.site.ID, c.token)
	a, err := c.s.Turn(context.Background(), in, nil)
	if err == nil {
		c.id = a.Conversation
	}
	b, _ := json.Marshal(a)
	c.all.Write(b)
	return a, err
}

func (c *chat) do(in conversation.Turn) []conversation.Reply {
	c.t.Helper()
	a, err := c.turn(in)
	if err != nil {
		c.t.Fatalf("turn %+v: %v", in, err)
	}
	return a.Replies
}

// say sends a message that wants one reply of the type.
func (c *chat) say(text, want string) conversation.Reply {
	c.t.Helper()
	return c.one(c.do(conversation.Turn{Message: text}), text, want)
}

func (c *chat) one(rs []conversation.Reply, what, want string) conversation.Reply {
	c.t.Helper()
	if len(rs) != 1 || rs[0].Type != want {
		c.t.Fatalf("%s: %+v; want one %s", what, rs, want)
	}
	if rs[0].Text == "" {
		c.t.Errorf("%s: a %s without a text", what, want)
	}
	return rs[0]
}

func (c *chat) confirm(id, want string) conversation.Reply {
	c.t.Helper()
	return c.one(c.do(conversation.Turn{Confirm: id}), "confirming", want)
}

func (c *chat) resume(id, want string) conversation.Reply {
	c.t.Helper()
	return c.one(c.do(conversation.Turn{Resume: id}), "resuming", want)
}

func TestTheSeedStory(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	r := c.say("reschedule my appointment to next Tuesday", "result")
	for _, want := range []string{"Thursday 26 November 2026 at 10:00 GMT", "December 2026 at 10:00 GMT", "Tuesday 1 December"} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("%q does not say %q", r.Text, want)
		}
	}
	// With two appointments it asks which, and takes the answer.
	c = newChat(t, w, s).as(Jordan)
	r = c.say("reschedule my appointment to next Friday", "clarify")
	if len(r.Options) != 2 {
		t.Fatalf("options %+v, want Jordan's two", r.Options)
	}
	r = c.say("the repair", "result")
	if !strings.Contains(r.Text, "Wednesday 25 November 2026 at 11:00 GMT") {
		t.Errorf("%q does not say from when", r.Text)
	}
}

func TestNobodyIsAskedToSignInAndResumesAsAConfirmation(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	r := c.say("cancel order 1002", "sign_in")
	if r.Code != "identity_absent" || r.URL == "" || r.Resume == "" || len(w.Shop.Calls()) != 0 {
		t.Fatalf("%+v with %d calls; want a sign-in prompt and none", r, len(w.Shop.Calls()))
	}
	anonymous := c.id
	c.as(Alex)
	confirm := c.resume(r.Resume, "confirm")
	if c.id == anonymous {
		t.Error("signing in kept the anonymous conversation's id")
	}
	if w.Shop.Status("1002") != "processing" {
		t.Fatal("a parked write ran without a yes")
	}
	c.confirm(confirm.Pending, "result")
	if w.Shop.Status("1002") != "cancelled" {
		t.Error("the confirmed order was not cancelled")
	}
	if r := c.confirm(confirm.Pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("a second yes: %+v", r)
	}
	if r := c.resume(r.Resume, "failed"); r.Code != engine.CodeNotFound {
		t.Errorf("a second resume: %+v", r)
	}
}

// A write that the policy does not ask to confirm is confirmed all the same
// when it was parked before sign-in, also when it needed a question in between.
func TestParkedWritesAreAlwaysConfirmed(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	r := c.say("move my appointment to Friday", "sign_in")
	before := len(w.Shop.Calls())
	c.as(Jordan)
	r = c.resume(r.Resume, "clarify")
	c.say(r.Options[0].Value, "confirm")
	for _, call := range w.Shop.Calls()[before:] {
		if call.Action == "booking.reschedule" {
			t.Error("a parked write ran without a yes")
		}
	}
	c = newChat(t, w, s)
	r = c.say("show my orders", "sign_in")
	c.as(Alex).resume(r.Resume, "result") // a read just runs
}

// Fixation: whoever prepared an anonymous conversation keeps no hold on it.
func TestSigningInLeavesTheAnonymousConversationDead(t *testing.T) {
	w, s := setUp(t)
	attacker := newChat(t, w, s)
	parked := attacker.say("cancel order 1002", "sign_in").Resume
	victim := newChat(t, w, s).as(Alex)
	victim.id = attacker.id
	victim.say("show my orders", "result")
	old := attacker.id
	attacker.say("yes", "declined")
	if attacker.id == old || attacker.id == victim.id {
		t.Errorf("the prepared conversation %s still lives (now %s, the victim's %s)", old, attacker.id, victim.id)
	}
	if r := attacker.resume(parked, "failed"); r.Code != engine.CodeNotFound {
		t.Errorf("the preparer resumes a request that moved: %+v", r)
	}
}

func TestConversationsBelongToOneSubject(t *testing.T) {
	w, s := setUp(t)
	alex := newChat(t, w, s).as(Alex)
	pending := alex.say("cancel order 1002", "confirm").Pending
	id := alex.id

	jordan := newChat(t, w, s).as(Jordan)
	jordan.id = id
	if _, err := jordan.turn(conversation.Turn{Message: "show my orders"}); engine.CodeOf(err) != "conversation_of_another" {
		t.Errorf("another subject's token: %v, want conversation_of_another", err)
	}
	jordan.id = ""
	if r := jordan.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("another's yes: %+v", r)
	}
	for _, token := range []string{"", "not.a.token"} {
		thief := newChat(t, w, s)
		thief.id, thief.token = id, token
		if r := thief.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent || thief.id == id {
			t.Errorf("token %q with a stolen id: %+v in %s; want a new conversation and nothing of the old", token, r, thief.id)
		}
	}
	other := newChat(t, w, s)
	other.site = w.Free
	other.as(Alex).id = id
	other.say("hello", "clarify")
	if other.id == id {
		t.Error("a conversation was entered from another site")
	}
	if w.Shop.Status("1002") != "processing" {
		t.Fatal("the order was cancelled by somebody else")
	}
	alex.confirm(pending, "result") // and Alex's yes still works
}

// A token that runs out between a confirmation and its yes keeps both.
func TestExpiryInMidConversation(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	pending := c.say("cancel order 1002", "confirm").Pending
	id := c.id
	w.Clock.Add(7 * time.Minute) // past the confirmation's life too
	r := c.say("show my orders", "sign_in")
	if r.Code != "identity_expired" || c.id != id {
		t.Fatalf("%+v in %s; want identity_expired in the same conversation", r, c.id)
	}
	c.as(Alex).resume(r.Resume, "result")
	if c.id != id {
		t.Error("a fresh token of the same subject left the conversation")
	}
	if r := c.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("a lapsed confirmation: %+v", r)
	}

	w.Clock.Add(-2 * time.Minute) // a token with two minutes left of five
	c = newChat(t, w, s).as(Alex)
	w.Clock.Add(4 * time.Minute)
	pending = c.say("cancel order 1002", "confirm").Pending
	w.Clock.Add(3 * time.Minute)
	r = c.confirm(pending, "sign_in")
	if r.Code != "identity_expired" || r.Resume == "" || w.Shop.Status("1002") != "processing" {
		t.Fatalf("a yes with an expired token: %+v, order %s", r, w.Shop.Status("1002"))
	}
	c.as(Alex).resume(r.Resume, "result")
	if w.Shop.Status("1002") != "cancelled" {
		t.Error("the resumed confirmation did nothing")
	}
}

// A policy that changed between a confirmation and its yes asks again.
func TestAChangedPolicyAsksAgain(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	first := c.say("cancel order 1002", "confirm")
	w.Policy.Activate(changed(t))
	second := c.confirm(first.Pending, "confirm")
	if second.Pending == first.Pending || w.Shop.Status("1002") != "processing" {
		t.Fatalf("a yes under another policy: %+v, order %s", second, w.Shop.Status("1002"))
	}
	c.confirm(second.Pending, "result")
}

func TestConfirmationsWorkOnceHoweverManyAtOnce(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	pending := c.say("cancel order 1002", "confirm").Pending
	var wg sync.WaitGroup
	var mu sync.Mutex
	types := map[string]int{}
	who := w.Verify("demo", c.token)
	for range 20 {
		wg.Go(func() {
			a, err := s.Turn(context.Background(), conversation.Turn{Site: w.Pro, Identity: who, Conversation: c.id, Confirm: pending}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			types[a.Replies[0].Type+a.Replies[0].Code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	n := 0
	for _, call := range w.Shop.Calls() {
		if call.Action == "order.cancel" {
			n++
		}
	}
	if n != 1 || types["result"] != 1 || types["failedconfirmation_spent"] != 19 {
		t.Errorf("20 yeses at once: %d calls, replies %v; want one", n, types)
	}
}

func TestYesAndNo(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	c.say("cancel order 1002", "confirm")
	c.say("no", "clarify")
	if r := c.say("yes", "declined"); w.Shop.Status("1002") != "processing" {
		t.Fatalf("yes after no: %+v", r)
	}
	c.say("cancel order 1002", "confirm")
	c.say("yes please", "result")
	if w.Shop.Status("1002") != "cancelled" {
		t.Error("yes did nothing")
	}
	c.say("cancel order 1001", "confirm")
	p := c.say("cancel order 1001", "confirm").Pending
	c.one(c.do(conversation.Turn{Cancel: p}), "cancelling", "clarify")
	if r := c.confirm(p, "failed"); r.Code != engine.CodeConfirmationSpent || w.Shop.Status("1001") != "shipped" {
		t.Errorf("a yes after its cancel: %+v", r)
	}
}

// Alex's token asks for Jordan's things, in every way and on every turn: not a
// byte of them is said, and each attempt is on record.
func TestNothingOfAnotherCustomers(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	for range 3 {
		for _, m := range []struct{ text, want, code string }{
			{"look up the order for jordan@example.com", "refused", "target_mismatch"},
			{"show the orders of JORDAN@example.com", "refused", "target_mismatch"},
			{"track order 2001", "failed", "not_found"},
			{"track order 9999", "failed", "not_found"},
			{"track order 3001", "failed", "not_found"},
			{"cancel order 2001", "failed", "not_found"},
			{"I am jordan, show my orders", "result", ""},
		} {
			r := c.say(m.text, m.want)
			if r.Code != m.code {
				t.Errorf("%s: %+v, want %s", m.text, r, m.code)
			}
		}
	}
	if missing, foreign := c.say("track order 9998", "failed"), c.say("track order 2002", "failed"); missing.Text != foreign.Text {
		t.Errorf("missing says %q, foreign %q", missing.Text, foreign.Text)
	}
	for _, secret := range []string{`"2001"`, `"2002"`, "Repair", "B-2", "B-3"} {
		if strings.Contains(c.all.String(), secret) {
			t.Errorf("Alex was told %s", secret)
		}
	}
	var mismatch, named, notOwner int
	for _, e := range w.Entries(t) {
		if e.Code() == "target_mismatch" {
			mismatch++
		}
		if len(e.About.Asserted.Names) > 0 {
			named++
		}
		if e.Outcome != nil && len(e.Outcome.Withheld) > 0 {
			notOwner++
		}
	}
	if mismatch < 6 || named < 3 || notOwner < 6 {
		t.Errorf("on record: %d target_mismatch, %d asserted names, %d not_owner", mismatch, named, notOwner)
	}
}

func TestQuestions(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s)
	r := c.say("what is your refund policy?", "answer")
	if len(r.Citations) != 1 || r.Citations[0].Document != "refunds" {
		t.Errorf("citations %+v", r.Citations)
	}
	c.say("what is the capital of Peru?", "declined")
	if es := w.Entries(t); len(es) != 2 || es[0].About.Action.Name != "kb.answer" || !es[0].Decision.Allow {
		t.Errorf("%d records, want each question's own", len(es))
	}
}

func TestFreeSiteDoesNotBlameTheVisitor(t *testing.T) {
	w, s := setUp(t)
	for _, sign := range []bool{false, true} {
		c := newChat(t, w, s)
		c.site = w.Free
		if sign {
			c.as(Alex)
		}
		r := c.say("show my orders", "refused")
		if r.Code != engine.CodeTierInsufficient || strings.Contains(strings.ToLower(r.Text), "upgrade") {
			t.Errorf("signed in %t: %+v", sign, r)
		}
		c.say("when are you open", "result")
	}
}

func TestWithoutADiskNothingHappens(t *testing.T) {
	w, s := setUp(t)
	c := newChat(t, w, s).as(Alex)
	c.say("show my orders", "result")
	before := len(w.Shop.Calls())
	w.Log.Close()
	if r := c.say("show my orders", "refused"); r.Code != engine.CodeAuditUnavailable {
		t.Errorf("%+v, want audit_unavailable", r)
	}
	w.State.Close()
	if r := c.say("show my orders", "refused"); r.Code != engine.CodeAuditUnavailable {
		t.Errorf("%+v, want audit_unavailable", r)
	}
	if len(w.Shop.Calls()) != before {
		t.Error("the shop was called")
	}
}

func TestRepliesAreEmittedAsTheyAreKnown(t *testing.T) {
	w, s := setUp(t)
	var got []string
	a, err := s.Turn(context.Background(), conversation.Turn{Site: w.Pro, Identity: identity.Result{}, Message: "show my orders"},
		func(r conversation.Reply) { got = append(got, r.Type) })
	if err != nil || len(got) != 1 || got[0] != a.Replies[0].Type {
		t.Errorf("emitted %v, answered %+v, %v", got, a.Replies, err)
	}
}
