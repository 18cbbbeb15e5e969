package connectors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vouchsafe/engine"
)

func mustParse(t testing.TB, src string) *Manifest {
	t.Helper()
	m, err := ParseManifest("m.yaml", []byte(src))
	if err != nil {
		t.Fatalf("ParseManifest: %v", err)
	}
	return m
}

func shopManifest(t testing.TB) *Manifest {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(src))
}

func TestShopManifest(t *testing.T) {
	c, err := NewCatalog([]*Manifest{shopManifest(t), KnowledgeManifest()})
	if err != nil {
		t.Fatalf("NewCatalog: %v", err)
	}
	want := []*engine.Action{
		{Name: "kb.answer", Title: "Answer a question from the help centre", Risk: engine.Read, MinTier: engine.Free,
			Connector: "knowledge", Examples: []string{"what is your returns policy", "do you ship abroad"}},
		{Name: "order.cancel", Title: "Cancel one of my orders", Personal: true, Risk: engine.Destructive, MinTier: engine.Pro,
			Connector: "shop", Examples: []string{"cancel order 1001"}, Fields: []string{"id", "status"},
			Resources: []engine.Resource{{Argument: "order_id", Action: "order.lookup"}}},
		{Name: "order.list", Title: "List my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro, List: true,
			Connector: "shop", Examples: []string{"show my orders"}, Fields: []string{"id", "status"}},
		{Name: "order.lookup", Title: "Look up one of my orders", Personal: true, Risk: engine.Read, MinTier: engine.Pro,
			IDArgument: "order_id", Connector: "shop", Examples: []string{"where is my order", "track order 1001"},
			Fields: []string{"id", "status", "total"}},
	}
	got := c.Actions()
	for _, a := range got {
		if len(a.Revision) != 16 {
			t.Errorf("%s is of revision %q, want the manifest's", a.Name, a.Revision)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(engine.Action{}, "Args", "Revision")); diff != "" {
		t.Errorf("Actions (-want +got):\n%s", diff)
	}
	lookup, ok := c.Lookup("order.lookup")
	if !ok || !cmp.Equal(lookup.Args.Required(), []string{"order_id"}) {
		t.Errorf("Lookup(order.lookup) = %v, %v", lookup, ok)
	}
	if err := lookup.Args.Validate(map[string]any{"order_id": "12"}); err == nil {
		t.Error("the pattern of order_id is not applied")
	}
	if _, ok := c.Lookup("order.steal"); ok {
		t.Error("Lookup found an action nobody declared")
	}
}

// base is a sound manifest; each near miss below changes one thing in it.
const base = `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  order.lookup:
    title: Look up one of my orders
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}}}
    request: {method: GET, path: "/orders/{order_id}"}
    response: {records: ".order", id: ".id", owner: ".customer.email", fields: [id, status]}
  order.cancel:
    title: Cancel one of my orders
    personal: true
    risk: destructive
    args: {type: object, required: [order_id], properties: {order_id: {type: string}, why: {type: string}}}
    resource: {order_id: order.lookup}
    request: {method: POST, path: "/orders/{order_id}/cancel", body: "{reason: .args.why}"}
    response: {records: ".order", owner: ".customer.email", fields: [id, status]}
  shop.hours:
    title: Say when we are open
    personal: false
    risk: read
    request: {method: GET, path: /hours}
    response: {records: ".days[]", fields: [day, opens]}
`

func TestManifestNearMisses(t *testing.T) {
	mustParse(t, base)
	tests := []struct {
		name     string
		old, new string
		want     string // of the error
	}{
		{"unknown key at the top", "actions:", "action: {}\nactions:", `m.yaml:2: manifest: unknown key "action" (did you mean "actions"?)`},
		{"unknown key of an action", "risk: read\n    args", "rsik: read\n    args", `m.yaml:6: order.lookup: unknown key "rsik" (did you mean "risk"?)`},
		{"unknown key of a request", "path: /hours", "path: /hours, header: {a: b}", `request: unknown key "header"`},
		{"unknown key of a response", "owner: \".customer.email\", fields: [id, status]}\n  order.cancel", "ownr: \".customer.email\", fields: [id, status]}\n  order.cancel", `unknown key "ownr" (did you mean "owner"?)`},
		{"duplicate key", "risk: read\n    args", "risk: read\n    risk: write\n    args", `m.yaml:7: order.lookup: "risk" is there twice, first on line 6`},
		{"duplicate action", "shop.hours:", "order.lookup:", `"order.lookup" is there twice`},
		{"two documents", "  shop.hours:", "---\n  shop.hours:", "one document"},
		{"wrong type", "personal: true\n    risk: read", "personal: \"yes\"\n    risk: read", "personal must be true or false, without quotes, not a text"},
		{"title of a number", "title: Say when we are open", "title: 7", "title must be a text, not a number"},
		{"no title", "    title: Say when we are open\n", "", "shop.hours: title is missing"},
		{"personal not said", "    personal: false\n", "", "shop.hours: personal is missing"},
		{"risk not said", "    risk: read\n    request", "    request", "shop.hours: risk is missing"},
		{"unknown risk", "risk: destructive", "risk: dangerous", `unknown risk "dangerous"`},
		{"unknown tier", "risk: destructive", "risk: destructive\n    min_tier: gold", `unknown tier "gold"`},
		{"unknown kind", "kind: rest", "kind: soap", `there is no kind "soap"`},
		{"no connection", ", connection: shop-admin", "", "connection is missing"},
		{"connection with a URL", "connection: shop-admin", "connection: \"https://shop.example\"", "is not a name"},
		{"open schema", "properties: {order_id: {type: string}}}", "additionalProperties: true, properties: {order_id: {type: string}}}", "additionalProperties must stay false"},
		{"remote schema", "properties: {order_id: {type: string}}}", "properties: {order_id: {$ref: \"https://evil.example/s.json\"}}}", "may only refer to itself"},
		{"pinned argument", "why: {type: string}", "why: {type: string}, pinned: {type: object}", "pinned values are not arguments"},
		{"required but not declared", "required: [order_id], properties: {order_id: {type: string}}}", "required: [order_id, x], properties: {order_id: {type: string}}}", `"x" is required but not declared`},
		{"optional argument in the path", "args: {type: object, required: [order_id], properties: {order_id: {type: string}}}", "args: {type: object, properties: {order_id: {type: string}}}", "must be required"},
		{"slip in a variable", "path: \"/orders/{order_id}\"", "path: \"/orders/{orderid}\"", `{orderid} is not an argument (did you mean "order_id"?)`},
		{"slip in pinned", "path: \"/orders/{order_id}\"}", "path: \"/orders/{order_id}\", query: {e: \"{pinned.emial}\"}}", `there is no pinned.emial (did you mean "email"?)`},
		{"claims are not pinned", "path: \"/orders/{order_id}\"}", "path: \"/orders/{order_id}\", query: {e: \"{visitor.email}\"}}", "{visitor.email} is not an argument"},
		{"absolute URL", "path: /hours", "path: \"https://evil.example/hours\"", `must start with "/"`},
		{"other host", "path: /hours", "path: \"//evil.example/hours\"", "another host"},
		{"climbing path", "path: /hours", "path: \"/shop/../hours\"", `must not be "." or ".."`},
		{"encoded climb", "path: /hours", "path: \"/shop/%2e%2e/hours\"", `must not be "." or ".."`},
		{"empty segment", "path: /hours", "path: \"/shop//hours\"", "must not be empty"},
		{"reserved expansion", "path: \"/orders/{order_id}\"", "path: \"/orders/{+order_id}\"", "slashes and question marks of its own"},
		{"fragment expansion", "path: \"/orders/{order_id}\"", "path: \"/orders/{#order_id}\"", `must not hold "#"`},
		{"cut-off value", "path: \"/orders/{order_id}\"", "path: \"/orders/{order_id:3}\"", "cut a value short"},
		{"unclosed template", "path: \"/orders/{order_id}\"", "path: \"/orders/{order_id\"", "m.yaml:8: path:"},
		{"unknown method", "method: POST", "method: post", `"post" is not GET`},
		{"a read that deletes", "method: GET, path: \"/orders/{order_id}\"", "method: DELETE, path: \"/orders/{order_id}\"", "m.yaml:8: order.lookup: request: a DELETE changes something, so risk is not read"},
		{"body of a GET", "path: /hours", "path: /hours, body: .args", "a GET has no body"},
		{"broken jq", "records: \".order\", id", "records: \".order[\", id", "records: not a jq expression"},
		{"slip in a body", ".args.why", ".args.wyh", `.args.wyh is not an argument (did you mean "why"?)`},
		{"input from elsewhere in jq", "{reason: .args.why}", "{reason: input}", "is not allowed"},
		{"read without owner", "id: \".id\", owner: \".customer.email\", ", "id: \".id\", ", "who owns each"},
		{"read without records", "    response: {records: \".order\", id: \".id\", owner: \".customer.email\", fields: [id, status]}\n", "", "who owns each"},
		{"owner of nothing", "{records: \".order\", owner: \".customer.email\", fields: [id, status]}\n  shop", "{owner: \".customer.email\"}\n  shop", "records must say where they are"},
		{"write without owner", "{records: \".order\", owner: \".customer.email\", fields: [id, status]}\n  shop", "{records: \".order\", fields: [id, status]}\n  shop", "records need an owner"},
		{"write without proof", "    resource: {order_id: order.lookup}\n", "", `"order_id" says what is changed, and nothing proves that it is the customer's`},
		{"write of nobody's", "    resource: {order_id: order.lookup}\n    request: {method: POST, path: \"/orders/{order_id}/cancel\", body: \"{reason: .args.why}\"}", "    request: {method: POST, path: \"/cancel\", body: .args}", "nothing in the request is the customer's"},
		{"unproven query", "body: \"{reason: .args.why}\"", "query: {order: \"{why}\"}", `"why" says what is changed`},
		{"slip at the root of a body", "{reason: .args.why}", "{reason: .arg.why}", "there is no .arg, only .args and .pinned, .steps"},
		{"argument that says who", "why: {type: string}", "why: {type: string}, customerId: {type: string}", `m.yaml:10: order.cancel: args: "customerId" says whose account is meant`},
		{"read of somebody", "required: [order_id], properties: {order_id: {type: string}}}", "required: [order_id], properties: {order_id: {type: string}, e_mail: {type: string}}}", `m.yaml:3: order.lookup: args: "e_mail" says whose account is meant`},
		{"slip in not_a_record", "resource: {order_id: order.lookup}", "resource: {order_id: order.lookup}\n    not_a_record: [wyh]", `m.yaml:16: order.cancel: not_a_record: "wyh" is not an argument (did you mean "why"?)`},
		{"proven and not a record", "resource: {order_id: order.lookup}", "resource: {order_id: order.lookup}\n    not_a_record: [order_id]", "is in resource too"},
		{"one parameter twice", "    request: {method: GET, path: /hours}", "    args: {type: object, properties: {day: {type: string}}}\n    request: {method: GET, path: \"/hours{?day}\", query: {day: today}}", `query "day" is in the path's query too`},
		{"resource of no argument", "resource: {order_id: order.lookup}", "resource: {order_id: order.lookup, ordr: order.lookup}", `"ordr" is not an argument`},
		{"resource proves itself", "resource: {order_id: order.lookup}", "resource: {order_id: order.cancel}", "cannot prove its own argument"},
		{"public with pinned", "path: /hours", "path: /hours, query: {e: \"{pinned.email}\"}", "a public action has no customer"},
		{"public with owner", "fields: [day, opens]", "owner: .email, fields: [day, opens]", "so it is personal"},
		{"owner of two kinds", "owner: \".customer.email\", fields: [id, status]}\n  order", "owner: {email: .e, subject: .s}, fields: [id, status]}\n  order", "one of email, subject"},
		{"nothing to show", ", fields: [day, opens]", "", "fields must say"},
		{"path for a field", "[day, opens]", "[day, opens.at]", `"opens.at" is not a name`},
		{"field twice", "[day, opens]", "[day, day]", `"day" is there twice`},
		{"500 as not found", "fields: [day, opens]", "fields: [day, opens], not_found: [500]", "500 does not mean that a record is missing"},
		{"timeout of a day", "path: /hours}", "path: /hours}\n    timeout: 24h", "timeout must be a time such as 10s"},
		{"broken reply", "path: /hours}", "path: /hours}\n    reply: \"{{.day\"", "reply:"},
		{"unknown function in a reply", "path: /hours}", "path: /hours}\n    reply: \"{{shell .day}}\"", `function "shell" not defined`},
		{"examples of a text", "path: /hours}", "path: /hours}\n    examples: when are you open", "examples must be a list, not a text"},
		{"name of an action", "shop.hours:", "\"shop hours\":", "is not a name such as order.lookup"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := strings.Replace(base, tt.old, tt.new, 1)
			if src == base {
				t.Fatalf("the base does not hold %q", tt.old)
			}
			m, err := ParseManifest("m.yaml", []byte(src))
			if err == nil || m != nil {
				t.Fatalf("ParseManifest = %v, nil; want an error with %q", m, tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseManifest = %v\nwant %q in it", err, tt.want)
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "m.yaml:") {
					t.Errorf("problem without a place: %q", line)
				}
			}
		})
	}
}
