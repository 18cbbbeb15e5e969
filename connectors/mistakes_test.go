package connectors

import (
	"strings"
	"testing"
)

const plainManifest = `connector: {name: shop, kind: rest, connection: shop}
actions:
  order.list:
    title: List my orders
    personal: true
    risk: read
    request: {method: GET, path: /orders, query: {email: "{pinned.email}"}}
    response: {records: ".orders[]", id: .id, owner: .customer.email, fields: [id, status]}
  order.cancel:
    title: Cancel one of my orders
    personal: true
    risk: destructive
    args: {type: object, required: [order_id], properties: {order_id: {type: string}, reason: {type: string}}}
    resource: {order_id: order.list}
    request: {method: POST, path: "/orders/{order_id}/cancel", body: "{why: .args.reason}"}
    response: {records: .order, owner: .customer.email, fields: [id]}
`

// The mistakes that people make are said once, where they are, with what would
// be right.
func TestMistakesAreSaidPlainly(t *testing.T) {
	if err := load(plainManifest); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`connection: shop}`, `connection: shop, url: "https://x"}`, `m.yaml:1: connector: unknown key "url" (there is connection, headers, idempotency_header, kind, name, settings)`},
		{`path: /orders,`, `path: "https://shop.example/orders",`, `m.yaml:7: path: must start with "/": the connection has the rest of the URL`},
		{`owner: .customer.email, fields: [id, status]`, `owner: customer.email, fields: [id, status]`, `m.yaml:8: owner: not a jq expression (did you mean ".customer.email"?)`},
		{`/orders/{order_id}/cancel`, `/orders/:order_id/cancel`, `m.yaml:15: path: write {order_id} for :order_id`},
		{`{order_id}/cancel`, `{{order_id}}/cancel`, `m.yaml:15: path: a variable stands in single braces, as in /orders/{order_id}`},
		{`{order_id}/cancel`, `{args.order_id}/cancel`, `m.yaml:15: path: outside of a body an argument goes by its name alone: {order_id}`},
		{`{pinned.email}`, `{pinned.mail}`, `m.yaml:7: query "email": there is no pinned.mail (did you mean "email"?)`},
		{"    title: List", "\ttitle: List", "m.yaml:4: found character that cannot start any token (is there a tab? lines are indented with spaces)"},
		{`{email: "{pinned.email}"}`, `{email: {pinned.email}}`, `m.yaml:7: query "email" must be a text or a number, not a mapping (did you mean "{pinned.email}", in quotes?)`},
		{`method: POST`, `method: post`, `m.yaml:15: method: "post" is not GET, POST, PUT, PATCH or DELETE (did you mean "POST"?)`},
		{`body: "{why: .args.reason}"`, `body: {why: .args.reason}`, "m.yaml:15: body must be a text, not a mapping (an expression that begins with { stands in quotes)"},
		{`.args.reason`, `.args.reasn`, `m.yaml:15: body: .args.reasn is not an argument (did you mean "reason"?)`},
		{`{why: .args.reason}`, `{why: .reason}`, "m.yaml:15: body: there is no .reason, only .args and .pinned, .steps, .page and .idempotency_key"},
		{"    risk: read\n", "    risk: read\n    risk: read\n", `m.yaml:7: order.list: "risk" is there twice, first on line 6`},
		{`{order_id: order.list}`, `{order_id: order.lst}`, `m.yaml:14: order.cancel: resource order_id: there is no action "order.lst" (did you mean "order.list"?)`},
		{`required: [order_id]`, `required: [order_id], propertis: {}`, `m.yaml:13: args: "propertis" is no keyword of JSON Schema (did you mean "properties"?)`},
		{`reason: {type: string}`, `reason: {type: string, patern: x}`, `m.yaml:13: args: "patern" is no keyword of JSON Schema (did you mean "pattern"?)`},
		{"personal: true\n    risk: read", "personal: yes\n    risk: read", "m.yaml:5: personal must be true or false, without quotes, not a text"},
		{`{why: .args.reason}"`, `{why: "{reason}"}"`, "m.yaml:14: did not find expected ',' or '}' (is a bracket or a quotation mark missing?"},
		{`kind: rest`, `kind: REST`, `m.yaml:1: connector: there is no kind "REST" (did you mean "rest"?)`},
		{"    title: Cancel one", "    title: Cancel: one", "m.yaml:10: mapping values are not allowed in this context (a text that holds a colon stands in quotes)"},
		{`order.cancel:`, `cancel order:`, `m.yaml:9: actions: "cancel order" is not a name such as order.lookup`},
		{`fields: [id, status]`, `fields: [id, customer.name]`, `m.yaml:8: fields: "customer.name" is not a name; for a value deeper in the record write {name: .path}`},
	} {
		src := strings.Replace(plainManifest, tt.old, tt.new, 1)
		if src == plainManifest {
			t.Errorf("the manifest does not hold %q", tt.old)
			continue
		}
		err := load(src)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s for %s: %v\nwant this alone: %s", tt.new, tt.old, err, tt.want)
		}
	}
}
