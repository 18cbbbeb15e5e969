package gate_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
)

// trap is an error that panics when it is looked into.
type trap struct{}

func (trap) Error() string { return "a trap" }
func (trap) Unwrap() error { panic("sprung") }

// ending is how one request ends: with one decision, and where that permitted
// something with one outcome.
type ending struct {
	name string
	// arrange sets the world up and returns what is asked of it.
	arrange func(t *testing.T, w *World) gate.Request
	reason  string // the decision's code, "" when it allows
	outcome string // the outcome's code; "-" for done, "" for no outcome
	err     string // what whoever asked is told besides, "" for no error
	policy  string // another policy's authz rules
}

func asking(action string, args map[string]any, change func(jwt.MapClaims)) func(*testing.T, *World) gate.Request {
	return func(t *testing.T, w *World) gate.Request {
		return request(w, w.Verify("demo", w.Token(t, "demo", Alex, change)), action, args)
	}
}

// failing is a shop that fails at the action.
func failing(action string, confirmed bool, fail func() error) func(*testing.T, *World) gate.Request {
	return func(t *testing.T, w *World) gate.Request {
		w.Shop.Fail = func(c gate.Claim) error {
			if c.Action == action {
				return fail()
			}
			return nil
		}
		r := request(w, w.As(t, "demo", Alex), action, order("1001"))
		if action == "shop.hours" {
			r.Intent.Args = nil
		}
		if confirmed {
			r.Confirmed = w.Policy.Active().Revision()
		}
		return r
	}
}

func coded(code string) func() error {
	return func() error { return engine.Errorf(code, "The shop says no.", errors.New("status 418")) }
}

// Whatever becomes of a request, one complete decision says what was decided,
// and one outcome what came of it where it was permitted.
func TestEveryEnding(t *testing.T) {
	claim := func(name string, value any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[name] = value }
	}
	past := func(t *testing.T, w *World) gate.Request {
		token := w.Token(t, "demo", Alex, nil)
		w.Clock.Add(7 * time.Minute)
		return request(w, w.Verify("demo", token), "order.list", nil)
	}
	for _, e := range []ending{
		{name: "done", arrange: asking("order.lookup", order("1001"), nil), outcome: "-"},
		{name: "public", arrange: func(t *testing.T, w *World) gate.Request { return request(w, w.Verify("demo", ""), "shop.hours", nil) }, outcome: "-"},

		{name: "nobody", arrange: func(t *testing.T, w *World) gate.Request { return request(w, w.Verify("demo", ""), "order.list", nil) }, reason: "identity_absent"},
		{name: "malformed token", arrange: func(t *testing.T, w *World) gate.Request {
			return request(w, w.Verify("demo", "x.y.z"), "order.list", nil)
		}, reason: "identity_invalid"},
		{name: "expired", arrange: past, reason: "identity_expired"},
		{name: "too long-lived", arrange: asking("order.list", nil, claim("exp", Start.Add(time.Hour).Unix())), reason: "identity_too_long_lived"},
		{name: "revoked", arrange: func(t *testing.T, w *World) gate.Request {
			r := request(w, w.As(t, "demo", Alex), "order.list", nil)
			if _, err := w.Revoked.Subject(ctx, "demo", Alex.Subject); err != nil {
				t.Fatal(err)
			}
			return r
		}, reason: "identity_revoked"},
		{name: "unverified address", arrange: asking("order.list", nil, claim("email_verified", false)), reason: "email_unverified"},
		{name: "another's account", arrange: func(t *testing.T, w *World) gate.Request {
			r := request(w, w.As(t, "demo", Alex), "order.list", nil)
			r.Intent.Asserted.Emails = []string{Jordan.Email}
			return r
		}, reason: "target_mismatch"},
		{name: "tier", arrange: func(t *testing.T, w *World) gate.Request {
			r := request(w, w.As(t, "free", Alex), "order.list", nil)
			r.Site = w.Free
			return r
		}, reason: "tier_insufficient"},
		{name: "unknown action", arrange: asking("order.steal", nil, nil), reason: "unknown_action"},
		{name: "invalid arguments", arrange: asking("order.lookup", order("x"), nil), reason: "invalid_arguments"},
		{name: "unsupported obligation", arrange: asking("order.list", nil, nil), reason: "unsupported_obligation",
			policy: `decision := {"allow": true, "reasons": [], "obligations": [{"kind": "ask_a_manager"}]}`},
		{name: "policy error", arrange: asking("order.list", nil, nil), reason: "policy_error",
			policy: `decision := {"allow": true, "reasons": [], "obligations": []} if to_number(input.action.name) == 1`},
		{name: "wall", arrange: func(t *testing.T, w *World) gate.Request { return request(w, w.Verify("demo", ""), "order.list", nil) }, reason: "wall", policy: allowAll},

		{name: "to be confirmed", arrange: asking("order.cancel", order("1002"), nil), outcome: "confirmation_required"},
		{name: "confirmed", arrange: failing("order.cancel", true, func() error { return nil }), outcome: "-"},
		{name: "somebody else's record", arrange: asking("order.lookup", order("2001"), nil), outcome: "not_found", err: "not_found"},
		{name: "somebody else's record to write to", arrange: failing("order.cancel", true, coded(engine.CodeNotFound)), outcome: "not_found", err: "not_found"},
		{name: "connector refused", arrange: failing("order.lookup", false, coded(engine.CodeConnectorFailed)), outcome: "connector_failed", err: "connector_failed"},
		{name: "connector timed out", arrange: failing("order.lookup", false, coded(engine.CodeConnectorTimeout)), outcome: "connector_timeout", err: "connector_timeout"},
		{name: "write in doubt", arrange: failing("order.cancel", true, coded(engine.CodeOutcomeUnknown)), outcome: "outcome_unknown", err: "outcome_unknown"},
		{name: "connector failed without a code", arrange: failing("order.lookup", false, func() error { return errors.New("boom") }), outcome: "internal", err: "internal"},
		{name: "panic in a read", arrange: failing("order.lookup", false, func() error { panic("boom") }), outcome: "connector_failed", err: "connector_failed"},
		{name: "panic in a write", arrange: failing("order.cancel", true, func() error { panic("boom") }), outcome: "outcome_unknown", err: "outcome_unknown"},
		{name: "panic after a read", arrange: failing("order.lookup", false, func() error { return trap{} }), outcome: "internal", err: "internal"},
		{name: "panic after a write", arrange: failing("order.cancel", true, func() error { return trap{} }), outcome: "outcome_unknown", err: "outcome_unknown"},
		{name: "panic in the proof", arrange: func(t *testing.T, w *World) gate.Request {
			r := failing("order.lookup", true, func() error { return trap{} })(t, w)
			r.Intent.Action = "order.cancel"
			return r
		}, outcome: "internal", err: "internal"},
	} {
		t.Run(e.name, func(t *testing.T) {
			o := Options{}
			if e.policy != "" {
				o.Policies = only(t, e.policy, releaseAll)
			}
			w := New(t, o)
			r := e.arrange(t, w)
			res, err := w.Gate.Do(ctx, r)
			if code := engine.CodeOf(err); code != e.err {
				t.Errorf("Do: %v, want the error %q", err, e.err)
			}
			left(t, w, res.Decision.ID, e)
		})
	}
}

// left holds what the log has of a decision against how it should have ended.
func left(t *testing.T, w *World, id string, e ending) {
	t.Helper()
	es := slices.DeleteFunc(w.Entries(t), func(e audit.Entry) bool { return e.Decision.ID != id })
	if len(es) != 1 {
		t.Fatalf("%d decisions are recorded as %q, want 1", len(es), id)
	}
	got, reason := es[0], ""
	if n := len(got.Decision.Reasons); n > 0 {
		reason = got.Decision.Reasons[n-1]
	}
	if got.Decision.Allow != (e.reason == "") || reason != e.reason {
		t.Errorf("recorded allow %v, %v; want %q", got.Decision.Allow, got.Decision.Reasons, e.reason)
	}
	if got.Site == "" || got.Decision.Time.IsZero() || got.Decision.Policy == "" || len(got.Decision.Input) == 0 ||
		got.About.Action.Name == "" || got.About.Identity.State == "" || got.About.Channel == "" {
		t.Errorf("the record is not complete: %+v about %+v", got.Decision, got.About)
	}
	switch o := got.Outcome; {
	case e.outcome == "" && o != nil:
		t.Errorf("nothing was permitted and there is an outcome: %+v", *o)
	case e.outcome != "" && o == nil:
		t.Errorf("there is no outcome, want %q", e.outcome)
	case o != nil:
		code := o.Code
		if code == "" {
			code = "-"
		}
		if code != e.outcome || o.Time.IsZero() || o.Connector == "" {
			t.Errorf("outcome %+v, want %q", *o, e.outcome)
		}
	}
}

// Whoever goes away while a read is under way leaves a record that says so, and
// a write is carried through.
func TestTheClientGoes(t *testing.T) {
	for _, test := range []struct {
		action  string
		outcome string
		err     string
	}{
		{"order.lookup", "client_gone", "client_gone"},
		{"order.cancel", "-", ""},
	} {
		w := New(t, Options{})
		gone, cancel := context.WithCancel(ctx)
		r := failing(test.action, true, func() error {
			cancel()
			if test.action == "order.lookup" {
				return engine.Errorf(engine.CodeConnectorFailed, "Cancelled.", gone.Err())
			}
			return nil
		})(t, w)
		res, err := w.Gate.Do(gone, r)
		if engine.CodeOf(err) != test.err {
			t.Errorf("%s: %v", test.action, err)
		}
		left(t, w, res.Decision.ID, ending{outcome: test.outcome})
	}
	// And whoever was gone before anything was decided is not the policy's fault.
	w := New(t, Options{})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	res, _ := w.Gate.Do(gone, request(w, w.Verify("demo", ""), "order.list", nil))
	left(t, w, res.Decision.ID, ending{reason: "identity_absent"})
}

// A permit that runs out between the decision and the call is its own ending.
func TestTheTokenRunsOutOnTheWay(t *testing.T) {
	w := New(t, Options{})
	late := slowLog{w.Log, func() { w.Clock.Add(10 * time.Minute) }}
	g := gate.New(gate.Options{Policy: w.Policy, Log: late, Clock: w.Clock.Now, EvaluationTimeout: 5 * time.Second})
	res, err := g.Do(ctx, request(w, w.As(t, "demo", Alex), "order.lookup", order("1001")))
	if engine.CodeOf(err) != engine.CodeWall || len(w.Shop.Calls()) != 0 {
		t.Errorf("%v, %d calls; want the wall", err, len(w.Shop.Calls()))
	}
	left(t, w, res.Decision.ID, ending{outcome: "wall"})
}

// Every code that the shipped policy or Go gives a decision has its ending in
// the table above or is one of a confirmation's, which engine/confirm tests.
func TestEveryCodeHasAnEnding(t *testing.T) {
	tested := []string{"identity_absent", "identity_invalid", "identity_expired", "identity_too_long_lived", "identity_revoked",
		"email_unverified", "target_mismatch", "tier_insufficient", "unknown_action", "invalid_arguments", "unsupported_obligation",
		"policy_error", "wall", "policy_stale",
		"limit_reached", "step_up_required", "audit_unavailable", // in the tests of the obligations
		"not_owner", "release_unverified", // of an outcome: they withhold a record
		"confirmation_cancelled", "confirmation_lapsed", "confirmation_spent", "confirmation_needs_fresh_token"}
	w := New(t, Options{})
	codes := map[string]bool{}
	for code := range gate.Reasons() {
		codes[code] = true
	}
	for code := range w.Policy.Active().Reasons() {
		codes[code] = true
	}
	for code := range codes {
		if !slices.Contains(tested, code) {
			t.Errorf("the code %s has no ending that is tested", code)
		}
	}
}
