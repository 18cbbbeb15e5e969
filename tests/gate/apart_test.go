package gate_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// Many people at once, among noise: everybody gets their own answer, although
// the server uses the same buffers again and again.
func TestPeopleAreKeptApart(t *testing.T) {
	t.Parallel()
	w := start(t)
	together(18, func(i int) {
		for n := range 12 {
			switch i % 3 {
			case 0:
				a := w.Act(t, shop, w.alex, "order.list", nil, "")
				if a.Status != http.StatusOK || !strings.Contains(string(a.Raw), "1001") {
					t.Errorf("Alex's orders: %d %s", a.Status, a.Raw)
				}
				nothingOfJordan(t, "Alex's orders beside Jordan's", a.Response)
				c := w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"})
				wantReply(t, "Alex's order beside Jordan's", c, "result", "")
				nothingOfJordan(t, "Alex's order beside Jordan's", c.Response)
			case 1:
				a := w.Act(t, shop, w.jordan, "order.lookup", args{"order_id": harness.JordanOrder}, "")
				if a.Status != http.StatusOK || a.Data["total"] != harness.JordanTotal {
					t.Errorf("Jordan's order: %d %s", a.Status, a.Raw)
				}
				c := w.Chat(t, shop, w.jordan, turn{Message: "what appointments do I have"})
				if r := wantReply(t, "Jordan's appointments", c, "result", ""); !strings.Contains(r.Text, harness.JordanTreatment) || strings.Contains(string(c.Raw), "AX-10") {
					t.Errorf("Jordan's appointments: %s", c.Raw)
				}
			case 2:
				nobody := w.Chat(t, shop, "", turn{Message: "where is my order 1001"})
				wantReply(t, "nobody beside them", nobody, "sign_in", "identity_absent")
				nothingOfJordan(t, "nobody beside them", nobody.Response)
				noise := w.Do(t, http.MethodPost, "/v1/sites/shop/chat", w.alex, []byte(fmt.Sprintf(`{"message":"%s`, strings.Repeat("x", n*7000))))
				if noise.Status < 400 || noise.Status > 499 {
					t.Errorf("noise beside them: %d %s", noise.Status, noise.Raw)
				}
				nothingOfJordan(t, "noise beside them", noise)
			}
		}
	})
}

// A conversation, a confirmation and a parked request belong to one site.
func TestSitesAreKeptApart(t *testing.T) {
	t.Parallel()
	w := start(t)
	elsewhere := w.Token(t, corner, harness.Alex)
	asked := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1002"})
	parked := w.Chat(t, shop, "", turn{Message: "track order 1001"})
	api := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, "")
	w.shopSawNothing(t, func() {
		for what, a := range map[string]harness.Answer{
			"a confirmation":   w.Chat(t, corner, elsewhere, turn{Conversation: asked.Conversation, Confirm: asked.Last().Pending}),
			"a yes":            w.Chat(t, corner, elsewhere, turn{Conversation: asked.Conversation, Message: "yes"}),
			"a parked request": w.Chat(t, corner, elsewhere, turn{Conversation: parked.Conversation, Resume: parked.Last().Resume}),
		} {
			if a.Last().Type == "result" || a.Last().Type == "confirm" || a.Conversation == asked.Conversation || a.Conversation == parked.Conversation {
				t.Errorf("%s of one site works at another: %d %s", what, a.Status, a.Raw)
			}
		}
		if a := w.Act(t, corner, elsewhere, "order.cancel", args{"order_id": "1002"}, api.Pending); a.Status == http.StatusOK {
			t.Errorf("a confirmation of one site works at another's API: %s", a.Raw)
		}
		if got := w.Act(t, shop, elsewhere, "order.list", nil, ""); got.Code != "identity_invalid" {
			t.Errorf("a token of one site at another: %d %s", got.Status, got.Raw)
		}
	})
	done := w.Chat(t, shop, w.alex, turn{Conversation: asked.Conversation, Confirm: asked.Last().Pending})
	wantReply(t, "the confirmation at its own site", done, "result", "")
}
