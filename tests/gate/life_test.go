package gate_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// A server asked to end finishes what is under way: the reply arrives and its
// outcome is recorded, although nobody new is let in.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	w := start(t)
	asked := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, "")
	arrived, release := make(chan struct{}), make(chan struct{})
	w.Shop.Before(func(c harness.Call) {
		if c.Method == http.MethodPost {
			close(arrived)
			<-release
		}
	})
	slow := make(chan harness.Acted, 1)
	go func() { slow <- w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, asked.Pending) }()
	<-arrived
	w.Terminate()
	refusing := false
	for range 200 {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(w.URL, "http://"), time.Second)
		if refusing = err != nil; refusing {
			break
		}
		c.Close()
		time.Sleep(20 * time.Millisecond)
	}
	if !refusing {
		t.Error("a server that was asked to end still lets new connections in")
	}
	select {
	case <-w.Ended():
		t.Fatal("the server ended with an action under way")
	default:
	}
	close(release)
	got := <-slow
	if got.Status != http.StatusOK || got.Data["status"] != "cancelled" {
		t.Errorf("the action under way: %d %s, want its result", got.Status, got.Raw)
	}
	if code := w.Stop(); code != 0 {
		t.Errorf("the server ended with status %d, want 0\n%s", code, w.Logs())
	}
	if e, _ := find(w.Audit(t), got.Decision); e == nil || e.Outcome == nil || e.Outcome.Code != "" || e.Outcome.Released != 1 {
		t.Errorf("the audit after the shutdown has %+v, want the outcome", e)
	}
}

// A busy port is a clear error, before anything else is started.
func TestBusyPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	w := start(t)
	for what, more := range map[string][]string{
		"the demo":        {"--data", t.TempDir()},
		"a configuration": {"--config", w.Config, "--data", t.TempDir()},
	} {
		e := harness.Run(t, nil, append([]string{"serve", "--addr", addr}, more...)...)
		if e.Code != 2 || !strings.Contains(e.Errors, addr+" is in use") || !strings.Contains(e.Errors, "--addr") {
			t.Errorf("%s on a busy port: status %d\n%s", what, e.Code, e.Errors)
		}
	}
	second := harness.Run(t, nil, "serve", "--config", w.Config, "--addr", "127.0.0.1:0")
	if second.Code != 2 || strings.Contains(second.Errors, "panic") || second.Errors == "" {
		t.Errorf("a second server on the same data: status %d\n%s", second.Code, second.Errors)
	}
	wantReply(t, "the first server after that", w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"}), "result", "")
}

// What was decided, asked, confirmed and done is known after a restart.
func TestDataSurvives(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how string
		end func(*world)
	}{
		{"stop", func(w *world) { w.Stop() }},
		{"kill", func(w *world) { w.Kill() }},
	} {
		t.Run(c.how, func(t *testing.T) {
			w := start(t)
			looked := w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, "")
			asked := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1002"})
			parked := w.Chat(t, shop, "", turn{Message: "track order 1003"})
			spent := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1003"}, "")
			w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1003"}, spent.Pending)
			moved := w.Act(t, shop, w.alex, "appointments.move", args{"reference": "AX-10", "begins": "2030-05-01T10:00:00Z"}, "", "Idempotency-Key", "m")
			if moved.Status != http.StatusOK {
				t.Fatalf("appointments.move: %d %s", moved.Status, moved.Raw)
			}
			writes := len(w.Shop.Writes())
			c.end(w)
			before := w.Audit(t)
			w.Restart()

			if e, _ := find(w.Audit(t), looked.Decision); e == nil || e.Outcome == nil || e.Outcome.Released != 1 || len(w.Audit(t)) < len(before) {
				t.Errorf("a decision made before is %+v after", e)
			}
			wantProblem(t, "a spent confirmation", w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1003"}, spent.Pending), http.StatusConflict, "confirmation_spent")
			wantProblem(t, "a spent key", w.Act(t, shop, w.alex, "appointments.move", args{"reference": "AX-10", "begins": "2030-05-01T10:00:00Z"}, "", "Idempotency-Key", "m"),
				http.StatusConflict, "already_done")
			if n := len(w.Shop.Writes()); n != writes {
				t.Errorf("the shop saw %d writes again", n-writes)
			}
			done := w.Chat(t, shop, w.alex, turn{Conversation: asked.Conversation, Confirm: asked.Last().Pending})
			wantReply(t, "a confirmation asked for before", done, "result", "")
			resumed := w.Chat(t, shop, w.alex, turn{Conversation: parked.Conversation, Resume: parked.Last().Resume})
			wantReply(t, "a request parked before", resumed, "result", "")
			wantReply(t, "a question", w.Chat(t, shop, "", turn{Message: "do you ship to Canada?"}), "answer", "")
		})
	}
}

// running reports whether a process is there and not a zombie.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	return len(rest) > 0 && rest[0] != "Z" && rest[0] != "X"
}

// The shop and the provider end with the server, however it ends.
func TestChildrenEndWithTheirParent(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		const missing = "there is no /proc here to see processes by"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	gone := func(t *testing.T, pids []int) {
		t.Helper()
		for range 300 {
			if !slices.ContainsFunc(pids, running) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		for _, pid := range pids {
			if running(pid) {
				t.Errorf("the child %d still runs", pid)
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	t.Run("stop", func(t *testing.T) {
		d := harness.StartDemo(t)
		pids := harness.Children(t, d.PID())
		if len(pids) != 2 {
			t.Fatalf("the demo has the children %v, want the shop and the provider", pids)
		}
		if code := d.Stop(); code != 0 {
			t.Errorf("the demo ended with status %d\n%s", code, d.Logs())
		}
		gone(t, pids)
	})
	t.Run("kill", func(t *testing.T) {
		d := harness.StartDemo(t)
		pids := harness.Children(t, d.PID())
		d.Kill()
		gone(t, pids)
	})
	t.Run("kill with a configuration", func(t *testing.T) {
		w := start(t)
		pids := harness.Children(t, w.PID())
		if len(pids) != 1 {
			t.Fatalf("the server has the children %v, want the provider", pids)
		}
		w.Kill()
		gone(t, pids)
	})
	t.Run("a child that dies is started again", func(t *testing.T) {
		w := start(t)
		provider, err := os.FindProcess(harness.Children(t, w.PID())[0])
		if err != nil {
			t.Fatal(err)
		}
		provider.Kill()
		ok := false
		for range 100 {
			if a := w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, ""); a.Status == http.StatusOK {
				ok = true
				break
			} else if a.Status != http.StatusBadGateway && a.Status != http.StatusGatewayTimeout {
				t.Fatalf("without its provider: %d %s", a.Status, a.Raw)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !ok {
			t.Error("the provider was not started again")
		}
	})
}

// The demo's shop remembers what was changed, and who is signed in can go on.
func TestDemoSurvives(t *testing.T) {
	t.Parallel()
	d := harness.StartDemo(t)
	asked := d.Chat(t, "demo", d.SignIn(t, "alex", "demo"), turn{Message: "cancel my subscription"})
	r := wantReply(t, "cancel my subscription", asked, "confirm", "")
	done := d.Chat(t, "demo", d.SignIn(t, "alex", "demo"), turn{Conversation: asked.Conversation, Confirm: r.Pending})
	wantReply(t, "yes", done, "result", "")
	d.Kill()
	d.Restart()
	a := d.Act(t, "demo", d.SignIn(t, "alex", "demo"), "subscription.show", nil, "")
	if a.Status != http.StatusOK || !strings.Contains(string(a.Raw), "cancel") {
		t.Errorf("the subscription after a restart: %d %s, want it cancelled", a.Status, a.Raw)
	}
	free := d.Chat(t, "demo-free", d.SignIn(t, "alex", "demo-free"), turn{Message: "show my orders"})
	wantReply(t, "the free site", free, "refused", "tier_insufficient")
}

// A first start makes the gate's keys, whether or not a connection was added
// before it. A key that is lost later is never replaced in silence.
func TestLostKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.Stop()
	lost := filepath.Join(w.Dir, "keys", "checkpoint")
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	e := harness.Run(t, nil, "serve", "--config", w.Config, "--addr", "127.0.0.1:0")
	if e.Code != 2 || !strings.Contains(e.Errors, lost) {
		t.Errorf("serve without a key that it had: status %d\n%s", e.Code, e.Errors)
	}
	if _, err := os.Stat(lost); err == nil {
		t.Error("the lost key was replaced")
	}
}
