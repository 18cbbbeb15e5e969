package gate_test

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"vouchsafe/engine/httpapi"
	"vouchsafe/tests/harness"
)

// The same key does a thing once and says again what came of it; another
// request under it, and another person's, are told apart.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := start(t)
	move := func(token, key, begins string) harness.Acted {
		return w.Act(t, shop, token, "appointments.move", args{"reference": "AX-10", "begins": begins}, "", "Idempotency-Key", key)
	}
	first := move(w.alex, "move-1", "2030-05-01T10:00:00Z")
	if first.Status != http.StatusOK || first.Header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("the first request: %d %s", first.Status, first.Raw)
	}
	again := move(w.alex, "move-1", "2030-05-01T10:00:00Z")
	if again.Status != http.StatusOK || !bytes.Equal(again.Raw, first.Raw) || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same request again: %d %s, want the first answer", again.Status, again.Raw)
	}
	wantProblem(t, "another request under the key", move(w.alex, "move-1", "2031-05-01T10:00:00Z"), http.StatusUnprocessableEntity, "idempotency_mismatch")
	wantProblem(t, "another person under the key", move(w.jordan, "move-1", "2030-05-01T10:00:00Z"), http.StatusNotFound, "not_found")
	wantProblem(t, "an empty key", move(w.alex, "", "2030-05-01T10:00:00Z"), http.StatusUnprocessableEntity, "invalid_request")
	wantProblem(t, "a key with a space", move(w.alex, "a b", "2030-05-01T10:00:00Z"), http.StatusUnprocessableEntity, "invalid_request")
	if writes := w.Shop.Writes(); len(writes) != 1 || writes[0].IdempotencyKey == "" {
		t.Fatalf("the shop saw %v, want one write with an Idempotency-Key", writes)
	}

	var mu sync.Mutex
	byStatus := map[int]int{}
	together(16, func(int) {
		a := move(w.alex, "move-2", "2030-06-01T10:00:00Z")
		mu.Lock()
		defer mu.Unlock()
		byStatus[a.Status]++
	})
	if n := len(w.Shop.Writes()); n != 2 || byStatus[200] < 1 || byStatus[200]+byStatus[409] != 16 {
		t.Errorf("16 requests at once under one key: %v, %d writes; want 200 or 409, and one write", byStatus, n-1)
	}

	// A refusal does not spend a key.
	refused := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, "", "Idempotency-Key", "cancel-1")
	wantProblem(t, "what needs a confirmation", refused, http.StatusConflict, "confirmation_required")
	if yes := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, refused.Pending, "Idempotency-Key", "cancel-1"); yes.Status != http.StatusOK {
		t.Errorf("confirming under the key of the refusal: %d %s", yes.Status, yes.Raw)
	}
	if yes := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, refused.Pending, "Idempotency-Key", "cancel-1"); yes.Status != http.StatusOK ||
		yes.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("confirming again under the same key: %d %s", yes.Status, yes.Raw)
	}
}

// Pages of a site's own origins may call, and no others.
func TestOrigins(t *testing.T) {
	t.Parallel()
	w := start(t)
	const path = "/v1/sites/shop/chat"
	ok := w.Do(t, http.MethodOptions, path, "", nil, "Origin", harness.Origin,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
	if ok.Status != http.StatusNoContent || ok.Header.Get("Access-Control-Allow-Origin") != harness.Origin ||
		!strings.Contains(ok.Header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.Contains(ok.Header.Get("Access-Control-Allow-Headers"), "Authorization") ||
		ok.Header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(ok.Header.Get("Vary"), "Origin") {
		t.Errorf("preflight of the site's page: %d %v", ok.Status, ok.Header)
	}
	body := []byte(`{"message":"where is my order 1001"}`)
	if got := w.Do(t, http.MethodPost, path, w.alex, body, "Origin", harness.Origin); got.Status != http.StatusOK ||
		got.Header.Get("Access-Control-Allow-Origin") != harness.Origin {
		t.Errorf("the site's page: %d %v", got.Status, got.Header)
	}
	w.shopSawNothing(t, func() {
		for _, origin := range []string{"https://evil.example", "http://shop.example", "https://shop.example:8443", "https://shop.example.evil.example",
			"https://www.shop.example", "https://SHOP.example", "null", "https://shop.example/"} {
			for _, method := range []string{http.MethodOptions, http.MethodPost} {
				var in any
				if method == http.MethodPost {
					in = body
				}
				got := w.Do(t, method, path, w.alex, in, "Origin", origin, "Access-Control-Request-Method", "POST")
				if got.Status != http.StatusForbidden || got.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s from %s: %d, allowed %q; want 403 and nothing allowed", method, origin, got.Status, got.Header.Get("Access-Control-Allow-Origin"))
				}
			}
		}
	})
}

// Over its limit a visitor, and an address, is told when to come back; another
// visitor is not held up.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := &world{Server: harness.Start(t, harness.Config{Limits: "{per_visitor: 5/m, per_address: 40/m}"})}
	w.alex, w.jordan = w.Token(t, shop, harness.Alex), w.Token(t, shop, harness.Jordan)
	limited := func(what string, a harness.Response) {
		t.Helper()
		if n, err := strconv.Atoi(a.Header.Get("Retry-After")); a.Status != http.StatusTooManyRequests || err != nil || n < 1 || n > 60 ||
			!strings.Contains(string(a.Raw), `"rate_limited"`) {
			t.Errorf("%s: %d, Retry-After %q; want 429 and a number of seconds\n%s", what, a.Status, a.Header.Get("Retry-After"), a.Raw)
		}
	}
	for i := range 5 {
		if a := w.Act(t, shop, w.alex, "order.list", nil, ""); a.Status != http.StatusOK {
			t.Fatalf("request %d of 5: %d %s", i+1, a.Status, a.Raw)
		}
	}
	w.shopSawNothing(t, func() {
		limited("the sixth", w.Act(t, shop, w.alex, "order.list", nil, "").Response)
		limited("with a fresh token", w.Act(t, shop, w.Token(t, shop, harness.Alex), "order.list", nil, "").Response)
		limited("in chat", w.Chat(t, shop, w.alex, turn{Message: "show my orders"}).Response)
		limited("with a forged X-Forwarded-For", w.Do(t, http.MethodPost, "/v1/sites/shop/actions/order.list", w.alex, args{}, "X-Forwarded-For", "203.0.113.9"))
	})
	if a := w.Act(t, shop, w.jordan, "appointments.mine", nil, ""); a.Status != http.StatusOK {
		t.Errorf("another visitor: %d %s", a.Status, a.Raw)
	}
	var last harness.Response
	for range 60 {
		if last = w.Chat(t, shop, "", turn{Message: "hello"}).Response; last.Status != http.StatusOK {
			break
		}
	}
	limited("one address, over and over", last)
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := w.Do(t, http.MethodGet, path, "", nil); got.Status != http.StatusOK {
			t.Errorf("%s of a limited address: %d, want 200", path, got.Status)
		}
	}
}

// What the public listener says about itself is the description the tests hold
// it to, and no more.
func TestPublicListener(t *testing.T) {
	t.Parallel()
	w := start(t)
	if got := w.Do(t, http.MethodGet, "/openapi.json", "", nil); !bytes.Equal(got.Raw, httpapi.OpenAPI) {
		t.Errorf("/openapi.json is not the description these tests use: %d, %d bytes", got.Status, len(got.Raw))
	}
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`} {
		if got := w.Do(t, http.MethodGet, path, "", nil); got.Status != http.StatusOK || string(got.Raw) != want {
			t.Errorf("%s: %d %s, want %s", path, got.Status, got.Raw, want)
		}
	}
	if got := w.Do(t, http.MethodGet, "/widget.js", "", nil); got.Status != http.StatusOK || len(got.Raw) == 0 {
		t.Errorf("/widget.js: %d, %d bytes", got.Status, len(got.Raw))
	}
	for _, path := range []string{"/healthz", "/v1/sites/shop/actions"} {
		h := w.Do(t, http.MethodGet, path, "", nil).Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Security-Policy") == "" || h.Get("Cache-Control") != "no-store" || h.Get("Server") != "" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

// Replies arrive as server-sent events where they are asked for.
func TestEventStream(t *testing.T) {
	t.Parallel()
	w := start(t)
	got := w.Do(t, http.MethodPost, "/v1/sites/shop/chat", w.alex, turn{Message: "where is my order 1001"}, "Accept", "text/event-stream")
	if got.Status != http.StatusOK || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%d %s", got.Status, got.Header.Get("Content-Type"))
	}
	text := string(got.Raw)
	reply, done := strings.Index(text, "event: reply"), strings.Index(text, "event: done")
	if reply < 0 || done < reply || !strings.Contains(text, `"shipped"`) {
		t.Errorf("the events are not a reply and then done:\n%s", text)
	}
	bad := w.Do(t, http.MethodPost, "/v1/sites/shop/chat", w.alex, turn{Message: "where is my order " + harness.JordanOrder}, "Accept", "text/event-stream")
	nothingOfJordan(t, "a stream", bad)
}

// The demo answers to its own names only.
func TestDemoRefusesOtherHosts(t *testing.T) {
	t.Parallel()
	d := harness.StartDemo(t)
	for host, want := range map[string]int{"": http.StatusOK, "evil.example": http.StatusMisdirectedRequest, "127.0.0.1": http.StatusMisdirectedRequest} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := d.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %s, want %d", host, resp.Status, want)
		}
	}
	e := harness.Run(t, nil, "serve", "--addr", "0.0.0.0:0", "--data", t.TempDir())
	if e.Code != 2 || !strings.Contains(e.Errors, "this machine only") {
		t.Errorf("a demo for the whole network: status %d\n%s", e.Code, e.Errors)
	}
}
