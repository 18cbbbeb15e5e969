package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
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
