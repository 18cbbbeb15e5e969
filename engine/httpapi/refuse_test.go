package httpapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine/conversation"
	"vouchsafe/engine/gate"
	"vouchsafe/engine/httpapi"
)

const (
	chatPath    = "/v1/sites/demo/chat"
	actionsPath = "/v1/sites/demo/actions"
	lookupPath  = "/v1/sites/demo/actions/order.lookup"
	cancelPath  = "/v1/sites/demo/actions/order.cancel"
	notePath    = "/v1/sites/demo/actions/order.note"
	hoursPath   = "/v1/sites/demo/actions/shop.opening_hours"
	decidePath  = "/v1/sites/demo/decisions"
)

func TestMalformedRequestsAreRefused(t *testing.T) {
	b := newBench(t, nil)
	b.chat.turn = func(context.Context, conversation.Turn, func(conversation.Reply)) (conversation.Answer, error) {
		t.Error("a malformed request reached the conversation")
		return conversation.Answer{}, nil
	}
	long := strings.Repeat("x", 4001)
	for _, c := range []struct {
		what, path, body string
		headers          []string
		status           int
		code             string
	}{
		{"nothing", chatPath, "", nil, 400, "malformed_json"},
		{"not JSON", chatPath, "hello", nil, 400, "malformed_json"},
		{"cut short", chatPath, `{"message":"hi"`, nil, 400, "malformed_json"},
		{"an array", chatPath, `["hi"]`, nil, 400, "malformed_json"},
		{"null", chatPath, `null`, nil, 400, "malformed_json"},
		{"an unknown field", chatPath, `{"message":"hi","email":"jordan@example.com"}`, nil, 400, "malformed_json"},
		{"a repeated field", chatPath, `{"message":"hi","message":"ho"}`, nil, 400, "malformed_json"},
		{"a field repeated by an escape", chatPath, `{"message":"hi","\u006dessage":"ho"}`, nil, 400, "malformed_json"},
		{"another case", chatPath, `{"Message":"hi"}`, nil, 400, "malformed_json"},
		{"a field that is null", chatPath, `{"message":"hi","conversation":null}`, nil, 400, "malformed_json"},
		{"a field of another type", chatPath, `{"message":1}`, nil, 400, "malformed_json"},
		{"a trailer", chatPath, `{"message":"hi"} {}`, nil, 400, "malformed_json"},
		{"a trailing NUL", chatPath, "{\"message\":\"hi\"}\x00", nil, 400, "malformed_json"},
		{"a byte order mark", chatPath, "\ufeff{\"message\":\"hi\"}", nil, 400, "malformed_json"},
		{"invalid UTF-8", chatPath, "{\"message\":\"\xff\"}", nil, 400, "malformed_json"},
		{"half a surrogate pair", chatPath, `{"message":"\ud800"}`, nil, 400, "malformed_json"},
		{"a repeated argument", decidePath, `{"action":"order.lookup","args":{"a":1,"a":2}}`, nil, 400, "malformed_json"},
		{"arguments that are null", decidePath, `{"action":"order.lookup","args":null}`, nil, 400, "malformed_json"},
		{"deep nesting", decidePath, `{"action":"a","args":{"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}}`, nil, 400, "malformed_json"},
		{"very deep nesting", decidePath, `{"action":"a","args":{"a":` + strings.Repeat(`{"a":`, 9000), nil, 400, "malformed_json"},
		{"a number without end", decidePath, `{"action":"a","args":{"a":` + strings.Repeat("9", 65) + `}}`, nil, 400, "malformed_json"},
		{"a number beyond use", decidePath, `{"action":"a","args":{"a":1e999999999}}`, nil, 400, "malformed_json"},
		{"a target of another shape", decidePath, `{"action":"a","target":{"subject":"x"}}`, nil, 400, "malformed_json"},
		{"no action", decidePath, `{}`, nil, 422, "invalid_request"},
		{"nothing to do", chatPath, `{}`, nil, 422, "invalid_request"},
		{"two things to do", chatPath, `{"message":"hi","confirm":"pa_1","conversation":"cv_1"}`, nil, 422, "invalid_request"},
		{"an empty message", chatPath, `{"message":" \n"}`, nil, 422, "invalid_request"},
		{"an empty confirmation", chatPath, `{"conversation":"cv_1","confirm":""}`, nil, 422, "invalid_request"},
		{"a confirmation of no conversation", chatPath, `{"confirm":"pa_1"}`, nil, 422, "invalid_request"},
		{"an id beyond use", chatPath, `{"message":"hi","conversation":"` + long[:65] + `"}`, nil, 422, "invalid_request"},
		{"a message beyond use", chatPath, `{"message":"` + long + `"}`, nil, 422, "message_too_long"},
		{"64 KiB and a byte", chatPath, `{"message":"hi"}` + strings.Repeat(" ", 64<<10-15), nil, 413, "body_too_large"},
		{"10 MB", chatPath, `{"message":"` + strings.Repeat("x", 10<<20) + `"}`, nil, 413, "body_too_large"},
		{"no content type", chatPath, `{"message":"hi"}`, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		{"a form", chatPath, `message=hi`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"plain text", chatPath, `{"message":"hi"}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"another charset", chatPath, `{"message":"hi"}`, []string{"Content-Type", "application/json; charset=utf-16"}, 415, "unsupported_media_type"},
		{"two content types", chatPath, `{"message":"hi"}`, []string{"Content-Type", "application/json\ntext/plain"}, 415, "unsupported_media_type"},
		{"a token in the URL", chatPath + "?access_token=secret", `{"message":"hi"}`, nil, 400, "unexpected_query"},
		{"an unknown site", "/v1/sites/nowhere/chat", `{"message":"hi"}`, nil, 404, "unknown_site"},
		{"an unknown address", "/v1/sites/demo/shout", `{"message":"hi"}`, nil, 404, "unknown_route"},
		{"a trailing slash", chatPath + "/", `{"message":"hi"}`, nil, 404, "unknown_route"},
		{"the demo's own, elsewhere", "/demo/decisions", `{"conversations":[]}`, nil, 404, "unknown_route"},
	} {
		want(t, c.what, b.post(c.path, c.body, c.headers...), c.status, c.code)
	}
	if n := len(b.shop.calls); n > 0 {
		t.Errorf("the shop was called %d times", n)
	}
}

func TestWrongMethodsAreRefused(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct{ method, path, allow string }{
		{"GET", chatPath, "POST"}, {"PUT", chatPath, "POST"}, {"DELETE", lookupPath, "POST"},
		{"POST", actionsPath, "GET"}, {"POST", "/healthz", "GET"},
	} {
		a := b.do(c.method, c.path, "")
		want(t, c.method+" "+c.path, a, 405, "method_not_allowed")
		if got := a.header.Get("Allow"); !strings.Contains(got, c.allow) {
			t.Errorf("%s %s: Allow is %q, want %s in it", c.method, c.path, got, c.allow)
		}
	}
}

func TestTokensThatDoNotVerify(t *testing.T) {
	b := newBench(t, nil)
	good := token("demo", "alex", 5*time.Minute)
	expired := token("demo", "alex", -time.Second)
	for _, c := range []struct {
		what, header, code, challenge string
	}{
		{"none", "", "identity_absent", `Bearer realm="demo"`},
		{"expired", "Bearer " + expired, "identity_expired", `error="invalid_token", error_description="The token has expired"`},
		{"another site's", "Bearer " + token("demo-free", "alex", 5*time.Minute), "identity_invalid", `error="invalid_token"`},
		{"changed", "Bearer " + good[:len(good)-2], "identity_invalid", `error="invalid_token"`},
		{"no scheme", good, "identity_invalid", `error="invalid_token"`},
		{"another scheme", "Basic YWxleDphbGV4", "identity_invalid", `error="invalid_token"`},
		{"nothing after the scheme", "Bearer ", "identity_invalid", `error="invalid_token"`},
		{"two tokens", "Bearer " + good + " " + good, "identity_invalid", `error="invalid_token"`},
		{"two headers", "Bearer " + good + "\nBearer " + good, "identity_invalid", `error="invalid_token"`},
	} {
		var headers []string
		if c.header != "" {
			headers = []string{"Authorization", c.header}
		}
		a := b.post(lookupPath, `{"args":{"order_id":"1001"}}`, headers...)
		want(t, c.what, a, 401, c.code)
		if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, c.challenge) || c.header == "" && got != c.challenge {
			t.Errorf("%s: WWW-Authenticate is %q, want %s", c.what, got, c.challenge)
		}
		if a.field("decision") == "" {
			t.Errorf("%s: the refusal names no decision", c.what)
		}
		if c.header != "" {
			want(t, c.what+", listing", b.do("GET", actionsPath, "", headers...), 401, c.code)
		}
	}
	if n := len(b.shop.calls); n > 0 {
		t.Errorf("the shop was called %d times", n)
	}
	for _, secret := range []string{good, expired, "alex@example.com", "127.0.0.1", "order_id"} {
		if strings.Contains(b.logged.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, b.logged)
		}
	}
}

func TestOrigins(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		origin  string
		allowed bool
	}{
		{origin, true}, {"http://shop.example", false}, {"https://shop.example:8443", false}, {"https://evil.example", false},
		{"https://shop.example.evil.example", false}, {"https://SHOP.example", false}, {"null", false}, {origin + "\n" + origin, false},
	} {
		pre := b.do("OPTIONS", chatPath, "", "Origin", c.origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,content-type")
		actual := b.post(decidePath, `{"action":"shop.opening_hours"}`, "Origin", c.origin)
		for what, a := range map[string]answer{"preflight": pre, "request": actual} {
			got := a.header.Get("Access-Control-Allow-Origin")
			if c.allowed != (got == origin) || !c.allowed && (got != "" || a.status != 403 || a.field("code") != "origin_not_allowed") {
				t.Errorf("%s from %q: %d, Access-Control-Allow-Origin %q", what, c.origin, a.status, got)
			}
			if a.header.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: Vary is %q", what, c.origin, a.header.Get("Vary"))
			}
			if v := a.header.Get("Access-Control-Allow-Credentials"); v != "" {
				t.Errorf("%s from %q: credentials are allowed: %q", what, c.origin, v)
			}
		}
		if c.allowed && (pre.status != 204 || !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), "Idempotency-Key")) {
			t.Errorf("preflight from %q: %d %v", c.origin, pre.status, pre.header)
		}
	}
	refused := b.post(chatPath, "nonsense", "Origin", origin)
	want(t, "malformed, from the page", refused, 400, "malformed_json")
	if refused.header.Get("Access-Control-Allow-Origin") != origin {
		t.Error("a page cannot read why it was refused")
	}
}

func TestOnlyNamedHostsAreServed(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) {
		o.Hosts = func(host string) bool { return strings.HasPrefix(host, "127.0.0.1:") }
	})
	for _, path := range []string{"/healthz", "/widget.js", actionsPath} {
		want(t, path, b.do("GET", path, "", "Host", "rebound.example"), 421, "misdirected")
		if a := b.do("GET", path, ""); a.status != 200 {
			t.Errorf("GET %s: %d, want 200", path, a.status)
		}
	}
}

func TestLimits(t *testing.T) {
	c := &clock{}
	b := newBench(t, func(o *httpapi.Options) {
		o.Limits = httpapi.Limits{PerVisitor: httpapi.Rate{Count: 2, Per: time.Minute}, PerAddress: httpapi.Rate{Count: 5, Per: time.Minute}}
		o.Clock = c.now
	})
	ask := func(headers ...string) answer { return b.post(decidePath, `{"action":"order.list"}`, headers...) }
	for i := range 2 {
		want(t, "alex", ask(signedIn("alex")...), 200, "")
		if i == 0 {
			want(t, "jordan", ask(signedIn("jordan")...), 200, "")
		}
	}
	over := ask(append(signedIn("alex"), "Origin", origin)...)
	want(t, "alex, a third time", over, 429, "rate_limited")
	if over.header.Get("Retry-After") != "30" || over.header.Get("Access-Control-Allow-Origin") != origin {
		t.Errorf("alex, a third time: Retry-After is %q, want 30; %v", over.header.Get("Retry-After"), over.header)
	}
	want(t, "nobody, the address's fifth", ask(), 200, "")
	want(t, "nobody, the address's sixth", ask("X-Forwarded-For", "203.0.113.9"), 429, "rate_limited")
	want(t, "health is not limited", b.do("GET", "/healthz", ""), 200, "")
	c.advance(31 * time.Second)
	want(t, "alex, later", ask(signedIn("alex")...), 200, "")
}

func TestForwardedAddressesNeedATrustedProxy(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) {
		o.Limits.PerAddress = httpapi.Rate{Count: 1, Per: time.Hour}
		o.TrustedProxies = prefixes("127.0.0.0/8", "10.0.0.0/8")
	})
	for _, c := range []struct {
		what, forwarded string
		status          int
	}{
		{"one client", "203.0.113.1", 200},
		{"another", "203.0.113.2", 200},
		{"the first again", "203.0.113.1", 429},
		{"the first, behind a second proxy", "203.0.113.1, 10.1.1.1", 429},
		{"the first, with something made up before it", "198.51.100.7, 203.0.113.1", 429},
		{"the first, in a line of its own", "198.51.100.8\n203.0.113.1", 429},
		{"a v6 network", "2001:db8:1:2::1", 200},
		{"the same v6 network", "2001:db8:1:2::2", 429},
		{"nonsense counts as the proxy", "nonsense", 200},
		{"other nonsense too", "other nonsense", 429},
	} {
		if a := b.post(decidePath, `{"action":"order.list"}`, "X-Forwarded-For", c.forwarded); a.status != c.status {
			t.Errorf("%s: %d, want %d", c.what, a.status, c.status)
		}
	}
}

func TestPanicsAreInternalAndSayNothing(t *testing.T) {
	b := newBench(t, func(o *httpapi.Options) { o.Gate = panics{} })
	a := b.post(decidePath, `{"action":"order.list"}`)
	want(t, "a panic", a, 500, "internal")
	if strings.Contains(a.body+b.logged.String(), "alex@example.com") {
		t.Error("the panic's value came out")
	}
	if !strings.Contains(b.logged.String(), `"level":"ERROR"`) {
		t.Error("the panic was not logged")
	}
}

type panics struct{ httpapi.Asker }

func (panics) Ask(context.Context, gate.Request) (d decision, err error) {
	panic("about alex@example.com")
}

func TestASlowClientIsCutOff(t *testing.T) {
	b := newBench(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httpapi.HTTPServer(b.server.Public())
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a bound is missing: %+v", s)
	}
	// The same server, with less patience than a test's.
	s.ReadTimeout = 200 * time.Millisecond
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST "+decidePath+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	got, err := io.ReadAll(conn) // ends when the server closes
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), `"code":"incomplete_body"`) {
		t.Errorf("a body that never comes: %s", got)
	}
}

func TestResponsesCarrySecurityHeaders(t *testing.T) {
	b := newBench(t, nil)
	for _, path := range []string{"/", "/healthz", "/openapi.json", "/widget.js", "/nowhere", actionsPath} {
		a := b.do(http.MethodGet, path, "")
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}
