package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

const adminKey = "shop-admin-key-0123456789"

const restManifest = `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  order.lookup:
    title: Look up one of my orders
    personal: true
    risk: read
    timeout: 300ms
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: ".order", id: ".id", owner: ".customer.email", fields: [id, total, {city: .address.city}]}
  order.list:
    title: List my orders
    personal: true
    risk: read
    args: {type: object, properties: {status: {type: array, items: {type: string}}, page: {type: integer}}}
    request:
      method: GET
      path: "/customers/{pinned.subject}/orders{?page}"
      query: {email: "{pinned.email}", status: "{status}", limit: 50, "q[]": "name:{pinned.name} & all"}
    response: {records: ".orders[]", owner: {subject: .customer.id}, fields: [id]}
  order.cancel:
    title: Cancel one of my orders
    personal: true
    risk: destructive
    timeout: 300ms
    args: {type: object, required: [order_id], properties: {order_id: {type: string}, why: {type: string}}}
    resource: {order_id: order.lookup}
    request: {method: POST, path: "/orders/{order_id}/cancel", body: "{why: (.args.why // \"-\"), by: .pinned.email}"}
    response: {records: ".order", id: ".id", owner: ".customer.email", fields: [id]}
  order.forget:
    title: Forget one of my orders
    personal: true
    risk: destructive
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    resource: {order_id: order.lookup}
    request: {method: DELETE, path: "/orders/{order_id}"}
    response: {not_found: [404, 410]}
  shop.hours:
    title: Say when we are open
    personal: false
    risk: read
    request: {method: GET, path: /hours/}
    response: {records: ".days[]", fields: [day]}
  shop.loop:
    title: Run for ever
    personal: false
    risk: read
    request: {method: GET, path: /hours/}
    response: {records: "def f: f; f", fields: [day]}
  shop.flood:
    title: Bring back too much
    personal: false
    risk: read
    request: {method: GET, path: /hours/}
    response: {records: "range(100000) | {day: .}", fields: [day]}
  shop.array:
    title: Forget the brackets
    personal: false
    risk: read
    request: {method: GET, path: /hours/}
    response: {records: ".days", fields: [day]}
`

// shop is the outside system: it writes down what it was asked and answers as
// it is told.
type shop struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	last  *http.Request
	body  string
	do    http.HandlerFunc
}

func newShop(t testing.TB) *shop {
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.RequestURI)
		s.last, s.body = r, string(b)
		do := s.do
		s.mu.Unlock()
		do(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *shop) answer(do http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.last, s.body, s.do = nil, nil, "", do
}

func (s *shop) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// runProvider starts a real provider with one connection to base.
// runProvider's connection may do what the manifest asks, and it takes the
// desk's vouchers.
func runProvider(t testing.TB, base string, m *Manifest, clock func() time.Time) *provider.Client {
	t.Helper()
	dir := t.TempDir()
	o := provider.Options{
		Dir: filepath.Join(dir, "provider"), Key: provider.MasterKey{File: filepath.Join(dir, "master.key")},
		PermitKeys: permitSigner.Public(), Clock: clock,
		CreateKey: true, Socket: filepath.Join(dir, "p.sock"),
	}
	conn := provider.Connection{Site: siteID, ID: "shop-admin", Type: provider.APIKey, Header: "X-Api-Key", BaseURL: base, Allow: m.Rules()}
	if err := provider.AddConnection(context.Background(), o, conn, provider.NewAPIKey(adminKey)); err != nil {
		t.Fatalf("AddConnection: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	o.Ready = func() { close(ready) }
	go func() { done <- provider.Serve(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("Serve: %v", err)
	}
	client, err := provider.NewClient(o.Socket, provider.ProxyKeyFile(o.Dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// noWait waits out no back-off.
func noWait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

type rig struct {
	*desk
	shop *shop
	rest *REST
}

func newRig(t testing.TB) *rig {
	m := mustParse(t, restManifest)
	r := &rig{desk: newDesk(t, m), shop: newShop(t)}
	r.rest = NewREST(m, siteID, NewGuard(runProvider(t, r.shop.URL+"/api/v1/", m, r.clock), noWait), r.clock)
	return r
}

// call asks for one action the way the gate does.
func (r *rig) call(t testing.TB, action, src string) (gate.Response, error) {
	t.Helper()
	claim, permit := r.permit(t, action, args(t, src))
	return r.rest.Call(context.Background(), claim, permit)
}

func TestPermitRefusals(t *testing.T) {
	r := newRig(t)
	r.shop.answer(says(200, `{"order": {"id": "1001", "customer": {"email": "alex@example.com"}}}`))
	a := argsOf("order_id", "1001")
	tests := []struct {
		name string
		call func(t *testing.T) error
		want error
	}{
		{"zero permit", func(t *testing.T) error {
			_, err := r.rest.Call(context.Background(), gate.Claim{Site: siteID, Action: "order.lookup", Args: a}, gate.Permit{})
			return err
		}, gate.ErrNoPermit},
		{"other arguments", func(t *testing.T) error {
			c, p := r.permit(t, "order.lookup", a)
			c.Args = argsOf("order_id", "2002")
			_, err := r.rest.Call(context.Background(), c, p)
			return err
		}, gate.ErrPermitOther},
		{"another action", func(t *testing.T) error {
			c, p := r.permit(t, "order.lookup", a)
			c.Action = "order.forget"
			_, err := r.rest.Call(context.Background(), c, p)
			return err
		}, gate.ErrPermitOther},
		{"another site's connector", func(t *testing.T) error {
			c, p := r.permit(t, "order.lookup", a)
			other := NewREST(r.rest.manifest, "other", r.rest.guard, r.clock)
			_, err := other.Call(context.Background(), c, p)
			return err
		}, gate.ErrPermitOther},
		{"expired", func(t *testing.T) error {
			c, p := r.permit(t, "order.lookup", a)
			now := r.now
			defer func() { r.now = now }()
			r.now = r.now.Add(time.Hour)
			_, err := r.rest.Call(context.Background(), c, p)
			return err
		}, gate.ErrPermitExpired},
	}
	for _, tt := range tests {
		err := tt.call(t)
		if !errors.Is(err, tt.want) || engine.CodeOf(err) != engine.CodeConnectorFailed {
			t.Errorf("%s: Call = %v, want %v", tt.name, err, tt.want)
		}
		if got := r.shop.calls(); len(got) != 0 {
			t.Fatalf("%s: the shop was asked %v", tt.name, got)
		}
	}

	c, p := r.permit(t, "order.lookup", a)
	if _, err := r.rest.Call(context.Background(), c, p); err != nil {
		t.Fatalf("a good permit: %v", err)
	}
	if _, err := r.rest.Call(context.Background(), c, p); !errors.Is(err, gate.ErrPermitUsed) {
		t.Errorf("used permit: Call = %v, want ErrPermitUsed", err)
	}
	if got := r.shop.calls(); len(got) != 1 {
		t.Errorf("the shop was asked %v, want one call", got)
	}
}

func TestRequestAsSent(t *testing.T) {
	r := newRig(t)
	tests := []struct {
		action, args string
		want, body   string // "" for refused
	}{
		{"order.lookup", `{"order_id": "1001"}`, "GET /api/v1/orders/1001", ""},
		{"order.lookup", `{"order_id": "#W12"}`, "GET /api/v1/orders/%23W12", ""},
		{"order.lookup", `{"order_id": "a/b"}`, "", ""},
		{"order.lookup", `{"order_id": "a\\b"}`, "", ""},
		{"order.lookup", `{"order_id": "..;x"}`, "", ""},
		{"order.lookup", `{"order_id": "a%2Fb"}`, "", ""},
		{"order.lookup", `{"order_id": "50% off"}`, "GET /api/v1/orders/50%25%20off", ""},
		{"order.lookup", `{"order_id": "1?admin=1&x"}`, "GET /api/v1/orders/1%3Fadmin%3D1%26x", ""},
		{"order.lookup", `{"order_id": "%2e%2e"}`, "", ""},
		{"order.lookup", `{"order_id": "é 1"}`, "GET /api/v1/orders/%C3%A9%201", ""},
		{"order.lookup", `{"order_id": "⸮"}`, "GET /api/v1/orders/%E2%B8%AE", ""}, // U+2E2E, whose code point spells ".."
		{"order.lookup", `{"order_id": "..."}`, "GET /api/v1/orders/...", ""},
		{"order.lookup", `{"order_id": ".."}`, "", ""},
		{"order.lookup", `{"order_id": "."}`, "", ""},
		{"order.lookup", `{"order_id": ""}`, "", ""},
		{"order.lookup", `{"order_id": "../customers"}`, "", ""},
		{"order.lookup", `{"order_id": "1001/../2002"}`, "", ""},
		{"order.lookup", `{"order_id": "1001\\..\\2002"}`, "", ""},
		{"order.lookup", `{"order_id": "1001\n"}`, "", ""},
		{"order.lookup", `{"order_id": "1001\u0000"}`, "", ""},
		{"order.forget", `{"order_id": "#W12"}`, "DELETE /api/v1/orders/%23W12", ""},
		{"order.cancel", `{"order_id": "1001"}`, "POST /api/v1/orders/1001/cancel", `{"by":"alex@example.com","why":"-"}`},
		{"order.cancel", `{"order_id": "1001", "why": "\", \"by\": \"jordan@example.com"}`, "POST /api/v1/orders/1001/cancel",
			`{"by":"alex@example.com","why":"\", \"by\": \"jordan@example.com"}`},
		{"order.list", `{}`, "GET /api/v1/customers/c-1/orders?email=alex%40example.com&limit=50&q%5B%5D=name%3AAlex%20%26%20all", ""},
		{"order.list", `{"page": 2, "status": ["open", "a&b"]}`, "GET /api/v1/customers/c-1/orders?page=2&email=alex%40example.com&status=open%2Ca%26b&limit=50&q%5B%5D=name%3AAlex%20%26%20all", ""},
		{"shop.hours", `{}`, "GET /api/v1/hours/", ""},
	}
	for _, tt := range tests {
		t.Run(tt.action+" "+tt.args, func(t *testing.T) {
			r.shop.answer(says(200, `{"orders": [], "days": []}`))
			_, err := r.call(t, tt.action, tt.args)
			got := r.shop.calls()
			if tt.want == "" {
				if engine.CodeOf(err) != engine.CodeInvalidArguments || len(got) != 0 {
					t.Errorf("Call = %v after %v; want invalid_arguments and no call", err, got)
				}
				return
			}
			if err != nil {
				t.Fatalf("Call: %v", err)
			}
			if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if strings.TrimSpace(r.shop.body) != tt.body {
				t.Errorf("body = %s, want %s", r.shop.body, tt.body)
			}
			h := r.shop.last.Header
			wantKey := ""
			if r.shop.last.Method != "GET" {
				wantKey = "pa_1"
			}
			if h.Get("X-Api-Key") != adminKey || h.Get("Idempotency-Key") != wantKey || h.Get("Authorization") != "" {
				t.Errorf("headers = %v", h)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	r := newRig(t)
	tests := []struct {
		name, action, args, reply string
		want                      []gate.Record
	}{
		{"only the fields", "order.lookup", `{"order_id": "1001"}`,
			`{"order": {"id": "1001", "total": 19.90, "note": "secret", "address": {"city": "Bath", "street": "x"}, "customer": {"email": "Alex@Example.com"}}}`,
			[]gate.Record{{ID: "1001", Owner: gate.Owner{Email: "Alex@Example.com"},
				Fields: map[string]any{"id": "1001", "total": json.Number("19.90"), "city": "Bath"}}}},
		{"id as a number", "order.lookup", `{"order_id": "1001"}`, `{"order": {"id": 1001, "customer": {"email": "a@b.example"}}}`,
			[]gate.Record{{ID: "1001", Owner: gate.Owner{Email: "a@b.example"}, Fields: map[string]any{"id": json.Number("1001")}}}},
		{"another record than asked for", "order.lookup", `{"order_id": "1001"}`, `{"order": {"id": "2002", "customer": {"email": "alex@example.com"}}}`, nil},
		{"record without its id", "order.lookup", `{"order_id": "1001"}`, `{"order": {"customer": {"email": "alex@example.com"}}}`, nil},
		{"no record", "order.lookup", `{"order_id": "1001"}`, `{"order": null}`, nil},
		{"no owner", "order.lookup", `{"order_id": "1001"}`, `{"order": {"id": "1001"}}`,
			[]gate.Record{{ID: "1001", Fields: map[string]any{"id": "1001"}}}},
		{"owner of another type", "order.lookup", `{"order_id": "1001"}`, `{"order": {"id": "1001", "customer": {"email": ["alex@example.com"]}}}`,
			[]gate.Record{{ID: "1001", Fields: map[string]any{"id": "1001"}}}},
		{"owner by subject", "order.list", `{}`, `{"orders": [{"id": "1", "customer": {"id": 7}}, {"id": "2", "customer": {"id": "c-1"}}]}`,
			[]gate.Record{
				{ID: "1", Owner: gate.Owner{Subject: "7"}, Fields: map[string]any{"id": "1"}},
				{ID: "2", Owner: gate.Owner{Subject: "c-1"}, Fields: map[string]any{"id": "2"}}}},
		{"empty list", "order.list", `{}`, `{"orders": []}`, nil},
		{"nothing to read", "order.forget", `{"order_id": "1"}`, `it is gone`, nil},
	}
	for _, tt := range tests {
		r.shop.answer(says(200, tt.reply))
		got, err := r.call(t, tt.action, tt.args)
		if err != nil || got.Status != 200 {
			t.Errorf("%s: Call = %v, %v", tt.name, got, err)
			continue
		}
		if len(got.Records) == 0 {
			got.Records = nil
		}
		if diff := cmp.Diff(tt.want, got.Records); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestUpstreamFailures(t *testing.T) {
	r := newRig(t)
	const told = "jordan@example.com lives at 10.0.0.1"
	hang := func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() }
	reset := func(w http.ResponseWriter, q *http.Request) { panic(http.ErrAbortHandler) }
	tests := []struct {
		name        string
		do          http.HandlerFunc
		read, write string // codes
	}{
		{"404", says(404, told), "not_found", "not_found"},
		{"400", says(400, told), "connector_failed", "connector_failed"},
		{"401", says(401, told), "connector_failed", "connector_failed"},
		{"403", says(403, told), "not_found", "connector_failed"},
		{"410", says(410, told), "not_found", "connector_failed"},
		{"429", says(429, told), "connector_failed", "connector_failed"},
		{"500", says(500, told), "connector_failed", "outcome_unknown"},
		{"503", says(503, told), "connector_failed", "outcome_unknown"},
		{"503, come back later", func(w http.ResponseWriter, q *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(503) }, "connector_failed", "connector_failed"},
		{"504", says(504, told), "connector_failed", "outcome_unknown"},
		{"redirect", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", "http://169.254.169.254/")
			w.WriteHeader(302)
		}, "connector_failed", "outcome_unknown"},
		{"not JSON", says(200, "<html>"+told), "connector_failed", "outcome_unknown"},
		{"empty", says(200, ""), "connector_failed", "outcome_unknown"},
		{"two values", says(200, `{"order": null} {}`), "connector_failed", "outcome_unknown"},
		{"another shape", says(200, `["`+told+`"]`), "connector_failed", "outcome_unknown"},
		{"over 1 MiB", says(200, `{"order": "`+strings.Repeat("x", maxReply)+`"}`), "connector_failed", "outcome_unknown"},
		{"slow headers", hang, "connector_timeout", "outcome_unknown"},
		{"slow body", func(w http.ResponseWriter, q *http.Request) {
			io.WriteString(w, `{"order":`)
			w.(http.Flusher).Flush()
			<-q.Context().Done()
		}, "connector_timeout", "outcome_unknown"},
		{"reset before the reply", reset, "connector_failed", "outcome_unknown"},
		{"broken off", func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"order":`)
		}, "connector_failed", "outcome_unknown"},
	}
	for _, tt := range tests {
		for action, want := range map[string]string{"order.lookup": tt.read, "order.cancel": tt.write} {
			r.shop.answer(tt.do)
			got, err := r.call(t, action, `{"order_id": "1001"}`)
			if engine.CodeOf(err) != want || len(got.Records) != 0 {
				t.Errorf("%s, %s: Call = %v, %v; want %s", tt.name, action, got, err, want)
			}
			if n := len(r.shop.calls()); n != 1 && (action == "order.cancel" || n == 0) {
				t.Errorf("%s, %s: the shop was asked %d times", tt.name, action, n)
			}
			for _, leak := range []string{"jordan", "10.0.0.1", "127.0.0.1", alexEmail, adminKey} {
				if err != nil && strings.Contains(err.Error(), leak) {
					t.Errorf("%s, %s: the error %q holds %q", tt.name, action, err, leak)
				}
			}
		}
	}
	r.shop.answer(says(410, ""))
	if _, err := r.call(t, "order.forget", `{"order_id": "1"}`); engine.CodeOf(err) != engine.CodeNotFound {
		t.Errorf("410 declared as not found: Call = %v", err)
	}
}

func TestUpstreamDown(t *testing.T) {
	r := newRig(t)
	r.shop.answer(says(200, "{}"))
	r.shop.Close()
	for _, action := range []string{"order.lookup", "order.cancel"} {
		if _, err := r.call(t, action, `{"order_id": "1001"}`); engine.CodeOf(err) != engine.CodeConnectorFailed {
			t.Errorf("%s: Call = %v, want connector_failed: nothing was sent", action, err)
		}
	}
}

func TestProviderDown(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	client, err := provider.NewClient(filepath.Join(dir, "p.sock"), filepath.Join(dir, "proxy.key"))
	if err != nil {
		t.Fatal(err)
	}
	r.rest.guard = NewGuard(client, noWait)
	for _, action := range []string{"order.lookup", "order.cancel"} {
		if _, err := r.call(t, action, `{"order_id": "1001"}`); engine.CodeOf(err) != engine.CodeConnectorFailed {
			t.Errorf("%s: Call = %v, want connector_failed: nothing was sent", action, err)
		}
	}
}

func TestExpressionsAreBounded(t *testing.T) {
	r := newRig(t)
	r.shop.answer(says(200, `{"days": [{"day": "Monday"}]}`))
	for action, want := range map[string]error{"shop.loop": errJQTimeout, "shop.flood": errJQMany, "shop.array": errReply} {
		if _, err := r.call(t, action, `{}`); !errors.Is(err, want) || engine.CodeOf(err) != engine.CodeConnectorFailed {
			t.Errorf("%s: Call = %v, want %v", action, err, want)
		}
	}
}
