// Package reload changes the files of a running gate and watches what becomes
// of them.
package reload

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// patience is how long a change may take on a busy machine before a test gives
// up. It measures nothing.
const patience = 30 * time.Second

// gate is a server whose files are changed.
type gate struct {
	*harness.Server
	t *testing.T
}

func start(t *testing.T) *gate {
	t.Helper()
	t.Parallel()
	return &gate{harness.Start(t, harness.Config{}), t}
}

func (g *gate) path(name string) string { return filepath.Join(g.Dir, filepath.FromSlash(name)) }

func (g *gate) read(name string) string {
	g.t.Helper()
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

func (g *gate) write(name, content string) {
	g.t.Helper()
	if err := os.WriteFile(g.path(name), []byte(content), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// edit replaces text of a file that must hold it.
func (g *gate) edit(name, old, new string) {
	g.t.Helper()
	before := g.read(name)
	if !strings.Contains(before, old) {
		g.t.Fatalf("%s does not hold %q", name, old)
	}
	g.write(name, strings.ReplaceAll(before, old, new))
}

// look sends SIGHUP, so that the gate looks at its files at once.
func (g *gate) look() {
	g.t.Helper()
	if err := syscall.Kill(g.PID(), syscall.SIGHUP); err != nil {
		g.t.Fatal(err)
	}
}

// until waits for what a change brings about.
func (g *gate) until(what string, holds func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// degraded is what `status` says is wrong.
func (g *gate) degraded() []string {
	g.t.Helper()
	var s struct{ Degraded []string }
	if err := json.Unmarshal([]byte(g.Admin(g.t, "/v1/admin/status")), &s); err != nil {
		g.t.Fatal(err)
	}
	return s.Degraded
}

// status is what listing one's orders with a token is answered: 200, or 401.
func (g *gate) status(token string) int {
	g.t.Helper()
	return g.Act(g.t, harness.Site, token, "order.list", nil, "").Status
}

func (g *gate) token(mods ...func(*harness.Minting)) string {
	g.t.Helper()
	return g.Token(g.t, harness.Site, harness.Alex, mods...)
}

// works holds that a token is good for one's own orders.
func (g *gate) works(token string) {
	g.t.Helper()
	if got := g.Act(g.t, harness.Site, token, "order.list", nil, ""); got.Status != http.StatusOK {
		g.t.Errorf("listing one's orders = %d %s, want 200", got.Status, got.Raw)
	}
}

// refuses holds that a token proves nothing.
func (g *gate) refuses(token string) {
	g.t.Helper()
	if got := g.Act(g.t, harness.Site, token, "order.list", nil, ""); got.Status != http.StatusUnauthorized || got.Code != "identity_invalid" {
		g.t.Errorf("listing one's orders = %d %s, want 401 identity_invalid", got.Status, got.Raw)
	}
}
