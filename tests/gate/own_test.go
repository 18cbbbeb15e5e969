package gate_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// Alex sees and moves what is Alex's, with either of the site's keys.
func TestOwnRecords(t *testing.T) {
	t.Parallel()
	w := start(t)
	es256 := w.Token(t, shop, harness.Alex, w.Keys[shop].ES256)
	for name, token := range map[string]string{"HS256": w.alex, "ES256": es256} {
		for _, message := range []string{"where is my order 1001", "track order 1001", "can you look up order #1001 please"} {
			r := wantReply(t, name+": "+message, w.Chat(t, shop, token, turn{Message: message}), "result", "")
			if r.Action != "order.lookup" || r.Data["id"] != "1001" || r.Data["status"] != "shipped" || r.Decision == "" {
				t.Errorf("%s: %s: %+v, want order 1001, shipped", name, message, r)
			}
		}
		a := w.Act(t, shop, token, "order.lookup", args{"order_id": "1001"}, "")
		if a.Status != http.StatusOK || a.Data["total"] != "59.00" || a.Decision == "" {
			t.Errorf("%s: order.lookup: %d %s", name, a.Status, a.Raw)
		}
		if strings.Contains(string(a.Raw), "margin") {
			t.Errorf("%s: a field that the manifest does not name left the connector: %s", name, a.Raw)
		}
		list := w.Act(t, shop, token, "order.list", nil, "")
		if records, _ := list.Data["records"].([]any); len(records) != 3 {
			t.Errorf("%s: order.list: %s, want Alex's three orders", name, list.Raw)
		}
		nothingOfJordan(t, name+": order.list", list.Response)
	}
	for _, e := range w.Audit(t, "--action", "order.list") {
		if e.Outcome == nil || e.Outcome.Returned != 4 || e.Outcome.Released != 3 || strings.Join(e.Outcome.Withheld, " ") != "not_owner" {
			t.Errorf("a listing of a shop that ignores the filter was recorded as %+v", e.Outcome)
		}
	}
	if n := w.Shop.WrongKeys(); n != 0 {
		t.Errorf("the shop saw %d calls with a wrong key", n)
	}
}

// The only appointment there is moves at a word, from when to when; of two, the
// visitor says which.
func TestOwnAppointmentMoves(t *testing.T) {
	t.Parallel()
	w := start(t)
	before := w.Shop.Appointment("AX-10").Begins
	r := wantReply(t, "moving the only appointment",
		w.Chat(t, shop, w.alex, turn{Message: "reschedule my appointment to next Tuesday"}), "result", "")
	moved := w.Shop.Appointment("AX-10").Begins
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	if local := moved.In(london); local.Weekday() != time.Tuesday || !moved.After(time.Now()) || local.Format("15:04") != before.In(london).Format("15:04") {
		t.Errorf("it moved from %s to %s, want a coming Tuesday at the same hour", before, moved)
	}
	for _, want := range []string{before.In(london).Format("2 January 2006"), moved.In(london).Format("2 January 2006"), moved.In(london).Format("MST")} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("the reply %q does not say %q", r.Text, want)
		}
	}

	w.Shop.AddAppointment(harness.Appointment{Reference: "AX-11", Treatment: "Heel repair", Begins: before.AddDate(0, 0, 2), Owner: harness.Alex})
	writes := len(w.Shop.Writes())
	asked := w.Chat(t, shop, w.alex, turn{Message: "reschedule my appointment to tomorrow at 3pm"})
	q := wantReply(t, "moving one of two", asked, "clarify", "")
	if len(q.Options) != 2 || len(w.Shop.Writes()) != writes {
		t.Fatalf("moving one of two: %s, want to be asked which before anything is written", asked.Raw)
	}
	for _, o := range q.Options {
		if strings.Contains(o.Label, "Heel repair") {
			wantReply(t, "choosing one", w.Chat(t, shop, w.alex, turn{Conversation: asked.Conversation, Message: o.Value}), "result", "")
		}
	}
	if got := w.Shop.Appointment("AX-11").Begins.In(london); got.Format("15:04") != "15:00" {
		t.Errorf("the heel repair is at %s, want tomorrow at 15:00", got)
	}
}

// A destructive action waits for a yes, happens once however often and by
// however many doors at once it is given, and not for somebody else's yes.
func TestCancelHappensOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	cancelled := func(id string) (n int) {
		for _, c := range w.Shop.Writes() {
			if c.Path == "/orders/"+id+"/cancel" {
				n++
			}
		}
		return n
	}

	t.Run("through chat", func(t *testing.T) {
		asked := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1002"})
		r := wantReply(t, "cancel order 1002", asked, "confirm", "")
		if !strings.Contains(r.Summary, "1002") || r.Pending == "" || time.Until(r.ExpiresAt) <= 0 || cancelled("1002") != 0 {
			t.Fatalf("cancel order 1002: %s", asked.Raw)
		}
		other := w.Chat(t, shop, w.jordan, turn{Conversation: asked.Conversation, Confirm: r.Pending})
		if other.Status != http.StatusConflict || !strings.Contains(string(other.Raw), "conversation_of_another") {
			t.Errorf("Jordan in Alex's conversation: %d %s, want 409 conversation_of_another", other.Status, other.Raw)
		}
		own := w.Chat(t, shop, w.jordan, turn{Message: "hello"})
		stolen := w.Chat(t, shop, w.jordan, turn{Conversation: own.Conversation, Confirm: r.Pending})
		wantReply(t, "Jordan with Alex's pending action", stolen, "failed", "confirmation_spent")
		nobody := w.Chat(t, shop, "", turn{Conversation: asked.Conversation, Confirm: r.Pending})
		if nobody.Last().Type == "result" || nobody.Conversation == asked.Conversation {
			t.Errorf("nobody with Alex's pending action: %s", nobody.Raw)
		}
		if cancelled("1002") != 0 {
			t.Fatal("somebody else's yes cancelled Alex's order")
		}
		var results, spent int
		var mu sync.Mutex
		together(24, func(i int) {
			in := turn{Conversation: asked.Conversation, Confirm: r.Pending}
			if i%4 == 3 {
				in = turn{Conversation: asked.Conversation, Message: "yes"}
			}
			a := w.Chat(t, shop, w.alex, in)
			mu.Lock()
			defer mu.Unlock()
			if a.Last().Type == "result" {
				results++
			}
			if a.Last().Code == "confirmation_spent" {
				spent++
			}
		})
		if results != 1 || cancelled("1002") != 1 || spent == 0 {
			t.Errorf("24 confirmations at once: %d results, %d refused as spent, %d cancellations at the shop; want 1, the rest, 1", results, spent, cancelled("1002"))
		}
	})

	t.Run("through actions", func(t *testing.T) {
		in := args{"order_id": "1003"}
		asked := w.Act(t, shop, w.alex, "order.cancel", in, "")
		wantProblem(t, "order.cancel", asked, http.StatusConflict, "confirmation_required")
		if asked.Pending == "" || cancelled("1003") != 0 {
			t.Fatalf("order.cancel: %s", asked.Raw)
		}
		for what, a := range map[string]harness.Acted{
			"Jordan's token":               w.Act(t, shop, w.jordan, "order.cancel", in, asked.Pending),
			"other arguments":              w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1001"}, asked.Pending),
			"an unknown id":                w.Act(t, shop, w.alex, "order.cancel", in, "pa_00000000000000000000000000000000"),
			"another e-mail":               w.Act(t, shop, w.Token(t, shop, harness.Alex, harness.Claim("email", "alex2@example.com")), "order.cancel", in, asked.Pending),
			"another action":               w.Act(t, shop, w.alex, "order.lookup", in, asked.Pending),
			"a token of ES256 of Jordan's": w.Act(t, shop, w.Token(t, shop, harness.Jordan, w.Keys[shop].ES256), "order.cancel", in, asked.Pending),
		} {
			wantProblem(t, "confirming with "+what, a, http.StatusConflict, "confirmation_spent")
		}
		if w.Act(t, shop, "", "order.cancel", in, asked.Pending).Status == http.StatusOK || cancelled("1003") != 0 {
			t.Fatal("somebody else's yes cancelled Alex's order")
		}
		var mu sync.Mutex
		byStatus := map[int]int{}
		together(24, func(int) {
			a := w.Act(t, shop, w.alex, "order.cancel", in, asked.Pending)
			mu.Lock()
			defer mu.Unlock()
			byStatus[a.Status]++
		})
		if byStatus[200] != 1 || byStatus[409] != 23 || cancelled("1003") != 1 {
			t.Errorf("24 confirmations at once: %v, %d cancellations at the shop; want one 200, 23 409, 1", byStatus, cancelled("1003"))
		}
	})

	t.Run("a no is kept", func(t *testing.T) {
		asked := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1001"})
		r := wantReply(t, "cancel order 1001", asked, "confirm", "")
		wantReply(t, "no", w.Chat(t, shop, w.alex, turn{Conversation: asked.Conversation, Cancel: r.Pending}), "clarify", "")
		late := w.Chat(t, shop, w.alex, turn{Conversation: asked.Conversation, Confirm: r.Pending})
		wantReply(t, "yes after no", late, "failed", "confirmation_spent")
		if cancelled("1001") != 0 {
			t.Error("order 1001 was cancelled after a no")
		}
	})
}

// together runs f n times at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	wg.Wait()
}
