package httpapi_test

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
)

// over asks an admin listener with a token.
func over(h http.Handler, method, path, token string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(`{}`))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestAdminOverTCP(t *testing.T) {
	ok := func(r httpapi.AdminRequest) (any, error) { return map[string]string{"by": r.Caller.Name()}, nil }
	b := newBench(t, func(o *httpapi.Options) {
		o.AdminRoutes = []httpapi.AdminRoute{
			{Method: http.MethodGet, Path: "/v1/admin/sites/:site/things", Scope: httpapi.ScopeSite, Serve: ok},
			{Method: http.MethodPost, Path: "/v1/admin/sites/:site/things", Scope: httpapi.ScopeSite, Serve: ok},
			{Method: http.MethodPost, Path: "/v1/admin/policy", Serve: ok},
			{Method: http.MethodGet, Path: "/v1/admin/kb/:site/undeclared", Serve: ok},
		}
	})
	demo := record(t, b, "cv_1", "alex").Decision.ID
	free, err := b.gate.Ask(t.Context(), gate.Request{Site: b.sites["demo-free"].Gate, Channel: engine.ChannelAction, Intent: engine.Intent{Action: "order.list"}})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{}
	var tokens []httpapi.AdminToken
	for _, k := range []httpapi.AdminToken{
		{Name: "auditor", Global: true}, {Name: "operator", Global: true, Operator: true},
		{Name: "demo-auditor", Sites: []string{"demo"}}, {Name: "demo-operator", Operator: true, Sites: []string{"demo"}},
		{Name: "both", Sites: []string{"demo", "demo-free"}}, {Name: "none", Operator: true},
	} {
		secrets[k.Name] = strings.Repeat(k.Name, 8) + "-0123456789"
		k.SHA256 = sha256.Sum256([]byte(secrets[k.Name]))
		tokens = append(tokens, k)
	}
	h := b.server.AdminTCP(tokens)

	paths := []string{"/v1/admin/status", "/metrics", "/v1/admin/decisions", "/v1/admin/decisions/" + demo, "/v1/admin/sites/demo/things", "/v1/admin/nothing"}
	for name, shown := range map[string]string{"no token": "", "another scheme": "Basic " + secrets["operator"], "an unknown token": "Bearer " + strings.Repeat("x", 40),
		"a prefix": "Bearer " + secrets["operator"][:40], "two": "Bearer " + secrets["operator"] + ", " + secrets["auditor"]} {
		code := "admin_token_invalid"
		if shown == "" {
			code = "admin_token_absent"
		}
		for _, path := range paths {
			a := over(h, "GET", path, shown)
			want(t, name+" on "+path, a, 401, code)
			if !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Bearer") {
				t.Errorf("%s on %s: no challenge", name, path)
			}
		}
		want(t, name+" changing something", over(h, "POST", "/v1/admin/sites/demo/things", shown), 401, code)
	}

	const no, forbidden, notFound = 403, "admin_forbidden", "not_found"
	for _, c := range []struct {
		token, method, path string
		status              int
		code                string
	}{
		{"auditor", "POST", "/v1/admin/sites/demo/things", no, forbidden},
		{"auditor", "POST", "/v1/admin/policy", no, forbidden},
		{"demo-auditor", "POST", "/v1/admin/sites/demo/things", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/status", no, forbidden},
		{"demo-auditor", "GET", "/metrics", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/sites/demo-free/things", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/sites/no-such-site/things", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/kb/demo/undeclared", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/decisions?site=demo-free", no, forbidden},
		{"demo-auditor", "GET", "/v1/admin/decisions/" + free.ID, 404, notFound},
		{"demo-operator", "POST", "/v1/admin/policy", no, forbidden},
		{"demo-operator", "POST", "/v1/admin/sites/demo-free/things", no, forbidden},
		{"both", "GET", "/v1/admin/decisions", no, forbidden},
		{"none", "GET", "/v1/admin/decisions", no, forbidden},
		{"none", "POST", "/v1/admin/sites/demo/things", no, forbidden},
		{"auditor", "GET", "/v1/admin/nothing", 404, "unknown_route"},

		{"auditor", "GET", "/v1/admin/status", 200, ""},
		{"auditor", "GET", "/metrics", 200, ""},
		{"auditor", "GET", "/v1/admin/decisions/" + free.ID, 200, ""},
		{"operator", "POST", "/v1/admin/policy", 200, ""},
		{"demo-auditor", "GET", "/v1/admin/decisions/" + demo, 200, ""},
		{"demo-auditor", "GET", "/v1/admin/sites/demo/things", 200, ""},
		{"demo-operator", "POST", "/v1/admin/sites/demo/things", 200, ""},
		{"both", "GET", "/v1/admin/decisions?site=demo-free", 200, ""},
	} {
		want(t, c.token+" "+c.method+" "+c.path, over(h, c.method, c.path, "Bearer "+secrets[c.token]), c.status, c.code)
	}
	// Unasked, a token of one site sees that site's decisions, and no other's.
	for token, want := range map[string][2]bool{"auditor": {true, true}, "demo-auditor": {true, false}} {
		got := over(h, "GET", "/v1/admin/decisions", "Bearer "+secrets[token]).body
		if strings.Contains(got, demo) != want[0] || strings.Contains(got, free.ID) != want[1] {
			t.Errorf("%s sees %s", token, got)
		}
	}
	if by := over(h, "GET", "/v1/admin/sites/demo/things", "Bearer "+secrets["both"]).field("by"); by != "both" {
		t.Errorf("done by %q, want both", by)
	}
	logged := b.logged.String()
	if !strings.Contains(logged, `"token":"demo-operator","method":"POST","route":"/v1/admin/sites/:site/things","status":200`) {
		t.Errorf("the use of a token is not logged: %s", logged)
	}
	for name, secret := range secrets {
		if strings.Contains(logged, secret) {
			t.Errorf("the token %s is logged", name)
		}
	}
	for _, personal := range []string{demo, "c-alex", "alex@example.com"} {
		if strings.Contains(logged, personal) {
			t.Errorf("%s is logged", personal)
		}
	}
	if a := admin(b, "/v1/admin/sites/demo/things"); a.field("by") != "socket" {
		t.Errorf("on the socket: %d %s", a.status, a.body)
	}
	want(t, "a listener without tokens", over(b.server.AdminTCP(nil), "GET", "/v1/admin/status", "Bearer "+secrets["operator"]), 401, "admin_token_invalid")
}
