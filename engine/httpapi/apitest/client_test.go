package apitest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// witness notes failures instead of failing.
type witness struct {
	testing.TB
	said []string
}

func (w *witness) Helper() {}
func (w *witness) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func TestWhatIsNotAsDescribedFails(t *testing.T) {
	const problem = `{"type":"urn:vouchsafe:problem:x","title":"x","status":%d,"code":"x"}`
	for _, c := range []struct {
		what, method, path, sent string
		status                   int
		kind, body               string
		failures                 bool
	}{
		{"as described", "GET", "/healthz", "", 200, "application/json", `{"status":"ok"}`, false},
		{"another value", "GET", "/healthz", "", 200, "application/json", `{"status":"fine"}`, true},
		{"a field too many", "GET", "/healthz", "", 200, "application/json", `{"status":"ok","why":"x"}`, true},
		{"a status too many", "GET", "/healthz", "", 202, "application/json", `{"status":"ok"}`, true},
		{"another content type", "GET", "/healthz", "", 200, "text/html", `{"status":"ok"}`, true},
		{"an address too many", "GET", "/secret", "", 200, "application/json", `{}`, true},
		{"a bad request that is refused", "POST", "/v1/sites/a/decisions", `{"x":1}`, 400, "application/problem+json", fmt.Sprintf(problem, 400), false},
		{"a bad request that is taken", "POST", "/v1/sites/a/decisions", `{"x":1}`, 200, "application/json", `{"decision":"d_1","allow":true,"reasons":[],"obligations":[],"policy":"p"}`, true},
		{"a good request that is taken", "POST", "/v1/sites/a/decisions", `{"action":"x"}`, 200, "application/json", `{"decision":"d_1","allow":true,"reasons":[],"obligations":[],"policy":"p"}`, false},
		{"a refusal that is no problem", "GET", "/nowhere", "", 404, "application/json", fmt.Sprintf(problem, 404), true},
		{"a problem without a code", "GET", "/nowhere", "", 404, "application/problem+json", `{"type":"urn:vouchsafe:problem:x","title":"x","status":404}`, true},
		{"a problem of another status", "GET", "/v1/sites/a/actions", "", 404, "application/problem+json", fmt.Sprintf(problem, 400), true},
		{"events", "POST", "/v1/sites/a/chat", `{"message":"hi"}`, 200, "text/event-stream", ": hi\n\nevent: reply\ndata: {\"type\":\"declined\",\"text\":\"No.\"}\n\n", false},
		{"an event of another shape", "POST", "/v1/sites/a/chat", `{"message":"hi"}`, 200, "text/event-stream", "event: reply\ndata: {\"type\":\"sign_in\",\"text\":\"No.\"}\n\n", true},
		{"an event of another name", "POST", "/v1/sites/a/chat", `{"message":"hi"}`, 200, "text/event-stream", "event: shout\ndata: {}\n\n", true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		seen := &witness{TB: t}
		client := Client(t)
		client.Transport.(*transport).t = seen
		r, err := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.sent))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != c.body {
			t.Errorf("%s: the body is %q, %v, want %q", c.what, got, err, c.body)
		}
		resp.Body.Close()
		s.Close()
		if failed := len(seen.said) > 0; failed != c.failures {
			t.Errorf("%s: failures %q, want any: %v", c.what, seen.said, c.failures)
		}
	}
}
