package faults_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

// under lets a write reach the shop, makes the log fail while it is there, and
// returns what its client was answered, the yes that it gave and which decision
// it is.
func under(t *testing.T, g *gate, alex string) (a harness.Acted, yes, decision string) {
	t.Helper()
	asked := g.Act(t, shop, alex, "order.cancel", args{"order_id": "1002"}, "")
	if asked.Pending == "" {
		t.Fatalf("asking to cancel: %d %s", asked.Status, asked.Raw)
	}
	reached, release := make(chan bool), make(chan bool)
	g.Shop.Before(func(c harness.Call) {
		if c.Method == http.MethodPost {
			reached <- true
			<-release
		}
	})
	defer g.Shop.Before(nil)
	answered := make(chan harness.Acted, 1)
	go func() {
		answered <- g.Act(t, shop, alex, "order.cancel", args{"order_id": "1002"}, asked.Pending)
	}()
	select {
	case <-reached:
	case <-time.After(60 * time.Second):
		t.Fatal("the write did not reach the shop")
	}
	for _, e := range g.Audit(t, "--action", "order.cancel") {
		if e.Decision.Input.Confirmation.Confirmed {
			decision = e.Decision.ID
		}
	}
	if decision == "" {
		t.Error("the shop was reached and no decision is on record")
	}
	g.fail(t, "/audit/", "beforeWriteMetaError")
	release <- true
	return <-answered, asked.Pending, decision
}

// A write whose outcome cannot be recorded is not reported as done. The outcome
// is written once the disk takes it; where the process ends before, the next one
// writes that it is not known. Either way there is one, the shop saw one write,
// and the yes is spent.
func TestAnOutcomeThatCannotBeWritten(t *testing.T) {
	for name, crash := range map[string]bool{"the disk comes back": false, "the power goes": true} {
		t.Run(name, func(t *testing.T) {
			g := start(t, harness.Config{})
			alex := g.Token(t, shop, harness.Alex)
			a, yes, decision := under(t, g, alex)
			if a.Status != http.StatusBadGateway || a.Code != "outcome_unknown" {
				t.Errorf("done, and not on record: %d %s", a.Status, a.Raw)
			}
			want := ""
			if crash {
				want = "outcome_unknown"
				g.cutPower(t)
				g.Restart()
			} else {
				g.mend(t, "beforeWriteMetaError")
				g.serves(t)
			}
			var found *harness.Entry
			await(t, "an outcome", func() bool {
				for _, e := range g.Audit(t, "--action", "order.cancel") {
					if e.Decision.ID == decision && e.Outcome != nil {
						found = &e
						return true
					}
				}
				return false
			})
			if found.Outcome.Code != want {
				t.Errorf("the outcome is %q, want %q", found.Outcome.Code, want)
			}
			if again := g.Act(t, shop, alex, "order.cancel", args{"order_id": "1002"}, yes); again.Status == http.StatusOK {
				t.Errorf("cancelled again: %s", again.Raw)
			}
			if n := len(g.Shop.Writes()); n != 1 {
				t.Errorf("the shop saw %d writes, want 1", n)
			}
			if code := g.Stop(); code != 0 {
				t.Errorf("the server ended with status %d", code)
			}
			g.Verify(t)
		})
	}
}

// A gate whose log cannot be written does not start, and says why. Nothing of
// the log has changed when it can be again.
func TestAStartOnADiskThatFails(t *testing.T) {
	g := start(t, harness.Config{})
	alex := g.Token(t, shop, harness.Alex)
	a := g.Act(t, shop, alex, "order.lookup", args{"order_id": "1001"}, "")
	if a.Status != http.StatusOK {
		t.Fatalf("before: %d %s", a.Status, a.Raw)
	}
	g.Stop()
	before := len(g.Audit(t))
	for _, point := range []string{"beforeSyncDataPages", "beforeSyncMetaPage", "beforeWriteMetaError"} {
		env := []string{"GOFAIL_FAILPOINTS=" + point + `=return("/audit/|` + message(point) + `")`}
		e := harness.Run(t, env, "serve", "--config", g.Config, "--addr", "127.0.0.1:0")
		if e.Code != 2 || !strings.Contains(e.Errors, message(point)) {
			t.Errorf("serve where %s: status %d, want 2 and why\n%s%s", message(point), e.Code, e.Out, e.Errors)
		}
	}
	g.Verify(t)
	if now := len(g.Audit(t)); now != before {
		t.Errorf("%d decisions, and there were %d", now, before)
	}
	g.Restart()
	if b := g.Act(t, shop, alex, "order.lookup", args{"order_id": "1001"}, ""); b.Status != http.StatusOK {
		t.Errorf("after: %d %s", b.Status, b.Raw)
	}
}
