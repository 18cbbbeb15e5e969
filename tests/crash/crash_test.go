// Package crash_test kills the built server at random moments under load and
// holds what is on its disk against what its clients were told and what the
// shop saw.
package crash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// rounds is how often the server is killed.
func rounds(t *testing.T) int {
	if s := os.Getenv("VOUCHSAFE_CRASH_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("VOUCHSAFE_CRASH_ROUNDS is %q, want a number", s)
		}
		return n
	}
	if testing.Short() {
		return 4
	}
	return 20
}

const (
	clients  = 8
	liveFor  = 400 * time.Millisecond // at most, between start and kill
	patience = 10 * time.Second       // of a client
)

// sent is a write that a client asked for, to be repeated after a crash as
// often as it takes, under the same key or confirmation.
type sent struct {
	action, key, confirm string
	args                 map[string]any
}

// told is what clients know: the decisions they were told of, and the writes
// they have no answer to.
type told struct {
	mu        sync.Mutex
	decisions map[string]bool // whether an outcome was acknowledged with it
	unsettled []sent
	answers   map[string]int // by status and code, for the test's log
}

func (k *told) answered(a answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers[fmt.Sprint(a.status, " ", a.Code)]++
	if a.Decision != "" {
		k.decisions[a.Decision] = k.decisions[a.Decision] || a.acted && a.status == http.StatusOK
	}
}

func (k *told) unknown(s sent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unsettled = append(k.unsettled, s)
}

// again takes a write that has no answer yet, if there is one.
func (k *told) again() (sent, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.unsettled) == 0 {
		return sent{}, false
	}
	i := rand.IntN(len(k.unsettled))
	s := k.unsettled[i]
	k.unsettled = append(k.unsettled[:i], k.unsettled[i+1:]...)
	return s, true
}

type answer struct {
	status                  int
	acted                   bool
	Decision, Code, Pending string
}

// client is one of many that use the server until it is gone.
type client struct {
	http   *http.Client
	server *harness.Server
	token  string
	told   *told
	next   *atomic.Int64 // numbers that nothing else has
}

// post sends one request; false means that no whole answer came back.
func (c *client) post(path string, body any, key string) (a answer, ok bool) {
	b, err := json.Marshal(body)
	if err != nil {
		return a, false
	}
	req, err := http.NewRequest(http.MethodPost, c.server.URL+"/v1/sites/"+harness.Site+path, bytes.NewReader(b))
	if err != nil {
		return a, false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, false
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(raw, &a) != nil {
		return a, false
	}
	a.status, a.acted = resp.StatusCode, path != "/decisions"
	c.told.answered(a)
	return a, true
}

func (c *client) do(s sent) bool {
	body := map[string]any{"args": s.args}
	if s.confirm != "" {
		body["confirm"] = s.confirm
	}
	a, ok := c.post("/actions/"+s.action, body, s.key)
	if !ok && (s.key != "" || s.confirm != "") {
		c.told.unknown(s)
	}
	if ok && a.Code == "confirmation_required" && s.confirm == "" {
		s.confirm = a.Pending
		return c.do(s)
	}
	return ok
}

// step does one thing; false ends the client.
func (c *client) step() bool {
	n := c.next.Add(1)
	id := strconv.FormatInt(1e9+n, 10)
	switch rand.IntN(6) {
	case 0, 1:
		_, ok := c.post("/decisions", map[string]any{"action": "order.lookup", "args": map[string]any{"order_id": id}}, "")
		return ok
	case 2:
		c.server.Shop.AddOrder(harness.Order{ID: id, Status: "processing", Owner: harness.Alex})
		return c.do(sent{action: "order.lookup", args: map[string]any{"order_id": id}})
	case 3: // a time that no other request has tells its write apart
		at := time.Unix(4e9+n, 0).UTC().Format(time.RFC3339)
		return c.do(sent{action: "appointments.move", key: "key-" + id, args: map[string]any{"reference": "AX-10", "begins": at}})
	case 4:
		c.server.Shop.AddOrder(harness.Order{ID: id, Status: "processing", Owner: harness.Alex})
		return c.do(sent{action: "order.cancel", args: map[string]any{"order_id": id}})
	default:
		if s, ok := c.told.again(); ok {
			return c.do(s)
		}
		return true
	}
}

// load drives the server until it is killed, and returns when every client has
// noticed.
func load(t *testing.T, s *harness.Server, known *told, next *atomic.Int64) {
	token := s.Token(t, harness.Site, harness.Alex)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c := &client{http: &http.Client{Transport: transport, Timeout: patience}, server: s, token: token, told: known, next: next}
			for c.step() {
			}
		})
	}
	time.Sleep(rand.N(liveFor))
	s.Kill()
	wg.Wait()
}

// disk is what the log holds, of all rounds.
type disk struct {
	entries map[string]harness.Entry
	allowed map[string]int // allowed decisions, by the call they allow
}

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
	}
	return ""
}

func (d *disk) read(entries []harness.Entry) {
	for _, e := range entries {
		if _, seen := d.entries[e.Decision.ID]; !seen && e.Decision.Allow {
			in := e.Decision.Input
			call := callOf(in.Action.Name, in.Action.Args)
			if in.Action.Name != "order.cancel" || in.Confirmation.Confirmed {
				d.allowed[call]++
			}
		}
		d.entries[e.Decision.ID] = e
	}
}

// check holds the disk against the clients and the shop.
func check(t *testing.T, d *disk, known *told, calls []harness.Call) {
	t.Helper()
	for id, acted := range known.decisions {
		e, found := d.entries[id]
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
		if n > d.allowed[call] {
			t.Errorf("the shop saw %s %d times, the disk allows it %d times", call, n, d.allowed[call])
		}
	}
	for what, counts := range map[string]map[string]int{"the key": keys, "the body": begins} {
		for v, n := range counts {
			if n > 1 {
				t.Errorf("the shop saw %d writes with %s %s", n, what, v)
			}
		}
	}
	for call, n := range seen {
		if len(call) > 5 && call[:5] == "POST " && n > 1 {
			t.Errorf("the shop saw %s %d times", call, n)
		}
	}
}

// Whatever moment the server is killed at: its files open again, its log
// verifies, every decision
// it acknowledged is there, every call that the shop saw was allowed by a
// decision on disk, and nothing happened twice.
func TestKilledUnderLoad(t *testing.T) {
	s := harness.Start(t, harness.Config{Quiet: true})
	known := &told{decisions: map[string]bool{}, answers: map[string]int{}}
	d := &disk{entries: map[string]harness.Entry{}, allowed: map[string]int{}}
	var next atomic.Int64
	for round := range rounds(t) {
		begun := time.Now()
		if round > 0 {
			s.Restart()
		}
		load(t, s, known, &next)
		s.Verify(t)
		d.read(s.Audit(t, "--since", begun.Add(-time.Second).UTC().Format(time.RFC3339)))
		check(t, d, known, s.Shop.Calls())
		if t.Failed() {
			t.Fatalf("in round %d", round+1)
		}
	}
	s.Restart()
	if code := s.Stop(); code != 0 {
		t.Errorf("the server ended with status %d after the last round", code)
	}
	all := &disk{entries: map[string]harness.Entry{}, allowed: map[string]int{}}
	all.read(s.Audit(t))
	check(t, all, known, s.Shop.Calls())
	if !maps.Equal(d.allowed, all.allowed) {
		t.Error("the log read at the end is not what was read round by round")
	}
	t.Logf("%d decisions on disk, %d acknowledged, %d calls and %d writes at the shop, %d writes without an answer; answers: %v",
		len(all.entries), len(known.decisions), s.Shop.Count(), len(s.Shop.Writes()), len(known.unsettled), known.answers)
	if len(known.decisions) < 20*rounds(t) || len(s.Shop.Writes()) < rounds(t) {
		t.Error("that was too little load to prove anything")
	}
}
