package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"vouchsafe/engine"
)

// Whatever is not exactly one well-formed answer is an error, and a Result that
// comes with an error allows nothing.
func TestAnythingButAPlainAnswerIsAnError(t *testing.T) {
	const (
		yes    = `"allow": true, `
		no     = `"allow": false, `
		reason = `{"code": "x", "message": "y"}`
	)
	tests := []struct {
		name, policy string
		want         error
	}{
		{"undefined", `decision := x if { x := 1; x == 2 }`, ErrUndefined},
		{"undefined for this input", `decision := {"allow": true} if input.site.id == "other"`, ErrUndefined},
		{"null", `decision := null`, ErrMalformed},
		{"a bare true", `decision := true`, ErrMalformed},
		{"a string", `decision := "allow"`, ErrMalformed},
		{"an array", `decision := [{"allow": true, "reasons": [], "obligations": []}]`, ErrMalformed},
		{"a set", `decision contains {"allow": true, "reasons": [], "obligations": []}`, ErrMalformed},
		{"only allow", `decision := {"allow": true}`, ErrMalformed},
		{"no obligations", `decision := {` + yes + `"reasons": []}`, ErrMalformed},
		{"no reasons", `decision := {` + yes + `"obligations": []}`, ErrMalformed},
		{"no allow", `decision := {"reasons": [], "obligations": []}`, ErrMalformed},
		{"another member", `decision := {` + yes + `"reasons": [], "obligations": [], "note": ""}`, ErrMalformed},
		{"a member misspelt", `decision := {"Allow": true, "reasons": [], "obligations": []}`, ErrMalformed},
		{"allow as text", `decision := {"allow": "true", "reasons": [], "obligations": []}`, ErrMalformed},
		{"allow as a number", `decision := {"allow": 1, "reasons": [], "obligations": []}`, ErrMalformed},
		{"allow null", `decision := {"allow": null, "reasons": [], "obligations": []}`, ErrMalformed},
		{"reasons as an object", `decision := {` + yes + `"reasons": {}, "obligations": []}`, ErrMalformed},
		{"reasons null", `decision := {` + yes + `"reasons": null, "obligations": []}`, ErrMalformed},
		{"obligations as an object", `decision := {` + yes + `"reasons": [], "obligations": {}}`, ErrMalformed},
		{"allows with reasons to deny", `decision := {` + yes + `"reasons": [` + reason + `], "obligations": []}`, ErrMalformed},
		{"denies without a reason", `decision := {` + no + `"reasons": [], "obligations": []}`, ErrMalformed},
		{"a reason of text", `decision := {` + no + `"reasons": ["x"], "obligations": []}`, ErrMalformed},
		{"a reason without message", `decision := {` + no + `"reasons": [{"code": "x"}], "obligations": []}`, ErrMalformed},
		{"a reason with an empty message", `decision := {` + no + `"reasons": [{"code": "x", "message": ""}], "obligations": []}`, ErrMalformed},
		{"a reason with an empty code", `decision := {` + no + `"reasons": [{"code": "", "message": "y"}], "obligations": []}`, ErrMalformed},
		{"a reason with a number for code", `decision := {` + no + `"reasons": [{"code": 1, "message": "y"}], "obligations": []}`, ErrMalformed},
		{"a reason with another member", `decision := {` + no + `"reasons": [{"code": "x", "message": "y", "to": "z"}], "obligations": []}`, ErrMalformed},
		{"one good reason, one bad", `decision := {` + no + `"reasons": [` + reason + `, {}], "obligations": []}`, ErrMalformed},
		{"an obligation of text", `decision := {` + yes + `"reasons": [], "obligations": ["confirm"]}`, ErrMalformed},
		{"an obligation without kind", `decision := {` + yes + `"reasons": [], "obligations": [{}]}`, ErrMalformed},
		{"an obligation with an empty kind", `decision := {` + yes + `"reasons": [], "obligations": [{"kind": ""}]}`, ErrMalformed},
		{"an obligation with another member", `decision := {` + yes + `"reasons": [], "obligations": [{"kind": "confirm", "unless": 1}]}`, ErrMalformed},
		{"a built-in that fails", `decision := {"allow": true, "reasons": [], "obligations": []} if { not to_number(input.site.id) == 1 }`, nil},
		{"two values at once", "decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if input.site.id == \"demo\"\n\ndecision := {\"allow\": false, \"reasons\": [], \"obligations\": []} if input.channel == \"chat\"", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := compiled(t, tiny(tt.policy+"\n")).Decide(t.Context(), allowedInput())
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Decide: error %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(Result{}, r); diff != "" {
				t.Errorf("Decide with an error returned more than the zero Result:\n%s", diff)
			}
		})
	}
}

func TestFailingBuiltinIsNamedAndHoldsNoPersonalData(t *testing.T) {
	s := compiled(t, tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if {\n\tnot to_number(input.identity.email) == 1\n}\n"))
	_, err := s.Decide(t.Context(), allowedInput())
	var failed *topdown.Error
	if !errors.As(err, &failed) || failed.Code != topdown.BuiltinErr {
		t.Fatalf("Decide: error %v, want a built-in's", err)
	}
	if strings.Contains(err.Error(), "alex@example.com") {
		t.Errorf("the error quotes the customer's address: %v", err)
	}
}

func TestTimeAllowsNothing(t *testing.T) {
	slow := compiled(t, tiny(`decision := {"allow": true, "reasons": [], "obligations": []} if {
	every x in numbers.range(1, 3000) {
		every y in numbers.range(1, 3000) {
			x + y > 0
		}
	}
}
`))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r, err := slow.Decide(ctx, allowedInput()); !topdown.IsCancel(err) || r.Allow {
		t.Errorf("Decide past its deadline = %+v, %v; want a cancelled evaluation", r, err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if r, err := shipped(t).Decide(gone, allowedInput()); !errors.Is(err, context.Canceled) || r.Allow {
		t.Errorf("Decide(cancelled) = %+v, %v; want context.Canceled", r, err)
	}
	// The same worker serves the next question as if nothing had happened.
	if r, err := shipped(t).Decide(t.Context(), allowedInput()); err != nil || !r.Allow {
		t.Errorf("Decide after a cancelled one = %+v, %v", r, err)
	}
}

func TestPlainAnswers(t *testing.T) {
	tests := []struct {
		name, policy string
		want         Result
	}{
		{"allow", `decision := {"allow": true, "reasons": [], "obligations": []}`, Result{Allow: true}},
		{"allow, as sets", `decision := {"allow": true, "reasons": set(), "obligations": {{"kind": "confirm"}}}`,
			Result{Allow: true, Obligations: []engine.Obligation{{Kind: "confirm"}}}},
		{"unknown obligations are the engine's to refuse", `decision := {"allow": true, "reasons": [], "obligations": [{"kind": "dance"}]}`,
			Result{Allow: true, Obligations: []engine.Obligation{{Kind: "dance"}}}},
		{"deny, in the policy's order", `decision := {"allow": false, "reasons": [{"code": "b", "message": "B"}, {"code": "a", "message": "A"}], "obligations": []}`,
			Result{Reasons: []engine.Reason{{Code: "b", Message: "B"}, {Code: "a", Message: "A"}}}},
		{"deny, as a set", `decision := {"allow": false, "reasons": {{"code": "b", "message": "B"}, {"code": "a", "message": "A"}}, "obligations": []}`,
			Result{Reasons: []engine.Reason{{Code: "a", Message: "A"}, {Code: "b", Message: "B"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := compiled(t, tiny(tt.policy+"\n")).Decide(t.Context(), allowedInput())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShippedReasonsTellVisitorAndAuditorDifferentThings(t *testing.T) {
	in := allowedInput()
	in.Target = "jordan@example.com"
	in.Site.Tier = engine.Free
	in.Identity.ExpiresAt = in.Now
	r, err := shipped(t).Decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, reason := range r.Reasons {
		codes = append(codes, reason.Code)
		if reason.Audit == "" || reason.Audit == reason.Message {
			t.Errorf("%s: audit text %q beside message %q", reason.Code, reason.Audit, reason.Message)
		}
	}
	if diff := cmp.Diff([]string{"identity_expired", "target_mismatch", "tier_insufficient"}, codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

func TestShippedPolicyKnowsNoOtherChannel(t *testing.T) {
	in := allowedInput()
	in.Channel = "carrier-pigeon"
	if r, err := shipped(t).Decide(t.Context(), in); !errors.Is(err, ErrMalformed) || r.Allow {
		t.Errorf("Decide(unknown channel) = %+v, %v; want an error", r, err)
	}
	if r, err := shipped(t).Decide(t.Context(), &Input{}); r.Allow {
		t.Errorf("Decide(zero Input) = %+v, %v; want no allow", r, err)
	}
}

func TestRelease(t *testing.T) {
	recs := []Record{{ID: "1", Fields: map[string]any{"total": "42"}}, {ID: "2"}}
	tests := []struct {
		name, policy string
		want         Release
		err          bool
	}{
		{"nothing held back", `decision := {"withheld": [], "redacted": []}`, Release{}, false},
		{"one withheld", `decision := {"withheld": [{"record": 1, "code": "x", "message": "y"}], "redacted": []}`,
			Release{Withheld: map[int]engine.Reason{1: {Code: "x", Message: "y"}}}, false},
		{"withheld for two reasons", `decision := {"withheld": [{"record": 0, "code": "a", "message": "A"}, {"record": 0, "code": "b", "message": "B"}], "redacted": []}`,
			Release{Withheld: map[int]engine.Reason{0: {Code: "a", Message: "A"}}}, false},
		{"fields redacted", `decision := {"withheld": [], "redacted": [{"record": i, "field": f} | some i, f in ["total", "note"]]}`,
			Release{Redacted: map[int][]string{0: {"total"}, 1: {"note"}}}, false},
		{"undefined", `decision := 1 if input.site.id == "other"`, Release{}, true},
		{"no redacted", `decision := {"withheld": []}`, Release{}, true},
		{"withheld as an object", `decision := {"withheld": {}, "redacted": []}`, Release{}, true},
		{"a record that is not there", `decision := {"withheld": [{"record": 2, "code": "x", "message": "y"}], "redacted": []}`, Release{}, true},
		{"a record before the first", `decision := {"withheld": [], "redacted": [{"record": -1, "field": "total"}]}`, Release{}, true},
		{"half a record", `decision := {"withheld": [], "redacted": [{"record": 0.5, "field": "total"}]}`, Release{}, true},
		{"a record by its id", `decision := {"withheld": [{"record": "1", "code": "x", "message": "y"}], "redacted": []}`, Release{}, true},
		{"withheld without a code", `decision := {"withheld": [{"record": 0, "message": "y"}], "redacted": []}`, Release{}, true},
		{"withheld with an empty code", `decision := {"withheld": [{"record": 0, "code": "", "message": "y"}], "redacted": []}`, Release{}, true},
		{"a redaction of nothing", `decision := {"withheld": [], "redacted": [{"record": 0, "field": ""}]}`, Release{}, true},
		{"a redaction with another member", `decision := {"withheld": [], "redacted": [{"record": 0, "field": "total", "with": "***"}]}`, Release{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := compiled(t, tinyRelease(tt.policy+"\n")).Release(t.Context(), allowedInput(), recs)
			if (err != nil) != tt.err {
				t.Fatalf("Release: error %v, want one: %t", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Release (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShippedRelease(t *testing.T) {
	recs := []Record{{ID: "1001", Fields: map[string]any{"total": "42", "status": "shipped"}}, {ID: "1002", Fields: map[string]any{"status": "packed"}}}
	files := shippedFiles(t, nil)
	files["data.yaml"].Data = []byte(strings.Replace(string(files["data.yaml"].Data), "sites: {}", "sites: {demo: {total: true}}", 1))
	s := compiled(t, files)
	got, err := s.Release(t.Context(), allowedInput(), recs)
	if diff := cmp.Diff(Release{Redacted: map[int][]string{0: {"total"}}}, got); err != nil || diff != "" {
		t.Errorf("Release(own records): %v, (-want +got):\n%s", err, diff)
	}
	in := allowedInput()
	in.Identity.State = "expired"
	got, err = s.Release(t.Context(), in, recs)
	if err != nil || len(got.Withheld) != 2 || got.Withheld[0].Code != "release_unverified" || got.Withheld[0].Audit == "" {
		t.Errorf("Release(expired) = %+v, %v; want both withheld as release_unverified", got, err)
	}
}

// The short cuts of this package must not change an answer: they are held to
// OPA's own prepared query, with rule indexing and early exit on and off.
func TestSameAnswersAsOPA(t *testing.T) {
	crowded := compiled(t, shippedFiles(t, map[string]string{"authz/crowd.rego": `package authz

double(n) := m if m := n * 2

# Works out more rules than the short cache holds, then asks again, inside and
# outside another input.
total := sum([double(n) | some n in numbers.range(1, 120)]) + sum([double(n) | some n in numbers.range(1, 120)])

deny contains {"code": "crowd", "message": "The sum is wrong."} if {
	not total == 29040
}

deny contains {"code": "elsewhere", "message": "Another site is asked about, and its tier is not known."} if {
	offered
	not offered with input.site as {"id": "other"}
	input.action.args.order_id == "odd"
}
`}))
	for name, s := range map[string]*Set{"shipped": shipped(t), "crowded": crowded} {
		t.Run(name, func(t *testing.T) {
			pq := preparedByOPA(t, s)
			r := rand.New(rand.NewPCG(7, 7))
			allows, denies := 0, 0
			for i := range 400 {
				in := nearlyAllowed(r)
				v := in.Value()
				got, err := s.evaluate(t.Context(), s.authz, v)
				if err != nil {
					t.Fatal(err)
				}
				for _, opts := range [][]rego.EvalOption{
					{},
					{rego.EvalRuleIndexing(false), rego.EvalEarlyExit(false)},
				} {
					rs, err := pq.Eval(t.Context(), append(opts, rego.EvalParsedInput(v))...)
					if err != nil || len(rs) != 1 {
						t.Fatalf("OPA: %v, %v", rs, err)
					}
					want := asJSON(t, ast.MustInterfaceToValue(rs[0].Expressions[0].Value))
					if diff := cmp.Diff(want, asJSON(t, got)); diff != "" {
						t.Fatalf("input %d: %s\n(-OPA +evaluate):\n%s", i, in.AppendJSON(nil), diff)
					}
				}
				r, err := s.decideValue(t.Context(), v)
				trace := &exits{seen: map[position]bool{}}
				if _, err := pq.Eval(t.Context(), rego.EvalParsedInput(v), rego.EvalQueryTracer(trace)); err != nil {
					t.Fatal(err)
				}
				var fired []string
				for _, rule := range trace.rules {
					if bringsAbout(rule) {
						fired = append(fired, fmt.Sprintf("%s:%d", rule.Location.File, rule.Location.Row))
					}
				}
				slices.Sort(fired)
				slices.Sort(r.Rules) // by name; they come in the order of lines
				if diff := cmp.Diff(fired, r.Rules); diff != "" || err == nil && len(fired) == 0 {
					t.Fatalf("input %d: %s\n(-OPA's trace +the rules that fired):\n%s", i, in.AppendJSON(nil), diff)
				}
				if err == nil && r.Allow {
					allows++
				} else {
					denies++
				}
			}
			if allows < 20 || denies < 20 {
				t.Errorf("%d allows and %d denials prove little", allows, denies)
			}
		})
	}
}

// preparedByOPA is OPA's own way to ask what s decides, of the policy as it was
// written.
func preparedByOPA(t testing.TB, s *Set) rego.PreparedEvalQuery {
	t.Helper()
	c := ast.NewCompiler().WithCapabilities(capabilities())
	if c.Compile(copyModules(s.modules)); c.Failed() {
		t.Fatal(c.Errors)
	}
	pq, err := rego.New(rego.Query("data.authz.decision"), rego.Compiler(c), rego.Store(s.store),
		rego.StrictBuiltinErrors(true)).PrepareForEval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pq
}

// Whatever shape a rule has, it says that it came to something, and changes
// nothing by it.
func TestRulesThatFired(t *testing.T) {
	s := compiled(t, tiny(`default allow := false

allow if input.action.name == "order.cancel" else if {
	input.action.name == "order.lookup"
}

allow if input.action.name == "order.refund"

deny contains {"code": "never", "message": "Never."} if input.action.name == "nothing"

deny contains {"code": name, "message": "Twice."} if {
	some name in ["one", "two"]
	not allow
}

deny contains {"code": "three", "message": "Always, but for what is allowed."} if not allow

decision := {"allow": allow, "reasons": deny, "obligations": []}
`))
	for action, want := range map[string][]string{
		"order.cancel": {"authz/p.rego:5"},
		"order.lookup": {"authz/p.rego:5"},
		"order.refund": {"authz/p.rego:9"},
		"order.other":  {"authz/p.rego:13", "authz/p.rego:18"},
	} {
		in := allowedInput()
		a := *in.Action
		a.Name = action
		in.Action = &a
		r, err := s.Decide(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.Rules); diff != "" {
			t.Errorf("%s: the rules that fired (-want +got):\n%s", action, diff)
		}
	}
	files := tiny("decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if fired(1)\n")
	if _, err := Compile(files); err == nil {
		t.Error("a policy calls what only compiled rules call")
	}
}

// nearlyAllowed changes about one thing about the everyday question.
func nearlyAllowed(r *rand.Rand) *Input {
	in := allowedInput()
	for range r.IntN(3) {
		switch r.IntN(12) {
		case 0:
			in.Identity = Identity{State: []string{"absent", "invalid", "expired"}[r.IntN(3)]}
		case 1:
			in.Identity.ExpiresAt = in.Now.Add(time.Duration(r.IntN(3)-1) * time.Second)
		case 2:
			in.Identity.Lifetime = time.Duration(899+r.IntN(3)) * time.Second
		case 3:
			in.Identity.Revoked = true
		case 4:
			no := r.IntN(2) == 0
			in.Identity.EmailVerified = &no
		case 5:
			in.Target = []string{"", "jordan@example.com", in.Identity.Email}[r.IntN(3)]
		case 6:
			in.Site.Tier = engine.Tier(r.IntN(4))
		case 7:
			in.Action.MinTier = engine.Tier(r.IntN(4))
		case 8:
			in.Action.Personal = false
		case 9:
			in.Action.Risk = engine.Destructive
			in.Confirmed = r.IntN(2) == 0
		case 10:
			in.Channel = engine.Channel([]string{"action", "other"}[r.IntN(2)])
		case 11:
			in.Args = map[string]any{"order_id": "odd"}
		}
	}
	return in
}

func TestManyMayAsk(t *testing.T) {
	e := NewEngine(shipped(t))
	other := compiled(t, tiny("decision := {\"allow\": false, \"reasons\": [{\"code\": \"closed\", \"message\": \"Later, please.\"}], \"obligations\": []}\n"))
	first := e.Active()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 3))
			for range 200 {
				in := allowedInput()
				stranger := r.IntN(2) == 0
				if stranger {
					in.Target = "jordan@example.com"
				}
				set := e.Active()
				got, err := set.Decide(context.Background(), in)
				switch {
				case err != nil:
					t.Errorf("Decide: %v", err)
				case set == other && (got.Allow || got.Reasons[0].Code != "closed"):
					t.Errorf("the second policy said %+v", got)
				case set == first && got.Allow == stranger:
					t.Errorf("the first policy said %+v of a stranger: %t", got, stranger)
				}
				if r.IntN(20) == 0 {
					e.Activate([]*Set{first, other}[r.IntN(2)])
				}
			}
		})
	}
	wg.Wait()
}
