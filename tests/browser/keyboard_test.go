package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// focused says what has the focus, in the page or in the chat.
const focused = `(() => { const e = widget.activeElement ?? document.activeElement; return e.getAttribute("aria-label") ?? e.textContent.trim(); })()`

func (p *tab) tabTo(name string, back bool) {
	p.t.Helper()
	var how []chromedp.KeyOption
	if back {
		how = append(how, chromedp.KeyModifiers(kb.ModifierShift))
	}
	var passed []string
	for range 60 {
		at := eval[string](p, focused)
		if at == name {
			return
		}
		passed = append(passed, at)
		p.do(chromedp.KeyEvent(kb.Tab, how...))
	}
	p.t.Fatalf("Tab never reached %q, only %q", name, passed)
}

func TestTheKeyboardIsEnough(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")

	p.tabTo("Chat with Harbor Goods", false)
	p.enter()
	p.until("the message field has the focus", focused+` === "Your message"`)
	p.do(chromedp.KeyEvent("cancel order"))
	p.do(chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(kb.ModifierShift)))
	if typed := eval[string](p, `widget.querySelector("textarea").value`); len(p.chat()) > 0 {
		t.Errorf("Shift and Enter sent %q", typed)
	}
	p.do(chromedp.KeyEvent("1002"))
	p.enter()
	rows := p.settled(2)
	if len(rows) != 2 || rows[1].Type != "confirm" {
		t.Fatalf("the chat shows %+v, want a question", rows)
	}
	if at := eval[string](p, focused); at != "Your message" {
		t.Errorf("after sending, the focus is on %q", at)
	}

	p.tabTo("No, leave it", true)
	p.tabTo("Yes, go ahead", true)
	p.enter()
	p.settled(4)
	if at := eval[string](p, focused); at != "Your message" {
		t.Errorf("after answering, the focus is on %q, want the message field", at)
	}
	if writes := s.writes(t); len(writes) != 1 {
		t.Errorf("the shop was asked to change %v, want one cancellation", writes)
	}

	p.do(chromedp.KeyEvent(kb.Escape))
	p.until("the chat is closed", `!widget.querySelector(".panel")`)
	p.until("the focus is back", focused+` === "Chat with Harbor Goods"`)
	p.enter()
	p.until("the chat is open again, as it was", `widget.querySelectorAll(".log .row").length === 5 && `+focused+` === "Your message"`)
}

// On a phone the chat covers the page, so Tab stays in it.
func TestTabStaysInTheSheetOfAPhone(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.looks(390, 844, true, "light")
	p.openChat()
	for _, back := range []bool{false, true} {
		var how []chromedp.KeyOption
		if back {
			how = append(how, chromedp.KeyModifiers(kb.ModifierShift))
		}
		for range 8 {
			p.do(chromedp.KeyEvent(kb.Tab, how...))
			if !eval[bool](p, `!!widget.activeElement?.closest(".panel")`) {
				t.Fatalf("the focus left the chat for %q", eval[string](p, focused))
			}
		}
	}
}
