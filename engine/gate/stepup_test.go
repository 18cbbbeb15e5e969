package gate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"vouchsafe/engine"
	. "vouchsafe/engine/enginetest"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/limit"
)

// signedIn is Alex's identity with what a token says of how and when.
func signedIn(t *testing.T, w *World, claims map[string]any) gate.Request {
	t.Helper()
	who := w.Verify("demo", w.Token(t, "demo", Alex, func(c jwt.MapClaims) {
		for k, v := range claims {
			c[k] = v
		}
	}))
	if who.Visitor.Email() == "" {
		t.Fatalf("claims %v do not verify: %s", claims, who.Cause)
	}
	return request(w, who, "order.list", nil)
}

func TestStepUp(t *testing.T) {
	now := Start.Unix()
	const recent, strong, both = `{"kind": "step_up", "max_age": "5m"}`, `{"kind": "step_up", "acr": ["urn:a", "urn:b"]}`,
		`{"kind": "step_up", "max_age": "5m", "acr": ["urn:a", "urn:b"]}`
	for _, c := range []struct {
		name, obligation string
		claims           map[string]any
		ok               bool
	}{
		{"it does not say when", recent, nil, false},
		{"just now", recent, map[string]any{"auth_time": now}, true},
		{"to the second", recent, map[string]any{"auth_time": now - 300}, true},
		{"a second too old", recent, map[string]any{"auth_time": now - 301}, false},
		{"long ago", recent, map[string]any{"auth_time": 0}, false},
		{"a fresh token of an old sign-in", recent, map[string]any{"auth_time": now - 3600, "iat": now}, false},
		{"after the token was made", recent, map[string]any{"auth_time": now + 3600}, false},
		{"a text", recent, map[string]any{"auth_time": "1"}, false},
		{"a list", recent, map[string]any{"auth_time": []int64{now}}, false},
		{"nothing", recent, map[string]any{"auth_time": nil}, false},
		{"an acr does not make up for it", recent, map[string]any{"acr": "urn:a"}, false},
		{"it does not say how", strong, nil, false},
		{"one of them", strong, map[string]any{"acr": "urn:b"}, true},
		{"another", strong, map[string]any{"acr": "urn:c"}, false},
		{"in other letters", strong, map[string]any{"acr": "URN:A"}, false},
		{"empty", strong, map[string]any{"acr": ""}, false},
		{"several in one", strong, map[string]any{"acr": "urn:a urn:b"}, false},
		{"a list of them", strong, map[string]any{"acr": []string{"urn:a"}}, false},
		{"recent does not make up for it", strong, map[string]any{"auth_time": now}, false},
		{"both", both, map[string]any{"acr": "urn:a", "auth_time": now - 10}, true},
		{"strong but old", both, map[string]any{"acr": "urn:a", "auth_time": now - 301}, false},
		{"recent but weak", both, map[string]any{"acr": "urn:c", "auth_time": now}, false},
	} {
		w := New(t, Options{Policies: Obliging(t, "order.list", c.obligation)})
		res, err := w.Gate.Do(ctx, signedIn(t, w, c.claims))
		want, calls := engine.CodeStepUpRequired, 0
		if c.ok {
			want, calls = "", 1
		}
		if refused(res, err) != want || len(w.Shop.Calls()) != calls {
			t.Errorf("%s: %q with %d calls, want %q with %d", c.name, refused(res, err), len(w.Shop.Calls()), want, calls)
		}
		if !c.ok {
			e, err := w.Log.Show(res.Decision.ID)
			if err != nil || e.Decision.Allow || len(e.Decision.Obligations) != 1 || e.Code() != engine.CodeStepUpRequired {
				t.Errorf("%s: recorded %+v, %v", c.name, e.Decision, err)
			}
		}
	}
}

// Nothing but the verified token counts: no argument, and no token that has
// expired or names nobody.
func TestStepUpOfNobody(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "shop.hours", `{"kind": "step_up", "max_age": "5m"}`)})
	old := w.Token(t, "demo", Alex, func(c jwt.MapClaims) { c["auth_time"] = w.Clock.Now().Unix() })
	w.Clock.Add(7 * time.Minute)
	for name, token := range map[string]string{"nobody": "", "garbage": "x.y.z", "expired": old} {
		if res, err := w.Gate.Do(ctx, request(w, w.Verify("demo", token), "shop.hours", nil)); refused(res, err) != engine.CodeStepUpRequired {
			t.Errorf("%s: %+v, %v; want step_up_required", name, res, err)
		}
	}
	if n := len(w.Shop.Calls()); n != 0 {
		t.Errorf("the shop saw %d calls", n)
	}
}

// A sign-in that grows too old while its decision is recorded opens nothing.
func TestStepUpIsAskedAgainWhenMinting(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.list", `{"kind": "step_up", "max_age": "2m"}`)})
	r := signedIn(t, w, map[string]any{"auth_time": Start.Unix() - 60})
	g := gate.New(gate.Options{Policy: w.Policy, Clock: w.Clock.Now, EvaluationTimeout: time.Minute,
		Log: slowLog{w.Log, func() { w.Clock.Add(90 * time.Second) }}})
	res, err := g.Do(ctx, r)
	e, _ := errors.AsType[*engine.Error](err)
	if e == nil || e.Code != engine.CodeStepUpRequired || len(e.Unmet) != 1 || len(w.Shop.Calls()) != 0 {
		t.Errorf("%+v, %v with %d calls; want step_up_required and none", res, err, len(w.Shop.Calls()))
	}
	if entry, _ := w.Log.Show(res.Decision.ID); entry.Outcome == nil || entry.Outcome.Code != engine.CodeStepUpRequired {
		t.Errorf("outcome %+v, want step_up_required", entry.Outcome)
	}
}

// A read that proves ownership may want a fresher sign-in than the action does.
func TestStepUpOfAReadThatProves(t *testing.T) {
	w := New(t, Options{Policies: Obliging(t, "order.lookup", `{"kind": "step_up", "max_age": "5m"}`)})
	_, err := w.Gate.Do(ctx, request(w, w.As(t, "demo", Alex), "order.cancel", order("1002")))
	e, _ := errors.AsType[*engine.Error](err)
	if e == nil || e.Code != engine.CodeStepUpRequired || len(e.Unmet) != 1 || e.Unmet[0].MaxAge != 5*time.Minute || len(w.Shop.Calls()) != 0 {
		t.Errorf("%v with %d calls; want step_up_required and none", err, len(w.Shop.Calls()))
	}
}

// A use is not lost to a sign-in that is found too old at the last moment.
func TestStepUpGivesTheUseBack(t *testing.T) {
	w := New(t, Options{Policies: Policies(t, map[string]string{"authz/o.rego": `package authz

oblige contains {"kind": "step_up", "max_age": "2m"} if input.action.name == "order.list"

oblige contains {"kind": "limit", "n": 1, "window": "1h"} if input.action.name == "order.list"
`})})
	slow := true
	g := gate.New(gate.Options{Policy: w.Policy, Clock: w.Clock.Now, EvaluationTimeout: time.Minute, Uses: limit.New(w.State),
		Log: slowLog{w.Log, func() {
			if slow {
				w.Clock.Add(90 * time.Second)
			}
		}}})
	r := signedIn(t, w, map[string]any{"auth_time": Start.Unix() - 60})
	if res, err := g.Do(ctx, r); refused(res, err) != engine.CodeStepUpRequired {
		t.Fatalf("%+v, %v; want step_up_required", res, err)
	}
	slow = false
	if res, err := g.Do(ctx, signedIn(t, w, map[string]any{"auth_time": w.Clock.Now().Unix()})); refused(res, err) != "" {
		t.Errorf("%+v, %v; want the one use", res, err)
	}
}
