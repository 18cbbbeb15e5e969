package policy

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/engine"
)

func shadowing(t testing.TB, candidate *Set) (*Shadow, *Engine) {
	t.Helper()
	s := NewShadow(candidate, time.Now)
	t.Cleanup(s.Stop)
	e := NewEngine(shipped(t))
	e.Shadow(s)
	return s, e
}

// settled waits until everything offered was compared, by what the report says.
func settled(t testing.TB, s *Shadow, offered int64) ShadowReport {
	t.Helper()
	for range 200000 {
		if r := s.Report(); r.Waiting == 0 && r.Offered == offered {
			return r
		}
		runtime.Gosched()
		time.Sleep(50 * time.Microsecond) // the deadline is the loop's, not the clock's
	}
	t.Fatalf("the shadow is not done: %+v", s.Report())
	return ShadowReport{}
}

func decided(e *Engine, id string, in *Input) engine.Decision {
	q := in.Asked()
	r, err := e.Active().Answer(context.Background(), q)
	d := engine.Decision{ID: id, Allow: r.Allow, Reasons: r.Reasons, Obligations: r.Obligations, Policy: e.Active().Revision()}
	if err != nil {
		d.Reasons = []engine.Reason{{Code: engine.CodePolicyError}}
	}
	e.Decided(d, q)
	return d
}

func TestShadowCountsFlipsByIdsAlone(t *testing.T) {
	candidate := compiled(t, shippedFiles(t, map[string]string{"authz/x.rego": `package authz

# METADATA
# title: T
# custom:
#   code: not_this_one
#   message: M
#   audit: A
deny contains reason(rego.metadata.rule()) if input.action.args.order_id == "1001"

oblige contains {"kind": "limit", "n": 3, "window": "1h"} if input.action.args.order_id == "1002"
`}))
	s, e := shadowing(t, candidate)
	for i, id := range []string{"1001", "1002", "1003", "1001", "1004"} {
		decided(e, "d_"+string(rune('a'+i)), changed(func(in *Input) { in.Args = map[string]any{"order_id": id} }))
	}
	decided(e, "d_f", changed(func(in *Input) { in.Target = "jordan@example.com" }))
	e.Decided(engine.Decision{ID: "d_g", Reasons: []engine.Reason{{Code: engine.CodePolicyError}}, Policy: e.Active().Revision()}, allowedInput().Asked())
	e.Decided(engine.Decision{ID: "d_h", Reasons: []engine.Reason{{Code: engine.CodeUnknownAction}}}, Asked{}) // the policy was not asked
	r := settled(t, s, 7)
	if r.Candidate != candidate.Revision() || r.Against != e.Active().Revision() || r.Sampled != 1 || r.Missed != 0 {
		t.Errorf("%+v; want all of it, against the policy in force", r)
	}
	if r.Compared != 6 || r.Same != 2 || r.Changed[FlipAllowToDeny] != 2 || r.Changed[FlipObligation] != 1 || r.Changed[FlipReason] != 1 ||
		r.Changed[FlipDenyToAllow] != 0 || r.Skipped["policy_error"] != 1 {
		t.Errorf("%+v; want 6 compared, 2 the same, 2 denied, 1 obliged, 1 for another reason, 1 skipped", r.FlipReport)
	}
	if len(r.Flips) == 0 || strings.Join(r.Flips[0].Examples, " ") != "d_a d_d" {
		t.Errorf("flips %+v, want the ids of the two that are denied first", r.Flips)
	}
	said := string(must(json.Marshal(r)))
	for _, personal := range []string{"alex", "jordan", "example.com", "1001", "1002", "cus_1001", "cv_1"} {
		if strings.Contains(strings.ToLower(said), personal) {
			t.Errorf("the report holds %q: %s", personal, said)
		}
	}
}

// A candidate may be as bad as it likes: whoever decides does not notice.
func TestShadowOfABadCandidate(t *testing.T) {
	for _, c := range []struct{ name, authz string }{
		{"undefined", "decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if input.now < 0\n"},
		{"malformed", "decision := 1\n"},
		{"failing", "decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if to_number(input.action.name) > 0\n"},
		{"endless", "decision := {\"allow\": true, \"reasons\": [], \"obligations\": []} if {\n\tsome a in numbers.range(1, 10000)\n\tsome b in numbers.range(1, 10000)\n\ta * b == -1\n}\n"},
	} {
		s, e := shadowing(t, compiled(t, tiny(c.authz)))
		if d := decided(e, "d_1", allowedInput()); !d.Allow {
			t.Errorf("%s: the policy in force denies: %+v", c.name, d)
		}
		if r := settled(t, s, 1); r.Changed[FlipAllowToDeny] != 1 || r.Flips[0].After.Reasons[0] != engine.CodePolicyError {
			t.Errorf("%s: %+v; want a policy_error", c.name, r)
		}
	}
	s := NewShadow(&Set{revision: "hollow"}, time.Now) // any panic will do
	defer s.Stop()
	s.offer(engine.Decision{Allow: true, Policy: "p"}, allowedInput().Asked())
	if r := settled(t, s, 1); r.Skipped["panicked"] != 1 {
		t.Errorf("%+v; want one that panicked", r)
	}
}

// Whoever offers never waits, and what finds no place is counted.
func TestShadowSaysHowMuchItMissed(t *testing.T) {
	s, e := shadowing(t, shipped(t))
	s.mu.Lock() // so that nothing is counted off meanwhile
	const offered = 5 * shadowQueue
	q, d := allowedInput().Asked(), engine.Decision{ID: "d_1", Allow: true, Policy: e.Active().Revision()}
	for range offered {
		e.Decided(d, q) // returns, or this test does not
	}
	missed := s.missed.Load()
	s.mu.Unlock()
	if missed < offered-shadowQueue-2 || missed > offered-shadowQueue {
		t.Errorf("%d of %d were missed with room for %d", missed, offered, shadowQueue)
	}
	for s.Report().Waiting > 0 {
		runtime.Gosched()
	}
	// The first compared decision began the count against the policy in force.
	for range 10 {
		e.Decided(d, q)
	}
	for s.Report().Waiting > 0 {
		runtime.Gosched()
	}
	if r := s.Report(); r.Offered < int64(r.Compared)+r.Missed || r.Sampled != float64(r.Offered-r.Missed)/float64(r.Offered) {
		t.Errorf("%+v does not add up", r)
	}
}

func TestShadowBeginsAnewAgainstAnotherPolicy(t *testing.T) {
	s, e := shadowing(t, compiled(t, tiny("decision := {\"allow\": false, \"reasons\": [{\"code\": \"closed\", \"message\": \"Closed.\"}], \"obligations\": []}\n")))
	for range 3 {
		decided(e, "d_old", allowedInput())
	}
	settled(t, s, 3)
	e.Activate(compiled(t, shippedFiles(t, map[string]string{"authz/x.rego": "package authz\n\nx := 1\n"})))
	decided(e, "d_new", allowedInput())
	if r := settled(t, s, 1); r.Against != e.Active().Revision() || r.Compared != 1 || r.Flips[0].Examples[0] != "d_new" {
		t.Errorf("%+v; want one against the new policy", r)
	}
}

// Decisions are made, policies put in force, reports read and shadows changed
// all at once. This is for the race detector.
func TestShadowUnderLoad(t *testing.T) {
	s, e := shadowing(t, shipped(t))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				if d := decided(e, "d_1", allowedInput()); !d.Allow {
					t.Errorf("denied: %+v", d)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			next := NewShadow(shipped(t), time.Now)
			e.Shadow(next)
			next.Report()
			e.Shadow(nil)
			next.Stop()
			e.Shadow(s)
		}
	})
	wg.Wait()
	for s.Report().Waiting > 0 {
		runtime.Gosched()
	}
	if r := s.Report(); r.Same != r.Compared {
		t.Errorf("a policy differs from itself: %+v", r)
	}
}

func BenchmarkDecided(b *testing.B) {
	q, d := allowedInput().Asked(), engine.Decision{ID: "d_1", Allow: true, Policy: "p"}
	run := func(b *testing.B, e *Engine) {
		b.ReportAllocs()
		for b.Loop() {
			e.Decided(d, q)
		}
	}
	b.Run("nobody shadows", func(b *testing.B) { run(b, NewEngine(shipped(b))) })
	b.Run("shadowed", func(b *testing.B) {
		_, e := shadowing(b, shipped(b))
		run(b, e)
	})
}
