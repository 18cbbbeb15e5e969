package connectors

import (
	"strings"
	"testing"
)

// helper actions that a resource may or may not lead to.
const provers = `
  order.named:
    title: Look up an order by another name
    personal: true
    risk: read
    args: {type: object, required: [number], properties: {number: {type: string}}}
    request: {method: GET, path: "/orders/{number}"}
    response: {records: .order, id: .id, owner: .email, fields: [id]}
  order.listed:
    title: List my orders
    personal: true
    risk: read
    request: {method: GET, path: /orders}
    response: {records: ".orders[]", owner: .email, fields: [id]}
  order.nameless:
    title: List my orders without ids
    personal: true
    risk: read
    request: {method: GET, path: /orders}
    response: {records: ".orders[]", owner: .email, fields: [status]}
  order.two:
    title: Look up an order by two things
    personal: true
    risk: read
    args: {type: object, required: [order_id, zip], properties: {order_id: {type: string}, zip: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}/{zip}"}
    response: {records: .order, owner: .email, fields: [id]}
  order.searched:
    title: Search my orders
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: /orders/search, query: {q: "{order_id}", email: "{pinned.email}"}}
    response: {records: .order, owner: .email, fields: [id]}
  order.found:
    title: Search my orders by their number
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: /orders/search, query: {q: "{order_id}"}}
    response: {records: .order, id: .id, owner: .email, fields: [id]}
  order.unnamed:
    title: Search my orders without comparing
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: /orders/search, query: {q: "{order_id}"}}
    response: {records: .order, id: .id, id_argument: "", owner: .email, fields: [id]}
  order.narrowed:
    title: List my orders, or one of them
    personal: true
    risk: read
    args: {type: object, properties: {order_id: {type: string}}}
    request: {method: GET, path: /orders, query: {id: "{order_id}"}}
    response: {records: ".orders[]", owner: .email, fields: [id]}
  order.only:
    title: Show my one order
    personal: true
    risk: read
    request: {method: GET, path: "/customers/{pinned.subject}/order"}
    response: {records: .order, id: .id, owner: .email, fields: [id]}
  order.idless:
    title: Show my one order without an id
    personal: true
    risk: read
    request: {method: GET, path: "/customers/{pinned.subject}/order"}
    response: {records: .order, owner: .email, fields: [id]}
  order.public:
    title: Look up any order
    personal: false
    risk: read
    not_a_record: [order_id]
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: .order, fields: [id]}
  order.touch:
    title: Touch an order
    personal: true
    risk: write
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    resource: {order_id: order.listed}
    request: {method: POST, path: "/orders/{order_id}"}
`

func TestResourcesMustProve(t *testing.T) {
	tests := map[string]string{
		"order.lookup":   "",
		"order.named":    "",
		"order.listed":   "",
		"order.lokup":    `there is no action "order.lokup" (did you mean "order.lookup"?)`,
		"order.public":   "is not a personal action that only reads",
		"order.touch":    "is not a personal action that only reads",
		"order.nameless": "without an id to find the argument among",
		"order.two":      `also requires "zip"`,
		"order.found":    "",
		"order.narrowed": "",
		"order.only":     "",
		"order.searched": `does not compare the record it finds with "order_id"`,
		"order.unnamed":  `does not compare the record it finds with "order_id"`,
		"order.idless":   "without an id to find the argument among",
	}
	for by, want := range tests {
		m := mustParse(t, strings.Replace(base, "resource: {order_id: order.lookup}", "resource: {order_id: "+by+"}", 1)+provers)
		_, err := NewCatalog([]*Manifest{m})
		switch {
		case want == "" && err != nil:
			t.Errorf("resource by %s: %v", by, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "m.yaml:15: order.cancel: resource order_id:")):
			t.Errorf("resource by %s: %v, want %q", by, err, want)
		}
	}
}

func TestActionsAreDeclaredOnce(t *testing.T) {
	m := mustParse(t, base)
	if _, err := NewCatalog([]*Manifest{m, KnowledgeManifest(), m}); err == nil || !strings.Contains(err.Error(), `action "order.lookup" is already at m.yaml:3`) {
		t.Errorf("NewCatalog = %v", err)
	}
}

func TestIDArgument(t *testing.T) {
	tests := []struct {
		name, args, request, response string
		want                          string
		list                          bool
	}{
		{"last of the path", "branch: {type: string}, order: {type: string}", `{method: GET, path: "/b/{branch}/o/{order}"}`, `records: .order, id: .id`, "order", false},
		{"no id", "order: {type: string}", `{method: GET, path: "/o/{order}"}`, `records: .order`, "", false},
		{"no argument", "", `{method: GET, path: /me}`, `records: .me, id: .id`, "", false},
		{"the only one of the query", "ref: {type: string}", `{method: GET, path: /o, query: {r: "{ref}"}}`, `records: .order, id: .ref`, "ref", false},
		{"id among others in the query", "booking_ref: {type: string}, name: {type: string}", `{method: GET, path: /b, query: {r: "{booking_ref}", n: "{name}"}}`, `records: .b, id: .ref`, "booking_ref", false},
		{"the only one of the body", "number: {type: string}", `{method: POST, path: /find, body: "{n: .args.number}"}`, `records: .order, id: .n`, "number", false},
		{"a list narrowed", "day: {type: string}", `{method: GET, path: /o, query: {day: "{day}"}}`, `records: ".o[]", id: .id`, "", true},
		{"a list of one", "order_id: {type: string}", `{method: GET, path: /o, query: {id: "{order_id}"}}`, `records: ".o[]", id: .id`, "order_id", false},
		{"a list below a record", "order_id: {type: string}", `{method: GET, path: "/o/{order_id}/items"}`, `records: ".items[]", id: .id`, "", true},
		{"a list at a record", "order_id: {type: string}", `{method: GET, path: "/o/{order_id}"}`, `records: ".o[]", id: .id`, "order_id", false},
		{"said so", "day: {type: string}", `{method: GET, path: /o, query: {day: "{day}"}}`, `records: ".o[]", id: .day, id_argument: day`, "day", false},
		{"said not", "order: {type: string}", `{method: GET, path: "/o/{order}"}`, `records: .order, id: .id, id_argument: ""`, "", false},
	}
	for _, tt := range tests {
		var required []string
		for _, p := range strings.Split(tt.args, ", ") {
			if name, _, ok := strings.Cut(p, ":"); ok {
				required = append(required, name)
			}
		}
		m := mustParse(t, `connector: {name: s, kind: rest, connection: c}
actions:
  a.b:
    title: T
    personal: true
    risk: read
    args: {type: object, required: [`+strings.Join(required, ", ")+`], properties: {`+tt.args+`}}
    request: `+tt.request+`
    response: {`+tt.response+`, owner: .email, fields: [id]}
`)
		a := m.Actions()[0]
		if a.IDArgument != tt.want || a.List != tt.list {
			t.Errorf("%s: IDArgument %q, List %v; want %q, %v", tt.name, a.IDArgument, a.List, tt.want, tt.list)
		}
	}
}

func TestManifestBombs(t *testing.T) {
	deep := strings.Repeat("{a: ", 60) + "1" + strings.Repeat("}", 60)
	wide := "&a [x, x, x, x, x, x, x, x, x, x]"
	for range 12 {
		wide = "[" + wide + ", *a, *a, *a, *a, *a, *a, *a]"
		wide = "&a " + wide
	}
	for name, args := range map[string]string{"deep": deep, "wide": "{x: " + wide + "}", "circular": "&a {x: *a}"} {
		src := strings.Replace(base, "{type: object, required: [order_id], properties: {order_id: {type: string}}}", args, 1)
		if _, err := ParseManifest("m.yaml", []byte(src)); err == nil {
			t.Errorf("%s: ParseManifest let it pass", name)
		}
	}
	if _, err := ParseManifest("m.yaml", nil); err == nil {
		t.Error("ParseManifest let an empty file pass")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(base + provers))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := ParseManifest("m.yaml", src)
		if (m == nil) != (err != nil) {
			t.Fatalf("ParseManifest = %v, %v", m, err)
		}
		if err != nil {
			return
		}
		for _, a := range m.Actions() {
			if a.Title == "" || a.Risk == 0 || a.MinTier == 0 || a.Args == nil {
				t.Errorf("%s is incomplete: %+v", a.Name, a)
			}
		}
	})
}
