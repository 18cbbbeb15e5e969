package gate_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// smallDisk mounts a file system of the given size for the test. It needs root;
// where it should work and does not, the test fails rather than passing unseen.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.New("not root")
	if os.Geteuid() == 0 {
		err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	}
	switch {
	case err == nil:
	case os.Geteuid() == 0 && os.Getenv("CI") != "":
		t.Fatalf("mounting a small disk as root: %v", err)
	default:
		t.Skipf("a full disk needs a small one, and mounting it needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes to the disk until it is full, and returns what empties it again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk nothing is acknowledged, nothing is done, and the server says
// that it cannot serve. Once there is room it recovers by itself, with all that
// it had acknowledged.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "24m")
	w := &world{Server: harness.Start(t, harness.Config{Data: filepath.Join(disk, "data")})}
	w.alex = w.Token(t, shop, harness.Alex)
	asked := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, "")
	parked := w.Chat(t, shop, w.alex, turn{Message: "cancel order 1003"})
	acknowledged := map[string]bool{asked.Decision: true}

	empty := fill(t, disk)
	full := false
	for range 5000 { // the files may have some room left in them
		a := w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, "")
		if a.Status == http.StatusOK {
			acknowledged[a.Decision] = true
			continue
		}
		wantProblem(t, "on a full disk", a, http.StatusServiceUnavailable, "audit_unavailable")
		full = true
		break
	}
	if !full {
		t.Fatal("5,000 decisions fitted on a full disk")
	}
	w.shopSawNothing(t, func() {
		for range 20 {
			a := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, asked.Pending)
			wantProblem(t, "confirming on a full disk", a, http.StatusServiceUnavailable, "audit_unavailable")
			if a.Header.Get("Retry-After") == "" {
				t.Error("the refusal does not say when to come back")
			}
			wantProblem(t, "reading on a full disk", w.Act(t, shop, w.alex, "order.list", nil, ""), http.StatusServiceUnavailable, "audit_unavailable")
			wantReply(t, "chat on a full disk", w.Chat(t, shop, w.alex, turn{Message: "where is my order 1001"}), "refused", "audit_unavailable")
			if d := w.Decide(t, shop, w.alex, "order.list", nil, ""); d.Status != http.StatusServiceUnavailable {
				t.Errorf("asking on a full disk: %d %s", d.Status, d.Raw)
			}
		}
	})
	if got := w.Do(t, http.MethodGet, "/readyz", "", nil); got.Status != http.StatusServiceUnavailable {
		t.Errorf("/readyz on a full disk: %d, want 503", got.Status)
	}
	if got := w.Do(t, http.MethodGet, "/healthz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/healthz on a full disk: %d, want 200: the process is alive", got.Status)
	}
	if e := harness.Run(t, nil, "status", "--config", w.Config); e.Code != 1 || !strings.Contains(e.Out, "recorded") {
		t.Errorf("status on a full disk: %d\n%s%s", e.Code, e.Out, e.Errors)
	}

	empty()
	w.Await("/readyz", http.StatusOK)
	if a := w.Act(t, shop, w.alex, "order.lookup", args{"order_id": "1001"}, ""); a.Status != http.StatusOK {
		t.Errorf("with room again: %d %s", a.Status, a.Raw)
	}
	// What was never answered with a result was not done, and its yes still works.
	again := w.Chat(t, shop, w.alex, turn{Conversation: parked.Conversation, Confirm: parked.Last().Pending})
	wantReply(t, "confirming with room again", again, "result", "")
	if a := w.Act(t, shop, w.alex, "order.cancel", args{"order_id": "1002"}, asked.Pending); a.Status != http.StatusOK {
		t.Errorf("giving again a yes that could not be recorded: %d %s", a.Status, a.Raw)
	}
	if n := len(w.Shop.Writes()); n != 2 {
		t.Errorf("the shop saw %d cancellations, want one of each order", n)
	}
	entries := w.Audit(t)
	for id := range acknowledged {
		if e, _ := find(entries, id); e == nil {
			t.Errorf("decision %s was acknowledged before the disk was full and is gone", id)
		}
	}
	if code := w.Stop(); code != 0 {
		t.Errorf("the server ended with status %d", code)
	}
}

// A data folder that cannot be written refuses to start, and says so.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "24m")
	w := &world{Server: harness.Start(t, harness.Config{Data: filepath.Join(disk, "data")})}
	w.Stop()
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("making the disk read-only: %v", err)
	}
	begun := time.Now()
	e := harness.Run(t, nil, "serve", "--config", w.Config, "--addr", "127.0.0.1:0")
	if e.Code != 2 || !strings.Contains(e.Errors, "read-only") {
		t.Errorf("serve on a read-only disk: status %d after %s, want 2 and why\n%s%s", e.Code, time.Since(begun), e.Out, e.Errors)
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=24m"); err != nil {
		t.Fatalf("making the disk writable: %v", err)
	}
	w.Restart()
	if got := w.Do(t, http.MethodGet, "/readyz", "", nil); got.Status != http.StatusOK {
		t.Errorf("/readyz on a disk that can be written again: %d", got.Status)
	}
}
