package gate_test

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
)

// What a shadow finds on live traffic is what a replay of the log finds, to the
// decision, and the answers are those of a gate that nobody shadows.
func TestShadowFindsWhatAReplayFinds(t *testing.T) {
	candidate, err := policy.Compile(Policies(t, map[string]string{"authz/x.rego": `package authz

# METADATA
# title: T
# custom:
#   code: closed
#   message: M
#   audit: A
deny contains reason(rego.metadata.rule()) if input.action.name == "order.list"

oblige contains {"kind": "limit", "n": 3, "window": "1h"} if input.action.name == "booking.list"
`}))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(w *World) []string {
		var answers []string
		alex := w.As(t, "demo", Alex)
		for _, who := range []identity.Result{alex, w.As(t, "demo", Jordan), w.Verify("demo", ""), w.Verify("demo", "x.y.z")} {
			for _, r := range []gate.Request{
				request(w, who, "order.list", nil), request(w, who, "booking.list", nil), request(w, who, "order.lookup", order("1001")),
				request(w, who, "order.lookup", map[string]any{"order_id": "x"}), request(w, who, "order.cancel", order("1002")),
				request(w, who, "shop.hours", nil), request(w, who, "order.steal", nil),
				{Site: w.Pro, Identity: who, Channel: engine.ChannelChat, Intent: engine.Intent{Action: "order.list", Asserted: engine.Asserted{Emails: []string{"other@example.com"}}}},
			} {
				res, err := w.Gate.Do(ctx, r)
				answers = append(answers, refused(res, err))
				if d, err := w.Gate.Ask(ctx, r); err != nil {
					t.Error(err)
				} else {
					answers = append(answers, d.Policy)
				}
			}
		}
		return answers
	}
	plain := New(t, Options{})
	w := New(t, Options{Policies: Obliging(t, "order.lookup", `{"kind": "limit", "n": 1, "window": "1h"}`)})
	shadow := policy.NewShadow(candidate, w.Clock.Now)
	defer shadow.Stop()
	w.Policy.Shadow(shadow)
	ask(w)

	replay := policy.NewReplay(candidate, policy.ReplayOptions{})
	var batch []policy.Recorded
	entries := w.Entries(t)
	for i := len(entries) - 1; i >= 0; i-- {
		d := entries[i].Decision
		if len(d.Reasons) > 0 && d.Reasons[0] == engine.CodeUnknownAction {
			continue // the policy was not asked, so nothing was offered
		}
		batch = append(batch, policy.Recorded{ID: d.ID, Policy: d.Policy, Allow: d.Allow, Reasons: d.Reasons, Obligations: d.Obligations, Input: d.Input})
	}
	if err := replay.Add(ctx, batch); err != nil {
		t.Fatal(err)
	}
	live := shadow.Report()
	for live.Waiting > 0 || live.Offered < int64(len(batch)) {
		runtime.Gosched()
		live = shadow.Report()
	}
	// The clock stands still, so that which of them came first cannot be told.
	noExamples := cmpopts.IgnoreFields(policy.Flip{}, "Examples")
	if diff := cmp.Diff(replay.Report(), live.FlipReport, noExamples); diff != "" {
		t.Errorf("the replay and the shadow differ (-replay +shadow):\n%s", diff)
	}
	if live.Changed[policy.FlipAllowToDeny] == 0 || live.Changed[policy.FlipObligation] == 0 || live.Changed[policy.FlipDenyToAllow] == 0 || live.Missed != 0 {
		t.Errorf("%+v; want flips of each kind and none missed", live)
	}
	b, _ := json.Marshal(live)
	for _, personal := range []string{"alex", "jordan", "example.com", "1001", "1002", "u-"} {
		if strings.Contains(strings.ToLower(string(b)), personal) {
			t.Errorf("the report holds %q: %s", personal, b)
		}
	}
	// And nobody's answer is another for it.
	watched := New(t, Options{})
	closing := policy.NewShadow(candidate, time.Now)
	defer closing.Stop()
	watched.Policy.Shadow(closing)
	if diff := cmp.Diff(ask(plain), ask(watched)); diff != "" {
		t.Errorf("answers with a shadow differ (-without +with):\n%s", diff)
	}
}
