package audit_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// patience is for what happens by itself, on a machine that is busy.
const patience = time.Minute

// Who follows the log sees every decision once and in order, across a server
// that is killed and comes back.
func TestTailMissesNothing(t *testing.T) {
	t.Parallel()
	w := harness.Start(t, harness.Config{})
	alex := w.Token(t, shop, harness.Alex)
	decide := func() string {
		t.Helper()
		d := w.Decide(t, shop, alex, "order.list", nil, "")
		if d.Decision == "" {
			t.Fatalf("deciding: %s", d.Raw)
		}
		return d.Decision
	}
	first := decide()
	tail := exec.CommandContext(t.Context(), harness.Build(t), "audit", "tail", "-f", "-n", "1", "--config", w.Config, "--format", "json")
	out, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		tail.Process.Kill()
		tail.Wait()
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e harness.Entry
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Errorf("%v: %s", err, s.Text())
			}
			lines <- e.Decision.ID
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("followed %q, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s did not come", want)
		}
	}
	next(first)
	next(decide())
	w.Kill()
	w.Restart()
	for range 3 { // made before the follower is back, or after
		next(decide())
	}
}

// inbox is a webhook that remembers what it took, by id.
type inbox struct {
	mu    sync.Mutex
	down  bool
	tries int
	got   map[string]int
	raw   strings.Builder
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if b.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	b.raw.Write(body)
	for line := range strings.Lines(string(body)) {
		var e struct{ ID, Kind string }
		if err := json.Unmarshal([]byte(line), &e); err == nil && e.Kind != "act" {
			b.got[e.ID]++
		}
	}
}

func (b *inbox) count() (records, tries int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.got), b.tries
}

// until waits for something that happens by itself.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s", what, patience)
		}
	}
}

// A sink that is down holds nobody up, says so, and gets everything when it is
// back, also what was decided before the server was killed. Nobody is in it.
func TestSinksMissNothing(t *testing.T) {
	t.Parallel()
	box := &inbox{got: map[string]int{}, down: true}
	hook := httptest.NewServer(box)
	defer hook.Close()
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "hook.secret"), filepath.Join(dir, "decisions.jsonl")
	if err := os.WriteFile(secret, []byte("a-secret-for-tests-0123456789-abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := harness.Start(t, harness.Config{Extra: fmt.Sprintf(
		"sinks:\n  - {name: hook, kind: webhook, url: %q, secret_file: %q}\n  - {name: archive, kind: file, path: %q, personal: true}\n", hook.URL, secret, file)})
	alex := w.Token(t, shop, harness.Alex)
	for range 5 {
		if d := w.Decide(t, shop, alex, "order.list", nil, ""); !d.Allow {
			t.Fatalf("with a dead sink: %s", d.Raw)
		}
	}
	until(t, "trying the webhook", func() bool { _, tries := box.count(); return tries > 0 })
	until(t, "the status names it", func() bool { return strings.Contains(w.Admin(t, "/v1/admin/status"), "status 503") })
	if n := w.Metric(t, `vouchsafe_sink_behind{sink="hook"}`); n < 5 {
		t.Errorf("it is %v records behind, want at least 5", n)
	}
	w.Kill()
	box.mu.Lock()
	box.down = false
	box.mu.Unlock()
	w.Restart()
	if a := w.Act(t, shop, alex, "order.lookup", args{"order_id": "1001"}, ""); a.Status != http.StatusOK {
		t.Fatalf("%s", a.Raw)
	}
	want := len(w.Audit(t)) + 1 // the one outcome
	until(t, "the webhook has everything", func() bool { n, _ := box.count(); return n == want })
	archived := func() (lines int, text string) {
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, ""
		}
		return strings.Count(string(b), "\n"), string(b)
	}
	until(t, "the file has everything", func() bool { n, _ := archived(); return n >= want })
	_, text := archived()
	if !strings.Contains(text, harness.Alex.Email) {
		t.Error("the archive, which may, holds nobody")
	}
	box.mu.Lock()
	defer box.mu.Unlock()
	for _, personal := range []string{harness.Alex.Email, harness.Alex.Subject, "order_id"} {
		if strings.Contains(box.raw.String(), personal) {
			t.Errorf("the webhook was sent %s", personal)
		}
	}
}
