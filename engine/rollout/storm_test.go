package rollout_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/policy"
)

// A hundred activations, good and bad in turn, while visitors ask: each decision
// is exactly what the one policy says that it names, and none fails.
func TestReloadStorm(t *testing.T) {
	rounds := 100
	if testing.Short() || racing {
		rounds = 20
	}
	w := enginetest.New(t, enginetest.Options{})
	d := newDesk(t, with(nil))
	d.mustStart()
	g := gate.New(gate.Options{Policy: d.Engine(), Log: w.Log, Clock: w.Clock.Now, EvaluationTimeout: 1 << 40})
	alex := w.As(t, "demo", enginetest.Alex)
	nobody := w.Verify("demo", "")

	// Every other good policy denies Alex's looking orders up, with a code of
	// its own.
	var wants sync.Map // revision -> the code it denies with, "" when it allows
	wants.Store(revision(with(nil)), "")
	stop := make(chan struct{})
	var asked atomic.Int64
	var visitors sync.WaitGroup
	for n := range 4 {
		visitors.Go(func() {
			for i := n; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r := gate.Request{Site: w.Pro, Identity: alex, Channel: engine.ChannelAction,
					Intent: engine.Intent{Action: "order.lookup", Args: map[string]any{"order_id": "1001"}}}
				anonymous := i%5 == 0
				if anonymous {
					r.Identity = nobody
				}
				decision, err := g.Ask(t.Context(), r)
				asked.Add(1)
				if err != nil {
					t.Errorf("Ask: %v", err)
					return
				}
				want, known := wants.Load(decision.Policy)
				if !known {
					t.Errorf("decided by %s, which was never to be in force", decision.Policy)
					return
				}
				var codes []string
				for _, reason := range decision.Reasons {
					codes = append(codes, reason.Code)
				}
				switch {
				case anonymous:
					if decision.Allow || !slices.Contains(codes, engine.CodeIdentityAbsent) {
						t.Errorf("nobody: allow %v, %q", decision.Allow, codes)
					}
				case decision.Allow != (want == "") || want != "" && !slices.Equal(codes, []string{want.(string)}):
					t.Errorf("policy %s: allow %v, %q; want %q", decision.Policy, decision.Allow, codes, want)
				}
			}
		})
	}
	spoiled := slices.DeleteFunc(slices.Clone(bad), func(b badPolicy) bool { // asked for by nobody here
		return b.stage == policy.StageCoverage || b.stage == policy.StageReplay
	})
	last := ""
	for i := range rounds {
		if i%2 == 1 {
			f := with(spoiled[i/2%len(spoiled)].changes)
			f["authz/round.rego"] = fmt.Appendf(nil, "package authz\n\nround := %d\n", i)
			d.offers(f)
			if got := d.Status().Revision; got != last || d.Status().Refused == nil {
				t.Errorf("round %d: %s is in force, want %s to stay", i, got, last)
			}
			continue
		}
		name, code := fmt.Sprintf("shelf%d", i), ""
		if i%4 == 0 {
			name, code = "order.lookup", fmt.Sprintf("closed_%d", i)
		}
		f := with(map[string]string{"authz/authz_test.rego": "", "authz/extra.rego": fmt.Sprintf(
			"package authz\n\nround := %d\n\ndeny contains {\"code\": \"closed_%d\", \"message\": \"Closed.\"} if {\n\tinput.identity.state == \"verified\"\n\tinput.action.name == %q\n}\n", i, i, name)})
		last = revision(f)
		wants.Store(last, code)
		d.offers(f)
		if got := d.Engine().Active().Revision(); got != last {
			t.Fatalf("round %d: %s is in force, want %s: %q", i, got, last, d.Problems())
		}
	}
	close(stop)
	visitors.Wait()
	if s := d.Status(); s.Activations != rounds/2+1 || s.Refusals != rounds/2 {
		t.Errorf("%d activations and %d refusals, want %d and %d", s.Activations, s.Refusals, rounds/2+1, rounds/2)
	}
	// And the record says the same: each decision that was answered is there.
	recorded, before := int64(0), audit.Position{}
	for {
		page, err := w.Log.List(audit.Query{Limit: audit.MaxLimit, Before: before})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			recorded++
			if _, known := wants.Load(e.Decision.Policy); !known {
				t.Fatalf("decision %s is on record under %s", e.Decision.ID, e.Decision.Policy)
			}
		}
		if len(page) < audit.MaxLimit {
			break
		}
		before = page[len(page)-1].Position()
	}
	if recorded != asked.Load() || recorded == 0 {
		t.Errorf("%d decisions on record, %d asked", recorded, asked.Load())
	}
	t.Logf("%d decisions while %d policies came", recorded, rounds)
}
