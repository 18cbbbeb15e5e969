package harness

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vouchsafe/engine/socket"
)

// Entry is a decision with its outcome, as `audit list --format json` prints it.
type Entry struct {
	Site     string
	Decision struct {
		ID      string
		Allow   bool
		Asked   bool
		Reasons []string
		Cause   string
		Problem string
		Parent  string
		Input   struct {
			Identity struct{ State, Subject, Email string }
			Action   struct {
				Name string
				Args map[string]any
			}
			Target       struct{ Email string }
			Asserted     struct{ Emails, Names []string }
			Confirmation struct{ Confirmed bool }
			Conversation struct{ ID string }
			Channel      string
		}
	}
	Outcome *struct {
		Code           string
		Status         int
		Returned       int
		Released       int
		Withheld       []string
		IdempotencyKey string `json:"idempotency_key"`
	}
}

// Code is the first reason of a denial, else the outcome's code.
func (e *Entry) Code() string {
	switch {
	case len(e.Decision.Reasons) > 0:
		return e.Decision.Reasons[0]
	case e.Outcome != nil:
		return e.Outcome.Code
	}
	return ""
}

// Audit lists decisions with the command line, newest first. It works on a
// server that runs and on one that does not.
func (s *Server) Audit(t testing.TB, args ...string) []Entry {
	t.Helper()
	out := s.mustRun(t, nil, append([]string{"audit", "list", "--config", s.Config, "--format", "json", "--limit", "1000000"}, args...)...)
	var list []Entry
	for line := range strings.Lines(out) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("audit list: %v\n%s", err, line)
		}
		list = append(list, e)
	}
	return list
}

// Verify has the command line verify the log, and fails the test when anything
// in it is not as it was written.
func (s *Server) Verify(t testing.TB) {
	t.Helper()
	s.mustRun(t, nil, "audit", "verify", "--config", s.Config, "--format", "json")
}

// Admin asks the admin socket and returns the answer's body.
func (s *Server) Admin(t testing.TB, path string) string {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return socket.Dial(ctx, filepath.Join(s.Data, "admin.sock"))
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	resp, err := client.Get("http://vouchsafe" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s on the admin socket: %s, %v\n%s", path, resp.Status, err, b)
	}
	return string(b)
}

// Metric reads one number of the server's metrics.
func (s *Server) Metric(t testing.TB, name string) float64 {
	t.Helper()
	for line := range strings.Lines(s.Admin(t, "/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
