package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/admin"
	"vouchsafe/engine/audit"
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
			{Method: http.MethodPost, Path: "/v1/admin/bundle", Roles: []admin.Role{admin.Policy}, Serve: ok},
			{Method: http.MethodGet, Path: "/v1/admin/secrets", SocketOnly: true, Serve: ok},
		}
	})
	demo := record(t, b, "cv_1", "alex").Decision.ID
	free, err := b.gate.Ask(t.Context(), gate.Request{Site: b.sites["demo-free"].Gate, Channel: engine.ChannelAction, Intent: engine.Intent{Action: "order.list"}})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{}
	clock := &adminClock{now: time.Now()}
	tokens, err := admin.Open(b.state, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	year := clock.Now().Add(300 * 24 * time.Hour)
	for _, k := range []admin.Token{
		{Name: "auditor", Role: admin.Auditor, Sites: []string{"*"}}, {Name: "operator", Role: admin.Operator, Sites: []string{"*"}},
		{Name: "demo-auditor", Role: admin.Auditor, Sites: []string{"demo"}}, {Name: "demo-operator", Role: admin.Operator, Sites: []string{"demo"}},
		{Name: "both", Role: admin.Auditor, Sites: []string{"demo", "demo-free"}}, {Name: "policy", Role: admin.Policy, Sites: []string{"*"}},
		{Name: "elsewhere", Role: admin.Operator, Sites: []string{"no-such-site"}},
		{Name: "expired", Role: admin.Operator, Sites: []string{"*"}, Expires: clock.Now().Add(time.Minute)},
		{Name: "revoked", Role: admin.Operator, Sites: []string{"*"}},
	} {
		if k.Expires.IsZero() {
			k.Expires = year
		}
		if secrets[k.Name], err = tokens.Create(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	clock.now = clock.now.Add(time.Minute)
	if err := tokens.Revoke(t.Context(), "revoked"); err != nil {
		t.Fatal(err)
	}
	h := b.server.AdminTCP(tokens, admin.NewLedger(b.log, clock.Now))

	paths := []string{"/v1/admin/status", "/metrics", "/v1/admin/decisions", "/v1/admin/decisions/" + demo, "/v1/admin/sites/demo/things", "/v1/admin/nothing"}
	for name, shown := range map[string]string{"no token": "", "another scheme": "Basic " + secrets["operator"], "an unknown token": "Bearer " + strings.Repeat("x", 40),
		"a prefix": "Bearer " + secrets["operator"][:30], "an expired token": "Bearer " + secrets["expired"],
		"a revoked token": "Bearer " + secrets["revoked"], "two": "Bearer " + secrets["operator"] + ", " + secrets["auditor"]} {
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

	// All of which came from one place within five minutes.
	acts, err := b.log.Acts(audit.GateSite, 100)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, a := range acts {
		if a.Kind == admin.KindRefused {
			refused++
			if a.Object != "192.0.2.1" || a.Code != "admin_token_invalid" || a.By != "" { // httptest's address
				t.Errorf("recorded %+v", a)
			}
		}
	}
	if refused != 1 {
		t.Errorf("%d acts say that what was shown is no token, want 1", refused)
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
		{"elsewhere", "GET", "/v1/admin/decisions?site=demo", no, forbidden},
		{"elsewhere", "POST", "/v1/admin/sites/demo/things", no, forbidden},
		{"policy", "GET", "/v1/admin/decisions", no, forbidden},
		{"policy", "GET", "/v1/admin/decisions/" + demo, no, forbidden},
		{"policy", "GET", "/metrics", no, forbidden},
		{"policy", "POST", "/v1/admin/sites/demo/things", no, forbidden},
		{"operator", "POST", "/v1/admin/bundle", no, forbidden},
		{"auditor", "GET", "/v1/admin/secrets", 404, "unknown_route"},
		{"operator", "GET", "/v1/admin/secrets", 404, "unknown_route"},
		{"auditor", "GET", "/v1/admin/nothing", 404, "unknown_route"},

		{"policy", "GET", "/v1/admin/status", 200, ""},
		{"policy", "POST", "/v1/admin/bundle", 200, ""},
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
	if a := admins(b, "/v1/admin/sites/demo/things"); a.field("by") != "socket" {
		t.Errorf("on the socket: %d %s", a.status, a.body)
	}
	if a := admins(b, "/v1/admin/secrets"); a.status != 200 {
		t.Errorf("on the socket: %d %s", a.status, a.body)
	}

	// A use that cannot be recorded is not answered, but for what says why.
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	clock.now = clock.now.Add(2 * admin.Window)
	want(t, "without a log", over(h, "GET", "/v1/admin/decisions/"+demo, "Bearer "+secrets["auditor"]), 503, "audit_unavailable")
	want(t, "changing something without a log", over(h, "POST", "/v1/admin/policy", "Bearer "+secrets["operator"]), 503, "audit_unavailable")
	want(t, "asking what is wrong", over(h, "GET", "/v1/admin/status", "Bearer "+secrets["auditor"]), 200, "")
}

type adminClock struct{ now time.Time }

func (c *adminClock) Now() time.Time { return c.now }
