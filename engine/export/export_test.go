package export_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine/audit"
	"vouchsafe/engine/export"
)

// What no masked export may hold.
var personal = []string{"c-1001", "alex@example.com", "Alex Morgan", "jordan@example.com", "tok-77", "cv_secret", "90210", "gold-claim", "ik_77", "talks of Alex"}

func entry(t *testing.T, id string, allow bool, risk string, o *audit.Outcome, reasons ...string) audit.Entry {
	t.Helper()
	input := fmt.Sprintf(`{"site":{"id":"shop","tier":"pro"},"identity":{"state":"verified","subject":"c-1001","email":"alex@example.com","name":"Alex Morgan",
		"token_id":"tok-77","claims":{"x":"gold-claim"}},"action":{"name":"order.lookup","personal":true,"risk":%q,"min_tier":"pro","args":{"order_id":"90210"}},
		"target":{"email":"jordan@example.com"},"asserted":{"emails":["jordan@example.com"],"names":["=cmd()"]},"confirmation":{"confirmed":false},
		"conversation":{"id":"cv_secret","subject":"c-1001"},"channel":"chat","now":1}`, risk)
	e := audit.Entry{Site: "shop", Decision: audit.Record{Version: 1, ID: id, Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Allow: allow,
		Reasons: reasons, Action: "order.lookup", Channel: "chat", Policy: "sha256:abc", Problem: "talks of Alex", Input: json.RawMessage(strings.ReplaceAll(strings.ReplaceAll(input, "\n", ""), "\t", ""))}, Outcome: o}
	if err := json.Unmarshal(e.Decision.Input, &e.About); err != nil {
		t.Fatal(err)
	}
	return e
}

func entries(t *testing.T) []audit.Entry {
	asked := entry(t, "d_asked", true, "read", nil)
	asked.Decision.Asked = true
	madeUp := entry(t, "d_made_up", false, "", nil, "unknown_action")
	madeUp.Decision.Action = ""
	madeUp.Decision.Input = json.RawMessage(strings.ReplaceAll(string(madeUp.Decision.Input), "order.lookup", "order.of-Alex Morgan"))
	madeUp.About.Action.Name = "order.of-Alex Morgan"
	bare := audit.Entry{Site: "shop", Decision: audit.Record{ID: "d_bare", Time: time.Unix(1, 0)}}
	return []audit.Entry{
		entry(t, "d_done", true, "read", &audit.Outcome{Decision: "d_done", Time: time.Unix(2, 0), Connector: "shop", Status: 200, Returned: 2, Released: 1, Withheld: []string{"not_owner"}, IdempotencyKey: "ik_77", Problem: "talks of Alex", Milliseconds: 12}),
		entry(t, "d_denied", false, "destructive", nil, "target_mismatch"),
		entry(t, "d_unknown", true, "write", &audit.Outcome{Decision: "d_unknown", Code: "outcome_unknown"}),
		entry(t, "d_open", true, "read", nil),
		entry(t, "d_wall", false, "read", nil, "wall"),
		asked, bare, madeUp,
	}
}

func write(t *testing.T, f export.Format, o export.Options) string {
	t.Helper()
	var b bytes.Buffer
	w, err := export.NewWriter(&b, f, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries(t) {
		if err := w.Write(&e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestUnknownFormat(t *testing.T) {
	for _, f := range []export.Format{"", "xml", "JSONL"} {
		if w, err := export.NewWriter(&bytes.Buffer{}, f, export.Options{}); w != nil || err == nil {
			t.Errorf("NewWriter(%q) = %v, %v", f, w, err)
		}
	}
	if _, err := export.Append(nil, export.CSV, &audit.Entry{}, export.Options{}); err == nil {
		t.Error("CSV has documents")
	}
}

// Without the personal part nobody is in any format; with it the person is.
func TestNobodyIsInAMaskedExport(t *testing.T) {
	for _, f := range export.Formats {
		got := write(t, f, export.Options{})
		for _, p := range personal {
			if strings.Contains(got, p) {
				t.Errorf("%s without people holds %s:\n%s", f, p, got)
			}
		}
		if !strings.Contains(got, "order.lookup") || !strings.Contains(got, "target_mismatch") || !strings.Contains(got, "d_done") {
			t.Errorf("%s without people lacks what is about nobody:\n%s", f, got)
		}
		if full := write(t, f, export.Options{Personal: true}); !strings.Contains(full, "c-1001") || !strings.Contains(full, "alex@example.com") {
			t.Errorf("%s with people lacks them:\n%s", f, full)
		}
	}
}

func TestCSV(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(write(t, export.CSV, export.Options{Personal: true}))).ReadAll()
	if err != nil || len(rows) != 1+len(entries(t)) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	for i, want := range []string{"done", "", "outcome_unknown", "open", "", "asked", "", ""} {
		if got := column(i+1, "outcome"); got != want {
			t.Errorf("row %d: outcome %q, want %q", i+1, got, want)
		}
	}
	if got := column(1, "asserted"); got != "jordan@example.com =cmd()" {
		t.Errorf("asserted %q", got)
	}
	// Nothing that a visitor made up is a formula.
	e := entry(t, "d_1", true, "read", nil)
	e.About.Conversation.ID, e.About.Asserted.Emails = "=HYPERLINK(1)", []string{"@SUM(1)"}
	var b bytes.Buffer
	w, _ := export.NewWriter(&b, export.CSV, export.Options{Personal: true})
	if err := w.Write(&e); err != nil {
		t.Fatal(err)
	}
	w.Close()
	rows, err = csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range rows[1] {
		if cell != "" && strings.ContainsRune("=+-@", rune(cell[0])) {
			t.Errorf("the cell %q is a formula", cell)
		}
	}
}

// opaEvent has the fields of a decision-log event that OPA's documentation names
// and that we use. Importing OPA's own would bring its whole server along.
type opaEvent struct {
	Labels     map[string]string            `json:"labels"`
	DecisionID string                       `json:"decision_id"`
	Bundles    map[string]map[string]string `json:"bundles"`
	Path       string                       `json:"path"`
	Input      any                          `json:"input"`
	Result     any                          `json:"result"`
	Erased     []string                     `json:"erased"`
	Timestamp  time.Time                    `json:"timestamp"`
	Custom     map[string]any               `json:"custom"`
}

// Each event has only the fields that OPA's have.
func TestOPAEvents(t *testing.T) {
	for line := range strings.Lines(write(t, export.OPA, export.Options{Personal: true, Version: "test"})) {
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		var e opaEvent
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.DecisionID == "" || e.Path != "authz/decision" || e.Timestamp.IsZero() || e.Result == nil || e.Labels["id"] != "shop" {
			t.Errorf("event %+v", e)
		}
	}
	if masked := write(t, export.OPA, export.Options{}); !strings.Contains(masked, `"erased":["/input/identity"`) {
		t.Errorf("a masked event does not say what is left out: %s", masked)
	}
}

// Each event has what API Activity of OCSF 1.4.0 requires, as its schema's
// events/application/api_activity.json, events/base_event.json and the objects
// metadata, product, api, actor, network_endpoint, user and policy say.
func TestOCSFEvents(t *testing.T) {
	type object = map[string]any
	get := func(o object, path string) any {
		var v any = o
		for step := range strings.SplitSeq(path, ".") {
			m, ok := v.(object)
			if !ok {
				return nil
			}
			v = m[step]
		}
		return v
	}
	wants := []struct {
		activity, status, severity float64
		code                       string
	}{{2, 1, 3, ""}, {4, 2, 3, "target_mismatch"}, {3, 0, 3, "outcome_unknown"}, {2, 0, 1, ""}, {2, 2, 4, "wall"}, {2, 1, 1, ""}, {0, 2, 1, ""}, {0, 2, 2, "unknown_action"}}
	for _, o := range []export.Options{{Personal: true}, {}} {
		i := 0
		for line := range strings.Lines(write(t, export.OCSF, o)) {
			var e object
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata.version",
				"metadata.product.name", "metadata.product.vendor_name", "api.operation", "actor.app_name", "src_endpoint.svc_name"} {
				if v := get(e, path); v == nil || v == "" {
					t.Errorf("an event lacks the required %s: %s", path, line)
				}
			}
			if e["class_uid"] != 6003.0 || e["category_uid"] != 6.0 || e["type_uid"] != 600300+e["activity_id"].(float64) || get(e, "metadata.version") != "1.4.0" {
				t.Errorf("classified as %v %v %v %v", e["class_uid"], e["category_uid"], e["type_uid"], get(e, "metadata.version"))
			}
			w := wants[i]
			code, _ := e["status_code"].(string)
			if e["activity_id"] != w.activity || e["status_id"] != w.status || e["severity_id"] != w.severity || code != w.code {
				t.Errorf("event %d: activity %v, status %v, severity %v, code %q; want %+v", i, e["activity_id"], e["status_id"], e["severity_id"], code, w)
			}
			if u := get(e, "actor.user"); (u != nil) != (o.Personal && i != 6) {
				t.Errorf("event %d: user %v", i, u)
			}
			i++
		}
		if i != len(wants) {
			t.Errorf("%d events, want %d", i, len(wants))
		}
	}
}
