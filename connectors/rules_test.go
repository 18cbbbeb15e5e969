package connectors

import (
	"context"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/connectors/provider"
)

func TestRulesOfAManifest(t *testing.T) {
	m := mustParse(t, `
connector: {name: shop, kind: rest, connection: shop-admin}
actions:
  order.find:
    title: Find one of my orders
    personal: true
    risk: read
    args: {type: object, required: [order_id], properties: {order_id: {type: string}, page: {type: integer}}}
    steps:
      - find: customer
        request: {method: GET, path: /customers, query: {email: "{pinned.email}"}}
        response: {records: ".data[]", id: .id, owner: .email, fields: [id]}
    request: {method: GET, path: "/v%201/customers/{steps.customer.id}/orders/{order_id}.json{?page}"}
    response: {records: ".order", id: .id, owner: {step: customer, id: .customer}, fields: [id]}
  shop.hours:
    title: Opening hours
    personal: false
    risk: read
    args: {type: object, required: [day, from, to], properties: {day: {type: string}, from: {type: string}, to: {type: string}}}
    request: {method: GET, path: "/hours{/day}/{from,to}/x*?all=1"}
    response: {records: ".", fields: [open]}
`)
	var got []string
	for _, r := range m.Rules() {
		got = append(got, r.String())
	}
	want := []string{
		"GET /customers",
		"GET /hours/{day}/{from},{to}/x*",
		"GET /v%201/customers/{steps.customer.id}/orders/{order_id}.json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// Every manifest there is has rules that a provider takes, and every request
// that its templates make meets one of them.
func TestRequestsMeetTheirManifestsRules(t *testing.T) {
	n := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".yaml" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(src), "\nactions:") {
			return err
		}
		m, err := ParseManifest(path, src)
		if err != nil {
			return nil // one that is wrong on purpose, or no manifest
		}
		rules := m.Rules()
		for _, r := range rules {
			if _, err := provider.ParseRule(r.String()); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		for _, a := range m.actions {
			for _, q := range a.requests() {
				n++
				sent := sentPath(t, q.request)
				if !provider.Allows(rules, q.request.method, sent) {
					t.Errorf("%s: %s sends %s %s, which %v does not allow", path, a.def.Name, q.request.method, sent, rules)
				}
			}
		}
		return nil
	})
	if err != nil || n < 10 {
		t.Fatalf("looked at %d requests: %v", n, err)
	}
}

// sentPath is a request's path on the wire, with a difficult value everywhere.
func sentPath(t *testing.T, q *request) string {
	t.Helper()
	v := values{args: map[string]any{}, pinned: map[string]any{}, steps: map[string]finding{}}
	source := q.path.source
	for _, name := range q.path.vars {
		if plain, ok := strings.CutPrefix(name, "pinned."); ok {
			v.pinned[plain] = "a#b c%é"
		} else if strings.Contains(name, ".") {
			source = strings.ReplaceAll(source, "{"+name+"}", "x1")
		} else {
			v.args[name] = "a#b c%é"
		}
	}
	tpl, err := parseTemplate(source)
	if err != nil {
		t.Fatal(err)
	}
	path, _, err := tpl.expand(v)
	if err != nil {
		t.Fatalf("%s: %v", q.path.source, err)
	}
	path, _, _ = strings.Cut(path, "?")
	u, err := url.Parse("http://provider" + path)
	if err != nil {
		t.Fatal(err)
	}
	return u.EscapedPath()
}

// What the gate asks of a connection that the manifests do not is refused, and
// nothing is sent.
func TestTheProviderHoldsTheGateToItsManifests(t *testing.T) {
	r := newRig(t)
	_, permit := r.permit(t, "order.lookup", argsOf("order_id", "1001"))
	claim := r.taken["order.lookup"].claim
	grant, err := permit.Redeem(claim, r.clock())
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []provider.Call{
		{Method: "PATCH", Path: "/orders/1001"},
		{Method: "GET", Path: "/customers"},
		{Method: "GET", Path: "/orders/1001/notes"},
		{Method: "GET", Path: "/orders/1001%2Fnotes"},
	} {
		call.Site, call.Connection, call.Grant = siteID, "shop-admin", grant
		_, _, err := r.rest.guard.do(context.Background(), call, true, maxAsked)
		if e, ok := err.(*provider.Error); !ok || e.Code != provider.CodeCallNotAllowed || !e.NotSent {
			t.Errorf("%s %s: %v, want %s", call.Method, call.Path, err, provider.CodeCallNotAllowed)
		}
	}
	if calls := r.shop.calls(); len(calls) != 0 {
		t.Errorf("the shop was called: %v", calls)
	}
}
