package connectors

import (
	"fmt"
	"strings"
	"testing"
)

// write is a manifest with one personal write; the rest of the action is given.
func write(action string) string {
	return `connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  booking.list:
    title: List my appointments
    personal: true
    risk: read
    request: {method: GET, path: /bookings, query: {email: "{pinned.email}"}}
    response: {records: ".bookings[]", id: .id, owner: .customer.email, fields: [id, start]}
  thing.change:
    title: Change a thing
    personal: true
    risk: write
` + action
}

// load reads a manifest as a site does.
func load(src string) error {
	m, err := ParseManifest("m.yaml", []byte(src))
	if err != nil {
		return err
	}
	_, err = NewCatalog([]*Manifest{m})
	return err
}

const (
	byID  = "    resource: {booking_id: booking.list}\n"
	toID  = `method: POST, path: "/bookings/{booking_id}/change"`
	toPin = `method: POST, path: "/customers/{pinned.subject}/change"`
)

// taking is the arguments of a write.
func taking(properties string, required ...string) string {
	return fmt.Sprintf("    args: {type: object, required: [%s], properties: {%s}}\n", strings.Join(required, ", "), properties)
}

func body(to, jq string) string { return "    request: {" + to + ", body: '" + jq + "'}\n" }

func TestPersonalWritesRefused(t *testing.T) {
	text := ": {type: string}"
	order := taking("order_id"+text, "order_id")
	tests := []struct{ name, action, want string }{
		{"an id in the body beside a pin that only decorates", order + body("method: POST, path: /orders/cancel", "{order: .args.order_id, requested_by: .pinned.email}"),
			`m.yaml:14: thing.change: body: "order_id" names a record, and nothing proves that it is the customer's; add resource: {order_id: <an action that reads it>} or, if it names nobody's record, not_a_record: [order_id]`},
		{"all of the arguments, an id among them", order + body(toPin, ".args"), `"order_id" names a record`},
		{"a second id beside a proven one", taking("booking_id"+text+", item_id"+text, "booking_id", "item_id") + byID + body(toID, ".args"), `"item_id" names a record`},
		{"an id by another spelling", taking("orderNumber"+text, "orderNumber") + body(toPin, "{n: .args.orderNumber}"), `"orderNumber" names a record`},
		{"an id in one word", taking("orderid"+text, "orderid") + body(toPin, "{n: .args.orderid}"), `"orderid" names a record`},
		{"several ids", taking("order_ids: {type: array, items: {type: string}}", "order_ids") + body(toPin, "{ids: .args.order_ids}"), `"order_ids" names a record`},
		{"an id within an object", taking("order: {type: object, properties: {id"+text+"}}", "order") + body(toPin, ".args"), `"order" holds "id"`},
		{"an id within a list", taking("lines: {type: array, items: {type: object, properties: {sku"+text+"}}}", "lines") + body(toPin, ".args"), `"lines" holds "sku"`},
		{"an id behind a reference", "    args: {type: object, $defs: {box: {type: object, additionalProperties: false, properties: {id: {type: string}}}}, properties: {box: {$ref: \"#/$defs/box\"}}}\n" +
			body(toPin, ".args"), `"box" holds "id"`},
		{"what is proven elsewhere", taking("booking: {type: string, format: date}, booking_id"+text, "booking", "booking_id") + byID + body(toID, ".args"), `"booking" names a record elsewhere in the catalog`},
		{"an argument over the pin", taking("address"+text+", email"+text) + body("method: POST, path: /profile", "{email: .pinned.email} + .args"), `"email" says whose account is meant`},
		{"an argument over the pin by another name", taking("who"+text) + body("method: POST, path: /profile", "{who: .pinned.email} + .args"), `"who" is an argument, and the body sets it from pinned`},
		{"an argument over an assigned pin", taking("who"+text) + body("method: POST, path: /profile", ".pinned.email as $e | ({} | .who = $e) + .args"), `"who" is an argument, and the body sets it from pinned`},
		{"a member over the pin", taking("what: {type: object, properties: {who"+text+"}}") + body("method: POST, path: /profile", "{who: .pinned.email} + .args.what"), `"what" holds "who", which the body sets from pinned`},
		{"members of any name", taking("what: {type: object}") + body("method: POST, path: /profile", "{email: .pinned.email} + .args.what"), `"what" could hold anything`},
		{"members of any name, said so", taking("what: {type: object, additionalProperties: true, properties: {a"+text+"}}") + body(toPin, ".args"), `"what" could hold anything`},
		{"members of a pattern", taking("what: {type: object, additionalProperties: false, patternProperties: {\"^x\": {}}}") + body(toPin, ".args"), `"what" could hold anything`},
		{"anything", taking("what: {}") + body(toPin, ".args"), `"what" could hold anything`},
		{"a list of anything", taking("what: {type: array}") + body(toPin, ".args"), `"what" could hold anything`},
		{"anything, in a circle", "    args: {type: object, $defs: {a: {$ref: \"#/$defs/a\"}}, properties: {what: {$ref: \"#/$defs/a\"}}}\n" + body(toPin, ".args"), `"what" could hold anything`},

		{"the input itself", order + body(toPin, "."), `body: "." does not show which arguments`},
		{"taken apart", order + body(toPin, ". as {args: $a} | $a"), "does not show which arguments"},
		{"by a computed name", order + body(toPin, `.["ar" + "gs"]`), "does not show which arguments"},
		{"by a path", order + body(toPin, `getpath(["args", "order_id"])`), "does not show which arguments"},
		{"through its entries", order + body(toPin, "to_entries[0].value"), "does not show which arguments"},
		{"through all there is", order + body(toPin, "[..][2]"), "does not show which arguments"},
		{"through its values", order + body(toPin, ".[]"), "does not show which arguments"},
		{"through a function of its own", order + body(toPin, "def f: .args; f"), "does not show which arguments"},
		{"through a variable", order + body(toPin, "(. as $x | $x.args) as $a | {a: $a.order_id}"), `"order_id" names a record`},
		{"through a variable, all", order + body(toPin, ".args as $a | $a"), `"order_id" names a record`},
		{"through a string", order + body(toPin, `{a: "no \(.args.order_id)"}`), `"order_id" names a record`},
		{"through a format", order + body(toPin, `{a: (.args | @json)}`), `"order_id" names a record`},
		{"through a condition", order + body(toPin, `if .args.order_id == "1" then {a: 1} else {a: 2} end`), `"order_id" names a record`},
		{"through a condition without an else", order + body(toPin, "if false then 1 end"), "does not show which arguments"},
		{"through an alternative", order + body(toPin, "{a: (null // .args.order_id)}"), `"order_id" names a record`},
		{"through a reduction", order + body(toPin, "reduce .args.order_id as $x ({}; .a = $x)"), `"order_id" names a record`},
		{"through short members", order + body(toPin, ".args | {order_id}"), `"order_id" names a record`},
		{"through another short member", order + body(toPin, "{args}"), `"order_id" names a record`},
		{"through select", order + body(toPin, "select(true)"), "does not show which arguments"},
		{"a name that an argument chooses", taking("a"+text+", b"+text) + body(toPin, "{email: .pinned.email} + {(.args.a): .args.b}"), "does not show which arguments"},
		{"a member that an argument chooses", taking("a"+text+", b"+text) + body(toPin, ".args as $a | {} | .[$a.a] = $a.b"), "does not show which arguments"},
		{"other names for the members", taking("a"+text+", b"+text) + body(toPin, "{a: .args.a} | with_entries(.key = .value)"), "does not show which arguments"},
		{"an object within a text", taking("a"+text) + body(toPin, "{email: .pinned.email} + (.args.a | fromjson)"), "does not show which arguments"},

		{"an id by the body's name for it", taking("which"+text, "which") + body(toPin, "{order_id: .args.which}"),
			`m.yaml:14: thing.change: body: "which" is sent as "order_id", which names a record, and nothing proves that it is the customer's; add resource: {which: <an action that reads it>} or, if it names nobody's record, not_a_record: [which]`},
		{"an id by the body's name, inside", taking("which"+text) + body(toPin, "{change: {order: {id: .args.which}}}"), `"which" is sent as "id"`},
		{"an id by the body's name, assigned", taking("which"+text) + body(toPin, ".args.which as $w | {} | .order.id = $w"), `"which" is sent as "id"`},
		{"an id by the body's name, in steps", taking("which"+text) + body(toPin, "reduce .args.which as $n ({}; .order_id = $n)"), `"which" is sent as "order_id"`},
		{"an id by a format's name", taking("which"+text) + body(toPin, `{"order_id": "no. \(.args.which)"}`), `"which" is sent as "order_id"`},
		{"another customer", taking("contact"+text) + body(toPin, "{email: .args.contact}"),
			`m.yaml:14: thing.change: body: "email" says whose account is meant, and only the token may say that, not "contact": use pinned instead, or, if it names no customer, add not_a_record: [contact]`},
		{"another customer, inside", taking("contact"+text) + body(toPin, "{customer: {address: .args.contact}}"), `"customer" says whose account is meant`},
		{"over the pin by +", taking("contact"+text) + body(toPin, "{email: .pinned.email} + {email: .args.contact}"),
			`m.yaml:14: thing.change: body: "email" is set from pinned and from an argument, which could take its place; send each under a name of its own`},
		{"over the pin by *", taking("contact"+text) + body(toPin, "{who: .pinned.email} * {who: .args.contact}"), `"who" is set from pinned and from an argument`},
		{"over the pin, vouched for", taking("contact"+text) + "    not_a_record: [contact]\n" + body(toPin, "{who: .pinned.email} * {who: .args.contact}"), `"who" is set from pinned and from an argument`},
		{"before the pin", taking("contact"+text) + body(toPin, "{who: (.args.contact // .pinned.email)}"), `"who" is set from pinned and from an argument`},
		{"instead of the pin", taking("contact"+text) + body(toPin, "{who: (if .args.contact then .args.contact else .pinned.email end)}"), `"who" is set from pinned and from an argument`},
		{"assigned over the pin", taking("contact"+text) + body(toPin, ".args as $a | {who: .pinned.email} | .who = $a.contact"), `"who" is set from pinned and from an argument`},
		{"updated over the pin", taking("contact"+text) + body(toPin, ".args as $a | {who: .pinned.email} | .who |= ($a.contact // .)"), `"who" is set from pinned and from an argument`},
		{"an object over the pin", taking("contact"+text) + body(toPin, "{who: .pinned.email} + {who: {x: .args.contact}}"), `"who" is set from pinned and from an argument`},
		{"over an object with the pin", taking("contact"+text) + body(toPin, "{who: {x: .pinned.email}} + {who: .args.contact}"), `"who" is set from pinned and from an argument`},
		{"no name at all", taking("contact"+text) + body(toPin, ".args.contact // .pinned.email"), "an argument could take the place of what is pinned"},
		{"by capture", taking("note"+text) + body(toPin, `{email: .pinned.email} + (.args.note | capture("(?<email>.+)"))`), "does not show which arguments"},
		{"by a capture that an argument writes", taking("note"+text+", re"+text) + body(toPin, `. as $r | {email: .pinned.email} + (.args.note | capture($r.args.re))`), "does not show which arguments"},
		{"by scan", taking("note"+text) + body(toPin, `{a: [.args.note | scan("x")]}`), "does not show which arguments"},
		{"by map_values", taking("note"+text) + body(toPin, ".args.note as $n | {email: .pinned.email} | map_values($n)"), "does not show which arguments"},
		{"by walk", taking("note"+text) + body(toPin, ".args.note as $n | {a: 1} | walk($n)"), "does not show which arguments"},
		{"by paths", taking("note"+text) + body(toPin, "[{a: .args.note} | paths]"), "does not show which arguments"},
		{"by a name that is put together", taking("note"+text) + body(toPin, `{("em" + "ail"): .args.note}`), "does not show which arguments"},
		{"a pin that is only a condition", taking("a"+text) + body("method: POST, path: /profile", `select(.pinned.email != "") | {a: .args.a}`), "nothing in the request is the customer's"},
		{"a pin that only decides", taking("a"+text) + body("method: POST, path: /profile", `{a: .args.a, known: (.pinned.email != "" and true)} | if .a then . else {} end`), "nothing in the request is the customer's"},
		{"a pin that is only counted", taking("a"+text) + body("method: POST, path: /profile", `{a: .args.a, n: (.pinned.email | length)}`), "nothing in the request is the customer's"},
		{"a pin that is looked at and left", taking("a"+text) + body("method: POST, path: /profile", `.pinned.email as $e | {a: .args.a}`), "nothing in the request is the customer's"},
		{"members that a schema beside lets in", taking("what: {type: object, unevaluatedProperties: false, allOf: [{additionalProperties: true}]}") + body(toPin, "{what: .args.what}"), `"what" could hold anything`},
		{"members that a condition lets in", taking("what: {type: object, unevaluatedProperties: false, if: {type: object}, then: {properties: {order_id"+text+"}}}") + body(toPin, "{what: .args.what}"), `"what" could hold anything`},

		{"an argument of any name", taking("which"+text, "which") + body(toPin, "{cancel: .args.which}"),
			`m.yaml:14: thing.change: body: nothing says what "which" stands for; add resource: {which: <an action that reads it>} or, if it names nobody's record, not_a_record: [which]`},
		{"a number", taking("which: {type: integer}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a number with one bound", taking("which: {type: integer, minimum: 1}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a number of very many", taking("which: {type: number, minimum: 1, maximum: 99999}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a text with a pattern", taking("which: {type: string, pattern: \"^[0-9]+$\", maxLength: 8}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a format of no value", taking("which: {type: string, format: uuid}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a date or a number", taking("which: {type: [string, integer], format: date}") + body(toPin, ".args"), `nothing says what "which" stands for`},
		{"a list of them", taking("these: {type: array, items: {type: string}}") + body(toPin, ".args"), `nothing says what "these" stands for`},
		{"inside an object", taking("change: {type: object, properties: {start"+text+", target"+text+"}}") + body(toPin, ".args"), `nothing says what "change" stands for`},
		{"one branch of several", taking("it: {anyOf: [{type: string, format: date}, {type: string}]}") + body(toPin, ".args"), `nothing says what "it" stands for`},
		{"a name of somebody", taking("name"+text) + body(toPin, ".args"), `nothing says what "name" stands for`},
		{"in a step", taking("which"+text, "which") + "    steps: [{find: thing, request: {method: POST, path: /find, body: \"{q: .args.which}\"}, response: {records: .thing, owner: .email, fields: [id]}}]\n" +
			"    request: {method: POST, path: \"/things/{steps.thing.id}\"}\n", `nothing says what "which" stands for`},

		{"a name is not an identity", taking("a"+text) + body("method: POST, path: /profile", "{name: .pinned.name, a: .args.a}"), "nothing in the request is the customer's"},
		{"an id that may be left out", taking("booking_id"+text) + byID + "    request: {method: POST, path: /archive, query: {id: \"{booking_id}\"}}\n", `m.yaml:14: thing.change: resource: without "booking_id" nothing would say whose record is changed`},
		{"a proof of nothing that is sent", taking("booking_id"+text, "booking_id") + byID + body("method: POST, path: /archive", "{}"), "nothing in the request is the customer's"},
	}
	for _, tt := range tests {
		err := load(write(tt.action))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "m.yaml:") {
			t.Errorf("%s: %v\nwant %q", tt.name, err, tt.want)
		}
	}
}

func TestPersonalWritesAccepted(t *testing.T) {
	text := ": {type: string}"
	move := taking("booking_id"+text+", start: {type: string, format: date-time}", "booking_id", "start") + byID
	address := "line1" + text + ", city" + text + ", postcode" + text
	tests := map[string]string{
		"a new time":               move + body(toID, "{start: .args.start}"),
		"all arguments":            move + body(toID, ".args"),
		"all but one":              move + body(toID, ".args | del(.booking_id)"),
		"an id in the body alone":  move + body("method: POST, path: /bookings/move", ".args"),
		"an address by its lines":  taking(address, "line1", "city", "postcode") + body(toPin, ".args"),
		"an address beside a pin":  taking(address) + body("method: PUT, path: /profile", "{email: .pinned.email} + .args"),
		"an address as a text":     taking("address"+text, "address") + body(toPin, ".args"),
		"an address as an object":  taking("address: {type: object, properties: {"+address+"}}", "address") + body(toPin, ".args"),
		"numbers that name nobody": taking("phone_number"+text+", zip_code"+text+", houseNumber"+text+", paid: {type: boolean}") + body(toPin, ".args"),
		"one of a fixed list":      taking("plan_code: {enum: [a, b]}") + body(toPin, ".args"),
		"an id of no record":       taking("slot_id"+text) + "    not_a_record: [slot_id]\n" + body(toPin, ".args"),
		"a subject of a letter":    taking("subject"+text) + "    not_a_record: [subject]\n" + body(toPin, ".args"),
		"a day in the path":        taking("day"+text, "day") + "    not_a_record: [day]\n    request: {method: PUT, path: \"/customers/{pinned.subject}/days/{day}\"}\n",
		"anything, said so":        taking("notes: {type: object}") + "    not_a_record: [notes]\n" + body(toPin, "{notes: .args.notes}"),
		"an optional id, pinned":   taking("booking_id"+text) + byID + body(toPin, ".args"),
		"variables and branches": taking("a: {type: integer}, b"+text) + "    not_a_record: [a, b]\n" +
			body(toPin, `.args as $a | {n: ($a.a // 1), b: (if $a.b == "" then null else $a.b end), by: "\(.pinned.name)"}`),
		"a list":                     taking("tags: {type: array, items: {type: string}}") + "    not_a_record: [tags]\n" + body(toPin, "{tags: [.args.tags[]? | ascii_downcase]}"),
		"without what was not given": taking("a"+text+", b"+text) + "    not_a_record: [a, b]\n" + body(toPin, "{a: .args.a, b: .args.b, who: .pinned.email} | with_entries(select(.value != null))"),
		"the time":                   taking("") + body(toPin, "{at: now, who: .pinned.email}"),
		"a record by another name":   taking("which"+text, "which") + "    resource: {which: booking.list}\n" + body("method: POST, path: /archive", "{booking_id: .args.which}"),
		"a slot by another name":     taking("slot"+text) + "    not_a_record: [slot]\n" + body(toPin, "{slot_id: .args.slot}"),
		"an object beside a pin":     taking("a"+text) + "    not_a_record: [a]\n" + body("method: POST, path: /profile", "{data: {email: .pinned.email, a: .args.a}}"),
		"an argument added to it":    taking("a"+text) + "    not_a_record: [a]\n" + body("method: POST, path: /profile", ".args.a as $a | {data: {email: .pinned.email}} | .data.a = $a"),
		"a pin cut to size":          taking("a"+text) + "    not_a_record: [a]\n" + body("method: POST, path: /profile", `{id: (.pinned.subject | ltrimstr("auth0|") | ascii_downcase), a: .args.a}`),
		"a pin in a state":           taking("tags: {type: array, items: {type: string}}") + "    not_a_record: [tags]\n" + body("method: POST, path: /profile", "reduce .args.tags[]? as $t ({email: .pinned.email, tags: []}; .tags += [$t])"),
		"an argument in capitals":    taking("a"+text) + "    not_a_record: [a]\n" + body(toPin, "{who: .pinned.email, a: .args.a} | .a |= ascii_upcase"),
		"values that are given":      taking("a"+text) + "    not_a_record: [a]\n" + body(toPin, "{who: .pinned.email, a: .args.a} | map_values(select(. != null))"),
		"any of closed ones":         taking("when: {anyOf: [{type: string}, {type: object, additionalProperties: false, properties: {day"+text+"}}]}") + body(toPin, ".args"),
		"bounded numbers":            taking("boxes: {type: integer, minimum: 1, maximum: 9}, share: {type: number, minimum: 0, exclusiveMaximum: 1}") + body(toPin, ".args"),
		"dates":                      taking("from: {type: string, format: date}, to: {type: [string, \"null\"], format: date-time}") + body(toPin, ".args"),
		"what names itself":          taking("gift_message"+text+", startTime"+text+", quantity: {type: integer}, firstName"+text+", phone_number"+text+", house_no"+text) + body(toPin, ".args"),
		"values in a list":           taking("days: {type: array, items: {type: string}}, slots: {type: array, items: {type: object, properties: {start"+text+", minutes: {type: integer}}}}") + body(toPin, ".args"),
		"one of several values":      taking("at: {anyOf: [{type: string, format: date}, {enum: [now, never]}]}") + body(toPin, ".args"),
	}
	for name, action := range tests {
		if err := load(write(action)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Objects within the arguments of a personal write are as closed as the
// arguments are.
func TestArgumentsAreClosedThroughout(t *testing.T) {
	m := mustParse(t, write(taking("address: {type: object, properties: {line1: {type: string}}}")+body(toPin, ".args")))
	a := m.actions["thing.change"].def
	if err := a.Args.Validate(map[string]any{"address": map[string]any{"line1": "5 Mill Road"}}); err != nil {
		t.Errorf("Validate = %v", err)
	}
	if err := a.Args.Validate(map[string]any{"address": map[string]any{"line1": "5 Mill Road", "email": "jordan@example.com"}}); err == nil {
		t.Error("a member that nobody declared is valid")
	}
}

func TestNames(t *testing.T) {
	tests := map[string]struct{ record, customer bool }{
		"id": {record: true}, "order_id": {record: true}, "orderId": {record: true}, "orderID": {record: true}, "order-id": {record: true},
		"orderid": {record: true}, "order_id_2": {record: true}, "ids": {record: true}, "order_no": {record: true}, "bookingRef": {record: true},
		"number": {record: true}, "reference": {record: true}, "sku": {record: true}, "gift_code": {record: true}, "barcode": {record: true},
		"uuid": {record: true}, "api_key": {record: true}, "card_token": {record: true},
		"customer_id": {true, true}, "Account-Number": {true, true},
		"email": {customer: true}, "e_mail": {customer: true}, "eMail": {customer: true}, "E-Mail": {customer: true}, "customer": {customer: true},
		"user": {customer: true}, "owner": {customer: true}, "account": {customer: true}, "subject": {customer: true},
		"postcode": {}, "post_code": {}, "zipCode": {}, "postal_code": {}, "phone_number": {}, "phoneNumber": {}, "house_number": {}, "country_code": {},
		"line1": {}, "city": {}, "address": {}, "start": {}, "paid": {}, "valid": {}, "grid": {}, "months": {}, "note": {}, "reason": {}, "quantity": {},
		"name": {}, "identity": {}, "": {}, "_": {}, "1": {},
	}
	for name, want := range tests {
		if got := namesRecord(name); got != want.record {
			t.Errorf("namesRecord(%q) = %v", name, got)
		}
		if got := namesCustomer(name); got != want.customer {
			t.Errorf("namesCustomer(%q) = %v", name, got)
		}
	}
}
