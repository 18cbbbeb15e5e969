package provider

import (
	"strings"
	"testing"
)

func rules(t testing.TB, list ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, s := range list {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestRulesAllowNearMisses(t *testing.T) {
	list := rules(t,
		"GET /orders/{order_id}",
		"GET /orders",
		"POST /orders/{order_id}/cancel",
		"GET /admin/api/orders/{id}.json",
		"GET /v1/{a}-{b}/x",
		"DELETE /a%20b/{id}/",
		"PROPFIND /cal/{rest...}",
		"GET /",
	)
	for _, tt := range []struct {
		call string
		want bool
	}{
		{"GET /orders/1001", true},
		{"GET /orders/%23W12", true},
		{"GET /orders/caf%C3%A9", true},
		{"GET /orders/50%25", true},
		{"GET /orders", true},
		{"GET /", true},
		{"POST /orders/1001/cancel", true},
		{"GET /admin/api/orders/7.json", true},
		{"GET /v1/1-2/x", true},
		{"GET /v1/1-2-3/x", true},
		{"DELETE /a%20b/7/", true},
		{"PROPFIND /cal/alex/", true},
		{"PROPFIND /cal/alex/home/1.ics", true},
		{"PROPFIND /cal/", true},

		{"POST /orders/1001", false},
		{"get /orders/1001", false},
		{"DELETE /orders/1001", false},
		{"GET /orders/", false},
		{"GET /orders/1001/", false},
		{"GET /orders/1001/cancel", false},
		{"GET /Orders/1001", false},
		{"GET /order%73/1001", false}, // the same to a server, and not what the gate sends
		{"GET /customers", false},
		{"GET //orders/1001", false},
		{"GET orders/1001", false},
		{"GET ", false},
		{"GET /orders/..", false},
		{"GET /orders/%2e%2e", false},
		{"GET /orders/..;x", false},
		{"GET /orders/..%3Bx", false},
		{"GET /orders/1001%2Fcancel", false},
		{"GET /orders/1001%2fcancel", false},
		{"GET /orders/..%2F..%2Fadmin", false},
		{"GET /orders/1001%5Ccancel", false},
		{"GET /orders/1001%252Fcancel", false},
		{"GET /orders/%252e%252e", false},
		{"GET /orders/%2525", false},
		{"GET /orders/%C0%AF", false},
		{"GET /orders/%00", false},
		{"GET /orders/1%0A", false},
		{"GET /orders/%", false},
		{"GET /orders/%zz", false},
		{"POST /orders//cancel", false},
		{"GET /admin/api/orders/.json", false},
		{"GET /admin/api/orders/7.jsonx", false},
		{"GET /admin/api/orders/7%2Ejson", false},
		{"GET /v1/-2/x", false},
		{"GET /v1/1-/x", false},
		{"GET /v1/12/x", false},
		{"DELETE /a%20b/7", false},
		{"DELETE /a b/7/", false},
		{"PROPFIND /cal", false},
		{"PROPFIND /cal/../x", false},
		{"PROPFIND /cal/alex%2F..%2Fjordan", false},
		{"PROPFIND /cal//x", false},
		{"PROPFIND /calx/alex", false},
	} {
		method, path, _ := strings.Cut(tt.call, " ")
		if got := Allows(list, method, path); got != tt.want {
			t.Errorf("Allows(%s) = %v, want %v", tt.call, got, tt.want)
		}
	}
	if Allows(nil, "GET", "/orders") {
		t.Error("no rules allow a call")
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for _, s := range []string{
		"", "GET", "GET ", "GET orders", "/orders", "get /orders", "HEAD /orders", "CONNECT /x", "* /orders",
		"GET /orders?x=1", "GET /orders#x", "GET /a b", "GET /a//b", "GET /a/../b", "GET /a/%2e%2e", "GET /{}", "GET /{a", "GET /a}",
		"GET /{rest...}/x", "GET /x{rest...}", "GET /{a b}", "GET /%zz", "GET /" + strings.Repeat("x", maxRulePath),
	} {
		if r, err := ParseRule(s); err == nil {
			t.Errorf("ParseRule(%q) = %v, want an error", s, r)
		}
	}
}

// Whatever the path, one that is allowed is one the pattern's own segments are in.
func FuzzAllows(f *testing.F) {
	f.Add("/orders/1001/cancel")
	f.Add("/orders/1%2Fcancel/cancel")
	f.Add("/orders/..;/cancel")
	list := rules(f, "POST /orders/{id}/cancel")
	f.Fuzz(func(t *testing.T, path string) {
		if !Allows(list, "POST", path) {
			return
		}
		parts := strings.Split(path, "/")
		if len(parts) != 4 || parts[0] != "" || parts[1] != "orders" || parts[3] != "cancel" || parts[2] == "" {
			t.Errorf("Allows(%q)", path)
		}
		for _, s := range []string{"%2f", "%2F", "%5c", "%5C", "\\", "%00", "%252f", "%252e"} {
			if strings.Contains(path, s) {
				t.Errorf("Allows(%q), which holds %s", path, s)
			}
		}
	})
}
