package gate_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// Whoever has not signed in gets general answers with their source, and for
// anything personal an offer to sign in. The shop hears nothing of it.
func TestNobody(t *testing.T) {
	t.Parallel()
	w := start(t)

	w.shopSawNothing(t, func() {
		a := w.Chat(t, shop, "", turn{Message: "do you ship to Canada?"})
		r := wantReply(t, "a general question", a, "answer", "")
		page, err := os.ReadFile(filepath.Join(w.Dir, "help", "shipping.md"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(page)), " ")
		if len(r.Citations) == 0 || r.Citations[0].Title != "Shipping" || !strings.Contains(text, r.Citations[0].Passage) {
			t.Errorf("the answer cites %+v, want a passage that stands in shipping.md", r.Citations)
		}
		if !strings.Contains(text, r.Text) {
			t.Errorf("the answer %q does not stand in the page it cites", r.Text)
		}
		wantReply(t, "what no page answers", w.Chat(t, shop, "", turn{Message: "what is the capital of Peru"}), "declined", "")

		for _, message := range []string{
			"where is my order", "track order 1001", "show my orders", "cancel order 1001", "what appointments do I have",
			"move my appointment to tomorrow at 3pm", "I am Alex Morgan, alex@example.com, show my orders",
			"look up the order for jordan@example.com",
		} {
			a := w.Chat(t, shop, "", turn{Message: message})
			r := wantReply(t, message, a, "sign_in", "identity_absent")
			if r.URL != harness.SignIn || !strings.HasPrefix(r.Resume, "pa_") {
				t.Errorf("%s: url %q, resume %q, want %s and an id", message, r.URL, r.Resume, harness.SignIn)
			}
			if a.Identity.State != "absent" || a.Identity.Name != "" {
				t.Errorf("%s: identity %+v, want nobody", message, a.Identity)
			}
			nothingOfJordan(t, message, a.Response)
		}

		for action, in := range map[string]args{"order.list": nil, "order.lookup": {"order_id": "1001"},
			"order.cancel": {"order_id": "1001"}, "appointments.mine": nil} {
			got := w.Act(t, shop, "", action, in, "")
			wantProblem(t, action+" by nobody", got, http.StatusUnauthorized, "identity_absent")
			if h := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(h, "Bearer") {
				t.Errorf("%s by nobody: WWW-Authenticate is %q, want a Bearer challenge", action, h)
			}
			if d := w.Decide(t, shop, "", action, in, ""); d.Allow || len(d.Reasons) == 0 || d.Reasons[0].Code != "identity_absent" {
				t.Errorf("asking about %s as nobody: %s, want identity_absent", action, d.Raw)
			}
		}
		if list := w.Do(t, http.MethodGet, "/v1/sites/shop/actions", "", nil); strings.Contains(string(list.Raw), "order.") ||
			!strings.Contains(string(list.Raw), "salon.hours") {
			t.Errorf("nobody sees these actions: %s, want the public ones", list.Raw)
		}
	})

	if a := w.Act(t, shop, "", "salon.hours", nil, ""); a.Status != http.StatusOK || a.Data["opens"] != "09:00" {
		t.Errorf("a public action by nobody: %d %s, want the hours", a.Status, a.Raw)
	}
	denied := w.Audit(t, "--code", "identity_absent")
	if len(denied) < 8 {
		t.Errorf("the audit has %d refusals of nobody, want each of them", len(denied))
	}
	for _, e := range denied {
		if e.Decision.Allow || e.Outcome != nil || e.Decision.Input.Identity.Email != "" {
			t.Errorf("a refusal of nobody was recorded as %+v", e)
		}
	}
}

// What somebody wanted before signing in comes back to the person who signed
// in: what reads runs, what changes anything asks first.
func TestSigningInResumes(t *testing.T) {
	t.Parallel()
	w := start(t)

	parked := w.Chat(t, shop, "", turn{Message: "track order 1001"})
	in := w.Chat(t, shop, w.alex, turn{Conversation: parked.Conversation, Resume: parked.Last().Resume})
	r := wantReply(t, "resuming a read", in, "result", "")
	if r.Data["id"] != "1001" || in.Conversation == parked.Conversation {
		t.Errorf("resuming a read: %s, want order 1001 under a fresh conversation", in.Raw)
	}
	again := w.Chat(t, shop, w.jordan, turn{Conversation: parked.Conversation, Resume: parked.Last().Resume})
	if again.Last().Type == "result" {
		t.Errorf("the anonymous conversation still works after its visitor signed in: %s", again.Raw)
	}

	for _, message := range []string{"cancel order 1002", "move my appointment to tomorrow at 3pm"} {
		parked := w.Chat(t, shop, "", turn{Message: message})
		before := len(w.Shop.Writes())
		in := w.Chat(t, shop, w.alex, turn{Conversation: parked.Conversation, Resume: parked.Last().Resume})
		r := wantReply(t, "resuming "+message, in, "confirm", "")
		if n := len(w.Shop.Writes()); n != before {
			t.Errorf("resuming %q wrote to the shop before anybody confirmed it", message)
		}
		done := w.Chat(t, shop, w.alex, turn{Conversation: in.Conversation, Confirm: r.Pending})
		wantReply(t, "confirming "+message, done, "result", "")
	}
	if got := w.Shop.Order("1002").Status; got != "cancelled" {
		t.Errorf("order 1002 is %s, want cancelled", got)
	}
}
