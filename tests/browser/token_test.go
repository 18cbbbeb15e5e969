package browser

import (
	"strings"
	"testing"

	"vouchsafe/tests/harness"
)

// expired is a token of Alex's that the shop signed ten minutes ago.
func (s *shop) expired(t *testing.T) string {
	t.Helper()
	e := harness.Run(t, nil, "token", "mint", "--data", s.Data, "--site", "demo", "--sub", "cus_alex",
		"--email", "alex@example.com", "--name", "Alex Morgan", "--age", "10m")
	if e.Code != 0 {
		t.Fatalf("minting a token: %s", e.Errors)
	}
	return strings.TrimSpace(e.Out)
}

// tokens makes the page answer the widget with the first token once, and then
// as the shop's page does.
func (p *tab) tokens(first string) {
	p.t.Helper()
	eval[bool](p, `(() => {
		window.asked = 0;
		window.heard = [];
		for (const name of ["identityExpired", "identified", "error"]) Vouchsafe.on(name, () => heard.push(name));
		Vouchsafe.init({ getToken: async () => ++asked === 1 ? `+first+` : getToken() });
		return true;
	})()`)
	p.until("the widget asked for a token", `window.asked > 0`)
}

func TestNoMessageIsLostToABadToken(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ name, first string }{
		{"expired", quote(s.expired(t))},
		{"garbage", `"not.a.token"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.visitor(t, "/")
			p.become("alex")
			p.tokens(c.first)
			p.openChat()
			// The second is sent while the first is on its way.
			p.write("where is order 1001")
			p.write("where is order 1003")
			p.until("both are answered", `widget.querySelectorAll(".row.result").length === 2`)
			rows := p.settled(4)
			for i, want := range []struct{ kind, text string }{{"", "where is order 1001"}, {"result", "HG1001GB"}, {"", "where is order 1003"}, {"result", "HG1003GB"}} {
				if len(rows) != 4 || rows[i].Type != want.kind || !strings.Contains(rows[i].Text, want.text) || rows[i].Note != "" {
					t.Fatalf("the chat shows %+v, want two questions, each with its result", rows)
				}
			}
			if asked := eval[int](p, `asked`); asked != 2 {
				t.Errorf("the page was asked for %d tokens, want 2", asked)
			}
			heard := eval[string](p, `heard.join(" ")`)
			shows(t, heard, "identified")
			if c.name == "expired" {
				shows(t, heard, "identityExpired")
			}
		})
	}
}

// A write that met an expired token is not done behind the visitor's back, and
// not twice.
func TestAWriteSurvivesAnExpiredToken(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	p.tokens(quote(s.expired(t)))
	replies := p.say("cancel order 1002")
	one(t, replies, "confirm")
	if writes := s.writes(t); len(writes) > 0 {
		t.Fatalf("cancelled before the yes: %v", writes)
	}
	shows(t, one(t, p.press(".confirm .choices button"), "result").Text, "1002 is cancelled")
	if writes := s.writes(t); len(writes) != 1 {
		t.Errorf("the shop was asked to change %v, want one cancellation", writes)
	}
}

func TestAPageThatCannotGetAToken(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	eval[bool](p, `(() => { Vouchsafe.init({ getToken: () => Promise.reject(new Error("no")) }); return true; })()`)
	one(t, p.say("where is order 1001"), "sign_in")
	if calls := s.calls(t); len(calls) > 0 {
		t.Errorf("the shop was called: %v", calls)
	}
	eval[bool](p, `(() => { Vouchsafe.init({ getToken }); return true; })()`)
	p.until("the request is taken up again", `widget.querySelector(".row.result")`)
	rows := p.settled(2)
	shows(t, rows[len(rows)-1].Text, "HG1001GB")
	for _, r := range rows {
		if len(r.Buttons) > 0 {
			t.Errorf("%q can still be pressed", r.Buttons)
		}
	}
}

func TestAMessageSentOfflineCanBeSentAgain(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.openChat()
	p.lose(p.hold("*/chat", func() { p.write("Do you ship abroad?") }))
	p.until("the visitor is told", `widget.querySelector(".note button") && !widget.querySelector(".dots")`)
	rows := p.chat()
	if len(rows) != 1 || !rows[0].Mine {
		t.Fatalf("the chat shows %+v, want the message alone", rows)
	}
	shows(t, rows[0].Note, "No answer arrived", "Try again")
	for _, c := range p.complained() {
		shows(t, c, "ERR_INTERNET_DISCONNECTED")
	}
	p.click(inChat(".note button"))
	rows = p.settled(2)
	if len(rows) != 2 || rows[0].Note != "" || rows[1].Type != "answer" {
		t.Errorf("the chat shows %+v, want the message and its answer", rows)
	}
}
