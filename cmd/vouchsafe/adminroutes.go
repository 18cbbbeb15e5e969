package main

import (
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"

	"vouchsafe/engine"
	"vouchsafe/engine/httpapi"
	"vouchsafe/kb"
)

// adminRoutes are what the command line asks of a running server beside
// decisions and status.
func (a *app) adminRoutes() []httpapi.AdminRoute {
	return append(a.shadowRoutes(), []httpapi.AdminRoute{
		{Method: http.MethodGet, Path: "/v1/admin/sites/:site/revocations", Scope: httpapi.ScopeSite, Query: []string{"limit"}, Serve: a.adminRevocations},
		{Method: http.MethodPost, Path: "/v1/admin/sites/:site/revocations", Scope: httpapi.ScopeSite, Serve: a.adminRevoke},
		{Method: http.MethodGet, Path: "/v1/admin/sites/:site/acts", Scope: httpapi.ScopeSite, Query: []string{"limit"}, Serve: a.adminActs},
		{Method: http.MethodGet, Path: "/v1/admin/acts", Query: []string{"limit"}, Serve: a.adminGateActs},
		{Method: http.MethodGet, Path: "/v1/admin/decisions/summary", Scope: httpapi.ScopeServe, Query: []string{"site", "since", "until", "by"}, Serve: a.adminSummary},
		{Method: http.MethodGet, Path: "/v1/admin/tokens", SocketOnly: true, Serve: a.adminTokens},
		{Method: http.MethodPost, Path: "/v1/admin/tokens", SocketOnly: true, Serve: a.adminCreateToken},
		{Method: http.MethodDelete, Path: "/v1/admin/tokens/:id", SocketOnly: true, Serve: a.adminRevokeToken},
		{Method: http.MethodGet, Path: "/v1/admin/decisions/:id/explain", Scope: httpapi.ScopeServe, Serve: a.adminExplain},
		{Method: http.MethodGet, Path: "/v1/admin/decisions/:id/proof", Scope: httpapi.ScopeServe, Serve: a.adminProof},
		{Method: http.MethodPost, Path: "/v1/admin/sites/:site/checkpoint", Scope: httpapi.ScopeSite, Serve: a.adminCheckpoint},
		{Method: http.MethodPost, Path: "/v1/admin/sites/:site/consistency", Scope: httpapi.ScopeSite, Serve: a.adminConsistency},
		{Method: http.MethodPost, Path: "/v1/admin/sites/:site/erasures", Scope: httpapi.ScopeSite, Serve: a.adminErase},
		{Method: http.MethodPost, Path: "/v1/admin/audit/verify", MaxBody: maxCheckpoints, Serve: a.adminVerify},
		{Method: http.MethodPost, Path: "/v1/admin/audit/retention", Serve: a.adminRetain},
		{Method: http.MethodPost, Path: "/v1/admin/audit/backup", SocketOnly: true, Serve: a.adminBackup},
		{Method: http.MethodGet, Path: "/v1/admin/sites/:site", Scope: httpapi.ScopeSite, Serve: a.adminSite},
		{Method: http.MethodGet, Path: "/v1/admin/kb/:site/documents", Scope: httpapi.ScopeSite, Serve: a.adminDocuments},
		{Method: http.MethodPost, Path: "/v1/admin/kb/:site/documents", Scope: httpapi.ScopeSite, MaxBody: maxPageBody, Serve: a.adminAddDocument},
		{Method: http.MethodPost, Path: "/v1/admin/kb/:site/ask", Scope: httpapi.ScopeSite, Serve: a.adminAsk},
	}...)
}

// maxCheckpoints is the checkpoints of some weeks, one a minute.
const maxCheckpoints = 16 << 20

// maxPageBody is a page in JSON, where a quote or a line's end takes two bytes.
const maxPageBody = 2*kb.MaxPage + 4<<10

// Codes of problems that these routes answer with.
const (
	codeUnknownSite    = "unknown_site"
	codeMalformedJSON  = "malformed_json"
	codeInvalidRequest = "invalid_request"
)

// siteDetail is a site as its operator set it up.
type siteDetail struct {
	ID               string   `json:"id"`
	Name             string   `json:"name"`
	Tier             string   `json:"tier"`
	Origins          []string `json:"origins"`
	SignInURL        string   `json:"sign_in_url,omitempty"`
	MaxTokenLifetime int64    `json:"max_token_lifetime"` // seconds
}

func (a *app) adminSite(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	return siteDetail{ID: s.ID, Name: s.Name, Tier: s.Tier.String(), Origins: append([]string{}, s.Origins...),
		SignInURL: s.SignInURL, MaxTokenLifetime: int64(s.MaxTokenLifetime.Seconds())}, nil
}

// site is the site that the path names.
func (a *app) site(r httpapi.AdminRequest) (*engine.Site, error) {
	sites := *a.sites.Load()
	i := slices.IndexFunc(sites, func(s siteSettings) bool { return s.site.ID == r.Param("site") })
	if i < 0 {
		return nil, engine.Errorf(codeUnknownSite, "There is no such site.", nil)
	}
	return &sites[i].site, nil
}

// documentList is a site's knowledge base.
type documentList struct {
	Documents []kb.Document `json:"documents"`
}

func (a *app) adminDocuments(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	docs, err := a.kb.Documents(s.ID)
	return documentList{append([]kb.Document{}, docs...)}, err
}

// newDocument is a page to add, named like a file.
type newDocument struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

func (a *app) adminAddDocument(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	var in newDocument
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	d, err := a.kb.Add(r.Context, s.ID, in.Name, []byte(in.Content))
	if err != nil {
		return nil, engine.Errorf(codeInvalidRequest, err.Error(), err)
	}
	return d, nil
}

// question is put to a site's knowledge base.
type question struct {
	Question string `json:"question"`
}

func (a *app) adminAsk(r httpapi.AdminRequest) (any, error) {
	s, err := a.site(r)
	if err != nil {
		return nil, err
	}
	var in question
	if err := readStrict(r.Body, &in); err != nil {
		return nil, err
	}
	return a.kb.Ask(r.Context, s.ID, in.Question)
}

// readStrict reads one JSON document of exactly v's shape.
func readStrict(body []byte, v any) error {
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return engine.Errorf(codeMalformedJSON, "The body is not what is expected here.", err)
	}
	return nil
}
