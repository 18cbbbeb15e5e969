package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
)

// HubSpot publishes a client that is generated from its description of the API,
// in this package. The test reads what it says of calls and models, and runs
// nothing of it but the models.
const (
	hubspotPackage   = "@hubspot/api-client@14.0.1"
	hubspotIntegrity = "+2/9e3DguqVXB/htjQ5yxWkLD4fGdS1MNsOVYlc05a4TAGx0PGt+EgvW8o5P9GwQsMIGHCCiR6CJpNYNQtbiqw=="
	hubspotFolder    = "package/lib/codegen/crm/"
)

// hubspotClient fetches the client's part for contacts, tickets and what joins
// them into dir.
func hubspotClient(ctx context.Context, dir string) error {
	files, err := published(ctx, dir, hubspotPackage, hubspotIntegrity)
	if err != nil {
		return err
	}
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(h.Name, hubspotFolder) || !strings.HasSuffix(h.Name, ".js") || !filepath.IsLocal(h.Name) {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(files, 1<<20))
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, filepath.Dir(h.Name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, h.Name), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
}

// exchange is a request and its reply, as check.mjs reads them.
type exchange struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Query  map[string]string `json:"query,omitempty"`
	Body   any               `json:"body,omitempty"`
	Status int               `json:"status"`
	Reply  any               `json:"reply,omitempty"`
}

// Every request of the manifest, and every reply of the stand-in that it is
// tested with, is one of HubSpot's API as HubSpot describes it.
func TestHubSpotContract(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it fetches HubSpot's client")
	}
	missing := func(what string) {
		if os.Getenv("CI") != "" {
			t.Fatalf("missing in CI: %s", what)
		}
		t.Skipf("skipped: %s", what)
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(tool + ", for HubSpot's client")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if err := hubspotClient(ctx, dir); err != nil {
		missing("HubSpot's client: " + err.Error())
	}
	var mu sync.Mutex
	var seen []exchange
	s := hubspot(t, false)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := exchange{Method: r.Method, Path: r.URL.EscapedPath(), Query: map[string]string{}}
		for name, values := range r.URL.Query() {
			e.Query[name] = values[0]
		}
		sent, _ := io.ReadAll(r.Body)
		json.Unmarshal(sent, &e.Body)
		out, err := http.NewRequestWithContext(r.Context(), r.Method, s.url+r.URL.RequestURI(), bytes.NewReader(sent))
		if err != nil {
			t.Error(err)
			return
		}
		out.Header = r.Header
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		got, _ := io.ReadAll(resp.Body)
		json.Unmarshal(got, &e.Reply)
		e.Status = resp.StatusCode
		mu.Lock()
		seen = append(seen, e)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(resp.StatusCode)
		w.Write(got)
	}))
	defer front.Close()
	b := bench(t, "hubspot.yaml", front.URL)
	for action, args := range map[string]object{
		"contact.lookup": nil,
		"contact.update": {"phone_number": "+44 20 7946 0000", "address": "12 Mill Lane", "city": "Leeds", "postcode": "LS1 1AA"},
		"ticket.list":    nil,
		"ticket.create":  {"topic": "Late", "message": "It is late."},
	} {
		if _, err := b.Do(t, alex, action, args); err != nil {
			t.Errorf("%s: %v", action, err)
		}
	}
	check := func(exchanges []exchange) string {
		in, err := json.Marshal(exchanges)
		if err != nil {
			t.Fatal(err)
		}
		run := exec.CommandContext(ctx, "node", filepath.Join("testdata", "hubspot", "check.mjs"), dir)
		run.Stdin = bytes.NewReader(in)
		out, err := run.CombinedOutput()
		if err != nil {
			t.Fatalf("check.mjs: %v\n%s", err, out)
		}
		return string(out)
	}
	if len(seen) < 8 {
		t.Errorf("%d exchanges, want those of four actions", len(seen))
	}
	if wrong := check(seen); wrong != "" {
		t.Errorf("not as HubSpot describes it:\n%s", wrong)
	}
	// The check finds what does not fit.
	for want, e := range map[string]exchange{
		"there is no such call":     {Method: "PUT", Path: "/crm/v3/objects/contacts/11"},
		"the query has no proprty":  {Method: "GET", Path: "/crm/v3/objects/contacts/11", Query: map[string]string{"proprty": "x"}, Status: 200},
		"body.propertis is not of":  {Method: "PATCH", Path: "/crm/v3/objects/contacts/11", Body: object{"propertis": object{}}, Status: 200},
		"body.inputs is no list":    {Method: "POST", Path: "/crm/v3/objects/tickets/batch/read", Body: object{"inputs": object{}}, Status: 200},
		"reply.id is a number, not": {Method: "GET", Path: "/crm/v3/objects/contacts/11", Status: 200, Reply: object{"id": 11}},
	} {
		if got := check([]exchange{e}); !strings.Contains(got, want) {
			t.Errorf("of %+v the check says %q, want %q", e, got, want)
		}
	}
}
