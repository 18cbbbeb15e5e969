package connectors

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// billing is a manifest of an API that knows customers by ids of its own, asks
// in forms and answers in pages.
const billing = `connector: {name: billing, kind: rest, connection: shop-admin, headers: {Api-Version: "2026-01-01"}, idempotency_header: X-Request-Key}
actions:
  plan.list:
    title: List my plans
    personal: true
    risk: read
    steps:
      - find: customer
        request: {method: GET, path: /customers, query: {email: "{pinned.email}"}}
        response: {records: ".data[]", id: .id, owner: .email, fields: [id]}
        many: true
    request:
      each: customer
      method: GET
      path: /plans
      query: {customer: "{steps.customer.id}", "expand[]": [a, b], after: "{page.cursor}"}
      pages: {cursor: ".data[-1].id", more: .has_more, limit: 3}
    response: {records: ".data[]", id: .id, owner: {step: customer, id: .customer}, fields: [id, {name: .plan.name}]}
  plan.pause:
    title: Pause a plan
    personal: true
    risk: write
    args: {type: object, required: [plan_id, months], properties: {plan_id: {type: string}, months: {type: integer, minimum: 1, maximum: 3}}}
    resource: {plan_id: plan.list}
    steps:
      - find: customer
        request: {method: GET, path: /customers, query: {email: "{pinned.email}"}}
        response: {records: ".data[]", id: .id, owner: .email, fields: [id]}
    request:
      method: POST
      path: "/customers/{steps.customer.id}/plans/{plan_id}"
      encode: form
      headers: {Accept-Language: en}
      body: "{pause: {months: .args.months, by: [.steps.customer.id]}, note: null, key: .idempotency_key}"
    response: {records: .plan, owner: {below: customer}, fields: [id], refused: [400, ".error.kind == \"frozen\""], not_found: [404, ".error.kind == \"gone\""], success: ".ok != false"}
  ticket.list:
    title: List my tickets
    personal: true
    risk: read
    steps:
      - find: contact
        request: {method: POST, path: /contacts/search, body: "{email: .pinned.email}"}
        response: {records: ".results[]", id: .id, owner: .email, fields: [id]}
      - find: links
        request: {method: GET, path: "/contacts/{steps.contact.id}/tickets", query: {page: "{page.number}"}, pages: {size: 2}}
        response: {records: ".results[]", id: .to, owner: {below: contact}, fields: [to]}
        many: true
    request: {method: POST, path: /tickets/batch, body: "{inputs: [.steps.links[] | {id: .to}], after: .page.cursor}", pages: {cursor: .paging.next.after}}
    response: {records: ".results[]", id: .id, owner: {step: links, id: .id}, fields: [id, subject]}
  parcel.track:
    title: Track a parcel
    personal: true
    risk: read
    args: {type: object, required: [order], properties: {order: {type: string}}}
    steps:
      - find: order
        request: {method: GET, path: /orders, query: {name: "{order}"}}
        response: {records: ".orders[]", id: .name, id_argument: order, owner: .email, fields: [id]}
    request: {method: GET, path: "/orders/{steps.order.id}/parcel"}
    response: {records: .parcel, owner: {below: order}, fields: [at]}
  thing.all:
    title: List all things
    personal: false
    risk: read
    request: {method: GET, path: /things, query: {offset: "{page.offset}"}, pages: {size: 2, limit: 4}}
    response: {records: ".things[]", fields: [id]}
  thing.linked:
    title: List things by links
    personal: false
    risk: read
    request: {method: GET, path: /linked, pages: {link: true}}
    response: {records: ".things[]", fields: [id]}
  thing.next:
    title: List things by next
    personal: false
    risk: read
    request: {method: GET, path: /nexts, query: {size: 1}, pages: {next: .next}}
    response: {records: ".things[]", fields: [id]}
`

func newBilling(t *testing.T) *rig {
	m := mustParse(t, billing)
	if _, err := NewCatalog([]*Manifest{m}); err != nil {
		t.Fatal(err)
	}
	r := &rig{desk: newDesk(t, m), shop: newShop(t)}
	r.rest = NewREST(m, siteID, NewGuard(runProvider(t, r.shop.URL+"/v1", m, r.clock), noWait), r.clock)
	return r
}

// routes answers by method and path, with what a handler gives as JSON.
func routes(m map[string]func(q url.Values, body string) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		do, ok := m[r.Method+" "+strings.TrimPrefix(r.URL.EscapedPath(), "/v1")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(do(r.URL.Query(), string(b)))
	}
}

type object = map[string]any

func ids(resp gate.Response) string {
	var out []string
	for _, rec := range resp.Records {
		out = append(out, fmt.Sprint(rec.Fields["id"]))
	}
	return strings.Join(out, " ")
}

func TestStepsLeadFromCustomerToRecords(t *testing.T) {
	r := newBilling(t)
	customers := []object{{"id": "cus_1", "email": alexEmail}, {"id": "cus_9", "email": "jordan@example.com"}, {"id": "cus_2", "email": "ALEX@example.com"}}
	r.shop.answer(routes(map[string]func(url.Values, string) any{
		"GET /customers": func(url.Values, string) any { return object{"data": customers} },
		"GET /plans": func(q url.Values, _ string) any {
			of := q.Get("customer")
			switch {
			case of == "cus_1" && q.Get("after") == "":
				return object{"has_more": true, "data": []object{{"id": "p1", "customer": of, "plan": object{"name": "Box"}}, {"id": "p2", "customer": of}}}
			case of == "cus_1":
				return object{"has_more": false, "data": []object{{"id": "p3", "customer": of}, {"id": "p4", "customer": "cus_9"}}}
			}
			return object{"data": []object{}}
		},
	}))
	got, err := r.call(t, "plan.list", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GET /v1/customers?email=alex%40example.com",
		"GET /v1/plans?customer=cus_1&expand%5B%5D=a&expand%5B%5D=b",
		"GET /v1/plans?customer=cus_1&expand%5B%5D=a&expand%5B%5D=b&after=p2",
	}
	if diff := cmp.Diff(want, r.shop.calls()); diff != "" {
		t.Errorf("asked, without what is somebody else's (-want +got):\n%s", diff)
	}
	if ids(got) != "p1 p2 p3 p4" || got.Records[0].Owner.Email != alexEmail || !cmp.Equal(got.Records[3].Owner, gate.Owner{}) {
		t.Errorf("records %+v; want four, the last of them nobody's", got.Records)
	}
	if diff := cmp.Diff(map[string]any{"id": "p1", "name": "Box"}, got.Records[0].Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if h := r.shop.last.Header; h.Get("Api-Version") != "2026-01-01" {
		t.Errorf("headers %v lack the version", h)
	}

	customers = customers[1:2]
	if got, err := r.call(t, "plan.list", `{}`); err != nil || len(got.Records) != 0 {
		t.Errorf("a customer the system does not know: %v, %v; want an empty list", got, err)
	}
	customers = nil
	for i := range maxEach + 1 {
		customers = append(customers, object{"id": strconv.Itoa(i), "email": alexEmail})
	}
	if _, err := r.call(t, "plan.list", `{}`); engine.CodeOf(err) != engine.CodeConnectorFailed {
		t.Errorf("more records than can be asked for one by one: %v", err)
	}
}

func TestStepsBeforeAWrite(t *testing.T) {
	r := newBilling(t)
	found := []object{{"id": "cus#1", "email": alexEmail}}
	answer := object{"plan": object{"id": "p1"}}
	r.shop.answer(routes(map[string]func(url.Values, string) any{
		"GET /customers":                   func(url.Values, string) any { return object{"data": found} },
		"POST /customers/cus%231/plans/p1": func(url.Values, string) any { return answer },
	}))
	write := func() (gate.Response, []string, error) {
		before := len(r.shop.calls())
		got, err := r.call(t, "plan.pause", `{"plan_id": "p1", "months": 2}`)
		return got, r.shop.calls()[before:], err
	}
	got, calls, err := write()
	if err != nil || len(got.Records) != 1 || got.Records[0].Owner.Email != alexEmail || len(calls) != 2 {
		t.Fatalf("Call = %+v, %v after %v", got, err, calls)
	}
	if want := "key=pa_1&pause%5Bby%5D%5B0%5D=cus%231&pause%5Bmonths%5D=2"; r.shop.body != want {
		t.Errorf("body = %s, want %s", r.shop.body, want)
	}
	h := r.shop.last.Header
	if h.Get("Content-Type") != "application/x-www-form-urlencoded" || h.Get("X-Request-Key") != "pa_1" || h.Get("Idempotency-Key") != "" || h.Get("Accept-Language") != "en" {
		t.Errorf("headers %v", h)
	}
	for name, tt := range map[string]struct {
		found  []object
		answer object
		want   string
		calls  int
	}{
		"refused":         {found, object{"error": object{"kind": "frozen"}}, engine.CodeConnectorFailed, 2},
		"gone":            {found, object{"error": object{"kind": "gone"}}, engine.CodeNotFound, 2},
		"no success":      {found, object{"ok": false}, engine.CodeOutcomeUnknown, 2},
		"somebody else's": {[]object{{"id": "cus#1", "email": "jordan@example.com"}}, nil, engine.CodeNotFound, 1},
		"nobody's":        {[]object{{"id": "cus#1"}}, nil, engine.CodeNotFound, 1},
		"nothing":         {[]object{}, nil, engine.CodeNotFound, 1},
		"both":            {[]object{{"id": "cus#1", "email": alexEmail}, {"id": "cus#1", "email": "jordan@example.com"}}, nil, engine.CodeNotFound, 1},
		"two":             {[]object{{"id": "cus#1", "email": alexEmail}, {"id": "cus/2", "email": alexEmail}}, nil, engine.CodeConnectorFailed, 1},
		"without its id":  {[]object{{"email": alexEmail}}, nil, engine.CodeConnectorFailed, 1},
		"climbing":        {[]object{{"id": "..", "email": alexEmail}}, nil, engine.CodeConnectorFailed, 1},
	} {
		found, answer = tt.found, tt.answer
		if _, calls, err := write(); engine.CodeOf(err) != tt.want || len(calls) != tt.calls {
			t.Errorf("%s: %v after %v; want %s after %d calls", name, err, calls, tt.want, tt.calls)
		}
	}
}

func TestOwnersThroughOtherRecords(t *testing.T) {
	r := newBilling(t)
	var asked []string
	r.shop.answer(routes(map[string]func(url.Values, string) any{
		"POST /contacts/search": func(_ url.Values, body string) any {
			asked = append(asked, body)
			return object{"results": []object{{"id": 7, "email": alexEmail}}}
		},
		"GET /contacts/7/tickets": func(q url.Values, _ string) any {
			if q.Get("page") == "1" {
				return object{"results": []object{{"to": 1}, {"to": 2}}}
			}
			return object{"results": []object{{"to": 3}}}
		},
		"POST /tickets/batch": func(_ url.Values, body string) any {
			asked = append(asked, body)
			if strings.Contains(body, `"after":null`) {
				return object{"results": []object{{"id": "1", "subject": "a"}, {"id": "8", "subject": "b"}}, "paging": object{"next": object{"after": "x"}}}
			}
			return object{"results": []object{{"id": "3", "subject": "c"}}}
		},
	}))
	got, err := r.call(t, "ticket.list", `{}`)
	if err != nil || ids(got) != "1 8 3" {
		t.Fatalf("Call = %+v, %v", got, err)
	}
	for i, want := range []string{alexEmail, "", alexEmail} {
		if got.Records[i].Owner.Email != want {
			t.Errorf("record %d belongs to %q, want %q", i, got.Records[i].Owner.Email, want)
		}
	}
	if want := []string{`{"email":"alex@example.com"}`, `{"after":null,"inputs":[{"id":1},{"id":2},{"id":3}]}`, `{"after":"x","inputs":[{"id":1},{"id":2},{"id":3}]}`}; !cmp.Equal(want, asked) {
		t.Errorf("asked %v", asked)
	}
}

// What an argument names is compared, and its owner too, before the next
// request leaves; and somebody else's is as what does not exist.
func TestStepsAskedForByAnArgument(t *testing.T) {
	r := newBilling(t)
	orders := map[string][]object{
		"own":     {{"id": 5, "name": "own", "email": alexEmail}},
		"foreign": {{"id": 6, "name": "foreign", "email": "jordan@example.com"}},
		"missing": {},
		"other":   {{"id": 5, "name": "own", "email": alexEmail}},
	}
	r.shop.answer(routes(map[string]func(url.Values, string) any{
		"GET /orders":          func(q url.Values, _ string) any { return object{"orders": orders[q.Get("name")]} },
		"GET /orders/5/parcel": func(url.Values, string) any { return object{"parcel": object{"at": "Bath"}} },
		"GET /orders/6/parcel": func(url.Values, string) any { return object{"parcel": object{"at": "Truro"}} },
	}))
	if got, err := r.call(t, "parcel.track", `{"order": "own"}`); err != nil || len(got.Records) != 1 || got.Records[0].Owner.Email != alexEmail {
		t.Fatalf("Call = %+v, %v", got, err)
	}
	said := map[string]bool{}
	for _, name := range []string{"foreign", "missing", "other"} {
		before := len(r.shop.calls())
		got, err := r.call(t, "parcel.track", fmt.Sprintf(`{"order": %q}`, name))
		if calls := r.shop.calls()[before:]; engine.CodeOf(err) != engine.CodeNotFound || len(got.Records) != 0 || len(calls) != 1 {
			t.Errorf("%s: %+v, %v after %v; want not_found after one call", name, got, err, calls)
		}
		said[fmt.Sprint(err)] = true
	}
	if len(said) != 1 {
		t.Errorf("foreign and missing are told apart: %v", said)
	}
}

func TestPages(t *testing.T) {
	r := newBilling(t)
	r.shop.answer(func(w http.ResponseWriter, q *http.Request) {
		things := func(n int, extra string) {
			var list []string
			for i := range n {
				list = append(list, fmt.Sprintf(`{"id": "%s%d"}`, q.URL.RawQuery, i))
			}
			says(200, `{"things": [`+strings.Join(list, ",")+`]`+extra+`}`)(w, q)
		}
		query := q.URL.Query()
		switch q.URL.Path {
		case "/v1/things":
			things(2, "")
		case "/v1/linked":
			switch query.Get("p") {
			case "":
				w.Header().Set("Link", `<`+r.shop.URL+`/v1/linked?p=0>; rel="prev", <`+r.shop.URL+`/v1/linked?p=2>; rel="next"`)
			case "2":
				w.Header().Add("Link", `</v1/linked?p=3>; rel=next`)
			case "3":
				w.Header().Set("Link", `</v1/linked?p=1>; rel="first"`)
			}
			things(1, "")
		case "/v1/nexts":
			next := map[string]string{"": "?n=2", "2": "/v1/nexts?n=3", "3": "https://evil.example/v1/other?n=4"}[query.Get("n")]
			things(1, `, "next": "`+next+`"`)
		}
	})
	tests := []struct {
		action string
		want   []string
		code   string
	}{
		{"thing.all", []string{"/things?offset=0", "/things?offset=2", "/things?offset=4", "/things?offset=6"}, ""},
		{"thing.linked", []string{"/linked", "/linked?p=2", "/linked?p=3"}, ""},
		{"thing.next", []string{"/nexts?size=1", "/nexts?n=2", "/nexts?n=3"}, engine.CodeConnectorFailed},
	}
	for _, tt := range tests {
		before := len(r.shop.calls())
		got, err := r.call(t, tt.action, `{}`)
		var asked []string
		for _, call := range r.shop.calls()[before:] {
			asked = append(asked, strings.TrimPrefix(call, "GET /v1"))
		}
		if engine.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, %v; want code %q", tt.action, got, err, tt.code)
		}
		if diff := cmp.Diff(tt.want, asked); diff != "" {
			t.Errorf("%s asked (-want +got):\n%s", tt.action, diff)
		}
	}
}

func TestNoContent(t *testing.T) {
	r := newRig(t)
	r.shop.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	for _, action := range []string{"order.lookup", "order.cancel"} {
		if got, err := r.call(t, action, `{"order_id": "1001"}`); err != nil || len(got.Records) != 0 {
			t.Errorf("%s: %v, %v; want no record and no error", action, got, err)
		}
	}
}

func TestStepNearMisses(t *testing.T) {
	mustParse(t, billing)
	tests := []struct{ name, old, new, want string }{
		{"unknown step", "{steps.customer.id}\", \"expand", "{steps.custmer.id}\", \"expand", `there is no earlier step "custmer" (did you mean "customer"?)`},
		{"unknown field", "{steps.customer.id}\", \"expand", "{steps.customer.idd}\", \"expand", `"idd" is not one of the fields of step customer (did you mean "id"?)`},
		{"unknown field in a body", "by: [.steps.customer.id]", "by: [.steps.customer.idd]", `"idd" is not one of the fields`},
		{"a step that writes", "{method: GET, path: /orders, query: {name: \"{order}\"}}", "{method: DELETE, path: /orders, query: {name: \"{order}\"}}", "a DELETE changes something, and a step only finds"},
		{"a step twice", "- find: links", "- find: contact", `"contact" is there twice`},
		{"a step without a name", "- find: links\n        request", "- request", "a step: find is missing"},
		{"many in a path", "      - find: contact\n", "      - find: contact\n        many: true\n", "finds many, and a path leads to one; add each: contact"},
		{"each of one", "      each: customer\n", "      each: order\n", `each: "order" is not an earlier step that finds many`},
		{"below nothing", "path: \"/orders/{steps.order.id}/parcel\"", "path: /parcel, query: {o: \"{steps.order.id}\"}", "nothing says that the records lie below what step order found"},
		{"below a step without an owner", "id_argument: order, owner: .email, fields: [id]", "id_argument: order, fields: [id]", "step order does not say who owns what it finds"},
		{"compared with nothing", "id: .to, owner: {below: contact}, fields: [to]", "owner: {below: contact}, fields: [to]", "step links has no id to compare with"},
		{"owner of a later step", "owner: {below: contact}", "owner: {below: links}", `there is no earlier step "links"`},
		{"half an owner", "owner: {step: links, id: .id}", "owner: {step: links}", "owner: give one of email, subject"},
		{"a page nobody turns", "{offset: \"{page.offset}\"}, pages: {size: 2, limit: 4}", "{offset: \"{page.offset}\"}", "no pages say which one comes next"},
		{"pages nobody asks for", "query: {offset: \"{page.offset}\"}, pages", "pages", "nothing in the request says which page"},
		{"a cursor nobody sends", ", after: \"{page.cursor}\"", "", "nothing in the request uses the cursor"},
		{"no end", "pages: {size: 2, limit: 4}", "pages: {limit: 4}", "nothing says which page is the last"},
		{"too many pages", "pages: {size: 2, limit: 4}", "pages: {size: 2, limit: 400}", "limit is how many pages"},
		{"two ways to turn", "pages: {link: true}", "pages: {link: true, next: .next}", "one of cursor, next and link"},
		{"slip in a page", "{page.offset}", "{page.ofset}", `there is no page.ofset (did you mean "offset"?)`},
		{"pages of a write", "      encode: form\n", "      encode: form\n      pages: {size: 2}\n", "what changes something is asked once"},
		{"unknown encoding", "encode: form", "encode: xml", `"xml" is not json or form`},
		{"brackets in a form", "note: null", "\\\"pause[by]\\\": .args.months", `"pause[by]" would be taken for what lies deeper`},
		{"a schema that is none", "args: {type: object, required: [order], properties: {order: {type: string}}}", "args: {type: object, required: [order], properties: {order: {type: 7}}}", "parcel.track: args:"},
		{"a credential for a header", "headers: {Accept-Language: en}", "headers: {X-Api-Key: abc}", "carries a credential"},
		{"a header for the key", "idempotency_header: X-Request-Key", "idempotency_header: Host", "is not for a caller to set"},
		{"a step's argument for a proven one", "      - find: customer\n        request: {method: GET, path: /customers, query: {email: \"{pinned.email}\"}}\n        response: {records: \".data[]\", id: .id, owner: .email, fields: [id]}\n    request:\n      method: POST",
			"      - find: customer\n        request: {method: GET, path: /customers, query: {plan: \"{plan_id}\"}}\n        response: {records: \".data[]\", id: .id, owner: .email, fields: [id], id_argument: \"\"}\n    request:\n      method: POST", "could find another record"},
		{"an argument over a step", "{pause: {months: .args.months, by: [.steps.customer.id]}", "{by: .steps.customer.id} + {by: .args.months, a: {}", `"by" is set from pinned and from an argument`},
	}
	for _, tt := range tests {
		src := strings.Replace(billing, tt.old, tt.new, 1)
		if src == billing {
			t.Errorf("%s: the manifest does not hold %q", tt.name, tt.old)
			continue
		}
		err := load(src)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "m.yaml:") || strings.Contains(err.Error(), "file:") {
			t.Errorf("%s: %v\nwant %q", tt.name, err, tt.want)
		}
	}
}
