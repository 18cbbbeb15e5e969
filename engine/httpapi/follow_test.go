package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine"
	"vouchsafe/engine/gate"
)

// following is one stream of decisions.
type following struct {
	t     *testing.T
	lines *bufio.Scanner
	stop  func()
	id    string // of the last event
}

func follow(t *testing.T, url, query, resume string) *following {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/admin/decisions/follow"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resume != "" {
		req.Header.Set("Last-Event-ID", resume)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("following%s: %+v, %v", query, resp, err)
	}
	f := &following{t: t, lines: bufio.NewScanner(resp.Body), stop: func() { cancel(); resp.Body.Close() }}
	t.Cleanup(f.stop)
	return f
}

// next is the id of the decision that comes next, "" at the end of the stream.
func (f *following) next() (decision string, outcome bool) {
	f.t.Helper()
	for f.lines.Scan() {
		line := f.lines.Text()
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			f.id = id
		}
		if doc, ok := strings.CutPrefix(line, "data: "); ok {
			var e struct {
				Decision struct{ ID string }
				Outcome  *struct{}
			}
			if err := json.Unmarshal([]byte(doc), &e); err != nil {
				f.t.Fatal(err)
			}
			return e.Decision.ID, e.Outcome != nil
		}
	}
	return "", false
}

// Who follows sees each decision once, complete, and after a break goes on where
// it was; what is not asked for, and what is another site's, is not sent.
func TestFollow(t *testing.T) {
	b := newBench(t, nil)
	srv := httptest.NewServer(b.server.Admin())
	defer srv.Close()
	for _, query := range []string{"?limit=1", "?since=2020-01-01T00:00:00Z", "?last=-1", "?last=x", "?last=100000", "?cursor=x", "?cursor=bnVsbA", "?allow=perhaps", "?last=1&last=1"} {
		want(t, "following"+query, admins(b, "/v1/admin/decisions/follow"+query), 422, "invalid_request")
	}
	before := record(t, b, "cv_0", "alex").Decision.ID
	all, denied := follow(t, srv.URL, "?last=5", ""), follow(t, srv.URL, "?allow=false&site=demo", "")
	allowed := record(t, b, "cv_1", "alex").Decision.ID
	refused := record(t, b, "cv_2", "").Decision.ID
	other, err := b.gate.Ask(t.Context(), gate.Request{Site: b.sites["demo-free"].Gate, Channel: engine.ChannelAction, Intent: engine.Intent{Action: "order.list"}})
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := denied.next(); id != refused {
		t.Errorf("who follows denials sees %s, want %s", id, refused)
	}
	seen := map[string]int{}
	if id, outcome := all.next(); id != before || !outcome {
		t.Errorf("it begins with %s (%v), want %s with its outcome", id, outcome, before)
	}
	for range 3 {
		id, outcome := all.next()
		seen[id]++
		if id == allowed && !outcome {
			t.Error("what was permitted came without its outcome")
		}
	}
	for _, id := range []string{allowed, refused, other.ID} {
		if seen[id] != 1 {
			t.Errorf("%s was sent %d times, want once", id, seen[id])
		}
	}
	all.stop()
	missed := record(t, b, "cv_3", "").Decision.ID
	if id, _ := follow(t, srv.URL, "", all.id).next(); id != missed {
		t.Errorf("after a break: %s, want %s", id, missed)
	}
	// A server that stops ends the streams rather than waiting for them.
	b.server.EndStreams()
	if id, _ := denied.next(); id != missed { // it was sent before
		t.Errorf("sent %s, want %s", id, missed)
	}
	if id, _ := denied.next(); id != "" {
		t.Errorf("a stopped server sent %s", id)
	}
}
