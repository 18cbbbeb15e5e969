package browser

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// maxWidget is how much a page may have to load, in bytes.
const maxWidget = 20_000

func TestTheWidgetIsSmall(t *testing.T) {
	s := open(t)
	resp, err := http.Get(s.URL + "/widget.js")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	js, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /widget.js: %s, %v", resp.Status, err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(js)
	w.Close()
	if packed.Len() > maxWidget {
		t.Errorf("the widget is %d bytes gzipped, want at most %d", packed.Len(), maxWidget)
	}
	for name, want := range map[string]string{"Content-Type": "text/javascript", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "cross-origin"} {
		if got := resp.Header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What the page says to the widget before it has arrived is kept for it.
func TestCallsBeforeTheWidgetArrivesAreKept(t *testing.T) {
	s := open(t)
	p := s.blank(t, s.browser, chromedp.WithNewBrowserContext())
	late := p.hold("*/widget.js", func() {
		go chromedp.Do(p.ctx, chromedp.Navigate(s.ShopURL+"/")) // ends once the widget is there
		p.until("the page's own script has run", `typeof getToken === "function" && document.querySelector("#try button")`)
	})
	eval[bool](p, `(() => {
		window.heard = [];
		Vouchsafe.on("ready", () => heard.push("ready"));
		Vouchsafe.on("reply", ({ types }) => heard.push(...types));
		Vouchsafe.ask("Do you ship abroad?", { send: true });
		return Array.isArray(Vouchsafe.q);
	})()`)
	if eval[bool](p, `!!widget`) {
		t.Fatal("the widget is there before its script")
	}
	p.letGo(late)
	p.ready()
	rows := p.settled(2)
	if len(rows) != 2 || rows[1].Type != "answer" {
		t.Errorf("the chat shows %+v, want the question and its answer", rows)
	}
	if heard := eval[[]string](p, `heard`); !slices.Equal(heard, []string{"ready", "answer"}) {
		t.Errorf("the page heard %q, want ready and then the answer", heard)
	}
	// A second script tag does not make a second chat.
	eval[bool](p, `new Promise((done) => {
		const again = document.createElement("script");
		again.src = document.body.dataset.gate + "/widget.js";
		again.dataset.site = "demo";
		again.onload = () => done(true);
		document.head.append(again);
	})`)
	if n := eval[int](p, `document.querySelectorAll("vouchsafe-chat").length`); n != 1 {
		t.Errorf("there are %d chats", n)
	}
}

// The other tests rely on the browser's complaints to notice a breach of the
// page's content policy.
func TestABreachOfTheContentPolicyIsNoticed(t *testing.T) {
	s := open(t)
	p := s.visitor(t, "/")
	if ran := eval[bool](p, `(() => {
		const inline = document.createElement("script");
		inline.textContent = "window.pwned = 1";
		document.body.append(inline);
		return "pwned" in window;
	})()`); ran {
		t.Error("the page's policy lets inline scripts run")
	}
	var complaints string
	for end := time.Now().Add(patience); complaints == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		complaints = strings.Join(p.complained(), "\n")
	}
	if !strings.Contains(complaints, "Content Security Policy") {
		t.Errorf("the browser complained of %q, want its content policy", complaints)
	}
}
