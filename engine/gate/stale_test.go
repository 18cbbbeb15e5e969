package gate_test

import (
	"slices"
	"testing"
	"time"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// Past the staleness that a site allows, personal actions are refused and on
// record as such; what is public goes on, and so does a site that does not ask.
func TestAStalePolicyIsNotTrusted(t *testing.T) {
	w := New(t, Options{})
	stale := true
	g := gate.New(gate.Options{Policy: w.Policy, Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second,
		Stale: func(now time.Time) bool { return stale && now.Equal(w.Clock.Now()) }})
	w.Pro.RefuseStale = true
	alex, nobody := w.As(t, "demo", Alex), w.Verify("demo", "")
	codes := func(reasons []engine.Reason) (out []string) {
		for _, r := range reasons {
			out = append(out, r.Code)
		}
		return out
	}
	lookup := request(w, alex, "order.lookup", order("1001"))
	for _, c := range []struct {
		name    string
		request gate.Request
		want    []string
	}{
		{"a read", lookup, []string{engine.CodePolicyStale}},
		{"what destroys", request(w, alex, "order.cancel", order("1002")), []string{engine.CodePolicyStale}},
		{"nobody, who has a better reason", request(w, nobody, "order.lookup", order("1001")), []string{"identity_absent"}},
	} {
		o, err := g.Do(ctx, c.request)
		if err == nil && o.Decision.Allow || !slices.Equal(codes(o.Decision.Reasons), c.want) {
			t.Errorf("%s: %+v, %v; want %q", c.name, o, err, c.want)
		}
		left(t, w, o.Decision.ID, ending{reason: c.want[0]})
		e := w.Entries(t)[0]
		if e.Decision.Allow || !slices.Equal(e.Decision.Reasons, c.want) {
			t.Errorf("%s: on record is %+v", c.name, e.Decision)
		}
	}
	if calls := w.Shop.Calls(); len(calls) > 0 {
		t.Errorf("the shop was called: %+v", calls)
	}
	hours := request(w, nobody, "shop.hours", nil)
	if o, err := g.Do(ctx, hours); err != nil || !o.Decision.Allow {
		t.Errorf("what is public: %+v, %v", o, err)
	}
	w.Pro.RefuseStale = false
	if o, err := g.Do(ctx, lookup); err != nil || !o.Decision.Allow {
		t.Errorf("a site that does not ask for it: %+v, %v", o, err)
	}
	w.Pro.RefuseStale, stale = true, false
	if o, err := g.Do(ctx, lookup); err != nil || !o.Decision.Allow {
		t.Errorf("a policy that is current: %+v, %v", o, err)
	}
}
