package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"vouchsafe/connectors/provider"
	"vouchsafe/engine/socket"
)

// status says which connections somebody must do something about: one whose
// grant is gone, one that allows other calls than the manifests make.
func TestStatusSaysWhatIsWrongWithConnections(t *testing.T) {
	data := answering(t, 200, `{"ready":true,"degraded":["the connection provider refuses calls of connection crm of site demo: reconnect_needed (x)","something else"]}`)
	gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"invalid_client"}`)
	}))
	t.Cleanup(gone.Close)

	code, out := vouchsafe(t, nil, "status", "--data", data)
	if code != 1 || strings.Contains(out, "was never added") {
		t.Errorf("status without a provider's files = %d, %s", code, out)
	}
	o := providerPaths(nil, data)
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	ready, done := make(chan struct{}), make(chan error, 1)
	o.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- provider.Serve(ctx, o) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the connection provider: %v", err)
	}
	t.Cleanup(func() { cancel(); <-done })

	add := func(args ...string) {
		t.Helper()
		all := append([]string{"connection", "add"}, args...)
		if code, out := vouchsafe(t, []string{"A_SECRET=a-secret-of-a-test-0123456789abc"}, append(all, "--site", "demo", "--data", data)...); code != 0 {
			t.Fatalf("%v = %d, %s", all, code, out)
		}
	}
	add("harbor-admin", "--type", "none", "--base-url", "https://shop.example", "--allow", "GET /admin/orders", "--allow", "DELETE /admin/{rest...}")
	add("crm", "--type", "oauth2_cc", "--client-id", "c", "--client-secret-env", "A_SECRET", "--client-auth", "basic", "--token-url", gone.URL+"/token", "--base-url", "https://crm.example")
	add("mail", "--type", "oauth2", "--client-id", "c", "--client-secret-env", "A_SECRET", "--client-auth", "basic", "--token-url", gone.URL+"/token", "--authorization-url", gone.URL+"/authorize", "--base-url", "https://mail.example")
	refresh(t, o, "crm")

	code, out = vouchsafe(t, nil, "status", "--data", data)
	for _, want := range []string{
		"connection crm of site demo must be connected again (invalid_client)",
		"connection harbor-admin of site demo may be used for are not those that the manifests make",
		"connection mail of site demo waits for somebody to grant access",
		"something else",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
	if code != 1 || strings.Contains(out, "refuses calls of connection crm") || !strings.Contains(out, "degraded") {
		t.Errorf("status = %d, %s; want 1, degraded, and each connection once", code, out)
	}
	if _, out = vouchsafe(t, nil, "status", "--data", data, "--format", "json"); !strings.Contains(out, `"state":"reconnect_needed","reason":"invalid_client"`) || !strings.Contains(out, `"beyond":[{"method":"DELETE"`) {
		t.Errorf("status in JSON: %s", out)
	}

	// What serve would do puts the rules right, and connecting anew the rest.
	if code, out := vouchsafe(t, nil, "connection", "allow", "--apply", "--data", data); code != 0 {
		t.Fatalf("connection allow = %d, %s", code, out)
	}
	add("crm", "--type", "none", "--base-url", "https://crm.example")
	if _, out = vouchsafe(t, nil, "status", "--data", data); strings.Contains(out, "harbor-admin") || !strings.Contains(out, "mail of site demo waits") || strings.Contains(out, "crm of site demo must") {
		t.Errorf("status after both were put right: %s", out)
	}
}

// refresh has the provider ask for an access token.
func refresh(t *testing.T, o provider.Options, id string) {
	t.Helper()
	key, err := os.ReadFile(provider.OperatorKeyFile(o.Dir))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return socket.Dial(ctx, o.Socket) }}}
	defer client.CloseIdleConnections()
	r, _ := http.NewRequest(http.MethodGet, "http://provider/connections/"+id+"?provider_config_key=demo&force_refresh=true", nil)
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
