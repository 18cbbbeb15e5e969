package browser

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestAnswersAnybodyWithASourceToRead(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	answer := one(t, p.say("Do you ship abroad?"), "answer")
	shows(t, answer.Text, "Norway")
	if len(answer.Links) == 0 {
		t.Fatal("the answer names no source")
	}
	for _, link := range answer.Links {
		at, err := url.Parse(link)
		if err != nil || at.Scheme+"://"+at.Host != s.ShopURL || !strings.HasPrefix(at.Path, "/help/") {
			t.Fatalf("the source is %s, want a page of the shop's help centre", link)
		}
		resp, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("GET %s: %s, %v", link, resp.Status, err)
		}
		shows(t, string(page), "Norway")
		if at.Fragment != "" {
			shows(t, string(page), `id="`+at.Fragment+`"`)
		}
	}
	d := p.decisions(1)
	if !d[0].Allowed || d[0].Action != "kb.answer" {
		t.Errorf("the panel shows %+v, want kb.answer allowed", d[0])
	}
	declined := one(t, p.say("What is the capital of Peru?"), "declined")
	hides(t, declined.Text, "Lima")
	if len(declined.Links) > 0 {
		t.Errorf("nothing was answered, but %v are given as sources", declined.Links)
	}
	if calls := s.calls(t); len(calls) > 0 {
		t.Errorf("the shop was called: %v", calls)
	}
}

// The seed story: asked by nobody, it waits through the sign-in and comes back
// as a question, and only a yes makes it happen, once.
func TestARequestWaitsForTheSignIn(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	refusal := one(t, p.say("cancel my subscription"), "sign_in")
	shows(t, refusal.Text, "sign in")
	if len(refusal.Buttons) != 1 || refusal.Buttons[0] != "Sign in" {
		t.Fatalf("buttons: %q, want one to sign in", refusal.Buttons)
	}
	if d := p.decisions(1)[0]; d.Allowed || d.Action != "subscription.cancel" {
		t.Errorf("the panel shows %+v, want subscription.cancel denied", d)
	}
	if calls := s.calls(t); len(calls) > 0 {
		t.Errorf("the shop was called for nobody: %v", calls)
	}

	p.click(inChat(".sign_in .primary"))
	p.until("the shop's sign-in page", `location.pathname === "/login" && document.querySelector("button[value=alex]")`)
	p.do(chromedp.Click(chromedp.CSS("button[value=alex]")))
	p.until("back on the page as Alex", `location.pathname === "/" && document.body.dataset.customer === "alex" && widget`)

	p.until("the request came back by itself", `widget.querySelector(".row.confirm")`)
	rows := p.settled(2)
	if len(rows) != 2 || !rows[0].Mine || rows[0].Text != "cancel my subscription" {
		t.Fatalf("the chat shows %+v, want the request and a question", rows)
	}
	shows(t, rows[1].Text, "Harbor Box, small")
	if want := []string{"Yes, go ahead", "No, leave it"}; !slices.Equal(rows[1].Buttons, want) {
		t.Errorf("buttons: %q, want %q", rows[1].Buttons, want)
	}
	if writes := s.writes(t); len(writes) > 0 {
		t.Fatalf("cancelled before the yes: %v", writes)
	}

	done := p.press(".confirm .choices button")
	if len(done) != 1 || done[0].Type != "result" {
		t.Fatalf("after the yes: %+v", done)
	}
	shows(t, done[0].Text, "cancelled")
	for _, r := range p.chat() {
		if len(r.Buttons) > 0 {
			t.Errorf("%q can still be pressed", r.Buttons)
		}
	}
	if writes := s.writes(t); len(writes) != 1 || !strings.HasSuffix(writes[0], "/cancel") {
		t.Errorf("the shop was asked to change %v, want one cancellation", writes)
	}

	p.goTo(s.ShopURL + "/")
	p.ready()
	p.until("Alex is known again", `document.body.dataset.customer === "alex"`)
	if writes := s.writes(t); len(writes) != 1 {
		t.Errorf("a reload did it again: %v", writes)
	}
}

func TestANoLeavesThingsAsTheyAre(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	one(t, p.say("cancel order 1002"), "confirm")
	left := p.press(".confirm .choices button:nth-child(2)")
	if len(left) != 1 || left[0].Type == "result" {
		t.Errorf("after the no: %+v", left)
	}
	if writes := s.writes(t); len(writes) > 0 {
		t.Errorf("the shop was asked to change %v", writes)
	}
	shows(t, one(t, p.say("where is order 1002"), "result").Text, "processing")
}

func TestAFreeShopSaysSoWithoutBlame(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/?site=demo-free")
	p.become("alex")
	refused := one(t, p.say("where is order 1001"), "refused")
	hides(t, refused.Text, "shipped", "throw", "upgrade", "you are not", "your plan")
	d := p.decisions(1)[0]
	if d.Allowed || d.Action != "order.lookup" {
		t.Errorf("the panel shows %+v, want order.lookup denied", d)
	}
	shows(t, d.Text, "plan does not include this")
	if calls := s.calls(t); len(calls) > 0 {
		t.Errorf("the shop was called: %v", calls)
	}
	shows(t, one(t, p.say("Do you ship abroad?"), "answer").Text, "Norway")
}
