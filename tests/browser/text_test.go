package browser

import (
	"fmt"
	"testing"
)

const hostile = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script><b>bold</b> &amp; {{7*7}}`

// unharmed fails if any text became markup.
func (p *tab) unharmed() {
	p.t.Helper()
	if eval[bool](p, `"pwned" in window`) {
		p.t.Error("a script ran")
	}
	if n := eval[int](p, `widget.querySelectorAll("img, script, b").length + document.querySelectorAll("#decisions img, #decisions script").length`); n > 0 {
		p.t.Errorf("%d elements were made of text", n)
	}
	if links := eval[[]string](p, `[...widget.querySelectorAll("a")].map((a) => a.href).filter((h) => !h.startsWith("http"))`); len(links) > 0 {
		p.t.Errorf("links lead to %q", links)
	}
}

func TestWhatIsTypedIsText(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	p.become("alex")
	p.say(hostile)
	if got := p.chat()[0].Text; got != hostile {
		t.Errorf("the message is shown as %q, want it as typed", got)
	}
	p.say(`look up the order for "<img src=x onerror=window.pwned=1>"@example.com or <i>jordan@example.com</i>`)
	p.decisions(1)
	// What the shop stored comes back as text too.
	done := one(t, p.say(`update my address to 5 <b>Mill</b> <img src=x onerror=window.pwned=1> Road, Truro, TR1 1AA`), "result")
	shows(t, done.Text, "<b>Mill</b>", "<img")
	p.unharmed()
}

// Whatever a gate answers, and be it hostile, is shown as text, and no link or
// button leads to a script.
func TestWhatIsAnsweredIsText(t *testing.T) {
	s := open(t)
	h := quote(hostile)
	for _, c := range []struct{ name, reply string }{
		{"answer", fmt.Sprintf(`{type: "answer", text: %s, citations: [{document: "x", title: %[1]s, url: "javascript:window.pwned=1", passage: "p"}, {document: %[1]s, url: "data:text/html,x", passage: "p"}]}`, h)},
		{"confirm", fmt.Sprintf(`{type: "confirm", text: "", summary: %s, pending: "pa_1", action: %[1]s}`, h)},
		{"clarify", fmt.Sprintf(`{type: "clarify", text: %s, options: [{label: %[1]s, value: %[1]s}]}`, h)},
		{"result", fmt.Sprintf(`{type: "result", text: %s, data: {a: %[1]s}}`, h)},
		{"sign_in", fmt.Sprintf(`{type: "sign_in", text: %s, code: "identity_absent", url: "javascript:window.pwned=1", resume: "pa_1"}`, h)},
		{"failed", fmt.Sprintf(`{type: "failed", text: %s, code: %[1]s}`, h)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.visitor(t, "/")
			eval[bool](p, `(() => {
				const real = window.fetch;
				window.fetch = async (url, options) => String(url).includes("/chat")
					? new Response(JSON.stringify({conversation: "cv_1", identity: {state: "verified", name: `+h+`}, replies: [`+c.reply+`]}), {headers: {"content-type": "application/json"}})
					: real(url, options);
				return true;
			})()`)
			reply := one(t, p.say("hello"), c.name)
			if reply.Text != hostile {
				t.Errorf("shown as %q, want the text as it came", reply.Text)
			}
			shows(t, eval[string](p, `widget.querySelector("header").textContent`), hostile)
			if c.name == "sign_in" && len(reply.Buttons) > 0 {
				t.Errorf("a button leads to a script: %q", reply.Buttons)
			}
			if len(reply.Links) > 0 {
				t.Errorf("a link leads to a script: %q", reply.Links)
			}
			p.unharmed()
		})
	}
}
