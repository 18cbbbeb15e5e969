package gate_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// What must not be seen of Alex's own orders: the amount of one, and anything of
// another but its number, which Alex says first.
const (
	shownOrder   = "55501001"
	hiddenTotal  = "48151623.42"
	hiddenOrder  = "55501002"
	hiddenStatus = "in-the-strongroom-behind-the-quay"
	otherTotal   = "77339915.55"
)

// withholding are policies that redact every amount and withhold one order.
var withholding = map[string]string{
	"data.yaml": `tiers:
  free: {includes: {free: true}}
  pro: {includes: {free: true, pro: true}}
  business: {includes: {free: true, pro: true, business: true}}
redact:
  everywhere: {}
  sites:
    shop: {total: true}
`,
	"release/hold.rego": `package release

# METADATA
# title: An order that is not spoken of
# custom:
#   code: not_spoken_of
#   message: Please call us about this order.
#   audit: The order is held back by its number.
withhold contains withheld(i, rego.metadata.rule()) if {
	some i, record in input.records
	record.id == "` + hiddenOrder + `"
}
`}

// talk does with a server whatever may bring a record back, and returns all that
// it answered, headers included.
func talk(t *testing.T, s *harness.Server) string {
	t.Helper()
	var all bytes.Buffer
	note := func(r harness.Response) {
		all.Write(r.Raw)
		r.Header.Write(&all)
		all.WriteByte('\n')
	}
	alex := s.Token(t, shop, harness.Alex)
	var pending []string
	act := func(action, order, confirm string, header ...string) {
		in := args{}
		if order != "" {
			in["order_id"] = order
		}
		a := s.Act(t, shop, alex, action, in, confirm, header...)
		if a.Pending != "" {
			pending = append(pending, a.Pending)
		}
		note(a.Response)
	}
	for _, order := range []string{shownOrder, hiddenOrder} {
		act("order.lookup", order, "")
		for range 2 {
			act("order.lookup", order, "", "Idempotency-Key", "look-"+order)
		}
		note(s.Do(t, http.MethodPost, "/v1/sites/"+shop+"/decisions", alex, args{"action": "order.lookup", "args": args{"order_id": order}}))
		act("order.cancel", order, "")
	}
	act("order.list", "", "")
	note(s.Do(t, http.MethodGet, "/v1/sites/"+shop+"/actions", alex, nil))
	for _, stream := range []bool{false, true} {
		conversation := ""
		say := func(message string) {
			next := turn{Message: message, Conversation: conversation}
			if stream {
				note(s.Do(t, http.MethodPost, "/v1/sites/"+shop+"/chat", alex, next, "Accept", "text/event-stream"))
				return
			}
			a := s.Chat(t, shop, alex, next)
			conversation = a.Conversation
			note(a.Response)
			for _, r := range a.Replies {
				if r.Pending != "" {
					note(s.Chat(t, shop, alex, turn{Conversation: conversation, Confirm: r.Pending}).Response)
				}
			}
		}
		for _, message := range []string{
			"where is order " + shownOrder, "where is order " + hiddenOrder, "show my orders", "where is my order", "cancel my order",
			"cancel order " + hiddenOrder, "cancel order " + shownOrder,
		} {
			say(message)
		}
	}
	for _, id := range pending {
		act("order.cancel", shownOrder, id)
	}
	act("order.lookup", shownOrder, "")
	return all.String()
}

func withOrders(t *testing.T) *harness.Shop {
	s := harness.NewShop(t)
	s.AddOrder(harness.Order{ID: shownOrder, Status: "shipped", Total: hiddenTotal, Owner: harness.Alex})
	s.AddOrder(harness.Order{ID: hiddenOrder, Status: hiddenStatus, Total: otherTotal, Owner: harness.Alex})
	return s
}

var hidden = []string{hiddenTotal, "48,151,623", hiddenStatus, otherTotal, "77,339,915"}

// What release redacts or withholds is in no byte that leaves the gate: no reply,
// plain or streamed, no log, listing, export, explanation or report, and no file
// that it keeps.
func TestWhatIsHeldBackIsNowhere(t *testing.T) {
	s := harness.Start(t, harness.Config{Shop: withOrders(t), Policies: withholding})
	run := func(args ...string) string {
		e := harness.Run(t, nil, append(args, "--config", s.Config)...)
		if e.Code != 0 {
			t.Errorf("vouchsafe %s: status %d\n%s", strings.Join(args, " "), e.Code, e.Errors)
		}
		return e.Out + e.Errors
	}
	run("policy", "shadow", "start")
	where := map[string]string{"a reply": talk(t, s)}
	if !strings.Contains(where["a reply"], "not_spoken_of") || !strings.Contains(where["a reply"], shownOrder) {
		t.Fatalf("the talk brought nothing about:\n%s", where["a reply"])
	}
	entries := s.Audit(t)
	withheld, redacted := 0, strings.Count(run("audit", "list", "--format", "json", "--limit", "1000"), `"redacted":["total"`)
	for _, e := range entries {
		if e.Outcome != nil {
			withheld += len(e.Outcome.Withheld)
		}
	}
	if withheld < 5 || redacted < 5 {
		t.Errorf("%d records were withheld and %d redacted; the talk is to do it often", withheld, redacted)
	}
	for _, e := range entries[:min(len(entries), 6)] { // what the lists say is the same for all
		where["audit show"] += run("audit", "show", e.Decision.ID) + run("audit", "show", e.Decision.ID, "--format", "json")
		where["policy explain"] += run("policy", "explain", e.Decision.ID) + run("policy", "explain", e.Decision.ID, "--format", "json")
	}
	corpus := filepath.Join(s.Dir, "corpus.jsonl")
	where["audit list"] = run("audit", "list", "--limit", "1000") + run("audit", "list", "--limit", "1000", "--format", "json")
	where["audit export"] = run("audit", "export", "--corpus", corpus) + read(t, corpus)
	where["policy replay"] = run("policy", "replay", "--candidate", filepath.Join(s.Dir, "policies"), "--format", "json")
	where["policy shadow"] = run("policy", "shadow", "status") + run("policy", "shadow", "stop", "--format", "json")
	where["status"] = run("status", "--format", "json") + run("policy", "status", "--format", "json")
	where["metrics"] = s.Admin(t, "/metrics")
	where["the log"] = s.Logs()
	s.Stop()
	err := filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			where["the file "+d.Name()] += read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for place, text := range where {
		if len(text) == 0 {
			t.Errorf("%s is empty", place)
		}
		for _, h := range hidden {
			if strings.Contains(text, h) {
				t.Errorf("%s holds %q", place, h)
			}
		}
	}
	if strings.Contains(where["a reply"], `"total"`) {
		t.Error("a reply names the redacted field")
	}
}

// Without those policies the same talk shows all of it, so that the test above
// looks where it would be.
func TestWhatIsNotHeldBackIsShown(t *testing.T) {
	s := harness.Start(t, harness.Config{Shop: withOrders(t)})
	said := talk(t, s)
	for _, h := range []string{hiddenTotal, hiddenStatus, otherTotal} {
		if n := strings.Count(said, h); n < 3 {
			t.Errorf("%q is said %d times, want 3 at least", h, n)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(fmt.Errorf("looking for what is held back: %w", err))
	}
	return string(b)
}
