package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vouchsafe/engine"
	"vouchsafe/engine/audit"
	"vouchsafe/engine/httpapi"
	"vouchsafe/engine/revoke"
	"vouchsafe/engine/store"
)

// replace puts NEW for OLD in a file: `replace FILE OLD NEW`.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if strings.Count(string(b), args[1]) != 1 {
		ts.Fatalf("%s does not hold %q once", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(b), args[1], strings.ReplaceAll(args[2], `\n`, "\n"))), 0o600))
}

// fetch makes a request with the token in a file, or with none when that is -,
// and wants a status: `fetch STATUS METHOD URL TOKENFILE [TEXT]`. The answer must
// hold the text, in its body or a header.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 || len(args) > 6 {
		ts.Fatalf("usage: fetch STATUS METHOD URL TOKENFILE [TEXT [BODY]]")
	}
	var body io.Reader
	if args[1] == http.MethodPost {
		text := `{}`
		if len(args) == 6 {
			text = args[5]
		}
		body = strings.NewReader(text)
	}
	req, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if args[3] != "-" {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[3])))
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s %s: status %d, want %s: %s", args[1], args[2], resp.StatusCode, args[0], got)
	}
	var all strings.Builder
	resp.Header.Write(&all)
	all.Write(got)
	if len(args) >= 5 && !strings.Contains(all.String(), args[4]) {
		ts.Fatalf("%s %s: the answer lacks %q:\n%s", args[1], args[2], args[4], all.String())
	}
}

// TestRevocationRoutes: what is refused is neither revoked nor on record; what
// is revoked is on record first.
func TestRevocationRoutes(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, auditDir), audit.Options{Master: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	state, err := store.Open(filepath.Join(dir, stateFile), "state", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	list, err := revoke.Open(state, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{audit: log, state: state, revoked: list}
	a.sites.Store(&[]siteSettings{{site: engine.Site{ID: "shop", Tier: engine.Pro}}})
	call := func(method, path, site, body string, query ...string) (any, error) {
		routes := a.adminRoutes()
		i := slices.IndexFunc(routes, func(r httpapi.AdminRoute) bool {
			return r.Method == method && r.Path == "/v1/admin/sites/:site/"+path
		})
		if i < 0 || routes[i].Scope != httpapi.ScopeSite {
			t.Fatalf("there is no route %s %s that knows which site it concerns", method, path)
		}
		r := httpapi.AdminRequest{Context: ctx, Body: []byte(body), Param: func(string) string { return site }}
		if len(query) == 2 {
			r.Query = map[string][]string{query[0]: {query[1]}}
		}
		return routes[i].Serve(r)
	}
	for _, c := range []struct{ what, site, body, code string }{
		{"another site", "shop2", `{"subject":"c-1"}`, codeUnknownSite},
		{"nothing", "shop", ``, codeMalformedJSON},
		{"no name", "shop", `{}`, codeInvalidRequest},
		{"both", "shop", `{"subject":"c-1","token_id":"t-1"}`, codeInvalidRequest},
		{"neither", "shop", `{"subject":"","token_id":""}`, codeInvalidRequest},
		{"everybody", "shop", `{"subject":"*","all":true}`, codeMalformedJSON},
		{"a name twice", "shop", `{"subject":"c-1","subject":"c-2"}`, codeMalformedJSON},
		{"a name no token holds", "shop", `{"subject":"a\u0000b"}`, engine.CodeInvalidArguments},
		{"a long name", "shop", `{"token_id":"` + strings.Repeat("x", 256) + `"}`, engine.CodeInvalidArguments},
	} {
		if _, err := call("POST", "revocations", c.site, c.body); engine.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", c.what, err, c.code)
		}
	}
	for _, limit := range []string{"0", "1001", "x", "-1"} {
		for _, path := range []string{"revocations", "acts"} {
			if _, err := call("GET", path, "shop", "", "limit", limit); engine.CodeOf(err) != codeInvalidRequest {
				t.Errorf("%s, limit %s: %v", path, limit, err)
			}
		}
	}
	if acts, err := log.Acts("shop", 10); err != nil || len(acts) > 0 || len(list.Of("shop")) > 0 {
		t.Fatalf("after the refusals: %+v on record (%v), %+v revoked", acts, err, list.Of("shop"))
	}

	got, err := call("POST", "revocations", "shop", `{"subject":"c-1"}`)
	if r, ok := got.(revocation); err != nil || !ok || r.Subject != "c-1" || r.Act == "" || !r.Until.After(time.Now()) {
		t.Errorf("a subject: %+v, %v", got, err)
	}
	if got, err = call("POST", "revocations", "shop", `{"token_id":"t-1"}`); err != nil || got.(revocation).TokenID != "t-1" {
		t.Errorf("a token: %+v, %v", got, err)
	}
	if got, err = call("GET", "revocations", "shop", "", "limit", "1"); err != nil || got.(revocationList).Total != 2 || len(got.(revocationList).Revocations) != 1 {
		t.Errorf("the list: %+v, %v", got, err)
	}
	got, err = call("GET", "acts", "shop", "")
	if acts, ok := got.(actList); err != nil || !ok || len(acts.Acts) != 2 || acts.Acts[0].TokenID != "t-1" || acts.Acts[1].Subject != "c-1" || acts.Acts[1].By != "socket" {
		t.Errorf("on record: %+v, %v", got, err)
	}

	log.Close()
	if _, err := call("POST", "revocations", "shop", `{"subject":"c-9"}`); engine.CodeOf(err) != engine.CodeAuditUnavailable || len(list.Of("shop")) != 2 {
		t.Errorf("without a log: %v, %+v", err, list.Of("shop"))
	}
}
