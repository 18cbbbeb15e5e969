package connectors

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// far is an outside system that answers by method and path?query.
type far struct {
	do    func(call provider.Call) (*provider.Reply, error)
	calls []string
	sent  []provider.Call
}

func (f *far) Do(_ context.Context, call provider.Call) (*provider.Reply, error) {
	f.calls = append(f.calls, call.Method+" "+call.Path+"?"+call.Query+" "+string(call.Body))
	f.sent = append(f.sent, call)
	return f.do(call)
}

func ok(body string) (*provider.Reply, error) {
	return &provider.Reply{Status: 200, ContentType: "application/json", Body: []byte(body)}, nil
}

// through takes an intent of Alex's down the whole path with the REST connector.
func through(t *testing.T, src string, f *far, action, a string) (gate.Result, error) {
	t.Helper()
	m, err := ParseManifest("m.yaml", []byte(src))
	if err == nil {
		_, err = NewCatalog([]*Manifest{m})
	}
	if err != nil {
		return gate.Result{}, err // refused when it is loaded
	}
	d := newDesk(t, m)
	rest := NewREST(m, siteID, NewGuard(f, noWait), d.clock)
	var bindings []gate.Binding
	for _, a := range m.Actions() {
		bindings = append(bindings, gate.Binding{Action: a, Connector: rest})
	}
	site, err := gate.NewSite(&engine.Site{ID: siteID, Tier: engine.Business, Location: time.UTC}, bindings)
	if err != nil {
		t.Fatal(err)
	}
	return d.gate.Do(context.Background(), gate.Request{Site: site, Identity: d.alex, Channel: engine.ChannelAction, IdempotencyKey: "pa_1",
		Intent: engine.Intent{Action: action, Args: args(t, a)}})
}

const head = "connector: {name: shop, kind: rest, connection: c}\nactions:\n"

const customerStep = `      - find: customer
        request: {method: GET, path: /customers, query: {email: "{pinned.email}"}}
        response: {records: ".data[]", id: .id, owner: .email, fields: [id, country]}
`

func customers(rest func(call provider.Call) (*provider.Reply, error)) func(provider.Call) (*provider.Reply, error) {
	return func(c provider.Call) (*provider.Reply, error) {
		if c.Path == "/customers" {
			return ok(`{"data": [{"id": "cus_1", "email": "alex@example.com", "country": "GB"}]}`)
		}
		return rest(c)
	}
}

// Owner {below} satisfied by something in the path's query or a decoration.
func TestBelowByDecoration(t *testing.T) {
	for _, path := range []string{
		"/orders/{order_id}?for={steps.customer.id}",
		"/orders/{order_id}{;steps.customer.id}",
		"/orders/{order_id}/seen-by/{steps.customer.id}",
		"/orders/{order_id}/{steps.customer.country}",
	} {
		t.Run(path, func(t *testing.T) {
			src := head + `  order.show:
    title: Show an order
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    steps:
` + customerStep + `    request: {method: GET, path: "` + path + `"}
    response: {records: .order, id: .id, id_argument: order_id, owner: {below: customer}, fields: [id, card]}
`
			f := &far{do: customers(func(provider.Call) (*provider.Reply, error) {
				return ok(`{"order": {"id": "2002", "customer": "cus_9", "email": "jordan@example.com", "card": "4111"}}`)
			})}
			res, err := through(t, src, f, "order.show", `{"order_id": "2002"}`)
			if err == nil && len(res.Records) > 0 {
				t.Errorf("%s: Jordan's order as Alex's: %v (calls %v)", path, res.Records[0].Fields, f.calls)
			}
		})
	}
	t.Run("list", func(t *testing.T) {
		src := head + `  order.list:
    title: List orders
    personal: true
    risk: read
    steps:
` + customerStep + `    request: {method: GET, path: "/orders?for={steps.customer.id}"}
    response: {records: ".orders[]", id: .id, owner: {below: customer}, fields: [id, card]}
`
		f := &far{do: customers(func(provider.Call) (*provider.Reply, error) {
			return ok(`{"orders": [{"id": "2002", "email": "jordan@example.com", "card": "4111"}]}`)
		})}
		res, err := through(t, src, f, "order.list", `{}`)
		if err == nil && len(res.Records) > 0 {
			t.Errorf("Jordan's order as Alex's: %v (calls %v)", res.Records[0].Fields, f.calls)
		}
	})
}

// Values that are none: schemas that let any text in.
func TestValueBypass(t *testing.T) {
	for name, props := range map[string]string{
		"allOf":            "what: {type: object, allOf: [{type: object, properties: {which: {type: string}}, additionalProperties: false}]}",
		"ref":              "what: {type: object, $ref: \"#/$defs/x\"}",
		"no type, items":   "what: {items: {type: boolean}, additionalProperties: false}",
		"no type, props":   "what: {properties: {note: {type: string}}, items: {type: boolean}}",
		"array allOf":      "what: {type: array, allOf: [{type: array, items: {type: string}}]}",
		"thousand numbers": "what: {type: integer, minimum: 1000, maximum: 2000}",
		"line":             "order_line: {type: string}",
		"comment":          "comment: {type: string, pattern: \"^[0-9]+$\"}",
		"anyOf":            "what: {anyOf: [{type: object, allOf: [{type: object, properties: {which: {type: string}}, additionalProperties: false}]}]}",
		"draft4 min":       "what: {type: integer, exclusiveMinimum: 1000, maximum: 2000}",
	} {
		t.Run(name, func(t *testing.T) {
			arg, _, _ := strings.Cut(props, ":")
			src := write("    args: {type: object, $defs: {x: {type: object, properties: {which: {type: string}}, additionalProperties: false}}, required: [" + arg + "], properties: {" + props + "}}\n" +
				body("method: POST, path: /orders/cancel", "{cancel: .args."+arg+", by: .pinned.email}"))
			if err := load(src); err == nil {
				m := mustParse(t, src)
				a := m.actions["thing.change"].def.Args
				for _, v := range []any{map[string]any{"which": "2002"}, "2002", []any{"2002"}, int64(2002), 1002} {
					if a.Validate(map[string]any{arg: v}) == nil {
						t.Errorf("loads, and %v is a value", v)
					}
				}
			} else {
				t.Log("held:", err)
			}
		})
	}
}

// Interpolation into a language.
func TestInterpolation(t *testing.T) {
	src := write(taking("booking_id: {type: string}, note: {type: string}", "booking_id") + byID +
		body("method: POST, path: /graphql", `{query: "mutation { cancel(id: \"\(.args.booking_id)\", why: \"\(.args.note)\") { ok } }"}`))
	if err := load(src); err == nil {
		t.Error("loads: note escapes into the mutation")
	} else {
		t.Log(err)
	}
}

const cancel = head + `  order.lookup:
    title: Look up
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: .order, id: .id, owner: .email, fields: [id]}
  order.cancel:
    title: Cancel
    personal: true
    risk: destructive
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    resource: {order_id: order.lookup}
    request: {method: POST, path: "/orders/{order_id}/cancel"}
    response: {%s}
`

func cancelling(reply *provider.Reply) *far {
	return &far{do: func(c provider.Call) (*provider.Reply, error) {
		if c.Method == "GET" {
			return ok(`{"order": {"id": "1001", "email": "alex@example.com"}}`)
		}
		return reply, nil
	}}
}

// Refused called done.
func TestRefusedCalledDone(t *testing.T) {
	json := "application/json"
	for name, tt := range map[string]struct {
		response string
		reply    provider.Reply
	}{
		"a page of HTML":            {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: "text/html", Body: []byte("<h1>Log in</h1>")}},
		"cut short":                 {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: json, Body: []byte(`{"ok": fal`)}},
		"several outputs":           {`refused: ['.errors[].code == "frozen"']`, provider.Reply{Status: 200, ContentType: json, Body: []byte(`{"errors": [{"code": "frozen"}, {"code": "late"}]}`)}},
		"a list around it":          {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: json, Body: []byte(`[{"ok": false}]`)}},
		"truthy, not true":          {`refused: ['.error']`, provider.Reply{Status: 200, ContentType: json, Body: []byte(`{"error": "frozen"}`)}},
		"two JSON values":           {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: json, Body: []byte("{\"ok\": false}\n{\"trace\": 1}")}},
		"byte order mark":           {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: json, Body: []byte("\xef\xbb\xbf{\"ok\": false}")}},
		"html type around the JSON": {`refused: ['.ok == false']`, provider.Reply{Status: 200, ContentType: "text/html; charset=utf-8", Body: []byte(`{"ok": false}`)}},
		"a condition that runs on":  {`refused: ['([range(40000000)] | length) > 0 and .ok == false']`, provider.Reply{Status: 200, ContentType: json, Body: []byte(`{"ok": false}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := through(t, fmt.Sprintf(cancel, tt.response), cancelling(&tt.reply), "order.cancel", `{"order_id": "1001"}`)
			if err == nil {
				t.Errorf("reported as done")
			} else {
				t.Log("held:", err)
			}
		})
	}
}

// The reply comes as the time ends: no condition is asked any more.
func TestRefusedAtTheDeadline(t *testing.T) {
	m := mustParse(t, strings.Replace(fmt.Sprintf(cancel, `refused: ['.ok == false']`), "resource: {order_id: order.lookup}", "resource: {order_id: order.lookup}\n    timeout: 100ms", 1))
	d := newDesk(t, m)
	claim, permit := d.permit(t, "order.cancel", args(t, `{"order_id": "1001"}`))
	late := lateClient{}
	_, err := NewREST(m, siteID, NewGuard(late, noWait), d.clock).Call(context.Background(), claim, permit)
	if err == nil {
		t.Error("refused, and reported as done")
	} else {
		t.Log("held:", err)
	}
}

type lateClient struct{}

func (lateClient) Do(ctx context.Context, _ provider.Call) (*provider.Reply, error) {
	<-ctx.Done()
	return ok(`{"ok": false}`)
}

// 204 with success.
func TestDoneCalledUnknown(t *testing.T) {
	_, err := through(t, fmt.Sprintf(cancel, `success: '.ok'`), cancelling(&provider.Reply{Status: 204}), "order.cancel", `{"order_id": "1001"}`)
	if err != nil {
		t.Errorf("a 204, README: is a success: %v", err)
	}
}

// A body with a step's field that is not there.
func TestBodyWithoutTheStepsField(t *testing.T) {
	src := head + `  plan.pause:
    title: Pause my plans
    personal: true
    risk: write
    steps:
` + customerStep + `    request: {method: POST, path: /plans/pause-all, encode: form, body: "{customer: .steps.customer.id, pause: true}"}
`
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		if c.Path == "/customers" {
			return ok(`{"data": [{"uid": "cus_1", "email": "alex@example.com"}]}`)
		}
		return ok(`{}`)
	}}
	_, err := through(t, src, f, "plan.pause", `{}`)
	if err == nil {
		t.Errorf("written without a customer: %v", f.calls)
	}
}

// The same for .pinned as a whole.
func TestPinnedWhole(t *testing.T) {
	src := head + `  plan.pause:
    title: Pause my plans
    personal: true
    risk: write
    request: {method: POST, path: /plans/pause-all, body: "{customer: .pinned}"}
`
	m := mustParse(t, src)
	b, err := m.actions["plan.pause"].request.build(context.Background(), values{pinned: map[string]any{"email": "", "name": "A", "subject": "c-1"}})
	if err == nil {
		t.Errorf("sent without an e-mail: %s", b.body)
	}
}

// Foreign against missing.
func TestForeignIsNotAsMissing(t *testing.T) {
	unowned := head + `  parcel.track:
    title: Track
    personal: true
    risk: read
    args: {type: object, required: [order_number], properties: {order_number: {type: string}}}
    steps:
      - find: order
        request: {method: GET, path: /orders, query: {name: "{order_number}"}}
        response: {records: ".orders[]", id: .name, fields: [key]}
    request: {method: GET, path: "/parcels/{steps.order.key}"}
    response: {records: .parcel, owner: .email, fields: [at]}
`
	items := head + `  item.list:
    title: List items
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: /items, query: {order: "{order_id}"}}
    response: {records: ".items[]", owner: .email, fields: [sku]}
`
	search := head + `  item.find:
    title: Find
    personal: true
    risk: read
    args: {type: object, required: [order], properties: {order: {type: string}}}
    request: {method: POST, path: /items, body: "{order: .args.order}"}
    response: {records: .item, owner: .email, fields: [sku]}
`
	type world func(c provider.Call) (*provider.Reply, error)
	for name, tt := range map[string]struct {
		src, action, args string
		foreign, missing  world
	}{
		"a step that does not say whose": {unowned, "parcel.track", `{"order_number": "2002"}`,
			func(c provider.Call) (*provider.Reply, error) {
				if c.Path == "/orders" {
					return ok(`{"orders": [{"name": "2002", "key": "k"}]}`)
				}
				return ok(`{"parcel": {"at": "depot", "email": "jordan@example.com"}}`)
			}, func(c provider.Call) (*provider.Reply, error) { return ok(`{"orders": []}`) }},
		"a step that finds two of somebody's": {unowned, "parcel.track", `{"order_number": "2002"}`,
			func(c provider.Call) (*provider.Reply, error) {
				return ok(`{"orders": [{"name": "2002", "key": "k"}, {"name": "2002", "key": "l"}]}`)
			}, func(c provider.Call) (*provider.Reply, error) { return ok(`{"orders": []}`) }},
		"a list by its query, 404": {items, "item.list", `{"order_id": "2002"}`,
			func(c provider.Call) (*provider.Reply, error) {
				return ok(`{"items": [{"sku": "a", "email": "jordan@example.com"}]}`)
			}, func(c provider.Call) (*provider.Reply, error) { return &provider.Reply{Status: 404}, nil }},
		"a list by its query, 403": {items, "item.list", `{"order_id": "2002"}`,
			func(c provider.Call) (*provider.Reply, error) { return &provider.Reply{Status: 403}, nil },
			func(c provider.Call) (*provider.Reply, error) { return &provider.Reply{Status: 404}, nil }},
		"one by a body, 403": {search, "item.find", `{"order": "2002"}`,
			func(c provider.Call) (*provider.Reply, error) { return &provider.Reply{Status: 403}, nil },
			func(c provider.Call) (*provider.Reply, error) { return &provider.Reply{Status: 404}, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := &far{do: tt.foreign}, &far{do: tt.missing}
			a, aerr := through(t, tt.src, f, tt.action, tt.args)
			b, berr := through(t, tt.src, m, tt.action, tt.args)
			if fmt.Sprint(aerr) != fmt.Sprint(berr) || len(a.Records) != len(b.Records) {
				t.Errorf("foreign: %v %v\nmissing: %v %v", a.Records, aerr, b.Records, berr)
			}
			if len(f.calls) != len(m.calls) {
				t.Errorf("foreign asks %v\nmissing asks %v", f.calls, m.calls)
			}
		})
	}
}

// Each brings back more than 1,000 records.
func TestEachIsBounded(t *testing.T) {
	src := head + `  plan.list:
    title: List
    personal: true
    risk: read
    steps:
` + customerStep + `        many: true
    request: {each: customer, method: GET, path: /plans, query: {customer: "{steps.customer.id}"}}
    response: {records: ".data[]", id: .id, owner: {step: customer, id: .customer}, fields: [id]}
`
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		var out []string
		if c.Path == "/customers" {
			for i := range 10 {
				out = append(out, fmt.Sprintf(`{"id": "cus_%d", "email": "alex@example.com"}`, i))
			}
		} else {
			for i := range 900 {
				out = append(out, fmt.Sprintf(`{"id": "%s%d", "customer": "%s"}`, c.Query, i, strings.TrimPrefix(c.Query, "customer=")))
			}
		}
		return ok(`{"data": [` + strings.Join(out, ",") + `]}`)
	}}
	start := time.Now()
	res, err := through(t, src, f, "plan.list", `{}`)
	if err == nil && len(res.Records) > jqOutputs {
		t.Errorf("%d records, in %v", len(res.Records), time.Since(start))
	} else {
		t.Log(len(res.Records), err)
	}
}

// Headers.
func TestIdempotencyHeaderTwice(t *testing.T) {
	src := `connector: {name: shop, kind: rest, connection: c, headers: {x-request-key: always-the-same}, idempotency_header: X-Request-Key}
actions:
` + strings.TrimPrefix(fmt.Sprintf(cancel, `not_found: [404]`), head)
	f := cancelling(&provider.Reply{Status: 204})
	_, err := through(t, src, f, "order.cancel", `{"order_id": "1001"}`)
	if err != nil && strings.Contains(err.Error(), "carries the idempotency key") {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	last := f.sent[len(f.sent)-1]
	seen := 0
	for k := range last.Headers {
		if strings.EqualFold(k, "X-Request-Key") {
			seen++
		}
	}
	if seen > 1 {
		t.Errorf("the key is there twice, which of them is sent is left to chance: %v", last.Headers)
	}
}

// Path templates.
func TestPathTemplates(t *testing.T) {
	for _, path := range []string{"/orders{?dry}/{order_id}/cancel", "/orders{&order_id}", "/orders?x=1/{order_id}", "/orders{?order_id}/cancel"} {
		src := strings.Replace(fmt.Sprintf(cancel, `not_found: [404]`), `path: "/orders/{order_id}/cancel"`, `path: "`+path+`"`, 1)
		src = strings.Replace(src, "properties: {order_id: {type: string}}}\n    resource", "properties: {order_id: {type: string}, dry: {type: boolean}}}\n    not_a_record: [dry]\n    resource", 1)
		f := cancelling(&provider.Reply{Status: 204})
		t.Run(path, func(t *testing.T) {
			_, err := through(t, src, f, "order.cancel", `{"order_id": "1001", "dry": true}`)
			if err == nil || len(f.calls) > 0 && path != "/orders?x=1/{order_id}" {
				t.Errorf("loads: %v %v", f.calls, err)
			}
		})
	}
}

// Public.
func TestPublicActionOnProvenArgument(t *testing.T) {
	src := fmt.Sprintf(cancel, `not_found: [404]`) + `  order.peek:
    title: Peek
    personal: false
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: .order, id: .id, fields: [id, email, address]}
  order.drop:
    title: Drop
    personal: false
    risk: destructive
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: POST, path: "/orders/{order_id}/cancel"}
`
	if err := load(src); err == nil {
		t.Error("a public action takes an argument that names a customer's record elsewhere in the catalog")
	} else {
		t.Log(err)
	}
}

// An optional resource argument, made the customer's by a step that it narrows.
func TestOptionalProof(t *testing.T) {
	src := fmt.Sprintf(cancel, `not_found: [404]`) + `  order.stop:
    title: Stop
    personal: true
    risk: destructive
    args: {type: object, properties: {order_id: {type: string}}}
    resource: {order_id: order.lookup}
    steps:
      - find: order
        request: {method: GET, path: /orders, query: {id: "{order_id}"}}
        response: {records: ".orders[]", id: .id, id_argument: order_id, owner: .email, fields: [id]}
    request: {method: POST, path: "/orders/{steps.order.id}/cancel"}
`
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		if c.Method == "GET" {
			return ok(`{"orders": [{"id": "1001", "email": "alex@example.com"}, {"id": "2002", "email": "jordan@example.com"}]}`)
		}
		return ok(`{}`)
	}}
	_, err := through(t, src, f, "order.stop", `{}`)
	if err == nil {
		t.Errorf("without order_id, what a step happens to find is cancelled: %v", f.calls)
	}
}

// A condition on a gateway's failure.
func TestRefusedByAGateway(t *testing.T) {
	for _, s := range []int{500, 502, 504} {
		_, err := through(t, fmt.Sprintf(cancel, `refused: ['.ok == false']`), cancelling(&provider.Reply{Status: s, Body: []byte(`{"ok": false, "message": "upstream timed out"}`)}), "order.cancel", `{"order_id": "1001"}`)
		if engine.CodeOf(err) != engine.CodeOutcomeUnknown {
			t.Errorf("%d: %v; want outcome_unknown", s, err)
		}
	}
}

// What a write changes is found by a step that does not say whose it is.
func TestUnownedStepNamesWhatIsWritten(t *testing.T) {
	step := head + `  booking.cancel:
    title: Cancel my appointment
    personal: true
    risk: destructive
    args: {type: object, required: [day, time], properties: {day: {type: string, format: date}, time: {type: string}}}
    steps:
      - find: booking
        request: {method: POST, path: /bookings/search, body: "{day: .args.day, time: .args.time}"}
        response: {records: ".bookings[]", id: .id, fields: [id]}
    request: {method: POST, path: "/bookings/{steps.booking.id}/cancel", body: "{cancelled_by: .pinned.email}"}
`
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		if c.Path == "/bookings/search" {
			return ok(`{"bookings": [{"id": "b-jordan", "email": "jordan@example.com"}]}`)
		}
		return ok(`{}`)
	}}
	_, err := through(t, step, f, "booking.cancel", `{"day": "2026-12-01", "time": "09:00"}`)
	if err == nil {
		t.Errorf("Jordan's appointment is cancelled by Alex: %v", f.calls)
	}

	byProven := strings.Replace(fmt.Sprintf(cancel, `not_found: [404]`), `    request: {method: POST, path: "/orders/{order_id}/cancel"}`, `    steps:
      - find: old
        request: {method: GET, path: /archive, query: {number: "{order_id}"}}
        response: {records: ".orders[]", id: .number, id_argument: order_id, fields: [key]}
    request: {method: POST, path: "/archive/{steps.old.key}/erase", body: "{number: .args.order_id}"}`, 1)
	f = &far{do: func(c provider.Call) (*provider.Reply, error) {
		switch {
		case c.Path == "/archive":
			return ok(`{"orders": [{"number": "1001", "key": "k-jordan", "email": "jordan@example.com"}]}`)
		case c.Method == "GET":
			return ok(`{"order": {"id": "1001", "email": "alex@example.com"}}`)
		}
		return ok(`{}`)
	}}
	if _, err := through(t, byProven, f, "order.cancel", `{"order_id": "1001"}`); err == nil {
		t.Errorf("another record of the same number: %v", f.calls)
	}
}

// Pages tell whether there is one.
func TestPagesTellForeignFromMissing(t *testing.T) {
	src := head + `  order.show:
    title: Show
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: /orders, query: {name: "{order_id}", after: "{page.cursor}"}, pages: {cursor: ".orders[-1].id"}}
    response: {records: ".orders[]", id: .name, owner: .email, fields: [id]}
`
	asked := func(first string) []string {
		f := &far{do: func(c provider.Call) (*provider.Reply, error) {
			if strings.Contains(c.Query, "after") {
				return ok(`{"orders": []}`)
			}
			return ok(first)
		}}
		_, err := through(t, src, f, "order.show", `{"order_id": "2002"}`)
		t.Log(err)
		return f.calls
	}
	a, b := asked(`{"orders": [{"id": 7, "name": "2002", "email": "jordan@example.com"}]}`), asked(`{"orders": []}`)
	if len(a) != len(b) {
		t.Errorf("foreign asks %v\nmissing asks %v", a, b)
	}
}

// What one call keeps.
func TestMemory(t *testing.T) {
	src := head + `  thing.all:
    title: All
    personal: false
    risk: read
    request: {method: GET, path: /things, query: {p: "{page.number}"}, pages: {size: 1, limit: 50}}
    response: {records: ".things[]", fields: [blob]}
`
	blob := strings.Repeat("x", maxReply-64)
	f := &far{do: func(c provider.Call) (*provider.Reply, error) { return ok(`{"things": [{"blob": "` + blob + `"}]}`) }}
	res, err := through(t, src, f, "thing.all", `{}`)
	kept := 0
	for _, r := range res.Records {
		kept += len(fmt.Sprint(r.Fields["blob"]))
	}
	if kept > 4<<20 {
		t.Errorf("one call keeps %d MiB (%v)", kept>>20, err)
	}
}

// Headers of the request beside the connector's in another case.
func TestHeadersTwice(t *testing.T) {
	src := `connector: {name: shop, kind: rest, connection: c, headers: {X-Version: "1"}}
actions:
  a.b:
    title: A
    personal: false
    risk: read
    request: {method: GET, path: /x, headers: {x-version: "2"}}
    response: {records: .a, fields: [b]}
`
	f := &far{do: func(c provider.Call) (*provider.Reply, error) { return ok(`{"a": {"b": 1}}`) }}
	through(t, src, f, "a.b", `{}`)
	if len(f.sent) == 1 && len(f.sent[0].Headers) > 1 {
		t.Errorf("%v", f.sent[0].Headers)
	}
}

// Body: pin that depends on an argument.
func TestPinThatAnArgumentSwitchesOff(t *testing.T) {
	for _, b := range []string{
		`{who: (if .args.mine then .pinned.email else null end)}`,
		`{who: (.pinned | del(.email, .subject))}`,
		`{who: {a: .pinned.email}.b}`,
		`{who: (.pinned.email | select(.args.mine))}`,
		`{who: ([.pinned.email] | del(.[0]))}`,
		`if .args.mine then {who: .pinned.email} else {} end`,
		`{who: .pinned.email} | del(.who)`,
		`{who: (.pinned.email | sub(".*"; ""))}`,
		`{who: (.pinned.email | split("@") | last)}`,
	} {
		src := write(taking("mine: {type: boolean}") + "    request: {method: POST, path: /close-all, body: '" + b + "'}\n")
		if err := load(src); err != nil {
			t.Log("held:", b, err)
			continue
		}
		q := mustParse(t, src).actions["thing.change"].request
		out, err := q.build(context.Background(), values{args: map[string]any{"mine": false}, pinned: map[string]any{"email": alexEmail, "subject": "c-1", "name": "A"}})
		if err == nil && !strings.Contains(string(out.body), "alex@example.com") {
			t.Errorf("loads: %s -> %s", b, out.body)
		} else {
			t.Log(b, string(out.body), err)
		}
	}
}

// A proven argument that is sent as something else.
func TestProvenAndSentDiffer(t *testing.T) {
	for _, b := range []string{
		`{booking: (.args.booking_id | tonumber)}`,
		`{booking: (.args.booking_id | sub("^own-"; ""))}`,
		`{booking: .args.booking_id[2:]}`,
		`{booking: ("1" + .args.booking_id)}`,
		`{booking: (.args.booking_id + .args.note)}`,
		`{booking: "\(.args.booking_id)\(.args.note)"}`,
		`{booking: (if .args.note then .args.note else .args.booking_id end)}`,
		`{booking: (.args.note // .args.booking_id)}`,
		`{booking: .args.booking_id} + {booking: .args.note}`,
	} {
		src := write(taking("booking_id: {type: string}, note: {type: string}", "booking_id") + byID + body("method: POST, path: /bookings/cancel", b))
		if err := load(src); err != nil {
			t.Logf("held: %s: %.160v", b, err)
			continue
		}
		q := mustParse(t, src).actions["thing.change"].request
		out, err := q.build(context.Background(), values{args: map[string]any{"booking_id": "001", "note": "2002"}, pinned: map[string]any{}})
		t.Errorf("loads: %s: proven 001, sent %s %v", b, out.body, err)
	}
	for _, p := range []string{`/bookings/{booking_id}{n}`, `/bookings/1{booking_id}`, `/bookings/{booking_id},{n}`, "/bookings/{booking_id}{.n}"} {
		src := write(taking("booking_id: {type: string}, n: {type: string}", "booking_id", "n") + byID + "    not_a_record: [n]\n    request: {method: POST, path: \"" + p + "\"}\n")
		t.Logf("path %s: %v", p, load(src))
	}
}

// Retries beyond the 60 requests.
func TestAsked(t *testing.T) {
	src := head + `  thing.all:
    title: All
    personal: false
    risk: read
    request: {method: GET, path: /things, query: {p: "{page.number}"}, pages: {size: 1, limit: 50}}
    response: {records: ".things[]", fields: [id]}
`
	n := 0
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		if n++; n%3 != 0 {
			return &provider.Reply{Status: 503}, nil
		}
		return ok(`{"things": [{"id": "1"}]}`)
	}}
	_, err := through(t, src, f, "thing.all", `{}`)
	if len(f.calls) > maxAsked {
		t.Errorf("%d requests of one action (%v); README: at most %d", len(f.calls), err, maxAsked)
	}
}

// A value in the place of what is proven, from end to end.
func TestValueInPlaceOfTheProven(t *testing.T) {
	for _, b := range []string{
		`{order: (.args.note // .args.order_id)}`,
		`{order: .args.order_id} + {order: .args.note}`,
		`{order: (if .args.note then .args.note else .args.order_id end)}`,
		`{order: .args.order_id} | .order = "\(.)"`,
		`{cancel: {order: .args.order_id}, more: [{order: .args.note}]}`,
		`{orders: [.args.order_id, .args.note]}`,
	} {
		t.Run(b, func(t *testing.T) {
			src := strings.Replace(fmt.Sprintf(cancel, `not_found: [404]`), `path: "/orders/{order_id}/cancel"`, `path: /orders/cancel, body: '`+b+`'`, 1)
			src = strings.Replace(src, "properties: {order_id: {type: string}}}\n    resource", "properties: {order_id: {type: string}, note: {type: string}}}\n    resource", 1)
			f := cancelling(&provider.Reply{Status: 204})
			_, err := through(t, src, f, "order.cancel", `{"order_id": "1001", "note": "2002"}`)
			if err == nil && strings.Contains(f.calls[len(f.calls)-1], "2002") {
				t.Errorf("Alex proved 1001, and sent %s", f.calls[len(f.calls)-1])
			} else {
				t.Log(err, f.calls)
			}
		})
	}
}

// Two values in one segment.
func TestTwoInOneSegment(t *testing.T) {
	src := strings.Replace(fmt.Sprintf(cancel, `not_found: [404]`), `path: "/orders/{order_id}/cancel"`, `path: "/orders/{order_id}{part}/cancel"`, 1)
	src = strings.Replace(src, "required: [order_id], properties: {order_id: {type: string}}}\n    resource", "required: [order_id, part], properties: {order_id: {type: string}, part: {type: string}}}\n    not_a_record: [part]\n    resource", 1)
	f := &far{do: func(c provider.Call) (*provider.Reply, error) {
		if c.Method == "GET" {
			return ok(`{"order": {"id": "2", "email": "alex@example.com"}}`)
		}
		return ok(`{}`)
	}}
	_, err := through(t, src, f, "order.cancel", `{"order_id": "2", "part": "002"}`)
	if err == nil {
		t.Errorf("Alex proved 2, and asked %s", f.calls[len(f.calls)-1])
	}
}
