package witness

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"vouchsafe/tests/harness"
)

const (
	clients  = 8
	patience = 10 * time.Second // of a client
)

// sent is a write that a client asked for, to be repeated until it is settled,
// under the same key or confirmation.
type sent struct {
	action, key, confirm string
	args                 map[string]any
}

// answer is what came back.
type answer struct {
	status                  int
	acted                   bool
	Decision, Code, Pending string
}

// client is one of many that use the server.
type client struct {
	http   *http.Client
	server *harness.Server
	token  string
	told   *Witness
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

// do asks for an action. What is not settled by its answer is asked for again
// later.
func (c *client) do(s sent) bool {
	body := map[string]any{"args": s.args}
	if s.confirm != "" {
		body["confirm"] = s.confirm
	}
	a, ok := c.post("/actions/"+s.action, body, s.key)
	if (!ok || a.status >= http.StatusInternalServerError) && (s.key != "" || s.confirm != "") {
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
	n := c.told.next.Add(1)
	id := strconv.FormatInt(1e9+n, 10)
	switch rand.IntN(7) {
	case 0:
		_, ok := c.post("/decisions", map[string]any{"action": "order.lookup", "args": map[string]any{"order_id": id}}, "")
		return ok
	case 1:
		return c.do(sent{action: "salon.hours", args: map[string]any{}})
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
		if s, ok := c.told.again(rand.IntN); ok {
			return c.do(s)
		}
		return true
	}
}

// Load has clients use the server until it is gone or ctx is done. The function
// that is returned waits until every client has noticed.
func (w *Witness) Load(ctx context.Context, t testing.TB, s *harness.Server) (wait func()) {
	t.Helper()
	token := s.Token(t, harness.Site, harness.Alex)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c := &client{http: &http.Client{Transport: transport, Timeout: patience}, server: s, token: token, told: w}
			for ctx.Err() == nil && c.step() {
			}
		})
	}
	return all.Wait
}
