package gate_test

import (
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// A limit holds across a crash of the process, on every channel, and a sign-in
// that is asked for anew is challenged.
func TestObligationsHoldAcrossAKill(t *testing.T) {
	s := harness.Start(t, harness.Config{Policies: map[string]string{"authz/more.rego": `package authz

oblige contains {"kind": "limit", "n": 2, "window": "1h"} if input.action.name == "order.list"

oblige contains {"kind": "step_up", "max_age": "5m"} if input.action.name == "appointments.mine"
`}})
	list := func() harness.Acted {
		return s.Act(t, shop, s.Token(t, shop, harness.Alex), "order.list", nil, "")
	}
	if a := list(); a.Status != 200 {
		t.Fatalf("the first use: %d\n%s", a.Status, a.Raw)
	}
	wantReply(t, "the second use", s.Chat(t, shop, s.Token(t, shop, harness.Alex), turn{Message: "show my orders"}), "result", "")
	s.Kill()
	s.Restart()
	(&world{Server: s}).shopSawNothing(t, func() {
		a := list()
		wantProblem(t, "a third use, after the crash", a, 429, "limit_reached")
		if a.Header.Get("Retry-After") == "" {
			t.Error("it does not say when to try again")
		}
		wantReply(t, "by chat", s.Chat(t, shop, s.Token(t, shop, harness.Alex), turn{Message: "show my orders"}), "refused", "limit_reached")
		a = s.Act(t, shop, s.Token(t, shop, harness.Alex), "appointments.mine", nil, "")
		wantProblem(t, "without auth_time", a, 401, "step_up_required")
		if h := a.Header.Get("WWW-Authenticate"); !strings.Contains(h, `error="insufficient_user_authentication"`) || !strings.HasSuffix(h, `max_age="300"`) {
			t.Errorf("WWW-Authenticate %q", h)
		}
		r := wantReply(t, "by chat, without auth_time", s.Chat(t, shop, s.Token(t, shop, harness.Alex), turn{Message: "what appointments do I have"}), "sign_in", "step_up_required")
		if r.URL != harness.SignIn+"?max_age=300" || r.Resume == "" {
			t.Errorf("%+v; want the sign-in page and what resumes it", r)
		}
	})
	if a := s.Act(t, shop, s.Token(t, shop, harness.Jordan), "order.list", nil, ""); a.Status != 200 {
		t.Errorf("another customer: %d\n%s", a.Status, a.Raw)
	}
}
