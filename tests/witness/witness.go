// Package witness uses a server from many clients at once, and holds what is on
// its disk against what they were told and what the shop saw.
package witness

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vouchsafe/tests/harness"
)

// Witness remembers what the clients of one server know, over all its lives. Its
// methods may be called from any goroutine.
type Witness struct {
	next atomic.Int64 // numbers that nothing else has

	mu        sync.Mutex
	decisions map[string]bool // that clients were told of: whether an outcome was acknowledged with it
	unsettled []sent          // writes to which nobody has an answer that settles them
	answers   map[string]int  // by status and code
	done      int
}

// New makes a Witness who has seen nothing.
func New() *Witness { return &Witness{decisions: map[string]bool{}, answers: map[string]int{}} }

func (w *Witness) answered(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[fmt.Sprint(a.status, " ", a.Code)]++
	if a.status == http.StatusOK {
		w.done++
	}
	if a.Decision != "" {
		w.decisions[a.Decision] = w.decisions[a.Decision] || a.acted && a.status == http.StatusOK
	}
}

func (w *Witness) unknown(s sent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettled = append(w.unsettled, s)
}

// again takes a write that has no answer yet, if there is one.
func (w *Witness) again(pick func(n int) int) (sent, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.unsettled) == 0 {
		return sent{}, false
	}
	i := pick(len(w.unsettled))
	s := w.unsettled[i]
	w.unsettled = slices.Delete(w.unsettled, i, i+1)
	return s, true
}

// Decisions is how many decisions the clients were told of.
func (w *Witness) Decisions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.decisions)
}

// Done is how many requests were answered with what they asked for.
func (w *Witness) Done() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// Answers is how often a code came with a status, as "503 audit_unavailable".
func (w *Witness) Answers(statusAndCode string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers[statusAndCode]
}

// String sums the answers up.
func (w *Witness) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d decisions acknowledged, %d writes without an answer that settles them; answers: %v", len(w.decisions), len(w.unsettled), w.answers)
}

// Disk is what a log holds.
type Disk struct {
	Entries map[string]harness.Entry
	Allowed map[string]int // allowed decisions, by the call they allow
}

// NewDisk makes a Disk that nothing was read from.
func NewDisk() *Disk { return &Disk{map[string]harness.Entry{}, map[string]int{}} }

// Read adds entries; one that was read before replaces what it was then.
func (d *Disk) Read(entries []harness.Entry) {
	for _, e := range entries {
		if _, seen := d.Entries[e.Decision.ID]; !seen && e.Decision.Allow && !e.Decision.Asked {
			in := e.Decision.Input
			if in.Action.Name != "order.cancel" || in.Confirmation.Confirmed {
				d.Allowed[callOf(in.Action.Name, in.Action.Args)]++
			}
		}
		d.Entries[e.Decision.ID] = e
	}
}

// Same reports whether two readings allow the same calls.
func (d *Disk) Same(other *Disk) bool { return maps.Equal(d.Allowed, other.Allowed) }

// callOf names the call that a decision allows, as the shop sees it.
func callOf(action string, args map[string]any) string {
	switch action {
	case "order.lookup":
		return fmt.Sprint("GET /orders/", args["order_id"])
	case "order.cancel":
		return fmt.Sprint("POST /orders/", args["order_id"], "/cancel")
	case "appointments.mine":
		return "GET /v2/clients/" + harness.Alex.Subject + "/appointments"
	case "appointments.move":
		return fmt.Sprint("PATCH /v2/appointments/", args["reference"])
	case "salon.hours":
		return "GET /v2/hours"
	}
	return ""
}

// Check holds the disk against the clients and the shop: what was acknowledged
// is there, every call that the shop saw was allowed by a decision of its own,
// and no write happened twice.
func (w *Witness) Check(t testing.TB, d *Disk, calls []harness.Call) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, acted := range w.decisions {
		e, found := d.Entries[id]
		switch {
		case !found:
			t.Errorf("decision %s was acknowledged and is not on disk", id)
		case acted && e.Outcome == nil:
			t.Errorf("the result of decision %s was acknowledged and its outcome is not on disk", id)
		}
	}
	seen, keys, begins := map[string]int{}, map[string]int{}, map[string]int{}
	for _, c := range calls {
		seen[c.Method+" "+c.Path]++
		if c.Method == http.MethodGet {
			continue
		}
		keys[c.IdempotencyKey]++
		if c.Method == http.MethodPatch {
			begins[c.Body]++
		}
	}
	for call, n := range seen {
		if n > d.Allowed[call] {
			t.Errorf("the shop saw %s %d times, the disk allows it %d times", call, n, d.Allowed[call])
		}
		if strings.HasPrefix(call, "POST ") && n > 1 {
			t.Errorf("the shop saw %s %d times", call, n)
		}
	}
	for what, counts := range map[string]map[string]int{"the key": keys, "the body": begins} {
		for v, n := range counts {
			if n > 1 {
				t.Errorf("the shop saw %d writes with %s %s", n, what, v)
			}
		}
	}
}

// CheckSettled holds that no permitted call waits for its outcome: that of a
// server that ended well, or of one that has started again.
func (d *Disk) CheckSettled(t testing.TB) {
	t.Helper()
	for id, e := range d.Entries {
		if e.Decision.Allow && !e.Decision.Asked && e.Outcome == nil {
			t.Errorf("decision %s of %s was allowed and has no outcome", id, e.Decision.Input.Action.Name)
		}
	}
}
