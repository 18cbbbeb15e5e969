package browser

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// screens are where people look at the page.
var screens = []struct {
	name          string
	width, height int64
	phone         bool
}{
	{"desktop", 1280, 800, false},
	{"phone", 390, 844, true},
}

// looks shows the tab on a screen, in the light or in the dark, to somebody who
// wants less motion.
func (p *tab) looks(width, height int64, phone bool, scheme string) {
	p.t.Helper()
	var how []chromedp.EmulateViewportOption
	if phone {
		how = append(how, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.do(chromedp.EmulateViewport(width, height, how...))
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// picture keeps a picture of the tab in dir.
func (p *tab) picture(dir, name string) {
	p.t.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// cutOff lists what of the page or the chat is wider than its place, too small
// for a finger, or moving although less motion is wanted.
const cutOff = `(() => {
	const wrong = [];
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > width) wrong.push("the page scrolls sideways");
	for (const e of [...document.querySelectorAll("button, a, p, h1, h2, h3, li"), ...(widget?.querySelectorAll(".bubble, .choices button, .sources li, .note, textarea, h2, .log") ?? [])]) {
		const box = e.getBoundingClientRect();
		const what = (e.className || e.tagName) + " " + e.textContent.trim().slice(0, 40);
		if (box.width === 0) continue;
		if (box.left < -1 || box.right > width + 1) wrong.push(what + " is outside the screen");
		if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline") wrong.push(what + " is wider than its place");
	}
	for (const e of widget?.querySelectorAll("*") ?? []) {
		if (getComputedStyle(e).animationName !== "none") wrong.push(e.className + " moves, though less motion is wanted");
	}
	const card = document.querySelector("main.card");
	if (card && card.offsetWidth < Math.min(width - 40, 400)) wrong.push("the text is squeezed into " + card.offsetWidth + " pixels");
	for (const b of widget?.querySelectorAll("button") ?? []) {
		const box = b.getBoundingClientRect();
		if (box.width > 0 && Math.min(box.width, box.height) < 24) wrong.push(b.textContent + " is too small for a finger");
	}
	return wrong;
})()`

// pale lists texts of the chat whose contrast with what is behind them is
// under 4.5 to 1.
const pale = `(() => {
	const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
	const bright = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = channels(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] === 1) return c;
		}
		return [255, 255, 255];
	};
	return [...(widget?.querySelectorAll(".bubble, .choices button:not(:disabled), .sources a, .note, h2, header p, textarea") ?? [])].filter((e) => e.textContent || e.value).flatMap((e) => {
		const [a, b] = [bright(channels(getComputedStyle(e).color)), bright(behind(e))].sort((x, y) => y - x);
		const contrast = (a + 0.05) / (b + 0.05);
		return contrast < 4.5 ? [e.className + " " + e.textContent.slice(0, 30) + " " + contrast.toFixed(2)] : [];
	});
})()`

func TestNothingIsCutOffOrPale(t *testing.T) {
	s := open(t)
	dir, err := os.MkdirTemp("", "vouchsafe-screens-")
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		t.Logf("pictures in %s", dir)
	} else {
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	for _, screen := range screens {
		for _, scheme := range []string{"light", "dark"} {
			name := screen.name + "-" + scheme
			t.Run(name, func(t *testing.T) {
				p := s.visitor(t, "/")
				p.looks(screen.width, screen.height, screen.phone, scheme)
				look := func(moment string) {
					t.Helper()
					p.picture(dir, name+"-"+moment)
					for _, wrong := range eval[[]string](p, cutOff) {
						t.Errorf("%s: %s", moment, wrong)
					}
					for _, wrong := range eval[[]string](p, pale) {
						t.Errorf("%s: too pale: %s", moment, wrong)
					}
				}
				look("1-page")
				p.say("How do I return something?")
				p.say("cancel my subscription")
				look("2-nobody")
				p.click(inChat(".bare"))
				p.become("jordan")
				p.until("the request came back", `widget.querySelector(".row.confirm")`)
				p.settled(2)
				look("3-confirm")
				p.say("show my orders")
				look("4-orders")
				p.say("reschedule my appointment to next Tuesday")
				look("5-which")
				p.say("look up the order for alex@example.com")
				p.say("where is order 1001")
				p.say("averyveryveryveryveryveryveryveryveryveryveryveryveryveryverylongwordwithoutanyspaces")
				look("6-refused")
				p.decisions(5)
				p.click(inChat(".bare"))
				look("7-decisions")
				p.goTo(s.ShopURL + "/login")
				look("8-login")
				p.goTo(s.ShopURL + "/help/shipping-abroad")
				look("9-help")
			})
		}
	}
}
