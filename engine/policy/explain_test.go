package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

var goTexts = map[string]engine.Reason{
	engine.CodeUnknownAction:    {Message: "No such action.", Audit: "Not in the catalog."},
	engine.CodeInvalidArguments: {Message: "Please check the request.", Audit: "The arguments did not meet the schema."},
	engine.CodeWall:             {Message: "Cannot do this.", Audit: "The second lock refused."},
}

func explained(t testing.TB, s *Set, rec Recorded) Explanation {
	t.Helper()
	x, err := s.Explain(t.Context(), rec, goTexts)
	if err != nil {
		t.Fatalf("Explain(%s): %v", rec.ID, err)
	}
	return x
}

// needs are the changes of an explanation, each in one line.
func needs(x Explanation) []string {
	var out []string
	for _, c := range x.Changes {
		out = append(out, strings.Join(c.Needs, " + ")+" => "+c.Outcome.String())
	}
	return out
}

// TestExplainEveryDefaultCode breaks one thing at a time.
func TestExplainEveryDefaultCode(t *testing.T) {
	s := shipped(t)
	covered := map[string]bool{}
	for _, c := range []struct {
		code, file string
		change     func(*Input)
		looked     map[string]string
		needs      []string
	}{
		{"identity_absent", "authz/identity.rego", func(in *Input) { in.Identity, in.Target = Identity{State: "absent"}, "" },
			map[string]string{"action.personal": "true", "identity.state": `"absent"`}, []string{"sign in => allow"}},
		{"identity_invalid", "authz/identity.rego", func(in *Input) { in.Identity, in.Target = Identity{State: "invalid"}, "" },
			map[string]string{"action.personal": "true", "identity.state": `"invalid"`}, []string{"a token that verifies => allow"}},
		{"identity_expired", "authz/expiry.rego", func(in *Input) { in.Identity.ExpiresAt = in.Now },
			map[string]string{"action.personal": "true", "identity.expires_at": "1773309600", "identity.state": `"verified"`, "now": "1773309600"},
			[]string{"a token that has not expired => allow"}},
		{"identity_expired", "authz/expiry.rego", func(in *Input) {
			in.Identity, in.Target = Identity{State: "expired", Subject: "cus_1001", ExpiresAt: in.Now}, ""
		}, map[string]string{"action.personal": "true", "identity.expires_at": "1773309600", "identity.state": `"expired"`, "now": "1773309600"},
			[]string{"sign in again => allow"}},
		{"identity_too_long_lived", "authz/expiry.rego", func(in *Input) { in.Identity.Lifetime = time.Hour },
			map[string]string{"action.personal": "true", "identity.lifetime": "3600", "identity.state": `"verified"`, "site.max_token_lifetime": "900"},
			[]string{"a token of at most 15 minutes => allow"}},
		{"identity_revoked", "authz/identity.rego", func(in *Input) { in.Identity.Revoked = true },
			map[string]string{"action.personal": "true", "identity.revoked": "true"}, []string{"a sign-in that has not been ended => allow"}},
		{"email_unverified", "authz/identity.rego", func(in *Input) { no := false; in.Identity.EmailVerified = &no },
			map[string]string{"action.personal": "true", "identity.email_verified": "false"}, []string{"a verified e-mail address => allow"}},
		{"target_mismatch", "authz/pinning.rego", func(in *Input) { in.Target = "jordan@example.com" },
			map[string]string{"action.personal": "true", "identity.state": `"verified"`, "identity.email": `"alex@example.com"`, "target.email": `"jordan@example.com"`},
			[]string{"the visitor's own account as the target => allow"}},
		{"tier_insufficient", "authz/tier.rego", func(in *Input) {
			in.Site = &engine.Site{ID: "demo", Tier: engine.Free, MaxTokenLifetime: 15 * time.Minute}
		}, map[string]string{"site.tier": `"free"`, "action.min_tier": `"pro"`}, []string{"tier pro or business => allow"}},
	} {
		covered[c.code] = true
		rec := record(t, s, "d_"+c.code, changed(c.change))
		x := explained(t, s, rec)
		if !slices.Equal(x.Answer.Reasons, []string{c.code}) || x.Policy != x.RecordedPolicy || x.Problem != "" {
			t.Errorf("%s: answered %s under %s, recorded under %s %s", c.code, x.Answer, x.Policy, x.RecordedPolicy, x.Problem)
			continue
		}
		want := s.rules[c.code]
		if r := x.Reasons; len(r) != 1 || r[0] != (ReasonText{c.code, want.Message, want.Audit}) || r[0].Visitor == r[0].Auditor {
			t.Errorf("%s: the texts are %+v, want both of %+v", c.code, r, want)
		}
		if len(x.Rules) != 1 {
			t.Errorf("%s: %d rules fired, want one: %+v", c.code, len(x.Rules), x.Rules)
			continue
		}
		rule := x.Rules[0]
		line := strings.Split(string(must(os.ReadFile("../../policies/"+c.file))), "\n")[rule.Line-1]
		if rule.Rule != "deny" || rule.Code != c.code || rule.File != c.file || rule.Title == "" || !strings.HasPrefix(line, "deny contains") {
			t.Errorf("%s: the rule is %+v, whose line is %q", c.code, rule, line)
		}
		looked := map[string]string{}
		for _, l := range rule.Looked {
			looked[l.Path] = string(l.Value)
		}
		if diff := cmp.Diff(c.looked, looked); diff != "" {
			t.Errorf("%s: looked at (-want +got):\n%s", c.code, diff)
		}
		if diff := cmp.Diff(c.needs, needs(x)); diff != "" {
			t.Errorf("%s: needs (-want +got):\n%s", c.code, diff)
		}
	}
	for code := range s.rules {
		if !covered[code] && !strings.HasPrefix(code, "release_") {
			t.Errorf("no case explains %s", code)
		}
	}
}

func TestExplainWhatMustChangeTogether(t *testing.T) {
	s := shipped(t)
	rec := record(t, s, "d_1", changed(func(in *Input) {
		in.Site = &engine.Site{ID: "demo", Tier: engine.Free, MaxTokenLifetime: 10 * time.Minute}
		in.Identity.Lifetime = time.Hour
		in.Identity.Revoked = true
		in.Target = "jordan@example.com"
	}))
	x := explained(t, s, rec)
	want := []string{"the visitor's own account as the target + a token of at most 10 minutes + a sign-in that has not been ended + tier pro or business => allow"}
	if diff := cmp.Diff(want, needs(x)); diff != "" || len(x.Rules) != 4 {
		t.Errorf("%d rules fired, want 4; needs (-want +got):\n%s", len(x.Rules), diff)
	}
	rec = record(t, s, "d_2", changed(func(in *Input) {
		in.Identity, in.Target = Identity{State: "absent"}, "jordan@example.com"
		in.Action = &engine.Action{Name: "order.cancel", Personal: true, Risk: engine.Destructive, MinTier: engine.Business}
	}))
	want = []string{"sign in, as the account it is aimed at + tier business => allow (confirm)"}
	if diff := cmp.Diff(want, needs(explained(t, s, rec))); diff != "" {
		t.Errorf("needs (-want +got):\n%s", diff)
	}
}

func TestExplainAnAllow(t *testing.T) {
	s := shipped(t)
	x := explained(t, s, record(t, s, "d_1", allowedInput()))
	want := []string{
		"without a sign-in => deny (identity_absent)",
		"a token that does not verify => deny (identity_invalid)",
		"once the sign-in has expired, at 10:05:00Z => deny (identity_expired)",
		"a sign-in that has been ended => deny (identity_revoked)",
		"an e-mail address that is not verified => deny (email_unverified)",
		"somebody else's account as the target => deny (target_mismatch)",
		"a token of more than 15 minutes => deny (identity_too_long_lived)",
		"tier free => deny (tier_insufficient)",
	}
	if diff := cmp.Diff(want, needs(x)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if len(x.Rules) != 1 || x.Rules[0].Rule != "allow" || x.Rules[0].File != "authz/decision.rego" || len(x.Reasons) > 0 {
		t.Errorf("the rules are %+v with reasons %v, want the one that allows and none", x.Rules, x.Reasons)
	}
}

func TestExplainAnObligation(t *testing.T) {
	s := shipped(t)
	x := explained(t, s, record(t, s, "d_1", changed(func(in *Input) {
		in.Action = &engine.Action{Name: "order.cancel", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro}
	})))
	var rules []string
	for _, r := range x.Rules {
		rules = append(rules, r.Rule+" "+r.File)
	}
	if diff := cmp.Diff([]string{"oblige authz/confirmation.rego", "allow authz/decision.rego"}, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if got := needs(x); !slices.Contains(got, "confirm => allow") || !slices.Contains(got, "an action of risk read or write => allow") {
		t.Errorf("changes are %q, want what lifts the confirmation among them", got)
	}
}

func TestExplainAnObligationThatWasNotMet(t *testing.T) {
	s := compiled(t, shippedFiles(t, map[string]string{"authz/more.rego": `package authz

oblige contains {"kind": "limit", "n": 3, "window": "24h"} if input.action.name == "order.lookup"

oblige contains {"kind": "step_up", "max_age": "5m", "acr": ["urn:a", "urn:b"]} if input.action.name == "order.lookup"
`}))
	for code, want := range map[string]string{
		engine.CodeLimitReached:   "room under the limit: at most 3 in any 24h",
		engine.CodeStepUpRequired: "a sign-in (auth_time) at most 5m ago, a sign-in with acr urn:a or urn:b",
		engine.CodeIdentityAbsent: "a sign-in: the limit is counted for a visitor who is known",
	} {
		rec := record(t, s, "d_1", allowedInput())
		rec.Allow, rec.Reasons = false, []string{code}
		x := explained(t, s, rec)
		if len(x.Changes) != 1 || strings.Join(x.Changes[0].Needs, ", ") != want || !x.Changes[0].Outcome.Allow {
			t.Errorf("%s: changes %+v, want %q", code, x.Changes, want)
		}
		if !x.Answer.Allow || len(x.Rules) != 3 || x.Reasons[len(x.Reasons)-1].Code != code {
			t.Errorf("%s: answer %+v, rules %+v, reasons %+v", code, x.Answer, x.Rules, x.Reasons)
		}
	}
}

// TestExplainRulesNobodyForesaw derives the words from the policy itself.
func TestExplainRulesNobodyForesaw(t *testing.T) {
	s := compiled(t, shippedFiles(t, map[string]string{"authz/more.rego": `package authz

# METADATA
# title: Destructive actions rest at night
# custom:
#   code: closed_at_night
#   message: Come back later.
#   audit: It was night.
deny contains reason(rego.metadata.rule()) if {
	input.action.risk == "destructive"
	not day
}

day if (input.now % 86400) / 3600 >= 5

# METADATA
# title: Large refunds
# custom:
#   code: refund_too_large
#   message: Too much.
#   audit: Over the agent's limit.
deny contains reason(rego.metadata.rule()) if {
	input.action.name == "refund"
	not small
}

small if input.action.args.amount <= 50

small if input.identity.claims.role == "manager"
`}))
	night := explained(t, s, record(t, s, "d_1", changed(func(in *Input) {
		in.Action = &engine.Action{Name: "order.cancel", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro}
		in.Now = in.Now.Add(-8 * time.Hour) // 02:00
	})))
	want := []string{"an action of risk read or write => allow", "at 05:00 UTC => allow (confirm)"}
	if diff := cmp.Diff(want, needs(night)); diff != "" {
		t.Errorf("at night (-want +got):\n%s", diff)
	}
	refund := explained(t, s, record(t, s, "d_2", changed(func(in *Input) {
		in.Action = &engine.Action{Name: "refund", Personal: true, Risk: engine.Write, MinTier: engine.Pro}
		in.Args = map[string]any{"amount": json.Number("80")}
	})))
	for _, want := range []string{"args.amount of 50 => allow", `claims.role of "manager" => allow`} {
		if got := needs(refund); !slices.Contains(got, want) {
			t.Errorf("the refund needs %q, want %q among it", got, want)
		}
	}
	if r := refund.Rules[0]; r.Title != "Large refunds" || len(r.Looked) != 3 || r.Looked[2].Path != "identity.claims.role" || r.Looked[2].Value != nil {
		t.Errorf("the rule is %+v, want what it looked at, a claim that was not there included", r)
	}
}

func TestExplainWhatGoDecided(t *testing.T) {
	s := shipped(t)
	allowed, foreign := allowedInput().AppendJSON(nil), changed(func(in *Input) { in.Target = "jordan@example.com" }).AppendJSON(nil)
	for _, c := range []struct {
		name    string
		rec     Recorded
		reasons []string
		needs   []string
	}{
		{"no such action", Recorded{Reasons: []string{"unknown_action"}, Input: allowed}, []string{"unknown_action"},
			[]string{"an action of the site's catalog => allow"}},
		{"bad arguments alone", Recorded{Reasons: []string{"invalid_arguments"}, Input: allowed}, []string{"invalid_arguments"},
			[]string{"arguments that meet the action's schema => allow"}},
		{"bad arguments, and denied", Recorded{Reasons: []string{"target_mismatch", "invalid_arguments"}, Input: foreign},
			[]string{"target_mismatch", "invalid_arguments"},
			[]string{"the visitor's own account as the target + arguments that meet the action's schema => allow"}},
		{"the wall", Recorded{Reasons: []string{"wall"}, Input: allowed}, []string{"wall"}, []string{needsInGo["wall"] + " => allow"}},
	} {
		c.rec.ID, c.rec.Policy = "d_1", s.Revision()
		x := explained(t, s, c.rec)
		var codes []string
		for _, r := range x.Reasons {
			codes = append(codes, r.Code)
			if r.Visitor == "" || r.Auditor == "" {
				t.Errorf("%s: %s has no words", c.name, r.Code)
			}
		}
		if diff := cmp.Diff(c.reasons, codes) + cmp.Diff(c.needs, needs(x)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestExplainRefusals(t *testing.T) {
	s := shipped(t)
	for _, c := range []struct {
		input string
		want  error
	}{{"", ErrNoInput}, {"{", ErrUnreadable}, {"[]", ErrUnreadable}} {
		if _, err := s.Explain(t.Context(), Recorded{ID: "d", Input: json.RawMessage(c.input)}, nil); !errors.Is(err, c.want) {
			t.Errorf("Explain(%q) = %v, want %v", c.input, err, c.want)
		}
	}
	// Whatever stands in a record, explaining it comes to an end.
	broken := compiled(t, tiny("decision := {\"allow\": true}\n"))
	x := explained(t, broken, Recorded{ID: "d", Policy: "other", Allow: true, Input: allowedInput().AppendJSON(nil)})
	if x.Answer.Allow || x.Problem == "" || x.Policy == x.RecordedPolicy || len(x.Changes) > 0 {
		t.Errorf("a malformed answer is explained as %+v", x)
	}
}

// TestExplainLeavesTheInputAlone tries changes on copies.
func TestExplainLeavesTheInputAlone(t *testing.T) {
	in := map[string]any{"a": map[string]any{"b": "c"}, "d": "e"}
	before := fmt.Sprint(in)
	for _, e := range []edit{{path: "a.b", value: "x"}, {path: "a.b", drop: true}, {path: "a.x.y", value: true}, {path: "z", drop: true}, {path: "q.r", drop: true}} {
		edited(in, strings.Split(e.path, "."), e)
	}
	if got := fmt.Sprint(in); got != before {
		t.Errorf("the input became %s, was %s", got, before)
	}
	if got := edited(in, []string{"a", "x", "y"}, edit{value: true}); fmt.Sprint(got) != "map[a:map[b:c x:map[y:true]] d:e]" {
		t.Errorf("edited = %v", got)
	}
}

// TestExplainFindsEveryRule holds what explanations name to what METADATA says.
func TestExplainFindsEveryRule(t *testing.T) {
	src, problems := read(policies.FS)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	x := &explainer{set: shipped(t), input: map[string]any{}}
	got := map[string]string{}
	for _, m := range x.set.compiler.Modules {
		for _, rule := range m.Rules {
			if f := x.fired(rule, map[string]bool{}); f.Code != "" && m.Package.Path.String() == "data.authz" {
				got[f.Code] = fmt.Sprintf("%s %s:%d", f.Title, f.File, f.Line)
			}
		}
	}
	want := map[string]string{}
	for _, d := range rulesOf(src.modules) {
		if d.rule.Module.Package.Path.String() == "data.authz" {
			want[d.reason.Code] = fmt.Sprintf("%s %s:%d", d.title, d.rule.Location.File, d.rule.Location.Row)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(slices.Collect(maps.Keys(got))) == 0 {
		t.Errorf("rules (-METADATA +explained):\n%s", diff)
	}
}
