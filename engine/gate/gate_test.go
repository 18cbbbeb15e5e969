package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/store"
	"vouchsafe/policies"
)

var ctx = context.Background()

func request(w *World, who identity.Result, action string, args map[string]any) gate.Request {
	return gate.Request{Site: w.Pro, Identity: who, Channel: engine.ChannelAction,
		Intent: engine.Intent{Action: action, Args: args}}
}

func order(id string) map[string]any { return map[string]any{"order_id": id} }

// only is a policy of one allow and whatever else is given, beside the shipped
// schemas.
func only(t *testing.T, authz, release string) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{
		"authz/a.rego":   {Data: []byte("package authz\n\n" + authz + "\n")},
		"release/r.rego": {Data: []byte("package release\n\n" + release + "\n")},
	}
	for _, name := range []string{"data.yaml", "schema/input.json", "schema/data.json"} {
		b, err := policies.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &fstest.MapFile{Data: b}
	}
	return out
}

const (
	allowAll   = `decision := {"allow": true, "reasons": [], "obligations": []}`
	releaseAll = `decision := {"withheld": [], "redacted": []}`
)

// Every refusal by its code, with nothing reaching the shop and one record.
func TestRefusals(t *testing.T) {
	w := New(t, Options{})
	expired := w.Token(t, "demo", Alex, nil)
	w.Clock.Add(7 * time.Minute)
	alex := w.As(t, "demo", Alex)
	for _, c := range []struct {
		name   string
		site   *gate.Site
		who    identity.Result
		intent engine.Intent
		want   string
	}{
		{"nobody", w.Pro, w.Verify("demo", ""), engine.Intent{Action: "order.list"}, "identity_absent"},
		{"garbage token", w.Pro, w.Verify("demo", "x.y.z"), engine.Intent{Action: "order.list"}, "identity_invalid"},
		{"expired token", w.Pro, w.Verify("demo", expired), engine.Intent{Action: "order.list"}, "identity_expired"},
		{"other site's token", w.Pro, w.Verify("demo", w.Token(t, "free", Alex, nil)), engine.Intent{Action: "order.list"}, "identity_invalid"},
		{"not yet valid", w.Pro, w.Verify("demo", w.Token(t, "demo", Alex, func(c jwt.MapClaims) {
			c["nbf"] = w.Clock.Now().Add(time.Hour).Unix()
		})), engine.Intent{Action: "order.list"}, "identity_invalid"},
		{"long-lived token", w.Pro, w.Verify("demo", w.Token(t, "demo", Alex, func(c jwt.MapClaims) {
			c["exp"] = w.Clock.Now().Add(time.Hour).Unix()
		})), engine.Intent{Action: "order.list"}, "identity_too_long_lived"},
		{"unverified address", w.Pro, w.Verify("demo", w.Token(t, "demo", Alex, func(c jwt.MapClaims) { c["email_verified"] = false })),
			engine.Intent{Action: "order.list"}, "email_unverified"},
		{"another's address", w.Pro, alex, engine.Intent{Action: "order.list", Asserted: engine.Asserted{Emails: []string{Jordan.Email}}}, "target_mismatch"},
		{"own address, then another's", w.Pro, alex, engine.Intent{Action: "order.list", Asserted: engine.Asserted{Emails: []string{"ALEX@example.com", Jordan.Email}}}, "target_mismatch"},
		{"address that is none", w.Pro, alex, engine.Intent{Action: "order.list", Asserted: engine.Asserted{Emails: []string{"not an address"}}}, "target_mismatch"},
		{"confusable address", w.Pro, alex, engine.Intent{Action: "order.list", Asserted: engine.Asserted{Emails: []string{"аlex@example.com"}}}, "target_mismatch"},
		{"free site", w.Free, w.As(t, "free", Alex), engine.Intent{Action: "order.list"}, "tier_insufficient"},
		{"free site, nobody", w.Free, w.Verify("free", ""), engine.Intent{Action: "order.list"}, "tier_insufficient"},
		{"unknown action", w.Pro, alex, engine.Intent{Action: "order.steal"}, "unknown_action"},
		{"missing argument", w.Pro, alex, engine.Intent{Action: "order.lookup"}, "invalid_arguments"},
		{"ill-formed argument", w.Pro, alex, engine.Intent{Action: "order.lookup", Args: order("1001 or 2001")}, "invalid_arguments"},
		{"undeclared argument", w.Pro, alex, engine.Intent{Action: "order.list", Args: map[string]any{"email": Jordan.Email}}, "invalid_arguments"},
	} {
		before, calls := len(w.Entries(t)), len(w.Shop.Calls())
		res, err := w.Gate.Do(ctx, gate.Request{Site: c.site, Identity: c.who, Intent: c.intent, Channel: engine.ChannelAction})
		if err != nil || res.Decision.Allow || len(res.Decision.Reasons) == 0 || res.Decision.Reasons[0].Code != c.want {
			t.Errorf("%s: Do = %+v, %v; want %s", c.name, res.Decision, err, c.want)
			continue
		}
		if res.Records != nil || len(w.Shop.Calls()) != calls {
			t.Errorf("%s: the shop was called", c.name)
		}
		es := w.Entries(t)
		if len(es) != before+1 || es[0].Decision.ID != res.Decision.ID || es[0].Code() != c.want {
			t.Errorf("%s: the log has %d new records, the newest %s; want the one refusal", c.name, len(es)-before, es[0].Code())
		}
		if r := res.Decision.Reasons[0]; r.Message == "" || r.Audit == "" {
			t.Errorf("%s: %s lacks a message for the visitor or the auditor: %+v", c.name, c.want, r)
		}
	}
}

// What was asserted stands in the record, where it denied and where it did not.
func TestAssertionsAreEvidence(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	r := request(w, alex, "order.list", nil)
	r.Intent.Asserted.Names = []string{"Jordan"}
	res, err := w.Gate.Do(ctx, r)
	if err != nil || !res.Decision.Allow {
		t.Fatalf("an asserted name changed the answer: %+v, %v", res.Decision, err)
	}
	if got := w.Entries(t)[0].About; !slices.Equal(got.Asserted.Names, []string{"Jordan"}) || got.Target.Email != Alex.Email {
		t.Errorf("recorded %+v, want the asserted name beside the pin", got)
	}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.list", map[string]any{"customer_email": Jordan.Email, "name": "Jordan"})); err != nil {
		t.Fatal(err)
	}
	e := w.Entries(t)[0]
	if !slices.Equal(e.About.Asserted.Emails, []string{Jordan.Email}) || !slices.Equal(e.About.Asserted.Names, []string{"Jordan"}) {
		t.Errorf("undeclared arguments recorded as %+v, want them as evidence", e.About.Asserted)
	}
	if strings.Contains(e.Decision.Problem, Jordan.Email) {
		t.Errorf("the problem %q quotes a value", e.Decision.Problem)
	}
	nested := map[string]any{"pinned": map[string]any{"email": Jordan.Email}, "customer": []any{map[string]any{"id": "u-jordan"}}}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.list", nested)); err != nil {
		t.Fatal(err)
	}
	e = w.Entries(t)[0]
	if !slices.Equal(e.About.Asserted.Emails, []string{Jordan.Email}) || !slices.Equal(e.About.Asserted.Names, []string{"u-jordan"}) {
		t.Errorf("nested undeclared arguments recorded as %+v, want them as evidence", e.About.Asserted)
	}
}

// The pin comes from the signature: every call carries the token's person,
// whatever was said.
func TestConnectorsSeeOnlyThePin(t *testing.T) {
	w := New(t, Options{})
	r := request(w, w.As(t, "demo", Alex), "order.lookup", order("1001"))
	r.Intent.Asserted = engine.Asserted{Emails: []string{"Alex@EXAMPLE.com"}, Names: []string{"Jordan"}}
	for range 10 {
		res, err := w.Gate.Do(ctx, r)
		if err != nil || len(res.Records) != 1 {
			t.Fatalf("Do: %+v, %v", res, err)
		}
	}
	for _, c := range w.Shop.Calls() {
		if want := (gate.Pinned{Email: Alex.Email, Name: Alex.Name, Subject: Alex.Subject}); c.Grant.Pinned != want {
			t.Errorf("the shop saw %+v, want %+v", c.Grant.Pinned, want)
		}
	}
	if _, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "shop.hours", nil)); err != nil {
		t.Fatal(err)
	}
	if c := w.Shop.Calls(); c[len(c)-1].Grant.Pinned != (gate.Pinned{}) {
		t.Errorf("a public action was given the customer %+v", c[len(c)-1].Grant.Pinned)
	}
}

// A foreign record and a missing one are the same to the visitor, and different
// to the auditor.
func TestForeignIsMissing(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	do := func(action, id string) (gate.Result, audit.Entry, error) {
		res, err := w.Gate.Do(ctx, request(w, alex, action, order(id)))
		e, showErr := w.Log.Show(res.Decision.ID)
		if showErr != nil {
			t.Fatal(showErr)
		}
		return res, e, err
	}
	_, e, missing := do("order.lookup", "9999")
	if engine.CodeOf(missing) != engine.CodeNotFound || len(e.Outcome.Withheld) != 0 {
		t.Errorf("missing: %v, %+v", missing, e.Outcome)
	}
	for _, id := range []string{"2001", "3001"} {
		res, e, foreign := do("order.lookup", id)
		if foreign == nil || foreign.Error() != missing.Error() || len(res.Records) != 0 {
			t.Errorf("order %s: %v with %d records, want what a missing order says: %v", id, foreign, len(res.Records), missing)
		}
		if !slices.Equal(e.Outcome.Withheld, []string{engine.CodeNotOwner}) {
			t.Errorf("order %s: outcome %+v, want not_owner for the auditor", id, e.Outcome)
		}
	}
	// A write on it stops at the proof.
	res, err := w.Gate.Do(ctx, func() gate.Request {
		r := request(w, alex, "order.cancel", order("2001"))
		r.Confirmed = w.Policy.Active().Revision()
		return r
	}())
	if engine.CodeOf(err) != engine.CodeNotFound || err.Error() != missing.Error() || len(res.Records) != 0 {
		t.Errorf("cancelling a foreign order: %v, want not_found", err)
	}
	if w.Shop.Status("2001") != "processing" {
		t.Error("a foreign order was cancelled")
	}
	// And a listing that ignores its filter shows only what is the customer's.
	res, err = w.Gate.Do(ctx, request(w, alex, "order.list", nil))
	if err != nil || len(res.Records) != 2 {
		t.Fatalf("order.list: %d records, %v; want Alex's two", len(res.Records), err)
	}
	if e := w.Entries(t)[0]; e.Outcome.Returned != 5 || e.Outcome.Released != 2 || len(e.Outcome.Withheld) != 3 {
		t.Errorf("order.list: outcome %+v, want 3 of 5 withheld", e.Outcome)
	}
}

func TestDestructiveWaitsForAYes(t *testing.T) {
	w := New(t, Options{})
	r := request(w, w.As(t, "demo", Alex), "order.cancel", order("1002"))
	res, err := w.Gate.Do(ctx, r)
	if err != nil || !res.Pending || res.Before == nil || res.Before.ID != "1002" {
		t.Fatalf("Do: %+v, %v; want a pending action with its record", res, err)
	}
	if w.Shop.Status("1002") != "processing" {
		t.Fatal("the order was cancelled without a yes")
	}
	if e, _ := w.Log.Show(res.Decision.ID); e.Outcome == nil || e.Outcome.Code != engine.CodeConfirmationRequired {
		t.Errorf("outcome %+v, want confirmation_required", e.Outcome)
	}
	r.Confirmed = w.Policy.Active().Revision()
	if res, err = w.Gate.Do(ctx, r); err != nil || res.Pending || w.Shop.Status("1002") != "cancelled" {
		t.Errorf("confirmed: %+v, %v, order %s", res, err, w.Shop.Status("1002"))
	}
	for _, e := range w.Entries(t) {
		if e.About.Action.Name == "order.lookup" && e.Decision.Parent == "" {
			t.Error("a proving read does not name the decision it serves")
		}
	}
	// A request from before sign-in waits even where the policy does not ask.
	r = request(w, w.As(t, "demo", Alex), "booking.reschedule", map[string]any{"booking_id": "B-1", "start": "2026-12-01T10:00:00Z"})
	r.MustConfirm = true
	if res, err = w.Gate.Do(ctx, r); err != nil || !res.Pending {
		t.Errorf("MustConfirm: %+v, %v; want it pending", res, err)
	}
}

// Two locks: with a policy that allows everything, the gate still refuses what
// no policy may allow.
func TestTheWall(t *testing.T) {
	w := New(t, Options{Policies: only(t, allowAll, releaseAll)})
	soon := w.Token(t, "demo", Alex, nil)
	verified := w.Verify("demo", soon)
	w.Clock.Add(7 * time.Minute)
	signedOut := w.Token(t, "demo", Alex, func(c jwt.MapClaims) { c["jti"] = "t-out" })
	believed := w.Verify("demo", signedOut)
	if _, err := w.Revoked.Token(ctx, "demo", "t-out"); err != nil {
		t.Fatal(err)
	}
	alex := w.As(t, "demo", Alex)
	for _, c := range []struct {
		name string
		req  gate.Request
	}{
		{"revoked", request(w, w.Verify("demo", signedOut), "order.list", nil)},
		{"verified, and revoked since", request(w, believed, "order.list", nil)},
		{"a revoked visitor passed off as verified", request(w, identity.Result{State: identity.Verified,
			Visitor: w.Verify("demo", signedOut).Revoked}, "order.list", nil)},
		{"nobody", request(w, w.Verify("demo", ""), "order.list", nil)},
		{"forged result", request(w, identity.Result{State: identity.Verified}, "order.list", nil)},
		{"visitor made by hand", request(w, identity.Result{State: identity.Verified, Visitor: identity.Visitor{}}, "order.list", nil)},
		{"invalid", request(w, w.Verify("demo", "x"), "order.list", nil)},
		{"expired", request(w, w.Verify("demo", soon), "order.list", nil)},
		{"verified, and expired since", request(w, verified, "order.list", nil)},
		{"verified for another site", request(w, w.As(t, "free", Alex), "order.list", nil)},
		{"another target", func() gate.Request {
			r := request(w, alex, "order.list", nil)
			r.Intent.Asserted.Emails = []string{Jordan.Email}
			return r
		}()},
		{"tier too low", gate.Request{Site: w.Free, Identity: w.As(t, "free", Alex), Channel: engine.ChannelAction, Intent: engine.Intent{Action: "order.list"}}},
	} {
		res, err := w.Gate.Do(ctx, c.req)
		if err != nil || res.Decision.Allow || res.Decision.Reasons[0].Code != engine.CodeWall {
			t.Errorf("%s: %+v, %v; want wall", c.name, res.Decision, err)
		}
		if d, err := w.Gate.Ask(ctx, c.req); err != nil || d.Allow || d.Reasons[0].Code != engine.CodeWall {
			t.Errorf("%s: asked: %+v, %v; want wall", c.name, d, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
	// A release policy that withholds nothing releases no foreign record.
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("2001"))); engine.CodeOf(err) != engine.CodeNotFound || len(res.Records) > 0 {
		t.Errorf("foreign record under a lax policy: %+v, %v", res.Records, err)
	}
}

// slowLog lets time pass between the decision and the permit.
type slowLog struct {
	gate.Recorder
	after func()
}

func (l slowLog) Decision(ctx context.Context, d *audit.Decision) error {
	defer l.after()
	return l.Recorder.Decision(ctx, d)
}

func TestTheLockIsAskedAgainWhenMinting(t *testing.T) {
	w := New(t, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second,
		Log: slowLog{w.Log, func() { w.Clock.Add(time.Hour) }}})
	res, err := g.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", nil))
	if engine.CodeOf(err) != engine.CodeWall || len(w.Shop.Calls()) != 0 {
		t.Errorf("expired while recording: %v with %d calls; want wall and none", err, len(w.Shop.Calls()))
	}
	if e, _ := w.Log.Show(res.Decision.ID); e.Outcome == nil || e.Outcome.Code != engine.CodeWall {
		t.Errorf("outcome %+v, want wall", e.Outcome)
	}
}

// What a revocation refuses is on record with whom it was about, and is the
// same whether the token was shown before or after it.
func TestRevokedIsTheReasonAndNamesWhom(t *testing.T) {
	w := New(t, Options{})
	token := w.Token(t, "demo", Alex, func(c jwt.MapClaims) { c["jti"] = "t-out" })
	before := w.Verify("demo", token)
	if _, err := w.Revoked.Subject(ctx, "demo", Alex.Subject); err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]identity.Result{"shown before": before, "shown after": w.Verify("demo", token)} {
		res, err := w.Gate.Do(ctx, request(w, who, "order.list", nil))
		if err != nil || res.Decision.Allow || len(res.Decision.Reasons) != 1 || res.Decision.Reasons[0].Code != engine.CodeIdentityRevoked {
			t.Errorf("%s: %+v, %v; want identity_revoked alone", name, res.Decision, err)
		}
		e, err := w.Log.Show(res.Decision.ID)
		if err != nil || e.About.Identity.Subject != Alex.Subject || e.About.Identity.Email != Alex.Email || e.About.Identity.TokenID != "t-out" {
			t.Errorf("%s: recorded %+v, %v; want whom the token names", name, e.About, err)
		}
		if res, err := w.Gate.Do(ctx, request(w, who, "shop.hours", nil)); err != nil || !res.Decision.Allow {
			t.Errorf("%s: a public action: %+v, %v", name, res.Decision, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 2 {
		t.Errorf("the shop saw %d calls, want the two public ones", n)
	}
}

// A revocation that arrives while the decision is being recorded still stops
// the call.
func TestRevokedWhileRecording(t *testing.T) {
	w := New(t, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second,
		Log: slowLog{w.Log, func() {
			if _, err := w.Revoked.Subject(ctx, "demo", Alex.Subject); err != nil {
				t.Error(err)
			}
		}}})
	_, err := g.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", nil))
	if engine.CodeOf(err) != engine.CodeWall || len(w.Shop.Calls()) != 0 {
		t.Errorf("revoked while recording: %v with %d calls; want wall and none", err, len(w.Shop.Calls()))
	}
}

// Undefined, failed, malformed and unsupported mean deny.
func TestPoliciesThatDoNotAnswer(t *testing.T) {
	for _, c := range []struct{ name, authz, want string }{
		{"undefined", `decision := {"allow": true, "reasons": [], "obligations": []} if input.now < 0`, engine.CodePolicyError},
		{"not an object", `decision := true`, engine.CodePolicyError},
		{"allow is no boolean", `decision := {"allow": "true", "reasons": [], "obligations": []}`, engine.CodePolicyError},
		{"allow with reasons", `decision := {"allow": true, "reasons": [{"code": "x", "message": "y"}], "obligations": []}`, engine.CodePolicyError},
		{"deny without reasons", `decision := {"allow": false, "reasons": [], "obligations": []}`, engine.CodePolicyError},
		{"missing member", `decision := {"allow": true, "reasons": []}`, engine.CodePolicyError},
		{"extra member", `decision := {"allow": true, "reasons": [], "obligations": [], "also": 1}`, engine.CodePolicyError},
		{"failing builtin", `decision := {"allow": true, "reasons": [], "obligations": []} if to_number(input.action.name) >= 0`, engine.CodePolicyError},
		{"unknown obligation", `decision := {"allow": true, "reasons": [], "obligations": [{"kind": "dance"}]}`, engine.CodeUnsupportedObligation},
		{"the gate's own obligation", `decision := {"allow": true, "reasons": [], "obligations": [{"kind": "ownership", "argument": "order_id"}]}`, engine.CodePolicyError},
	} {
		w := New(t, Options{Policies: only(t, c.authz, releaseAll)})
		for _, action := range []string{"order.list", "shop.hours"} {
			res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), action, nil))
			if err != nil || res.Decision.Allow || res.Decision.Reasons[0].Code != c.want {
				t.Errorf("%s, %s: %+v, %v; want %s", c.name, action, res.Decision, err, c.want)
			}
		}
		if n := len(w.Shop.Calls()); n != 0 {
			t.Errorf("%s: the shop saw %d calls", c.name, n)
		}
	}
}

func TestReleasePoliciesThatDoNotAnswer(t *testing.T) {
	for _, rel := range []string{`decision := {"withheld": []}`, `decision := 1`, `decision := {"withheld": [], "redacted": []} if input.now < 0`,
		`decision := {"withheld": [{"record": 7, "code": "x", "message": "y"}], "redacted": []}`} {
		w := New(t, Options{Policies: only(t, allowAll, rel)})
		res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.lookup", order("1001")))
		if engine.CodeOf(err) != engine.CodePolicyError || len(res.Records) != 0 {
			t.Errorf("%s: %+v, %v; want policy_error and no record", rel, res.Records, err)
		}
	}
}

func TestReleaseWithholdsAndRedacts(t *testing.T) {
	w := New(t, Options{Policies: only(t, allowAll,
		`decision := {"withheld": [{"record": i, "code": "shipped_hidden", "message": "Not shown."} | some i; input.records[i].fields.status == "shipped"], "redacted": [{"record": i, "field": "status"} | some i; input.records[i].fields.status == "processing"]}`)})
	alex := w.As(t, "demo", Alex)
	res, err := w.Gate.Do(ctx, request(w, alex, "order.list", nil))
	if err != nil || len(res.Records) != 1 || res.Records[0].ID != "1002" {
		t.Fatalf("order.list: %+v, %v; want only 1002", res.Records, err)
	}
	if _, there := res.Records[0].Fields["status"]; there {
		t.Error("a redacted field was released")
	}
	if w.Shop.Status("1002") != "processing" {
		t.Error("redaction reached into the connector's record")
	}
	if _, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("1001"))); engine.CodeOf(err) != "shipped_hidden" {
		t.Errorf("withheld single record: %v, want the rule's own code", err)
	}
}

// No record, no action.
func TestAnUnwritableLogStopsEverything(t *testing.T) {
	var file *os.File
	w := New(t, Options{Log: store.Options{Retry: time.Hour, OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}}})
	file.Close()
	alex := w.As(t, "demo", Alex)
	for _, action := range []string{"order.list", "shop.hours", "order.steal"} {
		if res, err := w.Gate.Do(ctx, request(w, alex, action, nil)); engine.CodeOf(err) != engine.CodeAuditUnavailable || res.Decision.Allow {
			t.Errorf("%s: %+v, %v; want audit_unavailable", action, res, err)
		}
		if d, err := w.Gate.Ask(ctx, request(w, alex, action, nil)); engine.CodeOf(err) != engine.CodeAuditUnavailable || d.Allow {
			t.Errorf("%s: asked: %+v, %v; want audit_unavailable", action, d, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
}

// deafLog records decisions and no outcomes.
type deafLog struct{ gate.Recorder }

func (deafLog) Outcome(context.Context, string, audit.Outcome) error { return errors.New("disk full") }

func TestAnUnrecordedOutcomeIsNotShown(t *testing.T) {
	w := New(t, Options{})
	g := gate.New(gate.Options{Policy: w.Policy, Log: deafLog{w.Log}, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second})
	alex := w.As(t, "demo", Alex)
	if _, err := g.Do(ctx, request(w, alex, "order.lookup", order("1001"))); engine.CodeOf(err) != engine.CodeAuditUnavailable {
		t.Errorf("read: %v, want audit_unavailable", err)
	}
	// The proving read of a write is refused already.
	r := request(w, alex, "order.cancel", order("1002"))
	r.Confirmed = w.Policy.Active().Revision()
	if _, err := g.Do(ctx, r); err == nil || w.Shop.Status("1002") != "processing" {
		t.Errorf("write: %v, order %s; want nothing done", err, w.Shop.Status("1002"))
	}
}

// The record is on disk before the connector is called.
func TestDecisionPrecedesTheCall(t *testing.T) {
	w := New(t, Options{})
	w.Shop.Fail = func(c gate.Claim) error {
		es := w.Entries(t)
		if len(es) == 0 || es[0].About.Action.Name != c.Action || !es[0].Decision.Allow || es[0].Outcome != nil {
			t.Errorf("%s: called before its decision was on disk", c.Action)
		}
		return nil
	}
	if _, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.lookup", order("1001"))); err != nil {
		t.Fatal(err)
	}
}

func TestConnectorFailuresAreOutcomes(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	for _, code := range []string{engine.CodeConnectorFailed, engine.CodeConnectorTimeout, engine.CodeOutcomeUnknown, engine.CodeNotFound} {
		w.Shop.Fail = func(gate.Claim) error { return engine.Errorf(code, "no", errors.New("why")) }
		res, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("1001")))
		e, _ := w.Log.Show(res.Decision.ID)
		if engine.CodeOf(err) != code || e.Outcome == nil || e.Outcome.Code != code || code != engine.CodeNotFound && e.Outcome.Problem != "why" {
			t.Errorf("%s: %v, outcome %+v", code, err, e.Outcome)
		}
	}
	w.Shop.Fail = func(gate.Claim) error { panic("boom") }
	if res, err := w.Gate.Do(ctx, request(w, alex, "order.lookup", order("1001"))); engine.CodeOf(err) != engine.CodeConnectorFailed {
		t.Errorf("panic: %+v, %v; want connector_failed", res, err)
	}
}

// grab is a connector that keeps what it was given.
type grab struct {
	claim  gate.Claim
	permit gate.Permit
}

func (g *grab) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	g.claim, g.permit = c, p
	return gate.Response{Records: []gate.Record{{Fields: map[string]any{"id": "1001"}}}}, nil
}

func TestPermitsAreForOneCall(t *testing.T) {
	w := New(t, Options{})
	a := &engine.Action{Name: "shop.hours", Title: "x", Risk: engine.Read, MinTier: engine.Free, Args: Actions(t)[1].Args}
	g := &grab{}
	site, err := gate.NewSite(w.Pro.Site, []gate.Binding{{Action: a, Connector: g}})
	if err != nil {
		t.Fatal(err)
	}
	mint := func() (gate.Claim, gate.Permit) {
		r := request(w, identity.Result{}, "shop.hours", order("1001"))
		r.Site = site
		if _, err := w.Gate.Do(ctx, r); err != nil {
			t.Fatal(err)
		}
		return g.claim, g.permit
	}
	now := w.Clock.Now()
	claim, p := mint()
	for _, c := range []struct {
		name   string
		permit gate.Permit
		claim  gate.Claim
		at     time.Time
		want   error
	}{
		{"zero", gate.Permit{}, claim, now, gate.ErrNoPermit},
		{"other site", p, gate.Claim{Site: "free", Action: claim.Action, Args: claim.Args}, now, gate.ErrPermitOther},
		{"other action", p, gate.Claim{Site: claim.Site, Action: "order.cancel", Args: claim.Args}, now, gate.ErrPermitOther},
		{"other arguments", p, gate.Claim{Site: claim.Site, Action: claim.Action, Args: order("1002")}, now, gate.ErrPermitOther},
		{"no arguments", p, gate.Claim{Site: claim.Site, Action: claim.Action}, now, gate.ErrPermitOther},
		{"number for text", p, gate.Claim{Site: claim.Site, Action: claim.Action, Args: map[string]any{"order_id": json.Number("1001")}}, now, gate.ErrPermitOther},
		{"expired", p, claim, now.Add(time.Minute), gate.ErrPermitExpired},
		{"good", p, claim, now, nil},
		{"used", p, claim, now, gate.ErrPermitUsed},
	} {
		if _, err := c.permit.Redeem(c.claim, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: Redeem = %v, want %v", c.name, err, c.want)
		}
	}
	claim, p = mint()
	var good sync.Map
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := p.Redeem(claim, now); err == nil {
				good.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	good.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("one permit was redeemed %d times at once", n)
	}
}

// A Permit cannot be made outside this package, whether by a literal, by a
// conversion, or by asking for its insides.
func TestPermitsCannotBeForged(t *testing.T) {
	dir := t.TempDir()
	for name, body := range map[string]string{
		"literal":    `var _ = gate.Permit{p: nil}`,
		"insides":    `var _ = gate.Permit{}.p`,
		"conversion": `var _ = gate.Permit(struct{ p *int }{})`,
		"minting":    `var _ = (*gate.Gate).mint`,
		"the type":   `var _ gate.permit`,
	} {
		file := dir + "/" + name + ".go"
		if err := os.WriteFile(file, []byte("package main\n\nimport \"vouchsafe/engine/gate\"\n\n"+body+"\n\nfunc main() {}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("go", "vet", file).CombinedOutput()
		if err == nil {
			t.Errorf("%s: code outside the package compiles", name)
		} else if !strings.Contains(string(out), "unexported") && !strings.Contains(string(out), "cannot convert") && !strings.Contains(string(out), "not exported") && !strings.Contains(string(out), "undefined") {
			t.Errorf("%s: failed for another reason:\n%s", name, out)
		}
	}
}

func TestAskNamesWhatMustProveToBeTheirs(t *testing.T) {
	w := New(t, Options{})
	alex := w.As(t, "demo", Alex)
	for _, c := range []struct {
		action string
		args   map[string]any
		want   string
	}{
		{"order.lookup", order("1001"), "ownership:order_id"},
		{"order.cancel", order("1001"), "confirm: ownership:order_id"},
		{"order.cancel", nil, "confirm:"},
		{"order.list", map[string]any{}, ""},
		{"shop.hours", nil, ""},
	} {
		d, err := w.Gate.Ask(ctx, request(w, alex, c.action, c.args))
		var got []string
		for _, o := range d.Obligations {
			got = append(got, o.Kind+":"+o.Argument)
		}
		if err != nil || !d.Allow || strings.Join(got, " ") != c.want {
			t.Errorf("%s %v: allow %t, obligations %v, %v; want %q", c.action, c.args, d.Allow, got, err, c.want)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("asking called the shop %d times", n)
	}
}

func TestSitesThatLeaveSomethingToChance(t *testing.T) {
	w := New(t, Options{})
	good := Actions(t)
	bind := func(change func([]*engine.Action)) error {
		as := Actions(t)
		change(as)
		var bs []gate.Binding
		for _, a := range as {
			bs = append(bs, gate.Binding{Action: a, Connector: w.Shop})
		}
		_, err := gate.NewSite(w.Pro.Site, bs)
		return err
	}
	if err := bind(func([]*engine.Action) {}); err != nil {
		t.Fatalf("the good catalog: %v", err)
	}
	for name, change := range map[string]func(as []*engine.Action){
		"no tier":               func(as []*engine.Action) { as[0].MinTier = engine.NoTier },
		"no risk":               func(as []*engine.Action) { as[0].Risk = engine.UnknownRisk },
		"no schema":             func(as []*engine.Action) { as[0].Args = nil },
		"no name":               func(as []*engine.Action) { as[0].Name = "" },
		"twice":                 func(as []*engine.Action) { as[0].Name = as[1].Name },
		"proof by nothing":      func(as []*engine.Action) { as[2].Resources[0].Action = "order.none" },
		"proof by a public one": func(as []*engine.Action) { as[1].Personal = false },
		"proof by a write":      func(as []*engine.Action) { as[1].Risk = engine.Write },
		"proof of no argument":  func(as []*engine.Action) { as[2].Resources[0].Argument = "other" },
		"proof by what needs proof": func(as []*engine.Action) {
			as[1].Resources = []engine.Resource{{Argument: "order_id", Action: "order.list"}}
		},
	} {
		if err := bind(change); err == nil {
			t.Errorf("%s: the catalog of %d actions was accepted", name, len(good))
		}
	}
	if _, err := gate.NewSite(w.Pro.Site, []gate.Binding{{Action: good[0]}}); err == nil {
		t.Error("an action without a connector was accepted")
	}
}

// What is asserted is kept bounded, and the addresses that matter first.
func TestDecoysHideNothing(t *testing.T) {
	w := New(t, Options{})
	r := request(w, w.As(t, "demo", Alex), "order.list", nil)
	for range 20 {
		r.Intent.Asserted.Emails = append(r.Intent.Asserted.Emails, Alex.Email)
	}
	r.Intent.Asserted.Emails = append(r.Intent.Asserted.Emails, Jordan.Email, strings.Repeat("x", 60000)+"@example.com")
	d, err := w.Gate.Ask(ctx, r)
	if err != nil || d.Allow {
		t.Fatalf("%+v, %v; want target_mismatch", d, err)
	}
	got := w.Entries(t)[0].About.Asserted.Emails
	if len(got) != 8 || got[0] != Jordan.Email || len(got[1]) > 254 {
		t.Errorf("recorded %.80q, want at most 8 bounded addresses, Jordan's first", got)
	}
	for _, name := range []string{"owner", "account_id", "sub", "for", "pinned"} {
		if _, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.list", map[string]any{name: "u-jordan"})); err != nil {
			t.Fatal(err)
		}
		if got := w.Entries(t)[0].About.Asserted.Names; !slices.Contains(got, "u-jordan") {
			t.Errorf("undeclared argument %s recorded as %v, want its value as evidence", name, got)
		}
	}
}

// Arguments are recorded whole, so they are bounded.
func TestHugeArgumentsAreRefused(t *testing.T) {
	w := New(t, Options{})
	for _, who := range []identity.Result{w.Verify("demo", ""), w.As(t, "demo", Alex)} {
		d, err := w.Gate.Ask(ctx, request(w, who, "order.lookup", order(strings.Repeat("1", 60000))))
		if err != nil || d.Allow {
			t.Errorf("%+v, %v; want a refusal", d, err)
		}
		if n := len(w.Entries(t)[0].Decision.Input); n > 4096 {
			t.Errorf("the record takes %d bytes", n)
		}
	}
}

// A write that happened is never called refused, whatever may be shown of it.
func TestADoneWriteIsDone(t *testing.T) {
	for name, rel := range map[string]string{
		"withheld": `decision := {"withheld": [{"record": i, "code": "hidden", "message": "Not shown."} | some i; input.records[i]; input.action.risk != "read"], "redacted": []}`,
		"failing":  `decision := {"withheld": [], "redacted": []} if input.action.risk == "read"`,
	} {
		w := New(t, Options{Policies: only(t, allowAll, rel)})
		res, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.cancel", order("1002")))
		if err != nil || len(res.Records) != 0 || w.Shop.Status("1002") != "cancelled" {
			t.Errorf("%s: %+v, %v, order %s; want it done and nothing shown", name, res.Records, err, w.Shop.Status("1002"))
		}
		if e, _ := w.Log.Show(res.Decision.ID); e.Outcome == nil || e.Outcome.Code != "" || len(e.Outcome.Withheld) != 1 {
			t.Errorf("%s: outcome %+v, want done with one record withheld", name, e.Outcome)
		}
	}
}

// A record that does not say which one it is proves nothing.
func TestAProofNamesItsRecord(t *testing.T) {
	w := New(t, Options{})
	as := Actions(t)
	as[1].IDArgument = ""
	var bs []gate.Binding
	for _, a := range as {
		bs = append(bs, gate.Binding{Action: a, Connector: w.Shop})
	}
	if _, err := gate.NewSite(w.Pro.Site, bs); err == nil {
		t.Error("a catalog was accepted whose proof does not name its record")
	}
}

// twins answers with two records of one name, one of them somebody else's.
type twins struct{}

func (twins) Call(_ context.Context, c gate.Claim, p gate.Permit) (gate.Response, error) {
	if _, err := p.Redeem(c, Start); err != nil {
		return gate.Response{}, err
	}
	return gate.Response{Records: []gate.Record{
		{ID: "1001", Owner: gate.Owner{Email: Jordan.Email}, Fields: map[string]any{"id": "1001"}},
		{ID: "1001", Owner: gate.Owner{Email: Alex.Email}, Fields: map[string]any{"id": "1001"}},
	}}, nil
}

// A name that somebody else's record bears as well proves nothing.
func TestAmbiguousProofs(t *testing.T) {
	w := New(t, Options{})
	var bs []gate.Binding
	for _, a := range Actions(t) {
		b := gate.Binding{Action: a, Connector: w.Shop}
		if a.Name == "order.lookup" {
			b.Connector = twins{}
		}
		bs = append(bs, b)
	}
	site, err := gate.NewSite(w.Pro.Site, bs)
	if err != nil {
		t.Fatal(err)
	}
	r := request(w, w.As(t, "demo", Alex), "order.cancel", order("1001"))
	r.Site, r.Confirmed = site, w.Policy.Active().Revision()
	if _, err := w.Gate.Do(ctx, r); engine.CodeOf(err) != engine.CodeNotFound || w.Shop.Status("1001") != "shipped" {
		t.Errorf("%v, order %s; want not_found and nothing done", err, w.Shop.Status("1001"))
	}
}
