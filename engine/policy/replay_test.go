package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/policies"
)

// record is the decision that s takes, as the gate records it.
func record(t testing.TB, s *Set, id string, in *Input) Recorded {
	t.Helper()
	r := Recorded{ID: id, Policy: s.Revision(), Input: in.AppendJSON(nil)}
	answer, err := s.Decide(context.Background(), in)
	if err != nil {
		r.Reasons = []string{engine.CodePolicyError}
		return r
	}
	r.Allow = answer.Allow
	for _, reason := range answer.Reasons {
		r.Reasons = append(r.Reasons, reason.Code)
	}
	for _, o := range answer.Obligations {
		r.Obligations = append(r.Obligations, o.String())
	}
	return r
}

// changed is the everyday question with something changed.
func changed(change func(*Input)) *Input {
	in := allowedInput()
	change(in)
	return in
}

func replayed(t testing.TB, candidate *Set, recs ...Recorded) FlipReport {
	t.Helper()
	r := NewReplay(candidate, ReplayOptions{})
	if err := r.Add(context.Background(), recs); err != nil {
		t.Fatalf("Add: %v", err)
	}
	return r.Report()
}

// TestRecordedInputIsTheSameQuestion holds the reading of what AppendJSON wrote
// to the very value that was evaluated.
func TestRecordedInputIsTheSameQuestion(t *testing.T) {
	for seed := range uint64(400) {
		in := randomInput(rand.New(rand.NewPCG(seed, 2)), []string{"", "é\u2028\x00", "\xff", "plain"}[seed%4])
		v, err := parseRecorded(in.AppendJSON(nil))
		if err != nil {
			t.Fatalf("seed %d: parseRecorded: %v", seed, err)
		}
		if want := in.Value(); v.Compare(want) != 0 {
			t.Fatalf("seed %d: read back as\n%s, want\n%s", seed, v, want)
		}
	}
}

func TestRecordedInputIsStrict(t *testing.T) {
	s := shipped(t)
	whole := string(allowedInput().AppendJSON(nil))
	for name, text := range map[string]string{
		"nothing":          "",
		"a list":           "[]",
		"a word":           `"alex@example.com"`,
		"cut off":          whole[:len(whole)-1],
		"a trailer":        whole + "{}",
		"a member twice":   `{"now":1,"now":2}`,
		"not JSON":         `{now:1}`,
		"a forged number":  `{"now":01}`,
		"broken UTF-8":     "{\"channel\":\"\xff\"}",
		"endlessly nested": `{"action":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	} {
		r, err := s.DecideRecorded(t.Context(), []byte(text))
		if !errors.Is(err, ErrUnreadable) || r.Allow {
			t.Errorf("%s: DecideRecorded = %+v, %v; want %v", name, r, err, ErrUnreadable)
		}
		if err != nil && strings.Contains(err.Error(), "alex") {
			t.Errorf("%s: the error quotes the input: %v", name, err)
		}
	}
	// What went wrong leaves nothing behind for the next.
	if r, err := s.DecideRecorded(t.Context(), []byte(whole)); err != nil || !r.Allow {
		t.Errorf("DecideRecorded(the everyday question) = %+v, %v; want allow", r, err)
	}
}

func TestInputFromAFileIsHeldToTheSchema(t *testing.T) {
	schema, err := ReadInputSchema(policies.FS)
	if err != nil {
		t.Fatalf("ReadInputSchema: %v", err)
	}
	good := allowedInput().AppendJSON(nil)
	if err := schema.Validate(good); err != nil {
		t.Errorf("Validate(the everyday question) = %v", err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"state":"verified"`, `"state":"trusted"`, "input.identity.state does not meet its enum"},
		{`"now":1773309600`, `"now":"late"`, "input.now does not meet its type"},
		{`"channel":"chat"`, `"channel":"chat","secret":"alex@example.com"`, "input does not meet its additionalProperties"},
		{`"target":{"email"`, `"target":{"emial"`, "input.target does not meet its required"},
		{`"now":1773309600`, `"now":1773309600,"now":1`, "the recorded input cannot be read"},
	} {
		err := schema.Validate([]byte(strings.Replace(string(good), c.from, c.to, 1)))
		if err == nil || err.Error() != c.want {
			t.Errorf("Validate(%s) = %v, want %q", c.to, err, c.want)
		}
	}
}

// TestReplayFindsExactlyTheKnownFlips replays a week in which everything
// happened against a candidate that changes four things.
func TestReplayFindsExactlyTheKnownFlips(t *testing.T) {
	old := shipped(t)
	files := shippedFiles(t, map[string]string{
		// opens: a tier too low is no matter any more
		"authz/tier.rego": "package authz\n\noffered := true\n",
		// other obligations: writing takes a confirmation
		"authz/more.rego": `package authz

oblige contains {"kind": "confirm"} if {
	input.action.risk == "write"
	not input.confirmation.confirmed == true
}

# METADATA
# title: Order 666 is closed
# custom:
#   code: closed
#   message: Closed.
#   audit: Closed.
deny contains reason(rego.metadata.rule()) if input.action.args.order_id == "666"
`,
		"authz/pinning.rego": strings.Replace(string(must(policies.FS.ReadFile("authz/pinning.rego"))), "code: target_mismatch", "code: wrong_account", 1),
	})
	candidate := compiled(t, files)
	var recs []Recorded
	add := func(prefix string, n int, change func(*Input)) {
		for i := range n {
			recs = append(recs, record(t, old, fmt.Sprintf("d_%s%d", prefix, i), changed(change)))
		}
	}
	add("plain", 50, func(*Input) {})
	add("absent", 7, func(in *Input) { in.Identity, in.Target = Identity{State: "absent"}, "" })
	add("free", 5, func(in *Input) {
		in.Site = &engine.Site{ID: "small", Tier: engine.Free, MaxTokenLifetime: 15 * time.Minute}
	})
	add("closed", 4, func(in *Input) { in.Args = map[string]any{"order_id": "666"} })
	add("write", 2, func(in *Input) {
		in.Action = &engine.Action{Name: "order.note", Personal: true, Risk: engine.Write, MinTier: engine.Pro}
	})
	add("other", 3, func(in *Input) { in.Target = "jordan@example.com" })
	got := replayed(t, candidate, recs...)
	deny := func(codes ...string) Verdict { return Verdict{Reasons: codes} }
	want := FlipReport{
		Candidate: candidate.Revision(), Compared: 71, Same: 57, Skipped: map[string]int{},
		Changed: map[string]int{FlipDenyToAllow: 5, FlipAllowToDeny: 4, FlipObligation: 2, FlipReason: 3},
		Flips: []Flip{
			{FlipDenyToAllow, "small", "order.lookup", deny("tier_insufficient"), Verdict{Allow: true}, 5, []string{"d_free0", "d_free1", "d_free2"}},
			{FlipAllowToDeny, "demo", "order.lookup", Verdict{Allow: true}, deny("closed"), 4, []string{"d_closed0", "d_closed1", "d_closed2"}},
			{FlipObligation, "demo", "order.note", Verdict{Allow: true}, Verdict{Allow: true, Obligations: []string{"confirm"}}, 2, []string{"d_write0", "d_write1"}},
			{FlipReason, "demo", "order.lookup", deny("target_mismatch"), deny("wrong_account"), 3, []string{"d_other0", "d_other1", "d_other2"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
	if same := replayed(t, old, recs...); same.Same != len(recs) || len(same.Flips) > 0 {
		t.Errorf("the policy that decided, replayed: %+v; want no flip", same)
	}
}

// TestReplayComparesOnlyWhatThePolicySaid holds what Go decided apart.
func TestReplayComparesOnlyWhatThePolicySaid(t *testing.T) {
	yes := compiled(t, tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": []}\n"))
	no := compiled(t, tiny("decision := {\"allow\": false, \"reasons\": [{\"code\": \"closed\", \"message\": \"Closed.\"}], \"obligations\": []}\n"))
	odd := compiled(t, tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": [{\"kind\": \"dance\"}]}\n"))
	broken := compiled(t, tiny("decision := {\"allow\": true}\n"))
	obliging := func(o string) *Set {
		return compiled(t, tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": ["+o+"]}\n"))
	}
	limited := obliging(`{"kind": "limit", "n": 3, "window": "24h"}`)
	confirms := obliging(`{"kind": "confirm"}`)
	input := json.RawMessage(allowedInput().AppendJSON(nil))
	for _, c := range []struct {
		name      string
		candidate *Set
		rec       Recorded
		kind      string // of the flip, "" for none
		skipped   string
	}{
		{"no such action", yes, Recorded{Reasons: []string{"unknown_action"}, Input: input}, "", "unknown_action"},
		{"the policy had failed", yes, Recorded{Reasons: []string{"policy_error"}, Input: input}, "", "policy_error"},
		{"nothing was recorded", yes, Recorded{Allow: true}, "", "no_input"},
		{"what was recorded is broken", yes, Recorded{Allow: true, Input: json.RawMessage(`{"now":`)}, "", "unreadable_input"},

		{"bad arguments, otherwise allowed", yes, Recorded{Reasons: []string{"invalid_arguments"}, Input: input}, "", ""},
		{"bad arguments, now also denied", no, Recorded{Reasons: []string{"invalid_arguments"}, Input: input}, FlipReason, ""},
		{"bad arguments, and denied", no, Recorded{Reasons: []string{"closed", "invalid_arguments"}, Input: input}, "", ""},
		{"bad arguments, denied for another reason", no, Recorded{Reasons: []string{"old", "invalid_arguments"}, Input: input}, FlipReason, ""},
		{"bad arguments, and the denial goes away", yes, Recorded{Reasons: []string{"closed", "invalid_arguments"}, Input: input}, FlipDenyToAllow, ""},
		{"bad arguments, and an obligation nobody knows", odd, Recorded{Reasons: []string{"invalid_arguments"}, Input: input}, "", ""},
		{"the wall had refused", yes, Recorded{Reasons: []string{"wall"}, Input: input}, "", ""},
		{"the wall had refused, now denied", no, Recorded{Reasons: []string{"wall"}, Input: input}, FlipReason, ""},

		{"ownership is the gate's", yes, Recorded{Allow: true, Obligations: []string{"ownership"}, Input: input}, "", ""},
		{"a confirmation goes away", yes, Recorded{Allow: true, Obligations: []string{"confirm", "ownership"}, Input: input}, FlipObligation, ""},
		{"an obligation nobody knows denies", odd, Recorded{Allow: true, Input: input}, FlipAllowToDeny, ""},
		{"and did before", odd, Recorded{Reasons: []string{"unsupported_obligation"}, Input: input}, "", ""},
		{"the same limit", limited, Recorded{Allow: true, Obligations: []string{"limit 3/24h"}, Input: input}, "", ""},
		{"another limit", limited, Recorded{Allow: true, Obligations: []string{"limit 5/24h"}, Input: input}, FlipObligation, ""},
		{"a limit is new", limited, Recorded{Allow: true, Input: input}, FlipObligation, ""},
		{"a limit was reached, and stays", limited, Recorded{Reasons: []string{"limit_reached"}, Obligations: []string{"limit 3/24h"}, Input: input}, "", ""},
		{"a limit was reached, and is another", limited, Recorded{Reasons: []string{"limit_reached"}, Obligations: []string{"limit 1/24h"}, Input: input}, FlipObligation, ""},
		{"a limit was reached, and goes away", yes, Recorded{Reasons: []string{"limit_reached"}, Obligations: []string{"limit 3/24h"}, Input: input}, FlipDenyToAllow, ""},
		{"a limit was reached, and a yes will do", confirms, Recorded{Reasons: []string{"limit_reached"}, Obligations: []string{"limit 3/24h"}, Input: input}, FlipDenyToAllow, ""},
		{"a limit was reached, now denied", no, Recorded{Reasons: []string{"limit_reached"}, Obligations: []string{"limit 3/24h"}, Input: input}, FlipReason, ""},
		{"a limit nobody was known for", limited, Recorded{Reasons: []string{"identity_absent"}, Obligations: []string{"limit 3/24h"}, Input: input}, "", ""},
		{"a sign-in was too old, and need not be fresh", yes, Recorded{Reasons: []string{"step_up_required"}, Obligations: []string{"step_up max_age=5m"}, Input: input}, FlipDenyToAllow, ""},
		{"uses could not be read", limited, Recorded{Reasons: []string{"audit_unavailable"}, Input: input}, "", ""},
		{"a malformed answer denies", broken, Recorded{Allow: true, Input: input}, FlipAllowToDeny, ""},
		{"a malformed answer has a code", broken, Recorded{Reasons: []string{"closed"}, Input: input}, FlipReason, ""},
		{"the order of reasons is for show", no, Recorded{Reasons: []string{"closed"}, Input: input}, "", ""},
	} {
		got := replayed(t, c.candidate, c.rec)
		want := map[string]int{FlipAllowToDeny: 0, FlipDenyToAllow: 0, FlipReason: 0, FlipObligation: 0}
		skipped := map[string]int{}
		if c.kind != "" {
			want[c.kind]++
		}
		if c.skipped != "" {
			skipped[c.skipped]++
		}
		if diff := cmp.Diff(want, got.Changed) + cmp.Diff(skipped, got.Skipped); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestReplayThatIsCancelledSaysNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := shipped(t)
	r := NewReplay(s, ReplayOptions{})
	if err := r.Add(ctx, []Recorded{record(t, s, "d_1", allowedInput())}); !errors.Is(err, context.Canceled) {
		t.Errorf("Add = %v, want %v", err, context.Canceled)
	}
	if got := r.Report(); got.Compared != 0 || len(got.Flips) > 0 {
		t.Errorf("the report holds %+v, want nothing", got)
	}
}

// TestReplayStaysBounded gives a candidate a code for every order.
func TestReplayStaysBounded(t *testing.T) {
	s := compiled(t, tiny(`decision := {"allow": false, "reasons": [{"code": input.action.args.order_id, "message": "No."}], "obligations": []}`+"\n"))
	r := NewReplay(s, ReplayOptions{Examples: 1})
	total := maxFlips + 500
	for i := range total {
		rec := Recorded{ID: fmt.Sprint(i), Allow: true, Input: changed(func(in *Input) {
			in.Args = map[string]any{"order_id": fmt.Sprintf("o%d", i)}
		}).AppendJSON(nil)}
		if err := r.Add(t.Context(), []Recorded{rec}); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Report()
	if len(got.Flips) != maxFlips+1 || got.Changed[FlipAllowToDeny] != total {
		t.Errorf("%d flips of %d decisions, want %d of %d", len(got.Flips), got.Changed[FlipAllowToDeny], maxFlips+1, total)
	}
	if rest := got.Flips[0]; rest.Count != 500 || rest.Site != "" {
		t.Errorf("the rest are %+v, want 500 without a site", rest)
	}
}

func TestLimits(t *testing.T) {
	n := func(n int) *int { return &n }
	report := func(opens, closes, compared int) FlipReport {
		return FlipReport{Compared: compared, Changed: map[string]int{FlipDenyToAllow: opens, FlipAllowToDeny: closes}}
	}
	for _, c := range []struct {
		name   string
		limits Limits
		report FlipReport
		want   string
	}{
		{"no limits", Limits{}, report(9, 9, 18), ""},
		{"no limits, nothing compared", Limits{}, report(0, 0, 0), ""},
		{"at the limit", Limits{n(2), n(3)}, report(2, 3, 9), ""},
		{"one opens", Limits{DenyToAllow: n(0)}, report(1, 9, 10), "1 deny_to_allow, at most 0 may"},
		{"one closes too many", Limits{AllowToDeny: n(3)}, report(9, 4, 20), "4 allow_to_deny, at most 3 may"},
		{"both", Limits{n(0), n(0)}, report(1, 1, 2), "1 deny_to_allow, at most 0 may\n1 allow_to_deny, at most 0 may"},
		{"nothing was proven", Limits{DenyToAllow: n(0)}, report(0, 0, 0), "no decision could be compared"},
	} {
		got := ""
		if err := c.limits.Exceeded(c.report); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: Exceeded = %q, want %q", c.name, got, c.want)
		}
	}
}

// TestDecideRecordedAsDecideDid holds the two ways of asking to one answer.
func TestDecideRecordedAsDecideDid(t *testing.T) {
	s := shipped(t)
	outcomes := map[bool]int{}
	for seed := range uint64(300) {
		in := randomInput(rand.New(rand.NewPCG(seed, 3)), "x")
		if seed%3 == 0 {
			in = allowedInput()
			in.Args = map[string]any{"n": json.Number(fmt.Sprint(seed))}
		}
		want, wantErr := s.Decide(t.Context(), in)
		got, err := s.DecideRecorded(t.Context(), in.AppendJSON(nil))
		if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(wantErr) != fmt.Sprint(err) {
			t.Fatalf("seed %d: DecideRecorded = %+v, %v; Decide = %+v, %v", seed, got, err, want, wantErr)
		}
		outcomes[got.Allow]++
	}
	if len(outcomes) != 2 {
		t.Errorf("the answers are all alike: %v", maps.Collect(maps.All(outcomes)))
	}
}

// BenchmarkDecideRecorded is one decision of a replay, from its JSON, on one
// core.
func BenchmarkDecideRecorded(b *testing.B) {
	s := shipped(b)
	ctx := context.Background()
	text := allowedInput().AppendJSON(nil)
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.DecideRecorded(ctx, text)
		if err != nil || !r.Allow {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkReplay is a whole replay of decisions in memory on one core.
func BenchmarkReplay(b *testing.B) {
	s := shipped(b)
	batch := make([]Recorded, 256)
	for i := range batch {
		in := allowedInput()
		if i%4 == 0 {
			in.Target = "jordan@example.com"
		}
		batch[i] = record(b, s, fmt.Sprint("d_", i), in)
	}
	r := NewReplay(s, ReplayOptions{Parallel: 1})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := r.Add(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "decisions/s")
}
