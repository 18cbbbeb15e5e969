package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"vouchsafe/engine"
	"vouchsafe/engine/httpapi"
	"vouchsafe/kb"
)

// TestAdminRoutesRefuse holds the knowledge base's routes to sites that are
// served and to bodies of exactly their shape.
func TestAdminRoutesRefuse(t *testing.T) {
	base, err := kb.Open(filepath.Join(t.TempDir(), kbFile))
	if err != nil {
		t.Fatalf("kb.Open: %v", err)
	}
	defer base.Close()
	a := &app{kb: base}
	a.sites.Store(&[]siteSettings{{site: engine.Site{ID: "shop", Tier: engine.Pro}}})
	const (
		documents = "/v1/admin/kb/:site/documents"
		ask       = "/v1/admin/kb/:site/ask"
		site      = "/v1/admin/sites/:site"
	)
	for _, test := range []struct {
		name, method, path, site, body string
		code                           string // "" when it is answered
	}{
		{"another site's pages", "GET", documents, "shop2", "", codeUnknownSite},
		{"adding to another site", "POST", documents, "shop2", `{"name":"a.md","content":"# A\n\nText."}`, codeUnknownSite},
		{"asking another site", "POST", ask, "shop2", `{"question":"why?"}`, codeUnknownSite},
		{"another site", "GET", site, "shop2", "", codeUnknownSite},
		{"no site", "GET", site, "", "", codeUnknownSite},
		{"nothing", "POST", documents, "shop", ``, codeMalformedJSON},
		{"an unknown field", "POST", documents, "shop", `{"name":"a.md","content":"# A\n\nText.","url":"x"}`, codeMalformedJSON},
		{"a field twice", "POST", documents, "shop", `{"name":"a.md","name":"b.md","content":"# A\n\nText."}`, codeMalformedJSON},
		{"a field in another case", "POST", documents, "shop", `{"Name":"a.md","content":"# A\n\nText."}`, codeMalformedJSON},
		{"a trailer", "POST", documents, "shop", `{"name":"a.md","content":"# A\n\nText."} {}`, codeMalformedJSON},
		{"a list", "POST", ask, "shop", `["why?"]`, codeMalformedJSON},
		{"a number", "POST", ask, "shop", `{"question":1}`, codeMalformedJSON},
		{"a name that climbs", "POST", documents, "shop", `{"name":"../a.md","content":"# A\n\nText."}`, codeInvalidRequest},
		{"a name of no page", "POST", documents, "shop", `{"name":"a.png","content":"# A\n\nText."}`, codeInvalidRequest},
		{"a page without text", "POST", documents, "shop", `{"name":"a.md","content":""}`, codeInvalidRequest},
		{"a page", "POST", documents, "shop", `{"name":"a.md","content":"# A\n\nText."}`, ""},
		{"the pages", "GET", documents, "shop", "", ""},
		{"a question", "POST", ask, "shop", `{"question":"why?"}`, ""},
		{"the site", "GET", site, "shop", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			routes := a.adminRoutes()
			i := slices.IndexFunc(routes, func(r httpapi.AdminRoute) bool { return r.Method == test.method && r.Path == test.path })
			if i < 0 {
				t.Fatalf("there is no route %s %s", test.method, test.path)
			}
			_, err := routes[i].Serve(httpapi.AdminRequest{Context: context.Background(), Body: []byte(test.body),
				Param: func(string) string { return test.site }})
			if got := engine.CodeOf(err); got != test.code {
				t.Errorf("%s %s with %q: code %q (%v), want %q", test.method, test.path, test.body, got, err, test.code)
			}
			if e, ok := errors.AsType[*engine.Error](err); err != nil && !ok {
				t.Errorf("error %v is %T, want one fit for whoever called", err, e)
			}
		})
	}
	docs, err := base.Documents("shop")
	if err != nil || len(docs) != 1 || docs[0].ID != "a" {
		t.Errorf("Documents = %v, %v after the refusals: want the one good page", docs, err)
	}
}
