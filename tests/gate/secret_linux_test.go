package gate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vouchsafe/engine/socket"
	"vouchsafe/tests/harness"
)

// inMemory reports which of the secrets stand in the memory that a process has
// and could read. It fails when nearly nothing could be read.
func inMemory(t *testing.T, pid int, secrets []string) map[string]bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	var mem *os.File
	if err == nil {
		mem, err = os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	}
	if err != nil {
		if os.Geteuid() == 0 && os.Getenv("CI") != "" {
			t.Fatalf("reading the memory of a process as root: %v", err)
		}
		t.Skipf("reading the memory of a process: %v", err)
	}
	defer mem.Close()
	found := map[string]bool{}
	read := int64(0)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n == 3 && mode[0] == 'r' {
			read += search(mem, from, to, secrets, found)
		}
	}
	if read < 1<<20 {
		t.Fatalf("only %d bytes of process %d could be read", read, pid)
	}
	return found
}

// search looks for the secrets in a part of r, as far as it can be read, and
// returns how much that was.
func search(r io.ReaderAt, from, to int64, secrets []string, found map[string]bool) (read int64) {
	const overlap = 256 // so that a secret across two reads is seen
	buf := make([]byte, 1<<20)
	for at := from; at < to; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		read += int64(n)
		for _, s := range secrets {
			if bytes.Contains(buf[:n], []byte(s)) {
				found[s] = true
			}
		}
		if err != nil && !errors.Is(err, io.EOF) || n <= overlap {
			break // a region that is not backed by memory
		}
		at += int64(n) - overlap
	}
	return read
}

// inCore reports which of the secrets stand in a core dump of a process, which
// goes on running.
func inCore(t *testing.T, pid int, secrets []string) map[string]bool {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "core")
	out, err := exec.Command("gcore", "-o", prefix, strconv.Itoa(pid)).CombinedOutput()
	var core *os.File
	if err == nil {
		core, err = os.Open(fmt.Sprintf("%s.%d", prefix, pid))
	}
	if err != nil {
		if os.Geteuid() == 0 && os.Getenv("CI") != "" {
			t.Fatalf("dumping the core of a process as root, with gcore of gdb: %v\n%s", err, out)
		}
		t.Skipf("dumping the core of a process needs gcore, of gdb: %v", err)
	}
	defer core.Close()
	// Most of it is memory that was reserved and never used: a hole in the file.
	const seekData, seekHole = 3, 4
	found := map[string]bool{}
	read := int64(0)
	for end := int64(0); ; {
		from, err := core.Seek(end, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break // no more data
		}
		if err == nil {
			end, err = core.Seek(from, seekHole)
		}
		if err != nil {
			t.Fatal(err)
		}
		read += search(core, from, end, secrets, found)
	}
	if read < 1<<20 {
		t.Fatalf("the core dump of process %d holds only %d bytes", pid, read)
	}
	return found
}

const crmManifest = `connector: {name: crm, kind: rest, connection: crm}
actions:
  crm.state:
    title: Say whether the desk is open
    personal: false
    risk: read
    request: {method: GET, path: /desk}
    response: {records: ".", fields: [state, echo]}
`

// connectCRM adds a connection whose token has ended, and an authorization
// server that renews it. It returns what is secret about it.
func (w *world) connectCRM(t *testing.T) []string {
	t.Helper()
	const secret, refresh, rotated, access = "crm-client-secret-7f31", "crm-refresh-token-first", "crm-refresh-token-second", "crm-access-token-second"
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/token" {
			fmt.Fprintf(rw, `{"access_token":%q,"refresh_token":%q,"token_type":"Bearer","expires_in":3600}`, access, rotated)
			return
		}
		fmt.Fprintf(rw, `{"state":"open","echo":%q}`, r.Header.Get("Authorization"))
	}))
	t.Cleanup(server.Close)
	operator, err := os.ReadFile(filepath.Join(w.Data, "provider", "operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"provider_config_key":%q,"connection_id":"crm","allow":[{"method":"GET","path":"/desk"}],
		"credentials":{"type":"OAUTH2","client_secret":%q,"access_token":"crm-access-token-first","refresh_token":%q,"expires_at":"2026-01-01T00:00:00Z"},
		"connection_config":{"base_url":%q,"client_id":"v","client_auth":"basic","token_url":%q,"authorization_url":%q}}`,
		shop, secret, refresh, server.URL+"/api", server.URL+"/token", server.URL+"/auth")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return socket.Dial(ctx, filepath.Join(w.Data, "provider", "provider.sock"))
	}}}
	req, err := http.NewRequest(http.MethodPost, "http://provider/connections", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(operator)))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("adding the connection: %d", resp.StatusCode)
	}
	return []string{secret, rotated, access}
}

// The credentials of outside systems are in the provider's memory and nowhere
// else: not in the gate's, not in any file but the provider's, where they are
// encrypted, and not in a log.
func TestCredentialsAreElsewhere(t *testing.T) {
	t.Parallel()
	w := startWith(t, harness.Config{Manifests: map[string]string{"crm.yaml": crmManifest}})
	secrets := append([]string{harness.ShopKey, harness.SalonKey}, w.connectCRM(t)...)
	for range 20 {
		if got := w.Act(t, shop, "", "crm.state", nil, ""); got.Status != http.StatusOK {
			t.Fatalf("crm.state: %d %s", got.Status, got.Raw)
		}
		w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, "")
		w.Act(t, shop, w.alex, "appointments.mine", nil, "")
		w.Chat(t, shop, w.alex, turn{Message: "cancel order 1002"})
	}
	// The way of looking finds what is there: the provider uses the keys.
	provider := harness.Children(t, w.PID())[0]
	if found := inMemory(t, provider, secrets); len(found) != len(secrets) {
		t.Errorf("the provider's memory holds %d of %d keys; is the search any good?", len(found), len(secrets))
	}
	if found := inMemory(t, w.PID(), secrets); len(found) != 0 {
		t.Errorf("the gate's memory holds %d of the credentials", len(found))
	}
	t.Run("core dump", func(t *testing.T) {
		if testing.Short() {
			t.Skip("it takes ten seconds")
		}
		if found := inCore(t, provider, secrets); len(found) != len(secrets) {
			t.Errorf("the provider's core dump holds %d of %d keys; is the search any good?", len(found), len(secrets))
		}
		if found := inCore(t, w.PID(), secrets); len(found) != 0 {
			t.Errorf("the gate's core dump holds %d of the credentials", len(found))
		}
	})
	for _, pid := range []int{w.PID(), provider} {
		for _, name := range []string{"environ", "cmdline"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range secrets {
				if bytes.Contains(b, []byte(s)) {
					t.Errorf("/proc/%d/%s holds a credential", pid, name)
				}
			}
		}
	}
	w.Stop()
	files := 0
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds a credential", path)
			}
		}
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("looked at %d files: %v", files, err)
	}
}

// The logs, however talkative, name nobody: no e-mail, no name, no token, no
// message and no argument.
func TestLogsNameNobody(t *testing.T) {
	t.Parallel()
	w := start(t)
	forged := w.Token(t, shop, harness.Jordan, harness.WrongKey)
	for _, token := range []string{"", w.alex, w.jordan, forged, w.Token(t, shop, harness.Alex, harness.Unsigned)} {
		for _, message := range []string{"where is my order 1001", "look up the order for jordan@example.com", "I am Jordan Lee, cancel my order " + harness.JordanOrder, "do you ship to Canada?"} {
			w.Chat(t, shop, token, turn{Message: message})
		}
		w.Act(t, shop, token, "order.list", args{"email": "jordan@example.com"}, "")
		w.Act(t, shop, token, "order.lookup", args{"order_id": harness.JordanOrder}, "")
	}
	w.Shop.Before(func(harness.Call) { panic(http.ErrAbortHandler) })
	w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, "")
	w.Stop()
	logs := w.Logs()
	if !strings.Contains(logs, `"msg":"request"`) {
		t.Fatalf("the logs have no requests, so they prove nothing:\n%s", logs)
	}
	signature := func(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }
	for _, s := range []string{"@", "Alex", "Jordan", "jordan", harness.Alex.Subject, harness.Jordan.Subject, "1001", harness.JordanOrder, harness.JordanStatus,
		"Canada", w.alex, signature(w.alex), signature(w.jordan), signature(forged), "eyJ", harness.ShopKey, harness.SalonKey} {
		if strings.Contains(logs, s) {
			t.Errorf("the logs hold %q:\n%s", s, logs[max(0, strings.Index(logs, s)-300):][:min(len(logs)-max(0, strings.Index(logs, s)-300), 600)])
		}
	}
}
