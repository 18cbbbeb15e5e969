package browser

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// moved is from when to when, absolute and with the zone.
var moved = regexp.MustCompile(`from (\w+ \d+ \w+) .*\b(GMT|BST)\b.* to (Tuesday \d+ \w+) .*\b(GMT|BST)\b`)

func TestAlexMovesTheAppointment(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	done := one(t, p.say("reschedule my appointment to next Tuesday"), "result")
	shows(t, done.Text, "Jacket fitting")
	if !moved.MatchString(done.Text) {
		t.Errorf("%q does not say from when to when, with the zone", done.Text)
	}
	hides(t, done.Text, "next Tuesday", "Boot", "Repair")
	shows(t, eval[string](p, `widget.querySelector("header").innerText`), "Signed in as Alex Morgan")
	if writes := s.writes(t); len(writes) != 1 || writes[0] != "POST /admin/bookings/B301/reschedule" {
		t.Errorf("the shop was asked to change %v, want Alex's appointment moved", writes)
	}
	p.until("the panel says that it is done", `[...document.querySelectorAll("#decisions li")].some((d) => d.querySelector("code").textContent === "booking.reschedule" && d.innerText.includes("· done"))`)
	for _, d := range p.decisions(2) { // moving it, and looking up whose it is
		if !d.Allowed || (d.Action != "booking.reschedule" && d.Action != "booking.list") {
			t.Errorf("the panel shows %+v, want booking.reschedule and booking.list allowed", d)
		}
		shows(t, d.Text, "verified: alex@example.com")
	}
}

func TestJordanIsAskedWhichAppointment(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("jordan")
	which := one(t, p.say("reschedule my appointment to next Tuesday"), "clarify")
	if len(which.Buttons) != 2 {
		t.Fatalf("options: %q, want Jordan's two appointments", which.Buttons)
	}
	offered := strings.Join(which.Buttons, " ")
	shows(t, offered, "Boot fitting", "Repair consultation")
	hides(t, offered, "Jacket")
	if writes := s.writes(t); len(writes) > 0 {
		t.Fatalf("moved before Jordan said which: %v", writes)
	}
	replies := p.press(".clarify .choices button:nth-child(2)")
	done := one(t, replies, "result")
	shows(t, done.Text, "Repair consultation")
	if !moved.MatchString(done.Text) {
		t.Errorf("%q does not say from when to when, with the zone", done.Text)
	}
	if writes := s.writes(t); len(writes) != 1 || writes[0] != "POST /admin/bookings/B403/reschedule" {
		t.Errorf("the shop was asked to change %v, want the appointment that was chosen", writes)
	}
	for _, r := range p.chat() {
		if len(r.Buttons) > 0 {
			t.Errorf("%q can still be pressed", r.Buttons)
		}
	}
}

func TestNobodyGetsAnotherCustomersOrder(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	refused := one(t, p.say("look up the order for jordan@example.com"), "refused")
	shows(t, refused.Text, "account you are signed in with")
	d := p.decisions(1)[0]
	if d.Allowed {
		t.Errorf("the panel shows %+v, want it denied", d)
	}
	shows(t, d.Text, "Denied", "verified: alex@example.com", "somebody other than the customer who signed in", "jordan@example.com")
	if calls := s.calls(t); len(calls) > 0 {
		t.Errorf("the shop was called: %v", calls)
	}

	missing := one(t, p.say("where is order 9999"), "failed")
	foreign := one(t, p.say("where is order 2001"), "failed")
	if foreign.Text != strings.ReplaceAll(missing.Text, "9999", "2001") {
		t.Errorf("another's order reads %q, a missing one %q: want no difference", foreign.Text, missing.Text)
	}
	shows(t, p.decisions(3)[0].Text, "withheld: the record is somebody else’s")
	one(t, p.say("cancel order 2002"), "failed")
	hides(t, p.everything(), "tool roll", "polish", "HG2001GB", "sea chest", "212.00", "Jordan Lee", "Falmouth")
	if writes := s.writes(t); len(writes) > 0 {
		t.Errorf("the shop was asked to change %v", writes)
	}
}

func TestSigningOutForgetsTheConversationInEveryTab(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	shows(t, one(t, p.say("where is order 1001"), "result").Text, "HG1001GB")
	other := s.beside(t, p, "/")
	other.until("the second tab is Alex's", `document.body.dataset.customer === "alex"`)
	shows(t, one(t, other.say("where is order 1003"), "result").Text, "HG1003GB")
	other.do(chromedp.SendKeys(inChat("textarea"), "half a sen"))

	p.become("")
	for name, tab := range map[string]*tab{"this": p, "the other": other} {
		tab.until("nothing is left in "+name+" tab", `widget.querySelectorAll(".log .row").length === 1`)
		tab.until("the page of "+name+" tab says so", `document.body.dataset.customer === ""`)
		hides(t, eval[string](tab, `widget.textContent`), "HG100", "1001", "1003", "Alex", "delivered")
		hides(t, eval[string](tab, `JSON.stringify(Object.entries(sessionStorage).filter(([k]) => k.startsWith("vouchsafe:")))`), "cv_", "pa_")
	}
	if left := eval[string](other, `widget.querySelector("textarea").value`); left != "" {
		t.Errorf("what was being typed in the other tab is still there: %q", left)
	}
	one(t, p.say("where is order 1001"), "sign_in")
	one(t, other.say("where is order 1003"), "sign_in")
}

func TestTwoTabsAsTwoCustomers(t *testing.T) {
	s := open(t)
	alex, jordan := s.visitor(t, "/"), s.visitor(t, "/")
	alex.become("alex")
	jordan.become("jordan")
	shows(t, one(t, alex.say("show my orders"), "result").Text, "Lambswool throw", "Brass storm lantern")
	shows(t, one(t, jordan.say("show my orders"), "result").Text, "Oak sea chest", "Boot socks")
	one(t, jordan.say("where is order 1001"), "failed")
	one(t, alex.say("where is order 2001"), "failed")
	hides(t, alex.everything(), "sea chest", "tool roll", "HG2001GB", "Jordan Lee")
	hides(t, jordan.everything(), "lambswool throw, slate", "HG1001GB", "alex@example.com")
	jordan.become("")
	shows(t, one(t, alex.say("where is order 1001"), "result").Text, "HG1001GB")
}

func TestANewCustomerGetsNothingOfTheLast(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	shows(t, one(t, p.say("where is order 1001"), "result").Text, "HG1001GB")
	p.become("jordan")
	p.until("the conversation is gone", `widget.querySelectorAll(".log .row").length === 1`)
	shows(t, one(t, p.say("show my orders"), "result").Text, "Oak sea chest")
	hides(t, eval[string](p, `widget.textContent`), "HG1001GB", "Alex", "Lambswool throw, slate")
	shows(t, eval[string](p, `widget.querySelector("header").innerText`), "Signed in as Jordan Lee")
}
