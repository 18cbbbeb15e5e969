package clients

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

const crmManifest = `connector: {name: crm, kind: rest, connection: crm}
actions:
  crm.state:
    title: Say whether the desk is open
    personal: false
    risk: read
    request: {method: GET, path: /desk}
    response: {records: ".", fields: [state, seen]}
`

const crmSecret = "of-the-test-client-0123456789"

// granting is a gate whose connection crm gets its tokens of a real OAuth
// server.
type granting struct {
	*harness.Server
	t      *testing.T
	issuer *script
	url    string
}

func startGranting(t *testing.T) *granting {
	t.Helper()
	dir := nodeFolder(t)
	copyFile(t, "issuer.mjs", dir+"/issuer.mjs")
	g := &granting{t: t, issuer: startScript(t, dir, append(os.Environ(), "CLIENT_SECRET="+crmSecret), "node", "issuer.mjs")}
	g.url = g.issuer.line()
	g.Server = harness.Start(t, harness.Config{Manifests: map[string]string{"crm.yaml": crmManifest}})
	e := harness.Run(t, []string{"CRM_SECRET=" + crmSecret}, "connection", "add", "crm", "--site", harness.Site, "--config", g.Config,
		"--type", "oauth2", "--client-id", "vouchsafe", "--client-secret-env", "CRM_SECRET", "--scope", "openid", "--scope", "offline_access",
		"--authorization-param", "prompt=consent", "--authorization-url", g.url+"/auth", "--token-url", g.url+"/token", "--base-url", g.url+"/api")
	if e.Code != 0 || !strings.Contains(e.Out, "connect_needed") {
		t.Fatalf("connection add: %d %s%s", e.Code, e.Out, e.Errors)
	}
	return g
}

// connect grants access with a browser, as the operator does.
func (g *granting) connect() {
	g.t.Helper()
	cmd := exec.Command(harness.Build(g.t), "connection", "connect", "crm", "--site", harness.Site, "--config", g.Config, "--format", "json")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	var said struct{ Link string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		g.t.Fatalf("connection connect said %q: %v", line, err)
	}
	if got := g.issuer.tell("browse " + said.Link); got != "200 Connected. You can close this page." {
		g.t.Fatalf("the browser's last page: %s", got)
	}
	if err := cmd.Wait(); err != nil {
		g.t.Fatalf("connection connect: %v", err)
	}
}

func (g *granting) count(what string) int {
	g.t.Helper()
	n, err := strconv.Atoi(g.issuer.tell(what))
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// state is the connection's, and when its access token ends.
func (g *granting) state() (state, reason string, expires time.Time) {
	g.t.Helper()
	e := harness.Run(g.t, nil, "connection", "show", "crm", "--site", harness.Site, "--config", g.Config, "--format", "json")
	var c struct {
		State, Reason string
		Expires       time.Time `json:"token_expires_at"`
	}
	if err := json.Unmarshal([]byte(e.Out), &c); err != nil {
		g.t.Fatalf("connection show: %s%s: %v", e.Out, e.Errors, err)
	}
	return c.State, c.Reason, c.Expires
}

// expire waits until the access token has ended.
func (g *granting) expire() {
	g.t.Helper()
	_, _, at := g.state()
	for time.Now().Before(at) {
		time.Sleep(50 * time.Millisecond)
	}
}

func (g *granting) act() int {
	got := g.Act(g.t, harness.Site, "", "crm.state", nil, "")
	if strings.Contains(string(got.Raw), "Bearer ") && !strings.Contains(string(got.Raw), "[removed]") {
		g.t.Errorf("the access token came out: %s", got.Raw)
	}
	return got.Status
}

// A real OAuth server: code and PKCE, renewal with rotated refresh tokens, one
// for fifty calls at once, through the death of the provider, and revocation.
func TestARealOAuthServer(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it waits for access tokens to end")
	}
	t.Parallel()
	g := startGranting(t)
	if got := g.act(); got != http.StatusBadGateway {
		t.Errorf("before anybody has connected it: %d, want 502", got)
	}
	g.connect()
	if got := g.act(); got != http.StatusOK {
		t.Fatalf("connected: %d, want 200", got)
	}

	g.expire()
	before := g.count("renewals")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := g.act(); got != http.StatusOK {
				t.Errorf("one of fifty at once: %d, want 200", got)
			}
		})
	}
	wg.Wait()
	// Tokens live three seconds: fifty slow calls may see another one end.
	if n := g.count("renewals") - before; n < 1 || n > 3 {
		t.Errorf("fifty calls renewed the token %d times", n)
	}

	// The provider is killed. What it had written is all that is needed.
	children := harness.Children(t, g.PID())
	if len(children) != 1 {
		t.Fatalf("the gate has %d children", len(children))
	}
	if err := syscall.Kill(children[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	before = g.count("renewals")
	for deadline := time.Now().Add(patience); g.act() != http.StatusOK || g.count("renewals") == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after the provider was killed no token is renewed any more")
		}
	}

	if got := g.issuer.tell("revoke"); got != "ok" {
		t.Fatal(got)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		g.act()
		if state, reason, _ := g.state(); state == "reconnect_needed" {
			if reason != "invalid_grant" {
				t.Errorf("the reason is %q, want invalid_grant", reason)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody is told that access was revoked")
		}
	}
	calls := g.count("calls")
	if got := g.act(); got != http.StatusBadGateway || g.count("calls") != calls {
		t.Errorf("revoked: %d, and %d further calls; want 502 and none", got, g.count("calls")-calls)
	}
	g.connect()
	if got := g.act(); got != http.StatusOK {
		t.Errorf("connected again: %d, want 200", got)
	}
	g.Stop()
	for _, secret := range []string{crmSecret, "Bearer "} {
		if strings.Contains(g.Logs(), secret) {
			t.Errorf("the logs hold %q", secret)
		}
	}
}
