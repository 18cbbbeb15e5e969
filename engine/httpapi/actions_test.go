package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/policy"
)

type decision = engine.Decision

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestActionsAreListedForTheirCaller(t *testing.T) {
	b := newBench(t, nil)
	names := func(site string, headers ...string) (out []string) {
		a := b.do("GET", "/v1/sites/"+site+"/actions", "", headers...)
		var list struct{ Actions []struct{ Name string } }
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 {
			t.Fatalf("GET actions of %s: %d %s", site, a.status, a.body)
		}
		for _, x := range list.Actions {
			out = append(out, x.Name)
		}
		return out
	}
	for _, c := range []struct {
		what string
		got  []string
		want []string
	}{
		{"nobody", names("demo"), []string{"shop.opening_hours"}},
		{"alex", names("demo", signedIn("alex")...), []string{"order.cancel", "order.list", "order.lookup", "order.note", "shop.opening_hours"}},
		{"alex on a free site", names("demo-free", "Authorization", "Bearer "+token("demo-free", "alex", time.Minute)), []string{"shop.opening_hours"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("actions for %s (-want +got):\n%s", c.what, diff)
		}
	}
	if a := b.do("GET", actionsPath, "", signedIn("alex")...); !strings.Contains(a.body, `"pattern":"^[0-9]{4,}$"`) {
		t.Errorf("the argument schema is not listed: %s", a.body)
	}
}

func TestActions(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		what, path, body string
		who              []string
		status           int
		code, data       string
	}{
		{"own order", lookupPath, `{"args":{"order_id":"1001"}}`, signedIn("alex"), 200, "", `{"id":"1001","status":"sent"}`},
		{"own orders, and nobody else's", "/v1/sites/demo/actions/order.list", `{}`, signedIn("alex"), 200, "", `{"records":[{"id":"1001","status":"sent"},{"id":"1002","status":"sent"}]}`},
		{"public, as nobody", hoursPath, `{"args":{}}`, nil, 200, "", `{"monday":"9 to 5"}`},
		{"a write", notePath, `{"args":{"order_id":"1001"}}`, signedIn("alex"), 200, "", `{"id":"1001","status":"sent"}`},
		{"somebody else's order", lookupPath, `{"args":{"order_id":"2001"}}`, signedIn("alex"), 404, "not_found", ""},
		{"an order that is not there", lookupPath, `{"args":{"order_id":"9999"}}`, signedIn("alex"), 404, "not_found", ""},
		{"a note on somebody else's order", notePath, `{"args":{"order_id":"2001"}}`, signedIn("alex"), 404, "not_found", ""},
		{"an unknown action", "/v1/sites/demo/actions/order.steal", `{}`, signedIn("alex"), 404, "unknown_action", ""},
		{"a missing argument", lookupPath, `{"args":{}}`, signedIn("alex"), 422, "invalid_arguments", ""},
		{"a pinned name as an argument", lookupPath, `{"args":{"order_id":"1001","email":"jordan@example.com"}}`, signedIn("alex"), 422, "invalid_arguments", ""},
		{"a confirmation from nowhere", cancelPath, `{"args":{"order_id":"1001"},"confirm":"pa_made_up"}`, signedIn("alex"), 409, "confirmation_spent", ""},
		{"too low a tier", "/v1/sites/demo/actions/report.yearly", `{}`, signedIn("alex"), 403, "tier_insufficient", ""},
	} {
		a := b.post(c.path, c.body, c.who...)
		want(t, c.what, a, c.status, c.code)
		var body struct{ Data json.RawMessage }
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || string(body.Data) != c.data {
			t.Errorf("%s: data is %s, want %s", c.what, body.Data, c.data)
		}
		if strings.Contains(a.body, "jordan") || strings.Contains(a.body, "2001") {
			t.Errorf("%s: something of Jordan's came back: %s", c.what, a.body)
		}
	}
	foreign := b.post(lookupPath, `{"args":{"order_id":"2001"}}`, signedIn("alex")...)
	missing := b.post(lookupPath, `{"args":{"order_id":"9999"}}`, signedIn("alex")...)
	if diff := cmp.Diff(strings.ReplaceAll(missing.body, missing.field("decision"), "d"), strings.ReplaceAll(foreign.body, foreign.field("decision"), "d")); diff != "" {
		t.Errorf("somebody else's order does not look like a missing one:\n%s", diff)
	}
	pinned := b.post(lookupPath, `{"args":{"order_id":"1001","email":"jordan@example.com"}}`, signedIn("alex")...)
	if got := pinned.field("detail"); got != `unknown argument: "email"` {
		t.Errorf("the detail of an unknown argument is %q", got)
	}
	if e, err := b.log.Show(pinned.field("decision")); err != nil || len(e.About.Asserted.Emails) != 1 {
		t.Errorf("the asserted e-mail is not evidence: %+v, %v", e, err)
	}
	low := b.post("/v1/sites/demo/actions/report.yearly", `{}`, signedIn("alex")...)
	if !strings.Contains(low.body, `"reasons":[{"code":"tier_insufficient","message":"`) {
		t.Errorf("a refusal gives no reasons: %s", low.body)
	}
}

func TestConnectorFailuresHaveTheirStatus(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		code   string
		status int
	}{{"connector_failed", 502}, {"outcome_unknown", 502}, {"connector_timeout", 504}, {"not_found", 404}} {
		b.shop.fail = engine.Errorf(c.code, "It did not work.", fmt.Errorf("about alex@example.com"))
		a := b.post(lookupPath, `{"args":{"order_id":"1001"}}`, signedIn("alex")...)
		want(t, c.code, a, c.status, c.code)
		if strings.Contains(a.body, "alex@") {
			t.Errorf("%s: the cause was sent: %s", c.code, a.body)
		}
	}
}

func TestWithoutALogNothingHappens(t *testing.T) {
	b := newBench(t, nil)
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{
		lookupPath: `{"args":{"order_id":"1001"}}`, hoursPath: `{}`, decidePath: `{"action":"order.list"}`,
	} {
		a := b.post(path, body, signedIn("alex")...)
		want(t, path, a, 503, "audit_unavailable")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	if n := len(b.shop.calls); n > 0 {
		t.Errorf("the shop was called %d times", n)
	}
}

func TestAConfirmationWorksOnce(t *testing.T) {
	b := newBench(t, nil)
	const args = `"args":{"order_id":"1001"}`
	asked := b.post(cancelPath, `{`+args+`}`, signedIn("alex")...)
	want(t, "asking", asked, 409, "confirmation_required")
	pending := asked.field("pending")
	if pending == "" || asked.field("summary") == "" || asked.field("expires_at") == "" || asked.field("action") != "order.cancel" {
		t.Fatalf("asking: %s", asked.body)
	}
	confirm := `{` + args + `,"confirm":"` + pending + `"}`
	want(t, "jordan confirming", b.post(cancelPath, confirm, signedIn("jordan")...), 409, "confirmation_spent")
	want(t, "confirming another order", b.post(cancelPath, strings.Replace(confirm, "1001", "1002", 1), signedIn("alex")...), 409, "confirmation_spent")
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 8 {
		wg.Go(func() {
			a := b.post(cancelPath, confirm, signedIn("alex")...)
			mu.Lock()
			statuses[a.status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 1, 409: 7}, statuses); diff != "" {
		t.Errorf("confirming eight times (-want +got):\n%s", diff)
	}
	if n := b.shop.did("order.cancel"); n != 1 {
		t.Errorf("the order was cancelled %d times", n)
	}
}

func TestDecisions(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		what, body, site string
		who              []string
		allow            bool
		code             string // of the first reason
		obligations      string
	}{
		{"own order", `{"action":"order.lookup","args":{"order_id":"1001"}}`, "demo", signedIn("alex"), true, "", `[{"kind":"ownership","argument":"order_id"}]`},
		{"an order as such", `{"action":"order.lookup"}`, "demo", signedIn("alex"), true, "", `[]`},
		{"naming themselves", `{"action":"order.list","target":{"email":"Alex@Example.com"}}`, "demo", signedIn("alex"), true, "", `[]`},
		{"something destructive", `{"action":"order.cancel"}`, "demo", signedIn("alex"), true, "", `[{"kind":"confirm"}]`},
		{"public", `{"action":"shop.opening_hours","target":{}}`, "demo", nil, true, "", `[]`},
		{"naming somebody else", `{"action":"order.list","target":{"email":"jordan@example.com"}}`, "demo", signedIn("alex"), false, "target_mismatch", `[]`},
		{"nobody", `{"action":"order.list"}`, "demo", nil, false, "identity_absent", `[]`},
		{"too low a tier", `{"action":"report.yearly"}`, "demo", signedIn("alex"), false, "tier_insufficient", `[]`},
		{"unknown", `{"action":"order.steal"}`, "demo", signedIn("alex"), false, "unknown_action", `[]`},
		{"an unknown argument", `{"action":"order.list","args":{"x":1}}`, "demo", signedIn("alex"), false, "invalid_arguments", `[]`},
		{"as invalid", `{"action":"order.list"}`, "demo", []string{"Authorization", "Bearer x"}, false, "identity_invalid", `[]`},
	} {
		a := b.post("/v1/sites/"+c.site+"/decisions", c.body, c.who...)
		var got struct {
			Decision    string
			Allow       bool
			Reasons     []engine.Reason
			Obligations json.RawMessage
			Policy      string
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
			t.Errorf("%s: %d %s", c.what, a.status, a.body)
			continue
		}
		code := ""
		if len(got.Reasons) > 0 {
			code = got.Reasons[0].Code
		}
		if got.Allow != c.allow || code != c.code || string(got.Obligations) != c.obligations || got.Policy == "" {
			t.Errorf("%s: %s, want allow %v, code %q, obligations %s", c.what, a.body, c.allow, c.code, c.obligations)
		}
		if e, err := b.log.Show(got.Decision); err != nil || e.Decision.Allow != c.allow {
			t.Errorf("%s: the log has %+v, %v", c.what, e, err)
		}
	}
	if n := len(b.shop.calls); n > 0 {
		t.Errorf("the shop was called %d times", n)
	}
	if found, err := b.log.List(audit.Query{Code: "target_mismatch"}); err != nil || len(found) != 1 || found[0].About.Asserted.Emails[0] != "jordan@example.com" {
		t.Errorf("the e-mail asked about is not evidence: %+v, %v", found, err)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	b := newBench(t, nil)
	note := func(key, order string, who ...string) answer {
		return b.post(notePath, `{"args":{"order_id":"`+order+`"}}`, append(who, "Idempotency-Key", key)...)
	}
	alex, jordan := signedIn("alex"), signedIn("jordan")
	first := note("k1", "1001", alex...)
	want(t, "first", first, 200, "")
	again := note("k1", "1001", alex...)
	if again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %v %s, want the first response %s", again.header, again.body, first.body)
	}
	want(t, "another request", note("k1", "1002", alex...), 422, "idempotency_mismatch")
	want(t, "another customer's key of the same name", note("k1", "2001", jordan...), 200, "")
	if n := b.shop.did("order.note 1001"); n != 1 {
		t.Errorf("the note was added %d times", n)
	}
	// What was refused gives its key back.
	want(t, "not theirs", note("k2", "2001", alex...), 404, "not_found")
	want(t, "the key again", note("k2", "1001", alex...), 200, "")
	for _, bad := range []string{"with space", strings.Repeat("x", 256), "k\nk"} {
		want(t, "a bad key", note(bad, "1001", alex...), 422, "invalid_request")
	}
}

func TestRepeatingAResponseIsDecidedAnew(t *testing.T) {
	b := newBench(t, nil)
	who := append(signedIn("alex"), "Idempotency-Key", "k")
	again := func() answer { return b.post(notePath, `{"args":{"order_id":"1001"}}`, who...) }
	first := again()
	want(t, "first", first, 200, "")
	before, err := b.log.List(audit.Query{Action: "order.note"})
	if err != nil {
		t.Fatal(err)
	}
	if a := again(); a.body != first.body {
		t.Errorf("again: %d %s, want %s", a.status, a.body, first.body)
	}
	if after, err := b.log.List(audit.Query{Action: "order.note"}); err != nil || len(after) != len(before)+1 {
		t.Errorf("the log has %d decisions, %v, want %d", len(after), err, len(before)+1)
	}
	closed, err := policy.Compile(fstest.MapFS{
		"authz/p.rego":      {Data: []byte("package authz\n\ndecision := {\"allow\": false, \"reasons\": [{\"code\": \"closed\", \"message\": \"Closed.\"}], \"obligations\": []}\n")},
		"release/p.rego":    {Data: []byte("package release\n\ndecision := {\"withheld\": [], \"redacted\": []}\n")},
		"schema/input.json": {Data: []byte("{}")},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.policy.Activate(closed)
	a := again()
	want(t, "under a policy that denies", a, 403, "closed")
	if strings.Contains(a.body, "1001") {
		t.Errorf("under a policy that denies: %s", a.body)
	}
}

func TestAKeyInFlightIsRefused(t *testing.T) {
	b := newBench(t, nil)
	b.shop.hold, b.shop.inside = make(chan struct{}), make(chan struct{})
	who := append(signedIn("alex"), "Idempotency-Key", "k")
	done := make(chan answer)
	go func() { done <- b.post(lookupPath, `{"args":{"order_id":"1001"}}`, who...) }()
	<-b.shop.inside
	want(t, "while it runs", b.post(lookupPath, `{"args":{"order_id":"1001"}}`, who...), 409, "idempotency_in_flight")
	want(t, "another request while it runs", b.post(lookupPath, `{"args":{"order_id":"1002"}}`, who...), 422, "idempotency_mismatch")
	close(b.shop.hold)
	want(t, "the first", <-done, 200, "")
}

func TestKeysOutliveTheProcessAndResponsesDoNot(t *testing.T) {
	c := &clock{}
	b := newBench(t, func(o *httpapi.Options) { o.Clock = c.now })
	who := append(signedIn("alex"), "Idempotency-Key", "k")
	first := b.post(notePath, `{"args":{"order_id":"1001"}}`, who...)
	want(t, "first", first, 200, "")
	c.advance(20 * time.Minute) // longer than responses are kept; the token's clock is its own
	fresh := []string{"Authorization", "Bearer " + token("demo", "alex", time.Hour), "Idempotency-Key", "k"}
	later := b.post(notePath, `{"args":{"order_id":"1001"}}`, fresh...)
	want(t, "later", later, 409, "already_done")
	if later.field("decision") != first.field("decision") {
		t.Errorf("later: decision %q, want %q", later.field("decision"), first.field("decision"))
	}
	if n := b.shop.did("order.note"); n != 1 {
		t.Errorf("the note was added %d times", n)
	}
	raw := readFile(t, b.state.Path())
	for _, data := range []string{"alex@example.com", `"sent"`, "c-alex"} {
		if strings.Contains(raw, data) {
			t.Errorf("the state file holds %q", data)
		}
	}
}

func TestAnUnknownOutcomeKeepsItsKey(t *testing.T) {
	c := &clock{}
	b := newBench(t, func(o *httpapi.Options) { o.Clock = c.now })
	b.shop.fail = engine.Errorf(engine.CodeOutcomeUnknown, "It may have been done.", nil)
	for _, what := range []string{"first", "repeated"} {
		a := b.post(hoursPath, `{}`, "Idempotency-Key", "k")
		want(t, what, a, 502, "outcome_unknown")
	}
	c.advance(20 * time.Minute)
	want(t, "when the response is forgotten", b.post(hoursPath, `{}`, "Idempotency-Key", "k"), 502, "outcome_unknown")
	if n := b.shop.did("shop.opening_hours"); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
