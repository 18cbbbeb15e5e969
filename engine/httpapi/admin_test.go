package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/identity"
	"vouchsafe/engine/policy"
)

// record makes the gate decide and act once in a conversation.
func record(t *testing.T, b *bench, conversation, who string) gate.Result {
	t.Helper()
	r := gate.Request{Site: b.sites["demo"].Gate, Intent: engine.Intent{Action: "order.list"}, Channel: engine.ChannelChat,
		Conversation: policy.Conversation{ID: conversation}}
	if who != "" {
		r.Identity = b.sites["demo"].Verify(context.Background(), token("demo", who, time.Minute), time.Now())
		if r.Identity.State != identity.Verified {
			t.Fatalf("the token of %s is %s: %s", who, r.Identity.State, r.Identity.Cause)
		}
	}
	res, err := b.gate.Do(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func admins(b *bench, path string) answer {
	w := httptest.NewRecorder()
	b.server.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestAdminIsNotOnThePublicListener(t *testing.T) {
	b := newBench(t, nil)
	for _, path := range []string{"/metrics", "/v1/admin/status", "/v1/admin/decisions", "/v1/admin/decisions/d_0"} {
		want(t, path, b.do("GET", path, ""), 404, "unknown_route")
	}
}

func TestAdminDecisions(t *testing.T) {
	b := newBench(t, nil)
	allowed := record(t, b, "cv_1", "alex")
	denied := record(t, b, "cv_2", "")
	for _, c := range []struct {
		query string
		want  int
	}{
		{"", 2}, {"?site=demo", 2}, {"?site=demo-free", 0}, {"?subject=c-alex", 1}, {"?allow=false", 1}, {"?code=identity_absent", 1},
		{"?conversation=cv_1", 1}, {"?action=order.list", 2}, {"?action=order.cancel", 0}, {"?since=2020-01-01T00:00:00Z", 2},
		{"?until=2020-01-01T00:00:00Z", 0}, {"?policy=" + allowed.Decision.Policy, 2}, {"?policy=other", 0}, {"?token_id=none", 0},
		{"?conversation=cv_1&order=oldest", 1}, {"?order=newest", 2},
	} {
		a := admins(b, "/v1/admin/decisions"+c.query)
		var list struct {
			Decisions []struct{ Decision struct{ ID string } }
			Next      string
		}
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 || len(list.Decisions) != c.want || list.Next != "" {
			t.Errorf("decisions%s: %d %s, want %d", c.query, a.status, a.body, c.want)
		}
	}
	for _, query := range []string{"?sight=demo", "?allow=perhaps", "?since=yesterday", "?limit=0", "?limit=1001", "?limit=x", "?site=a&site=b", "?a=%zz",
		"?before=" + allowed.Decision.ID, "?allow=1", "?cursor=x", "?cursor=%20", "?cursor=" + allowed.Decision.ID, "?order=random", "?order=oldest",
		"?order=oldest&conversation=cv_1&limit=2"} {
		want(t, "decisions"+query, admins(b, "/v1/admin/decisions"+query), 422, "invalid_request")
	}
	page := admins(b, "/v1/admin/decisions?limit=1")
	next := page.field("next")
	if next == "" || strings.Contains(page.field("next"), "d_") || !strings.Contains(page.body, denied.Decision.ID) {
		t.Errorf("the first page: %s", page.body)
	}
	second := admins(b, "/v1/admin/decisions?limit=1&cursor="+next)
	if !strings.Contains(second.body, allowed.Decision.ID) || strings.Contains(second.body, denied.Decision.ID) {
		t.Errorf("the second page: %s", second.body)
	}
	last := admins(b, "/v1/admin/decisions?limit=5&cursor="+second.field("next"))
	if last.status != 200 || last.field("next") != "" || !strings.Contains(last.body, `"decisions":[]`) {
		t.Errorf("behind the last page: %d %s", last.status, last.body)
	}
	for _, query := range []string{"?site=demo", "?allow=true", "?since=2020-01-01T00:00:00Z", "?limit=1&code=identity_absent"} {
		want(t, "the cursor with "+query, admins(b, "/v1/admin/decisions"+query+"&cursor="+next), 422, "invalid_request")
	}
	want(t, "half a cursor", admins(b, "/v1/admin/decisions?cursor="+next[:len(next)/2]), 422, "invalid_request")
	one := admins(b, "/v1/admin/decisions/"+allowed.Decision.ID)
	if one.status != 200 || !strings.Contains(one.body, `"withheld":["not_owner"]`) {
		t.Errorf("one decision: %d %s", one.status, one.body)
	}
	want(t, "an unknown decision", admins(b, "/v1/admin/decisions/d_none"), 404, "not_found")
}

func TestAdminStatusAndMetrics(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) {
		o.AdminRoutes = []httpapi.AdminRoute{{Method: http.MethodGet, Path: "/v1/admin/things/:id", Query: []string{"q"},
			Serve: func(r httpapi.AdminRequest) (any, error) {
				if r.Query.Get("q") == "fail" {
					return nil, &engine.Error{Code: engine.CodeNotFound, Message: "No."}
				}
				return map[string]string{"id": r.Param("id")}, nil
			}}, {Method: http.MethodPost, Path: "/v1/admin/things", MaxBody: 1 << 20,
			Serve: func(r httpapi.AdminRequest) (any, error) { return len(r.Body), nil }}}
	})
	for size, status := range map[int]int{1 << 20: 200, 1<<20 + 1: 413} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/admin/things", strings.NewReader(strings.Repeat("x", size)))
		r.Header.Set("Content-Type", "application/json")
		if b.server.Admin().ServeHTTP(w, r); w.Code != status {
			t.Errorf("a body of %d bytes: %d %s, want %d", size, w.Code, w.Body, status)
		}
	}
	b.health.Degraded = []string{"the knowledge base of demo cannot be read"}
	a := admins(b, "/v1/admin/status")
	for _, part := range []string{`"version":"test"`, `"ready":true`, `"degraded":["the knowledge base of demo cannot be read"]`,
		`{"id":"demo","name":"Harbor Goods","tier":"pro","actions":6}`, `"audit":{"healthy":true,"waiting":0}`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("the status lacks %s: %s", part, a.body)
		}
	}
	want(t, "another package's route", admins(b, "/v1/admin/things/7"), 200, "")
	want(t, "another package's error", admins(b, "/v1/admin/things/7?q=fail"), 404, "not_found")
	b.post(decidePath, `{"action":"order.list"}`)
	b.post(decidePath, `nonsense`)
	m := admins(b, "/metrics").body
	for _, line := range []string{
		`vouchsafe_http_requests_total{route="/v1/sites/:site/decisions",status="200"} 1`,
		`vouchsafe_http_requests_total{route="/v1/sites/:site/decisions",status="400"} 1`,
		`vouchsafe_decisions_total{allow="false",code="identity_absent",site="demo"} 1`,
		"vouchsafe_decision_seconds_count 1", "vouchsafe_audit_healthy 1", "vouchsafe_audit_queue 0", "vouchsafe_audit_lost_total 0",
		`vouchsafe_rate_limited_total{limit="address"} 0`,
	} {
		if !strings.Contains(m, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

func TestReadiness(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		health httpapi.Health
		status int
		said   string
	}{
		{httpapi.Health{Ready: true}, 200, "ready"},
		{httpapi.Health{Ready: true, Degraded: []string{"secret detail"}}, 200, "degraded"},
		{httpapi.Health{Degraded: []string{"secret detail"}}, 503, "503"},
	} {
		b.health = c.health
		a := b.do("GET", "/readyz", "")
		if a.status != c.status || a.field("status") != c.said || strings.Contains(a.body, "secret") {
			t.Errorf("readyz when %+v: %d %s", c.health, a.status, a.body)
		}
		if a := b.do("GET", "/healthz", ""); a.status != 200 {
			t.Errorf("healthz when %+v: %d", c.health, a.status)
		}
	}
}

func TestAssets(t *testing.T) {
	b := newBench(t, nil)
	a := b.do("GET", "/widget.js", "")
	if a.status != 200 || a.body != "/* a widget */" || a.header.Get("Etag") != `"w1"` || a.header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
		t.Errorf("widget.js: %d %q %v", a.status, a.body, a.header)
	}
	if a := b.do("GET", "/widget.js", "", "If-None-Match", `"w0", "w1"`); a.status != 304 || a.body != "" {
		t.Errorf("widget.js, known: %d %q", a.status, a.body)
	}
	if a := b.do("HEAD", "/openapi.json", ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD openapi.json: %d %q", a.status, a.body)
	}
	if a := b.do("GET", "/openapi.json", ""); a.body != string(httpapi.OpenAPI) {
		t.Errorf("openapi.json: %d, %d bytes", a.status, len(a.body))
	}
}

func TestSitesCanBeReplaced(t *testing.T) {
	b := newBench(t, nil)
	if err := b.server.SetSites(map[string]*httpapi.Site{"demo-free": b.sites["demo-free"]}); err != nil {
		t.Fatal(err)
	}
	want(t, "a removed site", b.do("GET", actionsPath, ""), 404, "unknown_site")
	want(t, "one that stays", b.do("GET", "/v1/sites/demo-free/actions", ""), 200, "")
	if err := b.server.SetSites(map[string]*httpapi.Site{"other": b.sites["demo"]}); err == nil {
		t.Error("a site under another's id was taken")
	}
	want(t, "after a refused replacement", b.do("GET", "/v1/sites/demo-free/actions", ""), 200, "")
}
