package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long something may take to appear.
const patience = 20 * time.Second

// tab is one tab of a browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// visitor opens a tab as somebody who shares nothing with the other visitors.
// path is the page's, "/" for the home page.
func (s *shop) visitor(t *testing.T, path string) *tab {
	t.Helper()
	return s.tab(t, s.browser, path, chromedp.WithNewBrowserContext())
}

// beside opens another tab of the same visitor.
func (s *shop) beside(t *testing.T, first *tab, path string) *tab {
	t.Helper()
	return s.tab(t, first.ctx, path)
}

func (s *shop) tab(t *testing.T, parent context.Context, path string, options ...chromedp.ContextOption) *tab {
	t.Helper()
	p := s.blank(t, parent, options...)
	p.goTo(s.ShopURL + path)
	p.ready()
	return p
}

// blank opens an empty tab. Whatever the browser complains of in it, such as a
// breach of the page's content policy, fails the test.
func (s *shop) blank(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	p := &tab{t: t}
	ctx, closeTab := chromedp.NewContext(parent, append(options, chromedp.WithListener(p.listen))...)
	p.ctx = ctx
	t.Cleanup(func() {
		for _, c := range p.complained() {
			t.Errorf("the browser complained: %s", c)
		}
		if t.Failed() {
			if page, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText + "\n---\n" + (document.querySelector("vouchsafe-chat")?.shadowRoot.querySelector(".panel")?.innerText ?? "the chat is closed")`)); err == nil {
				t.Logf("the page:\n%s", page)
			}
		}
		closeTab()
	})
	p.do(chromedp.EmulateViewport(1280, 800))
	return p
}

func (p *tab) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			complaint += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		var said []string
		for _, a := range e.Args {
			said = append(said, string(a.Value)+a.Description)
		}
		complaint = string(e.Type) + ": " + strings.Join(said, " ")
	case *log.EventEntryAdded:
		complaint = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	}
	if complaint == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, complaint)
}

// complained returns what the browser complained of and forgets it.
func (p *tab) complained() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.complaints
	p.complaints = nil
	return out
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) goTo(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// ready waits until the widget is in the page.
func (p *tab) ready() {
	p.t.Helper()
	p.until("the widget is loaded", `!!document.querySelector("vouchsafe-chat")?.shadowRoot.querySelector(".launcher")`)
}

// hold stops the next request to an address like pattern and returns it, to be
// let go or lost.
func (p *tab) hold(pattern string, trigger func()) fetch.RequestID {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: pattern}}}); err != nil {
		p.t.Fatal(err)
	}
	held, err := chromedp.Run(p.ctx, chromedp.WaitEvent(fetch.RequestPaused, nil,
		chromedp.Func(func(context.Context, *chromedp.Target) error { trigger(); return nil })))
	if err != nil {
		p.t.Fatal(err)
	}
	return held.RequestID
}

func (p *tab) letGo(held fetch.RequestID) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: held})
	p.holdNoMore(err)
}

func (p *tab) lose(held fetch.RequestID) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, fetch.FailRequest, fetch.FailRequestParams{RequestID: held, ErrorReason: network.ErrorReasonInternetDisconnected})
	p.holdNoMore(err)
}

func (p *tab) holdNoMore(err error) {
	p.t.Helper()
	if err == nil {
		_, err = chromedp.Call(p.ctx, fetch.Disable, cdp.Empty{})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// eval evaluates an expression in the page; widget is the chat's shadow root.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	got, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](inWidget(expression), chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return got
}

func inWidget(expression string) string {
	return fmt.Sprintf(`(async () => { const widget = document.querySelector("vouchsafe-chat")?.shadowRoot; return (%s); })()`, expression)
}

// until waits until a condition of the page holds, through navigations too.
func (p *tab) until(what, condition string) {
	p.t.Helper()
	last := error(nil)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var holds bool
		if holds, last = chromedp.Run(p.ctx, chromedp.Evaluate[bool](inWidget("!!("+condition+")"), chromedp.EvalAwaitPromise)); holds {
			return
		}
	}
	p.t.Fatalf("it never came to this: %s (%v)", what, last)
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}

// inChat selects elements of the chat, inPage of the page.
func inChat(css string) chromedp.JSPath {
	return chromedp.JSPath(`document.querySelector("vouchsafe-chat").shadowRoot.querySelector(` + quote(css) + `)`)
}

func (p *tab) click(sel chromedp.JSPath) {
	p.t.Helper()
	p.do(chromedp.Click(sel, chromedp.NodeVisible))
}

func (p *tab) clickPage(css string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(css), chromedp.NodeVisible))
}

// become uses the page's switch: "", "alex" or "jordan".
func (p *tab) become(customer string) {
	p.t.Helper()
	p.clickPage(`.switch button[data-customer=` + quote(customer) + `]`)
	p.until("the page is "+customer+"'s", `document.body.dataset.customer === `+quote(customer))
}

func (p *tab) openChat() {
	p.t.Helper()
	if !eval[bool](p, `!!widget.querySelector(".panel")`) {
		p.click(inChat(".launcher"))
		p.until("the chat is open", `widget.activeElement?.tagName === "TEXTAREA"`)
	}
}

// write types a message and sends it with Enter, without waiting.
func (p *tab) write(message string) {
	p.t.Helper()
	p.openChat()
	p.do(chromedp.SendKeys(inChat("textarea"), message))
	p.enter()
}

// enter presses Enter as a keyboard does: one event that is both the key and
// the character, so that a page that prevents the key prevents the newline.
func (p *tab) enter() {
	p.t.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		press := input.DispatchKeyEventParams{Type: kind, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, NativeVirtualKeyCode: 13}
		if kind == input.DispatchKeyEventTypeKeyDown {
			press.Text, press.UnmodifiedText = "\r", "\r"
		}
		if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, press); err != nil {
			p.t.Fatal(err)
		}
	}
}

// row is one line of the chat.
type row struct {
	Mine    bool
	Type    string // of a reply
	Text    string
	Note    string
	Buttons []string // those that can be pressed
	Links   []string
}

// chat is everything said so far, without the greeting.
func (p *tab) chat() []row {
	p.t.Helper()
	return eval[[]row](p, `[...widget.querySelectorAll(".log .row")].slice(1).filter((r) => !r.querySelector(".dots")).map((r) => ({
		mine: r.classList.contains("mine"),
		type: [...r.classList].filter((c) => !["row", "mine", "theirs"].includes(c)).join(" "),
		text: r.querySelector(".bubble").textContent,
		note: r.querySelector(".note")?.textContent ?? "",
		buttons: [...r.querySelectorAll("button:not(:disabled)")].map((b) => b.textContent),
		links: [...r.querySelectorAll("a")].map((a) => a.href),
	}))`)
}

// settled waits until nothing is under way and at least n rows are there, and
// returns them.
func (p *tab) settled(n int) []row {
	p.t.Helper()
	p.until(fmt.Sprintf("%d rows, and nothing under way", n),
		fmt.Sprintf(`widget.querySelector(".panel") && !widget.querySelector(".dots") && widget.querySelectorAll(".log .row").length > %d`, n))
	return p.chat()
}

// say sends a message and returns the replies to it.
func (p *tab) say(message string) []row {
	p.t.Helper()
	p.openChat()
	before := len(p.chat())
	p.write(message)
	return p.settled(before + 2)[before+1:]
}

// press presses a button of the chat and returns the replies to it.
func (p *tab) press(css string) []row {
	p.t.Helper()
	before := len(p.chat())
	p.click(inChat(css))
	return p.settled(before + 2)[before+1:]
}

// one is the only reply, of a type.
func one(t *testing.T, replies []row, kind string) row {
	t.Helper()
	if len(replies) != 1 || replies[0].Mine || replies[0].Type != kind {
		t.Fatalf("replies: %+v, want one %s", replies, kind)
	}
	return replies[0]
}

// shows fails unless text holds every part.
func shows(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not show %q", text, part)
		}
	}
}

// hides fails if text holds any part, in whatever case.
func hides(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
			t.Errorf("%q shows %q", text, part)
		}
	}
}

// decision is a line of the page's panel.
type decision struct {
	Allowed bool
	Action  string
	Text    string
}

// decisions waits until the panel has n decisions and returns them, newest
// first.
func (p *tab) decisions(n int) []decision {
	p.t.Helper()
	p.until(fmt.Sprintf("%d decisions in the panel", n), fmt.Sprintf(`document.querySelectorAll("#decisions li").length >= %d`, n))
	return eval[[]decision](p, `[...document.querySelectorAll("#decisions li")].map((d) => ({
		allowed: d.classList.contains("allowed"), action: d.querySelector("code").textContent, text: d.innerText }))`)
}

// everything is every text the visitor can see, and what is kept in storage.
func (p *tab) everything() string {
	p.t.Helper()
	return eval[string](p, `document.body.innerText + widget.textContent + JSON.stringify(sessionStorage) + JSON.stringify(localStorage)`)
}
