package conversation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/conversation"
	. "vouchsafe/engine/enginetest"
)

func under(t *testing.T, action, obligation string) (*World, *conversation.Service) {
	w := New(t, Options{Policies: Obliging(t, action, obligation)})
	return w, conversation.New(w.State, w.Gate, w.Confirm, w.Clock.Now)
}

// signedIn gives the tab a token of somebody who signed in so long ago.
func (c *chat) signedIn(p Person, ago time.Duration) *chat {
	c.token = c.w.Token(c.t, c.site.ID, p, func(m jwt.MapClaims) { m["auth_time"] = c.w.Clock.Now().Add(-ago).Unix() })
	return c
}

func TestAStepUpWaitsForAFreshSignIn(t *testing.T) {
	w, s := under(t, "order.list", `{"kind": "step_up", "max_age": "5m", "acr": ["urn:b", "urn:a"]}`)
	c := newChat(t, w, s).signedIn(Alex, time.Hour)
	r := c.say("show my orders", "sign_in")
	if r.Code != engine.CodeStepUpRequired || r.Resume == "" || r.MaxAge != 300 || strings.Join(r.ACRValues, " ") != "urn:b urn:a" || len(w.Shop.Calls()) != 0 {
		t.Fatalf("%+v with %d calls; want step_up_required with what it takes", r, len(w.Shop.Calls()))
	}
	if want := "https://shop.example/login?acr_values=urn%3Ab+urn%3Aa&max_age=300"; r.URL != want {
		t.Errorf("url %q, want %q", r.URL, want)
	}
	id := c.id
	// The same sign-in in a new token is not a fresh one.
	again := c.signedIn(Alex, time.Hour).resume(r.Resume, "sign_in")
	if again.Code != engine.CodeStepUpRequired || again.Resume == r.Resume || c.id != id {
		t.Errorf("resumed with the old sign-in: %+v", again)
	}
	// Somebody else's fresh sign-in is not theirs.
	thief := newChat(t, w, s).signedIn(Jordan, 0)
	thief.id = id
	if _, err := thief.turn(conversation.Turn{Resume: again.Resume}); engine.CodeOf(err) != "conversation_of_another" {
		t.Errorf("another's resume: %v", err)
	}
	thief.id = ""
	thief.resume(again.Resume, "failed")
	c.token = w.Token(t, "demo", Alex, func(m jwt.MapClaims) { m["auth_time"], m["acr"] = w.Clock.Now().Unix(), "urn:a" })
	c.resume(again.Resume, "result")
	if c.id != id {
		t.Error("the fresh sign-in left the conversation")
	}
}

// A sign-in that grows too old between a question and its yes keeps the yes.
func TestAStepUpKeepsTheYes(t *testing.T) {
	w, s := under(t, "order.cancel", `{"kind": "step_up", "max_age": "2m"}`)
	c := newChat(t, w, s).signedIn(Alex, time.Minute)
	pending := c.say("cancel order 1002", "confirm").Pending
	w.Clock.Add(90 * time.Second)
	r := c.confirm(pending, "sign_in")
	if r.Code != engine.CodeStepUpRequired || r.Resume != pending || w.Shop.Status("1002") != "processing" {
		t.Fatalf("%+v, order %s; want step_up_required and the yes kept", r, w.Shop.Status("1002"))
	}
	c.signedIn(Jordan, 0)
	if _, err := c.turn(conversation.Turn{Resume: pending}); engine.CodeOf(err) != "conversation_of_another" {
		t.Errorf("another's fresh sign-in: %v", err)
	}
	if w.Shop.Status("1002") != "processing" {
		t.Fatal("another's fresh sign-in carried the yes out")
	}
	c.signedIn(Alex, 0).resume(r.Resume, "result")
	if w.Shop.Status("1002") != "cancelled" {
		t.Error("the resumed yes did nothing")
	}
	if r := c.confirm(pending, "failed"); r.Code != engine.CodeConfirmationSpent {
		t.Errorf("a second yes: %+v", r)
	}
}

// The reads behind an action may want it as well, and it waits for them too.
func TestAStepUpOfWhatAnActionRestsOn(t *testing.T) {
	for _, c := range []struct{ action, message string }{
		{"order.lookup", "cancel order 1002"}, {"order.list", "cancel my order"}, {"booking.list", "move my appointment to Friday at 15:00"},
	} {
		w, s := under(t, c.action, `{"kind": "step_up", "max_age": "5m"}`)
		tab := newChat(t, w, s).as(Alex)
		r := tab.say(c.message, "sign_in")
		if r.Code != engine.CodeStepUpRequired || r.Resume == "" || r.MaxAge != 300 || len(w.Shop.Calls()) != 0 {
			t.Fatalf("%s: %+v with %d calls", c.message, r, len(w.Shop.Calls()))
		}
		if rs := tab.signedIn(Alex, 0).do(conversation.Turn{Resume: r.Resume}); rs[0].Type == "sign_in" || rs[0].Type == "failed" {
			t.Errorf("%s: resumed as %+v", c.message, rs)
		}
	}
}

// A write asked for before anybody had signed in is confirmed however often it
// was parked.
func TestAStepUpForgetsNoConfirmation(t *testing.T) {
	w, s := under(t, "booking.reschedule", `{"kind": "step_up", "max_age": "5m"}`)
	c := newChat(t, w, s)
	r := c.say("move my appointment to Friday at 15:00", "sign_in")
	if r.Code != engine.CodeIdentityAbsent {
		t.Fatalf("%+v", r)
	}
	r = c.as(Alex).resume(r.Resume, "sign_in")
	if r.Code != engine.CodeStepUpRequired {
		t.Fatalf("%+v", r)
	}
	c.signedIn(Alex, 0).resume(r.Resume, "confirm")
	for _, call := range w.Shop.Calls() {
		if call.Action == "booking.reschedule" {
			t.Error("a parked write ran without a yes")
		}
	}
}

func TestALimitSaysFromWhen(t *testing.T) {
	w, s := under(t, "order.list", `{"kind": "limit", "n": 1, "window": "24h"}`)
	c := newChat(t, w, s).as(Alex)
	c.say("show my orders", "result")
	w.Clock.Add(1500 * time.Millisecond)
	r := c.say("show my orders", "refused")
	if r.Code != engine.CodeLimitReached || r.RetryAt == nil || !r.RetryAt.Equal(Start.Add(24*time.Hour)) ||
		!strings.Contains(r.Text, "Tuesday 24 November 2026 at 10:00 GMT") {
		t.Errorf("%+v until %v; want limit_reached, again in 24h", r, r.RetryAt)
	}
}

// What a limit stops is not carried out, and its yes waits while there is time.
func TestALimitKeepsTheYes(t *testing.T) {
	w, s := under(t, "order.cancel", `{"kind": "limit", "n": 1, "window": "1m"}`)
	c := newChat(t, w, s).as(Alex)
	first := c.say("cancel order 1001", "confirm").Pending
	second := c.say("cancel order 1002", "confirm").Pending
	c.confirm(first, "result")
	if r := c.confirm(second, "refused"); r.Code != engine.CodeLimitReached || w.Shop.Status("1002") != "processing" {
		t.Fatalf("%+v, order %s", r, w.Shop.Status("1002"))
	}
	w.Clock.Add(time.Minute)
	c.confirm(second, "result")
	if w.Shop.Status("1002") != "cancelled" {
		t.Error("the yes did nothing once there was room")
	}
}

// A limit on a public action asks who it is, and the question waits.
func TestALimitOnQuestionsAsksWho(t *testing.T) {
	w, s := under(t, "kb.answer", `{"kind": "limit", "n": 1, "window": "1h"}`)
	c := newChat(t, w, s)
	r := c.say("what is your refund policy?", "sign_in")
	if r.Code != engine.CodeIdentityAbsent || r.Resume == "" || len(w.Shop.Calls()) != 0 {
		t.Fatalf("%+v with %d calls", r, len(w.Shop.Calls()))
	}
	c.as(Alex).resume(r.Resume, "answer")
	if r := c.say("what is your refund policy?", "refused"); r.Code != engine.CodeLimitReached {
		t.Errorf("a second question: %+v", r)
	}
}
