package clients

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vouchsafe/tests/harness"
)

// Nango's public client library makes the operator's calls against our
// provider, and proxied calls with a voucher; without one it gets nothing.
func TestNangosClient(t *testing.T) {
	t.Parallel()
	dir := nodeFolder(t)
	copyFile(t, "nango.mjs", dir+"/nango.mjs")
	const apiKey = "planted-api-key-0123456789"
	var asked []string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.RequestURI+" "+r.Header.Get("X-Api-Key"))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":%q}`, filepath.Base(r.URL.Path))
	}))
	defer api.Close()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "provider")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(data, "permit.keys"), base64.StdEncoding.EncodeToString(public)+" of the tests\n")
	addr := serveApart(t, data, filepath.Join(dir, "master.key"))
	secret := func(name string) string {
		b, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	cmd := exec.Command("node", "nango.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOST=http://"+addr, "OPERATOR_KEY="+secret("operator.key"), "PROXY_KEY="+secret("proxy.key"),
		"PERMIT_SEED="+base64.StdEncoding.EncodeToString(private.Seed()), "PERMIT_PUBLIC="+base64.StdEncoding.EncodeToString(public),
		"API="+api.URL, "TOKEN_URL=https://id.example/token", "API_KEY="+apiKey)
	out, err := cmd.Output()
	if err != nil {
		var errs []byte
		if e, ok := err.(*exec.ExitError); ok {
			errs = e.Stderr
		}
		t.Fatalf("nango.mjs: %v\n%s%s", err, out, errs)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	want := map[string]any{
		"list":       []any{"shop/admin", "shop/crm"},
		"get":        []any{"admin", "shop", "API_KEY", false},
		"metadata":   map[string]any{"plan": "pro", "seats": 3.0},
		"reconnect":  "S256",
		"connect":    "v",
		"proxy":      []any{200.0, "1001"},
		"used":       "403 voucher_used",
		"without":    "403 voucher_missing",
		"other path": "403 voucher_mismatch",
		"no rule":    "403 call_not_allowed",
		"override":   "400 invalid_headers",
		"gate lists": "401 unauthorized",
		"deleted":    "404 unknown_connection",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET /orders/1001 " + apiKey, "GET /orders/1002 " + apiKey}, asked); diff != "" {
		t.Errorf("the outside system was asked (-want +got):\n%s", diff)
	}
}

// serveApart runs a provider by itself that answers over TCP too. It ends with
// the test.
func serveApart(t *testing.T, data, key string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	cmd := exec.Command(harness.Build(t), "connection", "serve", "--dir", data, "--key-file", key,
		"--socket", filepath.Join(data, "p.sock"), "--addr", addr, "--callback-url", "https://provider.example/oauth/callback")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("connection serve: %v", err)
		}
	})
	r := bufio.NewReader(out)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "ready") {
		t.Fatalf("connection serve said %q: %v", line, err)
	}
	go io.Copy(io.Discard, r)
	return addr
}
